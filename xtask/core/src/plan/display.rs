//! Plans and obstacles as a person reads them.

use std::collections::BTreeMap;
use std::fmt::Write;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Action, Cause, Holder, Obstacle, Plan};
use crate::failure::{Failure, Kind};
use crate::model::Backend;
use crate::process::quoted;
use crate::release;

/// A plan as `--dry-run` prints it, with the milliseconds that each step took last time where known.
pub fn render(plan: &Plan, last: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    let width = plan.steps.iter().map(|s| s.action.title().len()).max().unwrap_or(0);
    for step in &plan.steps {
        let title = step.action.title();
        let took = last
            .get(&title)
            .map(|ms| format!("  (last time {}.{:02} s)", ms / 1000, ms % 1000 / 10))
            .unwrap_or_default();
        let _ = writeln!(text, "{:>3}  {title:width$}  {}{took}", step.id + 1, because(&step.cause));
        if let Action::Start(service) = &step.action
            && let Some(commands) = plan.commands.get(service)
        {
            let _ = writeln!(text, "       runs: {}", commands.run);
            let _ = writeln!(text, "       in:   {}", commands.cwd);
            if let Some(check) = &commands.check {
                let _ = writeln!(text, "       asks: {check}");
            }
        }
        write_changes(&mut text, &step.cause);
        if let Cause::Each { causes } = &step.cause {
            for (service, cause) in causes {
                let _ = writeln!(text, "       {service}: {}", because(cause));
                write_changes(&mut text, cause);
            }
        }
    }
    text
}

fn write_changes(text: &mut String, cause: &Cause) {
    let Cause::Drifted { changes } = cause else { return };
    for change in changes {
        let none = "not set".to_owned();
        let (was, now) = (change.was.as_ref().unwrap_or(&none), change.now.as_ref().unwrap_or(&none));
        let _ = writeln!(text, "       {}: {was} → {now}", change.path);
    }
}

fn because(cause: &Cause) -> String {
    match cause {
        Cause::Missing => "not there yet".to_owned(),
        Cause::Needed { by } => format!("{by} starts after it"),
        Cause::Ended { how } => format!("it ended by itself: {how}"),
        Cause::Drifted { .. } => "what runs is not what is wanted".to_owned(),
        Cause::OtherBuild { build } => {
            format!("it was started by build {build}, which speaks another protocol")
        }
        Cause::Silent => "it does not answer".to_owned(),
        Cause::Follows => "follows".to_owned(),
        Cause::Requested => "asked for".to_owned(),
        Cause::Quiet => "nothing may write while data is copied".to_owned(),
        Cause::Ran => "it ran before".to_owned(),
        Cause::Each { .. } => "in one call of Docker Compose".to_owned(),
    }
}

/// A supervisor that does not answer, as the failure of a command that needs it.
pub fn silence(pid: u32, stopped: bool) -> Failure {
    let why = if stopped { "a signal has stopped it" } else { "it is alive, but cannot be reached" };
    let message = format!("the supervisor of this project (pid {pid}) does not answer: {why}");
    let mut failure = Failure::new(Kind::Service, "supervisor-silent", message);
    if stopped {
        failure = failure.hint(format!("let it go on: kill -CONT {pid}"));
    }
    failure.hint("end it and its servers, which keep what they have acknowledged: {program} down")
}

/// How a person could try again what met an obstacle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The words that were typed: `up redis`.
    pub words: String,
    /// A port offset at which nothing is in the way.
    pub offset: u16,
    /// The folder of the project.
    pub root: Utf8PathBuf,
}

