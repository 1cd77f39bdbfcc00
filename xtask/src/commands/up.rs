//! `up` and `restart`: fetch what is missing, start what does not run as wanted, wait until all of it is usable and ours, fill it.

mod application;
mod backend;
mod containers;
mod offset;
mod refuse;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ecosystem_core::artifact::Installation;
use ecosystem_core::catalog::{Around, Inputs, Launch, launch};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Asked, Backend, Origin, Service};
use ecosystem_core::place::Place;
use ecosystem_core::plan::{
    self, Action, Cause, Observed, Obstacle, Plan, Retry, backend_obstacles, obstacles_failure,
    port_obstacles, reconcile_up, silent_supervisor,
};
use ecosystem_core::process::RunAs;
use ecosystem_core::seen::Seen;

use self::containers::Containers;
use crate::backend::native;
use crate::cli::{Global, PortOffset, Up, Wait};
use crate::context::Context;
use crate::engine::{Engine, Outcome};
use crate::event::{Event, Events};
use crate::output;
use crate::provision::Mode;
use crate::seed;
use crate::site::{LOCAL, MANIFEST, Secrets};
use crate::stack::{Stack, Unavailable, warn_of};
use crate::sys::os;

type Failures = Vec<anyhow::Error>;

/// What is to be brought up, and where.
struct Wanted<'a> {
    stack: &'a Stack,
    services: &'a [&'a Service],
    /// Who starts after each service that was not asked for.
    needed_by: &'a BTreeMap<String, String>,
    left_out: &'a [Unavailable],
    /// Nobody waits for these.
    lazy: &'a [&'a str],
    around: Around,
    place: &'a Place,
    secrets: &'a Secrets,
    endpoints: BTreeMap<String, Endpoint>,
    containers: Containers,
    run_as: RunAs,
    restart: bool,
    /// What was typed: `up redis`.
    words: String,
    /// The pack that is laid into what is ready.
    pack: Option<&'a str>,
    /// Nobody wants data.
    bare: bool,
}

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
    let (port_offset, block) = offset::asked(context, global, args, events).map_err(one)?;
    let asked = Asked { port_offset, backend: args.backend, release: None };
    let mut stack = Stack::open_with(context, global, &asked).map_err(one)?;
    refuse::others(context, global, args, &stack).map_err(one)?;
    warn_of(&stack.site.ecosystem, events);
    let (services, _) = with_needed(&stack, &selected(&stack, args).map_err(one)?).map_err(one)?;
    let choice = backend::choose(context, &stack, &services);
    if let Some(choice) = choice {
        stack = Stack::open_with(context, global, &backend::chosen(&asked, choice)).map_err(one)?;
    }
    let services = selected(&stack, args).map_err(one)?;
    let (services, left_out) = stack.leave_out(context, services, &args.services);
    let (services, needed_by) = with_needed(&stack, &services).map_err(one)?;
    if restart {
        refuse::elsewhere(&services, &args.services).map_err(|failure| one(failure.into()))?;
    }
    let lazy = lazy(&services, &args.services);
    let run_as = context.host().run_as().ok_or_else(|| one(root_without_namespaces().into()))?;
    let wanted = |place, secrets| Wanted {
        needed_by: &needed_by,
        left_out: &left_out,
        lazy: &lazy,
        around: stack.around(context, place, secrets),
        endpoints: stack.endpoints(&services, place, secrets),
        containers: Containers::of(context, &stack, &services, place, secrets),
        pack: stack.site.ecosystem.seed.as_ref().filter(|_| !args.no_seed).map(|seed| seed.value.as_str()),
        bare: args.no_seed,
        stack: &stack,
        services: &services,
        place,
        secrets,
        run_as,
        restart,
        words: typed(args, restart),
    };
    if args.dry_run {
        let place = stack.place().unwrap_or_else(|| stack.imagined_place());
        let secrets = stack.state.secrets().map_err(one)?;
        stack.refuse_copy().map_err(|failure| one(failure.into()))?;
        let wanted = wanted(&place, &secrets);
        return plan_only(context, global, &wanted, events).map_err(one);
    }

    let verb = if restart { "restart" } else { "up" };
    let starts: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let lock = stack.lock(context, verb, &starts, events).map_err(one)?;
    let (place, secrets) = stack.furnish(&services, events).map_err(one)?;
    let wanted = wanted(&place, &secrets);
    native::end_leftovers(&place, &wanted.ports()).map_err(one)?;
    let (all_run, observed) = wanted.refuse_taken_ports().map_err(one)?;
    stack.remember_offset(&place).map_err(one)?;
    drop(block);
    if !all_run {
        introduce(&stack, args.port_offset, events);
        wanted.introduce_applications(events);
        let text = backend::told(&stack, &services, choice);
        events.emit(Event::Fact { title: "Backend", text });
        wanted.containers.require(context).map_err(one)?;
    }
    let mode = if args.locked { Mode::Locked } else { Mode::Normal };
    let mut provisioner = stack.provisioner(context, run_as, mode, events).map_err(one)?;
    provisioner.offline = args.offline;
    // A run with nothing to do only looks; before a start nothing may be missing.
    provisioner.thorough = !all_run;
    let launches = wanted.launches(&provisioner.provide(&wanted.processes()).map_err(one)?);
    // Where nothing was to be fetched, nothing has changed since.
    let mut plan = wanted.plan(&launches, all_run.then_some(observed)).map_err(one)?;
    wanted.containers.prepare(&plan, args.offline).map_err(one)?;
    let loaded = AtomicBool::new(false);
    let engine = Engine {
        place: &place,
        launches: &launches,
        contained: &wanted.containers.wanted,
        endpoints: &wanted.endpoints,
        compose: wanted.containers.compose.as_ref(),
        events,
        begin,
        patience: Duration::from_secs(args.timeout),
        set_up: &|name| {
            loaded.fetch_or(wanted.set_up(name, &launches[name], events)?, Ordering::SeqCst);
            Ok(())
        },
        seed: &|name| {
            if wanted.holds_application()? {
                return Ok(());
            }
            let pack = stack.open_pack(&stack.pack(Some(name))?, events)?;
            let report = seed::seed(&pack, &Stack::by_kind(&wanted.endpoints), events)?;
            loaded
                .fetch_or(report.parts.iter().any(|p| p.outcome == seed::Outcome::Loaded), Ordering::SeqCst);
            Ok(())
        },
    };
    let mut outcome = engine.carry_out(&plan);
    if ended_meanwhile(&plan, &outcome, &lazy) {
        // Looked at a moment too early: what had just ended was taken for running.
        plan = wanted.plan(&launches, None).map_err(one)?;
        let first = std::mem::replace(&mut outcome, engine.carry_out(&plan));
        outcome.started.extend(first.started);
    }
    if let Err(error) = stack.state.remember_durations(&outcome.took) {
        events.emit(Event::Warning(format!("{error:#}")));
    }
    if outcome.failures.is_empty() || !outcome.started.is_empty() {
        stack.remember_release().map_err(one)?;
        stack.remember_backend().map_err(one)?;
    }
    if !outcome.failures.is_empty() {
        undo_if_interrupted(&place, &wanted.containers, &outcome, events);
        return Err(outcome.failures);
    }
    if args.wait == Some(Wait::Tasks) {
        // Nothing is started any more: other commands may change what they like.
        drop(lock);
        wanted.wait_for_tasks(events).map_err(one)?;
    }
    let looked_only = plan.steps.iter().all(|step| step.action.only_looks());
    let unchanged = looked_only && !loaded.load(Ordering::SeqCst);
    let report = report::running(context, &wanted, unchanged, &outcome, begin.elapsed()).map_err(one)?;
    output::report(&report, global.format).map_err(one)
}

