//! `init`: the manifest of a project from its Compose files, and what the other commands make of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::fits;
use crate::support::{Place, Run, repository};

/// A Compose file like those of the field.
fn seed(name: &str) -> String {
    std::fs::read_to_string(repository().join("fuzz/seeds/compose").join(name)).unwrap()
}

/// A place without a manifest, with these files.
fn with(files: &[(&str, &str)]) -> Place {
    let place = Place::new();
    std::fs::remove_file(place.root.join("ecosystem.toml")).unwrap();
    for (name, text) in files {
        place.file(name, text);
    }
    place
}

fn manifest(place: &Place) -> String {
    std::fs::read_to_string(place.root.join("ecosystem.toml")).unwrap()
}

/// What is published on which port of which address, by service, of the Compose file that `render` writes.
fn published(place: &Place) -> BTreeMap<String, Vec<String>> {
    place.ok(&["render"]);
    let text = std::fs::read_to_string(place.root.join("docker/compose.yaml")).unwrap();
    let (mut all, mut service): (BTreeMap<String, Vec<String>>, String) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("  \"").and_then(|rest| rest.strip_suffix("\":")) {
            name.clone_into(&mut service);
        }
        if let Some(port) = line.strip_prefix("      - \"127.0.0.1:${").and_then(|rest| rest.split_once(":-"))
        {
            let port = port.1.replace('}', "").trim_end_matches('"').to_owned();
            all.entry(service.clone()).or_default().push(port);
        }
    }
    all
}

/// The ports of every service by role, as the report of `init` tells them.
fn ports(report: &Value) -> BTreeMap<String, Value> {
    let services = report["services"].as_array().unwrap();
    services.iter().map(|s| (s["name"].as_str().unwrap().to_owned(), s["ports"].clone())).collect()
}

