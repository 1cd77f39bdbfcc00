//! The Debian provider: servers from the packages of the system's own suite, unpacked into the store without root.
//!
//! Trust comes from apt, which checks signatures. The suite moves: locked versions are tried first, and resolved again when they are gone.

mod apt;
mod packages;
mod pins;
mod recipes;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Installed, Key};
use ecosystem_core::failure::{Failure, Kind};

pub use packages::parse_uris;
pub(super) use pins::{Overlay, Pins, substitute};
pub(super) use recipes::{JAVA, NGINX, POSTGRESQL_CLIENT, RABBITMQ, REDIS, Recipe, libraries};

use super::archive;
use super::host::{self, Host};
use super::provisioner::Mode;
use super::store::{Built, Id, Source, Store};
use crate::event::{Event, Events, Section, Task};
use crate::sys;
use crate::sys::cmd::Cmd;
use apt::Apt;
use packages::Package;

/// Installs packages of the system's suite into the store.
pub(super) struct Debian<'a> {
    store: &'a Store,
    host: &'a Host,
    events: &'a dyn Events,
    mode: Mode,
    /// The system's suite.
    suite: &'a str,
    pins: Pins<'a>,
    /// The packages of every machine with apt, once they were asked for.
    base: Option<Vec<Package>>,
    /// The package lists were fetched by this run: fetching them again would bring nothing.
    fresh: bool,
    /// What was wrong with a source when they were fetched.
    trouble: Option<Failure>,
}

/// Every recipe.
pub(super) const ALL: [&Recipe; 5] = [&REDIS, &POSTGRESQL_CLIENT, &RABBITMQ, &NGINX, &JAVA];

/// The lock's name for a recipe on this machine.
pub(super) fn lock_name(recipe: &Recipe, suite: &str) -> String {
    format!("{suite}.{}.{}", host::debian_architecture(), recipe.name)
}

/// The store's name for a recipe with these packages.
pub(super) fn id(recipe: &Recipe, suite: &str, pins: &[String]) -> Id {
    let revision = recipes::REVISION;
    let fixed = ["debian", revision, recipe.name, suite, host::debian_architecture()];
    Id {
        name: recipe.name.to_owned(),
        version: packages::version(pins, recipe.named_after).unwrap_or_else(|| "unknown".to_owned()),
        key: Key::of(fixed.into_iter().chain(pins.iter().map(String::as_str))),
    }
}

/// Whether this machine has what fetches and unpacks the packages.
pub(super) fn require(host: &Host, recipe: &Recipe) -> Result<(), Failure> {
    let absent = ["apt-get", "dpkg"].into_iter().find(|program| host.find(program).is_none());
    let Some(program) = absent else { return Ok(()) };
    let (apt, dnf, homebrew) = recipe.elsewhere;
    let by_hand = host.family().install(apt, dnf, homebrew);
    let way_out = match recipe.service {
        Some(service) => {
            format!("{by_hand}, then `from = \"path\"` in [services.{service}] of ecosystem.toml")
        }
        None => by_hand,
    };
    Err(host::missing(program, &format!("{} from Debian packages", recipe.name), way_out))
}

impl<'a> Debian<'a> {
    pub(super) fn new(
        store: &'a Store,
        host: &'a Host,
        events: &'a dyn Events,
        mode: Mode,
        suite: &'a str,
        pins: Pins<'a>,
    ) -> Self {
        Self { store, host, events, mode, suite, pins, base: None, fresh: false, trouble: None }
    }

    /// What the recipe makes, from the store if it is there.
    pub(super) fn install(&mut self, recipe: &Recipe) -> anyhow::Result<Installed> {
        let name = lock_name(recipe, self.suite);
        // Asked to write the lock anew, what it says does not count.
        let known = self.pins.get(&name).filter(|_| self.mode != Mode::Relock);
        if let Some(pins) = &known
            && let Some(installed) = self.store.read(&id(recipe, self.suite, pins))?
        {
            return Ok(installed);
        }
        require(self.host, recipe)?;
        let _guard = self.store.lock("apt", self.events)?;
        // Whoever held the lock may have done the work.
        self.pins.reload(self.store)?;
        let known = self.pins.get(&name).filter(|_| self.mode != Mode::Relock);
        if let Some(pins) = &known
            && let Some(installed) = self.store.read(&id(recipe, self.suite, pins))?
        {
            return Ok(installed);
        }
        let apt = Apt::open(self.store.root(), self.host.stall, self.events)?;
        if !apt.has_lists() || self.mode == Mode::Relock {
            self.refresh(&apt)?;
        }
        let pins = match known {
            Some(pins) => self.still_there(&apt, recipe, pins)?,
            None if self.mode == Mode::Locked => {
                return Err(Failure::new(
                    Kind::Manifest,
                    "lock-missing",
                    format!("ecosystem.lock has no {name}, and --locked forbids to resolve it"),
                )
                .hint("run `cargo xtask provision` without --locked and check the lock file in")
                .into());
            }
            None => self.resolve(&apt, recipe)?,
        };
        let id = id(recipe, self.suite, &pins);
        let fresh = &mut self.fresh;
        let (store, events) = (self.store, self.events);
        store.ensure(&id, events, |folder| build(store, events, &apt, fresh, recipe, &id, &pins, folder))
    }

    /// Fetches the package lists, once a run. Whether it did.
    fn refresh(&mut self, apt: &Apt<'_>) -> anyhow::Result<bool> {
        if self.fresh {
            return Ok(false);
        }
        self.trouble = apt.update()?;
        self.fresh = true;
        Ok(true)
    }

