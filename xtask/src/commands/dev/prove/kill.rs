//! Signals at random moments for everything that takes part. Afterwards nothing may be left behind, and what was acknowledged is there.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use super::arena::Arena;
use super::{Counts, Trial};
use crate::context::Context;
use crate::sys::{interrupt, os, supervisor};

/// The program may take this long to end after it was signalled: stopping PostgreSQL alone may take 10 s.
const END: Duration = Duration::from_mins(2);

/// The proof, with what it knows of its stack.
pub(super) struct Kill<'a> {
    arena: Arena<'a>,
    /// What was brought up since the last `down`.
    running: BTreeSet<&'static str>,
    /// Rows that PostgreSQL has acknowledged.
    rows: i64,
}

/// Who gets the signal.
#[derive(Debug, Clone, Copy)]
enum Target {
    Program,
    Supervisor,
    Launcher,
    Server,
    EveryServer,
}

impl<'a> Kill<'a> {
    pub(super) fn new(context: &'a Context) -> anyhow::Result<Self> {
        let arena = Arena::new(context)?;
        // Fills the store, which is not what is proven here.
        arena.ok(&["up"])?;
        arena.ok(&["down"])?;
        Ok(Self { arena, running: BTreeSet::new(), rows: 0 })
    }

    /// Brings everything up again, the way that the messages say.
    fn mend(&mut self, services: &[&'static str], counts: &mut Counts) -> anyhow::Result<()> {
        self.running.extend(services);
        let services: Vec<&str> = self.running.iter().copied().collect();
        let up = [&["up"], services.as_slice()].concat();
        for _ in 0..4 {
            let output = self.arena.run(&up)?;
            let told = |code: &str| output.stderr.contains(&format!("error[{code}]"));
            if output.ok() {
                if self.arena.run(&["status"])?.ok() {
                    return Ok(());
                }
                // PostgreSQL hears of the end of one of its processes a little later than everybody else.
                counts.add("mended by a second `up`: a signal took effect after the first");
            } else if told("supervisor-silent") {
                counts.add("mended by `down`: a supervisor that did not answer");
                self.arena.ok(&["down"])?;
            } else if told("service-stopped") {
                counts.add("mended by `restart`: a server that was stopped by a signal");
                self.arena.ok(&[&["restart"], services.as_slice()].concat())?;
            } else {
                anyhow::bail!("`{}` ended with {}: {}", up.join(" "), output.status, output.stderr.trim());
            }
        }
        anyhow::bail!("`{}` did not succeed although its advice was followed", up.join(" "))
    }

    /// Every acknowledged row is there; one more is added.
    fn count_rows(&mut self) -> anyhow::Result<()> {
        let mut client = self.client()?;
        client.batch_execute("CREATE TABLE IF NOT EXISTS rounds (id serial)")?;
        let found: i64 = client.query_one("SELECT count(*) FROM rounds", &[])?.get(0);
        anyhow::ensure!(found == self.rows, "{} rows were acknowledged, {found} are there", self.rows);
        client.batch_execute("INSERT INTO rounds DEFAULT VALUES")?;
        self.rows += 1;
        Ok(())
    }

    fn nothing_remains(&mut self) -> anyhow::Result<()> {
        self.arena.ok(&["down"])?;
        self.running.clear();
        let remains = self.arena.remains()?;
        anyhow::ensure!(remains.is_empty(), "after `down`: {}", remains.join("; "));
        Ok(())
    }

    /// Who that is right now. A launcher lives for a few milliseconds: it is waited for a little.
    fn find(&self, target: Target, program: u32, random: &mut fastrand::Rng) -> anyhow::Result<Vec<u32>> {
        let state = self.arena.state();
        let launchers =
            |pid: &u32| os::command_line(*pid).get(1).is_some_and(|word| word == crate::sys::launch::EXEC);
        Ok(match target {
            Target::Program => vec![program],
            Target::Supervisor => supervisor::holder(&state)?.into_iter().collect(),
            Target::Launcher => {
                let begin = Instant::now();
                loop {
                    let found: Vec<u32> = self.arena.family()?.into_iter().filter(launchers).collect();
                    if !found.is_empty() || begin.elapsed() > Duration::from_millis(150) {
                        break found;
                    }
                    interrupt::pause(Duration::from_millis(1), || false)?;
                }
            }
            Target::Server | Target::EveryServer => {
                let supervisor = supervisor::holder(&state)?;
                let mut servers: Vec<u32> =
                    self.arena.family()?.into_iter().filter(|pid| Some(*pid) != supervisor).collect();
                if let Target::Server = target {
                    servers = random.choice(servers).into_iter().collect();
                }
                servers
            }
        })
    }
}

impl Trial for Kill<'_> {
    const NAME: &'static str = "kill";
    const ROUNDS: usize = 1_000;

