//! Supervision of one process as a state machine without I/O: what happened goes in, what to do comes out, time is a parameter.
//!
//! Not here: readiness. The supervisor knows processes, never services; whether a server is usable is asked from outside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::{Restart, Signal, Stop};

/// A first start that ends sooner than this is a failure to start: it is reported, not repeated.
pub const MIN_UPTIME: Duration = Duration::from_secs(3);
/// This many restarts within [`WINDOW`] are enough.
const MAX_RESTARTS: usize = 5;
const WINDOW: Duration = Duration::from_mins(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// What happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// It was started and has this process id.
    Spawned(u32),
    /// It could not be started.
    SpawnFailed(String),
    /// It ended: `exit status 1`, `signal 9`.
    Exited { how: String, success: bool },
    /// A person wants it to stop.
    StopRequested,
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Nothing,
    /// Start it.
    Spawn,
    /// Send this signal to the process.
    Signal(u32, Signal),
    /// Kill the process and everything in its group.
    KillGroup(u32),
}

/// Where a process stands. Durations count from the start of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Spawning,
    Running { pid: u32, since: Duration },
    Waiting { until: Duration },
    Stopping { pid: u32, kill_at: Duration, killed: bool },
    Ended,
    Failed,
}

/// The supervision of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    stop: Stop,
    restart: Restart,
    state: State,
    /// Counts starts; tells one run of a process from the next.
    incarnation: u32,
    /// When it was restarted, newest last.
    restarts: Vec<Duration>,
    last_exit: Option<String>,
}

/// What others are told of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub phase: Phase,
    pub pid: Option<u32>,
    pub incarnation: u32,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// How it ended last: `exit status 1`, `signal 9`.
    pub last_exit: Option<String>,
}

/// The phases of a supervised process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Running,
    /// It ended and will be started again.
    Restarting,
    Stopping,
    /// It was stopped on request, or had done what it had to do.
    Ended,
    /// It ended by itself and is not started again.
    Failed,
}

impl Supervision {
    /// A process that is about to be started: carry out [`Order::Spawn`] next.
    pub fn new(stop: Stop, restart: Restart) -> Self {
        Self { stop, restart, state: State::Spawning, incarnation: 0, restarts: Vec::new(), last_exit: None }
    }

    /// Takes in what happened and says what to do.
    pub fn on(&mut self, input: Input, now: Duration) -> Order {
        match (&self.state, input) {
            (State::Spawning, Input::Spawned(pid)) => {
                self.incarnation += 1;
                self.state = State::Running { pid, since: now };
                Order::Nothing
            }
            (State::Spawning, Input::SpawnFailed(error)) => {
                self.last_exit = Some(error);
                self.state = State::Failed;
                Order::Nothing
            }
            (State::Running { since, .. }, Input::Exited { how, success }) => {
                let uptime = now.saturating_sub(*since);
                self.state = self.after_exit(uptime, success, now);
                self.last_exit = Some(how);
                Order::Nothing
            }
            (State::Running { pid, .. }, Input::StopRequested) => {
                let pid = *pid;
                let kill_at = now + Duration::from_millis(self.stop.grace_ms);
                self.state = State::Stopping { pid, kill_at, killed: false };
                Order::Signal(pid, self.stop.signal)
            }
            (State::Waiting { .. } | State::Spawning, Input::StopRequested) => {
                self.state = State::Ended;
                Order::Nothing
            }
            (State::Waiting { until }, Input::Tick) if now >= *until => {
                self.state = State::Spawning;
                Order::Spawn
            }
            (State::Stopping { pid, kill_at, killed: false }, Input::Tick) if now >= *kill_at => {
                let (pid, kill_at) = (*pid, *kill_at);
                self.state = State::Stopping { pid, kill_at, killed: true };
                Order::KillGroup(pid)
            }
            (State::Stopping { pid, .. }, Input::Exited { how, .. }) => {
                let pid = *pid;
                self.last_exit = Some(how);
                self.state = State::Ended;
                // Whatever the process left behind in its group goes with it.
                Order::KillGroup(pid)
            }
            // The stop came while it was being started.
            (State::Ended, Input::Spawned(pid)) => {
                self.incarnation += 1;
                self.state = State::Stopping { pid, kill_at: now, killed: true };
                Order::KillGroup(pid)
            }
            _ => Order::Nothing,
        }
    }

