//! `checkpoint save` and `checkpoint restore`: stop what runs, copy, and start exactly that again, whatever became of the copying.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ecosystem_core::catalog::container::Contained;
use ecosystem_core::catalog::{Kind as ServiceKind, Launch, again, data_folder, listens_where_it_did};
use ecosystem_core::checkpoint::{self as core, Checkpoint, FORMAT, Present, Stored};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Observed, Plan, Retry, obstacles_failure, reconcile_copying};
use ecosystem_core::process::Process;
use ecosystem_core::render::compose::of_place;

use super::report::{Copied, Planned};
use crate::backend::compose::{Compose, record};
use crate::backend::native;
use crate::checkpoint;
use crate::cli::{Global, Restore, Save};
use crate::context::Context;
use crate::engine::Engine;
use crate::event::{Event, Events};
use crate::output;
use crate::reset;
use crate::site::Secrets;
use crate::stack::Stack;
use crate::sys::{clock, interrupt};
use crate::tenant;

type Failures = Vec<anyhow::Error>;

/// Who wants it: surroundings, options for every command, and who is told how far it is.
type Caller<'a> = (&'a Context, &'a Global, &'a dyn Events);

/// How long a server may take until it is ready again.
const PATIENCE: Duration = Duration::from_mins(2);

/// A place as it is when its data is going to be copied.
struct Scene<'a> {
    context: &'a Context,
    global: &'a Global,
    events: &'a dyn Events,
    stack: &'a Stack,
    place: &'a Place,
    secrets: Secrets,
    compose: Option<Compose>,
    observed: Observed,
    /// What made the data of each service that has a folder.
    made: BTreeMap<String, String>,
    /// The same for volumes, where it is known.
    made_volumes: BTreeMap<String, String>,
    /// The services with data, and what runs each.
    kept: BTreeMap<String, Backend>,
}

/// Copies all data into a new checkpoint.
pub(super) fn save(
    context: &Context,
    global: &Global,
    args: &Save,
    events: &dyn Events,
) -> Result<(), Failures> {
    let begin = Instant::now();
    let name = &args.name;
    let prepare = || -> anyhow::Result<_> {
        core::check_name(name)?;
        let stack = Stack::open(context, global)?;
        let place = super::place(&stack)?;
        let lock =
            if args.dry_run { None } else { Some(stack.lock(context, "checkpoint save", &[], events)?) };
        if checkpoint::names(&place)?.contains(name) {
            let message = format!("there is a checkpoint {name} already");
            return Err(Failure::new(Kind::Usage, "checkpoint-exists", message)
                .hint(format!("delete it: {{program}} checkpoint delete {name}"))
                .hint("or choose another name")
                .into());
        }
        Ok((stack, place, lock))
    };
    let (stack, place, _lock) = prepare().map_err(one)?;
    refuse_used(context, &stack, &place, "saving a checkpoint").map_err(one)?;
    let scene = Scene::look((context, global, events), &stack, &place, args.dry_run).map_err(one)?;
    if scene.kept.is_empty() {
        let message = format!("no service of {} has any data yet", stack.site.root);
        return Err(one(Failure::new(Kind::Finding, "no-data", message).hint("{program} up").into()));
    }
    let plan = scene.plan(Action::Save(name.clone())).map_err(one)?;
    if args.dry_run {
        return output::report(&Planned { plan, last: stack.state.durations() }, global.format).map_err(one);
    }
    scene.around(&plan, begin, name, || {
        checkpoint::save(&place, scene.compose.as_ref(), name, scene.checkpoint(), events)
    })
}

/// Puts the data of a checkpoint in the place of what is there.
pub(super) fn restore(
    context: &Context,
    global: &Global,
    args: &Restore,
    events: &dyn Events,
) -> Result<(), Failures> {
    let name = &args.name;
    let prepare = || -> anyhow::Result<_> {
        let stack = Stack::open(context, global)?;
        let place = super::place(&stack)?;
        let taken = checkpoint::read(&place, name)?;
        if args.dry_run {
            return Ok((stack, place, None));
        }
        if !args.yes {
            Scene::look((context, global, events), &stack, &place, true)?.refuse(name, &taken)?;
            let services = taken.services.keys().cloned().collect::<Vec<_>>().join(", ");
            let question = format!(
                "Put the data of {services} as it was at {} in the place of what is in {}? What is there now cannot be brought back.",
                taken.made, place.state
            );
            let again = format!("checkpoint restore {name} --yes");
            super::agree(&question, &format!("restoring the checkpoint {name} in {}", place.root), &again)?;
        }
        let lock = stack.lock(context, "checkpoint restore", &[], events)?;
        Ok((stack, place, Some(lock)))
    };
    let (stack, place, _lock) = prepare().map_err(one)?;
    refuse_used(context, &stack, &place, "restoring a checkpoint").map_err(one)?;
    let begin = Instant::now();
    // Read again: while this one waited, another command may have deleted it.
    let taken = checkpoint::read(&place, name).map_err(one)?;
    let scene = Scene::look((context, global, events), &stack, &place, args.dry_run).map_err(one)?;
    scene.refuse(name, &taken).map_err(one)?;
    let plan = scene.plan(Action::Restore(name.clone())).map_err(one)?;
    if args.dry_run {
        return output::report(&Planned { plan, last: stack.state.durations() }, global.format).map_err(one);
    }
    let compose = scene.compose.clone().or_else(|| Some(Compose::new(context.find("docker")?, &place)));
    scene.around(&plan, begin, name, || {
        checkpoint::restore(&place, compose.as_ref(), name, &taken, events)?;
        // What had been begun before went with the data.
        reset::end(&place)?;
        Ok(taken.clone())
    })
}

