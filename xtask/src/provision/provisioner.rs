//! The way in: what services need, what of it is there, and getting the rest. Debian and Maven work at the same time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Installation, Installed};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Service;
use ecosystem_core::process::RunAs;
use serde::Serialize;

use super::cause::explain;
use super::debian::{self, Debian, Overlay, Pins, Recipe};
use super::host::Host;
use super::lock::{Lock, Pin};
use super::maven::{self, Gav, Jars, Maven};
use super::offline::{Missing, offline_missing};
use super::store::{Guard, Id, Store};
use super::want::{Home, Want, wants};
use super::{opensearch, postgresql};
use crate::event::{Event, Events};
use crate::sys;

/// How the lock is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Immutable origins must match; moving ones are resolved again where they are gone.
    #[default]
    Normal,
    /// Nothing is resolved: what the lock does not have, or no longer exists, is an error.
    Locked,
    /// The lock is written anew: moving origins are resolved again, and what comes from Maven is trusted.
    Relock,
}

/// Provides servers. See `provide`.
pub struct Provisioner<'a> {
    pub store: &'a Utf8Path,
    pub lock: Lock,
    /// Where the lock is written back when something was resolved; `None` leaves it alone.
    pub lock_file: Option<Utf8PathBuf>,
    pub mode: Mode,
    /// As whom servers run that are started once to make something of them.
    pub run_as: RunAs,
    pub host: Host,
    /// Nothing is fetched: what is missing is an error.
    pub offline: bool,
    /// What is in the store is counted before it is used. Takes some hundredths of a second.
    pub thorough: bool,
    pub events: &'a dyn Events,
    /// Keeps what is used from being removed, until this value goes.
    pub in_use: InUse,
}

/// Held from `provide` on.
#[derive(Debug, Default)]
pub struct InUse {
    _guard: Option<Guard>,
}

impl InUse {
    /// Keeps what is in this store.
    pub(super) fn of(store: &Store) -> anyhow::Result<Self> {
        Ok(Self { _guard: store.in_use()? })
    }
}

/// One thing that services need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The first service that needs it.
    pub service: String,
    pub name: String,
    /// As far as it is known before fetching.
    pub version: Option<String>,
    /// It is in the store, or on the host.
    pub present: bool,
    /// What a first fetch brings in, where the lock knows it. Parts that are cached may make it less.
    pub bytes: Option<u64>,
    /// Made on this machine from the others: takes time, fetches nothing.
    pub built: bool,
}

/// What is made on this machine, and from what.
pub(super) const DERIVED: [(&str, &str); 2] =
    [("postgresql-template", "postgresql"), ("opensearch-cds", "opensearch")];

