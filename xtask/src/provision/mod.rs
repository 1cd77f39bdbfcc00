//! Provisioning: the servers, and what is made from them once, in a per-user store. A second run reads and does nothing.
//!
//! Package clients of the host fetch (apt, Maven); `ecosystem.lock` says exactly what. How a server is started is the catalog's business.

mod archive;
mod debian;
mod host;
mod java;
mod lock;
mod maven;
mod opensearch;
mod postgresql;
mod rabbitmq;
mod run;
mod store;
mod tree;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use ecosystem_core::artifact::{Installation, Installed, Key};
use ecosystem_core::catalog::Kind;
use ecosystem_core::failure::{self, Failure};
use ecosystem_core::model::{From, Service};
use ecosystem_core::process::RunAs;
use ecosystem_core::release::assembly::{Assembly, Selection};

pub use host::Host;
use lock::Lock;
use store::{Id, Store};

use crate::event::Events;
use crate::sys;
use crate::sys::cmd::Cmd;

/// What provisioning is told.
#[derive(Debug)]
pub struct Options {
    pub store: Utf8PathBuf,
    /// The project's lock file, which need not exist.
    pub lock: Utf8PathBuf,
    /// Fail instead of resolving what the lock does not know or what is gone.
    pub locked: bool,
    /// Pin what is fetched instead of checking it.
    pub relock: bool,
    pub run_as: RunAs,
    pub host: Host,
    /// The Java versions that OpenSearch runs on, as a semver requirement.
    pub java: String,
}

/// Something that a service needs from the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Need {
    pub service: String,
    pub name: String,
    pub version: String,
    pub present: bool,
}

/// Fills the store.
pub struct Provisioner<'a> {
    options: Options,
    store: Store,
    lock: Lock,
    suite: Option<String>,
    events: &'a dyn Events,
}

/// What one service needs, found or missing.
struct Item {
    service: String,
    name: &'static str,
    what: What,
    found: Option<Installed>,
}

/// How something comes into the store.
enum What {
    Debian(&'static debian::Recipe),
    /// The portable PostgreSQL, by coordinates.
    Postgresql(String),
    /// OpenSearch of a version, with these modules and plugins.
    Opensearch {
        version: String,
        modules: Vec<String>,
        plugins: Vec<String>,
    },
    /// Made from the services' other items.
    Derived,
}

impl<'a> Provisioner<'a> {
    /// Reads the lock file.
    pub fn new(options: Options, events: &'a dyn Events) -> anyhow::Result<Self> {
        let lock = Lock::load(&options.lock)?;
        let suite = options.host.suite()?;
        Ok(Self { store: Store::at(&options.store), options, lock, suite, events })
    }

    /// What these services need, and whether it is there. Fetches nothing.
    pub fn plan(&self, services: &[&Service]) -> anyhow::Result<Vec<Need>> {
        let mut needs = Vec::new();
        for service in services {
            for item in self.items(service)? {
                let version =
                    item.found.as_ref().map_or_else(|| wanted_version(&item.what), |i| i.version.clone());
                needs.push(Need {
                    service: item.service,
                    name: item.name.to_owned(),
                    version,
                    present: item.found.is_some(),
                });
            }
        }
        Ok(needs)
    }

    /// Fetches and builds what is missing and returns everything, by service.
    pub fn provide(&mut self, services: &[&Service]) -> anyhow::Result<BTreeMap<String, Installation>> {
        let mut items = Vec::new();
        for service in services {
            items.extend(self.items(service)?);
        }
        if items.iter().any(|item| item.found.is_none()) {
            let before = self.lock.clone();
            let provided = self.fetch(&mut items);
            if self.lock != before {
                self.write_lock()?;
            }
            provided?;
            self.derive(&mut items)?;
        }
        let mut all: BTreeMap<String, Installation> = BTreeMap::new();
        for Item { service, name, found, .. } in items {
            let installed = found.ok_or_else(|| anyhow::anyhow!("{name} was not provided"))?;
            all.entry(service).or_default().insert(name.to_owned(), installed);
        }
        Ok(all)
    }

