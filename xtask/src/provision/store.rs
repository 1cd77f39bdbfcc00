//! The per-user store: content-addressed folders that appear whole or not at all. It knows neither registries nor services.
//!
//! `<store>/<name>-<version>-<key>/` with a sidecar `installed.json`; builds happen in `<store>/tmp/<random>` and are renamed.
//! Advisory locks order two provisioners that want the same thing at once: one works, the other finds it done.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Events};
use crate::sys;

/// Where a thing is, or will be, in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub name: String,
    pub version: String,
    pub key: Key,
}

impl Id {
    /// `redis-7.0.15-0123456789abcdef`.
    pub fn folder(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '_' };
        let version: String = self.version.chars().map(safe).collect();
        format!("{}-{version}-{}", self.name, self.key)
    }
}

/// One of the files that a thing was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub sha256: String,
}

/// What a build hands over: facts with paths relative to its folder, where they lie in it.
#[derive(Debug, Default)]
pub struct Built {
    /// What the program says of itself, where the id could not know.
    pub version: Option<String>,
    pub facts: Facts,
    pub sources: Vec<Source>,
}

/// `installed.json`. Paths inside the folder are relative: a store may be moved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) installed: Installed,
    pub(super) sources: Vec<Source>,
    /// What lay beside this file when it was written; unknown of what older versions built.
    #[serde(default)]
    pub(super) extent: Option<Extent>,
}

/// How much there is in a folder: enough to notice that something was deleted or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// The name of the file that makes a folder of the store whole.
pub(super) const RECORD: &str = "installed.json";

/// Held shared by whoever uses what is in the store, alone by whoever removes from it.
pub(super) const WHOLE_STORE: &str = "store";

/// A per-user folder of installed things.
#[derive(Debug, Clone)]
pub struct Store {
    root: Utf8PathBuf,
    /// Whether what is there is counted before it is used.
    thorough: bool,
}

/// An exclusive lock of the store, released when dropped or when the process dies.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

/// A folder below `tmp`, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: Utf8PathBuf,
    // Held for life: a folder without a holder belongs to a process that died.
    _lock: File,
}

impl Scratch {
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a successful build it has been renamed. Left-overs are cleaned by the next run.
        let _gone = std::fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// A store at this path. Nothing is read or written yet.
    pub fn at(root: &Utf8Path) -> Self {
        Self { root: root.to_owned(), thorough: false }
    }

    /// The same store; where `thorough`, what is in it is counted before it is used.
    #[must_use]
    pub fn thorough(self, thorough: bool) -> Self {
        Self { thorough, ..self }
    }

    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// What is installed under this id, as far as it is whole. One read and a look at what it names.
    pub fn read(&self, id: &Id) -> anyhow::Result<Option<Installed>> {
        let folder = self.root.join(id.folder());
        match self.record(&folder)? {
            Ok(record) => Ok(Some(absolute(record.installed, &folder))),
            Err(_) => Ok(None),
        }
    }

