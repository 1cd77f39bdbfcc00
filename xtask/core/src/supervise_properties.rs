//! What holds for the supervision of a process, whatever happens to it and whenever: an operating system is modelled beside it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

const GRACE: u64 = 500;

/// What can happen next. Times are milliseconds since what happened before.
#[derive(Debug, Clone)]
enum Event {
    /// The process ends by itself, where there is one, well or not.
    Ends(bool),
    /// An end that is somebody else's: none of our process ended.
    Stray,
    /// An ordered start succeeds, or does not.
    Starts(bool),
    Stop,
    Time,
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let event = prop_oneof![
        4 => prop::bool::weighted(0.3).prop_map(Event::Ends),
        1 => Just(Event::Stray),
        6 => prop::bool::weighted(0.9).prop_map(Event::Starts),
        1 => Just(Event::Stop),
        6 => Just(Event::Time),
    ];
    let pause = prop_oneof![4 => 0..200_u64, 4 => 200..4_000_u64, 1 => 4_000..90_000_u64];
    vec((event, pause), 1..80)
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![4 => Just(Restart::Always), 1 => Just(Restart::OnFailure), 1 => Just(Restart::Never)]
}

/// A process of the operating system, and what the supervision knows of it.
struct World {
    it: Supervision,
    restart: Restart,
    now: Duration,
    /// The living process.
    alive: Option<u32>,
    /// The process whose end was told last.
    buried: Option<u32>,
    /// A start that was ordered and has neither succeeded nor failed yet.
    starting: bool,
    stopped: bool,
    next_pid: u32,
    /// When the process ended and was to come back.
    restarts: Vec<Duration>,
}

impl World {
    fn new(restart: Restart) -> Self {
        let stop = Stop { signal: Signal::Term, grace_ms: GRACE };
        Self {
            it: Supervision::new(stop, restart),
            restart,
            now: Duration::ZERO,
            alive: None,
            buried: None,
            starting: true,
            stopped: false,
            next_pid: 1,
            restarts: Vec::new(),
        }
    }

    /// Tells what happened, checks the order that comes of it, and carries it out.
    fn tell(&mut self, input: Input) {
        let order = self.it.on(input, self.now);
        match order {
            Order::Nothing => {}
            Order::Spawn => {
                assert_eq!(self.alive, None, "a second process beside the first");
                assert!(!self.starting, "a second start beside the first");
                assert!(!self.stopped, "a start after the stop");
                self.starting = true;
            }
            Order::Signal(pid, _) => assert_eq!(Some(pid), self.alive, "a signal for somebody else"),
            // The group outlives its leader, so this alone may name a process that has just ended.
            Order::KillGroup(pid) => {
                assert!(self.alive == Some(pid) || (self.alive.is_none() && self.buried == Some(pid)));
            }
        }
        // A kill cannot be ignored; its end is told in its turn.
        if let (Order::KillGroup(pid), true) = (order, self.alive.is_some()) {
            self.alive = None;
            self.buried = Some(pid);
            self.tell(Input::Exited { how: "signal 9".to_owned(), success: false });
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Ends(well) => {
                if let Some(pid) = self.alive.take() {
                    self.buried = Some(pid);
                    let how = format!("exit status {}", u8::from(!well));
                    self.tell(Input::Exited { how, success: *well });
                    let phase = self.it.status(self.now).phase;
                    if phase == Phase::Restarting {
                        self.restarts.push(self.now);
                        let comes_back = match self.restart {
                            Restart::Always => true,
                            Restart::OnFailure => !well,
                            Restart::Never => false,
                        };
                        assert!(comes_back, "{:?} after {well}", self.restart);
                    }
                    // Having done what it had to do is no failure.
                    assert!(phase != Phase::Failed || !well || self.restart == Restart::Always);
                }
            }
            Event::Stray if self.alive.is_none() => {
                self.tell(Input::Exited { how: "exit status 0".to_owned(), success: true });
            }
            Event::Starts(succeeds) if self.starting => {
                self.starting = false;
                if *succeeds {
                    self.alive = Some(self.next_pid);
                    self.next_pid += 1;
                    self.tell(Input::Spawned(self.next_pid - 1));
                } else {
                    self.tell(Input::SpawnFailed("no such file".to_owned()));
                }
            }
            Event::Stop => {
                self.stopped = true;
                self.tell(Input::StopRequested);
            }
            Event::Stray | Event::Starts(_) | Event::Time => {}
        }
    }

    /// Time passes, and every deadline on the way is kept, as the supervisor's loop does.
    fn pass(&mut self, pause: Duration) {
        let until = self.now + pause;
        let mut kept = 0;
        while let Some(deadline) = self.it.deadline().filter(|deadline| *deadline <= until) {
            let early = self.it.clone();
            if let Some(before) = deadline.checked_sub(Duration::from_millis(1)).filter(|at| *at >= self.now)
            {
                self.now = before;
                self.tell(Input::Tick);
                assert_eq!(self.it, early, "something happened before its time");
            }
            self.now = self.now.max(deadline);
            self.tell(Input::Tick);
            kept += 1;
            assert!(kept < 10, "a deadline that is never over: {:?}", self.it);
        }
        self.now = until;
        self.tell(Input::Tick);
    }

    fn consistent(&self) {
        assert_eq!(self.it.pid(), self.alive, "it does not know its own process: {:?}", self.it);
        let status = self.it.status(self.now);
        assert_eq!(status.pid, self.alive);
        assert_eq!(matches!(status.phase, Phase::Running | Phase::Stopping), self.alive.is_some());
        assert!(self.it.deadline().is_none_or(|at| at > self.now), "a deadline in the past");
        // Whatever waits for time says when.
        let waits = status.phase == Phase::Restarting && !self.starting;
        assert!(!waits || self.it.deadline().is_some(), "it waits for ever: {:?}", self.it);
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 300, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn it_signals_only_its_own_process_and_starts_one_at_a_time(restart in restart(), events in events()) {
        let mut world = World::new(restart);
        for (event, pause) in &events {
            world.pass(Duration::from_millis(*pause));
            world.happens(event);
            world.consistent();
        }
        // At most five within any minute.
        for (index, first) in world.restarts.iter().enumerate() {
            let within = world.restarts[index..].iter().filter(|at| at.saturating_sub(*first) < WINDOW).count();
            prop_assert!(within <= MAX_RESTARTS, "{} restarts within a minute", within);
        }
    }

    #[test]
    fn a_stop_ends_it_for_good_within_its_grace(restart in restart(), events in events(), after in events()) {
        let mut world = World::new(restart);
        for (event, pause) in &events {
            world.pass(Duration::from_millis(*pause));
            world.happens(event);
        }
        world.happens(&Event::Stop);
        // Whether the process goes by itself or has to be killed.
        world.pass(Duration::from_millis(GRACE));
        world.happens(&Event::Starts(true));
        world.pass(Duration::from_millis(GRACE));
        world.consistent();
        prop_assert_eq!(world.alive, None);
        for (event, pause) in &after {
            world.pass(Duration::from_millis(*pause));
            world.happens(event);
            world.consistent();
            prop_assert_eq!(world.alive, None);
        }
    }
}
