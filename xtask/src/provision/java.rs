//! A Java runtime for OpenSearch: the host's, where it has one of the right age.
//!
//! OpenSearch 2 runs with the security manager, which Java 17 to 23 still have. Packages for hosts without are in `debian`.

use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};

use super::host::Host;
use super::store::{Built, Id, Store};
use crate::event::Events;
use crate::sys;
use crate::sys::cmd::Cmd;

/// A Java runtime of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostJava {
    program: Utf8PathBuf,
    version: String,
}

/// The first suitable Java: JAVA_HOME, then PATH. Versions are read from files where there are any: starting a JVM takes 100 ms.
pub(super) fn on_host(host: &Host) -> Option<HostJava> {
    let home = host.java_home.iter().map(|home| home.join("bin/java")).filter(|java| java.is_file());
    home.chain(host.all("java")).find_map(|program| {
        let version = version(&program)?;
        suitable(&version).then_some(HostJava { program, version })
    })
}

fn version(program: &Utf8Path) -> Option<String> {
    let real = program.canonicalize_utf8().ok()?;
    let release = real.parent()?.parent()?.join("release");
    if let Ok(Some(text)) = sys::fs::read_optional(&release)
        && let Some(version) = from_release(&text)
    {
        return Some(version);
    }
    let output = Cmd::new(program.as_str()).args(["-version"]).run().ok().filter(sys::cmd::Output::ok)?;
    from_banner(&output.stderr)
}

/// `JAVA_VERSION="17.0.15"` of a runtime's `release` file.
fn from_release(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// `openjdk version "17.0.15" 2025-04-15`.
fn from_banner(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("version \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn suitable(version: &str) -> bool {
    let major = version.split(['.', '-', '+']).next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| (17..24).contains(&major))
}

impl HostJava {
    /// An update of the host's Java is another one: archives made with it do not fit the next.
    pub(super) fn id(&self) -> anyhow::Result<Id> {
        let real = self.program.canonicalize_utf8()?;
        let meta = std::fs::metadata(&real).with_context(|| format!("cannot read {real}"))?;
        let stamp = format!("{} {}", meta.len(), meta.mtime());
        let key = Key::of(["host java", self.program.as_str(), real.as_str(), &self.version, &stamp]);
        Ok(Id { name: "java".to_owned(), version: self.version.clone(), key })
    }

    /// Writes down what was found; nothing is copied.
    pub(super) fn record(&self, store: &Store, events: &dyn Events) -> anyhow::Result<Installed> {
        store.ensure(&self.id()?, events, |_| {
            let mut facts = Facts::default();
            facts.paths.insert("java".to_owned(), self.program.clone());
            Ok(Built { facts, ..Built::default() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        let release = "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.15\"\n";
        assert_eq!(from_release(release).as_deref(), Some("17.0.15"));
        let banner = "openjdk version \"1.8.0_402\"\nOpenJDK Runtime Environment";
        assert_eq!(from_banner(banner).as_deref(), Some("1.8.0_402"));
        let judged = ["17", "17.0.15", "21-ea", "23.0.1"].map(suitable);
        assert_eq!(judged, [true; 4]);
        let judged = ["1.8.0_402", "11.0.2", "24", "25.0.1", ""].map(suitable);
        assert_eq!(judged, [false; 5]);
    }

    #[test]
    fn java_home_comes_before_path_and_unsuitable_ones_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for (name, version) in [("old", "11.0.2"), ("new", "25"), ("right", "21.0.1"), ("also", "17.0.1")] {
            sys::fs::write_atomic(&root.join(name).join("bin/java"), b"", 0o700).unwrap();
            let release = format!("JAVA_VERSION=\"{version}\"\n");
            sys::fs::write_atomic(&root.join(name).join("release"), release.as_bytes(), 0o600).unwrap();
        }
        let path = format!("{root}/new/bin:{root}/right/bin:{root}/also/bin");
        let found = |java_home: &str| {
            let host = Host { path: path.clone(), java_home: Some(root.join(java_home)), ..Host::default() };
            on_host(&host).unwrap().version
        };
        assert_eq!(found("old"), "21.0.1");
        assert_eq!(found("also"), "17.0.1");
        assert_eq!(on_host(&Host::default()), None);
    }
}