#[test]
fn a_site_of_rdm_gets_the_manifest_that_says_the_same() {
    let place = with(&[
        ("docker-services.yml", &seed("rdm")),
        ("docker-compose.yml", &seed("rdm-extends")),
        ("Pipfile", "[packages]\ninvenio-app-rdm = {extras = [\"opensearch2\"], version = \"~=13.0.0\"}\n"),
    ]);
    let run = place.ok(&["init", "--from", "docker-compose.yml"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @r#"
    Wrote <root>/ecosystem.toml, release v13.

    Taken over
      postgresql  docker-compose.yml:9 db
                  ports = { sql = 5433 }
                  settings = { log_min_messages = "info", max_connections = "300" }
      redis       docker-compose.yml:5 cache
                  ports = { redis = 6380 }
      rabbitmq    docker-compose.yml:13 mq: as the release has it
      opensearch  docker-compose.yml:24 search
                  image = "opensearchproject/opensearch:2.18.0"
                  heap = "1g"
                  settings = { "indices.query.bool.max_clause_count" = "2048" }
                  the image is what `up --backend compose` runs; as a process it is 2.17.1, of release v13

    Not taken over
      addresses: 0.0.0.0 and the like are not reproduced; every port is on 127.0.0.1 alone
          docker-services.yml:81 9200 of search
      passwords: this program makes a new one for each server; `env` prints them
          docker-services.yml:31 POSTGRES_PASSWORD of db, docker-services.yml:70
          OPENSEARCH_INITIAL_ADMIN_PASSWORD of search
      names of users and databases: they are `invenio`; `env` prints the addresses for the application
          docker-services.yml:30 POSTGRES_USER of db, docker-services.yml:32 POSTGRES_DB of db
      volumes and mounted files: nothing is moved; servers begin empty, and the volumes stay
          docker-services.yml:37 volumes of db, docker-services.yml:57 volumes of mq, docker-services.yml:87
          volumes of search
      other services: this program does not know them; see kind = "process" for programs beside the servers
          docker-compose.yml:17 flower (mher/flower:2.0.1)
      other ports: nothing listens there here
          docker-services.yml:82 9600 of search
      environment: it has no counterpart
          docker-services.yml:68 bootstrap.memory_lock of search
      networks and names in them: servers meet on ports of this machine
          docker-services.yml:50 hostname of mq
      restart policies: what ends by itself is started again anyway
          docker-services.yml:22 restart of cache, docker-services.yml:28 restart of db,
          docker-services.yml:49 restart of mq, docker-services.yml:65 restart of search
      checks of health: `up` asks every server itself
          docker-services.yml:84 healthcheck of search
      limits, rights and labels: they are of containers only
          docker-services.yml:23 read_only of cache, docker-services.yml:52 ulimits of mq,
          docker-services.yml:77 ulimits of search, docker-services.yml:79 mem_limit of search

    Next
      → read ecosystem.toml, and check it in
      → see what is open in the old files: ecosystem check docker-compose.yml docker-services.yml
      → stop their containers, which hold the same ports: docker compose stop
      → ecosystem up
      → or the images above, as containers: ecosystem up --backend compose
    [exit status: 0]
    "#);
    // Everything that reads a manifest takes it, and the ports are those of the file.
    assert!(manifest(&place).contains("release = \"v13\"\n"));
    let ports = published(&place);
    let of = |name: &str| ports[name].join(" ");
    assert_eq!(
        (of("postgresql"), of("redis"), of("rabbitmq"), of("opensearch")),
        (
            "5433:5432".into(),
            "6380:6379".into(),
            "5672:5672 15672:15672".into(),
            "9200:9200 9300:9300".into()
        )
    );
    // Whoever holds one of these ports on this machine is no step.
    let plan = place.json(&["up", "--dry-run"]);
    let steps = plan["plan"]["steps"].as_array().unwrap().iter().map(|step| &step["action"]);
    let started: Vec<&Value> =
        steps.filter(|action| action["do"] == "start").map(|action| &action["what"]).collect();
    assert_eq!(started, ["postgresql", "redis", "rabbitmq", "opensearch"]);
    let checked = place.run(&["check", "--format", "json"]).report();
    assert_eq!(checked["release"], "v13");
    let named = place.ok(&["check", "docker-compose.yml", "docker-services.yml"]);
    assert!(named.stdout.contains("docker-services.yml:81"), "{named}");

    // It is somebody's from now on.
    let text = manifest(&place);
    for words in [["init"].as_slice(), &["init", "--from", "docker-compose.yml"]] {
        let refused = place.run(words);
        assert_eq!(refused.status, 2, "{refused}");
        assert!(
            refused.stderr.contains("error[file-exists]")
                && refused.stderr.contains(&format!("{} --dry-run", words.join(" "))),
            "{refused}"
        );
    }
    assert_eq!(manifest(&place), text);
    // What would be written is exactly what was.
    assert_eq!(place.ok(&["init", "--from", "docker-compose.yml", "--dry-run"]).stdout, text);
}

#[test]
fn what_is_taken_over_is_where_the_file_had_it() {
    let place = with(&[]);
    let port = place.port(6579);
    let text = "services:\n  cache:\n    image: redis:7\n    ports: [\"0.0.0.0:${CACHE_PORT}:6379\"]\n    \
         command: redis-server --maxmemory 32mb --requirepass in-the-file\n";
    place.file("compose.yaml", text);
    place.file(".env", &format!("CACHE_PORT={port}\n"));
    place.ok(&["init", "--from", "compose.yaml"]);
    place.ok(&["up"]);
    let url = &place.env()["REDIS_URL"];
    assert!(url.contains(&format!("@127.0.0.1:{port}/")) && !url.contains("in-the-file"), "{url}");
    let run = place.ok(&["redis-cli", "config", "get", "maxmemory"]);
    assert!(run.stdout.contains("33554432"), "{run}");
}

#[test]
fn variables_of_oarepo_are_filled_in() {
    let place = with(&[]);
    std::fs::create_dir(place.root.join("docker")).unwrap();
    place.file("docker/docker-compose.yml", &seed("nrp"));
    let host = |name: &str| format!("INVENIO_{name}_HOST=127.0.0.1\n");
    let hosts: String = ["REDIS", "DATABASE", "RABBIT", "OPENSEARCH", "S3"].map(host).concat();
    let variables = "INVENIO_REDIS_PORT=6679\nINVENIO_DATABASE_PORT=5732\nINVENIO_RABBIT_PORT=5972\n\
                     INVENIO_RABBIT_ADMIN_PORT=15972\nINVENIO_OPENSEARCH_PORT=9500\nINVENIO_OPENSEARCH_CLUSTER_PORT=9600\n\
                     INVENIO_S3_PORT=9000\nINVENIO_S3_PORT1=9001\nINVENIO_S3_SECRET_KEY=hush\n";
    place.file("variables", &format!("{hosts}{variables}"));
    let report = place.json(&["init", "--from", "docker/docker-compose.yml", "--dry-run"]);
    fits("Initialised", &report);
    assert_eq!(report["written"], false);
    let ports = ports(&report);
    assert_eq!((&ports["redis"]["redis"], &ports["postgresql"]["sql"]), (&6679.into(), &5732.into()));
    assert_eq!((&ports["rabbitmq"]["amqp"], &ports["rabbitmq"]["http"]), (&5972.into(), &15972.into()));
    assert_eq!(ports["opensearch"]["http"], 9500);
    let left: Vec<&str> =
        report["left_out"].as_array().unwrap().iter().map(|l| l["what"].as_str().unwrap()).collect();
    assert!(!left.contains(&"addresses") && left.contains(&"passwords"), "{left:?}");
    assert!(!place.root.join("ecosystem.toml").exists());
}

#[test]
fn passwords_of_files_are_not_written_down() {
    let text = "services:\n  db:\n    image: \"postgres:${DB_PASSWORD}\"\n    ports: [\"127.0.0.1:5432:5432\"]\n    environment:\n      \
                POSTGRES_PASSWORD: in-the-file\n      PGDATA: ${API_TOKEN}\n    command: postgres -c ssl_passphrase_command=hush-hush\n  \
                cache:\n    image: redis:7\n    command: redis-server --requirepass in-the-file --masterauth in-the-file\n  \
                ${DB_PASSWORD}:\n    image: registry.example.org/${API_TOKEN}/x\n";
    let place = with(&[("compose.yaml", text), (".env", "DB_PASSWORD=of-the-env\nAPI_TOKEN=of-the-env\n")]);
    let told = place.ok(&["init", "--from", "compose.yaml"]).to_string();
    let json = {
        std::fs::remove_file(place.root.join("ecosystem.toml")).unwrap();
        place.ok(&["init", "--from", "compose.yaml", "--format", "json"]).stdout
    };
    for secret in ["in-the-file", "of-the-env", "hush-hush"] {
        assert!(
            !told.contains(secret) && !json.contains(secret) && !manifest(&place).contains(secret),
            "{told}"
        );
    }
}

#[test]
fn without_files_it_follows_the_project() {
    let place = with(&[("pyproject.toml", "[project]\nname = \"a\"\ndependencies = [\"oarepo>=14,<15\"]\n")]);
    let run = place.ok(&["init"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @"
    Wrote <root>/ecosystem.toml, release oarepo-14.

    Next
      → read ecosystem.toml, and check it in
      → ecosystem up
    [exit status: 0]
    ");
    assert_eq!(place.json(&["check"])["release"], "oarepo-14");
    // A release that was asked for stands in it.
    std::fs::remove_file(place.root.join("ecosystem.toml")).unwrap();
    place.ok(&["init", "--release", "v12"]);
    assert!(manifest(&place).contains("\nrelease = \"v12\"\n"), "{}", manifest(&place));
    assert_eq!(place.json(&["check"])["release"], "v12");
}

#[test]
fn what_cannot_be_taken_over_is_refused_with_the_next_step() {
    let place = with(&[("a.yml", "services:\n  web: {image: nginx}\n"), ("b.yml", "{{{")]);
    let told: Vec<String> = ["a.yml", "b.yml", "c.yml", "."]
        .into_iter()
        .map(|file| place.run(&["init", "--from", file]).to_string().replace(place.root.as_str(), "<root>"))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"

    error[nothing-to-take-over]: no service of a.yml is one that this program knows
      → name the file that says which images are used, such as docker-services.yml
      → write a manifest without one: ecosystem init
    [exit status: 2]

    error[nothing-to-take-over]: no service of b.yml is one that this program knows
      → name the file that says which images are used, such as docker-services.yml
      → write a manifest without one: ecosystem init
      → look at b.yml:1: something unexpected between brackets
    [exit status: 2]

    error[no-such-file]: there is no file <root>/c.yml
      → name a Compose file: ecosystem init --from docker-compose.yml
    [exit status: 2]

    error[file-unreadable]: cannot read <root>/.: it is a folder, not a file
      → remove what is there, or put the file back from a backup
    [exit status: 3]
    ");
    place.file("huge.yml", &"services: {}\n".repeat(30_000));
    let run = place.run(&["init", "--from", "huge.yml"]);
    assert!(run.status == 3 && run.stderr.contains("longer than 256 kB"), "{run}");
    assert!(!place.root.join("ecosystem.toml").exists());
    // A link that leads nowhere is somebody's as well.
    std::os::unix::fs::symlink("elsewhere.toml", place.root.join("ecosystem.toml")).unwrap();
    let run = place.run(&["init"]);
    assert!(run.status == 2 && run.stderr.contains("error[file-exists]"), "{run}");
    std::fs::remove_file(place.root.join("ecosystem.toml")).unwrap();
}

#[test]
fn a_folder_within_a_project_becomes_one_of_its_own_and_says_so() {
    let place = Place::new();
    let below = place.root.join("below");
    std::fs::create_dir(&below).unwrap();
    let run = Run::of(place.command(&["init"]).current_dir(&below));
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stderr.contains("is a project already"), "{run}");
    assert!(below.join("ecosystem.toml").exists());
}
