//! The Maven provider: jars by exact coordinates, fetched by `mvn` in one call and checked against the lock before anything uses them.
//!
//! Where artifacts come from is Maven's business: mirrors and proxies of its own configuration apply.

mod pom;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::redact::without_logins;

pub use pom::Gav;

use super::archive;
use super::cause::{self, Cause};
use super::host::{self, Host};
use super::lock::{Pin, changed};
use super::store::{Scratch, Store};
use super::watch::watch;
use crate::event::{Events, Section, Task, Unit};
use crate::sys;
use crate::sys::cmd::{Cmd, Output};

/// Fetches jars.
pub(super) struct Maven<'a> {
    pub(super) store: &'a Store,
    pub(super) host: &'a Host,
    pub(super) events: &'a dyn Events,
    /// Trust what comes and write it down.
    pub(super) relock: bool,
    pub(super) pins: &'a mut BTreeMap<String, Pin>,
}

/// Jars that were fetched and checked. They vanish with this value.
#[derive(Debug)]
pub(super) struct Jars {
    folder: Scratch,
    pins: BTreeMap<Gav, Pin>,
}

impl Jars {
    /// The file of an artifact.
    pub(super) fn path(&self, gav: &Gav) -> Utf8PathBuf {
        self.folder.path().join(gav.file_name())
    }

    /// Its checksum.
    pub(super) fn pin(&self, gav: &Gav) -> Option<&Pin> {
        self.pins.get(gav)
    }
}

impl Maven<'_> {
    /// Fetches all of these in one call: most of the time of a first one goes into Maven's own plugins. What an earlier call brought is
    /// taken from the cache, without Maven.
    pub(super) fn fetch(&mut self, wanted: &BTreeSet<Gav>, title: &str) -> anyhow::Result<Jars> {
        if !self.relock {
            unlocked(wanted, self.pins)?;
        }
        let _guard = self.store.lock("maven", self.events)?;
        let folder = self.store.scratch()?;
        let repository = repository(self.store);
        sys::fs::create_private_dir(&repository)?;
        let absent = if self.relock { wanted.clone() } else { absent(self.store, wanted, self.pins) };
        if !absent.is_empty() {
            self.require()?;
            self.run(&absent, folder.path(), &repository, title)?;
        }
        let mut pins = BTreeMap::new();
        for gav in wanted {
            let file = folder.path().join(gav.file_name());
            if !absent.contains(gav) {
                let cached = repository.join(gav.folder()).join(gav.file_name());
                std::fs::copy(&cached, &file).with_context(|| format!("cannot copy {cached} to {file}"))?;
            }
            let (sha256, size) = archive::sha256(&file)?;
            let pin = Pin { sha256, size };
            self.check(gav, &pin, &file)?;
            pins.insert(gav.clone(), pin);
        }
        Ok(Jars { folder, pins })
    }

    fn run(
        &self,
        wanted: &BTreeSet<Gav>,
        folder: &Utf8Path,
        repository: &Utf8Path,
        title: &str,
    ) -> anyhow::Result<()> {
        let work = self.store.scratch()?;
        let pom = work.path().join("pom.xml");
        sys::fs::write_atomic(&pom, pom::pom(wanted, folder).as_bytes(), 0o600)?;
        let sizes: Option<u64> =
            wanted.iter().map(|gav| self.pins.get(&gav.to_string()).map(|pin| pin.size)).sum();
        let task = Task::start(self.events, Section::Fetch, title);
        // -U: what a mirror did not have an hour ago is asked for again.
        let command = Cmd::new("mvn")
            .args(["-B", "-q", "-U", "-Dstyle.color=never", "-f", pom.as_str()])
            .args([format!("-Dmaven.repo.local={repository}"), "-Dmaven.artifact.threads=8".to_owned()])
            .args([pom::GOAL])
            .cwd(work.path())
            .limit(Duration::from_hours(2));
        let output = watch(command, self.host.stall, &[repository, folder], || {
            let done = wanted.iter().map(|gav| fetched(repository, gav)).sum();
            task.progress(done, sizes, Unit::Bytes);
        })?;
        let what = "fetch what is needed";
        let Some(output) = output else {
            return Err(Cause::Stalled(self.host.stall.as_secs())
                .failure("mvn", what, self.store.root())
                .into());
        };
        if !output.ok() {
            // A page that was taken for a plugin would be in the way for ever.
            let page = forget_pages(repository);
            return Err(failed(&output, page, self.store.root()).into());
        }
        let total = wanted.iter().map(|gav| fetched(repository, gav)).sum();
        task.progress(total, Some(total), Unit::Bytes);
        task.finish(format!("{} jars, {} MB", wanted.len(), total / 1_000_000));
        Ok(())
    }

    fn check(&mut self, gav: &Gav, got: &Pin, file: &Utf8Path) -> anyhow::Result<()> {
        let name = gav.to_string();
        if self.relock {
            self.pins.insert(name, got.clone());
            return Ok(());
        }
        match self.pins.get(&name) {
            Some(pin) if pin == got => Ok(()),
            locked => {
                // Maven would hand out the same bytes again.
                let _gone = std::fs::remove_dir_all(repository(self.store).join(gav.folder()));
                if archive::is_page(file) {
                    let page = Cause::Page("the Maven mirror of this machine".to_owned());
                    return Err(page.failure("mvn", &format!("fetch {name}"), self.store.root()).into());
                }
                Err(changed(&name, locked, got, "Maven mirror of this machine (~/.m2/settings.xml)").into())
            }
        }
    }

    fn require(&self) -> Result<(), Failure> {
        if self.host.find("mvn").is_some() {
            return Ok(());
        }
        let line = self.host.family().install("maven", "maven", "maven");
        Err(host::missing("mvn", "PostgreSQL and OpenSearch", line))
    }
}

