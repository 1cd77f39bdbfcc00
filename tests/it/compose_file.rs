//! `docker/compose.yaml` as the real Docker Compose reads it, and Compose files of others as `check` does.

use std::process::Command;

use serde_json::{Value, json};

use crate::faults::not_run;
use crate::support::{Place, repository};

/// The Docker Compose of the person, or the one that a CI has put aside; `None` where there is none, which a CI must not pass over.
#[expect(clippy::disallowed_methods, reason = "says what this machine has and what it has to run")]
fn compose() -> Option<Vec<String>> {
    let variable = |name| std::env::var(name).ok();
    if let Some(binary) = variable("ECOSYSTEM_TEST_COMPOSE") {
        return Some(vec![binary]);
    }
    let plugin = ["docker".to_owned(), "compose".to_owned()];
    if Command::new(&plugin[0])
        .args([&plugin[1], "version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Some(plugin.to_vec());
    }
    let why = "there is no Docker Compose 2: `docker compose version` fails, and ECOSYSTEM_TEST_COMPOSE names no other";
    assert_ne!(variable("CI").as_deref(), Some("true"), "{why}");
    not_run(why);
    None
}

/// What Compose understands of a file.
#[expect(clippy::disallowed_methods, reason = "asks what this project does not start itself")]
fn understood(compose: &[String], file: &str, env: &[(&str, &str)]) -> Value {
    let output = Command::new(&compose[0])
        .args(&compose[1..])
        .args(["--file", file, "--profile", "*", "config", "--format", "json"])
        .env_remove("POSTGRESQL_PASSWORD")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "it warns of nothing");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_file_of_this_project_is_accepted_and_opens_nothing() {
    let Some(compose) = compose() else { return };
    let read = understood(&compose, repository().join("docker/compose.yaml").as_str(), &[]);
    let services = read["services"].as_object().unwrap();
    assert_eq!(
        services.keys().collect::<Vec<_>>(),
        ["dashboards", "minio", "opensearch", "pgadmin", "postgresql", "rabbitmq", "redis"]
    );
    for (name, service) in services {
        let ports = service["ports"].as_array().unwrap();
        assert!(
            !ports.is_empty() && ports.iter().all(|port| port["host_ip"] == "127.0.0.1"),
            "{name}: {ports:?}"
        );
        assert!(service["healthcheck"]["test"][1].is_string(), "{name}");
        assert!(service["mem_limit"].is_string() && service["stop_grace_period"].is_string(), "{name}");
    }
    assert_eq!(services["postgresql"]["environment"]["POSTGRES_PASSWORD"], "invenio");
}

#[test]
fn variables_set_what_differs_and_nothing_of_the_manifest_is_one() {
    let Some(compose) = compose() else { return };
    let place = Place::new();
    place.manifest(
        "[services.postgresql]\nsettings = { application_name = \"a $HOME ${HOME} \\\"b\\\" 'c' \\\\ # d: e\" }\n\
         [services.redis]\nsettings = { maxmemory = \"64mb\" }\n",
    );
    place.ok(&["render"]);
    let env = [
        ("ECOSYSTEM_IDENTITY", "ecosystem-a-123456"),
        ("POSTGRESQL_PASSWORD", "a $word"),
        ("POSTGRESQL_SQL_PORT", "7000"),
    ];
    let read = understood(&compose, place.root.join("docker/compose.yaml").as_str(), &env);
    let postgresql = &read["services"]["postgresql"];
    // Compose doubles what is meant literally when it writes a file anew.
    let setting = "application_name=a $$HOME $${HOME} \"b\" 'c' \\ # d: e";
    assert_eq!(
        postgresql["command"],
        json!(["postgres", "-c", "cluster_name=ecosystem-a-123456", "-c", setting])
    );
    assert_eq!(postgresql["environment"]["POSTGRES_PASSWORD"], "a $$word");
    assert_eq!(
        (&postgresql["ports"][0]["published"], &postgresql["ports"][0]["target"]),
        (&json!("7000"), &json!(5432))
    );
    assert_eq!(read["services"]["redis"]["environment"]["ECOSYSTEM_SETTINGS"], "maxmemory 64mb\n");
    let offset = (6579 + place.offset).to_string();
    assert_eq!(read["services"]["redis"]["ports"][0]["published"], offset.as_str());
    assert_eq!(read["name"], "a-repository");
}

#[test]
fn compose_files_that_are_named_are_looked_at_and_nothing_else() {
    let place = Place::new();
    place.file(
        "docker-services.yml",
        "services:\n  cache:\n    image: redis\n    ports:\n      - \"6379:6379\"\n  db:\n    image: postgres:12.4\n    \
         ports:\n      - \"127.0.0.1:5432:5432\"\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n",
    );
    let run = place.run(&["check", "docker-services.yml"]);
    insta::assert_snapshot!(run.to_string(), @r#"

    Containers
      ! docker-services.yml:5  cache publishes 6379 on all addresses: - "6379:6379"
                               whoever reaches this machine reaches the service, past most firewalls: Docker writes rules of its
                               own
                               → write  - "127.0.0.1:6379:6379"
      ! docker-services.yml:3  cache uses redis, whichever is the newest
                               another machine, or this one next month, runs another version
                               → write a version behind the image, or a digest
      ! docker-services.yml:3  cache has no healthcheck
                               it counts as ready as soon as it runs: what starts after it meets a server that takes no login yet
                               → add one; ecosystem render writes a file in which every service has one

    3 warnings.
    [exit status: 0]
    "#);
    let report = place.json(&["check", "docker-services.yml"]);
    assert_eq!(
        (report["warnings"].as_u64(), report["tools"].as_array().unwrap().len()),
        (Some(3), 0),
        "{report}"
    );

    let missing = place.run(&["check", "docker-services.yml", "compose.yaml"]);
    assert_eq!(missing.status, 2, "{missing}");
    assert!(
        missing.stderr.contains("error[no-such-file]") && missing.stderr.contains("compose.yaml"),
        "{missing}"
    );
}
