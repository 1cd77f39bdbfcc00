//! Short commands: run, wait, read what they print. Servers go through `sys::launch` instead.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

/// A command to run once. Its standard input is empty, and it gets a process group of its own.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    only: Option<BTreeMap<String, String>>,
    without: Vec<&'static str>,
    cwd: Option<Utf8PathBuf>,
    limit: Duration,
    leashed: bool,
    to_the_end: bool,
}

/// How often a running command is looked at, where somebody wants to know how far it is.
const PERIOD: Duration = Duration::from_millis(200);

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// How a command ended and what it printed. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; a signal counts as 128 plus its number, as in a shell.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// It was ended because it took longer than its limit.
    pub timed_out: bool,
}

impl Output {
    /// The last thing that it said.
    pub fn last_line(&self) -> &str {
        let mut lines = self.stdout.lines().chain(self.stderr.lines()).map(str::trim);
        lines.rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
    }

    /// Whether it ended with status 0, in time.
    pub fn ok(&self) -> bool {
        self.status == 0 && !self.timed_out
    }
}

/// Environment variables that cargo and rustup leak into everything started from `cargo run`.
pub(super) const LEAKED: [&str; 5] =
    ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "CARGO", "RUST_RECURSION_COUNT"];

impl Cmd {
    /// A command that may take a minute.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            only: None,
            without: Vec::new(),
            cwd: None,
            limit: Duration::from_mins(1),
            leashed: false,
            to_the_end: false,
        }
    }

    /// Makes the command die with this program, even where that is killed. Only the program itself can do this, not a test of the library.
    #[must_use]
    pub fn leashed(mut self) -> Self {
        self.leashed = true;
        self
    }

    /// Runs it whole, also when somebody has asked this program to stop: for what puts things back in order.
    #[must_use]
    pub fn to_the_end(mut self) -> Self {
        self.to_the_end = true;
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable on top of the inherited ones.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Leaves these variables out of what is inherited.
    #[must_use]
    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    /// The whole environment: nothing is inherited.
    #[must_use]
    pub fn only_env(mut self, env: &BTreeMap<String, String>) -> Self {
        self.only = Some(env.clone());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, path: &Utf8Path) -> Self {
        self.cwd = Some(path.to_owned());
        self
    }

    /// Sets the time after which the whole process group is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it. An error means that it could not be started; a non-zero status is not an error.
    pub fn run(self) -> anyhow::Result<Output> {
        self.run_while(|| true)
    }

    /// Runs it and asks `go_on` a few times a second: where that says no, it is ended as if its time were up.
    pub fn run_while(self, mut go_on: impl FnMut() -> bool) -> anyhow::Result<Output> {
        self.run_looking(|_| go_on())
    }

    /// Runs it and shows a few times a second what it has printed so far.
    pub fn run_seeing(self, mut see: impl FnMut(&str)) -> anyhow::Result<Output> {
        self.run_looking(|out| {
            // What cannot be read now is read at the end.
            see(&printed(out).unwrap_or_default());
            true
        })
    }

    fn run_looking(self, mut go_on: impl FnMut(&std::fs::File) -> bool) -> anyhow::Result<Output> {
        let name = self.program.to_string_lossy().into_owned();
        // Files, not pipes: a grandchild that keeps a pipe open would hold us after the command itself is gone.
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let (program, args) = if self.leashed {
            let words = [super::launch::FOLLOW.into(), std::process::id().to_string().into(), self.program];
            (super::os::this_program()?.into_os_string(), words.into_iter().chain(self.args).collect())
        } else {
            (self.program, self.args)
        };
        let mut expression = duct::cmd(program, args)
            .stdin_null()
            .stdout_file(out.try_clone()?)
            .stderr_file(err.try_clone()?)
            .unchecked()
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        // duct applies what is added last first: what a caller sets must survive the removal.
        for (key, value) in self.env {
            expression = expression.env(key, value);
        }
        for key in LEAKED.into_iter().chain(self.without) {
            expression = expression.env_remove(key);
        }
        if let Some(only) = self.only {
            expression = expression.full_env(only);
        }
        if let Some(cwd) = self.cwd {
            expression = expression.dir(cwd);
        }
        let wanted = || if self.to_the_end { Ok(()) } else { super::interrupt::check() };
        wanted()?;
        let handle = expression.start().with_context(|| format!("cannot run {name}"))?;
        let group = handle.pids().first().and_then(|pid| i32::try_from(*pid).ok());
        let _follows = group.filter(|_| !self.to_the_end).map(super::interrupt::follow);
        let mut end = Instant::now() + self.limit;
        let mut asked_to_end = false;
        let (status, timed_out) = loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Some(status) = handle.wait_timeout(left.min(PERIOD))?.map(|output| output.status) {
                break (status, false);
            }
            if !asked_to_end && wanted().is_err() {
                // It was signalled already; what does not listen is killed.
                (asked_to_end, end) = (true, end.min(Instant::now() + GRACE));
            }
            if Instant::now() >= end || !(asked_to_end || go_on(&out)) {
                end_group(group);
                break (handle.wait()?.status, true);
            }
        };
        // What it has left running in the background was to be as short as itself.
        end_group(group);
        // Whatever it ended with, it ended because somebody wants this program to stop.
        wanted()?;
        Ok(Output {
            status: status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1),
            stdout: printed(&out)?,
            stderr: printed(&err)?,
            timed_out,
        })
    }
}

