//! Running a server once, to make something from it: with an environment of its own and as a user that the server accepts.
//!
//! Not for servers that people use: those belong to the supervisor.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::Utf8PathBuf;
use ecosystem_core::process::{Process, RunAs, Signal as StopSignal, Stop};
use rustix::process::{Pid, Signal};

use crate::sys::{interrupt, launch};

/// How often a running process is looked at. Its end is not urgent: it takes seconds.
const PERIOD: Duration = Duration::from_millis(20);

/// A server that runs for a while.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: Utf8PathBuf,
    pub(super) stdin: String,
    pub(super) run_as: RunAs,
    /// Where its output goes.
    pub(super) log: Utf8PathBuf,
}

/// A started server. Dropped, it is killed.
pub(super) struct Running {
    child: Child,
    log: Utf8PathBuf,
}

impl Once {
    /// Runs it to its end and returns its output; an exit status other than 0 is an error.
    pub(super) fn finish(self, limit: Duration) -> anyhow::Result<String> {
        let name = self.argv[0].clone();
        let mut running = self.start()?;
        let status = running.wait(limit)?;
        let output = running.output();
        match status {
            Some(0) => Ok(output),
            Some(status) => anyhow::bail!("{name} ended with status {status}\n{}", output.trim_end()),
            None => anyhow::bail!("{name} took longer than {limit:?}\n{}", output.trim_end()),
        }
    }

    /// Starts it. It dies with the thread that calls this.
    pub(super) fn start(self) -> anyhow::Result<Running> {
        let name = self.argv[0].clone();
        let process = Process {
            service: "build".to_owned(),
            name: "build".to_owned(),
            argv: self.argv,
            env: self.env,
            cwd: self.cwd,
            run_as: self.run_as,
            stop: Stop { signal: StopSignal::Term, grace_ms: 0 },
            log: self.log.clone(),
            log_limit: u64::MAX,
            labels: BTreeMap::new(),
            rules: ecosystem_core::process::Rules::default(),
        };
        let child = launch::spawn(&process, &self.stdin).with_context(|| format!("cannot run {name}"))?;
        Ok(Running { child, log: self.log })
    }
}

impl Running {
    /// The exit status, as a shell would give it, if it ends in time.
    pub(super) fn wait(&mut self, limit: Duration) -> anyhow::Result<Option<i32>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().or_else(|| status.signal().map(|s| 128 + s)));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            interrupt::pause(PERIOD, || false)?;
        }
    }

    /// Asks `done` again and again until it says yes, the server ends, or time is up. Both of the latter are errors.
    pub(super) fn until(&mut self, limit: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if done() {
                return Ok(());
            }
            if let Some(status) = self.wait(Duration::from_millis(100))? {
                anyhow::bail!("it ended with status {status}\n{}", self.output().trim_end());
            }
            if start.elapsed() > limit {
                anyhow::bail!("it was not ready within {limit:?}\n{}", self.output().trim_end());
            }
        }
    }

    /// Signals the server and everything in its session.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _gone = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// What it has printed so far.
    pub(super) fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _status = self.child.wait();
        }
    }
}
