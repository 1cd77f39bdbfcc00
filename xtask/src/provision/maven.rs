//! The Maven provider: immutable jars by exact coordinates, each checked against the SHA-256 in `ecosystem.lock`.
//!
//! One `mvn` call fetches everything that is missing: a call costs far more than a jar. Where the registry is, and which mirror
//! stands in for it, only the client knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};

use super::archive;
use super::host::{self, Host};
use super::lock::Pin;
use super::store::{Scratch, Store};
use super::watch::watch;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::cmd::{Cmd, Output};
use crate::sys::fs::{create_private_dir, write_atomic};

/// The plugin that copies artifacts, pinned like everything else.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// Fetches jars.
pub(super) struct Maven<'a> {
    pub(super) store: &'a Store,
    pub(super) host: &'a Host,
    pub(super) events: &'a dyn Events,
    pub(super) pins: &'a mut BTreeMap<String, Pin>,
    /// Pin what is fetched instead of checking it.
    pub(super) relock: bool,
}

/// Jars that were fetched and checked; they go with this value.
pub(super) struct Jars {
    folder: Scratch,
}

impl Jars {
    /// The file of `group:artifact:version`.
    pub(super) fn path(&self, coordinates: &str) -> Utf8PathBuf {
        self.folder.path().join("jars").join(file_name(coordinates))
    }
}

impl Maven<'_> {
    /// Fetches jars, all in one call, and checks every one of them.
    pub(super) fn fetch(&mut self, wanted: &BTreeSet<&str>) -> anyhow::Result<Jars> {
        if self.host.find("mvn").is_none() {
            let by_hand = self.host.family().install("maven", "maven", "maven");
            return Err(host::missing("mvn", "PostgreSQL and OpenSearch", by_hand).into());
        }
        if !self.relock {
            self.refuse_unpinned(wanted)?;
        }
        let _guard = self.store.lock("maven", self.events)?;
        let folder = self.store.scratch()?;
        let repository = self.store.root().join("cache/maven");
        create_private_dir(&repository)?;
        let pom = folder.path().join("pom.xml");
        write_atomic(&pom, pom_text(wanted).as_bytes(), 0o600)?;

        let total = wanted.iter().filter_map(|c| self.pins.get(*c)).map(|pin| pin.size).sum();
        let task = Task::start(self.events, Section::Fetch, format!("{} jars", wanted.len()));
        let command = Cmd::new("mvn")
            .args(["--batch-mode", "--quiet", "-Dmaven.artifact.threads=8", "-f", pom.as_str()])
            .args([format!("-Dmaven.repo.local={repository}"), "dependency:copy".to_owned()])
            .cwd(folder.path())
            .limit(Duration::from_mins(20));
        let arrived = || wanted.iter().map(|c| size_in(&repository, c)).sum::<u64>();
        let output =
            watch(|| command.run(), || task.progress(arrived().min(total), Some(total), Unit::Bytes))?;
        let jars = Jars { folder };
        let result = if output.ok() { self.verify(&jars, wanted) } else { Err(failed(&output).into()) };
        // The store has its own copies; and a file that was refused must not be found again by the next try.
        for coordinates in wanted {
            let _not_there = std::fs::remove_dir_all(folder_in(&repository, coordinates));
        }
        let bytes = result?;
        task.finish(crate::provision::megabytes(bytes) + ", sha256 ok");
        Ok(jars)
    }

    fn refuse_unpinned(&self, wanted: &BTreeSet<&str>) -> Result<(), Failure> {
        let unpinned: Vec<&str> = wanted.iter().copied().filter(|c| !self.pins.contains_key(*c)).collect();
        if unpinned.is_empty() {
            return Ok(());
        }
        let message = format!("ecosystem.lock has no checksum for {}", unpinned.join(", "));
        Err(Failure::new(Kind::Manifest, "artifact-unlocked", message).hint(
            "fetch them once from a network you trust and pin what arrives: {program} provision --relock",
        ))
    }

    fn verify(&mut self, jars: &Jars, wanted: &BTreeSet<&str>) -> anyhow::Result<u64> {
        let (mut all, mut changed) = (0, String::new());
        for coordinates in wanted {
            let (sha256, size) = archive::sha256(&jars.path(coordinates))?;
            all += size;
            if self.relock {
                self.pins.insert((*coordinates).to_owned(), Pin { sha256, size });
            } else if let Some(pin) = self.pins.get(*coordinates).filter(|pin| pin.sha256 != sha256) {
                let _ =
                    write!(changed, "\n  {coordinates}\n    locked  {}\n    fetched {sha256}", pin.sha256);
            }
        }
        if changed.is_empty() {
            return Ok(all);
        }
        let message =
            format!("what was fetched is not what ecosystem.lock names; nothing of it is used{changed}");
        Err(Failure::new(Kind::Host, "artifact-changed", message)
            .hint("is there a proxy that answers with a page of its own? Try again from another network")
            .into())
    }
}

