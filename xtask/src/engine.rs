//! Carries a plan out: every step as soon as the steps before it have succeeded, in parallel. It decides nothing.

mod containers;
mod failures;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ecosystem_core::catalog::Launch;
use ecosystem_core::catalog::container::Contained;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Plan, Step};

use crate::backend::compose::Compose;
use crate::backend::native;
use crate::event::{Events, Section, Task};
use crate::sys::interrupt;

/// Everything that carrying out a plan needs besides the plan.
pub struct Engine<'a> {
    pub place: &'a Place,
    /// How the services of the plan are launched; empty for plans that only stop.
    pub launches: &'a BTreeMap<String, Launch>,
    /// What the services of the plan that run as containers shall be.
    pub contained: &'a BTreeMap<String, Contained>,
    /// How every service of the plan is reached.
    pub endpoints: &'a BTreeMap<String, Endpoint>,
    /// What runs containers; where a plan says nothing of containers there is none.
    pub compose: Option<&'a Compose>,
    pub events: &'a dyn Events,
    /// When the command began: what `Outcome` tells is counted from there.
    pub begin: Instant,
    /// How long a server may take until it is ready.
    pub patience: Duration,
    /// Loads a pack; given by the command, because engine and seed do not know each other.
    pub seed: &'a (dyn Fn(&str) -> anyhow::Result<()> + Sync),
    /// Sets an application up; given by the command, too.
    pub set_up: &'a (dyn Fn(&str) -> anyhow::Result<()> + Sync),
}

/// What those who wait for servers know of the plan, and what they find out.
struct Waits {
    /// The services whose containers the plan makes or starts: waiting for them comes after that.
    applied: BTreeSet<String>,
    /// The services that somebody waits for.
    awaited: BTreeSet<String>,
    /// When each was first found usable and ours, in milliseconds.
    detected: Mutex<BTreeMap<String, u64>>,
}

impl Waits {
    fn of(plan: &Plan) -> Self {
        let applied = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Apply(services) | Action::Resume(services) => Some(services.iter().cloned()),
            _ => None,
        });
        let awaited = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Await(service) => Some(service.clone()),
            _ => None,
        });
        Self { applied: applied.flatten().collect(), awaited: awaited.collect(), detected: Mutex::default() }
    }
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Milliseconds by step title, of the steps that succeeded.
    pub took: BTreeMap<String, u64>,
    /// Services whose processes this call started.
    pub started: BTreeSet<String>,
    /// Services that are usable and ours, with the milliseconds that took.
    pub ready: BTreeMap<String, u64>,
    /// When each was first found usable and ours, in milliseconds; the write comes after that.
    pub detected: BTreeMap<String, u64>,
    pub failures: Vec<anyhow::Error>,
    /// For as long as this lives, a second Ctrl-C leaves it to the supervisor to stop what was started.
    pub abandoned: Option<interrupt::LastWords>,
}

