//! The lock that a supervisor holds for life: whether there is one, and which process that is, even where it does not answer.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use crate::sys::fs::open_optional;
use anyhow::Context;
use camino::Utf8Path;

/// Its name in the state folder. It holds the process id.
pub(super) const LOCK: &str = "supervisor.lock";

/// The process id of the supervisor that lives in a state folder, whether it answers or not; `None` where there is none.
pub fn holder(state: &Utf8Path) -> anyhow::Result<Option<u32>> {
    let path = state.join(LOCK);
    let Some(lock) = open_optional(&path)? else { return Ok(None) };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            lock.take(20).read_to_end(&mut text).with_context(|| format!("cannot read {path}"))?;
            // Between taking the lock and writing its number it is about to answer.
            Ok(String::from_utf8_lossy(&text).trim().parse().ok())
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {path}")),
    }
}

/// Takes the lock of the state folder in which this process works. Commands that look who has it hold it for a moment: only what stays
/// is another supervisor.
pub(super) fn take() -> anyhow::Result<File> {
    let mut lock = File::options().create(true).append(true).mode(0o600).open(LOCK)?;
    let begin = Instant::now();
    while lock.try_lock().is_err() {
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(2),
            "another supervisor holds the lock of this place"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}
