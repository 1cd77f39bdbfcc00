//! What works: the whole core as containers, from the first `up` to the last `down`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::engine::{Contained, docker};
use crate::clients::{number, sql};
use crate::faults::not_run;
use crate::objects::{self, S3};
use crate::support::{Place, Run, eventually};
use crate::whole::seeded;

/// The core profile with the pack of this repository.
fn core() -> Option<Contained> {
    let contained = Contained::at(seeded)?;
    contained.manifest("seed = \"demo\"\n");
    Some(contained)
}

#[track_caller]
fn states(place: &Place) -> Vec<String> {
    let status = place.json(&["status"]);
    let services = status["services"].as_array().unwrap().iter();
    services.map(|s| format!("{} {}", s["name"].as_str().unwrap(), s["state"].as_str().unwrap())).collect()
}

const READY: [&str; 4] = ["opensearch ready", "postgresql ready", "rabbitmq ready", "redis ready"];

#[test]
fn the_core_runs_as_containers_from_the_first_up_to_the_last_down() {
    let Some(contained) = core() else { return };
    let place = &contained.place;
    let up = place.ok(&["up"]);
    assert!(up.stderr.contains("compose: the servers run as containers"), "{up}");
    assert_eq!(states(place), READY);
    let env = place.env();
    assert_eq!(number(&env, "SELECT count(*) FROM rdm_records_metadata"), 120);
    // With the pg_dump of the image.
    let captured = place.json(&["pack", "capture", "kept"]);
    assert_eq!(captured["parts"][0]["counts"]["rdm_records_metadata"], 120, "{captured}");
    let schema = std::fs::read_to_string(place.root.join("seeds/kept/postgresql/schema.sql")).unwrap();
    assert!(schema.contains("CREATE TABLE public.rdm_records_metadata ("), "{schema}");

    // Nothing but loopback, and only what the manifest names.
    let published = contained.listed(&["ps"], "Ports").join(", ");
    let open = published.split(", ").filter(|port| port.contains("->") && !port.starts_with("127.0.0.1:"));
    assert_eq!(open.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(published.contains(&format!("127.0.0.1:{}->5432/tcp", place.port(5632))), "{published}");
    for image in ["postgres:12.4", "redis:7", "rabbitmq:3-management", "opensearchproject/opensearch:2.3.0"] {
        assert!(contained.listed(&["ps"], "Image").contains(&image.to_owned()), "{image}");
    }

    let again = place.json(&["up"]);
    assert_eq!(again["unchanged"], true, "{again}");
    assert!(!place.listening().is_empty());
    place.ok(&["snapshot", "--accept"]);
    place.ok(&["snapshot", "--check"]);
    let log = place.ok(&["logs", "postgresql", "rabbitmq", "-n", "500"]).stdout;
    assert!(log.contains("database system is ready to accept connections"), "{log}");
    assert!(log.contains("rabbitmq   | ") && !log.contains('\u{1b}'), "{log}");
    let check = place.run(&["check"]).stdout;
    assert!(check.contains(&format!("{} is held by this project's own server", place.port(5632))), "{check}");
    let listed = place.json(&["list"]);
    let mine = |stack: &&Value| stack["root"] == place.root.as_str();
    let stack = listed["stacks"].as_array().unwrap().iter().find(mine).unwrap();
    assert_eq!(stack["services"].as_array().unwrap().len(), 4, "{stack}");

    // What ends is started again, and the others are left alone.
    let server = contained.container("opensearch");
    let started = || contained.docker(&["inspect", "--format", "{{.State.StartedAt}}", &server]);
    let before = started();
    contained.docker(&["kill", &contained.container("redis"), &contained.container("postgresql")]);
    let failed = place.run(&["status"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(failed.stdout.contains("ended by signal 9"), "{failed}");
    let plan = place.ok(&["up", "--dry-run"]).stdout;
    assert!(plan.contains("redis: it ended by itself: ended by signal 9"), "{plan}");
    place.ok(&["up"]);
    assert_eq!((states(place), started()), (READY.map(str::to_owned).to_vec(), before));
    assert_eq!(number(&place.env(), "SELECT count(*) FROM rdm_records_metadata"), 120);

    // A change of the manifest is told by its name.
    contained.manifest("seed = \"demo\"\nservices.redis.settings.maxmemory = \"64mb\"\n");
    let plan = place.ok(&["up", "--dry-run"]).stdout;
    assert!(plan.contains("settings.maxmemory: not set → 64mb") && !plan.contains("opensearch:"), "{plan}");
    place.ok(&["up"]);
    let redis = contained.container("redis");
    let info = contained.docker(&[
        "exec",
        &redis,
        "sh",
        "-c",
        "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli config get maxmemory",
    ]);
    assert!(info.contains("67108864"), "{info}");

    place.ok(&["down"]);
    assert_eq!((contained.containers(), place.listening()), (vec![], vec![]));
    assert_eq!(contained.listed(&["network", "ls"], "Name"), Vec::<String>::new());
    assert_eq!(contained.volumes().len(), 4);
    place.ok(&["up", "postgresql"]);
    assert_eq!(number(&place.env(), "SELECT count(*) FROM rdm_records_metadata"), 120);
    let volumes = contained.volumes();
    assert_eq!(place.run(&["down", "--data"]).status, 2, "it needs a yes");
    assert_eq!(contained.volumes(), volumes);
    place.ok(&["down", "--data", "--yes"]);
    assert_eq!((contained.containers(), contained.volumes()), (vec![], vec![]));
}

#[test]
fn two_checkouts_are_told_apart_by_the_engine_and_by_their_ports() {
    let (Some(one), Some(other)) = (Contained::new(), Contained::new()) else { return };
    for contained in [&one, &other] {
        contained.manifest("");
        contained.place.ok(&["up", "redis"]);
    }
    assert_ne!(one.project(), other.project());
    one.place.ok(&["down", "--data", "--yes"]);
    assert_eq!(other.containers(), [other.container("redis")]);
    assert_eq!(other.place.json(&["up", "redis"])["unchanged"], true);
}

#[test]
fn one_service_as_a_container_beside_processes() {
    let Some(contained) = Contained::new() else { return };
    let place = &contained.place;
    place.manifest(
        "services.redis.via = \"compose\"\n[services.web]\nkind = \"process\"\nafter = [\"redis\"]\n\
         command = [\"sleep\", \"1000\"]\n",
    );
    let plan = place.ok(&["up", "web", "postgresql", "--dry-run"]).stdout;
    let order =
        |text: &str| plan.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{plan}"));
    assert!(order("await redis") < order("start web"), "{plan}");
    place.ok(&["up", "web", "postgresql"]);
    assert_eq!(states(place), ["postgresql ready", "redis ready", "web ready"]);
    assert_eq!(contained.containers(), [contained.container("redis")]);
    // The password of each is its own, and both are reached as `env` says.
    sql(&place.env()).batch_execute("SELECT 1").unwrap();
    let plan = place.ok(&["up", "web", "postgresql", "--dry-run"]).stdout;
    assert!(plan.contains("Nothing to start"), "{plan}");
    let down = place.json(&["down"]);
    assert_eq!(down["stopped"], serde_json::json!(["postgresql", "web", "redis"]), "{down}");
    assert_eq!(contained.containers(), Vec::<String>::new());
}

#[test]
fn an_object_store_as_a_container_has_its_bucket_and_its_account_too() {
    let Some(contained) = Contained::new() else { return };
    if contained.docker(&["images", "--quiet", "minio/minio:latest"]).is_empty() {
        return not_run("there is no stand-in for MinIO: what `.ci/engine` printed says why");
    }
    let place = &contained.place;
    contained.manifest(&format!("services.minio.ports = {{ s3 = {S3}, console = {} }}\n", objects::CONSOLE));
    let up = place.ok(&["up", "minio"]);
    assert!(up.stdout.contains(&format!("127.0.0.1:{}", place.port(S3))), "{up}");
    assert_eq!(states(place), ["minio ready"]);
    crate::minio::the_application_reaches_its_bucket_alone(place);
    assert_eq!(place.json(&["up", "minio"])["unchanged"], true);
}

#[test]
fn clients_are_those_of_the_image_where_there_are_no_others() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    let place = &contained.place;
    place.ok(&["up", "postgresql", "redis"]);
    let bin = place.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(docker(), bin.join("docker")).unwrap();
    let run = |args: &[&str]| Run::of(place.command(args).env("PATH", bin.as_str()));
    let psql = run(&["psql", "-Atc", "select current_user, inet_server_port()"]);
    assert_eq!((psql.status, psql.stdout.as_str()), (0, "invenio|5432\n"), "{psql}");
    assert_eq!(run(&["psql", "-c", "no such word"]).status, 1);
    assert_eq!(run(&["redis-cli", "ping"]).stdout, "PONG\n");
}

/// Plays pgAdmin: waits for the server that it was told of, then answers where it was told to listen.
const CONSOLE: &str = r#"#!/bin/sh -e
value() { sed "s/.*\"$1\":\"\{0,1\}\([^,\"]*\).*/\1/" /tmp/servers.json; }
until pg_isready -q -h "$(value Host)" -p "$(value Port)"; do sleep 0.1; done
mkdir -p /tmp/www/misc && echo PING > /tmp/www/misc/ping
exec erl -noshell -eval "inets:start(), {ok, _} = inets:start(httpd, [{port, $PGADMIN_LISTEN_PORT}, {bind_address, \"$PGADMIN_LISTEN_ADDRESS\"},
  {server_name, \"x\"}, {server_root, \"/tmp\"}, {document_root, \"/tmp/www\"}])."
"#;

#[test]
fn a_console_beside_processes_reaches_them_and_nobody_else_reaches_it() {
    let Some(contained) = Contained::new() else { return };
    let place = &contained.place;
    let image = format!("ecosystem-test/pgadmin:5-{}", place.offset);
    place.file("entrypoint.sh", CONSOLE);
    std::fs::set_permissions(
        place.root.join("entrypoint.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let made = contained.docker(&["create", "postgres:12.4"]);
    contained.docker(&["cp", place.root.join("entrypoint.sh").as_str(), &format!("{made}:/entrypoint.sh")]);
    contained.docker(&["commit", "--change", "USER root", &made, &image]);
    contained.docker(&["rm", &made]);

    place.manifest(&format!(
        "backend = \"native\"\nservices.pgadmin = {{ image = \"{image}\", via = \"compose\" }}\n"
    ));
    place.ok(&["up", "postgresql", "pgadmin"]);
    assert_eq!(states(place), ["pgadmin ready", "postgresql ready"]);
    assert_eq!(contained.containers(), [contained.container("pgadmin")]);
    let port = place.port(5250);
    let elsewhere = std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 0, 2), port));
    assert!(elsewhere.is_ok(), "it listens on 127.0.0.1 alone");
    assert_eq!(place.json(&["up", "postgresql", "pgadmin"])["unchanged"], true);
    let open = place.ok(&["open", "pgadmin", "--print"]).stdout;
    assert!(open.starts_with(&format!("http://127.0.0.1:{port}\n")), "{open}");
    place.ok(&["down", "--data", "--yes"]);
    contained.docker(&["rmi", "--force", &image]);
}

#[test]
fn what_a_container_says_is_followed() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    let place = &contained.place;
    place.ok(&["up", "redis"]);
    let mut follow = place.command(&["logs", "-f", "redis"]);
    let follow = crate::support::Watched::new(follow.stdout(std::process::Stdio::piped()).spawn().unwrap());
    eventually("the end of the log", || follow.seen().contains("Ready to accept connections"));
    let redis = contained.container("redis");
    let save = "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli bgsave";
    contained.docker(&["exec", &redis, "sh", "-c", save]);
    eventually("what comes after", || follow.seen().contains("Background saving"));
    let seen = follow.seen();
    let ready = seen.matches("Ready to accept connections").count();
    assert_eq!(ready, 1, "{seen}");
}

/// What a server says of itself, as the accepted snapshot of this name has it.
fn said(place: &Place, name: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(place.root.join("snapshots").join(format!("{name}.snap"))).unwrap();
    let (_, said) = text.split_once("as the server says\n").unwrap();
    let pairs = said.lines().filter_map(|line| line.trim().split_once(" = "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The differences are explained in docs/compose.md.
#[test]
fn both_backends_configure_the_servers_alike_but_for_what_is_listed() {
    let Some(contained) = Contained::at(Place::heavy) else { return };
    let place = &contained.place;
    let settings = "services.postgresql.settings.max_connections = 77\nservices.redis.settings.maxmemory = \"64mb\"\n\
                    services.rabbitmq.settings.heartbeat = 30\nservices.opensearch.settings.\"action.auto_create_index\" = false\n";
    place.manifest(settings);
    place.ok(&["up"]);
    place.ok(&["snapshot", "--accept"]);
    place.ok(&["down"]);
    contained.manifest(settings);
    place.ok(&["up"]);
    place.ok(&["snapshot", "--accept"]);
    let mut lines = Vec::new();
    for service in ["opensearch", "postgresql", "rabbitmq", "redis"] {
        let (process, container) = (said(place, service), said(place, &format!("{service}.container")));
        let names: BTreeSet<&String> = process.keys().chain(container.keys()).collect();
        let mut alike = 0;
        for name in names {
            let shown =
                |said: &BTreeMap<String, String>| said.get(name).map_or("-".to_owned(), String::clone);
            match (shown(&process), shown(&container)) {
                (a, b) if a == b => alike += 1,
                (a, b) => lines.push(format!("{service} {name}: {a} | {b}")),
            }
        }
        lines.push(format!("{service}: {alike} alike"));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    opensearch node.http.port: {port.http} | -
    opensearch node.network.host: 127.0.0.1 | 0.0.0.0
    opensearch node.transport.port: {port.cluster} | -
    opensearch: 10 alike
    postgresql DateStyle: - | ISO, MDY
    postgresql TimeZone: - | UTC
    postgresql default_text_search_config: - | pg_catalog.english
    postgresql dynamic_shared_memory_type: - | posix
    postgresql lc_messages: - | C.UTF-8
    postgresql lc_monetary: - | C.UTF-8
    postgresql lc_numeric: - | C.UTF-8
    postgresql lc_time: - | C.UTF-8
    postgresql listen_addresses: 127.0.0.1 | *
    postgresql log_timezone: - | UTC
    postgresql max_wal_size: - | 1GB
    postgresql min_wal_size: - | 80MB
    postgresql port: {port.sql} | -
    postgresql shared_buffers: - | 128MB
    postgresql unix_socket_directories: - | /run/postgresql
    postgresql: 6 alike
    rabbitmq listener.amqp: 127.0.0.1:{port.amqp} | :::5672
    rabbitmq listener.clustering: 127.0.0.1:{port.distribution} | :::25672
    rabbitmq listener.http: 127.0.0.1:{port.http} | :::15672
    rabbitmq: 3 alike
    redis bind: 127.0.0.1 | * -::*
    redis port: {port.redis} | 6379
    redis: 2 alike
    ");
}
