//! OpenSearch Dashboards: how it is run from its official archive or from PATH, and as a container.
//!
//! Its own security plugin needs the one of the server, which is off here: of an archive it is left out when that is unpacked, of a program of
//! the machine it is switched off. Identity is the name that it gives itself.

use std::fmt::Write;

use super::container::{Container, IDENTITY, Peer};
use super::{Access, Data, Fresh, Inputs, Launch, yaml_text};
use crate::model::Service;
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};
use crate::tenant::MAIN_PREFIX;

/// Settings that this project sets itself; the manifest may not.
pub(super) const RESERVED: &[&str] = &[
    "server.host",
    "server.port",
    "server.name",
    "opensearch.hosts",
    "path.*",
    // This writes a file where it likes.
    "pid.file",
    // The supervisor keeps the log.
    "logging.dest",
    // Whether there is a login follows from the distribution.
    "opensearch_security.*",
    // Every page in a browser of this machine could use it: there is no login.
    "server.cors",
    "server.cors.*",
];

/// The most that the heap of its Node may take, in megabytes.
pub(super) const HEAP_MB: u64 = 512;

/// The fact of an installation that the security plugin is in it.
pub const SECURITY_PLUGIN: &str = "security-plugin";

/// The indices that it shows first are those of the main instance.
pub(super) fn access(place: &Place) -> Access {
    Access { user: None, database: Some(MAIN_PREFIX), authenticated: false, identity: place.identity() }
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, around } = inputs;
    let server = &installed["dashboards"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let (data, config) = (home.join("data"), home.join("config/opensearch_dashboards.yml"));

    let mut settings = vec![
        ("server.host", bind.to_owned()),
        ("server.port", endpoint.port("http").to_string()),
        ("server.name", endpoint.identity.clone()),
        ("path.data", yaml_text(data.as_str())),
        ("logging.dest", "stdout".to_owned()),
    ];
    let mut secrets = false;
    if let Some(search) = service.needs.iter().find_map(|name| around.endpoints.get(name)) {
        settings.push(("opensearch.hosts", format!("[\"http://{}\"]", search.address("http"))));
        if let (Some(user), Some(password)) = (&search.user, &search.secret) {
            secrets = true;
            settings.push(("opensearch.username", yaml_text(user)));
            settings.push(("opensearch.password", yaml_text(password.reveal())));
        }
    }
    if server.facts.paths.contains_key(SECURITY_PLUGIN) {
        settings.push(("opensearch_security.enabled", "false".to_owned()));
    }
    let own = QUIET.iter().filter(|(name, _)| !service.settings.contains_key(*name));
    settings.extend(own.map(|(name, value)| (*name, (*value).to_owned())));
    settings.retain(|(name, _)| !service.settings.contains_key(*name));
    let mut yaml = "# Written by ecosystem; changes are lost.\n".to_owned();
    for (name, value) in settings {
        let _ = writeln!(yaml, "{name}: {value}");
    }
    for (name, value) in &service.settings {
        let _ = writeln!(yaml, "{name}: {}", scalar(&value.value));
    }
    let content = if secrets { Content::Secret(yaml) } else { Content::Text(yaml) };

    let mut env = super::environment(&home);
    env.insert("NODE_OPTIONS".to_owned(), format!("--max-old-space-size={HEAP_MB}"));
    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv: vec![server.path("program").to_string(), "--config".to_owned(), config.to_string()],
        env,
        cwd: home.clone(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels: super::labels(inputs, &server.version, &[]),
        rules: Rules { after: service.needs.clone(), ..Rules::default() },
    };
    Launch {
        processes: vec![process],
        gate: None,
        files: vec![File { path: config, content }],
        data: Data { folder: data, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("dashboards {}", super::major(&server.version)),
        settings: super::origins(service),
    }
}

/// Nothing is told to anybody outside, and lines of the log are for people.
const QUIET: [(&str, &str); 2] = [("telemetry.enabled", "false"), ("logging.json", "false")];

/// A value of the manifest: numbers, truths and lists as they are, for it takes no text instead.
fn scalar(value: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(value) {
        Ok(serde_json::Value::Null | serde_json::Value::String(_)) | Err(_) => yaml_text(value),
        Ok(_) => value.to_owned(),
    }
}

/// `server` is the service that it shows.
pub(super) fn container(service: &Service, server: Option<Peer<'_>>) -> Container {
    let mut container =
        Container::new("/usr/share/opensearch-dashboards/data", 1024).with("SERVER_NAME", IDENTITY);
    let mut own = "127.0.0.1:5601".to_owned();
    match server {
        None => {}
        Some(Peer::Container(server)) => {
            container = container.with("OPENSEARCH_HOSTS", format!("[\"http://{server}:9200\"]"));
            container.after = vec![server.to_owned()];
        }
        Some(Peer::Outside { server, listen, .. }) => {
            own = listen.address("http");
            container = container
                .with("OPENSEARCH_HOSTS", format!("[\"http://{}\"]", server.address("http")))
                .with("SERVER_HOST", listen.host.clone())
                .with("SERVER_PORT", listen.port("http").to_string());
            container.host_network = true;
        }
    }
    // Its own has to go where that of the server is off.
    container = container.with("DISABLE_SECURITY_DASHBOARDS_PLUGIN", "true");
    container.healthy = format!("curl -fsS http://{own}/api/status").into();
    container.interval_s = 5;
    if let Some(setting) = service.settings.keys().next() {
        container.falls_short = Some(format!("the image is not told `{setting}` and other settings"));
    }
    container
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::artifact::{Facts, Installation, Installed, Key};
    use crate::catalog::{Around, launch};
    use crate::endpoint::Secret;
    use crate::model::{Flags, Layer, resolve};
    use crate::process::RunAs;

    fn configuration(manifest: &str, plugin: bool) -> String {
        let sum = "0".repeat(64);
        let text =
            format!("[services.dashboards]\nget = \"https://h/x.tar.gz\"\nsha256 = \"{sum}\"\n{manifest}");
        let model = resolve(&[Layer { name: "ecosystem.toml", text: &text }], &Flags::default()).unwrap();
        let place = Place {
            id: "p".into(),
            root: "/p".into(),
            state: "/p/.ecosystem".into(),
            store: "/store".into(),
            offset: 100,
        };
        let mut facts = Facts::default();
        facts.paths.insert("program".into(), "/store/d/bin/opensearch-dashboards".into());
        if plugin {
            facts.paths.insert(SECURITY_PLUGIN.into(), "/store/d/plugins/securityDashboards".into());
        }
        let server = Installed {
            name: "dashboards".into(),
            version: "2.3.0".into(),
            key: Key::of(["x"]),
            root: "/store/d".into(),
            facts,
        };
        let made = launch(Inputs {
            service: &model.services["dashboards"],
            place: &place,
            bind: "127.0.0.1",
            installed: &Installation::from([("dashboards".into(), server)]),
            run_as: RunAs::Me,
            secret: &Secret::new(""),
            around: &Around::of(&model.services, &place, "127.0.0.1", "", |_| Secret::new("")),
        });
        let process = &made.processes[0];
        assert_eq!(
            process.argv[1..],
            ["--config", "/p/.ecosystem/dashboards/config/opensearch_dashboards.yml"]
        );
        assert_eq!(process.env["NODE_OPTIONS"], "--max-old-space-size=512");
        assert_eq!(made.made_by, "dashboards 2");
        let known: BTreeMap<&str, &str> =
            made.files.iter().map(|f| (f.path.as_str(), f.content.text())).collect();
        known.values().next().unwrap().to_string()
    }

    #[test]
    fn it_shows_the_search_engine_of_the_project_and_tells_nobody() {
        insta::assert_snapshot!(configuration("settings = { \"server.maxPayloadBytes\" = 5, \"telemetry.enabled\" = true, \"i18n.locale\" = \"en\" }", false), @r#"
        # Written by ecosystem; changes are lost.
        server.host: 127.0.0.1
        server.port: 5901
        server.name: ecosystem-p
        path.data: "/p/.ecosystem/dashboards/data"
        logging.dest: stdout
        opensearch.hosts: ["http://127.0.0.1:9500"]
        logging.json: false
        i18n.locale: "en"
        server.maxPayloadBytes: 5
        telemetry.enabled: true
        "#);
    }

    #[test]
    fn the_security_plugin_is_named_only_where_it_is() {
        // What it does not know keeps it from starting.
        assert!(!configuration("", false).contains("security"));
        assert!(configuration("", true).contains("opensearch_security.enabled: false\n"));
    }
}