    /// What one service needs, each looked up in the store.
    fn items(&self, service: &Service) -> anyhow::Result<Vec<Item>> {
        let from_path = service.from.value == From::Path;
        let item = |name, what, found| Item { service: service.name.clone(), name, what, found };
        Ok(match service.kind {
            Kind::Redis if from_path => {
                vec![item("redis", What::Debian(&debian::REDIS), Some(self.redis_on_path()?))]
            }
            Kind::Redis => vec![self.packaged(service, &debian::REDIS)?],
            Kind::Rabbitmq | Kind::Opensearch if from_path => return Err(only_from_store(service).into()),
            Kind::Rabbitmq => vec![self.packaged(service, &debian::RABBITMQ)?],
            Kind::Postgresql => {
                let coordinates = postgresql::coordinates(&coordinates(service)?)?;
                let server = if from_path {
                    Some(postgresql::find(&self.options.host)?)
                } else {
                    self.store.read(&postgresql::id(&coordinates, self.sum(&coordinates)))?
                };
                let template = match &server {
                    Some(server) => self.store.read(&postgresql::template_id(server))?,
                    None => None,
                };
                let client = self.packaged(service, &debian::POSTGRESQL_CLIENT)?;
                vec![
                    item("postgresql", What::Postgresql(coordinates), server),
                    item("postgresql-template", What::Derived, template),
                    client,
                ]
            }
            Kind::Opensearch => {
                let version = version_of(&coordinates(service)?);
                let assembly = assembly(&version)?;
                let selection = assembly.select(&service.modules.value, &service.plugins.value)?;
                let server = self.store.read(&opensearch::id(&version, &selection, &self.lock.maven))?;
                let Selection { modules, plugins, .. } = selection;
                let accept = semver::VersionReq::parse(&self.options.java)?;
                let java = java::find(&self.store, &self.options.host, &accept, self.events)?;
                let java = match java {
                    Some(java) => item("java", What::Derived, Some(java)),
                    None => self.packaged(service, &debian::JAVA)?,
                };
                let archive = match (&server, &java.found) {
                    (Some(server), Some(java)) => self.store.read(&opensearch::archive_id(server, java))?,
                    _ => None,
                };
                vec![
                    item("opensearch", What::Opensearch { version, modules, plugins }, server),
                    java,
                    item("opensearch-cds", What::Derived, archive),
                ]
            }
            kind => return Err(anyhow::anyhow!("nothing is known about providing {kind}")),
        })
    }

    fn packaged(&self, service: &Service, recipe: &'static debian::Recipe) -> anyhow::Result<Item> {
        let mut found = None;
        if let Some(suite) = &self.suite {
            let name = debian::lock_name(recipe, suite);
            let overlay = debian::Overlay::load(&self.store)?;
            if let Some(pins) = overlay.over(&name, self.lock.debian.get(&name)) {
                found = self.store.read(&debian::id(recipe, suite, &pins))?;
            }
        }
        Ok(Item { service: service.name.clone(), name: recipe.name, what: What::Debian(recipe), found })
    }

    fn redis_on_path(&self) -> anyhow::Result<Installed> {
        let Some(path) = self.options.host.find("redis-server") else {
            return Err(Failure::new(failure::Kind::Host, "program-missing", "redis-server is not on PATH")
                .hint(self.options.host.family().install("redis-server", "redis", "redis"))
                .into());
        };
        let output = Cmd::new(path.as_str()).args(["--version"]).run()?;
        let version =
            output.stdout.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("unknown");
        let mut installed = Installed {
            name: "redis".to_owned(),
            version: version.to_owned(),
            key: Key::of(["path", path.as_str(), version]),
            root: path.clone(),
            facts: ecosystem_core::artifact::Facts::default(),
        };
        installed.facts.paths.insert("server".to_owned(), path);
        Ok(installed)
    }

    /// Both package clients at once; each does everything that is missing of its own.
    fn fetch(&mut self, items: &mut [Item]) -> anyhow::Result<()> {
        let Self { options, store, lock, suite, events } = self;
        let (mut packaged, mut jars) = (Vec::new(), Vec::new());
        for item in items.iter_mut().filter(|item| item.found.is_none()) {
            match &item.what {
                What::Debian(_) => packaged.push(item),
                What::Postgresql(_) | What::Opensearch { .. } => jars.push(item),
                What::Derived => {}
            }
        }
        let Lock { maven, debian } = lock;
        let (store, options, events, suite) = (&*store, &*options, *events, suite.as_deref());
        let results = std::thread::scope(|scope| {
            let apt =
                scope.spawn(move || fetch_packages(store, options, events, suite, debian, &mut packaged));
            let mvn = scope.spawn(move || fetch_jars(store, options, events, maven, &mut jars));
            [apt.join(), mvn.join()]
        });
        let mut failures: Vec<anyhow::Error> = Vec::new();
        for result in results {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failures.push(error),
                Err(_) => failures.push(anyhow::anyhow!("provisioning ended by a fault of this program")),
            }
        }
        both(failures)
    }

    /// What is made from what was fetched.
    fn derive(&self, items: &mut [Item]) -> anyhow::Result<()> {
        let (run_as, events) = (self.options.run_as, self.events);
        let of = |items: &[Item], service: &str, name: &str| {
            items.iter().find(|i| i.service == service && i.name == name).and_then(|i| i.found.clone())
        };
        for index in 0..items.len() {
            let Item { service, name, found: None, .. } = &items[index] else { continue };
            let made = match *name {
                "postgresql-template" => {
                    let server = of(items, service, "postgresql");
                    server.map(|server| postgresql::template(&self.store, &server, run_as, events))
                }
                "opensearch-cds" => {
                    let both = of(items, service, "opensearch").zip(of(items, service, "java"));
                    both.map(|(server, java)| {
                        opensearch::archive(&self.store, &server, &java, run_as, events)
                    })
                }
                _ => None,
            };
            items[index].found = made.transpose()?;
        }
        Ok(())
    }

