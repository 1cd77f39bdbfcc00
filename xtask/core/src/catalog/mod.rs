//! The services that this project knows: how each is run and configured. Nothing else knows a service by its name.
//!
//! One file a service, pure. How to *talk* to it is `xtask/src/client/<service>.rs`.

mod again;
pub mod container;
pub mod dashboards;
pub mod invenio;
pub mod minio;
mod nginx;
pub mod opensearch;
pub mod pgadmin;
pub mod postgresql;
mod process;
mod rabbitmq;
mod redis;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

pub use again::{again, data_folder, listens_where_it_did};

use crate::artifact::{Installation, Key};
use crate::endpoint::{Endpoint, Secret};
use crate::model::external::scheme;
use crate::model::{Backend, External, Origin, Service};
use crate::place::Place;
use crate::process::{File, Process, RunAs};

/// What a service is. A name is not a kind: two services may have the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Postgresql,
    Redis,
    Rabbitmq,
    Opensearch,
    Dashboards,
    Pgadmin,
    Minio,
    Invenio,
    /// Anything else: a program that the manifest describes.
    Process,
}

impl Kind {
    /// Every kind, in the order in which they are listed for people.
    pub const ALL: [Self; 9] = [
        Self::Postgresql,
        Self::Redis,
        Self::Rabbitmq,
        Self::Opensearch,
        Self::Dashboards,
        Self::Pgadmin,
        Self::Minio,
        Self::Invenio,
        Self::Process,
    ];

    /// The word used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Opensearch => "opensearch",
            Self::Dashboards => "dashboards",
            Self::Pgadmin => "pgadmin",
            Self::Minio => "minio",
            Self::Invenio => "invenio",
            Self::Process => "process",
        }
    }

    /// What it is, for a person who meets the word for the first time.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Postgresql => "the database",
            Self::Redis => "the cache",
            Self::Rabbitmq => "the message broker",
            Self::Opensearch => "the search engine",
            Self::Dashboards => "OpenSearch Dashboards, a web console for the search engine",
            Self::Pgadmin => "pgAdmin, a web console for the database",
            Self::Minio => "MinIO, the object storage",
            Self::Invenio => "the Invenio application",
            Self::Process => "a program of the project's own",
        }
    }

    /// The role of the port where its web console answers, if it has one.
    pub const fn console(self) -> Option<&'static str> {
        match self {
            Self::Rabbitmq | Self::Dashboards | Self::Pgadmin => Some("http"),
            Self::Minio => Some("console"),
            Self::Postgresql | Self::Redis | Self::Opensearch | Self::Invenio | Self::Process => None,
        }
    }

    /// Whether it looks up the name `localhost`, and waits for ever where nobody knows it.
    pub const fn needs_localhost(self) -> bool {
        matches!(self, Self::Rabbitmq)
    }

    /// Whether it stands behind an HTTPS front, which needs a certificate.
    pub const fn has_front(self) -> bool {
        matches!(self, Self::Pgadmin | Self::Invenio)
    }

    /// How much work its start is, compared with the others.
    pub const fn start_cost(self) -> u8 {
        match self {
            Self::Opensearch => 2,
            Self::Rabbitmq => 1,
            _ => 0,
        }
    }

    /// Whether this version of the project can run it as processes. The others stand in the manifest and say so when asked for.
    pub const fn runs(self) -> bool {
        matches!(
            self,
            Self::Postgresql
                | Self::Redis
                | Self::Rabbitmq
                | Self::Opensearch
                | Self::Pgadmin
                | Self::Minio
                | Self::Invenio
                | Self::Process
        )
    }
}

impl Kind {
    /// Whether it can be run from an archive that whoever makes it publishes.
    pub const fn takes_archive(self) -> bool {
        matches!(self, Self::Opensearch | Self::Dashboards)
    }

    /// Whether a stack is whole without it: nothing but a person's browser talks to it.
    pub const fn can_be_left_out(self) -> bool {
        matches!(self, Self::Dashboards | Self::Pgadmin)
    }

