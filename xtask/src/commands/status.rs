//! `status`: what runs, where, and whether it is usable.

mod container;
mod tasks;
mod watch;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::UNIX_EPOCH;

use camino::Utf8Path;
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::model::Backend;
use ecosystem_core::supervise::Phase;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::app::tasks::Tasks;
use crate::backend::compose::record;
use crate::backend::native;
use crate::checkpoint;
use crate::cli::{self as args, Global};
use crate::client::{self, Effort};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::reset;
use crate::site::Holder;
use crate::site::logs::first_error;
use crate::stack::Stack;
use crate::sys::control::Supervised;
use crate::sys::os;

#[derive(Debug, Serialize)]
struct Status {
    place: Option<String>,
    root: String,
    /// The command that is at work in this project.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_work: Option<AtWork>,
    /// The checkpoint whose restoring was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    restoring: Option<String>,
    /// The pack to which going back was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    resetting: Option<String>,
    services: Vec<Service>,
    /// What the application has left to do; absent where none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Tasks>,
    /// Why nothing is told of containers.
    #[serde(skip)]
    unseen: Option<anyhow::Error>,
}

#[derive(Debug, Serialize)]
struct AtWork {
    command: String,
    pid: u32,
    since: String,
    #[serde(skip)]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    state: State,
    /// A signal has stopped it.
    #[serde(skip)]
    stopped: bool,
    /// Why it is not ready.
    reason: Option<String>,
    /// The first line of its log, since its last start, that tells an error; only where it is not ready.
    error: Option<String>,
    address: String,
    version: String,
    memory_bytes: u64,
    uptime_ms: u64,
    restarts: u32,
    pids: BTreeMap<String, Option<u32>>,
    ports: BTreeMap<String, u16>,
    /// The name of its container, where it is one.
    container: Option<String>,
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
    /// The command that is at work starts it.
    Starting,
    /// It was told to stop.
    Stopping,
    /// It ended by itself.
    Failed,
    Stopped,
    /// It runs; how to ask it stands in a manifest that is broken.
    Running,
    /// It runs, and the manifest does not name it any more.
    Orphaned,
}

/// Prints the state of every service that was started here. Fails with a finding where one is not ready.
pub fn run(
    context: &Context,
    global: &Global,
    args: &args::Status,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    if args.watch {
        stack.warn_if_broken(events);
        return watch::run(context, global, &stack);
    }
    let status = gather(context, &stack)?;
    output::report(&status, global.format)?;
    if let Some(broken) = stack.broken {
        return Err(broken.into());
    }
    if let Some(unseen) = status.unseen {
        return Err(unseen);
    }
    if stack.place().is_some() {
        // The reason why nobody answers as ours.
        let known = &stack.site.ecosystem.services;
        let services = status.services.iter().filter(|s| s.state != State::Starting).map(|s| s.name.as_str());
        let services =
            services.filter(|name| known.get(*name).is_some_and(ecosystem_core::model::Service::has_secret));
        stack.state.refuse_lost_secrets(&stack.state.secrets()?, services)?;
    }
    let named = |wanted: fn(&Service) -> bool| -> Vec<&str> {
        status.services.iter().filter(|s| wanted(s)).map(|s| s.name.as_str()).collect()
    };
    let (bad, starting) = (named(Service::bad), named(|service| service.state == State::Starting));
    let not_ready =
        |names: &[&str]| Failure::new(Kind::Finding, "not-ready", format!("not ready: {}", names.join(", ")));
    if bad.is_empty() {
        let wait = "it is being started; to see when it is ready: {program} status --watch";
        return if starting.is_empty() { Ok(()) } else { Err(not_ready(&starting).hint(wait).into()) };
    }
    let mut failure = not_ready(&[bad.clone(), starting].concat())
        .hint(format!("what it says: {{program}} logs {}", bad[0]));
    // Starting does not help one that a signal has stopped; its line says what does.
    if status.services.iter().any(|s| s.bad() && !s.stopped) {
        failure = failure.hint(format!("start it again: {{program}} up {}", bad.join(" ")));
    }
    Err(failure.into())
}