    /// What stands in the record of a folder, or what is wrong with it.
    pub(super) fn record(&self, folder: &Utf8Path) -> anyhow::Result<Result<Record, Damage>> {
        let path = folder.join(RECORD);
        let text = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Err(if folder.exists() { Damage::NoRecord } else { Damage::Absent }));
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Err(Damage::NoFolder)),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { return Ok(Err(Damage::Unreadable)) };
        let mut gone = None;
        each_path(&mut absolute(record.installed.clone(), folder).facts, |path| {
            if gone.is_none() && !path.exists() {
                gone = Some(path.clone());
            }
        });
        if let Some(gone) = gone {
            return Ok(Err(Damage::Lacks(gone)));
        }
        if self.thorough && record.extent.is_some_and(|extent| extent != extent_of(folder)) {
            return Ok(Err(Damage::Parts));
        }
        Ok(Ok(record))
    }

    fn lock_file(&self, name: &str) -> anyhow::Result<(File, Utf8PathBuf)> {
        let folder = self.root.join("locks");
        sys::fs::create_private_dir(&folder)?;
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok((file, path))
    }

    /// Keeps others from removing anything while the guard lives. `None` where nothing can be locked, as in a store that is only read.
    pub fn in_use(&self) -> anyhow::Result<Option<Guard>> {
        let Ok((file, path)) = self.lock_file(WHOLE_STORE) else { return Ok(None) };
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Some(Guard { _file: file })),
                Err(TryLockError::WouldBlock) => {
                    sys::interrupt::pause(std::time::Duration::from_millis(20), || false)?;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {path}"));
                }
            }
        }
    }

    /// A lock of this name if nobody holds it.
    pub(super) fn try_lock(&self, name: &str) -> anyhow::Result<Option<Guard>> {
        let (file, path) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Guard { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {path}")),
        }
    }

    /// Waits for an exclusive lock of this name, and says so if somebody else has it.
    pub fn lock(&self, name: &str, events: &dyn Events) -> anyhow::Result<Guard> {
        let (file, path) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = "another command is at work in the store; waiting for it";
                events.emit(Event::Warning(text.to_owned()));
                sys::fs::lock(&file, &path)?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {path}"));
            }
        }
        Ok(Guard { _file: file })
    }

    /// A fresh folder below `tmp`; folders of processes that died are removed first.
    pub fn scratch(&self) -> anyhow::Result<Scratch> {
        let folder = self.root.join("tmp");
        sys::fs::create_private_dir(&folder)?;
        // Between making a folder and locking it, it looks like a dead one.
        let _order = self.lock("tmp", &crate::event::Silent)?;
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let path = entry?.path();
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                let _gone = std::fs::remove_dir_all(&path);
            }
        }
        let path = tempfile::Builder::new()
            .prefix("b")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&folder)
            .with_context(|| format!("cannot write below {folder}"))?
            .keep();
        let lock = File::open(&path)?;
        lock.lock()?;
        Ok(Scratch { path: sys::fs::utf8(path)?, _lock: lock })
    }

    /// What is installed under this id, built first if it is not. `make` fills an empty folder.
    pub fn ensure(
        &self,
        id: &Id,
        events: &dyn Events,
        make: impl FnOnce(&Utf8Path) -> anyhow::Result<Built>,
    ) -> anyhow::Result<Installed> {
        if let Some(installed) = self.read(id)? {
            return Ok(installed);
        }
        let folder = id.folder();
        let _guard = self.lock(&folder, events)?;
        if let Some(installed) = self.read(id)? {
            return Ok(installed);
        }
        let target = self.root.join(&folder);
        match self.record(&target)? {
            Ok(_) | Err(Damage::Absent) => {}
            Err(damage) => {
                events.emit(Event::Warning(format!("{target} is damaged: {damage}; it is made again")));
            }
        }
        let scratch = self.scratch()?;
        let built = make(scratch.path())?;
        let installed = Installed {
            name: id.name.clone(),
            version: built.version.unwrap_or_else(|| id.version.clone()),
            key: id.key.clone(),
            root: Utf8PathBuf::new(),
            facts: relative(built.facts, scratch.path()),
        };
        let extent = Some(extent_of(scratch.path()));
        let record = Record { installed: installed.clone(), sources: built.sources, extent };
        publish(&scratch, &record, &target)?;
        Ok(absolute(installed, &target))
    }
}

/// Makes a finished folder part of the store, in one step. The caller holds the lock of the target.
pub(super) fn publish(scratch: &Scratch, record: &Record, target: &Utf8Path) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(record)?;
    sys::fs::write_atomic(&scratch.path().join(RECORD), &text, 0o600)?;
    // Unpacking may have given it the mode of the package's top folder.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700))?;
    remove(target)?;
    std::fs::rename(scratch.path(), target).with_context(|| format!("cannot make {target}"))
}

/// What is wrong with a folder of the store. None of these is ever used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Damage {
    /// There is nothing at all.
    Absent,
    /// Something that is no folder.
    NoFolder,
    /// A removal was cut short, or somebody else made it.
    NoRecord,
    Unreadable,
    Lacks(Utf8PathBuf),
    /// Files are missing or have another size.
    Parts,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("it is not there"),
            Self::NoFolder => f.write_str("it is no folder"),
            Self::NoRecord => write!(f, "it has no {RECORD}"),
            Self::Unreadable => write!(f, "its {RECORD} cannot be read"),
            Self::Lacks(path) => write!(f, "{path} is missing"),
            Self::Parts => f.write_str("files in it are missing or have changed"),
        }
    }
}

/// Removes a folder of the store, or what is in its place. Cut short, it leaves something that nobody takes for whole.
pub(super) fn remove(path: &Utf8Path) -> anyhow::Result<()> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if !meta.is_dir() {
        return std::fs::remove_file(path).with_context(|| format!("cannot remove {path}"));
    }
    let _none = std::fs::remove_file(path.join(RECORD));
    std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {path}"))
}

/// Counts what lies in a folder, but for its record and what Python compiles while it runs. Links are counted and not followed.
pub(super) fn extent_of(folder: &Utf8Path) -> Extent {
    fn count(folder: &Utf8Path, top: bool, extent: &mut Extent) {
        for entry in folder.read_dir_utf8().into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() && entry.file_name() == "__pycache__" => {}
                Ok(meta) if meta.is_dir() => count(entry.path(), false, extent),
                Ok(_) if top && entry.file_name() == RECORD => {}
                Ok(meta) => {
                    extent.files += 1;
                    extent.bytes += if meta.is_symlink() { 0 } else { meta.len() };
                }
                Err(_) => {}
            }
        }
    }
    let mut extent = Extent::default();
    count(folder, true, &mut extent);
    extent
}

/// Paths below `folder` made relative to it; others are left alone.
fn relative(mut facts: Facts, folder: &Utf8Path) -> Facts {
    let strip = |path: &mut Utf8PathBuf| {
        if let Ok(rest) = path.strip_prefix(folder) {
            *path = rest.to_owned();
        }
    };
    each_path(&mut facts, strip);
    facts
}

fn absolute(mut installed: Installed, folder: &Utf8Path) -> Installed {
    // Joining an absolute path yields that path: things of the host stay where they are.
    each_path(&mut installed.facts, |path| {
        *path = if path.as_str().is_empty() { folder.to_owned() } else { folder.join(&*path) };
    });
    folder.clone_into(&mut installed.root);
    installed
}

