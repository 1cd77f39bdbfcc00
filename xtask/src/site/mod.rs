//! The project on disk: which folder it is, what its manifest says, and the state that belongs to it.

pub mod logs;
pub mod places;
mod state;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::model::{Ecosystem, Flags, Layer, failure, resolve};

pub use state::{Lock, Secrets, State};

use crate::sys::fs::read_optional;

/// The manifest, committed with the project.
pub const MANIFEST: &str = "ecosystem.toml";
/// One person's own layer on top of it, ignored by git.
pub const LOCAL: &str = "ecosystem.local.toml";
/// Exactly what is fetched for a project.
pub const LOCK: &str = "ecosystem.lock";
/// The state folder of a project, unless `ECOSYSTEM_STATE` says otherwise.
pub const STATE: &str = ".ecosystem";

/// A project as a command finds it.
#[derive(Debug)]
pub struct Site {
    /// The folder of the manifest, or the working directory where there is none.
    pub root: Utf8PathBuf,
    /// Whether it has a manifest at all.
    pub manifest: bool,
    pub ecosystem: Ecosystem,
}

impl Site {
    /// Finds the project that `start` belongs to and reads what it wants.
    pub fn open(start: &Utf8Path, flags: &Flags) -> anyhow::Result<Self> {
        let root = find_root(start).unwrap_or(start).to_owned();
        let texts = [MANIFEST, LOCAL].map(|name| (name, read_optional(&root.join(name))));
        let mut layers = Vec::new();
        for (name, text) in &texts {
            match text {
                Ok(Some(text)) => layers.push(Layer { name, text }),
                Ok(None) => {}
                Err(error) => anyhow::bail!("{error:#}"),
            }
        }
        let manifest = layers.iter().any(|layer| layer.name == MANIFEST);
        let ecosystem = resolve(&layers, flags).map_err(|problems| failure(&problems))?;
        Ok(Self { root, manifest, ecosystem })
    }
}

/// The nearest folder upwards that has a manifest or a state folder.
pub fn find_root(start: &Utf8Path) -> Option<&Utf8Path> {
    start
        .ancestors()
        .find(|folder| folder.join(MANIFEST).exists() || folder.join(STATE).join("place.toml").exists())
}
