//! A project together with its state: what nearly every command opens first.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use ecosystem_core::artifact::Installation;
use ecosystem_core::catalog::{self, Around};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Asked, Backend, Ecosystem, Flags, Origin, Service};
use ecosystem_core::place::Place;
use ecosystem_core::process::{RunAs, quoted};
use ecosystem_core::seen::Seen;
use serde::Serialize;

use crate::backend::compose::{self, Compose, record};
use crate::backend::native;
use crate::checkpoint;
use crate::cli::Global;
use crate::context::Context;
use crate::event::{Event, Events};
use crate::provision::{InUse, Lock, Mode, Provisioner, possible};
use crate::reset;
use crate::seed::{Found, Pack, archive};
use crate::site::places;
use crate::site::{self, LOCK, STATE, Secrets, Site, State, find_root, link_refused};
use crate::sys::fs::canonical;

/// Says what a manifest allows and is unwise.
pub fn warn_of(ecosystem: &Ecosystem, events: &dyn Events) {
    for warning in &ecosystem.warnings {
        events.emit(Event::Warning(format!("{}: {}", warning.place(), warning.what)));
    }
}

/// A service of a profile that cannot be had on this machine and that the others do not miss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unavailable {
    pub service: String,
    pub reason: String,
    pub next: String,
}

/// In one line, for people.
impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.service, self.reason, self.next)
    }
}

/// A project and its state.
#[derive(Debug)]
pub struct Stack {
    pub site: Site,
    pub state: State,
    pub store: Utf8PathBuf,
    /// What is wrong with the manifest, for a command that goes on all the same; the site has the built-in defaults then.
    pub broken: Option<Failure>,
    /// What was set up by an earlier `up`.
    known: Option<Place>,
}

impl Stack {
    /// Opens the project that the person is in, or that `-C` names.
    pub fn open(context: &Context, global: &Global) -> anyhow::Result<Self> {
        Self::open_with(context, global, &Asked::default())
    }

    /// The same with what a command was told.
    pub fn open_with(context: &Context, global: &Global, asked: &Asked) -> anyhow::Result<Self> {
        let mut stack = Self::look_with(context, global, asked)?;
        stack.broken.take().map_or(Ok(stack), |failure| Err(failure.into()))
    }

    /// The same for commands that only look at what runs, or stop it: a broken manifest does not hide it.
    pub fn look(context: &Context, global: &Global) -> anyhow::Result<Self> {
        Self::look_with(context, global, &Asked::default())
    }

    fn look_with(context: &Context, global: &Global, asked: &Asked) -> anyhow::Result<Self> {
        let start = match &global.directory {
            Some(folder) => context.cwd.join(folder),
            None => context.cwd.clone(),
        };
        let Ok(start) = start.canonicalize_utf8() else {
            let text = format!("there is no folder {start}");
            return Err(Failure::new(Kind::Usage, "no-such-folder", text).into());
        };
        let root = find_root(&start).unwrap_or(&start);
        let flags = Flags {
            release: global.release.clone(),
            port_offset: asked.port_offset,
            backend: asked.backend,
            earlier: State::at(canonical(&context.state(root))).asked(),
            ..Flags::default()
        };
        let (site, broken) = Site::open(&start, flags)?;
        let folder = context.state(&site.root);
        if folder.is_symlink() && folder == site.root.join(STATE) {
            return Err(link_refused(&folder).into());
        }
        let state = State::at(canonical(&folder));
        state.refuse_strangers()?;
        let store = context.store()?;
        let known = state.place(&store)?;
        Ok(Self { site, state, store, broken, known })
    }

    /// Warns of a broken manifest: what follows is what runs, as far as it is known without it.
    pub fn warn_if_broken(&self, events: &dyn Events) {
        if let Some(failure) = &self.broken {
            events.emit(Event::Warning(format!(
                "{}\n  it is left aside: this command goes on with what runs",
                failure.message
            )));
        }
    }

    /// The port offset: a flag, of now or of an earlier `up`, else what the manifest says, else what was used last.
    fn offset(&self, known: Option<&Place>) -> u16 {
        let wanted = &self.site.ecosystem.port_offset;
        match (&wanted.origin, known) {
            (Origin::Release(_), Some(place)) => place.offset,
            _ => wanted.value,
        }
    }

