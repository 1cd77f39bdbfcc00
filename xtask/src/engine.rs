//! Carries a plan out: every step as soon as the steps before it have succeeded, in parallel. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ecosystem_core::blame::blamed;
use ecosystem_core::catalog::Launch;
use ecosystem_core::endpoint::Attempt;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::marker;
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Obstacle, Plan, Step, taken_meanwhile};
use ecosystem_core::shortage::OUT_OF_MEMORY;
use ecosystem_core::supervise::Phase;

use crate::backend::native;
use crate::client::{self, Effort};
use crate::event::{Events, Section, Task};
use crate::sys::control::Supervised;
use crate::sys::{interrupt, launch};

/// The first pause between two looks at a server that is not ready, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a server is asked before somebody looks whether a signal has stopped it, and between two looks.
const STOPPED_PERIOD: Duration = Duration::from_secs(1);

/// How much of a log is searched for the reason why a server ended, in bytes: some say it before a long trace.
const LAST_WORDS: u64 = 64 << 10;

/// Everything that carrying out a plan needs besides the plan.
pub struct Engine<'a> {
    pub place: &'a Place,
    /// How the services of the plan are launched; empty for plans that only stop.
    pub launches: &'a BTreeMap<String, Launch>,
    pub events: &'a dyn Events,
    /// When the command began: what `Outcome` tells is counted from there.
    pub begin: Instant,
    /// How long a server may take until it is ready.
    pub patience: Duration,
    /// Loads a pack; given by the command, because engine and seed do not know each other.
    pub seed: &'a (dyn Fn(&str) -> anyhow::Result<()> + Sync),
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
        let detected = Mutex::new(BTreeMap::new());
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
                    if let Action::Start(service) = &step.action {
                        // Counted from now on: interrupted halfway, there may be a process already.
                        outcome.started.insert(service.clone());
                        started.lock().unwrap_or_else(PoisonError::into_inner).insert(service.clone());
                    }
                    let (sender, tasks, detected) = (sender.clone(), &tasks, &detected);
                    scope.spawn(move || {
                        let from = Instant::now();
                        let result = self.perform(step, tasks, detected);
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
        outcome.detected = detected.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(interrupted) = interrupt::check() {
            outcome.failures = vec![interrupted.into()];
        }
        outcome
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
        detected: &Mutex<BTreeMap<String, u64>>,
    ) -> anyhow::Result<()> {
        let task = |service: &str, section| {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.entry(service.to_owned()).or_insert_with(|| Task::start(self.events, section, service));
        };
        let take = |service: &str| tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
        let wait = |service: &str| {
            self.wait_until_ready(service, detected)?;
            if let Some(task) = take(service) {
                task.finish("ready");
            }
            Ok(())
        };
        let result = match &step.action {
            // What is provided is needed to plan the rest: it is there before a plan is carried out.
            Action::Provide(_) => Ok(()),
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
                native::start(self.place, service, &self.launches[service])
            }
            Action::Await(service) => wait(service),
            Action::Verify(service) => match self.verify(service) {
                // Started a moment ago: by the supervisor, after a crash, or by a command that did not wait for it.
                Ok(false) => {
                    task(service, Section::Start);
                    wait(service)
                }
                looked => looked.map(drop),
            },
            Action::Seed(pack) => (self.seed)(pack).or_else(|error| {
                // Receipts are looked at while running services are verified, and one of those may still be on its way up.
                if !error.downcast_ref::<Failure>().is_some_and(|failure| failure.kind == Kind::Service) {
                    return Err(error);
                }
                self.launches.keys().try_for_each(|service| self.wait_until_ready(service, detected))?;
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

    /// Asks from outside until the server is usable and ours; a write is tried once, at the end.
    fn wait_until_ready(&self, service: &str, detected: &Mutex<BTreeMap<String, u64>>) -> anyhow::Result<()> {
        let endpoint = &self.launches[service].endpoint;
        let (mut ended, mut watch) = self.watch(service)?;
        let begin = Instant::now();
        let (mut pause, mut effort) = (FIRST_PAUSE, Effort::Look);
        let mut next_look = STOPPED_PERIOD;
        loop {
            // Read before asking: an end that happens while we ask is seen in the next round.
            let gone = ended.load(Ordering::SeqCst);
            let last = match client::probe(endpoint, effort) {
                Attempt::Ready if effort == Effort::Write => return Ok(()),
                Attempt::Ready => {
                    let mut detected = detected.lock().unwrap_or_else(PoisonError::into_inner);
                    detected.insert(service.to_owned(), ms(self.begin.elapsed()));
                    drop(detected);
                    // Whatever it says of itself: the kernel knows whose it is.
                    if let Some(taken) = self.taken(service)? {
                        return Err(taken.into());
                    }
                    effort = Effort::Write;
                    continue;
                }
                Attempt::Never(reason) => return Err(self.refused(service, &reason)),
                Attempt::Unknowable(reason) => return Err(unknowable(service, &reason).into()),
                Attempt::NotYet(reason) => reason,
            };
            if gone {
                if let Some(exited) = self.exited(service)? {
                    return Err(self.blame(service, exited).into());
                }
                // The supervisor is about to start it again.
                drop(watch);
                (ended, watch) = self.watch(service)?;
            }
            if begin.elapsed() > self.patience {
                return Err(self.timed_out(service, &last));
            }
            // Whoever stopped it knows when it will go on; nobody is going to wait for that here.
            if begin.elapsed() > next_look {
                if let Some((process, pid)) = native::stopped(self.place, service)?.first() {
                    return Err(stopped(service, process, *pid).into());
                }
                next_look = begin.elapsed() + STOPPED_PERIOD;
            }
            interrupt::pause(pause, || ended.load(Ordering::SeqCst))?;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// A flag that is set when a process of this service leaves its present run.
    fn watch(&self, service: &str) -> anyhow::Result<(Arc<AtomicBool>, native::Watch)> {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let watch = native::watch(self.place, service, move || flag.store(true, Ordering::SeqCst))?;
        Ok((ended, watch))
    }

    /// A running service is asked once, whether it is usable by now; nothing is written.
    fn verify(&self, service: &str) -> anyhow::Result<bool> {
        match client::probe(&self.launches[service].endpoint, Effort::Look) {
            Attempt::Ready => Ok(true),
            Attempt::NotYet(_) => Ok(false),
            Attempt::Never(reason) => Err(self.refused(service, &reason)),
            Attempt::Unknowable(reason) => Err(unknowable(service, &reason).into()),
        }
    }

    /// Why a service is not going to become ready; `None` where it is being started again.
    fn exited(&self, service: &str) -> anyhow::Result<Option<Failure>> {
        if let Some(taken) = self.taken(service)? {
            return Ok(Some(taken));
        }
        let processes = native::list(self.place)?;
        let of_service = || processes.iter().filter(|s| s.process.service == service);
        let comes_back = |phase| matches!(phase, Phase::Running | Phase::Restarting);
        if of_service().next().is_some() && of_service().all(|s| comes_back(s.status.phase)) {
            return Ok(None);
        }
        let culprit = of_service().find(|s| s.status.phase != Phase::Running).or_else(|| of_service().next());
        let how =
            culprit.and_then(|s| s.status.last_exit.clone()).unwrap_or_else(|| "without a trace".to_owned());
        let name = culprit.map_or_else(|| service.to_owned(), |s| s.process.id());
        let log = culprit.map_or_else(|| self.place.log(service, service), |s| s.process.log.clone());
        if how == OUT_OF_MEMORY {
            return Ok(Some(out_of_memory(service, &name)));
        }
        let message = format!("{name} ended before it was ready: {how}\n{}", quote_log(&log));
        Ok(Some(
            Failure::new(Kind::Service, "service-ended", message)
                .hint(format!("the whole log: {{program}} logs {service}")),
        ))
    }

    /// Names the lines of the manifest that a server complains of when it ends.
    fn blame(&self, service: &str, mut failure: Failure) -> Failure {
        let launch = &self.launches[service];
        let logs = launch.processes.iter().filter_map(|process| launch::tail(&process.log, LAST_WORDS).ok());
        // One that is started again and again has said it in the run before.
        let all = failure.code == "service-not-ready";
        let said = |log: String| if all { log } else { marker::last_run(&log).to_owned() };
        let words = logs.map(said).collect::<Vec<_>>().join("\n");
        for blamed in blamed(&launch.settings, &words) {
            let (setting, origin) = (blamed.setting, blamed.origin);
            let said = harmless(blamed.said.trim());
            if !failure.message.contains(&said) {
                let text = format!("\n  of `{setting}` it says\n  | {said}");
                failure.message.push_str(&text);
            }
            let hint =
                format!("correct `{setting}` in {origin}: what the server reads is written from there");
            failure.hints.insert(0, hint);
        }
        failure
    }

    /// The failure of a service whose port somebody else got hold of after all ports had been looked at.
    fn taken(&self, service: &str) -> anyhow::Result<Option<Failure>> {
        let mut strangers = native::strangers(self.place, service, &self.launches[service].endpoint)?;
        // Who cannot be seen may be ours.
        strangers.retain(|obstacle| matches!(obstacle, Obstacle::PortTaken { holder: Some(_), .. }));
        Ok(taken_meanwhile(service, &strangers))
    }

    /// Somebody else answers: who, where that can be seen.
    fn refused(&self, service: &str, reason: &str) -> anyhow::Error {
        match self.taken(service) {
            Ok(Some(mut taken)) => {
                taken.message =
                    format!("what answers for {service} is not ours: {reason}\n{}", taken.message);
                taken.into()
            }
            _ => refused(service, reason).into(),
        }
    }

    fn timed_out(&self, service: &str, last: &str) -> anyhow::Error {
        if let Ok(Some(taken)) = self.taken(service) {
            return taken.into();
        }
        // It comes up, is killed, and comes up again.
        let killed = |one: &Supervised| {
            one.process.service == service && one.status.last_exit.as_deref() == Some(OUT_OF_MEMORY)
        };
        if let Some(one) = native::list(self.place).unwrap_or_default().iter().find(|one| killed(one)) {
            return out_of_memory(service, &one.process.id()).into();
        }
        let log = self.launches[service].processes.last().map(|p| p.log.clone()).unwrap_or_default();
        let message = format!(
            "{service} was not ready after {} s; last answer: {last}\n{}",
            self.patience.as_secs(),
            quote_log(&log)
        );
        let failure = Failure::new(Kind::Service, "service-not-ready", message)
            .hint(format!("it keeps running; look at it: {{program}} logs -f {service}"))
            .hint("give it more time: {program} up --timeout 300")
            .hint(format!("start it again: {{program}} restart {service}"));
        self.blame(service, failure).into()
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

fn stopped(service: &str, process: &str, pid: u32) -> Failure {
    let message = format!("{process} (pid {pid}) runs, but a signal has stopped it, so it cannot answer");
    Failure::new(Kind::Service, "service-stopped", message)
        .hint(format!("let it go on: kill -CONT {pid}"))
        .hint(format!("or start it afresh: {{program}} restart {service}"))
}

fn unknowable(service: &str, reason: &str) -> Failure {
    Failure::new(Kind::Service, "ready-not-runnable", format!("whether {service} is ready cannot be found out: {reason}"))
        .hint(format!("correct `ready` in [services.{service}] of ecosystem.toml, or make its program executable where it is looked for"))
        .hint(format!("it keeps running; to stop it: {{program}} down {service}"))
}

/// The kernel has killed a server: its own log knows nothing of it.
fn out_of_memory(service: &str, process: &str) -> Failure {
    Failure::new(Kind::Service, "service-out-of-memory", format!("{process} was {OUT_OF_MEMORY}"))
        .hint("give this machine, container or control group more memory, or end something else in it")
        .hint(format!("or let {service} want less, by `heap` or `settings` in ecosystem.toml"))
}

fn refused(service: &str, reason: &str) -> Failure {
    Failure::new(
        Kind::Service,
        "service-not-ours",
        format!("what answers for {service} is not ours: {reason}"),
    )
    .hint("who holds the port: {program} status")
}

/// The end of a log, set off from the message.
fn quote_log(log: &camino::Utf8Path) -> String {
    let text = launch::tail(log, 1_500).unwrap_or_default();
    let text = marker::last_run(&text);
    if text.trim().is_empty() {
        return format!("  it has written nothing into {log}");
    }
    let lines: Vec<String> = text.lines().rev().take(12).map(|line| format!("  | {line}")).collect();
    format!("  {log} ends with\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
