//! OpenSearch: how it is run and configured.
//!
//! The real server from official jars, started by its own main class, with its security manager: hence Java 17 to 23.
//! Identity is the cluster name.

use std::fmt::Write;

use camino::Utf8Path;

use super::container::{Container, IDENTITY, literal};
use super::{Access, Data, Fresh, Inputs, Launch, yaml_text};
use crate::artifact::Installed;
use crate::model::Service;
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};

/// Settings that this project sets itself; the manifest may not.
pub(super) const RESERVED: &[&str] = &[
    "cluster.name",
    "node.name",
    "network.*",
    "http.port",
    "http.host",
    "http.bind_host",
    "http.publish_*",
    "transport.port",
    "transport.host",
    "transport.bind_host",
    "transport.publish_*",
    "transport.profiles*",
    "transport.tcp.*",
    "discovery.*",
    "path.*",
    // These write a file where they like.
    "pidfile",
    "node.pidfile",
    // These fetch from strangers.
    "cluster.remote.*",
    "reindex.remote.*",
    "repositories.url.*",
    // Every page in a browser of this machine could read and change everything: there is no login.
    "http.cors.*",
    // Whether there is a login follows from the distribution.
    "plugins.security.*",
    // Without it the server could start programs.
    "bootstrap.system_call_filter",
];

pub(super) fn access(place: &Place) -> Access {
    Access { user: None, database: None, authenticated: false, identity: place.identity() }
}

/// The heap, as the JVM writes it.
fn heap(service: &Service) -> &str {
    service.heap.as_ref().map_or("512m", |heap| heap.value.as_str())
}

/// The heap in megabytes, where it is written in one of the usual units.
pub(super) fn heap_megabytes(service: &Service) -> Option<u64> {
    let text = heap(service).to_ascii_lowercase();
    let number = |unit: char| text.strip_suffix(unit)?.parse::<u64>().ok();
    number('m').or_else(|| number('g')?.checked_mul(1024))
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, .. } = inputs;
    let server = &installed["opensearch"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let (data, config) = (home.join("data"), home.join("config"));

    let mut settings = vec![
        ("cluster.name", endpoint.identity.clone()),
        ("node.name", "node-1".to_owned()),
        ("network.host", bind.to_owned()),
        ("http.port", endpoint.port("http").to_string()),
        ("transport.port", endpoint.port("cluster").to_string()),
        ("discovery.type", "single-node".to_owned()),
        ("path.data", yaml_text(data.as_str())),
        ("path.logs", yaml_text(home.join("log").as_str())),
    ];
    settings.extend(without_login(server).map(|(name, value)| (name, value.to_owned())));
    let own = DEVELOPMENT.iter().filter(|(name, _)| !service.settings.contains_key(*name));
    settings.extend(own.map(|(name, value)| (*name, (*value).to_owned())));
    let mut yaml = "# Written by ecosystem; changes are lost.\n".to_owned();
    for (name, value) in settings {
        let _ = writeln!(yaml, "{name}: {value}");
    }
    for (name, value) in &service.settings {
        let _ = writeln!(yaml, "{name}: {}", yaml_text(&value.value));
    }

    let text = |yaml: &str| Content::Text(yaml.to_owned());
    let mut files = vec![
        File { path: config.join("opensearch.yml"), content: text(&yaml) },
        File { path: config.join("log4j2.properties"), content: text(LOG4J) },
        File { path: home.join("tmp"), content: Content::Folder },
        File { path: home.join("log"), content: Content::Folder },
    ];
    // Not part of what is compared: a server that was started without it serves as well, and `reset` takes longer. Snapshots lie in the
    // data, because the server remembers how far it is with them: they have to go and to come back together.
    let recipe = super::recipe(&files).to_string();
    let _ = writeln!(yaml, "path.repo: [{}]", yaml_text(data.join("snapshots").as_str()));
    files[0].content = Content::Text(yaml);

    let heap = heap(service);
    let jvm = Jvm { java: &installed["java"], server, heap, config: &config, tmp: &home.join("tmp") };
    let archive = installed["opensearch-cds"].path("archive");
    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv: jvm.argv(&[&format!("-XX:SharedArchiveFile={archive}"), "-Xshare:auto"]),
        env: jvm.env(&home),
        cwd: home.clone(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels: super::labels(
            inputs,
            &server.version,
            &[
                ("heap", heap.to_owned()),
                ("modules", service.modules.value.join(", ")),
                ("plugins", service.plugins.value.join(", ")),
                (super::RECIPE, recipe),
            ],
        ),
        rules: Rules::default(),
    };
    Launch {
        processes: vec![process],
        gate: None,
        files,
        data: Data { folder: data, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("opensearch {}", super::major(&server.version)),
        settings: super::origins(service),
    }
}

pub(super) fn container(service: &Service) -> Container {
    let heap = heap(service);
    let mut container =
        Container::new("/usr/share/opensearch/data", heap_megabytes(service).unwrap_or(512) * 2 + 512)
            .with("cluster.name", IDENTITY)
            .with("node.name", "node-1")
            .with("discovery.type", "single-node")
            .with("OPENSEARCH_JAVA_OPTS", literal(&format!("-Xms{heap} -Xmx{heap}")))
            // The images of Invenio run without a login, too: nobody but this machine reaches it.
            .with("DISABLE_SECURITY_PLUGIN", "true")
            .with("DISABLE_INSTALL_DEMO_CONFIG", "true");
    for (name, value) in DEVELOPMENT.iter().filter(|(name, _)| !service.settings.contains_key(*name)) {
        container = container.with(name, *value);
    }
    for (name, value) in &service.settings {
        container = container.with(name, literal(&value.value));
    }
    container.healthy =
        "curl -fsS 'http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=1s'".into();
    if !service.plugins.value.is_empty() {
        let names = service.plugins.value.join(", ");
        container.falls_short =
            Some(format!("the image does not have these plugins of the manifest: {names}"));
    }
    container
}

/// The fact of an installation that its distribution brings the security plugin along. What is assembled here never has it.
pub const SECURITY_PLUGIN: &str = "security-plugin";

/// What switches the login of the security plugin off: the images of Invenio run without it, too. A server without the plugin does not
/// know the setting and would not start.
pub fn without_login(server: &Installed) -> Option<(&'static str, &'static str)> {
    server.facts.paths.contains_key(SECURITY_PLUGIN).then_some(("plugins.security.disabled", "true"))
}

/// Settings for a server that shares a laptop with its developer.
const DEVELOPMENT: [(&str, &str); 4] = [
    // The circuit breaker would count garbage that the serial collector has not collected yet and refuse writes with 429.
    ("indices.breaker.total.use_real_memory", "false"),
    // The defaults are percentages: a laptop disk that is 95 % full, with 50 GB left, would make every index read-only.
    ("cluster.routing.allocation.disk.watermark.low", "1gb"),
    ("cluster.routing.allocation.disk.watermark.high", "512mb"),
    ("cluster.routing.allocation.disk.watermark.flood_stage", "256mb"),
];

/// The console only: the supervisor keeps the log.
pub const LOG4J: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

/// How the JVM is started, for serving and for making the class archive: both must be the same, or the archive is not used.
#[derive(Debug, Clone, Copy)]
pub struct Jvm<'a> {
    pub java: &'a Installed,
    pub server: &'a Installed,
    pub heap: &'a str,
    /// The folder of `opensearch.yml`.
    pub config: &'a Utf8Path,
    pub tmp: &'a Utf8Path,
}

