//! The compose backend: asks the engine what is there, and lets Docker Compose do what a plan says. It decides nothing, and waits for nothing
//! but the ends of its commands.
//!
//! Everything is found again by labels: of the Compose project, which is named after the place, and of the place itself.

pub mod record;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::host::engine::{Engine, no_client};
use ecosystem_core::host::ports::{Container, containers};
use ecosystem_core::place::Place;
use ecosystem_core::plan::Holder;
use ecosystem_core::seen::{self, Seen};

pub use self::volumes::Volume;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::cmd::{Cmd, Output};
use crate::sys::fs::{remove_optional, write_atomic};
use crate::sys::parallel;

/// How long a look may take. An engine that has to be woken up takes seconds.
const LOOK: Duration = Duration::from_secs(20);
/// How long it may take where the answer is only a comfort.
const BRIEFLY: Duration = Duration::from_secs(3);
/// How long changing containers may take: stopping has a grace of half a minute each, all at once.
const CHANGE: Duration = Duration::from_mins(5);
/// How long fetching an image may take.
const PULL: Duration = Duration::from_hours(1);

/// The file that Docker Compose is given, in the state folder. It holds passwords.
const FILE: &str = "compose.yaml";
/// Variables by which a person's own Compose project would have a say in this one.
const COMPOSE_VARIABLES: [&str; 8] = [
    "COMPOSE_FILE",
    "COMPOSE_PROJECT_NAME",
    "COMPOSE_PROFILES",
    "COMPOSE_ENV_FILES",
    "COMPOSE_DISABLE_ENV_FILE",
    "COMPOSE_REMOVE_ORPHANS",
    "COMPOSE_IGNORE_ORPHANS",
    "COMPOSE_CONVERT_WINDOWS_PATHS",
];

/// Docker, asked about the containers of one place.
#[derive(Debug, Clone)]
pub struct Compose {
    docker: Utf8PathBuf,
    place: Place,
    to_the_end: bool,
}

/// The engine that `docker` speaks to.
pub fn engine(docker: &str, limit: Duration) -> anyhow::Result<Engine> {
    let output = Cmd::new(docker).args(["version", "--format", "{{json .}}"]).limit(limit).run()?;
    Ok(Engine::read(&output.stdout, &output.stderr, output.timed_out))
}

/// The containers that publish ports, of whatever project; none where they cannot be listed.
pub fn publishing(docker: &str, limit: Duration) -> Vec<Container> {
    let listed = Cmd::new(docker).args(["ps", "--format", "{{json .}}"]).limit(limit).run();
    listed.map_or_else(|_| Vec::new(), |output| containers(&output.stdout))
}

/// Names the containers among those who hold ports: to the system they are the engine's.
pub fn name_holders(docker: &str, held: &mut BTreeMap<u16, Option<Holder>>) {
    if held.is_empty() {
        return;
    }
    for container in publishing(docker, BRIEFLY) {
        if let Some(holder) = held.get_mut(&container.port) {
            let unseen = Holder { pid: 0, command: String::new(), cwd: None, place: None, container: None };
            let holder = holder.get_or_insert(unseen);
            holder.place = holder.place.take().or_else(|| container.place.clone());
            holder.container = Some(container);
        }
    }
}

/// Whether containers can be run at all: Docker, an engine that answers, and Compose. `docker` is where it was found on PATH.
pub fn fit(docker: Option<&Utf8Path>) -> anyhow::Result<()> {
    let docker = docker.ok_or_else(no_client)?;
    let engine = engine(docker.as_str(), LOOK)?;
    let compose = Cmd::new(docker.as_str()).args(["compose", "version", "--short"]).limit(LOOK).run()?;
    let compose = Some(compose).filter(Output::ok).map(|output| output.stdout);
    Ok(engine.fit(compose.as_deref().map(str::trim))?)
}

/// Images that nobody may fetch now.
pub fn missing_offline(images: &[&str]) -> Failure {
    let message = format!("--offline: these images are not there: {}", images.join(", "));
    Failure::new(Kind::Host, "offline-missing", message).hint("with a network: {program} provision")
}

/// Docker, where it was found.
pub fn client(docker: Option<Utf8PathBuf>, place: &Place) -> Result<Compose, Failure> {
    docker.map(|docker| Compose::new(docker, place)).ok_or_else(no_client)
}

impl Compose {
    /// The containers of this place, by the `docker` at this path.
    pub fn new(docker: Utf8PathBuf, place: &Place) -> Self {
        Self { docker, place: place.clone(), to_the_end: false }
    }

    /// The same for what puts things back in order, also when somebody has asked this program to stop.
    #[must_use]
    pub fn to_the_end(&self) -> Self {
        Self { to_the_end: true, ..self.clone() }
    }

