//! The databases of the main instance in Redis.

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::tenant::block;

use super::Doomed;
use crate::client::redis::Databases;

/// The first five databases of a Redis: whatever it knows by now was made from data that goes.
pub struct Redis(Databases);

impl Redis {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        Databases::open(endpoint).map(Self)
    }

    /// What is in there.
    pub fn look(&mut self) -> anyhow::Result<Doomed> {
        let keys: u64 = self.0.keys()?.range(block(0)).map(|(_, keys)| keys).sum();
        Ok(Doomed { text: format!("{keys} keys in the databases 0 to 4"), names: Vec::new() })
    }

    /// Removes all of it.
    pub fn empty(&mut self) -> anyhow::Result<()> {
        self.0.empty(block(0))
    }
}