/// Refuses what the lock does not know, all of it at once, before anything is fetched.
fn unlocked(wanted: &BTreeSet<Gav>, pins: &BTreeMap<String, Pin>) -> Result<(), Failure> {
    let missing: Vec<String> =
        wanted.iter().map(ToString::to_string).filter(|name| !pins.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("ecosystem.lock has no checksum for {}", missing.join(", "));
    Err(Failure::new(Kind::Manifest, "artifact-unlocked", message)
        .hint("`cargo xtask provision --relock` fetches them once and writes their checksums down"))
}

/// Maven's repository in the store: what was fetched stays there until everything is built from it.
fn repository(store: &Store) -> Utf8PathBuf {
    store.root().join("cache/maven")
}

/// Those of these that the cache does not have with the bytes of the lock.
pub(super) fn absent(store: &Store, wanted: &BTreeSet<Gav>, pins: &BTreeMap<String, Pin>) -> BTreeSet<Gav> {
    let cached = |gav: &&Gav| {
        let file = repository(store).join(gav.folder()).join(gav.file_name());
        let Some(pin) = pins.get(&gav.to_string()) else { return false };
        std::fs::metadata(&file).is_ok_and(|meta| meta.len() == pin.size)
            && archive::sha256(&file).is_ok_and(|(sha256, _)| sha256 == pin.sha256)
    };
    wanted.iter().filter(|gav| !cached(gav)).cloned().collect()
}

/// Bytes of an artifact in Maven's repository, half-fetched ones too.
fn fetched(repository: &Utf8Path, gav: &Gav) -> u64 {
    let entries = std::fs::read_dir(repository.join(gav.folder())).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.contains(".jar") && !name.ends_with(".sha1")
        })
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

/// Removes every folder of the repository that holds a page instead of a file, and jars that are none. Whether there was a page.
fn forget_pages(folder: &Utf8Path) -> bool {
    let mut page = false;
    for entry in folder.read_dir_utf8().into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            page |= forget_pages(path);
        } else if archive::is_page(path) {
            page = true;
            let _gone = std::fs::remove_dir_all(folder);
        } else if path.extension() == Some("jar") && zip_damaged(path) {
            let _gone = std::fs::remove_dir_all(folder);
        }
    }
    page
}

fn zip_damaged(file: &Utf8Path) -> bool {
    std::fs::File::open(file).is_ok_and(|file| zip::ZipArchive::new(file).is_err())
}