/// All obstacles as one failure; `None` where there are none. One block per owner, not per port.
pub fn obstacles_failure(obstacles: &[Obstacle], retry: &Retry) -> Option<Failure> {
    let ports = by_holder(obstacles);
    let data = obstacles.iter().filter_map(|obstacle| match obstacle {
        Obstacle::OtherData { service, folder, made_by, wanted } => Some((service, folder, made_by, wanted)),
        _ => None,
    });
    let mut text = String::new();
    let mut hints = Vec::new();
    let silent = obstacles.iter().find_map(|obstacle| match obstacle {
        Obstacle::SilentSupervisor { pid, stopped } => Some((*pid, *stopped)),
        _ => None,
    });
    if let Some(Failure { message, hints: way_out, .. }) = silent.map(|(pid, stopped)| silence(pid, stopped))
    {
        let _ = writeln!(text, "{message}");
        hints.extend(way_out);
    }
    let other = obstacles.iter().find_map(|obstacle| match obstacle {
        Obstacle::OtherSupervisor { build } => Some(build),
        _ => None,
    });
    if let Some(build) = other {
        let _ = writeln!(
            text,
            "what runs was started by build {build}, which can only be asked to end as a whole"
        );
        hints.push("end all of it: {program} down".to_owned());
    }
    let _ = write!(text, "{}", held_by(&ports, &mut hints));
    hints.extend(ports.iter().filter_map(|(holder, wanted)| offer(*holder, wanted, &retry.root)));
    let backend = obstacles.iter().find_map(|obstacle| match obstacle {
        Obstacle::OtherBackend { services, wanted } => Some((services, *wanted)),
        _ => None,
    });
    if let Some((services, wanted)) = backend {
        let names = services.join(", ");
        let _ = match wanted {
            Backend::Native => {
                writeln!(text, "what runs as containers shall run as processes of yours: {names}")
            }
            Backend::Compose => {
                writeln!(text, "what runs as processes of yours shall run as containers: {names}")
            }
            Backend::External => writeln!(text, "what runs here shall be run by somebody else: {names}"),
        };
        hints.push("stop what runs, then try again: {program} down".to_owned());
        hints.push("data does not come along: it stays where it is, for when you go back".to_owned());
    }
    for (service, folder, made_by, wanted) in data {
        let _ = writeln!(
            text,
            "the data of {service} was made by {made_by} and cannot be used by {wanted}\n  {folder}"
        );
        if let Some(release) = release::with(made_by) {
            hints.push(format!(
                "keep the data, with the release that has {made_by}: {{program}} up --release {release}"
            ));
        }
        hints.push(format!("start {service} afresh, losing its data: {{program}} down --data {service}"));
    }
    if !ports.is_empty() {
        let Retry { words, offset, .. } = retry;
        hints.push(format!(
            "run all of it on other ports from now on: {{program}} {words} --port-offset {offset}"
        ));
    }
    let code = match (silent, other, backend, ports.is_empty()) {
        (Some(_), ..) => "supervisor-silent",
        (None, Some(_), ..) => "supervisor-other",
        (None, None, Some(_), _) => "backend-differs",
        (None, None, None, false) => "port-taken",
        (None, None, None, true) => "data-other-version",
    };
    (!obstacles.is_empty()).then(|| Failure {
        kind: Kind::Service,
        code,
        message: format!("nothing was started\n{}", text.trim_end()),
        hints,
        details: Vec::new(),
    })
}

/// How a server that the project's own Compose file has started could be used as it is.
fn offer(holder: Option<&Holder>, wanted: &[(u16, String)], root: &Utf8Path) -> Option<String> {
    let container = holder?.container.as_ref()?;
    Utf8Path::new(container.folder.as_deref()?).starts_with(root).then_some(())?;
    let schemes = [
        ("sql", "postgresql://USER:PASSWORD@", "/DATABASE"),
        ("redis", "redis://", ""),
        ("amqp", "amqp://USER:PASSWORD@", ""),
        ("http", "http://", ""),
    ];
    wanted.iter().find_map(|(port, what)| {
        let (service, role) = what.split_once(' ').unwrap_or((what, what));
        let (_, begin, end) = schemes.iter().find(|(known, ..)| *known == role)?;
        Some(format!(
            "or use it as it is: `external = \"{begin}127.0.0.1:{port}{end}\"` in [services.{service}] of ecosystem.toml"
        ))
    })
}