    /// Where a process stands that ended by itself.
    fn after_exit(&mut self, uptime: Duration, success: bool, now: Duration) -> State {
        match (self.restart, success) {
            // It has done what it had to do.
            (Restart::OnFailure | Restart::Never, true) => return State::Ended,
            (Restart::Never, false) => return State::Failed,
            _ => {}
        }
        self.restarts.retain(|at| now.saturating_sub(*at) < WINDOW);
        if (self.incarnation == 1 && uptime < MIN_UPTIME) || self.restarts.len() >= MAX_RESTARTS {
            return State::Failed;
        }
        let exponent = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        self.restarts.push(now);
        State::Waiting { until: now + FIRST_BACKOFF * 2_u32.saturating_pow(exponent) }
    }

    /// When [`Input::Tick`] is due next.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Stopping { kill_at, killed: false, .. } => Some(kill_at),
            _ => None,
        }
    }

    /// Whether a process of the operating system belongs to it right now.
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Running { pid, .. } | State::Stopping { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// What others are told.
    pub fn status(&self, now: Duration) -> Status {
        let phase = match self.state {
            State::Running { .. } => Phase::Running,
            State::Spawning | State::Waiting { .. } => Phase::Restarting,
            State::Stopping { .. } => Phase::Stopping,
            State::Ended => Phase::Ended,
            State::Failed => Phase::Failed,
        };
        let uptime_ms = match self.state {
            State::Running { since, .. } => u64::try_from(now.saturating_sub(since).as_millis()).ok(),
            _ => None,
        };
        Status {
            phase,
            pid: self.pid(),
            incarnation: self.incarnation,
            uptime_ms,
            last_exit: self.last_exit.clone(),
        }
    }
}

/// One process, as [`next_to_stop`] looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaver<'a> {
    pub service: &'a str,
    /// It is to stop, and was not told yet.
    pub to_tell: bool,
    /// It is there, and is going to leave or about to be told so.
    pub leaving: bool,
}

