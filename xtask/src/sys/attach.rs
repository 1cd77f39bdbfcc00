//! Becoming another program, with the terminal, the signals and the standard streams that this one has.
//!
//! Nothing of this program stays in between: Ctrl-C, the size of the terminal and the exit status are the other program's own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use camino::Utf8Path;

use super::cmd::LEAKED;

/// Becomes the program, in the person's own environment without what `cargo run` leaks into it and without `unset`, and with `env` on top.
/// Secrets go into `env`, never into `args`. Returns only if it failed.
#[expect(clippy::disallowed_methods, reason = "this program is replaced; nothing is spawned")]
pub fn become_program(
    program: &Utf8Path,
    args: &[String],
    unset: &[&str],
    env: &[(&str, String)],
) -> anyhow::Error {
    let mut command = Command::new(program);
    for name in LEAKED.iter().chain(unset) {
        command.env_remove(name);
    }
    super::fs::as_before();
    let error = command.args(args).envs(env.iter().map(|(name, value)| (name, value))).exec();
    anyhow::Error::new(error).context(format!("cannot run {program}"))
}
