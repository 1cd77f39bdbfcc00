//! RabbitMQ: how it is run and configured.
//!
//! Two processes: the port mapper (epmd) as a child of our own, because the broker would start one as a daemon that nobody ends, and the broker,
//! spawned directly, because the packaged scripts insist on root's paths. Identity is the cluster name in Connection.Start, which is made
//! from the node name.

use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::container::{Container, IDENTITY, KNOWN, literal, password, shell};
use super::{Access, Data, Fresh, Inputs, Launch};
use crate::artifact::{Installed, Key, Plugin};
use crate::model::Service;
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};

/// Settings that this project sets itself; the manifest may not.
pub(super) const RESERVED: &[&str] = &[
    "listeners.*",
    "management.tcp.*",
    "management.ssl.*",
    "management.listener.*",
    "distribution.*",
    "cluster_name",
    "default_user*",
    "default_pass*",
    "loopback_users*",
    "anonymous_login_*",
    // Who may log in is asked nobody else, and the broker joins nobody.
    "auth_*",
    "cluster_formation.*",
    // These bring users, permissions and connections from a file.
    "load_definitions",
    "management.load_definitions",
    "definitions.*",
    // These write files where they like, or send the log away.
    "log.console",
    "log.dir",
    "log.file*",
    "log.*.file",
    "log.exchange*",
    "log.syslog*",
    "management.http_log_dir",
    "raft.data_dir",
];

/// The folder of its data, in that of the service.
pub(super) const DATA: &str = "mnesia";

/// The plugin with the console and the HTTP API.
pub(super) const MANAGEMENT: &str = "rabbitmq_management";

/// The applications that make up the broker itself; plugins come on top.
const BROKER: [&str; 3] = ["rabbit", "rabbitmq_prelaunch", "rabbit_common"];

pub(super) fn access(place: &Place) -> Access {
    Access { user: Some("invenio"), database: Some("/"), authenticated: true, identity: node(place) }
}

