//! Java for OpenSearch: the one of this machine where it fits, else Debian's.

use std::cmp::Ordering;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Installed, Key};
use ecosystem_core::tool::Version;
use semver::VersionReq;

use super::host::Host;
use super::store::{Built, Id, Store};
use crate::event::Events;
use crate::sys::cmd::Cmd;

/// The first Java of this machine that fits the requirement: JAVA_HOME first, then PATH.
pub(super) fn find(
    store: &Store,
    host: &Host,
    accept: &VersionReq,
    events: &dyn Events,
) -> anyhow::Result<Option<Installed>> {
    let home = host.java_home.iter().map(|home| home.join("bin/java"));
    for path in home.chain(host.all("java")) {
        // Asking a JVM for its version takes longer than everything else in a run with nothing to do: it is asked once.
        let Ok(path) = path.canonicalize_utf8() else { continue };
        let meta = std::fs::metadata(&path).with_context(|| format!("cannot look at {path}"))?;
        let stamp = format!("{} {} {}", meta.mtime(), meta.size(), meta.ino());
        let id = Id {
            name: "java".to_owned(),
            version: "host".to_owned(),
            key: Key::of(["host java", "1", path.as_str(), &stamp, &accept.to_string()]),
        };
        let known = store.ensure(&id, events, |_| Ok(judge(&path, accept)))?;
        if known.facts.paths.contains_key("java") {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Records the program where its version fits, and nothing where it does not.
fn judge(path: &Utf8Path, accept: &VersionReq) -> Built {
    let mut built = Built::default();
    // A program that cannot be run does not fit.
    let Ok(output) = Cmd::new(path.as_str()).args(["-version"]).run() else { return built };
    let fits = output.ok() && version(&output.stderr).is_some_and(|v| v.within(accept) == Ordering::Equal);
    if fits {
        built.facts.paths.insert("java".to_owned(), path.to_owned());
    }
    built
}

/// The version in `openjdk version "17.0.15" 2025-04-15`.
fn version(text: &str) -> Option<Version> {
    Version::read(text.split('"').nth(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_java_writes_them() {
        let accept = VersionReq::parse(">=17, <24").unwrap();
        let fits = |text: &str| version(text).is_some_and(|v| v.within(&accept) == Ordering::Equal);
        assert!(fits("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment"));
        assert!(fits("openjdk version \"21\" 2023-09-19"));
        assert!(!fits("java version \"1.8.0_292\""));
        assert!(!fits("openjdk version \"24.0.1\" 2025-04-15"));
        assert!(!fits("Error: could not find libjava.so"));
    }
}