/// Asks the supervisor, the engine where there are containers, and every server.
fn gather(context: &Context, stack: &Stack) -> anyhow::Result<Status> {
    let root = stack.site.root.to_string();
    let holder = stack.state.at_work()?;
    let at_work = holder.as_ref().map(|holder| AtWork {
        command: holder.command.clone(),
        pid: holder.pid,
        since: holder.since(),
        seconds: holder.seconds(),
    });
    let mut status = Status {
        place: None,
        root,
        at_work,
        restoring: None,
        resetting: None,
        services: Vec::new(),
        tasks: None,
        unseen: None,
    };
    // Not what was known when the command began: somebody may have set it up while it watches.
    let Some(place) = stack.present_place()? else { return Ok(status) };
    status.place = Some(place.id.clone());
    // The command at work may be the one that restores it.
    let restoring = checkpoint::pending(&place)?.filter(|_| holder.is_none());
    status.restoring = restoring.map(|journal| journal.checkpoint);
    status.resetting = reset::pending(&place)?.filter(|_| holder.is_none()).map(|journal| journal.pack);
    let secrets = stack.state.secrets()?;
    let mut by_service: BTreeMap<String, Vec<Supervised>> = BTreeMap::new();
    for supervised in native::list(&place)? {
        by_service.entry(supervised.process.service.clone()).or_default().push(supervised);
    }
    let (compose, containers) = match Stack::containers(context, &place) {
        Ok(containers) => containers.unzip(),
        Err(error) => {
            status.unseen = Some(error);
            (None, None)
        }
    };
    let containers = containers.unwrap_or_default();
    let known = &stack.site.ecosystem.services;
    let by = |name: &str, backend| known.get(name).is_some_and(|s| s.backend.value == backend);
    for name in holder.iter().flat_map(|holder| &holder.starts) {
        let ours = known.contains_key(name) && !by(name, Backend::External);
        if ours && !containers.contains_key(name) {
            by_service.entry(name.clone()).or_default();
        }
    }
    let started = record::read(&place)?.services;
    let there = |name: &String| {
        by_service.contains_key(name) || containers.contains_key(name) || by(name, Backend::External)
    };
    let services: Vec<_> = known.values().filter(|s| s.runs() && there(&s.name)).collect();
    let endpoints = stack.endpoints(&services, &place, &secrets);
    status.services = std::thread::scope(|scope| {
        let asked: Vec<_> = by_service
            .iter()
            .map(|(name, processes)| {
                let endpoint = endpoints.get(name);
                let starts = holder.as_ref().filter(|holder| holder.starts.contains(name));
                let elsewhere = by(name, Backend::External);
                scope.spawn(move || match endpoint {
                    _ if stack.broken.is_some() => Some(unasked(name, processes, starts)),
                    _ if elsewhere => orphan(name, processes, &context.program),
                    Some(endpoint) => Some(service(name, processes, endpoint, starts)),
                    None => orphan(name, processes, &context.program),
                })
            })
            .collect();
        let contained: Vec<_> = containers
            .iter()
            .map(|(name, seen)| {
                let ours = by(name, Backend::Compose) && stack.broken.is_none();
                let endpoint = endpoints.get(name).filter(|_| ours);
                let starts = holder.as_ref().filter(|holder| holder.starts.contains(name));
                scope.spawn(move || Some(container::row(name, seen, endpoint, starts, &context.program)))
            })
            .collect();
        let elsewhere: Vec<_> = endpoints
            .iter()
            .filter(|(name, _)| by(name, Backend::External))
            // What still runs here under this name holds its port, mostly.
            .filter(|(name, _)| !by_service.contains_key(*name) && !containers.contains_key(*name))
            .map(|(name, endpoint)| scope.spawn(move || Some(container::elsewhere(name, endpoint))))
            .collect();
        let gone = started.iter().filter(|name| compose.is_some() && !containers.contains_key(*name));
        let gone: Vec<_> = gone
            .map(|name| {
                let starts = holder.as_ref().is_some_and(|holder| holder.starts.contains(name));
                scope.spawn(move || (!starts).then(|| container::gone(name, &context.program)))
            })
            .collect();
        let all = asked.into_iter().chain(contained).chain(elsewhere).chain(gone);
        all.filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    status.services.sort_by(|a, b| a.name.cmp(&b.name));
    status.tasks = tasks::of(&status.services, &endpoints);
    for service in status.services.iter_mut().filter(|service| service.bad()) {
        if let (Some(compose), Some(seen), Some(_)) =
            (&compose, containers.get(&service.name), &service.container)
        {
            service.error = container::first_error(compose, seen);
            continue;
        }
        // Its own alone: `redis-queue` may be another service than `redis`.
        let Some(processes) = by_service.get(&service.name) else { continue };
        let logs = processes.iter().map(|supervised| supervised.process.log.as_path());
        service.error = first_error(logs).map(|line| harmless(&line));
    }
    Ok(status)
}

/// A service that runs and that the manifest does not name any more, because it was renamed or taken out. What was stopped is not told.
fn orphan(name: &str, processes: &[Supervised], program: &str) -> Option<Service> {
    processes.iter().find(|p| p.status.pid.is_some())?;
    let (address, ports) = told(processes);
    let reason =
        format!("it runs, and the manifest does not name it any more; to stop it: {program} down {name}");
    Some(Service { state: State::Orphaned, reason: Some(reason), ..facts(name, processes, address, ports) })
}

/// A service that cannot be asked, because the manifest is broken.
fn unasked(name: &str, processes: &[Supervised], starts: Option<&Holder>) -> Service {
    let (address, ports) = told(processes);
    let (state, reason) = match standing(processes, starts) {
        (State::Running, _) => (State::Running, stopped(processes)),
        other => other,
    };
    Service { state, reason, ..facts(name, processes, address, ports) }
}

/// Address and ports, as they were when it was started.
fn told(processes: &[Supervised]) -> (String, BTreeMap<String, u16>) {
    let Some(labels) = processes.last().map(|last| &last.process.labels) else { return Default::default() };
    let ports: BTreeMap<String, u16> = labels
        .iter()
        .filter_map(|(label, port)| Some((label.strip_prefix("ports.")?.to_owned(), port.parse().ok()?)))
        .collect();
    let host = labels.get("bind").map_or("", String::as_str);
    let main = ["sql", "redis", "amqp", "http"].into_iter().find_map(|role| ports.get(role));
    let address = main.or(ports.values().next()).map(|port| format!("{host}:{port}")).unwrap_or_default();
    (address, ports)
}

fn service(name: &str, processes: &[Supervised], endpoint: &Endpoint, starts: Option<&Holder>) -> Service {
    let halted = stopped(processes);
    let (state, reason) = match standing(processes, starts) {
        (State::Running, _) => match client::probe(endpoint, Effort::Look) {
            Attempt::Ready => (State::Ready, None),
            Attempt::NotYet(_) if starts.is_some() && halted.is_none() => (State::Starting, None),
            Attempt::NotYet(reason) => (State::NotReady, Some(halted.clone().unwrap_or(reason))),
            Attempt::Never(reason) => (State::NotOurs, Some(reason)),
            Attempt::Unknowable(reason) => (State::NotReady, Some(reason)),
        },
        other => other,
    };
    let address = endpoint.shown().into_iter().next().unwrap_or_default();
    Service {
        state,
        reason,
        stopped: halted.is_some(),
        ..facts(name, processes, address, endpoint.ports.clone())
    }
}

/// How a service stands by what the supervisor says, with the reason where it ended by itself. `starts` is the command that starts it now.
fn standing(processes: &[Supervised], starts: Option<&Holder>) -> (State, Option<String>) {
    let all = |wanted: Phase| processes.iter().all(|p| p.status.phase == wanted);
    let any = |wanted: Phase| processes.iter().any(|p| p.status.phase == wanted);
    // What failed since that command began is its failure.
    let failed_since = |holder: &Holder| {
        let failed = processes.iter().filter(|p| p.status.phase == Phase::Failed);
        failed.map(|p| changed(&p.process.log)).any(|at| at.is_none_or(|at| at >= holder.since_ms))
    };
    match starts {
        _ if any(Phase::Stopping) => (State::Stopping, None),
        _ if !processes.is_empty() && all(Phase::Running) => (State::Running, None),
        Some(holder) if !failed_since(holder) => (State::Starting, None),
        _ if all(Phase::Ended) => (State::Stopped, None),
        _ => (State::Failed, last_exit(processes)),
    }
}

/// When a file was written last, in milliseconds since 1970.
fn changed(file: &Utf8Path) -> Option<u64> {
    let at = std::fs::metadata(file).ok()?.modified().ok()?;
    u64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn last_exit(processes: &[Supervised]) -> Option<String> {
    let ended = processes.iter().find(|p| p.status.phase != Phase::Running)?;
    let then = match (ended.status.phase, ended.status.incarnation) {
        (Phase::Restarting, _) => "; it is started again in a moment",
        (Phase::Failed, 2..) => "; it ended too often, and is not started again",
        _ => "",
    };
    let how = ended.status.last_exit.as_deref().unwrap_or("not started");
    Some(format!("{}: {how}{then}", ended.process.id()))
}

/// What the system and the supervisor know of a service.
fn facts(name: &str, processes: &[Supervised], address: String, ports: BTreeMap<String, u16>) -> Service {
    let main = processes.last();
    Service {
        name: name.to_owned(),
        state: State::Stopped,
        stopped: false,
        reason: None,
        error: None,
        address,
        version: main.and_then(|p| p.process.labels.get("version").cloned()).unwrap_or_default(),
        memory_bytes: os::memory_of(processes.iter().filter_map(|p| p.status.pid)),
        uptime_ms: processes.iter().filter_map(|p| p.status.uptime_ms).min().unwrap_or(0),
        restarts: processes.iter().map(|p| p.status.incarnation.saturating_sub(1)).sum(),
        pids: processes.iter().map(|p| (p.process.name.clone(), p.status.pid)).collect(),
        ports,
        container: None,
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
        let mut text = String::new();
        if let Some(AtWork { command, pid, since, seconds }) = &self.at_work {
            let _ = writeln!(
                text,
                "`{command}` (pid {pid}) has been at work here for {seconds} s, since {since}"
            );
        }
        if let Some(name) = &self.restoring {
            let _ = writeln!(
                text,
                "Restoring the checkpoint {name} was interrupted: the next command that changes something, such as `up`, finishes it"
            );
        }
        if let Some(pack) = &self.resetting {
            let _ = writeln!(
                text,
                "Going back to the pack {pack} was interrupted: stores may not agree until `reset {pack}` finishes it"
            );
        }
        if self.services.is_empty() {
            let _ = writeln!(text, "Nothing runs for {}.", self.root);
            return text;
        }
        let header = format!(
            "{:<12} {:<10} {:<22} {:<10} {:>9} {:>9}  {}",
            "service", "state", "address", "version", "memory", "up for", "pid"
        );
        let _ = writeln!(text, "{}", header.dimmed());
        for service in &self.services {
            let (word, pids) = (format!("{:<10}", service.state.word()), service.pid_list());
            let how = if service.container.is_some() && !pids.is_empty() { " in a container" } else { "" };
            let word = match service.state {
                State::Ready => word.green().to_string(),
                State::Stopped => word.dimmed().to_string(),
                State::Running => word,
                State::NotReady | State::Orphaned | State::Starting | State::Stopping => {
                    word.yellow().to_string()
                }
                State::NotOurs | State::Failed => word.red().to_string(),
            };
            let _ = writeln!(
                text,
                "{:<12} {word} {:<22} {:<10} {:>9} {:>9}  {pids}{how}",
                service.name,
                service.address,
                service.version,
                if pids.is_empty() { "-".to_owned() } else { output::bytes(service.memory_bytes) },
                if pids.is_empty() { "-".to_owned() } else { uptime(service.uptime_ms) },
            );
            if let Some(reason) = &service.reason {
                let _ = writeln!(text, "             {}", harmless(reason));
            }
            if let Some(error) = &service.error {
                let _ = writeln!(text, "             {} {error}", "log:".dimmed());
            }
            if service.restarts > 0 {
                let times =
                    if service.restarts == 1 { "once" } else { &format!("{} times", service.restarts) };
                let by = if service.container.is_some() { "the engine" } else { "the supervisor" };
                let _ = writeln!(text, "             restarted {times} by {by}");
            }
        }
        if let Some(tasks) = &self.tasks {
            let _ = writeln!(text, "\n{}", tasks::line(tasks));
        }
        text
    }
}

impl Service {
    /// Not as it should be.
    fn bad(&self) -> bool {
        matches!(self.state, State::NotReady | State::NotOurs | State::Failed)
    }

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
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Orphaned => "orphaned",
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
