//! Removing from the store what no known project needs. What is kept is decided by the projects; here is only what is there, what of it runs,
//! and how it goes.

use std::collections::BTreeSet;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Service;
use serde::Serialize;

use super::cause::explain;
use super::debian::{self, Overlay};
use super::provisioner::{DERIVED, Provisioner, derived_id};
use super::store::{self, Guard, Store, WHOLE_STORE};
use super::want::{Want, wants};
use super::watch::size;
use crate::sys;

/// Something that is not needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waste {
    pub path: Utf8PathBuf,
    pub what: What,
    pub bytes: u64,
}

/// Why it is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// No known project needs it.
    Unneeded,
    /// Left by a build that did not finish.
    Unfinished,
    /// Downloads and lists, which a later fetch brings again.
    Cache,
}

/// The store, for nobody else until this goes.
#[derive(Debug)]
pub struct Sweep {
    store: Store,
    _alone: Vec<Guard>,
}

impl Provisioner<'_> {
    /// The folders of the store that these services need, as far as they are there.
    pub fn needed(&self, services: &[&Service]) -> anyhow::Result<BTreeSet<String>> {
        let store = self.store();
        let suite = self.host.suite()?.unwrap_or_default();
        let overlay = Overlay::load(&store)?;
        let mut folders = BTreeSet::new();
        for service in services {
            // What cannot be provided needs nothing.
            let Ok(mut wanted) = wants(service, &self.host) else { continue };
            if wanted.iter().any(|want| matches!(want, Want::HostJava(_))) {
                // Taken where the machine's own Java is not on PATH.
                wanted.push(Want::Packages(&debian::JAVA));
            }
            let mut have = ecosystem_core::artifact::Installation::new();
            let mut javas = Vec::new();
            for want in &wanted {
                let Some(id) = self.id(want, &suite, &overlay)? else { continue };
                folders.insert(id.folder());
                let Some(installed) = store.read(&id)? else { continue };
                if installed.name == "java" {
                    javas.push(installed.clone());
                }
                have.insert(installed.name.clone(), installed);
            }
            for (name, of) in DERIVED {
                if service.kind.name() != of {
                    continue;
                }
                folders.extend(derived_id(name, &have).map(|id| id.folder()));
                for java in &javas {
                    have.insert("java".to_owned(), java.clone());
                    folders.extend(derived_id(name, &have).map(|id| id.folder()));
                }
            }
        }
        Ok(folders)
    }
}

impl Sweep {
    /// Takes every lock of the store. Fails where somebody works in it.
    pub fn begin(root: &Utf8Path) -> anyhow::Result<Self> {
        Self::lock(root).map_err(|error| explain(error, root))
    }

    fn lock(root: &Utf8Path) -> anyhow::Result<Self> {
        let store = Store::at(root);
        let mut names = vec![WHOLE_STORE.to_owned(), "maven".to_owned(), "apt".to_owned(), "tmp".to_owned()];
        for entry in root.join("locks").read_dir_utf8().into_iter().flatten().flatten() {
            if !names.iter().any(|name| name == entry.file_name()) {
                names.push(entry.file_name().to_owned());
            }
        }
        let mut alone = Vec::new();
        for name in names {
            let Some(guard) = store.try_lock(&name)? else {
                let message = format!("another process is at work in the store {root} ({name})");
                return Err(Failure::new(Kind::Host, "store-busy", message)
                    .hint("repeat the command when it has ended")
                    .into());
            };
            alone.push(guard);
        }
        Ok(Self { store, _alone: alone })
    }

    /// What can go: everything but the folders in `keep` and what a process uses.
    pub fn waste(&self, keep: &BTreeSet<String>) -> anyhow::Result<Vec<Waste>> {
        self.find(keep).map_err(|error| explain(error, self.store.root()))
    }

    fn find(&self, keep: &BTreeSet<String>) -> anyhow::Result<Vec<Waste>> {
        let root = self.store.root();
        let used = used_below(root)?;
        let mut waste = Vec::new();
        let mut add = |path: &Utf8Path, what| {
            let bytes = if path.is_dir() { size(path) } else { 0 };
            waste.push(Waste { path: path.to_owned(), what, bytes });
        };
        for path in entries(root)? {
            let name = path.file_name().unwrap_or_default();
            if is_entry(name) && !keep.contains(name) && !used.contains(name) {
                add(&path, What::Unneeded);
            }
        }
        for (folder, what) in [("tmp", What::Unfinished), ("cache", What::Cache)] {
            if used.contains(folder) {
                continue;
            }
            for path in entries(&root.join(folder))? {
                add(&path, what);
            }
        }
        waste.sort_by(|a, b| (a.what, &a.path).cmp(&(b.what, &b.path)));
        Ok(waste)
    }

