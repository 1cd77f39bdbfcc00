//! The buckets of the pack in an object store. Other buckets are none of its business.

use ecosystem_core::endpoint::Endpoint;

use super::Doomed;
use crate::seed::{self, Pack};

/// An object store, and the pack that says what is to be in it.
pub struct Objects {
    endpoint: Endpoint,
    pack: Pack,
}

impl Objects {
    /// Nothing is asked yet.
    pub fn new(endpoint: &Endpoint, pack: &Pack) -> Self {
        Self { endpoint: endpoint.clone(), pack: pack.clone() }
    }

    /// What is in there and is not what the pack has.
    pub fn look(&self) -> anyhow::Result<Doomed> {
        let strays = seed::strays(&self.pack, &self.endpoint, false)?;
        let names: Vec<String> =
            self.pack.manifest.buckets().map(|bucket| format!("bucket {}", bucket.name)).collect();
        Ok(Doomed { text: format!("{strays} objects that the pack did not bring, or not so"), names })
    }

    /// Removes it.
    pub fn empty(&self) -> anyhow::Result<()> {
        seed::strays(&self.pack, &self.endpoint, true).map(drop)
    }
}
