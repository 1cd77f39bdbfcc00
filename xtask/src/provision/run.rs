//! Running the servers' own programs once, while something is being built: as whom they will run later.

use std::collections::BTreeMap;

use camino::Utf8Path;
use ecosystem_core::process::{Process, RunAs, Signal, Stop};

use crate::sys::launch;

/// A program in a working folder; its output goes to `log` there.
pub(super) fn process(
    argv: &[&str],
    env: BTreeMap<String, String>,
    folder: &Utf8Path,
    run_as: RunAs,
) -> Process {
    Process {
        service: "build".to_owned(),
        name: "build".to_owned(),
        argv: argv.iter().map(ToString::to_string).collect(),
        env,
        cwd: folder.to_owned(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: folder.join("log"),
        log_limit: u64::MAX,
        labels: BTreeMap::new(),
    }
}

/// Runs a program to its end, feeding it `input`.
pub(super) fn run_once(argv: &[&str], folder: &Utf8Path, run_as: RunAs, input: &str) -> anyhow::Result<()> {
    let env = [("PATH", "/usr/bin:/bin"), ("HOME", folder.as_str()), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
    let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    launch::run(&process(argv, env, folder, run_as), input)
}
