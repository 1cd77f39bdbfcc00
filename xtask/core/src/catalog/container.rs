//! A service as a container of its documented image. How it is written down for an engine is `render/compose.rs`.
//!
//! Only images that keep the contract of the official ones are described; `${NAME:-value}` in a text is filled in by Compose.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Kind, dashboards, minio, opensearch, pgadmin, postgresql, rabbitmq, redis};
use crate::artifact::Key;
use crate::endpoint::{Endpoint, Secret};
use crate::model::{Backend, Ecosystem, Origin, Service};
use crate::place::Place;

/// Everything about a container that its image does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Replaces the entry point of the image, where that takes no command.
    pub entrypoint: Vec<String>,
    /// The words of the command; none: that of the image.
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// It has no network of its own but is on that of this machine, and listens where its environment says.
    pub host_network: bool,
    /// The folder of the data.
    pub data: &'static str,
    /// A line for a shell in the container. It succeeds once the server takes a login over TCP: on their sockets some answer before that.
    pub healthy: Cow<'static, str>,
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
    pub(super) fn new(data: &'static str, memory_mb: u64) -> Self {
        Self {
            entrypoint: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
            host_network: false,
            data,
            healthy: Cow::Borrowed(""),
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

/// The server that a console shows.
#[derive(Debug, Clone)]
pub(super) enum Peer<'a> {
    /// A container on the same network, under this name.
    Container(&'a str),
    /// A server outside of containers. From a network of its own a console does not reach what listens on loopback.
    Outside { name: &'a str, server: Box<Endpoint>, listen: Box<Endpoint> },
}

/// How a service runs as a container; `None` where it has no image. Without a place all services are containers.
pub fn container(ecosystem: &Ecosystem, service: &Service, place: Option<&Place>) -> Option<Container> {
    service.image.as_ref()?;
    // Whoever needs another service talks to the first one of its kind.
    let first = |kind: Kind| {
        let server = ecosystem.services.values().find(|s| s.kind == kind)?;
        let at = |service: &Service, place: &Place| {
            super::endpoint(service, place, &ecosystem.bind.value, &Secret::new(""))
        };
        Some(match place.filter(|_| server.backend.value != Backend::Compose) {
            Some(place) => {
                let (server, listen) = (Box::new(at(server, place)), Box::new(at(service, place)));
                Peer::Outside { name: kind.name(), server, listen }
            }
            None => Peer::Container(&server.name),
        })
    };
    match service.kind {
        Kind::Postgresql => Some(postgresql::container(service)),
        Kind::Redis => Some(redis::container(service)),
        Kind::Rabbitmq => Some(rabbitmq::container(service)),
        Kind::Opensearch => Some(opensearch::container(service)),
        Kind::Dashboards => Some(dashboards::container(service, first(Kind::Opensearch))),
        Kind::Pgadmin => Some(pgadmin::container(service, first(Kind::Postgresql))),
        Kind::Minio => Some(minio::container(service)),
        Kind::Invenio | Kind::Process => None,
    }
}

/// Ports within the container that are published, by their role in the manifest. The others stay inside.
pub fn published(service: &Service) -> Vec<(&'static str, u16)> {
    let managed = service.plugins.value.iter().any(|plugin| plugin == rabbitmq::MANAGEMENT);
    match service.kind {
        Kind::Postgresql => vec![("sql", 5432)],
        Kind::Redis => vec![("redis", 6379)],
        Kind::Rabbitmq if managed => vec![("amqp", 5672), ("http", 15672)],
        Kind::Rabbitmq => vec![("amqp", 5672)],
        Kind::Opensearch => vec![("http", 9200), ("cluster", 9300)],
        Kind::Dashboards => vec![("http", 5601)],
        Kind::Pgadmin => vec![("http", 80)],
        Kind::Minio => vec![("s3", 9000), ("console", 9001)],
        Kind::Invenio | Kind::Process => Vec::new(),
    }
}

/// A service as a container of one place: what is to run, and how to know it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contained {
    /// Its image, as the manifest names it.
    pub image: String,
    /// How clients reach it.
    pub endpoint: Endpoint,
    /// What was set, as people read it: how it differs from what runs.
    pub labels: BTreeMap<String, String>,
    /// What makes its data, where the image tells: data of another major version must not be started.
    pub made_by: Option<String>,
    /// Where each of the server's own settings stands in the manifests.
    pub settings: BTreeMap<String, Origin>,
}

/// The service as a container of `place`. `text` is what an engine is told of it, without secrets.
pub fn contained(service: &Service, place: &Place, bind: &str, secret: &Secret, text: &str) -> Contained {
    let image = service.image.as_ref().map_or_else(String::new, |image| image.value.clone());
    let endpoint = super::endpoint(service, place, bind, secret);
    let mut labels = super::said(service, bind, endpoint.ports.clone());
    let plugins = Some(service.plugins.value.join(", ")).filter(|_| service.kind == Kind::Rabbitmq);
    let heap = service.heap.as_ref().map(|heap| heap.value.clone());
    let buckets = Some(service.buckets.value.join(", ")).filter(|buckets| !buckets.is_empty());
    let own = [("image", Some(image.clone())), ("plugins", plugins), ("heap", heap), ("buckets", buckets)];
    labels.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    labels.insert(super::RECIPE.to_owned(), Key::of([text]).to_string());
    Contained { made_by: made_by(service), image, endpoint, labels, settings: super::origins(service) }
}

/// What makes the data of a service as a container, where its image tells: `postgresql 12`.
pub fn made_by(service: &Service) -> Option<String> {
    let major = major_of_image(service.kind, &service.image.as_ref()?.value)?;
    Some(format!("{} {major}", service.kind))
}

/// `12` of `postgres:12.4-alpine` and of `registry:5000/postgres:12@sha256:…`; none of `latest`, and none of images of another name, whose
/// tags may count something else.
fn major_of_image(kind: Kind, image: &str) -> Option<&str> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    let (name, tag) = name.split_once(':')?;
    let official = if kind == Kind::Postgresql { "postgres" } else { kind.name() };
    if name != official {
        return None;
    }
    let digits = tag.strip_prefix('v').unwrap_or(tag);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (end > 0 && !digits[end..].starts_with(|c: char| c.is_alphanumeric())).then_some(&digits[..end])
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

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::major_of_image;

    #[test]
    fn a_tag_tells_the_major_version_where_it_is_one() {
        let majors = [
            ("postgres:12.4", Some("12")),
            ("postgres:18-alpine", Some("18")),
            ("registry:5000/a/postgres:v9@sha256:12", Some("9")),
            ("rabbitmq:3-management", Some("3")),
            ("minio/minio:latest", None),
            ("registry:5000/redis", None),
            ("redis@sha256:7", None),
            ("redis:2024a", None),
            ("registry/our-postgres:3", None),
        ];
        for (image, major) in majors {
            let kinds = [Kind::Postgresql, Kind::Redis, Kind::Rabbitmq, Kind::Minio];
            let found = kinds.into_iter().find_map(|kind| major_of_image(kind, image));
            assert_eq!(found, major, "{image}");
        }
    }
}