/// Ports that were free when they were looked at, and that somebody holds now that a service cannot have them. `None` where nobody does.
pub fn taken_meanwhile(service: &str, obstacles: &[Obstacle]) -> Option<Failure> {
    let ports = by_holder(obstacles);
    let mut hints = vec![format!("see what else is in the way, and the way out: {{program}} up {service}")];
    let holders = held_by(&ports, &mut hints);
    let message = format!("{service} lost its port to somebody who came in between\n{}", holders.trim_end());
    (!ports.is_empty()).then_some(Failure {
        kind: Kind::Service,
        code: "port-taken",
        message,
        hints,
        details: Vec::new(),
    })
}

/// A holder, and the ports that it holds with what they are wanted for.
type Held<'a> = (&'a Holder, &'a [(u16, String)]);

type Ports<'a> = BTreeMap<Option<&'a Holder>, Vec<(u16, String)>>;

/// The ports that are taken, by who holds them.
fn by_holder(obstacles: &[Obstacle]) -> Ports<'_> {
    let mut ports = Ports::new();
    for obstacle in obstacles {
        if let Obstacle::PortTaken { service, role, port, holder } = obstacle {
            let what = if service == role { service.clone() } else { format!("{service} {role}") };
            ports.entry(holder.as_ref()).or_default().push((*port, what));
        }
    }
    ports
}

/// Who holds which ports, one block a holder, and the next step for those that can be told.
fn held_by(ports: &Ports<'_>, hints: &mut Vec<String>) -> String {
    let mut text = String::new();
    let mut stacks: BTreeMap<&str, Vec<Held<'_>>> = BTreeMap::new();
    for (holder, wanted) in ports {
        if let Some((holder, place)) = holder.and_then(|holder| Some((holder, holder.place.as_deref()?))) {
            stacks.entry(place).or_default().push((holder, wanted.as_slice()));
            continue;
        }
        let _ = write!(text, "{} held by ", numbers(wanted));
        if let Some(container) = holder.and_then(|holder| holder.container.as_ref()) {
            let _ = write!(text, "{container}");
            hints.push(format!("stop the container: docker stop {}", quoted(&container.name)));
        } else if let Some(Holder { pid, command, cwd, .. }) = holder {
            let _ = write!(text, "pid {pid}: {command}");
            if let Some(cwd) = cwd {
                let _ = write!(text, "\n  in {cwd}");
            }
        } else {
            let port = wanted.first().map_or(0, |(port, _)| *port);
            let _ = write!(text, "a process of another user; `sudo ss -ltnp 'sport = :{port}'` names it");
        }
        text.push('\n');
    }
    // Servers of another stack are known by their ports; a person stops the stack, not them.
    for (place, holders) in stacks {
        let mut all: Vec<(u16, String)> =
            holders.iter().flat_map(|(_, wanted)| wanted.iter().cloned()).collect();
        all.sort();
        let who = |holder: &Holder| match &holder.container {
            Some(container) => format!("container {}", container.name),
            None => format!("pid {}", holder.pid),
        };
        let pids: Vec<String> = holders.iter().map(|(holder, _)| who(holder)).collect();
        let _ = writeln!(text, "{} held by the stack of {place}\n  {}", numbers(&all), pids.join(", "));
        hints.push(format!("stop the other stack: {{program}} down -C {}", quoted(place)));
    }
    text
}

/// Ports with what they are wanted for, as the beginning of a sentence about them.
fn numbers(ports: &[(u16, String)]) -> String {
    let list: Vec<String> = ports.iter().map(|(port, what)| format!("{port} ({what})")).collect();
    let (noun, verb) = if list.len() == 1 { ("port", "is") } else { ("ports", "are") };
    format!("{noun} {} {verb}", list.join(", "))
}