    /// Whether nobody waits for it who has not asked for it by name: it takes long, and people come to it later.
    pub const fn is_lazy(self) -> bool {
        matches!(self, Self::Pgadmin)
    }

    /// Whether there are images of it that this project knows how to run.
    pub const fn is_contained(self) -> bool {
        !matches!(self, Self::Invenio | Self::Process)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(())
    }
}

/// What a service takes of memory after its start, in bytes, as measured with the settings of the release; what a program of the
/// project's own takes is not known.
pub fn memory(service: &Service) -> u64 {
    let megabytes = match service.kind {
        Kind::Postgresql => 60,
        Kind::Redis => 15,
        Kind::Rabbitmq => 140,
        // Not measured: what its heap is bounded by.
        Kind::Dashboards => dashboards::HEAP_MB,
        Kind::Minio => 130,
        Kind::Pgadmin => 120,
        // Beside its heap, of which it uses half at first.
        Kind::Opensearch => 230 + opensearch::heap_megabytes(service).unwrap_or(512).min(1 << 20) / 2,
        // Three processes and two workers of one of them.
        Kind::Invenio => 1_150,
        Kind::Process => 0,
    };
    megabytes << 20
}

/// Everything that launching one service takes: nothing is left to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// In starting order.
    pub processes: Vec<Process>,
    /// The port that the first process must listen on before the others are started, where they would otherwise
    /// start one like it themselves.
    pub gate: Option<u16>,
    /// What must be on disk before the first of them starts.
    pub files: Vec<File>,
    /// The data folder and how an empty one is made.
    pub data: Data,
    /// How clients reach it.
    pub endpoint: Endpoint,
    /// The key of what it runs: data made by another major version must not be started.
    pub made_by: String,
    /// Where each of the server's own settings stands in the manifests.
    pub settings: BTreeMap<String, Origin>,
}

/// The data folder of a service, and what a fresh one starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub folder: Utf8PathBuf,
    pub fresh: Fresh,
    /// A file with the process id of the server. Left behind by one that was killed, it keeps the next one from starting
    /// once that id belongs to any other process.
    pub lock: Option<Utf8PathBuf>,
    /// A file in which the server itself writes the major version of its data.
    pub version: Option<Utf8PathBuf>,
}

/// How an empty data folder becomes a usable one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// The server fills it by itself.
    Empty,
    /// A tar archive is unpacked into `folder`, one command that works there is fed these lines on its standard input, and then the
    /// folder becomes the data folder.
    Template { archive: Utf8PathBuf, folder: Utf8PathBuf, command: Box<Process>, input: Secret },
}

/// What a launch is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub service: &'a Service,
    pub place: &'a Place,
    pub bind: &'a str,
    pub installed: &'a Installation,
    pub run_as: RunAs,
    /// This service's own secret.
    pub secret: &'a Secret,
    /// What a process is told of the rest; servers know nothing of each other.
    pub around: &'a Around,
}

/// What a process of the manifest may be told of the machine and of the rest of the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// `PATH` of the person, where the programs of a process are looked for.
    pub path: String,
    /// Ports by service and role, offset included.
    pub ports: BTreeMap<String, BTreeMap<String, u16>>,
    /// How to reach each service that can run.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// What tells the certificate of this place from the one before it; empty where there is none.
    pub certificate: String,
}

impl Around {
    /// What is around every service of a model in this place.
    pub fn of(
        services: &BTreeMap<String, Service>,
        place: &Place,
        bind: &str,
        path: &str,
        secret: impl Fn(&str) -> Secret,
    ) -> Self {
        let endpoint = |service: &Service| endpoint(service, place, bind, &secret(&service.name));
        Self {
            path: path.to_owned(),
            ports: services
                .iter()
                .map(|(name, service)| (name.clone(), service.ports_at(place.offset)))
                .collect(),
            endpoints: services
                .iter()
                .filter(|(_, service)| service.runs())
                .map(|(name, service)| (name.clone(), endpoint(service)))
                .collect(),
            certificate: String::new(),
        }
    }
}