impl Provisioner<'_> {
    pub(super) fn store(&self) -> Store {
        Store::at(self.store).thorough(self.thorough)
    }

    /// What these services need and whether it is there. Reads only, a few small files.
    pub fn plan(&self, services: &[&Service]) -> anyhow::Result<Vec<Need>> {
        self.look(services).map_err(|error| explain(error, self.store))
    }

    fn look(&self, services: &[&Service]) -> anyhow::Result<Vec<Need>> {
        let store = self.store();
        let suite = self.host.suite()?.unwrap_or_default();
        let overlay = Overlay::load(&store)?;
        let (mut needs, mut seen) = (Vec::new(), BTreeSet::new());
        for service in services {
            let mut have = Installation::new();
            for want in wants(service, &self.host)? {
                let id = self.id(&want, &suite, &overlay)?;
                let installed = id.as_ref().map(|id| store.read(id)).transpose()?.flatten();
                // Things of the host are only written down: nothing to fetch, nothing to wait for.
                let host = matches!(want, Want::HostJava(_) | Want::OnPath(_));
                let need = Need {
                    service: service.name.clone(),
                    name: want.name().to_owned(),
                    version: installed
                        .as_ref()
                        .map(|i| i.version.clone())
                        .or_else(|| Some(id.as_ref().filter(|_| !host)?.version.clone())),
                    present: installed.is_some() || host,
                    bytes: self.bytes(&want)?,
                    built: false,
                };
                if seen.insert((need.name.clone(), id)) {
                    needs.push(need);
                }
                if let Some(installed) = installed {
                    have.insert(installed.name.clone(), installed);
                }
            }
            for (name, of) in DERIVED {
                if service.kind.name() != of {
                    continue;
                }
                let id = derived_id(name, &have);
                let present = id.as_ref().map(|id| store.read(id)).transpose()?.flatten().is_some();
                let version = have.get(of).map(|of| of.version.clone());
                if seen.insert((name.to_owned(), id)) {
                    let service = service.name.clone();
                    needs.push(Need {
                        service,
                        name: name.to_owned(),
                        version,
                        present,
                        bytes: None,
                        built: true,
                    });
                }
            }
        }
        Ok(needs)
    }

    /// Gets everything that these services need: by service name, what `catalog::launch` takes. Until this value goes, nobody removes it.
    pub fn provide(&mut self, services: &[&Service]) -> anyhow::Result<BTreeMap<String, Installation>> {
        self.provide_unexplained(services).map_err(|error| explain(error, self.store))
    }

    fn provide_unexplained(
        &mut self,
        services: &[&Service],
    ) -> anyhow::Result<BTreeMap<String, Installation>> {
        let store = self.store();
        self.in_use = InUse::of(&store)?;
        let suite = self.host.suite()?.unwrap_or_default();
        let overlay = Overlay::load(&store)?;
        let mut wanted = Vec::new();
        for service in services {
            for want in wants(service, &self.host)? {
                wanted.push((*service, want));
            }
        }

        let mut have: BTreeMap<String, Installation> =
            services.iter().map(|service| (service.name.clone(), Installation::new())).collect();
        let (mut packages, mut builds, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (service, want) in &wanted {
            let id = self.id(want, &suite, &overlay)?;
            let found = match id.as_ref().map(|id| store.read(id)).transpose()?.flatten() {
                Some(installed) if self.mode != Mode::Relock => Some(installed),
                _ => match want {
                    Want::OnPath(programs) => Some(programs.record(&store, self.events)?),
                    Want::HostJava(java) => Some(java.record(&store, self.events)?),
                    Want::Packages(recipe) => {
                        packages.push((&service.name, *recipe));
                        None
                    }
                    Want::PostgresqlBuild(_) | Want::Opensearch(_) => {
                        builds.push((&service.name, want));
                        None
                    }
                    Want::Application(_) | Want::Site(_) | Want::Go(_) | Want::Archive(_) => {
                        others.push((&service.name, want));
                        None
                    }
                },
            };
            if let Some(installed) = found {
                have.entry(service.name.clone()).or_default().insert(want.name().to_owned(), installed);
            }
        }
        if self.offline {
            self.refuse_missing(&store, &suite, &overlay, &packages, &builds, &others)?;
        }
        let got = self.fetch(&store, &suite, overlay, &packages, &builds, &others)?;
        for (service, installed) in got {
            have.entry(service).or_default().insert(installed.name.clone(), installed);
        }
        self.derive(&store, services, &mut have)?;
        Ok(have)
    }

    /// Without a network only what is in the caches can be built. Everything that is not there is named at once.
    fn refuse_missing(
        &self,
        store: &Store,
        suite: &str,
        overlay: &Overlay,
        packages: &[(&String, &'static Recipe)],
        builds: &[(&String, &Want)],
        others: &[(&String, &Want)],
    ) -> anyhow::Result<()> {
        let mut missing = BTreeMap::new();
        for (_, want) in others {
            let version = self.id(want, suite, overlay)?.map(|id| id.version);
            let (unit, parts) = match want {
                Want::Archive(archive) if archive.is_at_hand(store, &self.host) => continue,
                Want::Archive(archive) => ("archive", vec![(archive.url().to_owned(), None)]),
                _ => ("package", Vec::new()),
            };
            missing.insert(want.name(), Missing { version, unit, parts });
        }
        for (_, recipe) in packages {
            let name = debian::lock_name(recipe, suite);
            let pins = overlay.over(&name, self.lock.debian.get(&name)).unwrap_or_default();
            let version = self.id(&Want::Packages(recipe), suite, overlay)?.map(|id| id.version);
            let parts = pins.into_iter().map(|pin| (pin, None)).collect();
            missing.insert(recipe.name, Missing { version, unit: "Debian package", parts });
        }
        for (_, want) in builds {
            let absent = maven::absent(store, &artifacts(want)?, &self.lock.maven);
            let size = |name: &String| self.lock.maven.get(name).map(|pin| pin.size);
            let parts: Vec<_> =
                absent.iter().map(ToString::to_string).map(|name| (name.clone(), size(&name))).collect();
            if !parts.is_empty() {
                let version = self.id(want, suite, overlay)?.map(|id| id.version);
                missing.insert(want.name(), Missing { version, unit: "artifact", parts });
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(offline_missing(&missing).into()) }
    }

    /// All package clients at once: one waits for the network while the other unpacks.
    pub(super) fn fetch(
        &mut self,
        store: &Store,
        suite: &str,
        overlay: Overlay,
        packages: &[(&String, &'static Recipe)],
        builds: &[(&String, &Want)],
        others: &[(&String, &Want)],
    ) -> anyhow::Result<Vec<(String, Installed)>> {
        if packages.is_empty() && builds.is_empty() && others.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.lock.clone();
        let Self { lock: Lock { maven, debian, go, .. }, host, events, mode, .. } = self;
        let (events, mode) = (*events, *mode);
        let mut debian = Debian::new(store, host, events, mode, suite, Pins { lock: debian, overlay });
        let mut maven = Maven { store, host, events, relock: mode == Mode::Relock, pins: maven };
        let (from_debian, from_others, from_maven) = std::thread::scope(|scope| {
            let debian = scope.spawn(move || {
                let install = |(service, recipe): &(&String, &'static Recipe)| {
                    Ok(((*service).clone(), debian.install(recipe)?))
                };
                packages.iter().map(install).collect::<anyhow::Result<Vec<_>>>()
            });
            let others = scope.spawn(|| {
                let install = |(service, want): &(&String, &Want)| {
                    let installed = match want {
                        Want::Go(program) => {
                            program.install(store, host, events, mode == Mode::Relock, go)?
                        }
                        want => install(want, store, host, events)?,
                    };
                    Ok(((*service).clone(), installed))
                };
                others.iter().map(install).collect::<anyhow::Result<Vec<_>>>()
            });
            let from_maven = build(&mut maven, builds);
            (debian.join(), others.join(), from_maven)
        });
        if self.lock != before {
            self.write_lock();
        }
        let from_debian = from_debian.map_err(|_| anyhow::anyhow!("fetching Debian packages panicked"))?;
        let from_others = from_others.map_err(|_| anyhow::anyhow!("installing an application panicked"))?;
        let (mut got, mut failed) = (Vec::new(), None);
        for result in [from_debian, from_maven, from_others] {
            match result {
                Ok(installed) => got.extend(installed),
                Err(error) => {
                    failed = Some(match failed.take() {
                        Some(first) => both(first, error),
                        None => error,
                    });
                }
            }
        }
        failed.map_or(Ok(got), Err)
    }

    pub(super) fn write_lock(&self) {
        let Some(path) = &self.lock_file else { return };
        // What was resolved is in the store too; a lock in somebody else's hands is no reason to stop.
        match sys::fs::write_atomic(path, self.lock.print().as_bytes(), 0o644) {
            Ok(()) => self.events.emit(Event::Fact { title: "Lock", text: format!("{path} was updated") }),
            Err(error) => {
                self.events.emit(Event::Warning(format!("ecosystem.lock is out of date: {error:#}")));
            }
        }
    }

    /// What is made from what was fetched.
    fn derive(
        &self,
        store: &Store,
        services: &[&Service],
        have: &mut BTreeMap<String, Installation>,
    ) -> anyhow::Result<()> {
        let (events, run_as) = (self.events, self.run_as);
        let mut open = Vec::new();
        for service in services {
            let have = have.entry(service.name.clone()).or_default();
            let id = DERIVED.iter().find_map(|(name, _)| derived_id(name, have));
            match id.as_ref().map(|id| store.read(id)).transpose()?.flatten() {
                Some(made) => drop(have.insert(made.name.clone(), made)),
                None if id.is_some() => open.push(*service),
                None => {}
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let have_now = &*have;
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = open
                .iter()
                .map(|service| {
                    scope.spawn(move || {
                        let have = &have_now[&service.name];
                        match (have.get("postgresql"), have.get("opensearch"), have.get("java")) {
                            (Some(server), _, _) => {
                                postgresql::template(store, events, server, run_as).map(Some)
                            }
                            (_, Some(server), Some(java)) => {
                                opensearch::class_archive(store, events, server, java, run_as).map(Some)
                            }
                            _ => Ok(None),
                        }
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("preparing a server panicked")).flatten()
            });
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        for (service, made) in open.iter().zip(made) {
            if let Some(made) = made {
                have.entry(service.name.clone()).or_default().insert(made.name.clone(), made);
            }
        }
        Ok(())
    }

    /// Where it is in the store; `None` where that is not known before it was resolved.
    pub(super) fn id(&self, want: &Want, suite: &str, overlay: &Overlay) -> anyhow::Result<Option<Id>> {
        Ok(match want {
            Want::Packages(recipe) => {
                let name = debian::lock_name(recipe, suite);
                let pins = overlay.over(&name, self.lock.debian.get(&name));
                pins.map(|pins| debian::id(recipe, suite, &pins))
            }
            Want::OnPath(programs) => Some(programs.id()?),
            Want::HostJava(java) => Some(java.id()?),
            Want::PostgresqlBuild(gav) => {
                self.lock.maven.get(&gav.to_string()).map(|pin| postgresql::id(gav, &pin.sha256))
            }
            Want::Opensearch(home) => Some(home_id(home, &self.lock.maven)?),
            Want::Application(application) => Some(application.id()?),
            Want::Site(site) => Some(site.id()?),
            Want::Archive(archive) => Some(archive.id()),
            Want::Go(program) => program.id(&self.lock.go),
        })
    }

    fn bytes(&self, want: &Want) -> Result<Option<u64>, Failure> {
        let sum = |gavs: BTreeSet<Gav>| {
            gavs.iter().map(|gav| self.lock.maven.get(&gav.to_string()).map(|pin| pin.size)).sum()
        };
        Ok(match want {
            Want::PostgresqlBuild(_) | Want::Opensearch(_) => sum(artifacts(want)?),
            Want::Packages(_) | Want::Application(_) | Want::Site(_) | Want::Go(_) | Want::Archive(_) => None,
            Want::OnPath(_) | Want::HostJava(_) => Some(0),
        })
    }
}

/// Two failures as one: a person mends them together.
fn both(one: anyhow::Error, other: anyhow::Error) -> anyhow::Error {
    match (one.downcast::<Failure>(), other.downcast::<Failure>()) {
        (Ok(one), Ok(other)) => Failure {
            message: format!("{}\n{}", one.message, other.message),
            hints: one.hints.into_iter().chain(other.hints).collect(),
            ..one
        }
        .into(),
        (Err(error), _) | (_, Err(error)) => error,
    }
}

fn home_id(home: &Home, pins: &BTreeMap<String, Pin>) -> Result<Id, Failure> {
    Ok(opensearch::id(&home.assembly.select(&home.modules, &home.plugins)?, pins))
}

pub(super) fn derived_id(name: &str, have: &Installation) -> Option<Id> {
    match name {
        "postgresql-template" => Some(postgresql::template_id(have.get("postgresql")?)),
        _ => Some(opensearch::archive_id(have.get("opensearch")?, have.get("java")?)),
    }
}

fn artifacts(want: &Want) -> Result<BTreeSet<Gav>, Failure> {
    match want {
        Want::PostgresqlBuild(gav) => Ok(BTreeSet::from([gav.clone()])),
        Want::Opensearch(home) => opensearch::artifacts(&home.assembly.select(&home.modules, &home.plugins)?),
        _ => Ok(BTreeSet::new()),
    }
}

/// Everything that comes from jars: one fetch, then each is put together.
fn build(maven: &mut Maven<'_>, builds: &[(&String, &Want)]) -> anyhow::Result<Vec<(String, Installed)>> {
    let mut wanted = BTreeSet::new();
    for (_, want) in builds {
        wanted.extend(artifacts(want)?);
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: BTreeSet<&str> = builds.iter().map(|(_, want)| want.name()).collect();
    let title = names.into_iter().collect::<Vec<_>>().join(" and ");
    let jars = maven.fetch(&wanted, &title)?;
    builds.iter().map(|(service, want)| Ok(((*service).clone(), assemble(maven, want, &jars)?))).collect()
}

/// What comes from neither Debian nor Maven.
fn install(want: &Want, store: &Store, host: &Host, events: &dyn Events) -> anyhow::Result<Installed> {
    match want {
        Want::Application(application) => application.install(store, host, events),
        Want::Site(site) => site.install(store, host, events),
        Want::Archive(archive) => archive.install(store, host, events),
        _ => Err(Failure::new(Kind::Bug, "not-a-build", format!("{} is no application", want.name())).into()),
    }
}

fn assemble(maven: &Maven<'_>, want: &Want, jars: &Jars) -> anyhow::Result<Installed> {
    match want {
        Want::PostgresqlBuild(gav) => {
            let pin = jars.pin(gav).context("an artifact was not fetched")?;
            postgresql::install(maven.store, maven.events, gav, &postgresql::id(gav, &pin.sha256), jars)
        }
        Want::Opensearch(home) => {
            let selection = home.assembly.select(&home.modules, &home.plugins)?;
            let id = opensearch::id(&selection, maven.pins);
            opensearch::install(maven.store, maven.events, &selection, &id, jars)
        }
        _ => {
            Err(Failure::new(Kind::Bug, "not-a-build", format!("{} is not made from jars", want.name()))
                .into())
        }
    }
}