/// Which processes are told to stop now, as positions in the list: of each service the one that was started last first, because
/// it may want the ones before it, and may start its own where they are missing. The list is in the order of their start.
pub fn next_to_stop(processes: &[Leaver<'_>]) -> Vec<usize> {
    let waits = |index: usize| {
        processes[index + 1..].iter().any(|later| later.service == processes[index].service && later.leaving)
    };
    (0..processes.len()).filter(|index| processes[*index].to_tell && !waits(*index)).collect()
}

#[cfg(test)]
#[path = "supervise_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { signal: Signal::Int, grace_ms: 500 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn running(pid: u32, ms: u64) -> Supervision {
        running_with(Restart::Always, pid, ms)
    }

    fn running_with(restart: Restart, pid: u32, ms: u64) -> Supervision {
        let mut it = Supervision::new(STOP, restart);
        assert_eq!(it.on(Input::Spawned(pid), at(ms)), Order::Nothing);
        it
    }

    fn exit(it: &mut Supervision, ms: u64) -> Order {
        it.on(Input::Exited { how: "exit status 1".into(), success: false }, at(ms))
    }

    fn finish(it: &mut Supervision, ms: u64) -> Order {
        it.on(Input::Exited { how: "exit status 0".into(), success: true }, at(ms))
    }

    #[test]
    fn what_has_done_its_work_stays_ended_unless_it_is_always_wanted() {
        for (restart, phase) in [
            (Restart::Always, Phase::Restarting),
            (Restart::OnFailure, Phase::Ended),
            (Restart::Never, Phase::Ended),
        ] {
            let mut it = running_with(restart, 7, 0);
            finish(&mut it, 10_000);
            assert_eq!(it.status(at(10_000)).phase, phase, "{restart:?}");
            assert_eq!(it.status(at(10_000)).last_exit.as_deref(), Some("exit status 0"));
        }
    }

    #[test]
    fn a_failure_is_repeated_unless_that_is_never_wanted() {
        for (restart, phase) in [
            (Restart::Always, Phase::Restarting),
            (Restart::OnFailure, Phase::Restarting),
            (Restart::Never, Phase::Failed),
        ] {
            let mut it = running_with(restart, 7, 0);
            exit(&mut it, 10_000);
            assert_eq!(it.status(at(10_000)).phase, phase, "{restart:?}");
        }
    }

    #[test]
    fn whatever_the_policy_a_stop_on_request_is_final() {
        for restart in [Restart::Always, Restart::OnFailure, Restart::Never] {
            let mut it = running_with(restart, 7, 0);
            it.on(Input::StopRequested, at(5_000));
            exit(&mut it, 5_010);
            assert_eq!(it.status(at(5_010)).phase, Phase::Ended, "{restart:?}");
            assert_eq!(it.on(Input::Tick, at(90_000)), Order::Nothing);
        }
    }

    #[test]
    fn a_process_that_ends_at_once_is_not_repeated() {
        let mut it = running(7, 0);
        exit(&mut it, 2_999);
        let status = it.status(at(3_000));
        assert_eq!((status.phase, status.last_exit.as_deref()), (Phase::Failed, Some("exit status 1")));
        assert_eq!(it.deadline(), None);
    }

    #[test]
    fn a_process_that_had_been_running_comes_back_with_growing_pauses() {
        let mut it = running(7, 0);
        let mut now = 10_000;
        for pause in [100, 200, 400, 800, 1_600] {
            exit(&mut it, now);
            assert_eq!(it.deadline(), Some(at(now + pause)));
            assert_eq!(it.on(Input::Tick, at(now + pause - 1)), Order::Nothing);
            assert_eq!(it.on(Input::Tick, at(now + pause)), Order::Spawn);
            now += pause;
            it.on(Input::Spawned(8), at(now));
        }
        exit(&mut it, now + 1);
        assert_eq!(
            it.status(at(now + 1)).phase,
            Phase::Failed,
            "the sixth exit within a minute is one too many"
        );
    }

    #[test]
    fn old_restarts_are_forgiven() {
        let mut it = running(7, 0);
        for minute in 1..20 {
            let now = minute * 61_000;
            exit(&mut it, now);
            assert_eq!(it.on(Input::Tick, at(now + 100)), Order::Spawn, "minute {minute}");
            it.on(Input::Spawned(8), at(now + 100));
        }
    }

    #[test]
    fn stopping_signals_then_kills_then_clears_the_group() {
        let mut it = running(7, 0);
        assert_eq!(it.on(Input::StopRequested, at(1_000)), Order::Signal(7, Signal::Int));
        assert_eq!(it.deadline(), Some(at(1_500)));
        assert_eq!(it.on(Input::Tick, at(1_499)), Order::Nothing);
        assert_eq!(it.on(Input::Tick, at(1_500)), Order::KillGroup(7));
        assert_eq!(it.deadline(), None, "a second kill would help nobody");
        assert_eq!(exit(&mut it, 1_510), Order::KillGroup(7));
        assert_eq!(it.status(at(1_510)).phase, Phase::Ended);
        assert_eq!(it.pid(), None);
    }

    #[test]
    fn stopping_twice_signals_once() {
        let mut it = running(7, 0);
        it.on(Input::StopRequested, at(1));
        assert_eq!(it.on(Input::StopRequested, at(2)), Order::Nothing);
    }

    #[test]
    fn a_stop_during_the_pause_cancels_the_restart() {
        let mut it = running(7, 0);
        exit(&mut it, 10_000);
        assert_eq!(it.on(Input::StopRequested, at(10_050)), Order::Nothing);
        assert_eq!(it.on(Input::Tick, at(20_000)), Order::Nothing);
        assert_eq!(it.status(at(20_000)).phase, Phase::Ended);
    }

    #[test]
    fn a_program_that_cannot_be_started_fails_with_the_reason() {
        let mut it = Supervision::new(STOP, Restart::Always);
        it.on(Input::SpawnFailed("no such file".into()), at(0));
        assert_eq!(it.status(at(0)).last_exit.as_deref(), Some("no such file"));
        assert_eq!(it.status(at(0)).phase, Phase::Failed);
    }

    #[test]
    fn each_run_has_its_own_number() {
        let mut it = running(7, 0);
        assert_eq!(it.status(at(5)).incarnation, 1);
        exit(&mut it, 5_000);
        it.on(Input::Tick, at(5_100));
        it.on(Input::Spawned(9), at(5_100));
        assert_eq!((it.status(at(5_200)).incarnation, it.status(at(5_200)).uptime_ms), (2, Some(100)));
    }

    #[test]
    fn of_a_service_the_last_one_stops_first() {
        let leaver = |service, to_tell, leaving| Leaver { service, to_tell, leaving };
        let (epmd, redis) = (leaver("rabbitmq", true, true), leaver("redis", true, true));
        assert_eq!(next_to_stop(&[epmd, leaver("rabbitmq", true, true), redis]), [1, 2]);
        assert!(next_to_stop(&[epmd, leaver("rabbitmq", false, true)]).is_empty(), "told, and not gone yet");
        assert_eq!(
            next_to_stop(&[epmd, leaver("rabbitmq", false, false)]),
            [0],
            "gone, or not to stop at all"
        );
        // What is not there is told as well: it must not come back.
        assert_eq!(next_to_stop(&[epmd, leaver("rabbitmq", true, false)]), [0, 1]);
    }
}
