//! What has to happen, and why: computed from what is wanted and what was observed, before anything is touched.
//!
//! `--dry-run` prints a plan; `engine` carries it out without deciding anything.

mod containers;
mod copying;
mod display;
mod reconcile;

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::Serialize;

pub use containers::{backend_obstacles, own_ports};
pub use copying::reconcile_copying;
pub use display::{Retry, obstacles_failure, render, silence, taken_meanwhile};
pub use reconcile::{port_obstacles, reconcile_down, reconcile_up, silent_supervisor};

use crate::catalog::container::Contained;
use crate::catalog::{COMMAND, Kind, Launch};
use crate::endpoint::Ready;
use crate::host::ports::Container;
use crate::model::Backend;
use crate::process::{Process, command_line};
use crate::seen::Seen;
use crate::supervise::Status;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub id: usize,
    pub action: Action,
    pub cause: Cause,
    /// The steps that must have succeeded first.
    pub after: Vec<usize>,
}

/// What is done to what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "do", content = "what", rename_all = "kebab-case")]
pub enum Action {
    /// Fetch or build something into the store.
    Provide(String),
    /// End a supervisor that this build cannot talk to, and everything it runs.
    Replace,
    /// Kill a supervisor that does not answer, and everything it runs.
    Kill,
    /// Stop the processes of a service.
    Stop(String),
    /// Make the data folder of a service from its template.
    Prepare(String),
    /// Write its configuration and start its processes.
    Start(String),
    /// Wait until it is usable and proven ours, including a write.
    Await(String),
    /// Look whether it is still usable and ours; nothing is written.
    Verify(String),
    /// Load a pack into the stores that miss it.
    Seed(String),
    /// Set an application up in the stores, where it is not.
    SetUp(String),
    /// End the supervisor.
    Shutdown,
    /// Fetch an image.
    Pull(String),
    /// Make, change and start containers, in one call of Docker Compose.
    Apply(Vec<String>),
    /// Stop containers, and keep them.
    Halt(Vec<String>),
    /// Stop containers and remove them; where these are all, their network as well.
    Remove { services: Vec<String>, all: bool },
    /// Start containers that were stopped and kept, as they are.
    Resume(Vec<String>),
    /// Copy all data into a checkpoint.
    Save(String),
    /// Put the data of a checkpoint in the place of what is there.
    Restore(String),
}

impl Action {
    /// Whether it changes nothing where everything is as wanted.
    pub const fn only_looks(&self) -> bool {
        matches!(self, Self::Verify(_) | Self::Seed(_) | Self::SetUp(_))
    }

    /// Whether it copies data, for which nothing may run.
    pub const fn copies(&self) -> bool {
        matches!(self, Self::Save(_) | Self::Restore(_))
    }

    /// The key under which its duration is remembered: `start redis`.
    pub fn title(&self) -> String {
        match self {
            Self::Provide(what) => format!("provide {what}"),
            Self::Replace => "replace supervisor".to_owned(),
            Self::Kill => "kill supervisor".to_owned(),
            Self::Stop(service) => format!("stop {service}"),
            Self::Prepare(service) => format!("prepare {service}"),
            Self::Start(service) => format!("start {service}"),
            Self::Await(service) => format!("await {service}"),
            Self::Verify(service) => format!("verify {service}"),
            Self::Seed(pack) => format!("seed {pack}"),
            Self::SetUp(service) => format!("set up {service}"),
            Self::Shutdown => "end supervisor".to_owned(),
            Self::Pull(image) => format!("pull {image}"),
            Self::Apply(services) => format!("start containers {}", services.join(", ")),
            Self::Halt(services) => format!("stop containers {}", services.join(", ")),
            Self::Remove { services, .. } if services.is_empty() => {
                "remove what is left of containers".to_owned()
            }
            Self::Remove { services, .. } => format!("remove containers {}", services.join(", ")),
            Self::Resume(services) => format!("start containers again {}", services.join(", ")),
            Self::Save(name) => format!("save checkpoint {name}"),
            Self::Restore(name) => format!("restore checkpoint {name}"),
        }
    }
}

/// Why a step is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Cause {
    /// It is not there yet.
    Missing,
    /// It is not there yet, or looked at, because this service starts after it.
    Needed { by: String },
    /// It ended by itself.
    Ended { how: String },
    /// What runs is not what is wanted.
    Drifted { changes: Vec<Change> },
    /// The supervisor speaks another protocol.
    OtherBuild { build: String },
    /// The supervisor does not answer.
    Silent,
    /// Another step of the same service makes it necessary.
    Follows,
    /// A person, or the manifest, asked for it.
    Requested,
    /// Nothing may write while data is copied.
    Quiet,
    /// It ran before it was stopped for that.
    Ran,
    /// Each of its services has its own.
    Each { causes: BTreeMap<String, Cause> },
}

