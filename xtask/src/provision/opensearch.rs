//! OpenSearch: the server assembled from its official jars, and an archive of its loaded classes that saves a second of every start.
//!
//! Which jars and modules there are is data of `ecosystem_core::release::assembly`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::catalog::opensearch::{Jvm, LOG4J, without_login};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::RunAs;
use ecosystem_core::release::assembly::{Part, Selection};
use rustix::process::Signal;

use super::lock::Pin;
use super::maven::{Gav, Jars};
use super::run::Once;
use super::store::{Built, Id, Source, Store};
use crate::event::{Events, Section, Task};
use crate::sys::{self, interrupt};

/// The version in `pkg:maven/org.opensearch/opensearch@2.3.0`.
pub(super) fn version(purl: &str) -> &str {
    purl.rsplit_once('@').map_or(purl, |(_, version)| version)
}

/// The artifacts of a selection.
pub(super) fn artifacts(selection: &Selection<'_>) -> Result<BTreeSet<Gav>, Failure> {
    selection.artifacts().into_iter().map(Gav::parse).collect()
}

/// Depends on every jar and every descriptor and policy.
pub(super) fn id(selection: &Selection<'_>, pins: &BTreeMap<String, Pin>) -> Id {
    let mut parts = vec!["opensearch".to_owned(), "1".to_owned(), selection.assembly.version.clone()];
    for (kind, chosen) in [("module", &selection.modules), ("plugin", &selection.plugins)] {
        for (name, part) in chosen {
            parts.extend([kind.to_owned(), (*name).to_owned(), format!("{part:?}")]);
        }
    }
    for gav in selection.artifacts() {
        parts.extend([gav.to_owned(), pins.get(gav).map(|pin| pin.sha256.clone()).unwrap_or_default()]);
    }
    Id {
        name: "opensearch".to_owned(),
        version: selection.assembly.version.clone(),
        key: Key::of(parts.iter().map(String::as_str)),
    }
}

/// Lays the jars out as the distribution does.
pub(super) fn install(
    store: &Store,
    events: &dyn Events,
    selection: &Selection<'_>,
    id: &Id,
    jars: &Jars,
) -> anyhow::Result<Installed> {
    store.ensure(id, events, |folder| {
        let task = Task::start(events, Section::Build, format!("opensearch {}", id.version));
        for gav in &selection.assembly.lib {
            place(jars, gav, &folder.join("lib"))?;
        }
        for empty in ["modules", "plugins", "config"] {
            sys::fs::create_private_dir(&folder.join(empty))?;
        }
        for (kind, chosen) in [("modules", &selection.modules), ("plugins", &selection.plugins)] {
            for (name, part) in chosen {
                fill(jars, name, part, &id.version, &folder.join(kind).join(name))?;
            }
        }
        let sources = artifacts(selection)?;
        let source = |gav: &Gav| Source {
            name: gav.to_string(),
            sha256: jars.pin(gav).map(|pin| pin.sha256.clone()).unwrap_or_default(),
        };
        task.finish(format!("{} modules, {} plugins", selection.modules.len(), selection.plugins.len()));
        let facts =
            Facts { paths: BTreeMap::from([("home".to_owned(), folder.to_owned())]), ..Facts::default() };
        Ok(Built { facts, sources: sources.iter().map(source).collect(), version: None })
    })
}

fn fill(jars: &Jars, name: &str, part: &Part, version: &str, folder: &Utf8Path) -> anyhow::Result<()> {
    for gav in std::iter::once(&part.artifact).chain(&part.jars) {
        place(jars, gav, folder)?;
    }
    let descriptor = part.descriptor(name, version);
    sys::fs::write_atomic(&folder.join("plugin-descriptor.properties"), descriptor.as_bytes(), 0o600)?;
    if let Some(policy) = &part.policy {
        sys::fs::write_atomic(&folder.join("plugin-security.policy"), policy.as_bytes(), 0o600)?;
    }
    Ok(())
}

fn place(jars: &Jars, gav: &str, folder: &Utf8Path) -> anyhow::Result<()> {
    let gav = Gav::parse(gav)?;
    sys::fs::create_private_dir(folder)?;
    // Some modules share jars, and the folder of the downloads goes away.
    std::fs::hard_link(jars.path(&gav), folder.join(gav.file_name()))
        .with_context(|| format!("cannot put {gav} into {folder}"))
}

pub(super) fn archive_id(server: &Installed, java: &Installed) -> Id {
    Id {
        name: "opensearch-cds".to_owned(),
        version: server.version.clone(),
        key: Key::of(["opensearch-cds", "2", &server.key.to_string(), &java.key.to_string(), &java.version]),
    }
}