    /// Removes it. Cut short, it leaves nothing that could be taken for whole.
    pub fn remove(&self, waste: &[Waste]) -> anyhow::Result<()> {
        for item in waste {
            sys::interrupt::check()?;
            store::remove(&item.path).map_err(|error| explain(error, self.store.root()))?;
        }
        Ok(())
    }
}

fn entries(folder: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    match folder.read_dir_utf8() {
        Ok(found) => {
            let found = found.collect::<std::io::Result<Vec<_>>>();
            let found = found.with_context(|| format!("cannot read {folder}"))?;
            Ok(found.into_iter().map(camino::Utf8DirEntry::into_path).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {folder}")),
    }
}

/// `<name>-<version>-<16 hexadecimal digits>`: what this program makes. Anything else is left alone.
fn is_entry(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(rest, key)| {
        rest.contains('-')
            && key.len() == 16
            && key.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    })
}

/// The names directly below `root` that a running process uses: its program, libraries, open files, working folder or arguments.
fn used_below(root: &Utf8Path) -> anyhow::Result<BTreeSet<String>> {
    // The kernel gives the real path.
    let root = root.canonicalize_utf8().unwrap_or_else(|_| root.to_owned());
    let text = if cfg!(target_os = "linux") { linux_paths()? } else { listed_paths()? };
    let start = format!("{root}/");
    let names = text.match_indices(&start).map(|(at, _)| &text[at + start.len()..]);
    let names = names.filter_map(|rest| rest.split(['/', '\0', '\n', ':', ' ', '"']).next());
    Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// All paths that processes have to do with, as one text. Processes of others show nothing, and cannot use a private store.
fn linux_paths() -> anyhow::Result<String> {
    use std::fmt::Write;
    let me = std::process::id().to_string();
    let mut text = String::new();
    for process in entries("/proc".into())? {
        let name = process.file_name().unwrap_or_default();
        if !name.chars().all(|c| c.is_ascii_digit()) || name == me {
            continue;
        }
        let links = ["exe", "cwd"].map(|link| process.join(link));
        let files = process.join("fd").read_dir_utf8().into_iter().flatten().flatten();
        for link in links.into_iter().chain(files.map(camino::Utf8DirEntry::into_path)) {
            if let Ok(target) = link.read_link_utf8() {
                let _ = writeln!(text, "{target}");
            }
        }
        for file in ["maps", "cmdline"] {
            if let Ok(bytes) = std::fs::read(process.join(file)) {
                text.push_str(&String::from_utf8_lossy(&bytes));
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// The same where there is no `/proc`. Written from documentation; not yet run.
fn listed_paths() -> anyhow::Result<String> {
    let output = sys::cmd::Cmd::new("lsof").args(["-n", "-P", "-F", "n"]).run()?;
    anyhow::ensure!(!output.stdout.is_empty(), "lsof does not tell which files are in use");
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_program_made_is_an_entry() {
        assert!(is_entry("redis-7.0.15-fde580564cdb0949"));
        assert!(is_entry("postgresql-template-12.22.0-d4397cbf21a03532"));
        for name in
            ["places", "locks", "resolved.json", "my-notes", "x-fde580564cdb0949", "redis-7-FDE580564CDB0949"]
        {
            assert!(!is_entry(name), "{name}");
        }
    }

    #[test]
    fn what_a_process_holds_open_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        sys::fs::write_atomic(&root.join("a-1-0000000000000000/x"), b"", 0o600).unwrap();
        let held = std::fs::File::open(root.join("a-1-0000000000000000/x")).unwrap();
        // This process does not count, a child that inherits does.
        assert!(!used_below(root).unwrap().contains("a-1-0000000000000000"));
        let child = duct::cmd!("sleep", "600").stdin_file(held).start().unwrap();
        let used = used_below(root).unwrap();
        child.kill().unwrap();
        assert_eq!(used, BTreeSet::from(["a-1-0000000000000000".to_owned()]));
    }

    #[test]
    fn nothing_is_removed_while_somebody_works_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let user = Store::at(root).in_use().unwrap();
        let error = Sweep::begin(root).unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().code, "store-busy");
        drop(user);
        let sweep = Sweep::begin(root).unwrap();
        drop(sweep);
        let _building = Store::at(root).lock("redis-7-x", &crate::event::Silent).unwrap();
        assert!(Sweep::begin(root).is_err());
    }
}
