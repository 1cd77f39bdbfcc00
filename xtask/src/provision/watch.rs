//! Running a package client while its progress is shown, and noticing that nothing arrives any more.

use std::time::{Duration, Instant};

use camino::Utf8Path;

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
