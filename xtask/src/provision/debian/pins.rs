//! Which package versions to use: the project's lock, and what this user's store had to resolve in its place.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::provision::store::Store;
use crate::sys;

/// What was resolved on this machine because a lock had nothing, or nothing that still exists. A lock that cannot be rewritten
/// (an installed program, somebody else's checkout) would otherwise mean resolving at every run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::provision) struct Overlay(BTreeMap<String, Substitute>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Substitute {
    /// The locked list that it stands in for. Another list in the lock makes it void.
    instead_of: Vec<String>,
    packages: Vec<String>,
}

impl Overlay {
    /// Reads the store's overlay; one that cannot be read counts as empty.
    pub(in crate::provision) fn load(store: &Store) -> anyhow::Result<Self> {
        let text = sys::fs::read_optional(&store.root().join("resolved.json"))?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// The packages to use, given what the lock says.
    pub(in crate::provision) fn over(&self, name: &str, locked: Option<&Vec<String>>) -> Option<Vec<String>> {
        let substitute = self.0.get(name);
        let valid = substitute.filter(|s| s.instead_of == locked.map_or(&[][..], Vec::as_slice));
        valid.map(|s| s.packages.clone()).or_else(|| locked.cloned())
    }
}

/// Remembers packages that are used instead of those in a lock. The caller holds the store's lock `apt`.
pub(in crate::provision) fn substitute(
    store: &Store,
    name: &str,
    instead_of: Vec<String>,
    packages: &[String],
) -> anyhow::Result<()> {
    let mut overlay = Overlay::load(store)?;
    overlay.0.insert(name.to_owned(), Substitute { instead_of, packages: packages.to_owned() });
    let text = serde_json::to_vec_pretty(&overlay).context("cannot print the overlay")?;
    sys::fs::write_atomic(&store.root().join("resolved.json"), &text, 0o600)
}

/// The lock's Debian part while it is worked with.
pub(in crate::provision) struct Pins<'a> {
    pub(in crate::provision) lock: &'a mut BTreeMap<String, Vec<String>>,
    pub(in crate::provision) overlay: Overlay,
}

impl Pins<'_> {
    pub(super) fn get(&self, name: &str) -> Option<Vec<String>> {
        self.overlay.over(name, self.lock.get(name))
    }

    pub(super) fn reload(&mut self, store: &Store) -> anyhow::Result<()> {
        self.overlay = Overlay::load(store)?;
        Ok(())
    }

    pub(super) fn record(&mut self, name: String, packages: &[String], store: &Store) -> anyhow::Result<()> {
        let instead_of = self.lock.get(&name).cloned().unwrap_or_default();
        substitute(store, &name, instead_of, packages)?;
        // Another process may have added to it since; the lock `apt` is held.
        self.overlay = Overlay::load(store)?;
        self.lock.insert(name, packages.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn a_substitute_holds_only_for_the_list_it_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(Utf8Path::from_path(folder.path()).unwrap());
        let list = |pin: &str| vec![pin.to_owned()];
        let mut lock = BTreeMap::from([("s.a.redis".to_owned(), list("redis=1"))]);
        let mut pins = Pins { lock: &mut lock, overlay: Overlay::load(&store).unwrap() };
        assert_eq!(pins.get("s.a.redis"), Some(list("redis=1")));
        pins.record("s.a.redis".into(), &list("redis=2"), &store).unwrap();

        let overlay = Overlay::load(&store).unwrap();
        assert_eq!(overlay.over("s.a.redis", Some(&list("redis=1"))), Some(list("redis=2")));
        assert_eq!(overlay.over("s.a.redis", Some(&list("redis=3"))), Some(list("redis=3")));
        assert_eq!(overlay.over("s.a.java", None), None);
        assert_eq!(lock["s.a.redis"], list("redis=2"));
    }
}