/// What was asked for.
fn selected<'s>(stack: &'s Stack, args: &Up) -> anyhow::Result<Vec<&'s Service>> {
    Ok(stack.site.ecosystem.select(args.profile.as_deref(), &args.services)?)
}

/// Those that take long, that nobody has asked for by name, and that nothing starts after.
fn lazy<'s>(services: &[&'s Service], named: &[String]) -> Vec<&'s str> {
    let needed = |name: &String| services.iter().any(|service| service.after().contains(name));
    let lazy = services.iter().filter(|s| s.kind.is_lazy() && s.backend.value == Backend::Native);
    let lazy = lazy.filter(|s| !named.contains(&s.name) && !needed(&s.name));
    lazy.map(|service| service.name.as_str()).collect()
}

/// The same with what it starts after, and who needs that.
fn with_needed<'s>(
    stack: &'s Stack,
    selected: &[&'s Service],
) -> anyhow::Result<(Vec<&'s Service>, BTreeMap<String, String>)> {
    Ok(stack.site.ecosystem.with_needed(selected)?)
}

/// The words that would ask for the same again.
fn typed(args: &Up, restart: bool) -> String {
    let mut words = vec![if restart { "restart" } else { "up" }];
    if let Some(profile) = &args.profile {
        words.extend(["--profile", profile]);
    }
    words.extend(args.services.iter().map(String::as_str));
    words.join(" ")
}

