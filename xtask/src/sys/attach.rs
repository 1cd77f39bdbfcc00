//! Becoming another program, or running it, with the terminal, the signals and the standard streams that this one has.
//!
//! Ctrl-C, the size of the terminal and the exit status are the other program's own.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use anyhow::Context;
use camino::Utf8Path;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::cmd::LEAKED;
use super::interrupt;

/// The command, in the person's own environment without what `cargo run` leaks into it and without `unset`, and with `env` on top. Secrets
/// go into `env`, never into `args`.
#[expect(
    clippy::disallowed_methods,
    reason = "what the person typed runs in the foreground, as the person's own"
)]
fn command(program: &Utf8Path, args: &[String], unset: &[&str], env: &[(&str, String)]) -> Command {
    let mut command = Command::new(program);
    for name in LEAKED.iter().chain(unset) {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().map(|(name, value)| (name, value)));
    command
}

/// Becomes the program. Returns only if it failed.
pub fn become_program(
    program: &Utf8Path,
    args: &[String],
    unset: &[&str],
    env: &[(&str, String)],
) -> anyhow::Error {
    let mut command = command(program, args, unset, env);
    super::fs::as_before();
    anyhow::Error::new(command.exec()).context(format!("cannot run {program}"))
}

/// Runs the program and waits for its end, where there is something to do afterwards. Signals are for it until then. Returns its exit
/// status, as a shell tells it.
pub fn run(
    program: &Utf8Path,
    args: &[String],
    unset: &[&str],
    env: &[(&str, String)],
) -> anyhow::Result<u8> {
    let mut command = command(program, args, unset, env);
    super::fs::as_before();
    let child = command.spawn();
    super::fs::make_private();
    let mut child = child.with_context(|| format!("cannot run {program}"))?;
    let handed = interrupt::hand_to(child.id());
    // Looked at before it is taken away: until then its number is nobody else's.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without a number")?;
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
    drop(handed);
    let status = child.wait()?;
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX))
}
