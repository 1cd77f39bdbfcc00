//! Waiting until a service is usable and ours, and finding out why it does not become so. What is peculiar to containers is `containers`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ecosystem_core::blame::blamed;
use ecosystem_core::endpoint::Attempt;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::marker;
use ecosystem_core::model::Origin;
use ecosystem_core::plan::{Obstacle, taken_meanwhile};
use ecosystem_core::shortage::OUT_OF_MEMORY;
use ecosystem_core::supervise::Phase;

use super::failures::{out_of_memory, quote_log, refused, stopped, unknowable};
use super::{Engine, Waits, ms};
use crate::backend::native;
use crate::client::{self, Effort};
use crate::site::logs::first_error;
use crate::sys::control::Supervised;
use crate::sys::{interrupt, launch};

/// The shortest pause between two looks at a server that is not ready, and the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a server is asked before somebody looks whether it is still there, or a signal has stopped it, and between two looks.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How much of a log is searched for the reason why a server ended, in bytes: some say it before a long trace.
const LAST_WORDS: u64 = 64 << 10;

/// Tells when a process of a service leaves its present run. Containers are looked at instead.
struct Ended {
    flag: Arc<AtomicBool>,
    _watch: Option<native::Watch>,
}

impl Ended {
    fn yet(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}

impl Engine<'_> {
    /// Asks from outside until the server is usable and ours; a write is tried once, at the end.
    pub(super) fn wait_until_ready(&self, service: &str, waits: &Waits) -> anyhow::Result<()> {
        let trouble = Mutex::new(None);
        let Some(contained) = self.contained.get(service) else {
            return self.ask_until_ready(service, waits, &trouble);
        };
        // A look at a container is two commands: whoever asks the server does not wait for them.
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let applied = waits.applied.contains(service);
                let mut restarts = None;
                let over = || over.load(Ordering::SeqCst);
                while interrupt::pause(LOOK_PERIOD, over).is_ok() && !over() {
                    if let Err(error) = self.look_at_container(service, contained, applied, &mut restarts) {
                        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        interrupt::wake();
                        return;
                    }
                }
            });
            let result = self.ask_until_ready(service, waits, &trouble);
            over.store(true, Ordering::SeqCst);
            interrupt::wake();
            result
        })
    }

    /// The same; `trouble` is why it is not worth to ask any further, where somebody has found out.
    fn ask_until_ready(
        &self,
        service: &str,
        waits: &Waits,
        trouble: &Mutex<Option<anyhow::Error>>,
    ) -> anyhow::Result<()> {
        let elsewhere = self.is_elsewhere(service);
        let mut ended = self.watch(service)?;
        let begin = Instant::now();
        let (mut pause, mut effort) = (SHORTEST_PAUSE, Effort::Look);
        let mut next_look = LOOK_PERIOD;
        loop {
            // Read before asking: an end that happens while we ask is seen in the next round.
            let gone = ended.yet();
            let last = match self.ask(service, effort) {
                // In what is somebody else's, nothing is tried.
                Attempt::Ready if effort == Effort::Write || elsewhere => return Ok(()),
                Attempt::Ready => {
                    let mut detected = waits.detected.lock().unwrap_or_else(PoisonError::into_inner);
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
                ended = self.watch(service)?;
            }
            if begin.elapsed() > self.patience {
                return Err(self.timed_out(service, &last));
            }
            if let Some(error) = trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            if begin.elapsed() > next_look && self.launches.contains_key(service) {
                // Whoever stopped it knows when it will go on; nobody is going to wait for that here.
                if let Some((process, pid)) = native::stopped(self.place, service)?.first() {
                    return Err(stopped(service, process, *pid).into());
                }
                next_look = begin.elapsed() + LOOK_PERIOD;
            }
            let found = || trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            interrupt::pause(pause, || ended.yet() || found())?;
            // Whatever it takes, it is noticed within a tenth of that.
            pause = (begin.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
    }

    fn ask(&self, service: &str, effort: Effort) -> Attempt {
        let endpoint = &self.endpoints[service];
        match client::probe(endpoint, effort) {
            // Nobody starts it here, and so nothing is written to try it: what the manifest names is made now.
            Attempt::Ready if self.is_elsewhere(service) => client::furnish(endpoint),
            answer => answer,
        }
    }

    fn watch(&self, service: &str) -> anyhow::Result<Ended> {
        let flag = Arc::new(AtomicBool::new(false));
        if !self.launches.contains_key(service) {
            return Ok(Ended { flag, _watch: None });
        }
        let set = Arc::clone(&flag);
        let watch = native::watch(self.place, service, move || set.store(true, Ordering::SeqCst))?;
        Ok(Ended { flag, _watch: Some(watch) })
    }

    /// A running service is asked once, whether it is usable by now; nothing is written.
    pub(super) fn verify(&self, service: &str) -> anyhow::Result<bool> {
        match self.ask(service, Effort::Look) {
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
    pub(super) fn blame(&self, service: &str, failure: Failure) -> Failure {
        let launch = &self.launches[service];
        let logs = launch.processes.iter().filter_map(|process| launch::tail(&process.log, LAST_WORDS).ok());
        // One that is started again and again has said it in the run before.
        let all = failure.code == "service-not-ready";
        let said = |log: String| if all { log } else { marker::last_run(&log).to_owned() };
        let words = logs.map(said).collect::<Vec<_>>().join("\n");
        name_settings(&launch.settings, &words, failure)
    }

    /// The failure of a service whose port somebody else got hold of after all ports had been looked at.
    fn taken(&self, service: &str) -> anyhow::Result<Option<Failure>> {
        if let Some(contained) = self.contained.get(service) {
            return self.container_without_port(service, contained);
        }
        if self.is_elsewhere(service) {
            return Ok(None);
        }
        let mut strangers = native::strangers(self.place, service, &self.launches[service].endpoint)?;
        // Who cannot be seen may be ours.
        strangers.retain(|obstacle| matches!(obstacle, Obstacle::PortTaken { holder: Some(_), .. }));
        Ok(taken_meanwhile(service, &strangers))
    }

    /// Somebody else answers: who, where that can be seen.
    fn refused(&self, service: &str, reason: &str) -> anyhow::Error {
        if self.is_elsewhere(service) {
            let message = format!("what answers for {service} is not what `external` says: {reason}");
            return Failure::new(Kind::Service, "service-not-ours", message)
                .hint(format!("correct `external` in [services.{service}] of ecosystem.toml"))
                .into();
        }
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
        if let Some(contained) = self.contained.get(service) {
            return self.container_timed_out(service, contained, last);
        }
        if self.is_elsewhere(service) {
            let seconds = self.patience.as_secs();
            let message = format!(
                "{service}, which somebody else runs, was not ready after {seconds} s; last answer: {last}"
            );
            return Failure::new(Kind::Service, "service-not-ready", message)
                .hint(format!("start it, or correct `external` in [services.{service}] of ecosystem.toml"))
                .hint("give it more time: {program} up --timeout 300")
                .into();
        }
        // It comes up, is killed, and comes up again.
        let killed = |one: &Supervised| {
            one.process.service == service && one.status.last_exit.as_deref() == Some(OUT_OF_MEMORY)
        };
        if let Some(one) = native::list(self.place).unwrap_or_default().iter().find(|one| killed(one)) {
            return out_of_memory(service, &one.process.id()).into();
        }
        let processes = &self.launches[service].processes;
        let complains =
            processes.iter().find(|process| first_error(std::iter::once(process.log.as_path())).is_some());
        let log =
            complains.or_else(|| processes.last()).map(|process| process.log.clone()).unwrap_or_default();
        let message = self.too_late(service, last, &quote_log(&log));
        self.blame(service, message).into()
    }

    /// The failure of a service that answers, and not as it should, for as long as somebody waits.
    pub(super) fn too_late(&self, service: &str, last: &str, log: &str) -> Failure {
        let seconds = self.patience.as_secs();
        let message = format!("{service} was not ready after {seconds} s; last answer: {last}\n{log}");
        Failure::new(Kind::Service, "service-not-ready", message)
            .hint(format!("it keeps running; look at it: {{program}} logs -f {service}"))
            .hint("give it more time: {program} up --timeout 300")
            .hint(format!("start it again: {{program}} restart {service}"))
    }
}

/// Names the lines of the manifest that a server complains of in these words.
pub(super) fn name_settings(
    settings: &BTreeMap<String, Origin>,
    words: &str,
    mut failure: Failure,
) -> Failure {
    for blamed in blamed(settings, words) {
        let (setting, origin) = (blamed.setting, blamed.origin);
        let said = harmless(blamed.said.trim());
        if !failure.message.contains(&said) {
            let text = format!("\n  of `{setting}` it says\n  | {said}");
            failure.message.push_str(&text);
        }
        let hint = format!("correct `{setting}` in {origin}: what the server reads is written from there");
        failure.hints.insert(0, hint);
    }
    failure
}
