//! What is remembered of a place's containers, in its state folder: which were started, what made the data in their volumes, and whose engine
//! has them. An engine that knows nothing of them may be another one than yesterday's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use camino::Utf8PathBuf;
use ecosystem_core::place::{CONTAINERS, Place};
use serde::{Deserialize, Serialize};

use crate::sys::fs::{read_optional, remove_optional, write_atomic};

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The id of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The services that were started and not removed since.
    #[serde(default)]
    pub services: BTreeSet<String>,
    /// What made the data of each service, as far as its image tells: `postgresql 12`.
    #[serde(default)]
    pub made_by: BTreeMap<String, String>,
}

impl Record {
    fn path(place: &Place) -> Utf8PathBuf {
        place.state.join(CONTAINERS)
    }

    /// What is remembered of this place; nothing where it never had containers.
    pub fn of(place: &Place) -> anyhow::Result<Self> {
        let path = Self::path(place);
        let text = read_optional(&path)?.unwrap_or_default();
        toml::from_str(&text).with_context(|| format!("cannot read {path}"))
    }

    /// Whether there ever were containers whose volumes, or more, may still be there.
    pub fn exists(place: &Place) -> bool {
        Self::path(place).exists()
    }

    /// Changes it.
    pub(super) fn change(place: &Place, change: impl FnOnce(&mut Self)) -> anyhow::Result<()> {
        let known = Self::of(place)?;
        let mut record = known.clone();
        change(&mut record);
        if record == known && Self::exists(place) {
            return Ok(());
        }
        write_atomic(&Self::path(place), toml::to_string(&record)?.as_bytes(), 0o600)
    }

    /// Forgets all of it.
    pub(super) fn forget(place: &Place) -> anyhow::Result<()> {
        remove_optional(&Self::path(place))
    }
}
