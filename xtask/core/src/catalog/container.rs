//! A service as a container of its documented image. How it is written down for an engine is `render/compose.rs`.
//!
//! Only images that keep the contract of the official ones are described; `${NAME:-value}` in a text is filled in by Compose.

use super::{Kind, minio, opensearch, pgadmin, postgresql, rabbitmq, redis};
use crate::model::{Ecosystem, Service};

/// Everything about a container that its image does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Replaces the entry point of the image, where that takes no command.
    pub entrypoint: Vec<String>,
    /// The words of the command; none: that of the image.
    pub command: Vec<String>,
    /// The name that the container has for itself; data of RabbitMQ belong to it.
    pub hostname: Option<String>,
    pub environment: Vec<(String, String)>,
    /// Ports within the container that are published, by their role in the manifest. The others stay inside.
    pub ports: Vec<(&'static str, u16)>,
    /// The folder of the data.
    pub data: &'static str,
    /// A line for a shell in the container. It succeeds once the server takes a login over TCP: on their sockets some answer before that.
    pub healthy: &'static str,
    /// Seconds between two checks of health. Each of some costs a second of a processor.
    pub interval_s: u32,
    /// The most memory that it may take, in megabytes.
    pub memory_mb: u64,
    /// Seconds from the stop signal to the kill.
    pub grace_s: u32,
    /// The services that it talks to.
    pub after: Vec<String>,
    /// What of the manifest the image cannot do.
    pub falls_short: Option<String>,
}

impl Container {
    /// What all have in common.
    pub(super) const fn new(data: &'static str, memory_mb: u64) -> Self {
        Self {
            entrypoint: Vec::new(),
            command: Vec::new(),
            hostname: None,
            environment: Vec::new(),
            ports: Vec::new(),
            data,
            healthy: "",
            interval_s: 2,
            memory_mb,
            grace_s: 30,
            after: Vec::new(),
            falls_short: None,
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

/// How a service runs as a container; `None` where it has no image.
pub fn container(ecosystem: &Ecosystem, service: &Service) -> Option<Container> {
    service.image.as_ref()?;
    // Whoever needs another service talks to the first one of its kind.
    let first = |kind: Kind| ecosystem.services.values().find(|s| s.kind == kind).map(|s| s.name.as_str());
    match service.kind {
        Kind::Postgresql => Some(postgresql::container(service)),
        Kind::Redis => Some(redis::container(service)),
        Kind::Rabbitmq => Some(rabbitmq::container(service)),
        Kind::Opensearch => Some(opensearch::container(service)),
        Kind::Dashboards => Some(opensearch::dashboards(first(Kind::Opensearch))),
        Kind::Pgadmin => Some(pgadmin::container(service, first(Kind::Postgresql))),
        Kind::Minio => Some(minio::container(service)),
        Kind::Invenio | Kind::Process => None,
    }
}

/// The name that servers give themselves. Without this program, one for all.
pub(super) const IDENTITY: &str = "${ECOSYSTEM_IDENTITY:-ecosystem}";

/// The variable that belongs to a service: `POSTGRESQL_PASSWORD`.
pub fn variable(service: &str, what: &str) -> String {
    format!("{service}_{what}").to_ascii_uppercase().replace('-', "_")
}

/// The password of a service: that of the variable, else one that everybody knows, for a server that only this machine reaches.
pub(super) fn password(service: &Service, known: &str) -> String {
    format!("${{{}:-{known}}}", variable(&service.name, "password"))
}

/// The password that everybody knows, where a server takes it.
pub(super) const KNOWN: &str = "invenio";

/// A text of the manifest, of which Compose is to fill in nothing.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// A command for a shell.
pub(super) fn shell(line: &str) -> Vec<String> {
    ["sh", "-c", line].map(str::to_owned).to_vec()
}