impl Engine<'_> {
    /// Carries out every step whose predecessors succeeded. All failures are collected.
    pub fn carry_out(&self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let started = Arc::new(Mutex::new(BTreeSet::<String>::new()));
        outcome.abandoned = Some(interrupt::last_words(self.stop_later(Arc::clone(&started))));
        let tasks = Mutex::new(BTreeMap::new());
        let waits = Waits::of(plan);
        let mut done: BTreeMap<usize, bool> = BTreeMap::new();
        let mut running: BTreeSet<usize> = BTreeSet::new();
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            loop {
                for step in &plan.steps {
                    let pending = !done.contains_key(&step.id) && !running.contains(&step.id);
                    if !pending || !step.after.iter().all(|id| done.contains_key(id)) {
                        continue;
                    }
                    if step.after.iter().any(|id| done.get(id) == Some(&false)) || interrupt::check().is_err()
                    {
                        done.insert(step.id, false);
                        continue;
                    }
                    running.insert(step.id);
                    // Counted from now on: interrupted halfway, there may be a process already.
                    let mut begun = started.lock().unwrap_or_else(PoisonError::into_inner);
                    match &step.action {
                        Action::Start(service) => {
                            outcome.started.insert(service.clone());
                            begun.insert(service.clone());
                        }
                        Action::Apply(services) | Action::Resume(services) => {
                            outcome.started.extend(services.iter().cloned());
                        }
                        _ => {}
                    }
                    drop(begun);
                    let (sender, tasks, waits) = (sender.clone(), &tasks, &waits);
                    scope.spawn(move || {
                        let from = Instant::now();
                        let result = self.perform(step, tasks, waits);
                        // The receiver lives as long as the scope.
                        let _delivered = sender.send((step, from.elapsed(), result));
                    });
                }
                if running.is_empty() {
                    if plan.steps.iter().all(|s| done.contains_key(&s.id)) {
                        return;
                    }
                    continue;
                }
                let Ok((step, took, result)) = receiver.recv() else { return };
                running.remove(&step.id);
                done.insert(step.id, result.is_ok());
                match result {
                    Ok(()) => record(&mut outcome, step, took, self.begin.elapsed()),
                    Err(error) => outcome.failures.push(error),
                }
            }
        });
        outcome.detected = waits.detected.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(interrupted) = interrupt::check() {
            outcome.failures = vec![interrupted.into()];
        }
        outcome
    }

    /// Whether somebody else runs it.
    fn is_elsewhere(&self, service: &str) -> bool {
        !self.launches.contains_key(service) && !self.contained.contains_key(service)
    }

    /// What a second Ctrl-C leaves to the supervisor: to stop what this plan has started.
    fn stop_later(&self, started: Arc<Mutex<BTreeSet<String>>>) -> impl Fn() + Send + 'static {
        let place = self.place.clone();
        move || {
            let started = started.lock().unwrap_or_else(PoisonError::into_inner);
            let services: Vec<&str> = started.iter().map(String::as_str).collect();
            // Nobody is left to be told.
            let _unheard = native::ask_to_stop(&place, &services);
        }
    }

    fn perform<'t>(
        &'t self,
        step: &Step,
        tasks: &Mutex<BTreeMap<String, Task<'t>>>,
        waits: &Waits,
    ) -> anyhow::Result<()> {
        let task = |service: &str, section| {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.entry(service.to_owned()).or_insert_with(|| Task::start(self.events, section, service));
        };
        let take = |service: &str| tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
        let wait = |service: &str| {
            self.wait_until_ready(service, waits)?;
            if let Some(task) = take(service) {
                task.finish("ready");
            }
            Ok(())
        };
        let result = match &step.action {
            // What is provided is needed to plan the rest: it is there before a plan is carried out. Data is copied between two plans: the
            // second one follows whatever became of it.
            Action::Provide(_) | Action::Save(_) | Action::Restore(_) => Ok(()),
            Action::Replace | Action::Shutdown => native::shutdown(self.place),
            Action::Kill => native::kill(self.place),
            Action::Stop(service) => {
                task(service, Section::Stop);
                native::stop(self.place, service).map(|()| {
                    if let Some(task) = take(service) {
                        task.finish("stopped");
                    }
                })
            }
            Action::Prepare(service) => {
                task(service, Section::Start);
                native::prepare(service, &self.launches[service]).map_err(|error| {
                    match error.downcast::<Failure>() {
                        Ok(failure) => self.blame(service, failure).into(),
                        Err(error) => error,
                    }
                })
            }
            Action::Start(service) => {
                task(service, Section::Start);
                native::start(self.place, service, &self.launches[service]).map(|()| {
                    if let Some(task) =
                        Some(service).filter(|s| !waits.awaited.contains(*s)).and_then(|s| take(s))
                    {
                        task.finish("starting");
                    }
                })
            }
            Action::Pull(_)
            | Action::Apply(_)
            | Action::Halt(_)
            | Action::Remove { .. }
            | Action::Resume(_) => self.with_containers(&step.action),
            Action::Await(service) => {
                if self.contained.contains_key(service) {
                    task(service, Section::Start);
                }
                wait(service)
            }
            Action::Verify(service) => match self.verify(service) {
                // Started a moment ago: by the supervisor, after a crash, or by a command that did not wait for it.
                Ok(false) => {
                    task(service, Section::Start);
                    wait(service)
                }
                looked => looked.map(drop),
            },
            Action::SetUp(service) => (self.set_up)(service),
            Action::Seed(pack) => (self.seed)(pack).or_else(|error| {
                // Receipts are looked at while running services are verified, and one of those may still be on its way up.
                if !error.downcast_ref::<Failure>().is_some_and(|failure| failure.kind == Kind::Service) {
                    return Err(error);
                }
                self.endpoints.keys().try_for_each(|service| self.wait_until_ready(service, waits))?;
                (self.seed)(pack)
            }),
        };
        if let (
            Err(_),
            Action::Prepare(service)
            | Action::Start(service)
            | Action::Await(service)
            | Action::Verify(service)
            | Action::Stop(service),
        ) = (&result, &step.action)
        {
            drop(take(service));
        }
        result
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn record(outcome: &mut Outcome, step: &Step, took: Duration, since_begin: Duration) {
    match &step.action {
        Action::Await(service) => {
            outcome.ready.insert(service.clone(), ms(since_begin));
        }
        Action::Verify(service) => {
            outcome.ready.insert(service.clone(), ms(took));
            return;
        }
        _ => {}
    }
    outcome.took.insert(step.action.title(), ms(took));
}