/// The label that stands for everything that has no readable name.
pub const RECIPE: &str = "recipe";

/// The label with the command of a manifest.
pub const COMMAND: &str = "command";

/// How a service of this kind is launched.
pub fn launch(inputs: Inputs<'_>) -> Launch {
    let mut launch = match inputs.service.kind {
        Kind::Redis => redis::launch(inputs),
        Kind::Postgresql => postgresql::launch(inputs),
        Kind::Rabbitmq => rabbitmq::launch(inputs),
        Kind::Opensearch => opensearch::launch(inputs),
        Kind::Dashboards => dashboards::launch(inputs),
        Kind::Invenio => invenio::launch(inputs),
        Kind::Minio => minio::launch(inputs),
        Kind::Process => process::launch(inputs),
        Kind::Pgadmin => pgadmin::launch(inputs),
    };
    let recipe = recipe(&launch.files);
    for process in &mut launch.processes {
        process.labels.entry(RECIPE.to_owned()).or_insert_with(|| recipe.to_string());
    }
    launch
}

/// Files are not part of a process, yet a changed file must count as drift. The key tells that, and nothing of what is in them.
fn recipe(files: &[File]) -> Key {
    Key::of(files.iter().flat_map(|file| [file.path.as_str(), file.content.text()]))
}

/// How clients reach a service, whether it runs or not.
pub fn endpoint(service: &Service, place: &Place, bind: &str, secret: &Secret) -> Endpoint {
    if let Some(external) = &service.external {
        return elsewhere(service, &external.value);
    }
    let access = match service.kind {
        Kind::Redis => redis::access(service, place),
        Kind::Postgresql => postgresql::access(place),
        Kind::Rabbitmq => rabbitmq::access(place),
        Kind::Opensearch => opensearch::access(place),
        Kind::Process => process::access(),
        Kind::Minio => minio::access(service, place),
        Kind::Pgadmin => pgadmin::access(service, place),
        Kind::Dashboards => dashboards::access(place),
        Kind::Invenio => invenio::access(place),
    };
    let mut ports = service.ports_at(place.offset);
    if service.kind == Kind::Rabbitmq && !service.plugins.value.iter().any(|p| p == rabbitmq::MANAGEMENT) {
        // Only the management plugin listens there.
        ports.remove("http");
    }
    if service.backend.value == Backend::Compose {
        let published = container::published(service);
        ports.retain(|role, _| published.iter().any(|(name, _)| name == role));
    }
    Endpoint {
        kind: service.kind,
        host: local(bind).to_owned(),
        ports,
        user: access.user.map(ToOwned::to_owned),
        secret: access.authenticated.then(|| secret.clone()),
        database: access.database.map(ToOwned::to_owned),
        identity: access.identity,
        watched: match service.kind {
            Kind::Invenio => Some(invenio::watched(service, place)),
            Kind::Pgadmin => pgadmin::watched(service, place),
            _ => process::watched(service, place),
        },
        storage: minio::storage(service, secret),
    }
}

/// The loopback address of what binds this: servers that listen everywhere are still reached there.
fn local(bind: &str) -> &str {
    if bind == "0.0.0.0" { "127.0.0.1" } else { bind }
}

/// How clients reach a server that somebody else runs. Which one it is, nobody can prove: the manifest says that it is the one.
fn elsewhere(service: &Service, external: &External) -> Endpoint {
    let main = scheme(service.kind).map(|(_, role, _)| (role.to_owned(), external.port));
    // Its other ports are those that the manifest names; those of the release are of servers that run here.
    let named = service.ports.iter().filter(|(_, port)| matches!(port.origin, Origin::File { .. }));
    let mut ports: BTreeMap<String, u16> = named.map(|(role, port)| (role.clone(), port.value)).collect();
    ports.extend(main);
    Endpoint {
        kind: service.kind,
        host: external.host.clone(),
        ports,
        user: external.user.clone(),
        secret: external.password.clone(),
        database: external.database.clone(),
        identity: String::new(),
        watched: None,
        storage: minio::storage_elsewhere(service),
    }
}