fn one(error: anyhow::Error) -> Failures {
    vec![error]
}

fn refuse_used(context: &Context, stack: &Stack, place: &Place, doing: &str) -> anyhow::Result<()> {
    // Where nothing runs nobody is connected.
    let running = stack.running_by_name(context).unwrap_or_default();
    tenant::refuse_used(place, &tenant::servers(&running).0, doing)
}

impl<'a> Scene<'a> {
    /// Looks once. With `only_look` nothing is ended either.
    fn look(
        (context, global, events): Caller<'a>,
        stack: &'a Stack,
        place: &'a Place,
        only_look: bool,
    ) -> anyhow::Result<Self> {
        let ecosystem = &stack.site.ecosystem;
        if !only_look {
            native::end_leftovers(place, &ecosystem.ports_at(place.offset))?;
        }
        let mut observed = native::observe(place, &[])?;
        // Where no container is wanted or was started, what an engine has is of no interest.
        let wanted = ecosystem.services.values().any(|service| service.backend.value == Backend::Compose);
        let asked = wanted || !record::read(place)?.services.is_empty();
        let compose = if asked { Stack::compose(context, place)? } else { None };
        observed.containers = compose.as_ref().map(Compose::containers).transpose()?.unwrap_or_default();
        let made = native::made(place)?;
        let volumes = compose.as_ref().map(Compose::with_data).transpose()?.unwrap_or_default();
        let made_volumes = compose.as_ref().map(Compose::data).transpose()?.unwrap_or_default();
        let kept = core::kept(&made.keys().cloned().collect(), &volumes, &ecosystem.services);
        Ok(Self {
            context,
            global,
            events,
            stack,
            place,
            secrets: stack.state.secrets()?,
            compose,
            observed,
            made,
            made_volumes,
            kept,
        })
    }

    fn services(&self) -> &BTreeMap<String, Service> {
        &self.stack.site.ecosystem.services
    }

    /// What a checkpoint of now says of itself.
    fn checkpoint(&self) -> Checkpoint {
        let contained = self.contained();
        let one = |(name, backend): (&String, &Backend)| {
            let compose = *backend == Backend::Compose;
            let image = || {
                let seen = self.observed.containers.get(name).map(|seen| seen.image.clone());
                seen.or_else(|| Some(contained.get(name)?.image.clone()))
            };
            let made_by = if compose { &self.made_volumes } else { &self.made }.get(name).cloned();
            let stored = Stored {
                backend: *backend,
                made_by,
                password: self
                    .secrets
                    .has(name)
                    .then(|| core::proof(&self.place.id, name, &self.secrets.of(name))),
                image: compose.then(image).flatten(),
                bytes: 0,
            };
            (name.clone(), stored)
        };
        Checkpoint {
            format: FORMAT,
            made: clock::now().to_the_second(),
            place: self.place.id.clone(),
            services: self.kept.iter().map(one).collect(),
        }
    }

