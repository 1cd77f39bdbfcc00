//! Logs of processes, as the supervisor keeps them: a line at every start and end, and never much longer than their limit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8Path;
use ecosystem_core::marker;
use ecosystem_core::process::Process;

/// How often the size of logs is looked at, and while one of them floods.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_IN_FLOOD: Duration = Duration::from_millis(100);

/// Writes the line that says that a process was started now.
pub(super) fn mark(log: &File, id: &str, pid: u32) -> std::io::Result<()> {
    write_line(log, marker::line(id, pid, now()))
}

/// Writes the line that says that a process has ended now, and how.
pub(super) fn mark_end(process: &Process, how: &str) {
    let marked = match File::options().read(true).append(true).open(&process.log) {
        Ok(log) => write_line(&log, marker::end_line(&process.id(), how, now())),
        // Somebody has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = marked {
        let _nowhere_else = writeln!(std::io::stderr(), "cannot mark the end in {}: {error}", process.log);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn write_line(mut log: &File, mut line: String) -> std::io::Result<()> {
    line.push('\n');
    // What was written before may have ended in the middle of a line.
    if log.metadata()?.len() > 0 {
        let mut last = [0];
        log.seek(SeekFrom::End(-1))?;
        log.read_exact(&mut last)?;
        if last != *b"\n" {
            line.insert(0, '\n');
        }
    }
    log.write_all(line.as_bytes())
}

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
    let mut file = match File::options().read(true).append(true).open(path) {
        // Somebody has removed it. Said every second, this would fill the log of the supervisor, which nobody cuts.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn log(content: &[u8]) -> (tempfile::NamedTempFile, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = File::options().read(true).append(true).open(file.path()).unwrap();
        writer.write_all(content).unwrap();
        (file, writer)
    }

    fn read(file: &tempfile::NamedTempFile) -> Vec<u8> {
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn a_mark_stands_on_a_line_of_its_own() {
        for (before, expected) in [("", ""), ("whole\n", "whole\n"), ("half", "half\n")] {
            let (file, writer) = log(before.as_bytes());
            mark(&writer, "mail", 7).unwrap();
            let text = String::from_utf8(read(&file)).unwrap();
            assert!(
                text.starts_with(&format!("{expected}=== started mail, pid 7, ")) && text.ends_with("Z\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_newest_half_is_kept_from_the_beginning_of_a_line() {
        let (file, mut writer) = log(b"first line\nsecond line\nthird\n");
        let path = Utf8Path::from_path(file.path()).unwrap();
        assert!(!trim(path, 1_000).unwrap());
        assert!(trim(path, 20).unwrap());
        assert_eq!(read(&file), b"third\n");
        writer.write_all(b"more\n").unwrap();
        assert_eq!(read(&file), b"third\nmore\n", "who appends carries on behind it");
    }

    #[test]
    fn a_log_that_somebody_removed_is_nothing_to_complain_of() {
        assert!(!trim("/nowhere/redis.log".into(), 20).unwrap());
    }

    #[test]
    fn a_line_that_never_ends_is_cut_all_the_same() {
        let (file, _writer) = log(&[b'x'; 100]);
        assert!(trim(Utf8Path::from_path(file.path()).unwrap(), 20).unwrap());
        assert_eq!(read(&file), [b'x'; 10]);
    }
}