/// Starts the server once, and lets the JVM write down the classes that it loaded.
pub(super) fn class_archive(
    store: &Store,
    events: &dyn Events,
    server: &Installed,
    java: &Installed,
    run_as: RunAs,
) -> anyhow::Result<Installed> {
    store.ensure(&archive_id(server, java), events, |folder| {
        let task = Task::start(events, Section::Build, "opensearch class archive");
        let archive = folder.join("opensearch.jsa");
        start_once(store, server, java, run_as, &archive).map_err(|error| {
            let message = format!("the OpenSearch class archive could not be made: {error:#}");
            let failed = Failure::new(Kind::Host, "class-archive-failed", message);
            interrupt::check().err().unwrap_or(failed)
        })?;
        task.finish("");
        let facts = Facts { paths: BTreeMap::from([("archive".to_owned(), archive)]), ..Facts::default() };
        Ok(Built { facts, ..Built::default() })
    })
}

fn start_once(
    store: &Store,
    server: &Installed,
    java: &Installed,
    run_as: RunAs,
    archive: &Utf8Path,
) -> anyhow::Result<()> {
    let scratch = store.scratch()?;
    let home = scratch.path();
    let (config, tmp) = (home.join("config"), home.join("tmp"));
    sys::fs::create_private_dir(&tmp)?;
    let [http, transport] = free_ports()?;
    let quoted = |path: &str| serde_json::Value::from(home.join(path).as_str()).to_string();
    let login = without_login(server).map(|(name, value)| format!("{name}: {value}\n")).unwrap_or_default();
    let settings = format!(
        "{login}cluster.name: class-archive\nnode.name: node-1\nnetwork.host: 127.0.0.1\nhttp.port: {http}\n\
         transport.port: {transport}\ndiscovery.type: single-node\npath.data: {}\npath.logs: {}\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n",
        quoted("data"),
        quoted("log"),
    );
    sys::fs::write_atomic(&config.join("opensearch.yml"), settings.as_bytes(), 0o600)?;
    sys::fs::write_atomic(&config.join("log4j2.properties"), LOG4J.as_bytes(), 0o600)?;

    let jvm = Jvm { java, server, heap: "512m", config: &config, tmp: &tmp };
    let run = Once {
        argv: jvm.argv(&[&format!("-XX:ArchiveClassesAtExit={archive}")]),
        env: jvm.env(home),
        cwd: home.to_owned(),
        stdin: String::new(),
        run_as,
        log: home.join("output"),
    };
    let mut running = run.start()?;
    running.until(Duration::from_mins(3), || healthy(http))?;
    use_it(http)?;
    running.signal(Signal::TERM);
    let status = running.wait(Duration::from_mins(2))?.context("it did not stop")?;
    anyhow::ensure!(
        archive.exists(),
        "the JVM ended with status {status} and wrote none\n{}",
        running.output().trim_end()
    );
    Ok(())
}

/// Whether the node answers and has formed its cluster.
fn healthy(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=10s");
    // Proxies of the environment have no business on loopback.
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(15)));
    ureq::Agent::from(config.build()).get(&url).call().is_ok()
}

/// Does what a first `up` does, so that the classes for it are loaded and written down, too.
fn use_it(port: u16) -> anyhow::Result<()> {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(30)));
    let agent = ureq::Agent::from(config.build());
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let json = "application/json";
    agent.put(&url("/a/_doc/1?refresh=true")).content_type(json).send("{\"a\":1}")?;
    agent.post(&url("/a/_bulk")).content_type(json).send("{\"index\":{}}\n{\"a\":2}\n")?;
    agent.get(&url("/a/_search")).call()?;
    agent.delete(&url("/a")).call()?;
    Ok(())
}

/// Ports that are free now. Nobody else knows them, so they most likely stay free for the moment that it takes.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let two = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok([one.local_addr()?.port(), two.local_addr()?.port()])
}

#[cfg(test)]
mod tests {
    use ecosystem_core::release::assembly::Assembly;

    use super::*;

    #[test]
    fn the_key_depends_on_modules_and_on_checksums() {
        let assembly = Assembly::of(version("pkg:maven/org.opensearch/opensearch@2.3.0")).unwrap();
        let key = |modules: &[&str], sha256: &str| {
            let modules: Vec<String> = modules.iter().map(ToString::to_string).collect();
            let pin = Pin { sha256: sha256.to_owned(), size: 1 };
            let pins = BTreeMap::from([("org.opensearch.plugin:geo:2.3.0".to_owned(), pin)]);
            id(&assembly.select(&modules, &[]).unwrap(), &pins).key
        };
        assert_eq!(key(&["geo", "rank-eval"], "a"), key(&["rank-eval", "geo"], "a"));
        assert_ne!(key(&["geo"], "a"), key(&["geo"], "b"));
        assert_ne!(key(&["geo"], "a"), key(&["geo", "rank-eval"], "a"));
    }
}