fn failed(output: &Output) -> Failure {
    let mut lines: Vec<&str> =
        output.stdout.lines().chain(output.stderr.lines()).filter(|l| l.contains("ERROR")).collect();
    lines.truncate(4);
    let reason = match (output.timed_out, lines.is_empty()) {
        (true, _) => "it took longer than 20 minutes".to_owned(),
        (_, true) => format!("it ended with status {}", output.status),
        _ => lines.join("\n"),
    };
    Failure::new(Kind::Host, "maven-failed", format!("mvn could not fetch the jars: {reason}"))
        .hint("is this machine online, and does Maven know the mirror of your network (~/.m2/settings.xml)?")
}

fn pom_text(wanted: &BTreeSet<&str>) -> String {
    let (plugin_group, plugin_artifact, plugin_version) = parts(PLUGIN);
    let mut items = String::new();
    for coordinates in wanted {
        let (group, artifact, version) = parts(coordinates);
        let _ = writeln!(
            items,
            "<artifactItem><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></artifactItem>"
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>ecosystem</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>\n\
         <build><plugins><plugin><groupId>{plugin_group}</groupId><artifactId>{plugin_artifact}</artifactId>\
         <version>{plugin_version}</version>\n<configuration>\
         <outputDirectory>${{project.basedir}}/jars</outputDirectory><artifactItems>\n{items}</artifactItems>\
         </configuration></plugin></plugins></build></project>\n"
    )
}

/// Group, artifact and version.
fn parts(coordinates: &str) -> (&str, &str, &str) {
    let mut parts = coordinates.splitn(3, ':');
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

fn file_name(coordinates: &str) -> String {
    let (_, artifact, version) = parts(coordinates);
    format!("{artifact}-{version}.jar")
}

fn folder_in(repository: &Utf8Path, coordinates: &str) -> Utf8PathBuf {
    let (group, artifact, version) = parts(coordinates);
    repository.join(group.replace('.', "/")).join(artifact).join(version)
}

/// The bytes of a jar that have arrived, finished or not.
fn size_in(repository: &Utf8Path, coordinates: &str) -> u64 {
    let entries = std::fs::read_dir(folder_in(repository, coordinates)).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().contains(".jar"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_become_file_names_and_folders() {
        assert_eq!(file_name("org.opensearch:opensearch:2.3.0"), "opensearch-2.3.0.jar");
        assert_eq!(folder_in("/r".into(), "joda-time:joda-time:2.10.12"), "/r/joda-time/joda-time/2.10.12");
        assert_eq!(folder_in("/r".into(), "io.netty:netty-codec:4.1"), "/r/io/netty/netty-codec/4.1");
    }

    #[test]
    fn every_wanted_jar_is_in_the_pom() {
        let text = pom_text(&BTreeSet::from(["a.b:c:1", "d:e:2"]));
        assert!(text.contains("<groupId>a.b</groupId><artifactId>c</artifactId><version>1</version>"));
        assert!(text.contains("<artifactId>e</artifactId>"));
        assert!(text.contains("maven-dependency-plugin</artifactId><version>3.6.1"));
    }
}
