//! The log files of a place: their ends, and what is written from then on.
//!
//! The supervisor cuts a log to its newest half when it has become too long. A reader that goes on notices this by the bytes before the place
//! where it stopped, and finds that place again.

use std::io::{Read, Seek, SeekFrom};
use std::time::UNIX_EPOCH;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::log::{Level, Line, Reader, Time, started};

use crate::sys::fs::open_optional;

/// Enough to know the place again where reading stopped.
const ANCHOR: usize = 256;
/// Read at once while going on. More is read the next time.
const CHUNK: u64 = 1 << 20;

/// A log, read from some point on.
#[derive(Debug)]
pub struct Log {
    /// The name of the file without its ending: `redis`, `rabbitmq-epmd`.
    pub name: String,
    path: Utf8PathBuf,
    reader: Reader,
    /// Where to go on.
    next: u64,
    /// The bytes before.
    anchor: Vec<u8>,
    /// The place could not be found the last time, maybe because the log was just being cut.
    lost: bool,
}

/// The logs in a state folder, by name. The supervisor's own is one of them.
pub fn logs(state: &Utf8Path) -> Vec<Log> {
    let entries = state.join("logs").read_dir_utf8().into_iter().flatten().flatten();
    let mut logs: Vec<Log> = entries
        .filter_map(|entry| {
            let name = entry.file_name().strip_suffix(".log")?.to_owned();
            Some(Log::new(name, entry.path().to_owned()))
        })
        .collect();
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    logs
}

/// The first thing that went wrong since the last start, in the words of these logs; the last one, where starts are not marked.
pub fn first_error<'a>(files: impl IntoIterator<Item = &'a Utf8Path>) -> Option<String> {
    files.into_iter().find_map(|file| {
        let mut log = Log::new(String::new(), file.to_owned());
        let lines = log.end(CHUNK).ok()?;
        let start = lines.iter().rposition(|line| started(&line.text).is_some());
        let mut errors =
            lines[start.unwrap_or(0)..].iter().filter(|line| line.head && line.level >= Some(Level::Error));
        let error = if start.is_some() { errors.next() } else { errors.next_back() };
        error.map(|line| line.text.clone())
    })
}

impl Log {
    fn new(name: String, path: Utf8PathBuf) -> Self {
        Self { name, path, reader: Reader::default(), next: 0, anchor: Vec::new(), lost: false }
    }

    /// The lines in the last `limit` bytes. [`Log::more`] goes on behind them.
    pub fn end(&mut self, limit: u64) -> anyhow::Result<Vec<Line>> {
        let Some(mut file) = open_optional(&self.path)? else {
            return Ok(Vec::new());
        };
        let start = file.metadata()?.len().saturating_sub(limit);
        let mut bytes = read(&mut file, start, limit)?;
        if start > 0 {
            let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..whole);
            self.next = start + whole as u64;
        }
        let mut lines = self.take(&bytes);
        if lines.iter().all(|line| line.at.is_none()) {
            // A log that knows no time is as old as its last line.
            let changed = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let at = i64::try_from(changed.as_secs()).ok().map(Time::from_seconds);
            for line in &mut lines {
                line.at = at;
            }
        }
        Ok(lines)
    }

    /// The whole lines that were written since. A log that is gone has none.
    pub fn more(&mut self) -> anyhow::Result<Vec<Line>> {
        let Some(mut file) = open_optional(&self.path)? else {
            return Ok(Vec::new());
        };
        let before = self.anchor.len() as u64;
        if read(&mut file, self.next.saturating_sub(before), before)? != self.anchor {
            let all = read(&mut file, 0, u64::MAX)?;
            let found = all.windows(self.anchor.len()).rposition(|window| window == self.anchor);
            if found.is_none() && !self.lost {
                self.lost = true;
                return Ok(Vec::new());
            }
            self.next = found.map_or(0, |at| (at + self.anchor.len()) as u64);
        }
        self.lost = false;
        let bytes = read(&mut file, self.next, CHUNK)?;
        Ok(self.take(&bytes))
    }

    /// Takes whole lines from bytes that stand at the place where reading stopped.
    fn take(&mut self, bytes: &[u8]) -> Vec<Line> {
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = &bytes[..end];
        self.next += end as u64;
        self.anchor.extend_from_slice(&whole[end.saturating_sub(ANCHOR)..]);
        self.anchor.drain(..self.anchor.len().saturating_sub(ANCHOR));
        self.reader.lines(&String::from_utf8_lossy(whole))
    }
}

