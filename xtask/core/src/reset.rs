//! Back to the state right after a pack was loaded: what goes, what is kept for the next time and under which names, and what a reset that
//! was interrupted has left. Carrying it out is `xtask/src/reset`.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::artifact::Key;
use crate::capture::SUFFIX;
use crate::place::Place;
use crate::tenant::{MAIN_PREFIX, MARK, is_of_any};

/// What is written down before the first change, and removed after the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The pack that it goes back to.
    pub pack: String,
}

impl Journal {
    /// The file of it.
    pub fn file(place: &Place) -> Utf8PathBuf {
        place.state.join("reset.toml")
    }

    /// What a person has to know, who calls this program so.
    pub fn says(&self, program: &str) -> String {
        let pack = &self.pack;
        format!(
            "going back to the pack {pack} was interrupted: stores may not agree; to finish it: {program} reset {pack}"
        )
    }
}

/// What becomes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// What was kept of an earlier load is put back.
    Baseline,
    /// The pack is loaded anew.
    Loaded,
    /// It is emptied: the pack has nothing for it.
    Emptied,
}

impl Way {
    /// For people.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Baseline => "put back",
            Self::Loaded => "loaded anew",
            Self::Emptied => "emptied",
        }
    }
}

/// The indices that go: all but those of tenants. A server of somebody else may hold those of others: there it is what begins as the
/// main instance's do, or as those of the pack.
pub fn doomed(
    indices: impl IntoIterator<Item = String>,
    tenants: &BTreeSet<String>,
    elsewhere: Option<&[String]>,
) -> Vec<String> {
    let of_main = |index: &str| {
        elsewhere.is_none_or(|of_pack| {
            index.starts_with(MAIN_PREFIX) || of_pack.iter().any(|name| is_of_index(name, index))
        })
    };
    indices.into_iter().filter(|index| !is_of_any(index, tenants) && of_main(index)).collect()
}

/// Whether it is the index of a pack, or one that was loaded as it.
fn is_of_index(name: &str, index: &str) -> bool {
    let rest = index.strip_prefix(name);
    let digest = |rest: &str| {
        rest.strip_prefix('-')
            .is_some_and(|end| end.len() == SUFFIX && end.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    rest.is_some_and(|rest| rest.is_empty() || digest(rest))
}

/// The longest name of a database.
const MAX_DATABASE: usize = 63;

/// The database that takes the place of this one.
pub fn new_database(main: &str) -> String {
    beside("new", main)
}

/// What this database is called from then on, until it is dropped.
pub fn old_database(main: &str) -> String {
    beside("old", main)
}

fn beside(what: &str, main: &str) -> String {
    let whole = format!("ecosystem_{what}_{main}");
    if whole.len() <= MAX_DATABASE { whole } else { format!("ecosystem_{what}_{}", Key::of([main])) }
}

/// How much of a digest stands in a name.
const DIGITS: usize = 16;

fn short(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

/// The database that holds the pack as it was loaded.
pub fn baseline(digest: &str) -> String {
    format!("ecosystem_baseline_{}", short(digest))
}

/// What stands at it: of earlier versions of the same pack it is told by this that nobody needs them.
pub fn baseline_mark(place: &str, pack: &str) -> String {
    format!("{MARK}baseline of the pack {pack} for {place}")
}

/// The snapshot of the indices of the pack as they were loaded.
pub fn snapshot(pack: &str, digest: &str) -> String {
    format!("{pack}-{}", short(digest))
}

/// Whether a snapshot is of this pack, of whatever version.
pub fn is_of(pack: &str, snapshot: &str) -> bool {
    let rest = snapshot.strip_prefix(pack).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest.len() == DIGITS && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_tenants_stay_and_elsewhere_those_of_others() {
        let all = ["invenio-a", "mine", "pack-0a1b2c3d", "packs", "review-a", "reviews", "test-1-000000-x"]
            .map(String::from);
        let tenants = BTreeSet::from(["review", "test-1-000000"].map(String::from));
        assert_eq!(
            doomed(all.clone(), &tenants, None),
            ["invenio-a", "mine", "pack-0a1b2c3d", "packs", "reviews"]
        );
        assert_eq!(doomed(all.clone(), &BTreeSet::new(), None), all);
        assert_eq!(doomed(all, &tenants, Some(&["pack".to_owned()])), ["invenio-a", "pack-0a1b2c3d"]);
    }

    #[test]
    fn names_of_databases_fit() {
        assert_eq!(new_database("invenio"), "ecosystem_new_invenio");
        assert_eq!(
            old_database(&"x".repeat(60)),
            format!("ecosystem_old_{}", Key::of(["x".repeat(60).as_str()]))
        );
        assert_eq!(baseline("0123456789abcdef0123"), "ecosystem_baseline_0123456789abcdef");
    }

    #[test]
    fn a_snapshot_is_of_one_pack() {
        let name = snapshot("demo", "0123456789abcdef0123");
        assert_eq!(name, "demo-0123456789abcdef");
        assert!(is_of("demo", &name));
        assert!(!is_of("dem", &name) && !is_of("demo-x", &name));
        assert!(!is_of("demo", &snapshot("demo-x", "0123456789abcdef0123")));
    }
}