fn each_path(facts: &mut Facts, mut change: impl FnMut(&mut Utf8PathBuf)) {
    facts.paths.values_mut().for_each(&mut change);
    facts.libraries.iter_mut().for_each(&mut change);
    facts.plugins.values_mut().for_each(|plugin| change(&mut plugin.folder));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::event::Silent;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::Builder::new().prefix("a store ").tempdir().unwrap();
        let store = Store::at(Utf8Path::from_path(folder.path()).unwrap());
        (folder, store)
    }

    fn id() -> Id {
        Id { name: "redis".into(), version: "7.0:1".into(), key: Key::of(["x"]) }
    }

    fn fill(folder: &Utf8Path) -> anyhow::Result<Built> {
        sys::fs::write_atomic(&folder.join("bin/server"), b"x", 0o700)?;
        let mut built = Built::default();
        built.facts.paths.insert("server".into(), folder.join("bin/server"));
        built.facts.paths.insert("host".into(), "/usr/bin/env".into());
        Ok(built)
    }

    #[test]
    fn a_build_appears_whole_and_is_read_back_with_absolute_paths() {
        let (_folder, store) = store();
        assert_eq!(store.read(&id()).unwrap(), None);
        let made = store.ensure(&id(), &Silent, fill).unwrap();
        assert!(made.path("server").exists() && made.path("server").starts_with(store.root()));
        assert_eq!(made.path("host"), "/usr/bin/env");
        assert_eq!(store.read(&id()).unwrap(), Some(made.clone()));
        let again = store.ensure(&id(), &Silent, |_| anyhow::bail!("must not run")).unwrap();
        assert_eq!(again, made);
        assert_eq!(std::fs::metadata(&made.root).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_build_that_fails_leaves_nothing() {
        let (_folder, store) = store();
        let failed = store.ensure(&id(), &Silent, |folder| {
            fill(folder)?;
            anyhow::bail!("no")
        });
        assert!(failed.is_err());
        assert_eq!(store.read(&id()).unwrap(), None);
        assert_eq!(std::fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_damaged_is_never_read_and_made_again() {
        type Do = fn(&Utf8Path);
        let damages: [(Do, Damage); 6] = [
            (|f| std::fs::remove_file(f.join(RECORD)).unwrap(), Damage::NoRecord),
            (
                |f| sys::fs::write_atomic(&f.join(RECORD), b"{\"installed\": {", 0o600).unwrap(),
                Damage::Unreadable,
            ),
            (|f| sys::fs::write_atomic(&f.join(RECORD), &[0xff; 20], 0o600).unwrap(), Damage::Unreadable),
            (|f| std::fs::remove_file(f.join("bin/server")).unwrap(), Damage::Lacks("bin/server".into())),
            (|f| sys::fs::write_atomic(&f.join("bin/other"), b"1234", 0o600).unwrap(), Damage::Parts),
            (
                |f| {
                    std::fs::remove_dir_all(f).unwrap();
                    sys::fs::write_atomic(f, b"a file", 0o600).unwrap();
                },
                Damage::NoFolder,
            ),
        ];
        for (damage, expected) in damages {
            let (_folder, store) = store();
            let store = store.thorough(true);
            let made = store.ensure(&id(), &Silent, fill).unwrap();
            damage(&made.root);
            let found = store.record(&made.root).unwrap().unwrap_err();
            match (&found, &expected) {
                (Damage::Lacks(path), Damage::Lacks(end)) => assert!(path.ends_with(end)),
                _ => assert_eq!(found, expected),
            }
            assert_eq!(store.read(&id()).unwrap(), None);
            assert_eq!(store.ensure(&id(), &Silent, fill).unwrap(), made);
            assert_eq!(store.read(&id()).unwrap(), Some(made));
        }
    }

    #[test]
    fn what_python_compiles_while_it_runs_is_no_damage() {
        let (_folder, store) = store();
        let made = store.ensure(&id(), &Silent, fill).unwrap();
        sys::fs::write_atomic(&made.root.join("lib/__pycache__/m.pyc"), b"x", 0o600).unwrap();
        assert_eq!(store.thorough(true).read(&id()).unwrap().map(|i| i.root), Some(made.root));
    }

    #[test]
    fn two_at_once_do_the_work_once() {
        let (_folder, store) = store();
        let built = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    store
                        .ensure(&id(), &Silent, |folder| {
                            built.fetch_add(1, Ordering::SeqCst);
                            fill(folder)
                        })
                        .unwrap()
                });
            }
        });
        assert_eq!(built.into_inner(), 1);
    }

    #[test]
    fn folders_of_dead_processes_are_removed_and_living_ones_are_not() {
        let (_folder, store) = store();
        let living = store.scratch().unwrap();
        let dead = store.root().join("tmp/bdead");
        std::fs::create_dir(&dead).unwrap();
        let other = store.scratch().unwrap();
        assert!(!dead.exists() && living.path().exists() && other.path().exists());
    }
}