/// The part of an endpoint that differs from kind to kind.
struct Access {
    user: Option<&'static str>,
    database: Option<&'static str>,
    authenticated: bool,
    identity: String,
}

/// The environment that every server starts from: nothing of the user's, nothing of cargo's.
fn environment(home: &Utf8Path) -> BTreeMap<String, String> {
    [("PATH", "/usr/bin:/bin"), ("HOME", home.as_str()), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A YAML double-quoted scalar. JSON strings are a subset of it.
pub(crate) fn yaml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A log is cut to its newest half beyond this many bytes.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;

/// `12` of `12.22.0`: data files carry over within a major version.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// Whether this project sets a setting itself, or whether it would open a server behind this project's back.
pub fn is_reserved(kind: Kind, setting: &str) -> bool {
    // PostgreSQL and Redis read names in any case.
    let setting = setting.to_ascii_lowercase();
    reserved_settings(kind).iter().any(|reserved| match reserved.split_once('*') {
        Some((begin, end)) => setting
            .strip_prefix(begin)
            .is_some_and(|rest| rest.ends_with(end) && (end.is_empty() || rest.len() > end.len())),
        None => setting == *reserved,
    })
}

/// Whether a setting of this name could hold a secret. Its value is neither shown nor read back.
pub fn is_secret_setting(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "pass",
        "secret",
        "auth",
        "conninfo",
        "access_key",
        "private_key",
        "token",
        "credential",
        "dsn",
        "salt",
    ];
    // An application's are upper case.
    let name = &name.to_ascii_lowercase();
    name != "password_encryption" && WORDS.iter().any(|word| name.contains(word))
}

/// Whether a plugin opens ports that the manifest does not name, on every address.
pub fn listens_by_itself(kind: Kind, plugin: &str) -> bool {
    const LISTENERS: [&str; 6] = ["prometheus", "mqtt", "stomp", "stream", "web_mqtt", "web_stomp"];
    kind == Kind::Rabbitmq
        && plugin.strip_prefix("rabbitmq_").is_some_and(|name| {
            LISTENERS.iter().any(|listener| name == *listener || name.starts_with(&format!("{listener}_")))
        })
}

/// Settings of a kind that a manifest may not set; one `*` stands for anything.
pub fn reserved_settings(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Redis => redis::RESERVED,
        Kind::Postgresql => postgresql::RESERVED,
        Kind::Rabbitmq => rabbitmq::RESERVED,
        Kind::Opensearch => opensearch::RESERVED,
        Kind::Dashboards => dashboards::RESERVED,
        Kind::Invenio => invenio::RESERVED,
        Kind::Pgadmin => pgadmin::RESERVED,
        Kind::Minio | Kind::Process => &[],
    }
}

/// Where the settings of a service come from.
fn origins(service: &Service) -> BTreeMap<String, Origin> {
    service.settings.iter().map(|(name, value)| (name.clone(), value.origin.clone())).collect()
}

/// What was set, for drift and snapshots: the same entries for every kind, then the kind's own.
fn labels(inputs: Inputs<'_>, version: &str, own: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut labels = said(inputs.service, inputs.bind, inputs.service.ports_at(inputs.place.offset));
    labels.insert("version".to_owned(), version.to_owned());
    for (name, value) in own {
        labels.insert((*name).to_owned(), value.clone());
    }
    labels
}

/// What the manifest says of a service, whatever runs it.
fn said(service: &Service, bind: &str, ports: BTreeMap<String, u16>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("bind".to_owned(), bind.to_owned())]);
    for (role, port) in ports {
        labels.insert(format!("ports.{role}"), port.to_string());
    }
    for (name, value) in &service.settings {
        let shown = if is_secret_setting(name) {
            Key::of([value.value.as_str()]).to_string()
        } else {
            value.value.clone()
        };
        labels.insert(format!("settings.{name}"), shown);
    }
    labels
}