/// Says what is about to be started, and why that way.
fn introduce(stack: &Stack, asked: Option<PortOffset>, events: &dyn Events) {
    let manifest =
        if stack.site.manifest { "ecosystem.toml" } else { "no ecosystem.toml: built-in defaults" };
    let fact = |title, text| events.emit(Event::Fact { title, text });
    fact("Project", format!("{} ({manifest})", stack.site.root));
    let release = &stack.site.ecosystem.release;
    let said = match &release.origin {
        // Nobody asked for it in so many words.
        Origin::File { name, .. } if ![MANIFEST, LOCAL].contains(&name.as_str()) => {
            format!(" ({})", release.origin)
        }
        _ => String::new(),
    };
    fact("Release", format!("{release}{said}"));
    if asked == Some(PortOffset::Auto) {
        let offset = stack.site.ecosystem.port_offset.value;
        fact("Ports", format!("those of the manifest + {offset}, which no other checkout has"));
    }
}

impl Wanted<'_> {
    /// Looks at all ports before anything is fetched or started. Returns whether every service runs already, and what was seen.
    fn refuse_taken_ports(&self) -> anyhow::Result<(bool, Observed)> {
        let endpoints = self.named_endpoints();
        let observed = self.observe()?;
        let runs = |service: &&Service| match service.backend.value {
            Backend::Native => observed.runs(&service.name),
            Backend::Compose => observed.containers.get(&service.name).is_some_and(Seen::runs),
            Backend::External => true,
        };
        let all_run = self.services.iter().all(runs);
        let (processes, containers) = (self.names(Backend::Native), self.names(Backend::Compose));
        let other = backend_obstacles(&processes, &containers, &self.names(Backend::External), &observed);
        // Those of the other backend hold the ports.
        let mut obstacles = if other.is_some() { Vec::new() } else { port_obstacles(&endpoints, &observed) };
        obstacles.extend(other.into_iter().chain(silent_supervisor(&observed)));
        self.refuse(&obstacles)?;
        Ok((all_run, observed))
    }

    /// Fails where something stands in the way.
    fn refuse(&self, obstacles: &[Obstacle]) -> anyhow::Result<()> {
        if obstacles.is_empty() {
            return Ok(());
        }
        obstacles_failure(obstacles, &self.again()?).map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Looks once at processes, containers and ports.
    fn observe(&self) -> anyhow::Result<Observed> {
        let of = |backend| -> Vec<(&str, &Endpoint)> {
            let names = self.names(backend).into_iter();
            names
                .filter_map(|name| self.endpoints.get_key_value(name))
                .map(|(n, e)| (n.as_str(), e))
                .collect()
        };
        let (processes, contained) = (of(Backend::Native), of(Backend::Compose));
        let mut observed = native::observe(self.place, &processes)?;
        self.containers.observe(self.place, &contained, &mut observed)?;
        self.containers.name_holders(&mut observed);
        Ok(observed)
    }

    /// The names of the services that this runs.
    fn names(&self, backend: Backend) -> Vec<&str> {
        let of = self.services.iter().filter(|service| service.backend.value == backend);
        of.map(|service| service.name.as_str()).collect()
    }

    /// The services that are provided for here.
    fn processes(&self) -> Vec<&Service> {
        self.services.iter().copied().filter(|service| service.backend.value == Backend::Native).collect()
    }

    /// The words that were typed, and an offset at which they would succeed.
    fn again(&self) -> anyhow::Result<Retry> {
        let offset = native::free_offset(&self.ports(), self.place.offset)?;
        // Another offset holds for the whole project: servers that run and were not named would stay behind on ports that nobody asks.
        let left_behind =
            native::running(self.place)?.iter().any(|name| !self.services.iter().any(|s| s.name == *name));
        let words = if left_behind { "up".to_owned() } else { self.words.clone() };
        Ok(Retry { words, offset, root: self.place.root.clone() })
    }

    fn launches(&self, installed: &BTreeMap<String, Installation>) -> BTreeMap<String, Launch> {
        let of = |service: &Service| self.launch(service, &installed[&service.name]);
        self.processes().into_iter().map(|service| (service.name.clone(), of(service))).collect()
    }

    fn launch(&self, service: &Service, installed: &Installation) -> Launch {
        launch(Inputs {
            service,
            place: self.place,
            bind: self.stack.bind(),
            installed,
            run_as: self.run_as,
            secret: &self.secrets.of(&service.name),
            around: &self.around,
        })
    }

    /// What has to happen; `observed` is what was seen, where somebody has looked just now.
    fn plan(&self, launches: &BTreeMap<String, Launch>, observed: Option<Observed>) -> anyhow::Result<Plan> {
        let mut observed = observed.map_or_else(|| self.observe(), Ok)?;
        let mut launches: Vec<(&str, &Launch)> =
            launches.iter().map(|(name, l)| (name.as_str(), l)).collect();
        observed.data.extend(native::data(self.place, &launches)?);
        // The slowest to start goes first: nothing waits for it, and it has the most to gain.
        launches.sort_by_key(|(_, launch)| std::cmp::Reverse(launch.endpoint.kind.start_cost()));
        let wanted = plan::Wanted {
            processes: &launches,
            containers: &self.containers.named(),
            elsewhere: &self.names(Backend::External),
            lazy: self.lazy,
        };
        let mut plan = reconcile_up(wanted, &observed, self.restart, self.needed_by);
        self.refuse(&plan.obstacles)?;
        let starts = |name: &str| {
            plan.steps.iter().any(|step| matches!(&step.action, Action::Start(service) if service == name))
        };
        if self.services.iter().any(|s| s.kind.needs_localhost() && starts(&s.name)) {
            os::localhost_is_known()?;
        }
        self.push_seed(&mut plan);
        Ok(plan)
    }

    /// What a first start does: how servers are launched exactly depends on what is still to be fetched.
    fn first_plan(&self, missing: Vec<String>, observed: &Observed) -> anyhow::Result<Plan> {
        let mut plan = Plan::default();
        let provided: Vec<usize> =
            missing.into_iter().map(|name| plan.push(Action::Provide(name), Cause::Missing, [])).collect();
        let mut ready: BTreeMap<&str, usize> = BTreeMap::new();
        let others = plan::Wanted {
            processes: &[],
            containers: &self.containers.named(),
            elsewhere: &self.names(Backend::External),
            lazy: &[],
        };
        let others = reconcile_up(others, observed, self.restart, self.needed_by);
        self.refuse(&others.obstacles)?;
        let first = plan.steps.len();
        for step in others.steps {
            let after: Vec<usize> = step.after.iter().map(|id| id + first).collect();
            let id = plan.push(step.action.clone(), step.cause, after);
            if let Action::Await(service) | Action::Verify(service) = step.action
                && let Some(service) = self.services.iter().find(|s| s.name == service)
            {
                ready.insert(&service.name, id);
            }
        }
        // Each stands behind what it starts after.
        let mut services = self.processes();
        services.sort_by_key(|service| self.lazy.contains(&service.name.as_str()));
        for service in services {
            let lazy = self.lazy.contains(&service.name.as_str());
            let first = ready.iter().filter(|(name, _)| lazy || service.after().iter().any(|n| n == **name));
            let after: Vec<usize> = provided.iter().copied().chain(first.map(|(_, id)| *id)).collect();
            let needed = self.needed_by.get(&service.name).map(|by| Cause::Needed { by: by.clone() });
            let name = || service.name.clone();
            let start = plan.push(Action::Start(name()), needed.unwrap_or(Cause::Missing), after);
            if !lazy {
                ready.insert(&service.name, plan.push(Action::Await(name()), Cause::Follows, [start]));
            }
            if service.program.is_some() {
                plan.show_command(&self.launch(service, &Installation::new()));
            }
        }
        self.push_seed(&mut plan);
        Ok(plan)
    }

    /// Packs are laid into what is ready. What runs already is looked at right away.
    fn push_seed(&self, plan: &mut Plan) {
        let applications = self.push_set_up(plan);
        let Some(pack) = self.pack.filter(|_| !applications) else { return };
        let awaited = plan.steps.iter().filter(|step| matches!(step.action, Action::Await(_)));
        let ready: Vec<usize> = awaited.map(|step| step.id).collect();
        plan.push(Action::Seed(pack.to_owned()), Cause::Requested, ready);
    }

    fn named_endpoints(&self) -> Vec<(&str, &Endpoint)> {
        self.endpoints.iter().map(|(name, endpoint)| (name.as_str(), endpoint)).collect()
    }

    fn ports(&self) -> BTreeSet<u16> {
        let ours = self.services.iter().filter(|service| service.backend.value != Backend::External);
        let endpoints = ours.filter_map(|service| self.endpoints.get(&service.name));
        endpoints.flat_map(|endpoint| endpoint.ports.values().copied()).collect()
    }
}

