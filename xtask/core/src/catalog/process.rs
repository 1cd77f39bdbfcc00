//! A program of the project's own: how it is run. It says nothing of itself, so it is ours because our supervisor runs it.
//!
//! Its environment is the clean one of servers with three additions. `PATH` is the person's, because its programs are theirs: those of
//! a virtual environment, for instance. How to reach the services that it starts after comes as the variables that `env` prints: an
//! environment is readable by the same user only, as `secrets.toml` is, while a command line is readable by everybody. The
//! variables of the manifest come last and win.

use std::collections::BTreeMap;

use super::{Access, Data, Fresh, Inputs, Kind, Launch, is_secret_setting};
use crate::artifact::Key;
use crate::endpoint::{Endpoint, Ready, Watched};
use crate::model::template::{self, PortRef};
use crate::model::{Program, Service};
use crate::place::Place;
use crate::process::{Process, Rules, RunAs, Signal, Stop, command_line};
use crate::render::env::variables;

/// Where programs are looked for, where nobody says anything else.
const NO_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn access() -> Access {
    Access { user: None, database: None, authenticated: false, identity: String::new() }
}

/// How it is known to be ready; `None` for servers.
pub(super) fn watched(service: &Service, place: &Place) -> Option<Watched> {
    let program = service.program.as_ref().filter(|_| service.kind == Kind::Process)?;
    let ports = BTreeMap::from([(service.name.clone(), service.ports_at(place.offset))]);
    let ready = match &program.ready.value {
        Ready::Command(words) => {
            Ready::Command(words.iter().map(|word| filled(word, &service.name, &ports)).collect())
        }
        other => other.clone(),
    };
    Some(Watched { state: place.state.clone(), service: service.name.clone(), ready })
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, secret, around, .. } = inputs;
    let Some(program) = &service.program else { unreachable!("the model gives every process a program") };
    let fill = |text: &str| filled(text, &service.name, &around.ports);
    let home = place.service(&service.name);
    let argv: Vec<String> = program.command.value.iter().map(|word| fill(word)).collect();
    let mut env = super::environment(&home);
    env.insert(
        "PATH".to_owned(),
        if around.path.is_empty() { NO_PATH.to_owned() } else { around.path.clone() },
    );
    env.extend(settings(program, &around.endpoints));
    env.extend(program.env.iter().map(|(name, value)| (name.clone(), fill(&value.value))));
    let inherited = if program.env.contains_key("PATH") { vec![] } else { vec!["PATH".to_owned()] };

    let mut labels = BTreeMap::from([
        (super::COMMAND.to_owned(), command_line(&argv)),
        ("cwd".to_owned(), program.cwd.to_string()),
        ("restart".to_owned(), program.restart.value.word().to_owned()),
        // Values that may hold a secret differ in this alone.
        (
            "recipe".to_owned(),
            Key::of(
                env.iter().filter(|(name, _)| !inherited.contains(name)).flat_map(|(n, v)| [n.as_str(), v]),
            )
            .to_string(),
        ),
    ]);
    for (role, port) in service.ports_at(place.offset) {
        labels.insert(format!("ports.{role}"), port.to_string());
    }
    for (name, endpoint) in program.after.value.iter().filter_map(|name| around.endpoints.get_key_value(name))
    {
        labels.insert(format!("after.{name}"), endpoint.shown().join(", "));
    }
    for (name, value) in program.env.iter().filter(|(name, _)| !is_secret_setting(&name.to_ascii_lowercase()))
    {
        labels.insert(format!("env.{name}"), fill(&value.value));
    }

    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv,
        env,
        cwd: if program.cwd.value == "." { place.root.clone() } else { place.root.join(&program.cwd.value) },
        // It is the person's own: nothing in it refuses root.
        run_as: RunAs::Me,
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels,
        rules: Rules {
            restart: program.restart.value,
            after: program.after.value.clone(),
            inherited,
            ..Rules::default()
        },
    };
    Launch {
        processes: vec![process],
        gate: None,
        files: vec![],
        data: Data { folder: home.join("data"), fresh: Fresh::Empty, lock: None, version: None },
        endpoint: super::endpoint(service, place, bind, secret),
        // Whatever it keeps there is its own business: there is one version of that.
        made_by: "process 1".to_owned(),
        settings: BTreeMap::new(),
    }
}

/// Ports by service and role.
type Ports = BTreeMap<String, BTreeMap<String, u16>>;

fn filled(text: &str, own: &str, ports: &Ports) -> String {
    template::fill(text, |PortRef { service, role }| ports.get(service.unwrap_or(own))?.get(role).copied())
}

