//! OpenSearch: the standard layout from official jars, and the class archive that halves its start.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Installed, Key};
use ecosystem_core::catalog::opensearch::{Jvm, LOG4J};
use ecosystem_core::process::RunAs;
use ecosystem_core::release::assembly::{Selection, descriptor};

use super::lock::Pin;
use super::maven::Jars;
use super::run::process;
use super::store::{Built, Id, Source, Store};
use crate::event::{Events, Section, Task};
use crate::sys::fs::{create_private_dir, write_atomic};
use crate::sys::{interrupt, launch};

/// Changes when the same jars make something else.
const REVISION: &str = "1";
/// The heap while the class archive is made; the archive does not depend on it.
const HEAP: &str = "512m";

/// Where an assembled server is, or will be, in the store.
pub(super) fn id(
    version: &str,
    selection: &Selection<'_>,
    pins: &std::collections::BTreeMap<String, Pin>,
) -> Id {
    let sum = |jar: &str| pins.get(jar).map_or("unpinned", |pin| pin.sha256.as_str()).to_owned();
    let sums: Vec<String> = selection.jars().into_iter().map(|jar| format!("{jar} {}", sum(jar))).collect();
    let folders: Vec<String> = selection.folders().map(|(folder, ..)| folder).collect();
    let parts = ["opensearch", REVISION, version].into_iter();
    let parts = parts.chain(sums.iter().map(String::as_str)).chain(folders.iter().map(String::as_str));
    Id { name: "opensearch".to_owned(), version: version.to_owned(), key: Key::of(parts) }
}

/// Lays the jars out as the distribution does.
pub(super) fn build(
    version: &str,
    selection: &Selection<'_>,
    jars: &Jars,
    pins: &std::collections::BTreeMap<String, Pin>,
    folder: &Utf8Path,
) -> anyhow::Result<Built> {
    let place = |jar: &String, into: &Utf8Path| -> anyhow::Result<()> {
        let from = jars.path(jar);
        let to = into.join(from.file_name().unwrap_or(jar));
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {from}"))?;
        Ok(())
    };
    for empty in ["lib", "modules", "plugins", "config"] {
        create_private_dir(&folder.join(empty))?;
    }
    selection.lib().iter().try_for_each(|jar| place(jar, &folder.join("lib")))?;
    for (path, name, component) in selection.folders() {
        let path = folder.join(path);
        create_private_dir(&path)?;
        component.jars.iter().try_for_each(|jar| place(jar, &path))?;
        let text = descriptor(name, component, version);
        write_atomic(&path.join("plugin-descriptor.properties"), text.as_bytes(), 0o600)?;
        if let Some(policy) = &component.policy {
            write_atomic(&path.join("plugin-security.policy"), policy.as_bytes(), 0o600)?;
        }
    }
    let mut built = Built::default();
    built.facts.paths.insert("home".to_owned(), folder.to_owned());
    built.sources = selection
        .jars()
        .into_iter()
        .filter_map(|jar| Some(Source { name: jar.to_owned(), sha256: pins.get(jar)?.sha256.clone() }))
        .collect();
    Ok(built)
}

/// Where the class archive of a server on a Java is, or will be.
pub(super) fn archive_id(server: &Installed, java: &Installed) -> Id {
    Id {
        name: "opensearch-cds".to_owned(),
        version: server.version.clone(),
        key: Key::of(["class archive", REVISION, &server.key.to_string(), &java.key.to_string()]),
    }
}

/// Starts the server once and lets the JVM write down the classes it loaded: later starts take 2.4 s instead of 3.3 s.
pub(super) fn archive(
    store: &Store,
    server: &Installed,
    java: &Installed,
    run_as: RunAs,
    events: &dyn Events,
) -> anyhow::Result<Installed> {
    store.ensure(&archive_id(server, java), events, |folder| {
        let task =
            Task::start(events, Section::Build, format!("opensearch class archive {}", server.version));
        let work = store.scratch()?;
        let (config, tmp) = (work.path().join("config"), work.path().join("tmp"));
        create_private_dir(&tmp)?;
        let (http, transport) = (free_port()?, free_port()?);
        write_atomic(
            &config.join("opensearch.yml"),
            settings(work.path(), http, transport).as_bytes(),
            0o600,
        )?;
        write_atomic(&config.join("log4j2.properties"), LOG4J.as_bytes(), 0o600)?;
        let archive = folder.join("classes.jsa");
        let jvm = Jvm { java, server, heap: HEAP, config: &config, tmp: &tmp };
        let argv = jvm.argv(&[&format!("-XX:ArchiveClassesAtExit={archive}")]);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut child = launch::spawn(&process(&argv, jvm.env(work.path()), work.path(), run_as))?;
        let used = use_it(http, &mut child, work.path());
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        child.wait()?;
        used?;
        let size = std::fs::metadata(&archive).map_or(0, |meta| meta.len());
        anyhow::ensure!(
            size > 0,
            "the JVM wrote no class archive; its log ends with\n{}",
            log_end(work.path())
        );
        let mut built = Built::default();
        built.facts.paths.insert("archive".to_owned(), archive);
        task.finish(super::megabytes(size));
        Ok(built)
    })
}

fn settings(work: &Utf8Path, http: u16, transport: u16) -> String {
    let quoted = |path: &str| serde_json::Value::from(work.join(path).as_str()).to_string();
    format!(
        "cluster.name: build\nnode.name: build\nnetwork.host: 127.0.0.1\nhttp.port: {http}\ntransport.port: {transport}\n\
         discovery.type: single-node\npath.data: {}\npath.logs: {}\n",
        quoted("data"),
        quoted("logs"),
    )
}

/// A port that is free now. Another process may take it; the build then fails and is repeated.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Does with the server what a first `up` does with it, so that the classes for that are loaded.
fn use_it(port: u16, child: &mut std::process::Child, work: &Utf8Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        if http(port, "GET", "/_cluster/health?wait_for_status=yellow", "")
            .is_ok_and(|a| a.contains("\"status\":"))
        {
            break;
        }
        if let Some(status) = child.try_wait()? {
            anyhow::bail!(
                "OpenSearch ended with {status} while it was tried out; its log ends with\n{}",
                log_end(work)
            );
        }
        anyhow::ensure!(
            begin.elapsed() < Duration::from_mins(2),
            "OpenSearch did not start:\n{}",
            log_end(work)
        );
        interrupt::pause(Duration::from_millis(50), || false)?;
    }
    let requests = [
        ("GET", "/", ""),
        ("PUT", "/a/_doc/1?refresh=true", "{\"a\":1}"),
        ("POST", "/a/_bulk", "{\"index\":{}}\n{\"a\":2}\n"),
        ("GET", "/a/_search", ""),
        ("DELETE", "/a", ""),
    ];
    for (method, path, body) in requests {
        http(port, method, path, body)?;
    }
    Ok(())
}

fn http(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn log_end(work: &Utf8Path) -> String {
    launch::tail(&work.join("log"), 2_000).unwrap_or_default()
}
