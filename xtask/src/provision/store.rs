//! The per-user store: content-addressed folders that appear whole or not at all. It knows neither registries nor services.
//!
//! `<store>/<name>-<version>-<key>/` with a sidecar `installed.json`; builds happen in `<store>/tmp/<random>` and are renamed.
//! Advisory locks order two provisioners that want the same thing at once: one works, the other finds it done.

use std::fs::{File, OpenOptions, TryLockError};
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
#[derive(Serialize, Deserialize)]
struct Record {
    installed: Installed,
    sources: Vec<Source>,
}

/// A per-user folder of installed things.
#[derive(Debug, Clone)]
pub struct Store {
    root: Utf8PathBuf,
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
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// What is installed under this id. One read.
    pub fn read(&self, id: &Id) -> anyhow::Result<Option<Installed>> {
        let folder = self.root.join(id.folder());
        let path = folder.join("installed.json");
        let Some(text) = sys::fs::read_optional(&path)? else { return Ok(None) };
        let record: Record = serde_json::from_str(&text).with_context(|| format!("cannot read {path}"))?;
        Ok(Some(absolute(record.installed, &folder)))
    }

    /// Waits for an exclusive lock of this name, and says so if somebody else has it.
    pub fn lock(&self, name: &str, events: &dyn Events) -> anyhow::Result<Guard> {
        let folder = self.root.join("locks");
        sys::fs::create_private_dir(&folder)?;
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {path}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                events.emit(Event::Warning(format!(
                    "another process is at work in the store ({name}); waiting for it"
                )));
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
        let scratch = self.scratch()?;
        let built = make(scratch.path())?;
        let target = self.root.join(&folder);
        let installed = Installed {
            name: id.name.clone(),
            version: built.version.unwrap_or_else(|| id.version.clone()),
            key: id.key.clone(),
            root: Utf8PathBuf::new(),
            facts: relative(built.facts, scratch.path()),
        };
        let record = Record { installed: installed.clone(), sources: built.sources };
        let text = serde_json::to_vec_pretty(&record)?;
        sys::fs::write_atomic(&scratch.path().join("installed.json"), &text, 0o600)?;
        // Unpacking may have given it the mode of the package's top folder.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700))?;
        if target.exists() {
            // Without its sidecar it is not ours to trust: left by a removal that was cut short.
            std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {target}"))?;
        }
        std::fs::rename(scratch.path(), &target).with_context(|| format!("cannot make {target}"))?;
        Ok(absolute(installed, &target))
    }
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
        built.facts.paths.insert("host".into(), "/usr/bin/java".into());
        Ok(built)
    }

    #[test]
    fn a_build_appears_whole_and_is_read_back_with_absolute_paths() {
        let (_folder, store) = store();
        assert_eq!(store.read(&id()).unwrap(), None);
        let made = store.ensure(&id(), &Silent, fill).unwrap();
        assert!(made.path("server").exists() && made.path("server").starts_with(store.root()));
        assert_eq!(made.path("host"), "/usr/bin/java");
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
