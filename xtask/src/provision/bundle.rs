//! Bundles: what a project needs from the store in one file, for machines without a network. The format, writing and reading.
//!
//! A tar archive. Its first member, `bundle.json`, lists every file with its SHA-256; the others follow in the order of the list. It is not
//! compressed: jars are already, and xz takes half a minute of a classroom's time to save 90 of 190 MB.

mod read;
mod write;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::Installed;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Service;
use serde::{Deserialize, Serialize};

use super::cause::explain;
use super::debian::{self, Overlay};
use super::host::Host;
use super::provisioner::{DERIVED, Provisioner};
use super::store::{Record, Store};
use super::want::{Want, wants};
use crate::event::{Event, Silent};

/// Changes when older programs cannot read what newer ones write.
const FORMAT: u32 = 1;

/// The first member.
const LIST: &str = "bundle.json";

/// What is in a bundle.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    format: u32,
    platform: Platform,
    /// Package versions by their name in the lock: with another lock file they would not be looked for.
    resolved: BTreeMap<String, Vec<String>>,
    entries: Vec<Entry>,
}

/// For what machines it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Platform {
    system: String,
    machine: String,
    /// Packages of one Debian release do not fit another.
    suite: String,
}

/// A folder of the store.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    folder: String,
    record: Record,
    members: Vec<Member>,
}

/// Something in a folder of the store. Folders come before what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    path: Utf8PathBuf,
    #[serde(flatten)]
    kind: MemberKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum MemberKind {
    Folder,
    File { size: u64, executable: bool, sha256: String },
    Link { target: Utf8PathBuf },
}

/// What was written or taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bundled {
    pub entries: Vec<BundledEntry>,
    /// The size of the bundle itself.
    pub bytes: u64,
    /// Of the bundle itself: with it one can tell that a copy is the same.
    pub sha256: String,
}

/// One thing in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundledEntry {
    pub name: String,
    pub version: String,
    pub files: u64,
    pub bytes: u64,
    /// It was in the store already.
    pub present: bool,
}

/// Takes a bundle over into a store of its own, as an x86-64 Debian 12 without a project would.
pub fn unbundle(store: &Utf8Path, file: &Utf8Path) -> anyhow::Result<Bundled> {
    let here =
        Platform { system: "linux".to_owned(), machine: "x86_64".to_owned(), suite: "bookworm".to_owned() };
    read::adopt(&Store::at(store), file, &here, &BTreeMap::new(), &Silent).map(|(bundled, _)| bundled)
}

impl BundledEntry {
    fn of(entry: &Entry, present: bool) -> Self {
        let sizes = entry.members.iter().filter_map(|member| match member.kind {
            MemberKind::File { size, .. } => Some(size),
            _ => None,
        });
        Self {
            name: entry.record.installed.name.clone(),
            version: entry.record.installed.version.clone(),
            files: sizes.clone().count() as u64,
            bytes: sizes.sum(),
            present,
        }
    }
}

fn invalid(file: &Utf8Path, why: impl std::fmt::Display) -> anyhow::Error {
    Failure::new(Kind::Host, "bundle-invalid", format!("{file} is not a whole bundle: {why}"))
        .hint(
            "copy it again, and compare its SHA-256 with the one that `{program} provision --bundle` printed",
        )
        .into()
}

fn platform(host: &Host) -> anyhow::Result<Platform> {
    Ok(Platform {
        system: std::env::consts::OS.to_owned(),
        machine: std::env::consts::ARCH.to_owned(),
        suite: host.suite()?.unwrap_or_default(),
    })
}