    /// The place of this stack with the offset that is wanted now, set up if it was not. The caller holds the lock.
    pub fn create_place(&self) -> anyhow::Result<Place> {
        self.refuse_copy()?;
        // Read again: another command may have set it up while this one waited for the lock.
        let known = self.state.place(&self.store)?;
        let wanted = self.offset(known.as_ref());
        // A flag may turn out to be impossible; it is remembered once it is known not to be.
        let flag = matches!(self.site.ecosystem.port_offset.origin, Origin::Flag(_));
        let present = known.map_or(if flag { 0 } else { wanted }, |place| place.offset);
        let place = self.state.create(&self.site.root, &self.store, present)?;
        // Only `list` and `down --all` need it, and a store may be there to be read only.
        let _convenience = places::remember(&place);
        Ok(Place { offset: wanted, ..place })
    }

    /// The place with its certificate and the secrets of these services, made where they are missing. The caller holds the lock.
    pub fn furnish(&self, services: &[&Service], events: &dyn Events) -> anyhow::Result<(Place, Secrets)> {
        let place = self.create_place()?;
        if services.iter().any(|s| s.kind.has_front() && s.backend.value == Backend::Native) {
            site::tls::ensure(&place, self.bind(), events)?;
        }
        let with_secret = services.iter().filter(|service| service.has_secret());
        let secrets = self.state.make_secrets(with_secret.map(|service| service.name.as_str()))?;
        Ok((place, secrets))
    }

    /// Remembers the offset of a place, once it is known to be possible.
    pub fn remember_offset(&self, place: &Place) -> anyhow::Result<()> {
        self.state.create(&self.site.root, &self.store, place.offset)?;
        match self.site.ecosystem.port_offset.origin {
            Origin::Flag(_) => self.state.ask(|asked| asked.port_offset = Some(place.offset)),
            _ => Ok(()),
        }
    }

    /// Remembers the release of a flag, once its servers run.
    pub fn remember_release(&self) -> anyhow::Result<()> {
        let release = &self.site.ecosystem.release;
        if let Origin::Flag(_) = release.origin {
            self.state.ask(|asked| asked.release = Some(release.value.clone()))?;
        }
        Ok(())
    }

    /// Remembers what runs the servers of this place: their data is there.
    pub fn remember_backend(&self) -> anyhow::Result<()> {
        self.state.ask(|asked| asked.backend = Some(self.site.ecosystem.backend.value))
    }

    /// Takes the lock of commands that change something, and finishes what one that was killed has left of a checkpoint.
    pub fn lock(
        &self,
        context: &Context,
        verb: &str,
        starts: &[&str],
        events: &dyn Events,
    ) -> anyhow::Result<site::Lock> {
        let lock = self.state.lock(&format!("{} {verb}", context.program), starts, events)?;
        // Read again: another command may have set it up while this one waited.
        if let Some(place) = self.state.place(&self.store)? {
            checkpoint::settle(&place, || context.find("docker"), events)?;
            // It is finished by nothing but another one, which deletes what has come since.
            if verb != "reset"
                && let Some(journal) = reset::pending(&place)?
            {
                events.emit(Event::Warning(journal.says(&context.program)));
            }
        }
        Ok(lock)
    }

    /// The containers of a place that was set up; `None` where it never had any, and nothing is asked.
    pub fn compose(context: &Context, place: &Place) -> anyhow::Result<Option<Compose>> {
        if !record::exists(place) {
            return Ok(None);
        }
        compose::client(context.find("docker"), place).map(Some).map_err(Into::into)
    }

    /// The same with what there is of them; `None` where none were started, and nothing is asked either.
    pub fn containers(
        context: &Context,
        place: &Place,
    ) -> anyhow::Result<Option<(Compose, BTreeMap<String, Seen>)>> {
        if record::read(place)?.services.is_empty() {
            return Ok(None);
        }
        let Some(compose) = Self::compose(context, place)? else { return Ok(None) };
        let seen = compose.containers()?;
        Ok(Some((compose, seen)))
    }

    /// The services that run, as processes or as containers.
    pub fn running(context: &Context, place: &Place) -> anyhow::Result<BTreeSet<String>> {
        let mut running: BTreeSet<String> = native::running(place)?.into_iter().collect();
        let containers = Self::containers(context, place)?.map(|(_, seen)| seen).unwrap_or_default();
        running.extend(containers.into_iter().filter(|(_, seen)| seen.runs()).map(|(service, _)| service));
        Ok(running)
    }

    /// Refuses a copy of a project together with its state folder: the addresses and passwords in there are those of the original, and
    /// whoever used them would work on its data.
    pub fn refuse_copy(&self) -> Result<(), Failure> {
        let Some(place) = &self.known else { return Ok(()) };
        if place.root == self.site.root || !place.root.exists() {
            return Ok(());
        }
        let folder = self.state.folder();
        let message = format!("the state folder {folder} belongs to {}", place.root);
        let failure = Failure::new(Kind::Usage, "state-of-another", message);
        Err(if folder.starts_with(&self.site.root) {
            failure.hint(format!(
                "if this folder is a copy of that one, its state is not its own: rm -rf {}",
                quoted(folder.as_str())
            ))
        } else {
            failure.hint("one state folder a project: leave ECOSYSTEM_STATE unset, or name another folder")
        })
    }