fn read(file: &mut std::fs::File, from: u64, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Server(tempfile::TempDir);

    impl Server {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("logs")).unwrap();
            Self(folder)
        }

        fn write(&self, text: &str) {
            let mut options = std::fs::File::options();
            let file = options.append(true).create(true).open(self.0.path().join("logs/redis.log"));
            file.unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn cut(&self, from: usize) {
            let path = self.0.path().join("logs/redis.log");
            let text = std::fs::read(&path).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
            self.write(std::str::from_utf8(&text[from..]).unwrap());
        }

        fn log(&self) -> Log {
            logs(Utf8Path::from_path(self.0.path()).unwrap()).remove(0)
        }
    }

    fn texts(lines: anyhow::Result<Vec<Line>>) -> Vec<String> {
        lines.unwrap().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_end_begins_with_a_whole_line_and_more_goes_on_with_whole_ones() {
        let server = Server::new();
        server.write("first\nsecond\nthi");
        let mut log = server.log();
        assert_eq!(texts(log.end(12)), ["second"]);
        assert_eq!(texts(log.more()), [""; 0]);
        server.write("rd\nfourth");
        assert_eq!(texts(log.more()), ["third"]);
    }

    #[test]
    fn a_log_that_is_cut_is_neither_repeated_nor_lost() {
        let server = Server::new();
        server.write("1\n2\n3\n4\n");
        let mut log = server.log();
        assert_eq!(log.end(1_000).unwrap().len(), 4);
        let mut log = Log { anchor: b"4\n".to_vec(), ..log };
        server.write("5\n");
        server.cut(4);
        assert_eq!(texts(log.more()), ["5"]);
        // Cut, and longer than before by the time somebody looks.
        log.anchor = b"5\n".to_vec();
        server.cut(4);
        server.write("6\n7\n8\n9\n");
        assert_eq!(texts(log.more()), ["6", "7", "8", "9"]);
    }

    #[test]
    fn another_log_under_the_same_name_is_read_from_its_beginning() {
        let server = Server::new();
        server.write("old 1\nold 2\n");
        let mut log = server.log();
        log.end(1_000).unwrap();
        server.cut(12);
        // In the middle of being cut it looks the same: only a second look is believed.
        assert_eq!(texts(log.more()), [""; 0]);
        server.write("new\n");
        assert_eq!(texts(log.more()), ["new"]);
    }

    #[test]
    fn the_first_error_since_the_last_start_is_the_cause() {
        let server = Server::new();
        let log = Utf8Path::from_path(server.0.path()).unwrap().join("logs/redis.log");
        let first_error = || super::first_error([log.as_path()]);
        server.write(
            "2026-11-24 22:09:01.1 GMT [1] FATAL:  old\n2026-11-24 22:09:01.1 GMT [1] FATAL:  newer\n",
        );
        assert_eq!(first_error().unwrap(), "2026-11-24 22:09:01.1 GMT [1] FATAL:  newer");
        server.write("=== started redis, pid 7, 2026-11-24T22:10:00Z\n");
        assert_eq!(first_error(), None);
        server.write("*** FATAL CONFIG FILE ERROR ***\n2026-11-24 22:10:01.1 GMT [1] FATAL:  follows\n");
        assert_eq!(first_error().unwrap(), "*** FATAL CONFIG FILE ERROR ***");
        assert_eq!(super::first_error([log.with_file_name("red.log").as_path()]), None);
    }

    #[test]
    fn a_log_without_times_is_as_old_as_its_file() {
        let server = Server::new();
        server.write("plain\n");
        assert!(server.log().end(100).unwrap()[0].at.unwrap() > Time::from_seconds(1_700_000_000));
    }
}
