//! The indices of the main instance: removed by their names, and put back from a snapshot on the server's own disk where there is one.

use std::collections::BTreeSet;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{Manifest, Templates};
use ecosystem_core::reset::{doomed, is_of, snapshot};

use super::Doomed;
use crate::client::opensearch::Search;

/// An OpenSearch and the snapshot of a pack.
pub struct OpenSearch {
    search: Search,
    tenants: BTreeSet<String>,
    pack: String,
    snapshot: String,
    /// The templates of the pack.
    templates: Templates,
    /// On a server of somebody else: how the names of the pack's indices begin.
    elsewhere: Option<Vec<String>>,
}

impl OpenSearch {
    /// Connects and proves identity.
    pub fn open(
        endpoint: &Endpoint,
        tenants: &BTreeSet<String>,
        (pack, templates): (&Manifest, Templates),
        digest: &str,
    ) -> anyhow::Result<Self> {
        let indices = pack.opensearch.iter().flat_map(|part| &part.indices);
        Ok(Self {
            search: Search::open(endpoint)?,
            tenants: tenants.clone(),
            pack: pack.name.clone(),
            snapshot: snapshot(&pack.name, digest),
            templates,
            elsewhere: endpoint.is_elsewhere().then(|| indices.map(|index| index.name.clone()).collect()),
        })
    }

    fn doomed(&self, all: impl Iterator<Item = String>) -> Vec<String> {
        doomed(all, &self.tenants, self.elsewhere.as_deref())
    }

    /// The indices that go.
    pub fn look(&self) -> anyhow::Result<Doomed> {
        let all = self.search.all()?;
        let names = self.doomed(all.keys().cloned());
        let documents: u64 = names.iter().filter_map(|name| all.get(name)).sum();
        Ok(Doomed { text: format!("{} indices, {documents} documents", names.len()), names })
    }

    /// Whether the pack as it was loaded is kept here. A place for snapshots that cannot be read has none.
    pub fn has_baseline(&self) -> bool {
        self.search.snapshots().is_ok_and(|all| all.contains(&self.snapshot))
    }

    /// Removes the indices and templates that go.
    pub fn empty(&self) -> anyhow::Result<()> {
        self.search.remove(&self.doomed(self.search.all()?.into_keys()))?;
        self.remove_templates(&Templates::default())?;
        // On a server of somebody else those of the pack are all that goes.
        let present = self.search.templates()?;
        for ((kind, all), (_, wanted)) in present.kinds().into_iter().zip(self.templates.kinds()).rev() {
            for name in all.keys().filter(|name| wanted.contains_key(*name)) {
                self.search.remove_template(kind, name)?;
            }
        }
        Ok(())
    }

    /// Removes the templates that go, but those of these names.
    fn remove_templates(&self, but: &Templates) -> anyhow::Result<()> {
        let present = self.search.templates()?;
        // Those that use others first.
        for ((kind, all), (_, kept)) in present.kinds().into_iter().zip(but.kinds()).rev() {
            let others = all.keys().filter(|name| !kept.contains_key(*name));
            for name in self.doomed(others.cloned()) {
                self.search.remove_template(kind, &name)?;
            }
        }
        Ok(())
    }

    /// Makes the templates what the pack says.
    fn settle_templates(&self) -> anyhow::Result<()> {
        self.remove_templates(&self.templates)?;
        let present = self.search.templates()?;
        for ((kind, wanted), (_, there)) in self.templates.kinds().into_iter().zip(present.kinds()) {
            for (name, body) in wanted.iter().filter(|(name, body)| there.get(*name) != Some(*body)) {
                self.search.put_template(kind, name, body)?;
            }
        }
        Ok(())
    }

    /// Puts what was kept in the place of what is there. Where that does not work it is forgotten, and what has come of it removed: the reason.
    pub fn bring_back(&self) -> anyhow::Result<Result<(), String>> {
        self.search.remove(&self.doomed(self.search.all()?.into_keys()))?;
        match self.search.bring_back(&self.snapshot) {
            Ok(()) => self.settle_templates().map(Ok),
            Err(error) => {
                // It may be this that does not work either: then the next time ends here once more.
                let _forgotten = self.search.forget(&self.snapshot);
                self.empty()?;
                Ok(Err(format!("{error:#}")))
            }
        }
    }

    /// Keeps what was loaded, and forgets what was kept earlier; the reason where nothing can be kept.
    /// `stale`: what is kept of it already is not right.
    pub fn keep(&self, stale: bool) -> anyhow::Result<Result<(), String>> {
        if let Err(reason) = self.search.repository()? {
            return Ok(Err(reason));
        }
        let mut all = self.search.snapshots();
        if all.is_err() {
            // The server remembers another state of the place than is there: it has to look again.
            self.search.forget_repository()?;
            if let Err(reason) = self.search.repository()? {
                return Ok(Err(reason));
            }
            all = self.search.snapshots();
        }
        let mut kept = all?.contains(&self.snapshot);
        if kept && stale {
            self.search.forget(&self.snapshot)?;
            kept = false;
        }
        if !kept {
            // What an application has made meanwhile is not the pack's.
            let loaded = self.search.indices()?;
            let of_pack = |meta: &serde_json::Value| {
                meta.pointer("/ecosystem/pack").is_some_and(|pack| *pack == self.pack)
            };
            let loaded: Vec<String> =
                loaded.into_iter().filter(|(_, index)| of_pack(&index.meta)).map(|(name, _)| name).collect();
            if loaded.is_empty() {
                return Ok(Err("none of its indices says that it is of the pack".to_owned()));
            }
            self.search.keep(&self.snapshot, &loaded)?;
        }
        self.forget_older().map(Ok)
    }

    /// Forgets what was kept of earlier versions of the pack.
    pub fn forget_older(&self) -> anyhow::Result<()> {
        let all = self.search.snapshots()?;
        let older = all.iter().filter(|name| is_of(&self.pack, name) && **name != self.snapshot);
        older.into_iter().try_for_each(|name| self.search.forget(name))
    }
}