fn plan_only(
    context: &Context,
    global: &Global,
    wanted: &Wanted<'_>,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let (_, observed) = wanted.refuse_taken_ports()?;
    let mut provisioner = wanted.stack.provisioner(context, wanted.run_as, Mode::Locked, events)?;
    let processes = wanted.processes();
    let needs = provisioner.plan(&processes)?;
    let missing: Vec<String> = needs.into_iter().filter(|need| !need.present).map(|need| need.name).collect();
    let plan = if missing.is_empty() {
        wanted.plan(&wanted.launches(&provisioner.provide(&processes)?), Some(observed))?
    } else {
        wanted.first_plan(missing, &observed)?
    };
    output::report(
        &report::Planned { plan, left_out: wanted.left_out.to_vec(), last: wanted.stack.state.durations() },
        global.format,
    )
}

/// Whether servers that ran when the plan was made ended before they were looked at, and nothing else went wrong.
fn ended_meanwhile(plan: &Plan, outcome: &Outcome, lazy: &[&str]) -> bool {
    let ended = |error: &anyhow::Error| {
        error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == "service-ended")
    };
    let looked_at = plan.steps.iter().any(|step| matches!(step.action, Action::Verify(_)));
    let is_ready = |service: &String| outcome.ready.contains_key(service) || lazy.contains(&service.as_str());
    let started_are_ready = outcome.started.iter().all(is_ready);
    looked_at && started_are_ready && !outcome.failures.is_empty() && outcome.failures.iter().all(ended)
}

/// An interrupted `up` stops what it started itself and leaves what ran before.
fn undo_if_interrupted(place: &Place, containers: &Containers, outcome: &Outcome, events: &dyn Events) {
    let interrupted = outcome
        .failures
        .iter()
        .any(|e| e.downcast_ref::<Failure>().is_some_and(|failure| failure.kind == Kind::Interrupted));
    if !interrupted {
        return;
    }
    let started: Vec<&str> = outcome.started.iter().map(String::as_str).collect();
    if !started.is_empty() {
        let contained = started.iter().any(|service| containers.has(service));
        let rest = if contained { "and containers run on" } else { "and they end by themselves" };
        let text = format!("stopping {}; Ctrl-C again leaves at once, {rest}", started.join(", "));
        events.emit(Event::Fact { title: "Ctrl-C", text });
    }
    // The interruption is what is reported; `status` shows what could not be stopped.
    let _shown_by_status = containers.stop(&outcome.started);
    let _shown_by_status = native::stop_all(place, &started);
    if native::list(place).is_ok_and(|processes| processes.iter().all(|p| p.status.pid.is_none())) {
        let _shown_by_status = native::shutdown(place);
    }
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