/// A difference that a person can read: never two hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: String,
    pub was: Option<String>,
    pub now: Option<String>,
}

/// Something that stands in the way of the whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "obstacle", rename_all = "kebab-case")]
pub enum Obstacle {
    /// A port is held by a process that is not ours.
    PortTaken { service: String, role: String, port: u16, holder: Option<Holder> },
    /// The data folder was made by another major version.
    OtherData { service: String, folder: Utf8PathBuf, made_by: String, wanted: String },
    /// There is a supervisor, and it does not answer.
    SilentSupervisor { pid: u32, stopped: bool },
    /// These run already, and not by what they shall be run by from now on.
    OtherBackend { services: Vec<String>, wanted: Backend },
    /// There is a supervisor that can be ended, and not asked for anything else.
    OtherSupervisor { build: String },
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    /// Its working directory, where visible.
    pub cwd: Option<String>,
    /// The other place whose supervisor runs it, where known.
    pub place: Option<String>,
    /// The container that it serves, where it is the engine's.
    pub container: Option<Container>,
}

/// Steps, and what stands in their way. With obstacles nothing is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub obstacles: Vec<Obstacle>,
    /// The command lines of the manifest that are going to be run, by service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, Commands>,
}

/// What a process of the manifest is going to run, as it could be typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commands {
    pub run: String,
    /// The folder of both.
    pub cwd: Utf8PathBuf,
    /// What is asked whether it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

impl Plan {
    /// Remembers what a process of the manifest is going to run, so that a person sees it before it does.
    pub fn show_command(&mut self, launch: &Launch) {
        // What comes with this program is no command of the manifest.
        let named = launch.processes.iter().any(|process| process.labels.contains_key(COMMAND));
        if launch.endpoint.kind != Kind::Process && !named {
            return;
        }
        let check = match launch.endpoint.watched.as_ref().map(|watched| &watched.ready) {
            Some(Ready::Command(words)) => Some(command_line(words)),
            _ => None,
        };
        for process in &launch.processes {
            let commands =
                Commands { run: command_line(&process.argv), cwd: process.cwd.clone(), check: check.clone() };
            self.commands.insert(process.service.clone(), commands);
        }
    }

    /// Sets an application up once its servers are ready, and waits for the application itself after that: without tables it answers no search.
    pub fn set_up(&mut self, service: &str, needs: &[String]) {
        let waits = |step: &&Step, name: &str| matches!(&step.action, Action::Await(other) | Action::Verify(other) if other == name);
        let ready = self.steps.iter().filter(|step| needs.iter().any(|name| waits(step, name)));
        let ready: Vec<usize> = ready.map(|step| step.id).collect();
        let id = self.push(Action::SetUp(service.to_owned()), Cause::Requested, ready);
        for step in &mut self.steps {
            if waits(&&*step, service) {
                step.after.push(id);
            }
        }
    }

    /// Adds a step and returns its id.
    pub fn push(&mut self, action: Action, cause: Cause, after: impl Into<Vec<usize>>) -> usize {
        let id = self.steps.len();
        self.steps.push(Step { id, action, cause, after: after.into() });
        id
    }
}

/// The services that were asked for, by what runs them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub processes: &'a [(&'a str, &'a Launch)],
    pub containers: &'a [(&'a str, &'a Contained)],
    /// Those that somebody else runs.
    pub elsewhere: &'a [&'a str],
    /// Those of the processes that nobody waits for.
    pub lazy: &'a [&'a str],
}

/// What was found, read once, before planning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    pub supervisor: Option<Supervisor>,
    /// By process id as the supervisor names them.
    pub processes: BTreeMap<String, (Process, Status)>,
    /// The containers of this place, by service.
    pub containers: BTreeMap<String, Seen>,
    /// No service has a container, and there is a network of this place or a container that belongs to none.
    pub leftovers: bool,
    /// The ids of the images that are there, by the names that the manifest gives them.
    pub images: BTreeMap<String, String>,
    /// Ports that somebody else listens on, where it would be in our way.
    pub held: BTreeMap<u16, Option<Holder>>,
    /// What made the data of each service; absent where there is no data yet, `None` where nothing tells.
    pub data: BTreeMap<String, Option<String>>,
}

/// A running supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    pub pid: u32,
    pub voice: Voice,
}

/// Whether a supervisor can be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// It speaks this build's protocol.
    Ours,
    /// It was started by this build, which speaks another protocol.
    Other { build: String },
    /// It does not answer, perhaps because a signal has stopped it.
    Silent { stopped: bool },
}

impl Observed {
    /// Whether every process of a service has a process id.
    pub fn runs(&self, service: &str) -> bool {
        let mut of_service = self.processes.values().filter(|(p, _)| p.service == service).peekable();
        of_service.peek().is_some() && of_service.all(|(_, status)| status.pid.is_some())
    }
}