/// How to reach the services that are named: those alone, so that a mail catcher gets no password, and of two services of a kind
/// the one that is meant.
fn settings(program: &Program, endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
    let named = program.after.value.iter().filter_map(|name| endpoints.get_key_value(name));
    variables(&named.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Around, launch};
    use super::*;
    use crate::artifact::Installation;
    use crate::endpoint::Secret;
    use crate::model::{Flags, Layer, resolve};
    use crate::process::RunAs;

    const FLOWER: &str = r#"
[services.flower]
kind    = "process"
command = ["celery", "flower", "--port={port.web}", "it's {port.rabbitmq.http}"]
ports   = { web = 5555 }
ready   = { http = "web", path = "/healthcheck" }
after   = ["rabbitmq"]
restart = "always"
env     = { FLOWER_PORT = "{port.web}", FLOWER_BASIC_AUTH = "me:hunter2" }
cwd     = "site"
"#;

    fn launched(text: &str, path: &str) -> Launch {
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let place = Place::of_test(100);
        let secret = |_: &str| Secret::new("s3cret");
        let around = Around::of(&ecosystem.services, &place, "127.0.0.1", path, secret);
        let service = ecosystem.services.values().find(|service| service.program.is_some()).unwrap();
        launch(Inputs {
            service,
            place: &place,
            bind: "127.0.0.1",
            installed: &Installation::new(),
            run_as: RunAs::Mapped(1000),
            secret: &Secret::new(""),
            around: &around,
        })
    }

    #[test]
    fn a_process_gets_its_ports_its_path_and_what_it_starts_after() {
        let launch = launched(FLOWER, "/venv/bin:/usr/bin");
        let process = &launch.processes[0];
        insta::assert_snapshot!(serde_json::to_string_pretty(process).unwrap(), @r#"
        {
          "service": "flower",
          "name": "flower",
          "argv": [
            "celery",
            "flower",
            "--port=5655",
            "it's 15972"
          ],
          "env": {
            "AMQP_URL": "amqp://invenio:s3cret@127.0.0.1:5972/%2F",
            "CELERY_BROKER_URL": "amqp://invenio:s3cret@127.0.0.1:5972/%2F",
            "FLOWER_BASIC_AUTH": "me:hunter2",
            "FLOWER_PORT": "5655",
            "HOME": "/p/.ecosystem/flower",
            "INVENIO_BROKER_URL": "amqp://invenio:s3cret@127.0.0.1:5972/%2F",
            "INVENIO_CELERY_BROKER_URL": "amqp://invenio:s3cret@127.0.0.1:5972/%2F",
            "LANG": "C.UTF-8",
            "PATH": "/venv/bin:/usr/bin",
            "RABBITMQ_MANAGEMENT_URL": "http://invenio:s3cret@127.0.0.1:15972",
            "TZ": "UTC"
          },
          "cwd": "/p/site",
          "run_as": "me",
          "stop": {
            "signal": "SIGTERM",
            "grace_ms": 10000
          },
          "log": "/p/.ecosystem/logs/flower.log",
          "log_limit": 8388608,
          "labels": {
            "after.rabbitmq": "127.0.0.1:5972, 127.0.0.1:15972",
            "command": "celery flower --port=5655 'it'\\''s 15972'",
            "cwd": "site",
            "env.FLOWER_PORT": "5655",
            "ports.web": "5655",
            "recipe": "93726bd65004e439",
            "restart": "always"
          },
          "rules": {
            "restart": "always",
            "after": [
              "rabbitmq"
            ],
            "inherited": [
              "PATH"
            ]
          }
        }
        "#);
        assert_eq!(launch.endpoint.shown(), ["http://127.0.0.1:5655"]);
        assert_eq!(
            launch.endpoint.watched.unwrap().ready,
            Ready::Http { role: "web".into(), path: "/healthcheck".into() }
        );
    }

    #[test]
    fn secrets_are_on_no_command_line_and_in_no_label() {
        let launch = launched(FLOWER, "");
        let process = &launch.processes[0];
        let shown = format!("{:?} {:?}", process.argv, process.labels);
        assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
        assert!(process.env["AMQP_URL"].contains("s3cret"));
    }

    #[test]
    fn without_after_it_is_told_nothing_of_the_others() {
        let launch = launched("services.mail = { kind = \"process\", command = [\"mail\"] }", "");
        let process = &launch.processes[0];
        let names: Vec<&str> = process.env.keys().map(String::as_str).collect();
        assert_eq!(names, ["HOME", "LANG", "PATH", "TZ"]);
        assert_eq!((process.cwd.as_str(), process.env["PATH"].as_str()), ("/p", NO_PATH));
        assert_eq!(process.rules.restart.word(), "on-failure");
    }

    #[test]
    fn a_path_of_the_manifest_is_not_taken_from_the_person() {
        let text =
            "services.mail = { kind = \"process\", command = [\"mail\"], env = { PATH = \"/opt/bin\" } }";
        let launch = launched(text, "/venv/bin");
        assert_eq!(launch.processes[0].env["PATH"], "/opt/bin");
        assert!(launch.processes[0].rules.inherited.is_empty());
    }

    #[test]
    fn a_change_that_only_a_secret_shows_is_a_change() {
        let (one, other) = (launched(FLOWER, ""), launched(&FLOWER.replace("hunter2", "hunter3"), ""));
        assert_ne!(one.processes[0].labels["recipe"], other.processes[0].labels["recipe"]);
        assert_eq!(launched(FLOWER, "/a").processes[0].labels, launched(FLOWER, "/b").processes[0].labels);
    }
}