    /// Fails, with everything that speaks against it, where a checkpoint does not fit.
    fn refuse(&self, name: &str, taken: &Checkpoint) -> anyhow::Result<()> {
        // What a server has in its memory alone it writes when it stops. A folder that is empty holds nothing that could be lost.
        let filled = |name: &String| {
            let made_by = self.made.get(name).map_or("", String::as_str);
            let server = !made_by.starts_with(ServiceKind::Process.name());
            let folder = data_folder(made_by, &self.place.service(name));
            (server && self.observed.runs(name))
                || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
        };
        let data: BTreeSet<String> = self
            .kept
            .iter()
            .filter(|(name, backend)| **backend == Backend::Compose || filled(name))
            .map(|(name, _)| name.clone())
            .collect();
        let secret = |service: &str| self.secrets.of(service);
        let present =
            Present { place: &self.place.id, services: self.services(), secret: &secret, data: &data };
        let problems = core::problems(taken, &present);
        core::problems_failure(name, &problems, &present).map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn plan(&self, work: Action) -> anyhow::Result<Plan> {
        // What the manifest wants to run in another way by now is started again, and not asked whether it is what the manifest says.
        let known = self.services().values().filter(|service| match service.backend.value {
            Backend::Native => {
                self.observed.processes.values().any(|(process, _)| process.service == service.name)
            }
            Backend::Compose => self.observed.containers.contains_key(&service.name),
            Backend::External => false,
        });
        let known = known.map(|service| service.name.clone()).collect();
        let plan = reconcile_copying(work, &self.observed, &known);
        let retry = Retry { words: "checkpoint".to_owned(), offset: 0, root: self.place.root.clone() };
        obstacles_failure(&plan.obstacles, &retry).map_or(Ok(plan), |failure| Err(failure.into()))
    }

    fn contained(&self) -> BTreeMap<String, Contained> {
        of_place(&self.stack.site.ecosystem, self.place, |name| self.secrets.of(name)).1
    }

    /// How what ran as processes is started again.
    fn launches(&self, endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, Launch> {
        let mut processes: BTreeMap<String, Vec<Process>> = BTreeMap::new();
        for (process, _) in self.observed.processes.values() {
            processes.entry(process.service.clone()).or_default().push(process.clone());
        }
        let launch = |(name, processes): (String, Vec<Process>)| {
            let endpoint = endpoints.get(&name).cloned().unwrap_or_else(unknown);
            let made_by = self.made.get(&name).map_or("", String::as_str);
            let launch = again(processes, endpoint, made_by, &self.place.service(&name));
            (name, launch)
        };
        processes.into_iter().map(launch).collect()
    }

    /// Stops what runs, does the work, starts it again and reports.
    fn around(
        &self,
        plan: &Plan,
        begin: Instant,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<Checkpoint>,
    ) -> Result<(), Failures> {
        let running: Vec<&Service> = self.services().values().filter(|service| service.runs()).collect();
        let mut endpoints = self.stack.endpoints(&running, self.place, &self.secrets);
        let launches = self.launches(&endpoints);
        endpoints.extend(launches.iter().map(|(name, launch)| (name.clone(), launch.endpoint.clone())));
        let mut contained = self.contained();
        contained.retain(|name, _| self.observed.containers.contains_key(name));
        for (name, contained) in &mut contained {
            listens_where_it_did(&mut contained.endpoint, &self.observed.containers[name].labels);
            endpoints.insert(name.clone(), contained.endpoint.clone());
        }
        let engine = Engine {
            place: self.place,
            launches: &launches,
            contained: &contained,
            endpoints: &endpoints,
            compose: self.compose.as_ref(),
            events: self.events,
            begin,
            patience: PATIENCE,
            seed: &|_| Ok(()),
            set_up: &|_| Ok(()),
        };
        let (before, after) = plan.around_copying();
        let stopped = engine.carry_out(&before);
        let mut failures = stopped.failures;
        let from = Instant::now();
        let done = if failures.is_empty() { work().map_err(|error| failures.push(error)).ok() } else { None };
        let copy_ms = ms(from.elapsed());
        if done.is_none() {
            // What was only begun is taken away; what was decided is tried once more.
            failures
                .extend(checkpoint::settle(self.place, || self.context.find("docker"), self.events).err());
            if checkpoint::pending(self.place).map_err(one)?.is_some() {
                return Err(failures);
            }
        }
        if interrupt::check().is_err() && !after.steps.is_empty() {
            let text = format!("what ran is stopped; to start it again: {} up", self.context.program);
            self.events.emit(Event::Warning(text));
        }
        let resumed = engine.carry_out(&after);
        failures.extend(resumed.failures);
        let (Some(done), true) = (done, failures.is_empty()) else { return Err(failures) };
        let mut took = stopped.took;
        took.extend(resumed.took);
        took.extend(plan.steps.iter().filter(|s| s.action.copies()).map(|s| (s.action.title(), copy_ms)));
        // A convenience of later dry runs.
        let _unknown_then = self.stack.state.remember_durations(&took);
        let report = Copied {
            checkpoint: name.to_owned(),
            restored: plan.steps.iter().any(|step| matches!(step.action, Action::Restore(_))),
            bytes: done.services.values().map(|stored| stored.bytes).sum(),
            services: done.services,
            started: resumed.started.into_iter().collect(),
            took_ms: ms(begin.elapsed()),
            copy_ms,
            program: self.context.program.clone(),
        };
        output::report(&report, self.global.format).map_err(one)
    }
}

/// How to reach a service that the manifest does not name any more: nobody asks it anything.
fn unknown() -> Endpoint {
    Endpoint {
        kind: ServiceKind::Process,
        host: "127.0.0.1".to_owned(),
        ports: BTreeMap::new(),
        user: None,
        secret: None,
        database: None,
        identity: String::new(),
        watched: None,
        storage: ecosystem_core::endpoint::Storage::default(),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
