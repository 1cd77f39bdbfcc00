//! Servers that are published as source in Go: built here, once, by the Go of this machine.
//!
//! The lock has the checksum of a module's source, as `go.sum` files write it. The build runs inside of that source and may not change what it
//! says of its dependencies, so each of those must have the checksum of the module's own `go.sum`: all that is built follows from one line
//! of the lock. Where modules come from (GOPROXY), and whether a public log of checksums is asked as well (GOSUMDB), is Go's own business.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::failure::{Failure, Kind};
use serde::Deserialize;

use super::cause::{self, Cause};
use super::debian::probe;
use super::host::Host;
use super::store::{Built, Id, Store};
use super::watch::{size, watch};
use crate::event::{Events, Section, Task, Unit};
use crate::sys;
use crate::sys::cmd::{Cmd, Output};

/// How often what was built so far is counted.
const COUNT: Duration = Duration::from_secs(1);

/// A program whose source is a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    name: &'static str,
    module: String,
    version: String,
    /// What people know the version as.
    release: String,
    /// What the linker writes into the program.
    flags: String,
}

/// What `go mod download -json` says of a module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    #[serde(default)]
    sum: String,
    #[serde(default)]
    dir: Utf8PathBuf,
    #[serde(default)]
    error: String,
}

/// MinIO. Built without the linker's help it would not know its version.
pub(super) fn minio(purl: &str) -> Result<Program, Failure> {
    let (module, version) = read(purl)?;
    let (time, commit) = time_and_commit(&version).unwrap_or_default();
    let release = if time.is_empty() { version.clone() } else { time.replace(':', "-") };
    let mut flags = "-s -w".to_owned();
    if !time.is_empty() {
        let values = [
            ("Version", time.clone()),
            // It is none of its makers' own releases, whatever its time.
            ("ReleaseTag", format!("DEVELOPMENT.{release}")),
            ("CommitID", commit.clone()),
            ("ShortCommitID", commit.clone()),
            ("CopyrightYear", time[..4].to_owned()),
        ];
        for (name, value) in values {
            let _ = write!(flags, " -X {module}/cmd.{name}={value}");
        }
    }
    Ok(Program { name: "minio", module, version, release, flags })
}

/// Reads `pkg:golang/example.org/module@v1.2.3`.
fn read(purl: &str) -> Result<(String, String), Failure> {
    purl.strip_prefix("pkg:golang/")
        .filter(|rest| is_module(rest))
        .and_then(|rest| rest.split_once('@'))
        .map(|(module, version)| (module.to_owned(), version.to_owned()))
        .ok_or_else(|| {
            let message = format!("`{purl}` is not pkg:golang/MODULE@VERSION");
            Failure::new(Kind::Manifest, "get-invalid", message)
        })
}

/// Whether this is `module@version`, and nothing that Go could take for an option or a path.
pub(super) fn is_module(text: &str) -> bool {
    let safe = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            && !text.contains("..")
    };
    text.split_once('@').is_some_and(|(module, version)| {
        module.contains('/') && safe(module, "./_-~") && version.starts_with('v') && safe(version, ".+-")
    })
}

/// Whether this is a checksum as `go.sum` has them.
pub(super) fn is_sum(text: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    text.strip_prefix("h1:")
        .and_then(|sum| sum.strip_suffix('='))
        .is_some_and(|sum| sum.len() == 43 && sum.chars().all(base64))
}

/// The time and the commit in a version that names a commit: `v0.0.0-20260212201848-7aac2a2c5b7c`.
fn time_and_commit(version: &str) -> Option<(String, String)> {
    let mut parts = version.rsplit('-');
    let (commit, digits) = (parts.next()?, parts.next()?);
    let digits = digits.rsplit('.').next()?;
    if digits.len() != 14 || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| &digits[from..to];
    let (date, time) = (
        format!("{}-{}-{}", part(0, 4), part(4, 6), part(6, 8)),
        format!("{}:{}:{}", part(8, 10), part(10, 12), part(12, 14)),
    );
    Some((format!("{date}T{time}Z"), commit.to_owned()))
}

impl Program {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// As the lock names it.
    fn pinned(&self) -> String {
        format!("{}@{}", self.module, self.version)
    }

    /// Depends on every byte of the source, by its checksum.
    pub(super) fn id(&self, pins: &BTreeMap<String, String>) -> Option<Id> {
        let sum = pins.get(&self.pinned())?;
        let key = Key::of(["go", "1", &self.pinned(), sum, &self.flags]);
        Some(Id { name: self.name.to_owned(), version: self.release.clone(), key })
    }

