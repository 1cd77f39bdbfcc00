//! Logs that servers append to by themselves, kept within their limits.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use camino::Utf8Path;
use ecosystem_core::process::Process;

/// How often the size of logs is looked at, and while one of them floods.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_IN_FLOOD: Duration = Duration::from_millis(100);

/// Cuts logs that have outgrown their limit to their newest half. Returns when to look again: soon, while one grows fast.
pub(super) fn trim_all<'a>(processes: impl Iterator<Item = &'a Process>) -> Duration {
    let limits: BTreeMap<&Utf8Path, u64> =
        processes.map(|process| (process.log.as_path(), process.log_limit)).collect();
    let mut next = PERIOD;
    for (path, limit) in limits {
        match trim(path, limit) {
            Ok(true) => next = PERIOD_IN_FLOOD,
            Ok(false) => {}
            Err(error) => {
                let _nowhere_else = writeln!(std::io::stderr(), "cannot trim {path}: {error}");
            }
        }
    }
    next
}

/// Keeps the newest half of a log that is longer than its limit. Writers append, so they carry on behind what is kept.
fn trim(path: &Utf8Path, limit: u64) -> std::io::Result<bool> {
    let mut file = std::fs::File::options().read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    if length <= limit {
        return Ok(false);
    }
    let keep = usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(keep);
    file.seek(SeekFrom::Start(length - limit / 2))?;
    Read::by_ref(&mut file).take(limit / 2).read_to_end(&mut bytes)?;
    let line = bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    file.set_len(0)?;
    file.write_all(&bytes[line..])?;
    Ok(true)
}
