//! `up` and `restart`: fetch what is missing, start what does not run as wanted, wait until all of it is usable and ours, fill it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ecosystem_core::catalog::{Inputs, Launch, launch};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Service;
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Cause, Plan, obstacles_failure, port_obstacles, reconcile_up, render};
use ecosystem_core::process::RunAs;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::backend::native;
use crate::cli::{Global, Up};
use crate::context::Context;
use crate::engine::{Engine, Outcome};
use crate::event::{Event, Events};
use crate::output::{self, Report};
use crate::provision::Provisioner;
use crate::seed::{self, Pack};
use crate::site::Secrets;
use crate::stack::Stack;
use crate::sys::os;

/// What `up` reports.
#[derive(Debug, Serialize)]
struct Running {
    place: String,
    /// Milliseconds from the beginning of the command until everything was ready.
    took_ms: u64,
    memory_bytes: u64,
    /// Nothing had to be done.
    unchanged: bool,
    services: Vec<Ready>,
    /// What the person typed, for the closing lines.
    #[serde(skip)]
    program: &'static str,
}

#[derive(Debug, Serialize)]
struct Ready {
    name: String,
    started: bool,
    /// Milliseconds until it was usable and ours, and had taken a write.
    took_ms: u64,
    /// Milliseconds until it was first found usable and ours, where it was started.
    detected_ms: Option<u64>,
    host: String,
    ports: BTreeMap<String, u16>,
}

/// What `up --dry-run` reports.
#[derive(Debug, Serialize)]
struct Planned {
    plan: Plan,
    #[serde(skip)]
    last: BTreeMap<String, u64>,
}

type Failures = Vec<anyhow::Error>;

/// Brings services up.
pub fn run(
    context: &Context,
    global: &Global,
    args: &Up,
    restart: bool,
    events: &dyn Events,
) -> Result<(), Failures> {
    let begin = Instant::now();
    let one = |error: anyhow::Error| vec![error];
    let stack = Stack::open(context, global, args.port_offset).map_err(one)?;
    for warning in &stack.site.ecosystem.warnings {
        events.emit(Event::Warning(format!("{}: {}", warning.place(), warning.what)));
    }
    let services =
        stack.site.ecosystem.select(args.profile.as_deref(), &args.services).map_err(|e| one(e.into()))?;
    let run_as = context.host().run_as().ok_or_else(|| one(root_without_namespaces().into()))?;
    if args.dry_run {
        return plan_only(context, global, &stack, &services, run_as, restart, events).map_err(one);
    }

    let verb = if restart { "restart" } else { "up" };
    let _lock = stack.state.lock(&format!("{} {verb}", context.program), events).map_err(one)?;
    let (place, secrets) = set_up(&stack, &services).map_err(one)?;
    let endpoints = stack.endpoints(&services, &place, &secrets);
    native::end_leftovers(&place, &ports(&endpoints)).map_err(one)?;
    refuse_taken_ports(&place, &endpoints).map_err(one)?;

    let options = stack.provision_options(context, run_as, args.locked, false);
    let mut provisioner = Provisioner::new(options, events).map_err(one)?;
    let installed = provisioner.provide(&services).map_err(one)?;
    let launches: BTreeMap<String, Launch> = services
        .iter()
        .map(|service| {
            let secret = secrets.of(&service.name);
            let installed = &installed[&service.name];
            let inputs =
                Inputs { service, place: &place, bind: stack.bind(), installed, run_as, secret: &secret };
            (service.name.clone(), launch(inputs))
        })
        .collect();

    let mut plan = plan(&place, &endpoints, &launches, restart).map_err(one)?;
    let pack = stack.site.ecosystem.seed.as_ref().filter(|_| !args.no_seed);
    if let Some(pack) = pack {
        // Packs are laid into what is ready, and only into that.
        let awaited = plan.steps.iter().filter(|step| matches!(step.action, Action::Await(_)));
        let ready: Vec<usize> = awaited.map(|step| step.id).collect();
        plan.push(Action::Seed(pack.value.clone()), Cause::Requested, ready);
    }
    let loaded = AtomicBool::new(false);
    let engine = Engine {
        place: &place,
        launches: &launches,
        events,
        begin,
        patience: Duration::from_secs(args.timeout),
        seed: &|name| {
            let pack = Pack::open(&stack.pack_folder(name)?)?;
            let report = seed::seed(&pack, &Stack::by_kind(&endpoints), events)?;
            loaded.store(report.parts.iter().any(|p| p.outcome == seed::Outcome::Loaded), Ordering::SeqCst);
            Ok(())
        },
    };
    let outcome = engine.carry_out(&plan);
    stack.state.remember_durations(&outcome.took).map_err(one)?;
    if !outcome.failures.is_empty() {
        undo_if_interrupted(&place, &outcome);
        return Err(outcome.failures);
    }
    let looked_only =
        plan.steps.iter().all(|step| matches!(step.action, Action::Verify(_) | Action::Seed(_)));
    let unchanged = looked_only && !loaded.load(Ordering::SeqCst);
    let report = running(context, &place, &endpoints, unchanged, &outcome, begin.elapsed()).map_err(one)?;
    output::report(&report, global.format).map_err(one)
}