impl Provisioner<'_> {
    /// Writes what these services need into a file, after getting what is missing. What is made on a machine from it (template, class
    /// archive) is made again where it is used; things of this machine do not travel.
    pub fn bundle(&mut self, services: &[&Service], file: &Utf8Path) -> anyhow::Result<Bundled> {
        if file.exists() {
            return Err(Failure::new(Kind::Usage, "file-exists", format!("{file} is there already"))
                .hint("name another file, or remove it")
                .into());
        }
        let installed = self.travelling(services)?;
        let (suite, overlay) = (self.host.suite()?.unwrap_or_default(), Overlay::load(&self.store())?);
        let mut resolved = BTreeMap::new();
        for recipe in debian::ALL {
            let name = debian::lock_name(recipe, &suite);
            let pins = overlay.over(&name, self.lock.debian.get(&name));
            if let Some(pins) = pins.filter(|_| installed.contains_key(recipe.name)) {
                resolved.insert(name, pins);
            }
        }
        let platform = platform(&self.host)?;
        let store = self.store();
        let list = write::list(&store, installed.into_values(), platform, resolved)
            .map_err(|error| explain(error, self.store))?;
        write::write(&store, &list, file, self.events).map_err(|error| match file.parent() {
            Some(folder) => explain(error, folder),
            None => error,
        })
    }

    /// By name, what these services need and what can be used elsewhere.
    fn travelling(&mut self, services: &[&Service]) -> anyhow::Result<BTreeMap<String, Installed>> {
        let mut installed = BTreeMap::new();
        let mut java = None;
        for (service, have) in self.provide(services)? {
            for (name, thing) in have {
                let of_host = thing.facts.paths.values().any(|path| !path.starts_with(&thing.root));
                if of_host && name == "java" {
                    java = Some(service.clone());
                } else if of_host {
                    self.events.emit(Event::Warning(format!(
                        "{name} of {service} is this machine's own and does not go into the bundle"
                    )));
                } else if !DERIVED.iter().any(|(derived, _)| *derived == name) {
                    installed.insert(name, thing);
                }
            }
        }
        // This machine's Java stays here, and the next machine may have none.
        if let Some(service) = java
            && let Some(thing) = self.java(&service)?
        {
            installed.insert("java".to_owned(), thing);
        }
        Ok(installed)
    }

    fn java(&mut self, service: &str) -> anyhow::Result<Option<Installed>> {
        let (store, suite) = (self.store(), self.host.suite()?.unwrap_or_default());
        let overlay = Overlay::load(&store)?;
        let id = self.id(&Want::Packages(&debian::JAVA), &suite, &overlay)?;
        if let Some(found) = id.map(|id| store.read(&id)).transpose()?.flatten() {
            return Ok(Some(found));
        }
        if self.offline || self.host.find("apt-get").is_none() {
            self.events.emit(Event::Warning(
                "the bundle has no Java: machines that use it need Java 17 to 23 of their own".to_owned(),
            ));
            return Ok(None);
        }
        let service = service.to_owned();
        let got = self.fetch(&store, &suite, overlay, &[(&service, &debian::JAVA)], &[], &[]);
        Ok(got.map_err(|error| explain(error, self.store))?.pop().map(|(_, java)| java))
    }

    /// Takes what a bundle holds into the store, after checking all of it. Without apt, Maven and network.
    pub fn adopt(&mut self, services: &[&Service], file: &Utf8Path) -> anyhow::Result<Bundled> {
        let store = self.store();
        let _in_use = store.in_use()?;
        let here = platform(&self.host)?;
        let (bundled, resolved) = read::adopt(&store, file, &here, &self.lock.maven, self.events)
            .map_err(|error| explain(error, self.store))?;
        // Otherwise packages of other versions than the lock's would lie there unused.
        for service in services {
            for want in wants(service, &self.host)? {
                let Want::Packages(recipe) = want else { continue };
                let name = debian::lock_name(recipe, &here.suite);
                if let Some(pins) = resolved.get(&name) {
                    self.substitute(&store, &name, pins)?;
                }
            }
        }
        Ok(bundled)
    }

    fn substitute(&self, store: &super::Store, name: &str, pins: &[String]) -> anyhow::Result<()> {
        let locked = self.lock.debian.get(name);
        if Overlay::load(store)?.over(name, locked).as_deref() == Some(pins) {
            return Ok(());
        }
        let _guard = store.lock("apt", self.events)?;
        if locked.is_some() {
            self.events.emit(Event::Warning(format!(
                "the bundle has other package versions of {name} than ecosystem.lock; they are used instead"
            )));
        }
        debian::substitute(store, name, locked.cloned().unwrap_or_default(), pins)
    }
}

/// The machine in words.
impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suite = if self.suite.is_empty() { "no Debian release" } else { &self.suite };
        write!(f, "{} on {} ({suite})", self.system, self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_back_the_same() {
        let member = |path: &str, kind| Member { path: path.into(), kind };
        let members = vec![
            member("bin", MemberKind::Folder),
            member("bin/x", MemberKind::File { size: 1, executable: true, sha256: "ab".into() }),
            member("bin/y", MemberKind::Link { target: "x".into() }),
        ];
        let text = serde_json::to_string(&members).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Member>>(&text).unwrap(), members);
    }
}