/// The node name. `localhost` keeps the host's name, which changes with the network, out of the data.
fn node(place: &Place) -> String {
    format!("{}@localhost", place.identity())
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, .. } = inputs;
    let server = &installed["rabbitmq"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let plugins = &service.plugins.value;

    let mut conf = format!(
        "# Written by ecosystem; changes are lost.\nlisteners.tcp.1 = {bind}:{}\n\
         cluster_name = {}\ndefault_user = invenio\ndefault_pass = {}\nlog.console = true\nlog.file = false\n",
        endpoint.port("amqp"),
        endpoint.identity,
        secret.reveal(),
    );
    if let Some(port) = endpoint.ports.get("http") {
        let _ = write!(conf, "management.tcp.ip = {bind}\nmanagement.tcp.port = {port}\n");
    }
    conf.push_str(&settings(service));
    let files = [
        ("rabbitmq.conf", Content::Secret(conf)),
        ("advanced.config", Content::Text("[].\n".to_owned())),
        ("enabled_plugins", Content::Text(enabled(service))),
        ("conf.d", Content::Folder),
        ("log", Content::Folder),
        // Made from the secret, so that it is stable and needs no store of its own.
        ("home/.erlang.cookie", Content::Cookie(Key::of(["erlang cookie", secret.reveal()]).to_string())),
    ];
    let mut files: Vec<File> =
        files.into_iter().map(|(name, content)| File { path: home.join(name), content }).collect();
    // A folder with only the plugins that are used: fewer code paths to search, 1.8 s off a start of 4.3 s.
    for (name, plugin) in needed(server, plugins) {
        let target = plugin.folder.clone();
        let link = home.join("plugins").join(target.file_name().unwrap_or(name));
        files.push(File { path: link, content: Content::Link(target) });
    }

    let data = home.join(DATA);
    let processes = vec![epmd(inputs, server), broker(inputs, server, &data)]
        .into_iter()
        .map(|(name, argv, env, stop)| Process {
            service: service.name.clone(),
            name: name.to_owned(),
            argv,
            env,
            cwd: home.clone(),
            run_as,
            stop,
            log: place.log(&service.name, name),
            log_limit: super::LOG_LIMIT,
            labels: super::labels(inputs, &server.version, &[("plugins", plugins.join(", "))]),
            rules: Rules::default(),
        })
        .collect();
    Launch {
        processes,
        // A broker that finds no port mapper starts a daemon of its own, which nobody would end.
        gate: service.ports_at(place.offset).get("epmd").copied(),
        files,
        data: Data { folder: data, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("rabbitmq {}", super::major(&server.version)),
        settings: super::origins(service),
    }
}

/// The settings of the manifest as lines of a configuration file.
fn settings(service: &Service) -> String {
    let mut text = String::new();
    for (name, value) in &service.settings {
        let _ = writeln!(text, "{name} = {}", value.value);
    }
    text
}

/// The file that names the plugins.
fn enabled(service: &Service) -> String {
    format!("[{}].\n", service.plugins.value.join(","))
}

pub(super) fn container(service: &Service) -> Container {
    let mut container = Container::new("/var/lib/rabbitmq", 1024)
        // The cluster and the folder of the data are named after it, and the name of the host is another one in every container.
        .with("RABBITMQ_NODENAME", format!("{IDENTITY}@localhost"))
        .with("RABBITMQ_DEFAULT_USER", "invenio")
        .with("RABBITMQ_DEFAULT_PASS", password(service, KNOWN))
        .with("ECOSYSTEM_PLUGINS", literal(&enabled(service)))
        .with("ECOSYSTEM_SETTINGS", literal(&settings(service)));
    container.command = shell(
        "printf %s \"$$ECOSYSTEM_PLUGINS\" > /etc/rabbitmq/enabled_plugins \
         && printf %s \"$$ECOSYSTEM_SETTINGS\" > /etc/rabbitmq/conf.d/90-ecosystem.conf \
         && exec docker-entrypoint.sh rabbitmq-server",
    );
    container.healthy = "rabbitmq-diagnostics -q check_port_listener 5672 \
     && printf '%s\\n' \"$$RABBITMQ_DEFAULT_PASS\" | rabbitmqctl -q authenticate_user \"$$RABBITMQ_DEFAULT_USER\"".into();
    // Each check boots a virtual machine, twice.
    container.interval_s = 10;
    container
}

type Parts = (&'static str, Vec<String>, BTreeMap<String, String>, Stop);

fn epmd(inputs: Inputs<'_>, server: &Installed) -> Parts {
    let port = inputs.service.ports_at(inputs.place.offset)["epmd"];
    let argv = vec![
        server.path("epmd").to_string(),
        "-address".to_owned(),
        inputs.bind.to_owned(),
        "-port".to_owned(),
        port.to_string(),
    ];
    let mut env = super::environment(&inputs.place.service(&inputs.service.name).join("home"));
    libraries(server, &mut env);
    ("epmd", argv, env, Stop { signal: Signal::Term, grace_ms: 500 })
}

fn broker(inputs: Inputs<'_>, server: &Installed, mnesia: &Utf8Path) -> Parts {
    let Inputs { service, place, bind, .. } = inputs;
    let home = way_home(&place.service(&service.name));
    let mnesia = home.join(mnesia.file_name().unwrap_or("mnesia"));
    let ports = service.ports_at(place.offset);
    let bin = server.path("erts-bin");
    let mut env = super::environment(&home.join("home"));
    libraries(server, &mut env);
    let own: [(&str, String); 21] = [
        ("PATH", format!("{bin}:/usr/bin:/bin")),
        ("ROOTDIR", server.path("erlang").to_string()),
        ("BINDIR", bin.to_string()),
        ("EMU", "beam".to_owned()),
        ("PROGNAME", "erl".to_owned()),
        ("ERL_LIBS", home.join("plugins").to_string()),
        ("ERL_MAX_ETS_TABLES", "50000".to_owned()),
        ("ERL_EPMD_PORT", ports["epmd"].to_string()),
        ("ERL_EPMD_ADDRESS", bind.to_owned()),
        ("RABBITMQ_HOME", server.path("home").to_string()),
        ("RABBITMQ_PLUGINS_DIR", home.join("plugins").to_string()),
        ("RABBITMQ_NODENAME", node(place)),
        ("RABBITMQ_DIST_PORT", ports["distribution"].to_string()),
        ("RABBITMQ_MNESIA_BASE", mnesia.to_string()),
        ("RABBITMQ_LOG_BASE", home.join("log").to_string()),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        ("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf").to_string()),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", home.join("advanced.config").to_string()),
        ("RABBITMQ_CONFIG_FILES", home.join("conf.d").to_string()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins").to_string()),
    ];
    env.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
    env.insert("RABBITMQ_PID_FILE".to_owned(), home.join("rabbit.pid").to_string());

    // Debian's `+sbwt` busy waiting is left out on purpose: it costs about 1.5 s of a start.
    let interface = format!("{{{}}}", bind.replace('.', ","));
    let argv = [
        server.path("erlexec").as_str(),
        "-noinput",
        "-s",
        "rabbit",
        "boot",
        "-boot",
        "start_sasl",
        "-syslog",
        "logger",
        "[]",
        "-syslog",
        "syslog_error_logger",
        "false",
        "-kernel",
        "prevent_overlapping_partitions",
        "false",
        "-kernel",
        "inet_dist_use_interface",
        &interface,
        "+B",
        "i",
    ];
    // Listeners and message stores are closed within 20 ms of SIGTERM; what follows is 5 s of idling in the management plugin.
    // The live test `confirmed_persistent_messages_survive_the_quick_stop` is the licence for the short grace.
    let stop = Stop { signal: Signal::Term, grace_ms: 1_200 };
    ("rabbitmq", argv.iter().map(ToString::to_string).collect(), env, stop)
}

/// A path to the working directory in which nothing has a meaning for the broker: it takes names of folders for patterns, and puts them
/// into a command line of a shell (`df`), where a quote makes it wait for ever and a backtick is carried out.
fn way_home(home: &Utf8Path) -> Utf8PathBuf {
    let plain = |c: char| c.is_alphanumeric() || "/._- +,@:=".contains(c);
    if home.as_str().chars().all(plain) { home.to_owned() } else { "/proc/self/cwd".into() }
}

fn libraries(server: &Installed, env: &mut BTreeMap<String, String>) {
    if let Some(path) = server.library_path() {
        env.insert("LD_LIBRARY_PATH".to_owned(), path);
    }
}

/// The broker's applications, the enabled plugins, and everything that they need of what ships with RabbitMQ.
fn needed<'a>(server: &'a Installed, enabled: &[String]) -> BTreeMap<&'a str, &'a Plugin> {
    let mut todo: Vec<&str> = BROKER.into_iter().chain(enabled.iter().map(String::as_str)).collect();
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::new());
    while let Some(name) = todo.pop() {
        // What is not among RabbitMQ's own plugins belongs to Erlang, which has its own path.
        let Some((name, plugin)) = server.facts.plugins.get_key_value(name) else { continue };
        if seen.insert(name) {
            todo.extend(plugin.needs.iter().map(String::as_str));
            found.insert(name.as_str(), plugin);
        }
    }
    found
}
