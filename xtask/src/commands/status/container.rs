//! A service that runs as a container, or that somebody else runs, as `status` tells it.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::harmless;
use ecosystem_core::log::{Level, Time, stamped};
use ecosystem_core::seen::{Phase, Seen};

use super::{Service, State};
use crate::backend::compose::Compose;
use crate::client::{self, Effort};
use crate::site::Holder;
use crate::sys::{clock, os};

/// How many of the last lines of a log are searched for an error.
const SEARCHED: usize = 400;

/// A container and how it stands with it. Without an endpoint nobody knows how to ask it; `starts` is the command that starts it now.
pub(super) fn row(
    name: &str,
    seen: &Seen,
    endpoint: Option<&Endpoint>,
    starts: Option<&Holder>,
    program: &str,
) -> Service {
    let (state, reason) = match (&seen.phase, endpoint) {
        (Phase::Running, Some(endpoint)) => match client::probe(endpoint, Effort::Look) {
            Attempt::Ready => (State::Ready, None),
            Attempt::NotYet(_) if starts.is_some() => (State::Starting, None),
            Attempt::NotYet(reason) | Attempt::Unknowable(reason) => (State::NotReady, Some(reason)),
            Attempt::Never(reason) => (State::NotOurs, Some(reason)),
        },
        (Phase::Running, None) => {
            let text = format!(
                "it runs, and the manifest does not name it as a container; to stop it: {program} down {name}"
            );
            (State::Orphaned, Some(text))
        }
        (Phase::Paused, _) => {
            let text =
                format!("somebody has paused its container; docker unpause {} lets it go on", seen.name);
            (State::NotReady, Some(text))
        }
        (_, _) if starts.is_some() => (State::Starting, None),
        (Phase::Restarting { how }, _) => {
            (State::Failed, Some(format!("{how}; the engine starts it again in a moment")))
        }
        (Phase::Created, _) => (State::Stopped, Some("its container was made, and never started".to_owned())),
        (Phase::Ended { how }, _) if is_orderly(how) => {
            let text = format!("somebody has stopped its container; {program} up {name} starts it");
            (State::NotReady, Some(text))
        }
        (Phase::Ended { how }, _) => (State::Failed, Some(how.clone())),
    };
    let label = |name: &str| seen.labels.get(name).map(String::as_str);
    let address = endpoint.and_then(|endpoint| endpoint.shown().into_iter().next());
    let first = seen.ports.first().map(|(port, host)| format!("{host}:{port}"));
    let ports = seen
        .labels
        .iter()
        .filter_map(|(label, port)| Some((label.strip_prefix("ports.")?.to_owned(), port.parse().ok()?)));
    Service {
        name: name.to_owned(),
        state,
        stopped: seen.phase == Phase::Paused,
        reason,
        error: None,
        address: address.or(first).unwrap_or_default(),
        version: label("image").map(tag).unwrap_or_default(),
        memory_bytes: os::memory_of(seen.pid),
        uptime_ms: if seen.runs() { uptime(&seen.started) } else { 0 },
        restarts: seen.restarts,
        pids: BTreeMap::from([(name.to_owned(), seen.pid)]),
        ports: ports.collect(),
        container: Some(seen.name.clone()),
    }
}

/// A service whose container was removed, and not by this program.
pub(super) fn gone(name: &str, program: &str) -> Service {
    let reason =
        format!("somebody has removed its container; {program} up {name} makes it anew, on the same data");
    Service { state: State::NotReady, reason: Some(reason), ..nothing(name) }
}

/// A service of which nothing is known.
fn nothing(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        state: State::Stopped,
        stopped: false,
        reason: None,
        error: None,
        address: String::new(),
        version: String::new(),
        memory_bytes: 0,
        uptime_ms: 0,
        restarts: 0,
        pids: BTreeMap::new(),
        ports: BTreeMap::new(),
        container: None,
    }
}

/// A service that somebody else runs.
pub(super) fn elsewhere(name: &str, endpoint: &Endpoint) -> Service {
    let (state, reason) = match client::probe(endpoint, Effort::Look) {
        Attempt::Ready => (State::Ready, None),
        Attempt::NotYet(reason) | Attempt::Unknowable(reason) => (State::NotReady, Some(reason)),
        Attempt::Never(reason) => (State::NotOurs, Some(reason)),
    };
    Service {
        state,
        // Nothing here starts it.
        stopped: true,
        reason,
        address: endpoint.shown().into_iter().next().unwrap_or_default(),
        version: "external".to_owned(),
        ports: endpoint.ports.clone(),
        ..nothing(name)
    }
}

/// The first thing that went wrong since its last start, in the words of its log.
pub(super) fn first_error(compose: &Compose, seen: &Seen) -> Option<String> {
    let lines = compose.log(&seen.name, Some(SEARCHED), Some(&seen.started)).ok()?;
    let lines = stamped(lines.iter().map(String::as_str));
    let error = lines.iter().find(|line| line.head && line.level >= Some(Level::Error))?;
    Some(harmless(&error.text))
}

/// Whether a container ended as it does when somebody stops it.
fn is_orderly(how: &str) -> bool {
    ["ended with exit status 0", "ended by signal 15"].contains(&how)
}

/// `12.4` of `postgres:12.4`, and no more than fits a column.
fn tag(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let tag = name.rsplit('/').next().and_then(|name| name.split_once(':'));
    tag.map_or_else(|| "latest".to_owned(), |(_, tag)| tag.chars().take(10).collect())
}

fn uptime(started: &str) -> u64 {
    Time::read(started).map_or(0, |started| started.milliseconds_until(clock::now()))
}