fn failed(output: &Output, page: bool, store: &Utf8Path) -> Failure {
    // The address of a mirror may hold a login.
    let text = without_logins(&format!("{}\n{}", output.stdout, output.stderr));
    let what = "fetch what is needed";
    if page {
        return Cause::Page("the Maven mirror of this machine".to_owned()).failure("mvn", what, store);
    }
    // Escape sequences may stand before the mark, whatever Maven was told.
    let errors: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once("[ERROR] ")?.1.trim())).collect();
    let first = errors.first().map(|first| first.split(" -> [Help").next().unwrap_or(first));
    if let Some(cause) = cause::of(&text) {
        let failure = cause.failure("mvn", what, store);
        // Maven's own words name the artifact.
        let artifact = first.and_then(|first| first.split_once("artifact ")).map(|(_, rest)| rest);
        let artifact =
            artifact.and_then(|rest| rest.split([' ', ',']).next()).filter(|name| name.contains(':'));
        return match artifact {
            Some(name) => Failure { message: format!("{} ({name})", failure.message), ..failure },
            None => failure,
        };
    }
    let reason = match first {
        _ if output.timed_out => "it took longer than 2 hours".to_owned(),
        Some(first) => first.to_owned(),
        None => format!("it ended with status {}\n{}", output.status, text.trim()),
    };
    Failure::new(Kind::Host, "maven-failed", format!("mvn could not {what}: {reason}"))
        .hint("is this machine online? Behind a proxy, Maven reads ~/.m2/settings.xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_not_locked_is_named_before_a_fetch() {
        let wanted: BTreeSet<Gav> =
            ["a:b:1", "c:d:2", "e:f:3"].into_iter().map(|gav| Gav::parse(gav).unwrap()).collect();
        let pins = BTreeMap::from([("c:d:2".to_owned(), Pin { sha256: String::new(), size: 0 })]);
        let failure = unlocked(&wanted, &pins).unwrap_err();
        assert_eq!(failure.code, "artifact-unlocked");
        assert_eq!(failure.message, "ecosystem.lock has no checksum for a:b:1, e:f:3");
    }

    #[test]
    fn other_bytes_are_refused_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let gav = Gav::parse("org.x:y:1").unwrap();
        let cached = root.join("cache/maven").join(gav.folder()).join(gav.file_name());
        sys::fs::write_atomic(&cached, b"evil", 0o600).unwrap();
        let store = Store::at(root);
        let mut pins = BTreeMap::from([("org.x:y:1".to_owned(), Pin { sha256: "aa".into(), size: 4 })]);
        let host = Host::default();
        let mut maven = Maven {
            store: &store,
            host: &host,
            events: &crate::event::Silent,
            relock: false,
            pins: &mut pins,
        };
        let got = Pin { sha256: "bb".into(), size: 4 };
        let error = maven.check(&gav, &got, &cached).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().code, "artifact-changed");
        assert!(!cached.exists());

        maven.relock = true;
        maven.check(&gav, &got, &cached).unwrap();
        assert_eq!(pins["org.x:y:1"], got);
    }

    #[test]
    fn a_login_in_the_address_of_a_mirror_is_not_told() {
        for said in
            ["Premature end of Content-Length delimited message body", "Connection refused", "something new"]
        {
            let stdout = format!(
                "[ERROR] Failed to execute goal x: Could not transfer artifact a:b:jar:1 from/to central (http://me:hunter2@h:1): {said} -> [Help 1]"
            );
            let output = Output { status: 1, stdout, stderr: String::new(), timed_out: false };
            let message = failed(&output, false, "/s".into()).message;
            assert!(message.contains("http://<redacted>@h:1") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_missing_client_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(Utf8Path::from_path(folder.path()).unwrap());
        let host = Host::default();
        let mut pins = BTreeMap::new();
        let mut maven = Maven {
            store: &store,
            host: &host,
            events: &crate::event::Silent,
            relock: true,
            pins: &mut pins,
        };
        let wanted = BTreeSet::from([Gav::parse("a:b:1").unwrap()]);
        let error = maven.fetch(&wanted, "x").unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().code, "package-client-missing");
    }
}
