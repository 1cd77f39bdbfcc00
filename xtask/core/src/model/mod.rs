//! The one model: what an Invenio or OARepo repository needs around it. Everything else is derived from it.
//!
//! Values are resolved from layers and every one of them remembers where it came from:
//! built-in release ← `ecosystem.toml` ← `ecosystem.local.toml` ← flags.

mod archive;
pub(crate) mod external;
mod keys;
mod manifest;
mod origin;
mod problem;
mod program;
mod relations;
mod resolve;
mod select;
pub(crate) mod suggest;
pub(crate) mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use archive::{Archive, Format, Sum};
pub use external::External;
pub use keys::{KEYS, Key, Shape, is_name};
pub use origin::{Origin, Sourced};
pub use problem::{Problem, failure};
pub use program::Program;
pub use resolve::{Asked, Flags, Layer, resolve};

use crate::catalog::Kind;
use crate::release::{Detected, Runtime};
use crate::tool::Requirement;

/// Everything that was asked for, after all layers were laid over each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ecosystem {
    /// The built-in release that the pins come from.
    pub release: Sourced<String>,
    /// The address that servers bind.
    pub bind: Sourced<String>,
    /// Added to every port.
    pub port_offset: Sourced<u16>,
    /// What runs servers of which nothing else is said. Of the release: nobody has decided yet.
    pub backend: Sourced<Backend>,
    /// The pack that `up` loads by itself.
    pub seed: Option<Sourced<String>>,
    /// Named sets of services; members are resolved, `@other` is expanded.
    pub profiles: BTreeMap<String, Vec<String>>,
    /// Every service that the manifest or the release names.
    pub services: BTreeMap<String, Service>,
    /// The host tools of the release, in the order in which they are checked.
    pub tools: Vec<Requirement>,
    /// What servers need to run beside themselves: `java`.
    pub runtimes: BTreeMap<String, Runtime>,
    /// What the project's own files name.
    pub project: Option<Detected>,
    /// What is allowed but unwise. To be shown once, never to be failed on.
    pub warnings: Vec<Problem>,
}

/// One service, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    pub name: String,
    pub kind: Kind,
    /// Ports by role, without the offset.
    pub ports: BTreeMap<String, Sourced<u16>>,
    /// Lines for the server's own configuration file, in the server's own words.
    pub settings: BTreeMap<String, Sourced<String>>,
    /// The container image of the release, where there is one.
    pub image: Option<Sourced<String>>,
    /// The versions that are accepted, as a semver requirement.
    pub accept: Option<Sourced<String>>,
    /// A Package URL that says what the native backend fetches.
    pub get: Option<Sourced<String>>,
    /// What runs it.
    pub backend: Sourced<Backend>,
    /// Where it is, where somebody else runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<Sourced<External>>,
    /// Where the native backend takes the server from.
    pub from: Sourced<From>,
    /// The archive that it is run from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// Plugins by name: RabbitMQ's and OpenSearch's.
    pub plugins: Sourced<Vec<String>>,
    /// OpenSearch modules by name.
    pub modules: Sourced<Vec<String>>,
    /// The Java heap of OpenSearch, as the JVM writes it: `512m`.
    pub heap: Option<Sourced<String>>,
    /// The pack that an empty application starts from, where it is not its own fixtures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<Sourced<String>>,
    /// The project that the application is, where it is not the one of the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Sourced<Utf8PathBuf>>,
    /// A digest of the project's configuration: a change of it is one of how the application runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The series of Python that an application runs on, where its project names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// The services that the application works with, which start before it; empty for servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The buckets of an object store, which are made where they are missing.
    pub buckets: Sourced<Vec<String>>,
    /// Why nobody looks after the server of the release any more, and what else there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmaintained: Option<String>,
    /// What a service of the kind `process` runs, and an object store that is not the one of the release; the others have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
}

impl Ecosystem {
    /// The ports of everything that this version can start.
    pub fn ports_at(&self, offset: u16) -> BTreeSet<u16> {
        let startable = self
            .services
            .values()
            .filter(|service| service.runs() && service.backend.value != Backend::External);
        startable.flat_map(|service| service.ports_at(offset).into_values()).collect()
    }
}

/// What runs a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Processes of the person, without a container engine.
    Native,
    /// Containers of the images of the manifest, by Docker Compose.
    Compose,
    /// Nothing here: somebody else runs it.
    External,
}

impl Backend {
    /// The words of manifests and flags.
    pub const WORDS: &[&str] = &["native", "compose"];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Compose => "compose",
            Self::External => "external",
        }
    }

    /// The backend of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Native, Self::Compose].into_iter().find(|backend| backend.name() == word)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the native backend takes a server from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The per-user store, filled from package registries.
    Store,
    /// The programs on PATH; the Nix shell puts them there.
    Path,
}

impl Service {
    /// Whether this version can run it.
    pub fn runs(&self) -> bool {
        match self.backend.value {
            Backend::Native => self.runs_as_processes(),
            Backend::Compose => self.image.is_some() && self.kind.is_contained(),
            Backend::External => true,
        }
    }

    /// Whether this version can run it as processes, with what the manifest says of it.
    pub fn runs_as_processes(&self) -> bool {
        let named = self.archive.is_some() || self.from.value == From::Path;
        self.kind.runs() || (self.kind.takes_archive() && named)
    }

    /// Why nobody looks after the server any more that is run here.
    pub fn unmaintained_server(&self) -> Option<&str> {
        // One that the manifest names is the person's own choice.
        let of_release = self.program.is_none() && self.backend.value != Backend::External;
        self.unmaintained.as_deref().filter(|_| of_release)
    }

    /// The services that it starts after.
    pub fn after(&self) -> &[String] {
        self.program.as_ref().map_or(&self.needs, |program| &program.after.value)
    }

    /// Whether a password is made for it. A process of the manifest is told those of others, and has none; one that somebody else runs
    /// has its own.
    pub fn has_secret(&self) -> bool {
        self.kind != Kind::Process && self.backend.value != Backend::External
    }

    /// The ports that it really uses: the manifest's plus the offset.
    pub fn ports_at(&self, offset: u16) -> BTreeMap<String, u16> {
        self.ports.iter().map(|(role, port)| (role.clone(), port.value.saturating_add(offset))).collect()
    }
}
