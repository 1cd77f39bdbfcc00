//! Running a package client while its progress is shown, and noticing that nothing arrives any more.

use std::time::{Duration, Instant};

use camino::Utf8Path;

use super::cause::{self, Cause};
use super::host::Host;
use super::store::Store;
use crate::sys::cmd::{Cmd, Output};

/// How often everything that was fetched is counted: a walk through some thousand files.
const COUNT: Duration = Duration::from_secs(1);

/// How long nothing may arrive. A server that is slow but alive sends something within this time.
pub(super) const STALL: Duration = Duration::from_mins(1);

/// Runs a client; calls `tick` a few times a second. The output is `None` where nothing has arrived in `folders` for `stall`.
pub(super) fn watch(
    command: Cmd,
    stall: Duration,
    folders: &[&Utf8Path],
    mut tick: impl FnMut(),
) -> anyhow::Result<Option<Output>> {
    let (mut last, mut since, mut counted) = (0, Instant::now(), Instant::now());
    let mut stalled = false;
    let output = command.leashed().run_while(|| {
        tick();
        if counted.elapsed() >= COUNT.min(stall) {
            counted = Instant::now();
            let now = folders.iter().map(|folder| size(folder)).sum();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        stalled = since.elapsed() >= stall;
        !stalled
    })?;
    Ok((!stalled || output.ok()).then_some(output))
}

/// The same for a client that works in `folder`: one that stalls is an error, and so is one that fails of something that is known by name.
/// What it fails of otherwise is in the output, for the caller to tell.
pub(super) fn fetch(
    client: &str,
    command: Cmd,
    what: &str,
    (host, store): (&Host, &Store),
    folder: &Utf8Path,
    tick: impl FnMut(u64),
) -> anyhow::Result<Output> {
    let mut tick = tick;
    let output = watch(command.cwd(folder), host.stall, &[folder], || tick(size(folder)))?;
    let Some(output) = output else {
        return Err(Cause::Stalled(host.stall.as_secs()).failure(client, what, store.root()).into());
    };
    let said = format!("{}\n{}", output.stdout, output.stderr);
    match cause::of(&said).filter(|_| !output.ok()) {
        Some(cause) => Err(cause.failure(client, what, store.root()).into()),
        None => Ok(output),
    }
}

/// Bytes in all files below a folder. What vanishes meanwhile does not count.
pub(super) fn size(folder: &Utf8Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => entry.path().to_str().map_or(0, |path| size(path.into())),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