/// The place and its secrets, made where they are missing.
fn set_up(stack: &Stack, services: &[&Service]) -> anyhow::Result<(Place, Secrets)> {
    let place = stack.create_place()?;
    let secrets = stack.state.make_secrets(services.iter().map(|s| s.name.as_str()))?;
    Ok((place, secrets))
}

/// Looks at all ports before anything is fetched or started.
fn refuse_taken_ports(place: &Place, endpoints: &BTreeMap<String, Endpoint>) -> anyhow::Result<()> {
    let wanted: Vec<(&str, &Endpoint)> = endpoints.iter().map(|(name, e)| (name.as_str(), e)).collect();
    let observed = native::observe(place, &wanted)?;
    match obstacles_failure(&port_obstacles(&wanted, &observed)) {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

fn plan(
    place: &Place,
    endpoints: &BTreeMap<String, Endpoint>,
    launches: &BTreeMap<String, Launch>,
    restart: bool,
) -> anyhow::Result<Plan> {
    let wanted: Vec<(&str, &Endpoint)> = endpoints.iter().map(|(name, e)| (name.as_str(), e)).collect();
    let observed = native::observe(place, &wanted)?;
    let mut launches: Vec<(&str, &Launch)> = launches.iter().map(|(name, l)| (name.as_str(), l)).collect();
    // The slowest to start goes first: nothing waits for it, and it has the most to gain.
    launches.sort_by_key(|(name, _)| !matches!(*name, "opensearch" | "rabbitmq"));
    let plan = reconcile_up(&launches, &observed, restart);
    match obstacles_failure(&plan.obstacles) {
        Some(failure) => Err(failure.into()),
        None => Ok(plan),
    }
}

/// An interrupted `up` stops what it started itself and leaves what ran before.
fn undo_if_interrupted(place: &Place, outcome: &Outcome) {
    let interrupted = outcome
        .failures
        .iter()
        .any(|e| e.downcast_ref::<Failure>().is_some_and(|failure| failure.kind == Kind::Interrupted));
    if !interrupted {
        return;
    }
    for service in &outcome.started {
        // The interruption is what is reported; `status` shows what could not be stopped.
        let _shown_by_status = native::stop(place, service);
    }
    if native::list(place).is_ok_and(|processes| processes.iter().all(|p| p.status.pid.is_none())) {
        let _shown_by_status = native::shutdown(place);
    }
}

fn running(
    context: &Context,
    place: &Place,
    endpoints: &BTreeMap<String, Endpoint>,
    unchanged: bool,
    outcome: &Outcome,
    took: Duration,
) -> anyhow::Result<Running> {
    let mut memory_bytes = 0;
    if !unchanged {
        let pids = native::list(place)?.into_iter().filter_map(|s| s.status.pid);
        memory_bytes = pids
            .flat_map(|pid| os::descendants(pid).into_iter().chain([pid]))
            .filter_map(os::resident_memory)
            .sum();
    }
    let services = endpoints
        .iter()
        .map(|(name, endpoint)| Ready {
            name: name.clone(),
            started: outcome.started.contains(name),
            took_ms: outcome.ready.get(name).copied().unwrap_or(0),
            detected_ms: outcome.detected.get(name).copied(),
            host: endpoint.host.clone(),
            ports: endpoint.ports.clone(),
        })
        .collect();
    Ok(Running {
        place: place.id.clone(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        memory_bytes,
        unchanged,
        services,
        program: context.program,
    })
}

fn plan_only(
    context: &Context,
    global: &Global,
    stack: &Stack,
    services: &[&Service],
    run_as: RunAs,
    restart: bool,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let place = stack.place().unwrap_or_else(|| stack.imagined_place(context));
    let secrets = stack.state.secrets()?;
    let endpoints = stack.endpoints(services, &place, &secrets);
    refuse_taken_ports(&place, &endpoints)?;
    let mut provisioner = Provisioner::new(stack.provision_options(context, run_as, true, false), events)?;
    let needs = provisioner.plan(services)?;
    let missing: Vec<String> = needs.iter().filter(|n| !n.present).map(|n| n.name.clone()).collect();
    let plan = if missing.is_empty() {
        let installed = provisioner.provide(services)?;
        let launches = services
            .iter()
            .map(|service| {
                let secret = secrets.of(&service.name);
                let installed = &installed[&service.name];
                let inputs =
                    Inputs { service, place: &place, bind: stack.bind(), installed, run_as, secret: &secret };
                (service.name.clone(), launch(inputs))
            })
            .collect();
        plan(&place, &endpoints, &launches, restart)?
    } else {
        // How servers are launched depends on what is fetched: the rest is what a first start does.
        let mut plan = Plan::default();
        let provided: Vec<usize> =
            missing.into_iter().map(|name| plan.push(Action::Provide(name), Cause::Missing, [])).collect();
        for service in services {
            let start = plan.push(Action::Start(service.name.clone()), Cause::Missing, provided.clone());
            plan.push(Action::Await(service.name.clone()), Cause::Follows, [start]);
        }
        plan
    };
    output::report(&Planned { plan, last: stack.state.durations() }, global.format)
}

fn ports(endpoints: &BTreeMap<String, Endpoint>) -> std::collections::BTreeSet<u16> {
    endpoints.values().flat_map(|e| e.ports.values().copied()).collect()
}

fn root_without_namespaces() -> Failure {
    Failure::new(
        Kind::Host,
        "root-without-namespaces",
        "PostgreSQL and OpenSearch refuse to run as root, and this machine does not allow user namespaces",
    )
    .hint("run as an ordinary user")
    .hint("allow them: sysctl -w user.max_user_namespaces=10000; in a container: --security-opt seccomp=unconfined")
}

impl Report for Planned {
    fn human(&self) -> String {
        render(&self.plan, &self.last)
    }
}

impl Report for Running {
    fn human(&self) -> String {
        let mut text = String::new();
        let took = output::seconds(self.took_ms);
        let _ = if self.unchanged {
            writeln!(
                text,
                "{} nothing to do, all of it usable and yours ({} ms)",
                "Ready".green().bold(),
                self.took_ms
            )
        } else {
            let memory = output::bytes(self.memory_bytes);
            writeln!(text, "\n{} in {took}, {memory} of memory, all on loopback", "Ready".green().bold())
        };
        text.push('\n');
        for service in &self.services {
            let _ = writeln!(text, "  {:<12} {}", service.name, service.addresses());
        }
        if !self.unchanged {
            let program = self.program;
            let _ = write!(
                text,
                "\nNext   eval \"$({program} env)\"      settings for an application, psql, redis-cli\n       \
                 {program} status | logs -f | down\n"
            );
        }
        text
    }
}

impl Ready {
    /// The address to connect to, and the console where there is one.
    fn addresses(&self) -> String {
        let at = |role: &str| self.ports.get(role).map(|port| format!("{}:{port}", self.host));
        match (at("amqp"), at("http")) {
            (Some(amqp), Some(http)) => format!("{amqp:<24} console http://{http}"),
            (None, Some(http)) => format!("http://{http}"),
            (amqp, _) => amqp.or_else(|| at("sql")).or_else(|| at("redis")).unwrap_or_default(),
        }
    }
}