    /// Fails where this machine cannot build it.
    pub(super) fn require(&self, host: &Host) -> Result<Utf8PathBuf, Failure> {
        host.find("go").ok_or_else(|| {
            let message =
                format!("Go is not on PATH; {} is published as source, which Go builds once", self.name);
            Failure::new(Kind::Host, "go-missing", message)
                .hint(self.ways_out("install Go, https://go.dev/dl"))
        })
    }

    /// A step, and other ways to have such a server.
    fn ways_out(&self, first: &str) -> String {
        format!(
            "{first}; or use one that is there: `from = \"path\"`, `via = \"compose\"`, `external = \"…\"` or a `command` in [services.{}]",
            self.name
        )
    }

    /// Builds it where it is not there yet.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
        relock: bool,
        pins: &mut BTreeMap<String, String>,
    ) -> anyhow::Result<Installed> {
        let name = self.pinned();
        if !relock && !pins.contains_key(&name) {
            let message = format!("ecosystem.lock has no checksum for {name}");
            return Err(Failure::new(Kind::Manifest, "artifact-unlocked", message)
                .hint("`cargo xtask provision --relock` fetches it once and writes its checksum down")
                .into());
        }
        let building = Building { go: self.require(host)?, program: self, store, host, events };
        let _guard = store.lock("go", events)?;
        if relock {
            pins.insert(name, building.download(None)?.sum);
        }
        let id = self.id(pins).context("the module has no pin")?;
        store.ensure(&id, events, |folder| {
            let source = building.download(pins.get(&self.pinned()).map(String::as_str))?;
            building.fetch(&source.dir)?;
            let program = folder.join(self.name);
            building.build(&source.dir, &program)?;
            probe(&program, &["--version"], &[], self.name)?;
            // All of it is in the program, and would be a gigabyte.
            let _gone = std::fs::remove_dir_all(cache(store));
            let paths = BTreeMap::from([("server".to_owned(), program)]);
            Ok(Built { facts: Facts { paths, ..Facts::default() }, ..Built::default() })
        })
    }
}

/// Modules in the store: what was fetched stays there until it is built, however often that is interrupted.
fn cache(store: &Store) -> Utf8PathBuf {
    store.root().join("cache/go")
}

struct Building<'a> {
    go: Utf8PathBuf,
    program: &'a Program,
    store: &'a Store,
    host: &'a Host,
    events: &'a dyn Events,
}

