//! Redis: how it is run and configured.
//!
//! Identity is the path of its configuration file, which `INFO server` reports: no other server was started with it.

use std::fmt::Write;

use camino::Utf8Path;

use super::container::{Container, IDENTITY, KNOWN, literal, password, shell};
use super::{Access, Data, Fresh, Inputs, Launch};
use crate::model::{Backend, Service};
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};
use crate::tenant::REDIS_DATABASES;

/// Settings that this project sets itself; the manifest may not.
pub(super) const RESERVED: &[&str] = &[
    "bind*",
    "port",
    "tls-*",
    "dir",
    "requirepass",
    "daemonize",
    "logfile",
    "pidfile",
    "unixsocket*",
    "include",
    "protected-mode",
    "rename-command",
    "user",
    "aclfile",
    // These load code, or let clients do so.
    "loadmodule*",
    "enable-*",
    // These fetch data from strangers, and run what comes with it, or open another port.
    "replicaof",
    "slaveof",
    "master*",
    "primary*",
    "cluster-*",
    "sentinel",
];

pub(super) fn access(service: &Service, place: &Place) -> Access {
    let conf = match service.backend.value {
        Backend::Native | Backend::External => place.service(&service.name).join("redis.conf"),
        Backend::Compose => format!("/data/{}.conf", place.identity()).into(),
    };
    Access { user: None, database: None, authenticated: true, identity: pattern(&conf) }
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, .. } = inputs;
    let server = &installed["redis"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let data = home.join("data");
    let conf = home.join("redis.conf");

    let mut text = format!(
        "# Written by ecosystem; changes are lost.\nbind {bind}\nport {}\ndir {}\nrequirepass {}\n\
         daemonize no\npidfile \"\"\nlogfile \"\"\n",
        endpoint.port("redis"),
        quoted(data.as_str()),
        secret.reveal(),
    );
    text.push_str(&settings(service));
    let mut files = vec![File { path: conf.clone(), content: Content::Secret(text.clone()) }];
    let mut labels = super::labels(inputs, &server.version, &[]);
    // What tenants take is not compared: a Redis that was started without it serves as well until it is restarted for another reason, and
    // what it holds may lie in its memory alone.
    labels.insert(super::RECIPE.to_owned(), super::recipe(&files).to_string());
    if !service.settings.contains_key("databases") {
        let _ = writeln!(text, "databases {REDIS_DATABASES}");
        files[0].content = Content::Secret(text);
    }

    let mut env = super::environment(&home);
    if let Some(libraries) = server.library_path() {
        env.insert("LD_LIBRARY_PATH".to_owned(), libraries);
    }
    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv: vec![server.path("server").to_string(), pattern(&conf)],
        env,
        cwd: home,
        run_as,
        // With save points configured SIGTERM writes the data set first; measured 0.1 s, larger data sets take longer.
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels,
        rules: Rules::default(),
    };
    Launch {
        processes: vec![process],
        gate: None,
        files,
        data: Data { folder: data, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("redis {}", super::major(&server.version)),
        settings: super::origins(service),
    }
}

/// The settings of the manifest as lines of a configuration file.
fn settings(service: &Service) -> String {
    let mut text = String::new();
    for (name, value) in &service.settings {
        // Redis knows yes and no where TOML knows true and false.
        let value = match value.value.as_str() {
            "true" => "yes",
            "false" => "no",
            other => other,
        };
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

pub(super) fn container(service: &Service) -> Container {
    let mut container = Container::new("/data", 512)
        .with("REDIS_PASSWORD", password(service, KNOWN))
        .with("ECOSYSTEM_SETTINGS", literal(&settings(service)))
        .with("ECOSYSTEM_IDENTITY", IDENTITY);
    // On a command line everybody on the machine would read the password: it goes into a file. By the name of the file the server can be
    // told from others; the entry point gives it, with everything in this folder, to the server's user.
    let line = "umask 077 && printf '%s\\nrequirepass %s\\n' \"$$ECOSYSTEM_SETTINGS\" \"$$REDIS_PASSWORD\" > \"/data/$$ECOSYSTEM_IDENTITY.conf\" \
                && exec docker-entrypoint.sh redis-server \"/data/$$ECOSYSTEM_IDENTITY.conf\"";
    container.command = shell(line);
    container.healthy =
        "REDISCLI_AUTH=\"$$REDIS_PASSWORD\" redis-cli -h 127.0.0.1 ping | grep -q PONG".into();
    container.grace_s = 10;
    container
}

/// The path of its configuration as Redis takes it: as a pattern, where it could be one. A pattern that fits nothing is no error for
/// Redis: it would start without any configuration, on its own port and without a password.
fn pattern(conf: &Utf8Path) -> String {
    if !conf.as_str().contains(['*', '?', '[']) {
        return conf.to_string();
    }
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\');
    conf.as_str().chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A value in Redis' own quoting, for paths with spaces.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