fn end_group(group: Option<i32>) {
    if let Some(pid) = group.and_then(rustix::process::Pid::from_raw) {
        // Mostly there is nothing left of it.
        let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// What stands in a file that a command writes to. Its own place in the file is the command's, and stays where it is.
fn printed(file: &std::fs::File) -> std::io::Result<String> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_both_streams_are_kept() {
        let output = Cmd::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run().unwrap();
        assert_eq!(
            output,
            Output { status: 3, stdout: "out\n".into(), stderr: "err\n".into(), timed_out: false }
        );
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let output =
            Cmd::new("sh").args(["-c", "sleep 600 & wait"]).limit(Duration::from_millis(50)).run().unwrap();
        assert!(output.timed_out && !output.ok());
    }

    #[test]
    fn what_a_command_leaves_in_the_background_ends_with_it() {
        let output = Cmd::new("sh").args(["-c", "sleep 600 & echo $!"]).run().unwrap();
        assert!(output.ok());
        let left = output.stdout.trim().parse().unwrap();
        super::super::os::wait_for_end(left, Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_command_is_ended_when_nobody_wants_to_go_on() {
        let mut asked = 0;
        let output = Cmd::new("sh")
            .args(["-c", "sleep 600 & wait"])
            .run_while(|| {
                asked += 1;
                asked < 2
            })
            .unwrap();
        assert!(output.timed_out && asked == 2);
    }

    #[test]
    fn what_a_command_prints_is_seen_while_it_runs() {
        let mut seen = String::new();
        let command = Cmd::new("sh").args(["-c", "echo one; read -r line < /dev/null; sleep 0.5; echo two"]);
        let output = command.run_seeing(|text| seen = text.to_owned()).unwrap();
        assert_eq!((seen.as_str(), output.stdout.as_str()), ("one\n", "one\ntwo\n"));
    }

    #[test]
    fn what_is_set_survives_the_removal_of_what_leaks() {
        let output = Cmd::new("sh")
            .args(["-c", "echo $LD_LIBRARY_PATH"])
            .env("LD_LIBRARY_PATH", "/own")
            .run()
            .unwrap();
        assert_eq!(output.stdout, "/own\n");
    }

    #[test]
    fn a_whole_environment_inherits_nothing() {
        let only = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let output = Cmd::new("env").only_env(&only).run().unwrap();
        assert_eq!(output.stdout, "PATH=/usr/bin:/bin\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("no-such-program-here").run().unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
