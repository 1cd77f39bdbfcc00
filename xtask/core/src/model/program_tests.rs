//! Processes of the manifest, right and wrong, written down as manifests.

use super::*;
use crate::model::{Ecosystem, Flags, Layer, failure, resolve};

fn one(text: &str) -> Result<Ecosystem, Vec<Problem>> {
    resolve(&[Layer { name: "ecosystem.toml", text }], &Flags::default())
}

fn wrong(text: &str) -> String {
    failure(&one(text).unwrap_err()).message
}

#[test]
fn a_process_is_what_the_manifest_says() {
    let text = r#"
profiles.dev = ["@core", "flower"]
[services.flower]
kind    = "process"
command = ["celery", "flower", "--port={port.web}"]
ports   = { web = 5555, metrics-2 = 5556 }
ready   = { http = "web", path = "/health" }
after   = ["rabbitmq"]
restart = "always"
env     = { DEBUG = true, BROKER = "{port.rabbitmq.amqp}" }
cwd     = "site/../site"
"#;
    let ecosystem = one(text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&ecosystem.services["flower"]).unwrap(), @r#"
    {
      "name": "flower",
      "kind": "process",
      "ports": {
        "metrics-2": 5556,
        "web": 5555
      },
      "settings": {},
      "image": null,
      "accept": null,
      "get": null,
      "backend": "native",
      "from": "store",
      "plugins": [],
      "modules": [],
      "heap": null,
      "buckets": [],
      "program": {
        "command": [
          "celery",
          "flower",
          "--port={port.web}"
        ],
        "ready": {
          "http": {
            "role": "web",
            "path": "/health"
          }
        },
        "after": [
          "rabbitmq"
        ],
        "restart": "always",
        "env": {
          "BROKER": "{port.rabbitmq.amqp}",
          "DEBUG": "true"
        },
        "cwd": "site/../site"
      }
    }
    "#);
    assert_eq!(ecosystem.profiles["dev"].last().map(String::as_str), Some("flower"));
}

#[test]
fn everything_but_the_command_may_be_left_out() {
    let ecosystem = one("services.mail = { kind = \"process\", command = [\"mail\"] }").unwrap();
    let program = ecosystem.services["mail"].program.as_ref().unwrap();
    assert_eq!((&program.ready.value, program.restart.value), (&Ready::Running, Restart::OnFailure));
    assert_eq!((program.cwd.value.as_str(), ecosystem.services["mail"].after()), (".", &[][..]));
}

#[test]
fn a_process_may_take_the_name_of_a_server() {
    let ecosystem = one("services.redis = { kind = \"process\", command = [\"valkey\"] }").unwrap();
    assert!(ecosystem.services["redis"].ports.is_empty());
}