    /// The place of this stack if it was set up, with the offset that is wanted now.
    pub fn place(&self) -> Option<Place> {
        self.known.clone().map(|place| Place { offset: self.offset(self.known.as_ref()), ..place })
    }

    /// The same, as it is by now: for commands that go on for long.
    pub fn present_place(&self) -> anyhow::Result<Option<Place>> {
        let known = self.state.place(&self.store)?;
        Ok(known.as_ref().map(|place| Place { offset: self.offset(known.as_ref()), ..place.clone() }))
    }

    /// A place that was never set up, to plan with.
    pub fn imagined_place(&self) -> Place {
        Place {
            id: "new".to_owned(),
            root: self.site.root.clone(),
            state: self.state.folder().to_owned(),
            store: self.store.clone(),
            offset: self.offset(None),
        }
    }

    /// What fills the store for this project.
    pub fn provisioner<'a>(
        &'a self,
        context: &Context,
        run_as: RunAs,
        mode: Mode,
        events: &'a dyn Events,
    ) -> anyhow::Result<Provisioner<'a>> {
        let lock_file = self.site.root.join(LOCK);
        Ok(Provisioner {
            store: &self.store,
            lock: Lock::load(&lock_file)?,
            // A project that has no lock file does not get one unasked.
            lock_file: (lock_file.exists() || mode == Mode::Relock).then_some(lock_file),
            mode,
            run_as,
            host: context.provisioning(),
            offline: false,
            thorough: false,
            events,
            in_use: InUse::default(),
        })
    }

    /// What a service runs from, fetched where it is missing.
    pub fn installation(
        &self,
        context: &Context,
        service: &str,
        events: &dyn Events,
    ) -> anyhow::Result<Installation> {
        let run_as = context.host().run_as().unwrap_or(RunAs::Me);
        let wanted = self.site.ecosystem.select(None, &[service.to_owned()])?;
        let mut installed = self.provisioner(context, run_as, Mode::Normal, events)?.provide(&wanted)?;
        installed.remove(service).with_context(|| format!("{service} is not installed"))
    }

    /// Where the packs of the project are.
    pub fn seeds(&self) -> Utf8PathBuf {
        self.site.root.join("seeds")
    }

    /// The pack that a person has named, else the one of the manifest, else the demo.
    pub fn pack(&self, named: Option<&str>) -> Result<Found, Failure> {
        let of_manifest = self.site.ecosystem.seed.as_ref().map(|seed| seed.value.as_str());
        // Where an application lives, its own pack is the state to which things go back.
        let of_application = self.application_pack();
        archive::find(&self.seeds(), named.or(of_application.as_deref()).or(of_manifest).unwrap_or("demo"))
    }

    /// The pack that an application which was started here starts from.
    fn application_pack(&self) -> Option<String> {
        let secrets = self.state.secrets().ok()?;
        let mut services = self.site.ecosystem.services.values();
        let service = services.find(|s| s.kind == catalog::Kind::Invenio && secrets.has(&s.name))?;
        service.pack.as_ref().map(|pack| pack.value.clone()).filter(|pack| pack != catalog::invenio::FIXTURES)
    }

    /// Reads a pack. An archive is unpacked into the state folder, unless it is there already.
    pub fn open_pack(&self, found: &Found, events: &dyn Events) -> anyhow::Result<Pack> {
        found.open(&self.state.folder().join("packs"), events)
    }

    /// How to reach what runs, by kind. There must be something.
    pub fn running_by_kind(&self, context: &Context) -> anyhow::Result<BTreeMap<String, Endpoint>> {
        Ok(Self::by_kind(&self.running_by_name(context)?))
    }

    /// The place of it; there must be one.
    pub fn set_up(&self) -> Result<Place, Failure> {
        self.place().ok_or_else(|| {
            let text = format!("nothing was set up in {} yet", self.site.root);
            Failure::new(Kind::Finding, "not-set-up", text).hint("{program} up")
        })
    }

    /// How to reach what runs. There must be something.
    pub fn running_by_name(&self, context: &Context) -> anyhow::Result<BTreeMap<String, Endpoint>> {
        let nothing = || {
            Failure::new(Kind::Finding, "nothing-runs", format!("nothing runs for {}", self.site.root))
                .hint("{program} up")
        };
        let Some(place) = self.place() else { return Err(nothing().into()) };
        let running = Self::running(context, &place)?;
        let there = |s: &&Service| running.contains(&s.name) || s.backend.value == Backend::External;
        let services: Vec<&Service> = self.site.ecosystem.services.values().filter(there).collect();
        if services.is_empty() {
            return Err(nothing().into());
        }
        Ok(self.endpoints(&services, &place, &self.state.secrets()?))
    }

    /// These services without those that nobody has asked for by name, that cannot be had here, and that nothing needs.
    pub fn leave_out<'s>(
        &self,
        context: &Context,
        services: Vec<&'s Service>,
        named: &[String],
    ) -> (Vec<&'s Service>, Vec<Unavailable>) {
        let needed = |name: &str| services.iter().any(|service| service.after().iter().any(|n| n == name));
        let reasons: BTreeMap<String, Unavailable> = services
            .iter()
            .filter(|service| service.kind.can_be_left_out())
            .filter(|service| !named.contains(&service.name) && !needed(&service.name))
            .filter_map(|service| Some((service.name.clone(), absent_here(context, service)?)))
            .collect();
        if reasons.len() == services.len() {
            // Nothing would be left: why it cannot be had is an error then.
            return (services, Vec::new());
        }
        let mut services = services;
        services.retain(|service| !reasons.contains_key(&service.name));
        (services, reasons.into_values().collect())
    }

    /// The address that servers bind.
    pub fn bind(&self) -> &str {
        &self.site.ecosystem.bind.value
    }

    /// How to reach these services.
    pub fn endpoints(
        &self,
        services: &[&Service],
        place: &Place,
        secrets: &Secrets,
    ) -> BTreeMap<String, Endpoint> {
        services
            .iter()
            .map(|s| (s.name.clone(), catalog::endpoint(s, place, self.bind(), &secrets.of(&s.name))))
            .collect()
    }

    /// The one service of a kind, or the one that is named, and how to reach it. It must have been set up.
    pub fn one(&self, kind: catalog::Kind, named: Option<&str>) -> anyhow::Result<(&Service, Endpoint)> {
        let of_kind = || self.site.ecosystem.services.values().filter(|service| service.kind == kind);
        let service = match named {
            Some(name) => of_kind().find(|service| service.name == name),
            // Its own name goes without saying.
            None => of_kind().find(|s| s.name == kind.name()).or_else(|| of_kind().next()),
        };
        let Some(service) = service else {
            let names: Vec<&str> = of_kind().map(|service| service.name.as_str()).collect();
            let text = format!("there is no {kind} called `{}`", named.unwrap_or(kind.name()));
            let failure = Failure::new(Kind::Usage, "unknown-service", text);
            return Err(failure.hint(format!("services of this kind: {}", names.join(", "))).into());
        };
        self.refuse_copy()?;
        let place = self.set_up()?;
        let endpoint =
            catalog::endpoint(service, &place, self.bind(), &self.state.secrets()?.of(&service.name));
        Ok((service, endpoint))
    }

    /// What a process of the manifest is told of the rest.
    pub fn around(&self, context: &Context, place: &Place, secrets: &Secrets) -> Around {
        let services = &self.site.ecosystem.services;
        let around = Around::of(services, place, self.bind(), &context.path, |name| secrets.of(name));
        Around { certificate: site::tls::present(place), ..around }
    }

    /// The same endpoints by kind: packs speak of kinds of services, not of their names.
    pub fn by_kind(endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, Endpoint> {
        endpoints.values().map(|endpoint| (endpoint.kind.name().to_owned(), endpoint.clone())).collect()
    }
}

/// Why a service cannot be had on this machine in the way that is meant for it; `None` where it can, or where somebody has decided that way.
pub fn absent_here(context: &Context, service: &Service) -> Option<Unavailable> {
    let (reason, next) = match service.backend.value {
        Backend::External => return None,
        Backend::Native => {
            // What is a fault of something else is told by whoever fetches.
            let failure = possible(service, &context.provisioning()).err()?.downcast::<Failure>().ok()?;
            (failure.message, failure.hints.join(", "))
        }
        Backend::Compose => {
            let decided = !matches!(service.backend.origin, Origin::Release(_));
            if decided || compose::fit(context.find("docker").as_deref()).is_ok() {
                return None;
            }
            let reason = "no registry of packages has it, and no container engine answers here".to_owned();
            let next = format!(
                "name its official archive in ecosystem.toml: [services.{}] get = \"https://…\" and sha512 = \"…\", or {{program}} up --backend compose where Docker runs",
                service.name
            );
            (reason, next)
        }
    };
    let next = next.replace("{program}", &context.program);
    Some(Unavailable { service: service.name.clone(), reason, next })
}
