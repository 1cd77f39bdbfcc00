//! The lock of commands that change something in a state folder, and who holds it: others wait for that command, and `status` tells of it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::log::Time;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Events};
use crate::sys::fs::{Unreadable, is_file_or_missing, open_optional};
use crate::sys::interrupt;

/// Its name in the state folder.
const LOCK: &str = "operation.lock";
/// Whoever only looks who holds it has let go of it by then.
const LOOK: Duration = Duration::from_millis(20);

/// Held by a command that changes something.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The command that holds the lock, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What was typed, without its arguments: `ecosystem up`.
    pub command: String,
    pub pid: u32,
    /// When it took the lock, in milliseconds since 1970, UTC.
    pub since_ms: u64,
    /// The services that it starts.
    pub starts: Vec<String>,
}

impl Holder {
    /// How long it has held it, in seconds.
    pub fn seconds(&self) -> u64 {
        now().saturating_sub(self.since_ms) / 1000
    }

    /// When it took it, for people and programs.
    pub fn since(&self) -> String {
        Time::from_seconds(i64::try_from(self.since_ms / 1000).unwrap_or(i64::MAX)).to_the_second()
    }
}

/// Takes the lock for a command that starts these services; waits for the one that holds it, and says for whom.
pub(super) fn take(
    folder: &Utf8Path,
    command: &str,
    starts: &[&str],
    events: &dyn Events,
) -> anyhow::Result<Lock> {
    let path = folder.join(LOCK);
    is_file_or_missing(&path)?;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|error| Unreadable {
        path: path.clone(),
        line: None,
        why: error.to_string(),
    })?;
    if file.try_lock().is_err() {
        interrupt::pause(LOOK, || false)?;
        if file.try_lock().is_err() {
            let holder = read(&mut file)
                .map_or_else(|| "another command".to_owned(), |h| format!("`{}` (pid {})", h.command, h.pid));
            let text = format!("for {holder} in this project to finish");
            events.emit(Event::Fact { title: "Waiting", text });
            crate::sys::fs::lock(&file, &path)?;
        }
    }
    let holder = Holder {
        command: command.to_owned(),
        pid: std::process::id(),
        since_ms: now(),
        starts: starts.iter().map(|name| (*name).to_owned()).collect(),
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(&holder)?)?;
    Ok(Lock { _file: file })
}

/// Who holds the lock; `None` where nobody does, or where that cannot be told.
pub(super) fn holder(folder: &Utf8Path) -> anyhow::Result<Option<Holder>> {
    let path = folder.join(LOCK);
    let Some(mut file) = open_optional(&path)? else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(read(&mut file)),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {path}")),
    }
}

/// What stands there may have been written by another build, or be half-written.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(64 << 10).read_to_end(&mut text).ok()?;
    let holder: Holder = serde_json::from_slice(&text).ok()?;
    (!holder.command.contains(char::is_control)).then_some(holder)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::event::Silent;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Events for Heard {
        fn emit(&self, event: Event) {
            if let Event::Fact { text, .. } = event {
                self.0.lock().unwrap().push(text);
            }
        }
    }

    #[test]
    fn the_lock_names_its_holder_and_who_waits_is_told() {
        let held = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(held.path()).unwrap();
        assert_eq!(holder(folder).unwrap(), None);
        let lock = take(folder, "ecosystem up", &["redis"], &Silent).unwrap();
        let known = holder(folder).unwrap().unwrap();
        assert_eq!((known.command.as_str(), known.pid), ("ecosystem up", std::process::id()));
        assert_eq!((known.starts.as_slice(), known.seconds() < 60), (&["redis".to_owned()][..], true));

        let heard = Heard::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| take(folder, "ecosystem down", &[], &heard).map(drop));
            while heard.0.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            drop(lock);
            waits.join().unwrap().unwrap();
        });
        let told = format!("for `ecosystem up` (pid {}) in this project to finish", std::process::id());
        assert_eq!(*heard.0.lock().unwrap(), [told]);
        assert_eq!(holder(folder).unwrap(), None, "what a former holder wrote says nothing");
    }

    #[test]
    fn a_lock_of_another_build_is_held_by_somebody() {
        let held = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(held.path()).unwrap();
        let mut file = File::create(folder.join(LOCK)).unwrap();
        file.write_all(b"`up` (pid 7)").unwrap();
        file.lock().unwrap();
        assert_eq!(holder(folder).unwrap(), None);
    }
}