    fn round(&mut self, random: &mut fastrand::Rng, counts: &mut Counts) -> anyhow::Result<()> {
        let services = services(random);
        let heavy = services.iter().any(|service| matches!(*service, "rabbitmq" | "opensearch"));
        let verb = *random.choice(&["up", "up", "up", "restart", "down"]).unwrap_or(&"up");
        let args = if verb == "down" { vec!["down"] } else { [&[verb], services.as_slice()].concat() };
        let target = match random.u8(0..10) {
            0..3 => Target::Program,
            3..5 => Target::Supervisor,
            5 => Target::Launcher,
            6..9 => Target::Server,
            _ => Target::EveryServer,
        };
        let (signal, name) = match random.u8(0..20) {
            0..12 => (Signal::KILL, "SIGKILL"),
            12..15 => (Signal::TERM, "SIGTERM"),
            15..17 => (Signal::INT, "SIGINT"),
            17 => (Signal::HUP, "SIGHUP"),
            _ => (Signal::STOP, "SIGSTOP"),
        };
        let delay = Duration::from_micros(random.u64(0..if heavy { 4_000_000 } else { 400_000 }));
        let what = format!("{name} for {target:?} {delay:?} into `{}`", args.join(" "));

        let mut program = self.arena.begin(&args)?;
        interrupt::pause(delay, || false)?;
        let (mut hit, mut target) = (self.find(target, program.id(), random)?, target);
        if hit.is_empty() {
            target = Target::Server;
            hit = self.find(target, program.id(), random)?;
        }
        for pid in &hit {
            send(*pid, signal);
        }
        counts.add(match (hit.is_empty(), target) {
            (true, _) => "nobody was there to be signalled".to_owned(),
            (false, target) => format!("{name} {target:?}"),
        });
        if !matches!(signal, Signal::STOP | Signal::HUP) && !matches!(target, Target::Program) {
            for pid in &hit {
                // It may have better things to do than to end.
                let _may_stay = os::wait_for_end(*pid, Duration::from_secs(2));
            }
        }
        let twice = matches!(target, Target::Program) && signal == Signal::INT && random.bool();
        if twice {
            interrupt::pause(Duration::from_micros(random.u64(0..30_000)), || false)?;
            send(program.id(), Signal::INT);
        }
        let stopped = signal == Signal::STOP;
        if stopped && (matches!(target, Target::Program) || random.bool()) {
            interrupt::pause(Duration::from_millis(random.u64(0..200)), || false)?;
            for pid in &hit {
                send(*pid, Signal::CONT);
            }
        }
        self.settle(&mut program, &what)?;
        self.mend(&services, counts).with_context(|| what.clone())?;
        if services.contains(&"postgresql") {
            self.count_rows().with_context(|| what.clone())?;
        }
        if random.u8(0..3) == 0 {
            self.nothing_remains().with_context(|| what.clone())?;
        }
        Ok(())
    }

    fn recover(&mut self) -> anyhow::Result<()> {
        for pid in self.arena.family()? {
            send(pid, Signal::KILL);
        }
        self.arena.ok(&["down"])?;
        self.running.clear();
        if self.rows > 0 {
            // What was lost is told once.
            self.arena.ok(&["up", "postgresql"])?;
            self.rows = self.client()?.query_one("SELECT count(*) FROM rounds", &[])?.get(0);
        }
        Ok(())
    }
}

impl Kill<'_> {
    /// Waits for the end of the program that was signalled.
    fn settle(&self, program: &mut Child, what: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        while program.try_wait()?.is_none() {
            if begin.elapsed() > END {
                program.kill()?;
                program.wait()?;
                anyhow::bail!("the program hung after {what}; it said: {}", self.arena.said());
            }
            interrupt::pause(Duration::from_millis(3), || false)?;
        }
        Ok(())
    }

    fn client(&self) -> anyhow::Result<postgres::Client> {
        let endpoint =
            self.arena.endpoints(&["postgresql"])?.remove("postgresql").context("it was set up")?;
        let mut login = postgres::Config::new();
        login.host(&endpoint.host).port(endpoint.port("sql")).password(endpoint.password());
        login.user(endpoint.user.as_deref().unwrap_or_default());
        login.dbname(endpoint.database.as_deref().unwrap_or_default());
        Ok(login.connect(postgres::NoTls)?)
    }
}

impl Drop for Kill<'_> {
    fn drop(&mut self) {
        // Somebody pressed Ctrl-C, or the report was made already.
        if let Ok(family) = self.arena.family() {
            for pid in family {
                send(pid, Signal::KILL);
            }
        }
    }
}

/// What a round is about: mostly servers that start at once, so that many rounds are possible.
fn services(random: &mut fastrand::Rng) -> Vec<&'static str> {
    let mut services = vec!["redis"];
    for (service, one_in) in [("postgresql", 2), ("rabbitmq", 12), ("opensearch", 25)] {
        if random.u8(0..one_in) == 0 {
            services.push(service);
        }
    }
    services
}

/// Sends a signal to a process that may be gone.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _gone = rustix::process::kill_process(pid, signal);
    }
}
