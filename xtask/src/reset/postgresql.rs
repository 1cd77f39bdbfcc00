//! The database of the main instance: the new one is made beside it, from what was kept or empty, and takes its name in one transaction.

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::reset::{baseline, baseline_mark, new_database, old_database};

use super::Doomed;
use crate::client::postgresql::{Admin, held};

/// A PostgreSQL and the names of the databases that take part.
pub struct PostgreSql {
    admin: Admin,
    endpoint: Endpoint,
    main: String,
    baseline: String,
    mark: String,
}

impl PostgreSql {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint, place: &Place, pack: &str, digest: &str) -> anyhow::Result<Self> {
        let (mut admin, main) = (Admin::open(endpoint)?, endpoint.database.clone().unwrap_or_default());
        // Found out later, other stores would be empty by then.
        if let Some(why) = admin.hindered(&main)? {
            let text = format!("the database {main} of PostgreSQL cannot be replaced: {why}");
            return Err(Failure::new(Kind::Data, "data-rejected", text)
                .hint("give that right to the login, or use another one; nothing was changed")
                .into());
        }
        Ok(Self {
            admin,
            endpoint: endpoint.clone(),
            main,
            baseline: baseline(digest),
            mark: baseline_mark(&place.id, pack),
        })
    }

    /// What the database holds.
    pub fn look(&mut self) -> anyhow::Result<Doomed> {
        let text = if self.admin.databases()?.contains_key(&self.main) {
            let (tables, bytes) = held(&self.endpoint)?;
            format!("{tables} tables of the database {}, {} MB", self.main, bytes.div_ceil(1 << 20))
        } else {
            format!("nothing: there is no database {}", self.main)
        };
        Ok(Doomed { text, names: Vec::new() })
    }

    /// Whether the pack as it was loaded is kept here.
    pub fn has_baseline(&mut self) -> anyhow::Result<bool> {
        Ok(self.admin.databases()?.contains_key(&self.baseline))
    }

    /// How to reach the database that is made beside the present one.
    pub fn beside(&self) -> Endpoint {
        Endpoint { database: Some(new_database(&self.main)), ..self.endpoint.clone() }
    }

    /// Makes it, from what was kept or empty.
    pub fn prepare(&mut self, from_baseline: bool) -> anyhow::Result<()> {
        let new = new_database(&self.main);
        // What an interrupted run has left.
        self.admin.drop(&new)?;
        self.admin.drop(&old_database(&self.main))?;
        let template = from_baseline.then_some(self.baseline.as_str());
        self.admin.create(&new, template, "")
    }

    /// Keeps what was loaded beside the present database, and forgets what was kept of earlier versions of the pack.
    /// `stale`: what is kept of it already is not right.
    pub fn keep(&mut self, stale: bool) -> anyhow::Result<()> {
        if stale {
            self.admin.drop(&self.baseline)?;
        }
        let all = self.admin.databases()?;
        if all.get(&self.baseline).is_none_or(|mark| *mark != self.mark) {
            if !all.contains_key(&self.baseline) {
                self.admin.create(&self.baseline, Some(&new_database(&self.main)), "")?;
            }
            self.admin.seal(&self.baseline)?;
            self.admin.comment(&self.baseline, &self.mark)?;
        }
        for (name, _) in all.iter().filter(|(name, mark)| **mark == self.mark && **name != self.baseline) {
            self.admin.drop(name)?;
        }
        Ok(())
    }

    /// Puts the new database in the place of the present one.
    pub fn swap(&mut self) -> anyhow::Result<()> {
        let (new, old) = (new_database(&self.main), old_database(&self.main));
        self.admin.swap(&self.endpoint, &self.main, &new, &old)
    }

    /// Drops the one that was there before.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.admin.drop(&old_database(&self.main))
    }
}
