//! What `up` has to say at its end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::plan::{Action, Plan, render};
use owo_colors::OwoColorize;
use serde::Serialize;

use super::Wanted;
use crate::backend::compose::Compose;
use crate::backend::native;
use crate::client::{self, Effort};
use crate::context::Context;
use crate::engine::Outcome;
use crate::output::{self, Report};
use crate::stack::Unavailable;
use crate::sys::os;

/// What `up` reports.
#[derive(Debug, Serialize)]
pub(super) struct Running {
    place: String,
    /// Milliseconds from the beginning of the command until everything was ready.
    took_ms: u64,
    memory_bytes: u64,
    /// Nothing had to be done.
    unchanged: bool,
    services: Vec<Ready>,
    /// What of the profile cannot be had on this machine.
    left_out: Vec<Unavailable>,
    /// The servers can be reached from other machines.
    open: bool,
    /// What the person typed, for the closing lines.
    /// There are processes of the manifest among the services.
    #[serde(skip)]
    processes: bool,
    #[serde(skip)]
    program: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Ready {
    name: String,
    started: bool,
    /// Milliseconds until it was usable and ours, and had taken a write.
    took_ms: u64,
    /// Milliseconds until it was first found usable and ours, where it was started.
    detected_ms: Option<u64>,
    /// Nobody has waited for it, and it is not usable yet.
    starting: bool,
    host: String,
    ports: BTreeMap<String, u16>,
    /// The line that people read.
    #[serde(skip)]
    addresses: String,
}

/// What `up --dry-run` reports.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) left_out: Vec<Unavailable>,
    #[serde(skip)]
    pub(super) last: BTreeMap<String, u64>,
}

/// The report of an `up` that succeeded.
pub(super) fn running(
    context: &Context,
    wanted: &Wanted<'_>,
    unchanged: bool,
    outcome: &Outcome,
    took: Duration,
) -> anyhow::Result<Running> {
    let mut memory_bytes = 0;
    if !unchanged {
        let seen =
            wanted.containers.compose.as_ref().map(Compose::containers).transpose()?.unwrap_or_default();
        let pids = native::list(wanted.place)?.into_iter().filter_map(|s| s.status.pid);
        memory_bytes = os::memory_of(pids.chain(seen.into_values().filter_map(|seen| seen.pid)));
    }
    let services = wanted
        .endpoints
        .iter()
        .map(|(name, endpoint)| Ready {
            name: name.clone(),
            started: outcome.started.contains(name),
            took_ms: outcome.ready.get(name).copied().unwrap_or(0),
            detected_ms: outcome.detected.get(name).copied(),
            starting: wanted.lazy.contains(&name.as_str())
                && client::probe(endpoint, Effort::Look) != Attempt::Ready,
            host: endpoint.host.clone(),
            ports: endpoint.ports.clone(),
            addresses: addresses(endpoint),
        })
        .collect();
    Ok(Running {
        place: wanted.place.id.clone(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        memory_bytes,
        unchanged,
        open: wanted.stack.bind() == "0.0.0.0",
        services,
        left_out: wanted.left_out.to_vec(),
        processes: wanted.endpoints.values().any(|endpoint| endpoint.kind == Kind::Process),
        program: context.program.clone(),
    })
}

/// One line for each.
fn told(left_out: &[Unavailable]) -> String {
    left_out.iter().fold(String::new(), |mut text, left_out| {
        let _ = writeln!(text, "Left out {left_out}");
        text
    })
}

impl Planned {
    fn steps(&self) -> String {
        if self.plan.steps.iter().all(|step| step.action.only_looks()) {
            let packs = self.plan.steps.iter().filter_map(|step| match &step.action {
                Action::Seed(pack) => {
                    Some(format!("The pack {pack} would be loaded where a server does not have it.\n"))
                }
                _ => None,
            });
            let packs: String = packs.collect();
            return format!(
                "Nothing to start: everything runs as wanted and would only be looked at.\n{packs}"
            );
        }
        render(&self.plan, &self.last)
    }
}

impl Report for Planned {
    fn human(&self) -> String {
        self.steps() + &told(&self.left_out)
    }
}

impl Report for Running {
    fn human(&self) -> String {
        let mut text = String::new();
        let took = output::seconds(self.took_ms);
        let _ = if self.unchanged {
            let starting = self.services.iter().any(|service| service.starting);
            let what = if starting { "all else" } else { "all of it" };
            let (ready, ms) = ("Ready", self.took_ms);
            writeln!(text, "{}: nothing to do, {what} usable and yours ({ms} ms)", ready.green().bold())
        } else {
            let memory = output::bytes(self.memory_bytes);
            let reach = match (self.open, self.processes) {
                (true, _) => "open to the network",
                (false, false) => "all on loopback",
                // Where a process of the manifest listens is its own decision.
                (false, true) => "the servers on loopback",
            };
            writeln!(text, "\n{} in {took}, {memory} of memory, {reach}", "Ready".green().bold())
        };
        text.push('\n');
        for service in &self.services {
            let starting = if service.starting { "  starting" } else { "" };
            let _ = writeln!(
                text,
                "{}",
                format!("  {:<12} {}{starting}", service.name, service.addresses).trim_end()
            );
        }
        if !self.left_out.is_empty() {
            let _ = write!(text, "\n{}", told(&self.left_out));
        }
        if !self.unchanged {
            let program = &self.program;
            let _ = write!(
                text,
                "\nNext   eval \"$({program} env)\"      settings for an application, psql, redis-cli\n       \
                 {program} status | logs -f | down\n"
            );
        }
        text
    }
}

/// The address to connect to, and the console where there is one.
fn addresses(endpoint: &Endpoint) -> String {
    let shown = endpoint.shown();
    match (endpoint.kind, shown.as_slice()) {
        (Kind::Process, all) => all.join("  "),
        (Kind::Invenio, [https, ..]) => format!("https://{https}"),
        (Kind::Rabbitmq, [amqp, http, ..]) => format!("{amqp:<24} console http://{http}"),
        (Kind::Pgadmin, [http, https]) => format!("{:<24} https://{https}", format!("http://{http}")),
        (Kind::Opensearch | Kind::Dashboards | Kind::Pgadmin, [http, ..]) => format!("http://{http}"),
        // Somebody else's URL names no console.
        (Kind::Minio, [s3, ..]) if endpoint.ports.contains_key("console") => {
            format!("{s3:<24} console http://{}", endpoint.address("console"))
        }
        (_, all) => all.first().cloned().unwrap_or_default(),
    }
}