    fn sum(&self, coordinates: &str) -> &str {
        self.lock.maven.get(coordinates).map_or("unpinned", |pin| pin.sha256.as_str())
    }

    /// Keeps a project's lock file up to date. A project without one goes on without.
    fn write_lock(&self) -> anyhow::Result<()> {
        if self.options.relock || self.options.lock.exists() {
            // Somebody else's checkout may be read-only: the store remembers what was resolved.
            let written = sys::fs::write_atomic(&self.options.lock, self.lock.print().as_bytes(), 0o644);
            if self.options.relock {
                written?;
            }
        }
        Ok(())
    }
}

fn fetch_packages(
    store: &Store,
    options: &Options,
    events: &dyn Events,
    suite: Option<&str>,
    lock: &mut BTreeMap<String, Vec<String>>,
    items: &mut [&mut Item],
) -> anyhow::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let suite = suite.unwrap_or("unknown");
    let pins = debian::Pins { lock, overlay: debian::Overlay::load(store)? };
    let mut debian =
        debian::Debian { store, host: &options.host, events, locked: options.locked, suite, pins };
    for item in items {
        if let What::Debian(recipe) = item.what {
            item.found = Some(debian.install(recipe)?);
        }
    }
    Ok(())
}

fn fetch_jars(
    store: &Store,
    options: &Options,
    events: &dyn Events,
    pins: &mut BTreeMap<String, lock::Pin>,
    items: &mut [&mut Item],
) -> anyhow::Result<()> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for item in items.iter() {
        match &item.what {
            What::Postgresql(coordinates) => drop(wanted.insert(coordinates.clone())),
            What::Opensearch { version, modules, plugins } => {
                let assembly = assembly(version)?;
                wanted.extend(assembly.select(modules, plugins)?.jars().into_iter().map(ToOwned::to_owned));
                if options.relock {
                    wanted.extend(assembly.all_jars().map(ToOwned::to_owned));
                }
            }
            What::Debian(_) | What::Derived => {}
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut maven = maven::Maven { store, host: &options.host, events, pins, relock: options.relock };
    let jars = maven.fetch(&wanted.iter().map(String::as_str).collect())?;
    for item in items {
        item.found = Some(match &item.what {
            What::Postgresql(coordinates) => {
                let sum = pins.get(coordinates).map(|pin| pin.sha256.clone()).unwrap_or_default();
                let id = postgresql::id(coordinates, &sum);
                store
                    .ensure(&id, events, |folder| postgresql::build(&jars.path(coordinates), &sum, folder))?
            }
            What::Opensearch { version, modules, plugins } => {
                let assembly = assembly(version)?;
                let selection = assembly.select(modules, plugins)?;
                let id: Id = opensearch::id(version, &selection, pins);
                store.ensure(&id, events, |folder| {
                    opensearch::build(version, &selection, &jars, pins, folder)
                })?
            }
            What::Debian(_) | What::Derived => continue,
        });
    }
    Ok(())
}

/// Several failures as one: a person mends them together.
fn both(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    let Some(first) = failures.pop() else { return Ok(()) };
    let Some(second) = failures.pop() else { return Err(first) };
    match (first.downcast::<Failure>(), second.downcast::<Failure>()) {
        (Ok(first), Ok(second)) => Err(Failure {
            message: format!("{}\n{}", second.message, first.message),
            hints: second.hints.into_iter().chain(first.hints).collect(),
            ..second
        }
        .into()),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn assembly(version: &str) -> Result<Assembly, Failure> {
    Assembly::of(version).ok_or_else(|| {
        let message = format!("this version does not know how to assemble OpenSearch {version}");
        Failure::new(failure::Kind::Manifest, "version-unknown", message)
    })
}

fn only_from_store(service: &Service) -> Failure {
    let message = format!("this version takes {} from the store only", service.kind);
    Failure::new(failure::Kind::Manifest, "from-path-unsupported", message)
        .hint(format!("take `from = \"path\"` out of [services.{}]", service.name))
}

/// `group:artifact:version` of a Package URL.
fn coordinates(service: &Service) -> Result<String, Failure> {
    let get = service.get.as_ref().map_or("", |get| get.value.as_str());
    let coordinates = get.strip_prefix("pkg:maven/").map(|rest| rest.replace(['/', '@'], ":"));
    coordinates.ok_or_else(|| {
        let message = format!("services.{}.get: `{get}` is no Package URL of Maven", service.name);
        Failure::new(failure::Kind::Manifest, "origin-unknown", message)
    })
}

fn version_of(coordinates: &str) -> String {
    coordinates.rsplit(':').next().unwrap_or_default().to_owned()
}

fn wanted_version(what: &What) -> String {
    match what {
        What::Postgresql(coordinates) => version_of(coordinates),
        What::Opensearch { version, .. } => version.clone(),
        What::Debian(_) | What::Derived => String::new(),
    }
}

/// `14.2 MB`
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