    /// The locked packages, or others where the suite has dropped one of them.
    fn still_there(
        &mut self,
        apt: &Apt<'_>,
        recipe: &Recipe,
        pins: Vec<String>,
    ) -> anyhow::Result<Vec<String>> {
        if apt.locate(&pins)?.is_some() {
            return Ok(pins);
        }
        if self.refresh(apt)? && apt.locate(&pins)?.is_some() {
            return Ok(pins);
        }
        let was = id(recipe, self.suite, &pins).version;
        if self.mode == Mode::Locked {
            // Without the lists nobody knows whether they are gone.
            if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.code != "mirror-lacks") {
                return Err(trouble.clone().into());
            }
            return Err(Failure::new(
                Kind::Host,
                "lock-gone",
                format!("{} no longer has the locked packages of {} {was}", self.suite, recipe.name),
            )
            .hint("run without --locked: the packages are resolved again and ecosystem.lock is rewritten")
            .into());
        }
        let now = self.resolve(apt, recipe)?;
        let others: Vec<&str> = now.iter().filter(|pin| !pins.contains(pin)).map(String::as_str).collect();
        self.events.emit(Event::Warning(format!(
            "{} has dropped locked packages of {}; using {} instead",
            self.suite,
            recipe.name,
            others.join(", "),
        )));
        Ok(now)
    }

    fn resolve(&mut self, apt: &Apt<'_>, recipe: &Recipe) -> anyhow::Result<Vec<String>> {
        let task = Task::start(self.events, Section::Fetch, format!("packages of {}", recipe.name));
        let base = match self.base.take() {
            Some(base) => base,
            None => match (apt.closure(&["?essential", "apt"])?, &self.trouble) {
                (Some(base), _) => base,
                (None, Some(trouble)) => return Err(trouble.clone().into()),
                (None, None) => anyhow::bail!("apt does not know its own base system"),
            },
        };
        let base = &*self.base.insert(base);
        for root in recipe.roots {
            let Some(closure) = apt.closure(&[root])? else { continue };
            let pins: Vec<_> = recipe.keep.select(closure, base).iter().map(Package::pin).collect();
            task.finish(format!("{} packages", pins.len()));
            self.pins.record(lock_name(recipe, self.suite), &pins, self.store)?;
            return Ok(pins);
        }
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone().into());
        }
        let message = format!("{} has none of the packages {}", self.suite, recipe.roots.join(", "));
        Err(Failure::new(Kind::Host, "package-unknown", message)
            .hint("is the component with it (main, universe) switched on in /etc/apt/sources.list.d?")
            .into())
    }
}

/// Fetches the packages and unpacks them. Packages stay in the cache until all of it is there.
#[expect(
    clippy::too_many_arguments,
    reason = "a step of `install`, apart from it because it borrows only a part"
)]
fn build(
    store: &Store,
    events: &dyn Events,
    apt: &Apt<'_>,
    fresh: &mut bool,
    recipe: &Recipe,
    id: &Id,
    pins: &[String],
    folder: &Utf8Path,
) -> anyhow::Result<Built> {
    let downloads = store.root().join("cache/packages").join(id.folder());
    sys::fs::create_private_dir(&downloads)?;
    let title = format!("{} {}", recipe.name, id.version);
    let mut result = apt.download(pins, &downloads, &title);
    let stale = |error: &anyhow::Error| {
        error.downcast_ref::<Failure>().is_some_and(|f| f.code.starts_with("mirror-"))
    };
    if !*fresh && result.as_ref().is_err_and(stale) {
        // The lists may be older than the mirror.
        *fresh = true;
        apt.update()?;
        result = apt.download(pins, &downloads, &title);
    }
    result?;
    let files = apt::files(&downloads)?;
    anyhow::ensure!(files.len() == pins.len(), "apt fetched {} of {} packages", files.len(), pins.len());

    let task = Task::start(events, Section::Build, title);
    let mut sources = Vec::new();
    for file in &files {
        apt::unpack(file, folder, store.root())?;
        let name = file.file_name().unwrap_or_default().to_owned();
        sources.push(Source { name, sha256: archive::sha256(file)?.0 });
    }
    archive::relocate_links(folder)?;
    let facts = (recipe.inspect)(folder)?;
    if let Some((role, args)) = recipe.probe {
        probe(&facts.paths[role], args, &facts.libraries, recipe.name)?;
    }
    task.finish("");
    std::fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {downloads}"))?;
    Ok(Built { facts, sources, version: None })
}

/// Runs a program once, so that a library that is missing shows now and not at every start.
pub(super) fn probe(
    program: &Utf8Path,
    args: &[&str],
    libraries: &[camino::Utf8PathBuf],
    name: &str,
) -> anyhow::Result<String> {
    let mut command = Cmd::new(program.as_str()).args(args.iter().copied()).env("LC_ALL", "C");
    if !libraries.is_empty() {
        let path = libraries.iter().map(|folder| folder.as_str()).collect::<Vec<_>>().join(":");
        command = command.env("LD_LIBRARY_PATH", path);
    }
    let output = command.run()?;
    if output.ok() {
        return Ok(output.stdout + &output.stderr);
    }
    let said = output.stderr.trim_end();
    Err(Failure::new(Kind::Host, "program-unusable", format!("{name} does not run on this system: {said}"))
        .hint("please report this with the name and version of your distribution")
        .into())
}
