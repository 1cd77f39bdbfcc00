//! `status`: what runs, where, and whether it is usable.

use std::collections::BTreeMap;
use std::fmt::Write;

use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::supervise::Phase;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::backend::native;
use crate::cli::Global;
use crate::client::{self, Effort};
use crate::context::Context;
use crate::output::{self, Report};
use crate::stack::Stack;
use crate::sys::control::Supervised;
use crate::sys::os;

#[derive(Debug, Serialize)]
struct Status {
    place: Option<String>,
    root: String,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    state: State,
    /// Why it is not ready.
    reason: Option<String>,
    address: String,
    version: String,
    memory_bytes: u64,
    uptime_ms: u64,
    restarts: u32,
    pids: BTreeMap<String, Option<u32>>,
    ports: BTreeMap<String, u16>,
}

/// How a service is, for people and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Usable and ours.
    Ready,
    /// It runs but does not answer as it should.
    NotReady,
    /// Somebody else answers on its port.
    NotOurs,
    /// It ended by itself.
    Failed,
    Stopped,
}

/// Prints the state of every service that was started here. Fails with a finding where one is not ready.
pub fn run(context: &Context, global: &Global) -> anyhow::Result<()> {
    let stack = Stack::open(context, global, None)?;
    let mut status = Status { place: None, root: stack.site.root.to_string(), services: Vec::new() };
    let mut secrets = None;
    if let Some(place) = stack.place() {
        status.place = Some(place.id.clone());
        let secrets = secrets.insert(stack.state.secrets()?);
        let mut by_service: BTreeMap<String, Vec<Supervised>> = BTreeMap::new();
        for supervised in native::list(&place)? {
            by_service.entry(supervised.process.service.clone()).or_default().push(supervised);
        }
        let known: Vec<_> =
            stack.site.ecosystem.services.values().filter(|s| by_service.contains_key(&s.name)).collect();
        let endpoints = stack.endpoints(&known, &place, secrets);
        status.services = std::thread::scope(|scope| {
            let asked: Vec<_> = by_service
                .iter()
                .filter_map(|(name, processes)| Some((name, processes, endpoints.get(name)?)))
                .map(|(name, processes, endpoint)| scope.spawn(move || service(name, processes, endpoint)))
                .collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
    }
    output::report(&status, global.format)?;
    if let Some(secrets) = &secrets {
        // The reason why nobody answers as ours.
        stack.state.refuse_lost_secrets(secrets, status.services.iter().map(|s| s.name.as_str()))?;
    }
    let bad: Vec<&str> = status
        .services
        .iter()
        .filter(|s| !matches!(s.state, State::Ready | State::Stopped))
        .map(|s| s.name.as_str())
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Finding, "not-ready", format!("not ready: {}", bad.join(", ")))
        .hint(format!("what it says: {{program}} logs {}", bad[0]))
        .hint("start it again: {program} up")
        .into())
}

fn service(name: &str, processes: &[Supervised], endpoint: &Endpoint) -> Service {
    let phases: Vec<Phase> = processes.iter().map(|p| p.status.phase).collect();
    let last_exit = || {
        let ended = processes.iter().find(|p| p.status.phase != Phase::Running)?;
        let then = match (ended.status.phase, ended.status.incarnation) {
            (Phase::Restarting, _) => "; it is started again in a moment",
            (Phase::Failed, 2..) => "; it ended too often, and is not started again",
            _ => "",
        };
        let how = ended.status.last_exit.as_deref().unwrap_or("not started");
        Some(format!("{}: {how}{then}", ended.process.id()))
    };
    let (state, reason) = if phases.iter().all(|p| *p == Phase::Running) {
        match client::probe(endpoint, Effort::Look) {
            Attempt::Ready => (State::Ready, None),
            Attempt::NotYet(reason) => (State::NotReady, Some(stopped(processes).unwrap_or(reason))),
            Attempt::Never(reason) => (State::NotOurs, Some(reason)),
        }
    } else if phases.iter().all(|p| *p == Phase::Ended) {
        (State::Stopped, None)
    } else {
        (State::Failed, last_exit())
    };
    let pids = || processes.iter().filter_map(|p| p.status.pid);
    let memory = pids()
        .flat_map(|pid| os::descendants(pid).into_iter().chain([pid]))
        .filter_map(os::resident_memory)
        .sum();
    let main = processes.last();
    Service {
        name: name.to_owned(),
        state,
        reason,
        address: endpoint.shown().into_iter().next().unwrap_or_default(),
        version: main.and_then(|p| p.process.labels.get("version").cloned()).unwrap_or_default(),
        memory_bytes: memory,
        uptime_ms: processes.iter().filter_map(|p| p.status.uptime_ms).min().unwrap_or(0),
        restarts: processes.iter().map(|p| p.status.incarnation.saturating_sub(1)).sum(),
        pids: processes.iter().map(|p| (p.process.name.clone(), p.status.pid)).collect(),
        ports: endpoint.ports.clone(),
    }
}

/// The process that a signal has stopped, where there is one: why nothing answers.
fn stopped(processes: &[Supervised]) -> Option<String> {
    let with_pid = |supervised: &Supervised| Some((supervised.process.id(), supervised.status.pid?));
    let (id, pid) = processes.iter().filter_map(with_pid).find(|(_, pid)| os::is_stopped(*pid))?;
    Some(format!("a signal has stopped {id} (pid {pid}); kill -CONT {pid} lets it go on"))
}

impl Report for Status {
    fn human(&self) -> String {
        if self.services.is_empty() {
            return format!("Nothing runs for {}.\n", self.root);
        }
        let mut text = String::new();
        let header = format!(
            "{:<12} {:<10} {:<22} {:<10} {:>9} {:>9}  {}",
            "service", "state", "address", "version", "memory", "up for", "pid"
        );
        let _ = writeln!(text, "{}", header.dimmed());
        for service in &self.services {
            let (word, pids) = (format!("{:<10}", service.state.word()), service.pid_list());
            let word = match service.state {
                State::Ready => word.green().to_string(),
                State::Stopped => word.dimmed().to_string(),
                State::NotReady => word.yellow().to_string(),
                State::NotOurs | State::Failed => word.red().to_string(),
            };
            let _ = writeln!(
                text,
                "{:<12} {word} {:<22} {:<10} {:>9} {:>9}  {pids}",
                service.name,
                service.address,
                service.version,
                if pids.is_empty() { "-".to_owned() } else { output::bytes(service.memory_bytes) },
                if pids.is_empty() { "-".to_owned() } else { uptime(service.uptime_ms) },
            );
            if let Some(reason) = &service.reason {
                let _ = writeln!(text, "             {}", harmless(reason));
            }
            if service.restarts > 0 {
                let _ = writeln!(text, "             restarted {} times by the supervisor", service.restarts);
            }
        }
        text
    }
}

impl Service {
    fn pid_list(&self) -> String {
        self.pids.values().flatten().map(u32::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::NotOurs => "not ours",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