impl Building<'_> {
    /// Fetches the source, which must have this checksum.
    fn download(&self, wanted: Option<&str>) -> anyhow::Result<Download> {
        let name = self.program.pinned();
        let cache = cache(self.store);
        sys::fs::create_private_dir(&cache)?;
        let task = Task::start(self.events, Section::Fetch, format!("{} source", self.program.name));
        let command = self.go().args(["mod", "download", "-json", &name]);
        let output = self.run(command, &cache, "fetch", &task)?;
        let download: Download = serde_json::from_str(&output.stdout).unwrap_or_else(|_| Download {
            sum: String::new(),
            dir: Utf8PathBuf::new(),
            error: String::new(),
        });
        if !output.ok() || !download.error.is_empty() {
            return Err(self.failed("fetch", &format!("{}\n{}", output.stderr, download.error)).into());
        }
        anyhow::ensure!(is_sum(&download.sum) && download.dir.is_dir(), "go does not say where {name} is");
        if let Some(wanted) = wanted.filter(|wanted| *wanted != download.sum) {
            let _gone = std::fs::remove_dir_all(&cache);
            let message = format!(
                "{name} is not what ecosystem.lock says: expected {wanted}, got {}; it was thrown away",
                download.sum
            );
            return Err(Failure::new(Kind::Host, "artifact-changed", message)
                .hint("a released version never changes: ask who runs the Go module proxy of this machine (go env GOPROXY)")
                .into());
        }
        task.finish("");
        Ok(download)
    }

    /// Fetches what the source is built with, each with the checksum that the source names.
    fn fetch(&self, source: &Utf8Path) -> anyhow::Result<()> {
        let task =
            Task::start(self.events, Section::Fetch, format!("what {} is built with", self.program.name));
        let command = self.go().args(["list", "-deps", "-f", "{{.ImportPath}}", "."]);
        let output = self.run(command, source, "fetch what is needed for", &task)?;
        if !output.ok() {
            return Err(self.failed("fetch what is needed for", &output.stderr).into());
        }
        task.finish(format!("{} packages", output.stdout.lines().count()));
        Ok(())
    }

    fn build(&self, source: &Utf8Path, program: &Utf8Path) -> anyhow::Result<()> {
        let scratch = self.store.scratch()?;
        let task = Task::start(
            self.events,
            Section::Build,
            format!("{} {}", self.program.name, self.program.release),
        );
        let command = self
            .go()
            .args(["build", "-ldflags", &self.program.flags, "-o", program.as_str(), "."])
            .env("GOCACHE", scratch.path().as_str())
            .env("GOTMPDIR", scratch.path().as_str())
            // All of it is there.
            .env("GOPROXY", "off")
            .cwd(source)
            .leashed();
        // One package alone takes a quarter of the time: that nothing is written for a while says nothing.
        let mut counted = Instant::now();
        let output = command.run_while(|| {
            if counted.elapsed() >= COUNT {
                counted = Instant::now();
                task.progress(size(scratch.path()), None, Unit::Bytes);
            }
            true
        })?;
        if !output.ok() {
            return Err(self.failed("build", &output.stderr).into());
        }
        task.finish("");
        Ok(())
    }

    /// Go, as it is configured here, with nothing of what a person builds by it.
    fn go(&self) -> Cmd {
        let cache = cache(self.store);
        let (path, built) = (cache.join("path"), cache.join("built"));
        let env = [
            ("GOMODCACHE", cache.as_str()),
            ("GOPATH", path.as_str()),
            ("GOCACHE", built.as_str()),
            ("GOFLAGS", "-trimpath -modcacherw -mod=readonly -buildvcs=false"),
            ("GOWORK", "off"),
            ("GO111MODULE", "on"),
            ("CGO_ENABLED", "0"),
        ];
        env.iter()
            .fold(Cmd::new(&self.go), |command, (name, value)| command.env(name, *value))
            .without(&["GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOBIN"])
            .limit(Duration::from_hours(2))
    }

    fn run(&self, command: Cmd, folder: &Utf8Path, doing: &str, task: &Task<'_>) -> anyhow::Result<Output> {
        // Beside it everything is unpacked, which would take longer to count than to fetch.
        let fetched = cache(self.store).join("cache/download");
        let count = || task.progress(size(&fetched), None, Unit::Bytes);
        let output = watch(command.cwd(folder), self.host.stall, &[&fetched], count)?;
        output.ok_or_else(|| {
            let what = format!("{doing} {}", self.program.pinned());
            Cause::Stalled(self.host.stall.as_secs()).failure("go", &what, self.store.root()).into()
        })
    }

    fn failed(&self, doing: &str, said: &str) -> Failure {
        let name = self.program.pinned();
        if let Some(cause) = cause::of(said) {
            return cause.failure("go", &format!("{doing} {name}"), self.store.root());
        }
        let last = said.trim().lines().last().unwrap_or("it says nothing").trim();
        if said.contains("requires go >=") {
            let message = format!("the Go of this machine is too old for {name}: {last}");
            return Failure::new(Kind::Host, "go-too-old", message)
                .hint(self.program.ways_out("install a newer one, https://go.dev/dl"));
        }
        if said.contains("checksum mismatch") || said.contains("SECURITY ERROR") {
            let message = format!("a dependency of {name} does not have its checksum; nothing was built");
            return Failure::new(Kind::Host, "artifact-changed", message)
                .hint("a released version never changes: ask who runs the Go module proxy of this machine (go env GOPROXY)");
        }
        Failure::new(Kind::Host, "go-failed", format!("go could not {doing} {name}: {last}"))
            .hint(self.program.ways_out("go reads its mirror and proxy from its own configuration, go env"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_knows_when_its_source_was_written() {
        let program = minio("pkg:golang/github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c").unwrap();
        assert_eq!(program.release, "2026-02-12T20-18-48Z");
        for part in ["cmd.Version=2026-02-12T20:18:48Z", "cmd.ShortCommitID=7aac2a2c5b7c"] {
            assert!(
                program.flags.contains(&format!(" -X github.com/minio/minio/{part}")),
                "{}",
                program.flags
            );
        }
        let tagged = minio("pkg:golang/github.com/minio/minio@v1.2.3").unwrap();
        assert_eq!((tagged.release.as_str(), tagged.flags.as_str()), ("v1.2.3", "-s -w"));
        assert_eq!(minio("pkg:golang/minio").unwrap_err().code, "get-invalid");
    }

    #[test]
    fn a_lock_cannot_slip_options_to_go() {
        assert!(is_module("github.com/a/b-c@v1.2.3-0.20250905210349-2017f33b26e1"));
        for text in ["-o/x@v1", "a/b", "a/b@", "a/b@-v1", "a/../b@v1", "/a/b@v1", "a/b@v1 x", "ab@v1"] {
            assert!(!is_module(text), "{text}");
        }
        assert!(is_sum("h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="));
        for text in ["", "h1:", "h1:x=", "/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="] {
            assert!(!is_sum(text), "{text}");
        }
    }

    #[test]
    fn without_go_the_other_ways_are_named() {
        let program = minio("pkg:golang/a.b/c@v1.0.0").unwrap();
        let failure = program.require(&Host::default()).unwrap_err();
        assert_eq!((failure.code, failure.hints.len()), ("go-missing", 1));
    }
}