impl Jvm<'_> {
    /// The command line, with the options that concern the class archive.
    pub fn argv(&self, archive: &[&str]) -> Vec<String> {
        let home = self.server.path("home");
        let mut argv = vec![self.java.path("java").to_string()];
        argv.extend([format!("-Xms{}", self.heap), format!("-Xmx{}", self.heap)]);
        // C1 only and the serial collector: start-up is bound by the processor, and a development server is restarted often.
        argv.extend(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"].map(String::from));
        argv.extend(archive.iter().map(ToString::to_string));
        argv.extend(["-Djava.security.manager=allow".to_owned(), format!("-Djava.io.tmpdir={}", self.tmp)]);
        argv.extend(
            [
                "-Dopensearch.networkaddress.cache.ttl=60",
                "-Dfile.encoding=UTF-8",
                "-Djna.nosys=true",
                "-Dio.netty.noUnsafe=true",
                "-Dio.netty.noKeySetOptimization=true",
                "-Dlog4j.shutdownHookEnabled=false",
                "-Dlog4j2.disable.jmx=true",
                "-Djava.locale.providers=SPI,COMPAT",
                "-Dopensearch.distribution.type=tar",
            ]
            .map(String::from),
        );
        argv.push(format!("-Dopensearch.path.home={home}"));
        argv.push(format!("-Dopensearch.path.conf={}", self.config));
        argv.extend([
            "-cp".to_owned(),
            format!("{home}/lib/*"),
            "org.opensearch.bootstrap.OpenSearch".to_owned(),
        ]);
        argv
    }

    /// The environment: `JAVA_TOOL_OPTIONS` and `OPENSEARCH_JAVA_OPTS` of the user never reach the server.
    pub fn env(&self, home: &Utf8Path) -> std::collections::BTreeMap<String, String> {
        let mut env = super::environment(home);
        env.insert("OPENSEARCH_PATH_CONF".to_owned(), self.config.to_string());
        if let Some(path) = self.java.library_path() {
            env.insert("LD_LIBRARY_PATH".to_owned(), path);
        }
        env
    }
}