#[test]
fn all_that_is_wrong_with_processes_arrives_together() {
    let text = r#"[services.empty]
kind = "process"
[services.mail]
kind    = "process"
command = ["mail", "{port.smpt}", "{prot.smtp}", "{port.redsi.redis}", "{port.redis.sql}"]
ports   = { smtp = 6579, "Web" = 1 }
ready   = { tcp = "stmp" }
after   = ["redsi", "empty"]
env     = { A = "{port.web}" }
cwd     = "../elsewhere"
image   = "mail:1"
from    = "path"
plugins = ["a"]
settings.a = 1
[services.redis]
command = ["redis"]
after   = ["rabbitmq"]
env.A   = 1
[services.noports]
kind = "process"
command = ["a", "{port.web}"]
cwd = "/etc"
[services.two]
kind = "process"
command = ["a"]
ports.web = 7000
ready = { tcp = "web", log = "started" }
[services.path]
kind = "process"
command = ["a"]
ports.http = 7001
ready = { http = "http", path = "health" }
[services.alone]
kind = "process"
command = ["a"]
ready.path = "/health"
[services.check]
kind = "process"
command = ["a"]
ready.command = ["nc", "127.0.0.1", "{port.two.web}"]
"#;
    insta::assert_snapshot!(wrong(text), @r#"
    24 problems in the manifest
      ecosystem.toml:1: services.empty is a process without a command
          say what it runs: command = ["program", "argument"]
      ecosystem.toml:5: services.mail.command: mail has no port `smpt`
          did you mean `smtp`?
      ecosystem.toml:5: services.mail.command: {prot.smtp} is not a port
          write {port.ROLE}, or {port.SERVICE.ROLE} for one of another service
      ecosystem.toml:5: services.mail.command names a port of the unknown service `redsi`
          did you mean `redis`?
      ecosystem.toml:5: services.mail.command: redis has no port `sql`
          known here: redis
      ecosystem.toml:6: `Web` is not a name in services.mail.ports
          names start with a letter and consist of a-z, 0-9 and -
      ecosystem.toml:6: services.mail.ports.smtp is 6579, which is also services.redis.ports.redis (release documented)
          give services.mail.ports.smtp a port of its own
      ecosystem.toml:7: services.mail.ready: mail has no port `stmp`
          did you mean `smtp`?
      ecosystem.toml:8: services.mail.after names the unknown service `redsi`
          did you mean `redis`?
      ecosystem.toml:9: services.mail.env.A: mail has no port `web`
          known here: smtp
      ecosystem.toml:10: services.mail.cwd = "../elsewhere" leaves the project
          name a folder below the one of the manifest, such as "site"
      ecosystem.toml:11: services.mail.image: process has no image
          take the line out
      ecosystem.toml:12: services.mail.from: process has no from
          take the line out
      ecosystem.toml:13: services.mail.plugins: process has no plugins
          take the line out
      ecosystem.toml:14: services.mail.settings: process has no settings
          take the line out
      ecosystem.toml:16: services.redis.command: only a service of the kind "process" has that, and this is redis
          take it out, or give the process a service of its own
      ecosystem.toml:17: services.redis.after: only a service of the kind "process" has that, and this is redis
          take it out, or give the process a service of its own
      ecosystem.toml:18: services.redis.env: only a service of the kind "process" has that, and this is redis
          take it out, or give the process a service of its own
      ecosystem.toml:21: services.noports.command: noports has no port `web`
          give it one: ports = { web = 8025 }
      ecosystem.toml:22: services.noports.cwd = "/etc" is absolute
          name a folder below the one of the manifest, such as "site"
      ecosystem.toml:27: services.two.ready has two conditions, tcp and log
          leave one of them
      ecosystem.toml:32: services.path.ready.path does not begin with /
          write "/health"
      ecosystem.toml:36: services.alone.ready.path stands without http
          write ready = { http = "ROLE", path = "/health" }
      ecosystem.toml:40: services.check.ready.command names a port of another service
          ask for its own ports: {port.ROLE}
    "#);
}

#[test]
fn each_circle_is_told_once() {
    let text = r#"
services.a = { kind = "process", command = ["a"], after = ["b"] }
services.b = { kind = "process", command = ["b"], after = ["c"] }
services.c = { kind = "process", command = ["c"], after = ["a", "redis"] }
services.d = { kind = "process", command = ["d"], after = ["d"] }
services.e = { kind = "process", command = ["e"], after = ["a"] }
"#;
    insta::assert_snapshot!(wrong(text), @"
    2 problems in the manifest
      ecosystem.toml:4: services wait for each other: a after b after c after a
          take one of the names out of `after`
      ecosystem.toml:5: services wait for each other: d after d
          take one of the names out of `after`
    ");
}

#[test]
fn a_later_layer_replaces_the_condition() {
    let layers = [
        Layer {
            name: "ecosystem.toml",
            text: "[services.mail]\nkind = \"process\"\ncommand = [\"mail\"]\nports.smtp = 1025\nready.tcp = \"smtp\"\n",
        },
        Layer { name: "ecosystem.local.toml", text: "services.mail.ready.log = \"listening\"" },
    ];
    let ecosystem = resolve(&layers, &Flags::default()).unwrap();
    let ready = &ecosystem.services["mail"].program.as_ref().unwrap().ready;
    assert_eq!(
        (&ready.value, ready.origin.to_string().as_str()),
        (&Ready::Log("listening".into()), "ecosystem.local.toml:1")
    );
}

#[test]
fn a_folder_stays_in_the_project() {
    for good in [".", "site", "./site", "a/b/../c", "a/.."] {
        assert_eq!(wrong_folder(good.into()), None, "{good}");
    }
    for bad in ["..", "a/../..", "/", "/p/site", "../p"] {
        assert!(wrong_folder(bad.into()).is_some(), "{bad}");
    }
}

#[test]
fn a_command_that_is_one_text_is_one_problem_with_the_line_to_type() {
    insta::assert_snapshot!(wrong("services.web = { kind = \"process\", command = \"flask run --debug\" }\n"), @r#"
    1 problem in the manifest
      ecosystem.toml:1: services.web.command is the text "flask run --debug"
          write command = ["flask", "run", "--debug"]
    "#);
    insta::assert_snapshot!(wrong("services.web = { kind = \"process\", command = \"cd site && flask run\" }\n"), @r#"
    1 problem in the manifest
      ecosystem.toml:1: services.web.command is the text "cd site && flask run"
          write command = ["sh", "-c", "cd site && flask run"]
    "#);
    insta::assert_snapshot!(wrong("services.redis.command = \"redis-server\"\n"), @r#"
    1 problem in the manifest
      ecosystem.toml:1: services.redis.command is the text "redis-server"
          write command = ["redis-server"]
    "#);
}