    /// Where Docker is.
    pub fn program(&self) -> &Utf8Path {
        &self.docker
    }

    fn project(&self) -> String {
        self.place.identity()
    }

    fn command(&self) -> Cmd {
        let command = Cmd::new(self.docker.as_str()).without(&COMPOSE_VARIABLES);
        if self.to_the_end { command.to_the_end() } else { command }
    }

    fn docker<const N: usize>(&self, args: [&str; N]) -> Cmd {
        self.command().args(args).limit(LOOK)
    }

    /// One call of Docker Compose on this place's own file, whatever the environment says of others.
    fn compose(&self, args: &[&str]) -> Cmd {
        let file = self.place.state.join(FILE);
        let (state, project) = (self.place.state.as_str(), self.project());
        let words = ["compose", "--project-directory", state, "--file", file.as_str()];
        let words = words.into_iter().chain(["--project-name", &project, "--ansi", "never"]);
        // It ends with this program: what went on alone would make what nobody waits for.
        self.command().leashed().args(words.chain(args.iter().copied())).limit(CHANGE)
    }

    /// Writes the file that Docker Compose is given.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        write_atomic(&self.place.state.join(FILE), text.as_bytes(), 0o600)
    }

    /// The containers of this place, by service. Where one is missing it may be that another engine is asked, which is a failure.
    pub fn containers(&self) -> anyhow::Result<BTreeMap<String, Seen>> {
        let ids = self.of_project(["ps", "--all", "--quiet", "--no-trunc"])?;
        let mut seen = BTreeMap::new();
        if !ids.is_empty() {
            let looked = self.docker(["inspect", "--type", "container"]).args(&ids).run()?;
            // One that has gone meanwhile is no fault: the others are told.
            seen = match seen::read(&looked.stdout, &self.place.id) {
                Some(seen) if !looked.timed_out => seen,
                _ => return Err(self.unanswered(&looked).into()),
            };
        }
        if record::read(&self.place)?.services.iter().any(|service| !seen.contains_key(service)) {
            self.same_engine()?;
        }
        Ok(seen)
    }

    /// Fails where this is not the engine that has the containers and volumes of this place.
    fn same_engine(&self) -> anyhow::Result<()> {
        let Some(known) = record::read(&self.place)?.engine else { return Ok(()) };
        let asked = self.engine_id()?;
        if asked == known {
            return Ok(());
        }
        let message = "this is not the engine that has the containers of this project: DOCKER_HOST, or the context of docker, leads elsewhere now";
        Err(Failure::new(Kind::Host, "other-engine", message)
            .hint("see where it leads: docker context ls")
            .hint(format!(
                "if it is the same engine, set up anew, and what it had is gone: remove {}",
                self.place.state.join(ecosystem_core::place::CONTAINERS)
            ))
            .into())
    }

    fn engine_id(&self) -> anyhow::Result<String> {
        let asked = self.docker(["info", "--format", "{{.ID}}"]).run()?;
        let id = asked.stdout.trim().to_owned();
        if asked.ok() && !id.is_empty() { Ok(id) } else { Err(self.unanswered(&asked).into()) }
    }

    /// What a list of the engine holds of this project, a line each.
    fn of_project<const N: usize>(&self, args: [&str; N]) -> anyhow::Result<Vec<String>> {
        let filter = format!("label=com.docker.compose.project={}", self.project());
        let listed = self.docker(args).args(["--filter", &filter]).run()?;
        if !listed.ok() {
            return Err(self.unanswered(&listed).into());
        }
        Ok(listed.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// The ids of those of these images that are there.
    pub fn images<'a>(&self, names: &[&'a str]) -> anyhow::Result<BTreeMap<&'a str, String>> {
        let look = |names: &[&'a str]| {
            self.docker(["image", "inspect", "--format", "{{.Id}}", "--"]).args(names.iter().copied()).run()
        };
        let all = look(names)?;
        if all.ok() {
            return Ok(names.iter().copied().zip(all.stdout.lines().map(str::to_owned)).collect());
        }
        // One is missing, and what is there does not say under which name it was asked for.
        let id = |name: &'a str| -> anyhow::Result<Option<(&'a str, String)>> {
            let looked = look(&[name])?;
            if !looked.ok() && !looked.stderr.to_lowercase().contains("no such") {
                return Err(self.unanswered(&looked).into());
            }
            Ok(looked.ok().then(|| (name, looked.stdout.trim().to_owned())))
        };
        let answers = parallel::map(names, |name| id(name)).into_iter();
        Ok(answers.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Fetches an image.
    pub fn pull(&self, image: &str, events: &dyn Events) -> anyhow::Result<()> {
        let task = Task::start(events, Section::Fetch, image);
        let command = self.command().leashed().args(["pull", "--", image]);
        let pulled = command.limit(PULL).run_seeing(|text| {
            let count = |word: &str| text.lines().filter(|line| line.ends_with(word)).count() as u64;
            let (all, done) = (count("Pulling fs layer"), count("Pull complete") + count("Already exists"));
            let all = all + count("Already exists");
            task.progress(done, (all > 0).then_some(all), Unit::Items);
        })?;
        if pulled.ok() {
            task.finish("fetched");
            return Ok(());
        }
        let message = format!("the image {image} could not be fetched\n{}", quoted(&pulled));
        Err(Failure::new(Kind::Host, "image-not-fetched", message)
            .hint(format!("what happens by hand: docker pull {image}"))
            .hint("another image or registry: `image` of this service in ecosystem.toml")
            .into())
    }

    /// Makes, changes and starts the containers of these services, in one call. `made_by` is what makes their data.
    pub fn apply(&self, services: &[String], made_by: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let engine = self.engine_id()?;
        // Before: interrupted halfway, there may be some already.
        record::change(&self.place, |record| {
            record.engine = Some(engine);
            record.services.extend(services.iter().cloned());
            record.made_by.extend(made_by.iter().map(|(service, by)| (service.clone(), by.clone())));
        })?;
        let words = ["up", "--detach", "--no-deps", "--pull", "never"].into_iter();
        let words: Vec<&str> = words.chain(services.iter().map(String::as_str)).collect();
        self.insist(self.compose(&words), "started")
    }

    /// What made the data of each service that has some, where that is known.
    pub fn data(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut made_by = record::read(&self.place)?.made_by;
        if !made_by.is_empty() {
            let there = self.with_data()?;
            made_by.retain(|service, _| there.contains(service));
        }
        Ok(made_by)
    }

    /// Stops the containers of these services, and keeps them.
    pub fn halt(&self, services: &[String]) -> anyhow::Result<()> {
        let ids = self.ids(services)?;
        if ids.is_empty() { Ok(()) } else { self.insist(self.on("stop", &ids), "stopped") }
    }

    /// Stops and removes the containers of these services, also those that the file does not name any more.
    pub fn remove(&self, services: &[String]) -> anyhow::Result<()> {
        let ids = self.ids(services)?;
        self.remove_ids(&ids)?;
        record::change(&self.place, |record| record.services.retain(|service| !services.contains(service)))
    }

    /// The same for everything of the project, and its network: found by labels, whatever has become of the file. Fails where anything is left.
    pub fn remove_all(&self) -> anyhow::Result<()> {
        self.same_engine()?;
        self.remove_ids(&self.of_project(["ps", "--all", "--quiet", "--no-trunc"])?)?;
        let networks = self.of_project(["network", "ls", "--quiet"])?;
        if !networks.is_empty() {
            self.insist(self.docker(["network", "rm"]).args(&networks).limit(CHANGE), "removed")?;
        }
        let mut left = self.of_project(["ps", "--all", "--format", "container {{.Names}}"])?;
        left.extend(self.of_project(["network", "ls", "--format", "network {{.Name}}"])?);
        if left.is_empty() {
            return record::change(&self.place, |record| record.services.clear());
        }
        let message = format!("Docker says that all is gone, and there still is {}", left.join(", "));
        Err(Failure::new(Kind::Service, "containers-left", message)
            .hint("look at it: docker ps --all")
            .hint("then try again: {program} down")
            .into())
    }

    /// Whether there is a network, or anything else but volumes, although no service has a container.
    pub fn has_leftovers(&self) -> anyhow::Result<bool> {
        Ok(!self.of_project(["network", "ls", "--quiet"])?.is_empty()
            || !self.of_project(["ps", "--all", "--quiet"])?.is_empty())
    }

    fn remove_ids(&self, ids: &[String]) -> anyhow::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.insist(self.on("stop", ids), "stopped")?;
        // With the volumes that have no name: nobody could find them again.
        self.insist(self.docker(["rm", "--volumes"]).args(ids).limit(CHANGE), "removed")
    }

    fn on(&self, verb: &str, ids: &[String]) -> Cmd {
        self.docker([verb]).args(ids).limit(CHANGE)
    }

    fn ids(&self, services: &[String]) -> anyhow::Result<Vec<String>> {
        let all = self.containers()?.into_iter();
        Ok(all.filter(|(service, _)| services.contains(service)).map(|(_, seen)| seen.id).collect())
    }

    /// The services that have data in a volume.
    pub fn with_data(&self) -> anyhow::Result<BTreeSet<String>> {
        let prefix = format!("{}_", self.project());
        let volumes = self.of_project(["volume", "ls", "--quiet"])?;
        // No service has a `_` in its name, and a volume of a checkpoint has.
        let service = |name: &&str| !name.contains('_');
        let names = volumes.iter().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(service).map(str::to_owned).collect())
    }

    /// Deletes the volumes of these services, of all where none is named. Their containers are gone.
    pub fn delete_data(&self, services: &[String]) -> anyhow::Result<BTreeSet<String>> {
        self.same_engine()?;
        let chosen = |service: &String| services.is_empty() || services.contains(service);
        let mut deleted = self.with_data()?;
        deleted.retain(chosen);
        let volumes: Vec<String> =
            deleted.iter().map(|service| format!("{}_{service}", self.project())).collect();
        if !volumes.is_empty() {
            self.insist(self.docker(["volume", "rm"]).args(volumes).limit(CHANGE), "deleted")?;
        }
        record::change(&self.place, |record| record.made_by.retain(|service, _| !chosen(service)))?;
        if self.with_data()?.is_empty() && !self.has_leftovers()? {
            // From now on no engine is asked.
            record::forget(&self.place)?;
            remove_optional(&self.place.state.join(FILE))?;
        }
        Ok(deleted)
    }

    /// What a container has written: the last `lines` of it, or what it has written since a time, each line behind the time when it came.
    pub fn log(
        &self,
        container: &str,
        lines: Option<usize>,
        since: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        let mut command = self.docker(["logs", "--timestamps"]);
        if let Some(lines) = lines {
            command = command.args(["--tail", &lines.to_string()]);
        }
        if let Some(since) = since {
            command = command.args(["--since", since]);
        }
        let read = command.args([container]).run()?;
        if !read.ok() {
            return Err(self.unanswered(&read).into());
        }
        // Two streams: the times, all of one width, put them together again.
        let mut all: Vec<String> =
            read.stdout.lines().chain(read.stderr.lines()).map(str::to_owned).collect();
        all.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        Ok(all)
    }

    /// The failure of a question that was not answered.
    fn unanswered(&self, output: &Output) -> Failure {
        // One that hangs is not asked a second time.
        let asked = if output.timed_out {
            Ok(Engine::read("", "", true))
        } else {
            engine(self.docker.as_str(), BRIEFLY)
        };
        let engine = match asked.map_err(anyhow::Error::downcast::<Failure>) {
            Ok(engine) => engine,
            Err(Ok(failure)) => return failure,
            Err(Err(error)) => Engine::Silent(format!("{error:#}")),
        };
        // The engine may be there by now; what Compose is, is of no interest.
        engine.fit(Some("2.13")).err().unwrap_or_else(|| {
            let message = format!("Docker did not answer a question about containers\n{}", quoted(output));
            Failure::new(Kind::Host, "docker-silent", message)
                .hint("try again; `docker ps` shows the same problem")
        })
    }

    /// Runs a command that changes something. What it ends with is never dropped.
    fn insist(&self, command: Cmd, done: &str) -> anyhow::Result<()> {
        let output = command.run()?;
        if output.ok() {
            return Ok(());
        }
        let how = if output.timed_out {
            "it took too long".to_owned()
        } else {
            format!("exit status {}", output.status)
        };
        let message = format!("Docker could not have the containers {done} ({how})\n{}", quoted(&output));
        let file = self.place.state.join(FILE);
        Err(Failure::new(Kind::Service, "compose-failed", message)
            .hint("how it stands now: {program} status")
            .hint(format!("what Docker is told: {file}"))
            .into())
    }
}

/// How lines begin in which Docker Compose tells how far it is.
const PROGRESS: [&str; 3] = ["Container ", "Network ", "Volume "];

/// The last lines of what a command said, set off from the message.
fn quoted(output: &Output) -> String {
    let said: Vec<&str> = output.stderr.lines().chain(output.stdout.lines()).map(str::trim_end).collect();
    let said: Vec<&str> = said.into_iter().filter(|line| !line.trim().is_empty()).collect();
    // How far it came is of interest only where nothing else was said.
    let progress = |line: &&&str| PROGRESS.iter().any(|word| line.trim_start().starts_with(word));
    let told: Vec<&str> = said.iter().filter(|line| !progress(line)).copied().collect();
    let told = if told.is_empty() { said } else { told };
    let lines: Vec<String> = told.into_iter().map(|line| format!("  | {}", harmless(line))).collect();
    if lines.is_empty() {
        "  it said nothing".to_owned()
    } else {
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}
