//! Manifests of Compose files as the field has them.

use super::*;
use crate::host::compose_file::{File, describe, variables};
use crate::release::Detected;

const RDM: &str = include_str!("../../../../../fuzz/seeds/compose/rdm");
const EXTENDS: &str = include_str!("../../../../../fuzz/seeds/compose/rdm-extends");
const INSTANCE: &str = include_str!("../../../../../fuzz/seeds/compose/instance");
const NRP: &str = include_str!("../../../../../fuzz/seeds/compose/nrp");
const ANCHORS: &str = include_str!("../../../../../fuzz/seeds/compose/anchors");

/// What holds before there is a manifest.
pub(super) fn release(name: &str) -> Ecosystem {
    resolve(&[], &Flags { release: Some(name.to_owned()), ..Flags::default() }).unwrap()
}

fn of(release_name: &str, files: &[(&str, &str)], env: &str) -> Result<Manifest, Failure> {
    let read: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text, named: true }).collect();
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    from_compose(&release(release_name), &describe(&read, &variables(env)), &names)
}

#[test]
fn a_site_of_rdm() {
    let manifest = of("v13", &[("docker-services.yml", RDM)], "").unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # docker-services.yml; what is not written is as the release has it.

    release = "v13"

    [profiles]
    core = ["postgresql", "redis", "rabbitmq", "opensearch", "minio"]
    recommended = ["@core", "dashboards", "pgadmin"]

    # db, docker-services.yml:27
    [services.postgresql]
    ports = { sql = 5433 }
    settings = { log_min_messages = "info", max_connections = "300" }

    # cache, docker-services.yml:21
    [services.redis]
    ports = { redis = 6380 }

    # search, docker-services.yml:64
    # the image is what `up --backend compose` runs; as a process it is 2.17.1, of release v13
    [services.opensearch]
    image = "opensearchproject/opensearch:2.18.0"
    heap = "1g"
    settings = { "indices.query.bool.max_clause_count" = "2048" }

    # opensearch-dashboards, docker-services.yml:89
    [services.dashboards]
    image = "opensearchproject/opensearch-dashboards:2.18.0"

    # rabbitmq is as the release has it (mq, docker-services.yml:48)
    # pgadmin is as the release has it (pgadmin, docker-services.yml:39)
    # minio is as the release has it (s3, docker-services.yml:98): no version is named there; here it is
    # minio/minio:RELEASE.2022-10-24T18-35-07Z
    # Not taken over:
    # - addresses (docker-services.yml:41 5050 of pgadmin, docker-services.yml:81 9200 of search): 0.0.0.0 and the like are
    #   not reproduced; every port is on 127.0.0.1 alone
    # - passwords (docker-services.yml:31, 44, 70, 104): this program makes a new one for each server; `env` prints them
    # - names of users and databases (docker-services.yml:30, 32, 43, 103): they are `invenio`; `env` prints the addresses
    #   for the application
    # - volumes and mounted files (docker-services.yml:37, 46, 57, 87): nothing is moved; servers begin empty, and the
    #   volumes stay
    # - what is built there (docker-services.yml:5 app, docker-services.yml:14 frontend): the application is yours to start,
    #   with what `env` prints
    # - other services (docker-services.yml:59 flower (mher/flower:2.0.1)): this program does not know them; see kind =
    #   "process" for programs beside the servers
    # - other ports (docker-services.yml:82 9600 of search): nothing listens there here
    # - environment (docker-services.yml:68 bootstrap.memory_lock of search): it has no counterpart
    # - networks and names in them (docker-services.yml:50, 93): servers meet on ports of this machine
    # - restart policies (docker-services.yml:22, 28, 49, 65): what ends by itself is started again anyway
    # - checks of health (docker-services.yml:84): `up` asks every server itself
    # - limits, rights and labels (docker-services.yml:23, 52, 77, 79): they are of containers only
    "#);
}

#[test]
fn what_extends_another_file_brings_what_it_names() {
    let files = [("docker-compose.yml", EXTENDS), ("docker-services.yml", RDM)];
    insta::assert_snapshot!(of("v13", &files, "").unwrap().text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # docker-compose.yml, docker-services.yml; what is not written is as the release has it.

    release = "v13"

    # db, docker-compose.yml:9
    [services.postgresql]
    ports = { sql = 5433 }
    settings = { log_min_messages = "info", max_connections = "300" }

    # cache, docker-compose.yml:5
    [services.redis]
    ports = { redis = 6380 }

    # search, docker-compose.yml:24
    # the image is what `up --backend compose` runs; as a process it is 2.17.1, of release v13
    [services.opensearch]
    image = "opensearchproject/opensearch:2.18.0"
    heap = "1g"
    settings = { "indices.query.bool.max_clause_count" = "2048" }

    # rabbitmq is as the release has it (mq, docker-compose.yml:13)
    # Not taken over:
    # - addresses (docker-services.yml:81 9200 of search): 0.0.0.0 and the like are not reproduced; every port is on
    #   127.0.0.1 alone
    # - passwords (docker-services.yml:31, 70): this program makes a new one for each server; `env` prints them
    # - names of users and databases (docker-services.yml:30, 32): they are `invenio`; `env` prints the addresses for the
    #   application
    # - volumes and mounted files (docker-services.yml:37, 57, 87): nothing is moved; servers begin empty, and the volumes
    #   stay
    # - other services (docker-compose.yml:17 flower (mher/flower:2.0.1)): this program does not know them; see kind =
    #   "process" for programs beside the servers
    # - other ports (docker-services.yml:82 9600 of search): nothing listens there here
    # - environment (docker-services.yml:68 bootstrap.memory_lock of search): it has no counterpart
    # - networks and names in them (docker-services.yml:50): servers meet on ports of this machine
    # - restart policies (docker-services.yml:22, 28, 49, 65): what ends by itself is started again anyway
    # - checks of health (docker-services.yml:84): `up` asks every server itself
    # - limits, rights and labels (docker-services.yml:23, 52, 77, 79): they are of containers only
    "#);
}

#[test]
fn an_instance_with_elasticsearch() {
    let manifest = of("documented", &[("docker-services.yml", INSTANCE)], "").unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # docker-services.yml; what is not written is as the release has it.

    release = "documented"

    [profiles]
    recommended = ["@core", "dashboards"]

    # db, docker-services.yml:17
    # the image is what `up --backend compose` runs; as a process it is 12.22.0, of release documented, and no release has 9
    [services.postgresql]
    image = "postgres:9.6"
    ports = { sql = 5432 }

    # cache, docker-services.yml:11
    # no version is named there; here it is redis:7
    [services.redis]
    ports = { redis = 6379 }

    # mq, docker-services.yml:26
    # the image is what `up --backend compose` runs; as a process it is the version of the system
    [services.rabbitmq]
    image = "rabbitmq:3.8"
    ports = { amqp = 25672 }
    plugins = []

    # es, docker-services.yml:30
    # Elasticsearch there; this project runs OpenSearch: opensearchproject/opensearch:2.3.0
    [services.opensearch]
    ports = { cluster = 19300, http = 19200 }

    # kibana, docker-services.yml:40
    # Kibana there; OpenSearch Dashboards here: opensearchproject/opensearch-dashboards:2.3.0
    [services.dashboards]
    ports = { http = 5601 }

    # Not taken over:
    # - addresses (docker-services.yml:15 6379 of cache, docker-services.yml:24 5432 of db, docker-services.yml:37 19200 of
    #   es, docker-services.yml:38 19300 of es and 1 more): 0.0.0.0 and the like are not reproduced; every port is on
    #   127.0.0.1 alone
    # - passwords (docker-services.yml:21): this program makes a new one for each server; `env` prints them
    # - names of users and databases (docker-services.yml:20, 22): they are `invenio`; `env` prints the addresses for the
    #   application
    # - what is built there (docker-services.yml:5 lb): the application is yours to start, with what `env` prints
    # - environment (docker-services.yml:32 bootstrap.memory_lock of es, docker-services.yml:43 ES_JAVA_OPTS of kibana): it
    #   has no counterpart
    # - restart policies (docker-services.yml:12, 18): what ends by itself is started again anyway
    # - limits, rights and labels (docker-services.yml:13, 35): they are of containers only
    "#);
}

#[test]
fn a_repository_of_oarepo_with_and_without_its_variables() {
    let hosts =
        "INVENIO_REDIS_HOST=127.0.0.1\nINVENIO_RABBIT_HOST=0.0.0.0\nINVENIO_DATABASE_HOST=127.0.0.1\n";
    let ports = "INVENIO_REDIS_PORT=6579\nINVENIO_DATABASE_PORT=5732\nINVENIO_RABBIT_PORT=5872\nINVENIO_RABBIT_ADMIN_PORT=15872\n";
    let with = of("documented", &[("docker/docker-compose.yml", NRP)], &format!("{hosts}{ports}")).unwrap();
    insta::assert_snapshot!(with.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # docker/docker-compose.yml; what is not written is as the release has it.

    release = "documented"

    [profiles]
    core = ["postgresql", "redis", "rabbitmq", "opensearch", "minio"]

    # db, docker/docker-compose.yml:11
    # the image is what `up --backend compose` runs; as a process it is 12.22.0, of release documented, and no release has
    # 15
    [services.postgresql]
    image = "postgres:15-alpine"
    ports = { sql = 5732 }

    # search, docker/docker-compose.yml:26
    # which port is http is not told there; it is as the release has it
    # bitnami/opensearch:2 is made otherwise than the image of the release; here it is opensearchproject/opensearch:2.3.0
    [services.opensearch]
    plugins = ["analysis-icu"]

    # redis is as the release has it (cache, docker/docker-compose.yml:6)
    # rabbitmq is as the release has it (mq, docker/docker-compose.yml:18)
    # minio is as the release has it (s3, docker/docker-compose.yml:35): which port is s3 and console is not told there; it
    # is as the release has it
    # Not taken over:
    # - addresses (docker/docker-compose.yml:23 15872 of mq, docker/docker-compose.yml:24 5872 of mq,
    #   docker/docker-compose.yml:32 9200 of search, docker/docker-compose.yml:41 9000 of s3 and 1 more): 0.0.0.0 and the
    #   like are not reproduced; every port is on 127.0.0.1 alone
    # - passwords (docker/docker-compose.yml:14, 21, 38): this program makes a new one for each server; `env` prints them
    # - names of users and databases (docker/docker-compose.yml:13, 20, 37): they are `invenio`; `env` prints the addresses
    #   for the application
    # - other ports (docker/docker-compose.yml:33 9600 of search): nothing listens there here
    # - plugins (docker/docker-compose.yml:30 analysis-nori of search): the server here does not have them, or they would
    #   listen on every address
    # - restart policies (docker/docker-compose.yml:7): what ends by itself is started again anyway
    "#);
    let without = of("oarepo-14", &[("docker/docker-compose.yml", NRP)], "").unwrap();
    insta::assert_snapshot!(without.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # docker/docker-compose.yml; what is not written is as the release has it.

    release = "oarepo-14"

    [profiles]
    core = ["postgresql", "redis", "rabbitmq", "opensearch", "minio"]

    # db, docker/docker-compose.yml:11
    # which port is sql is not told there; it is as the release has it
    # the image is what `up --backend compose` runs; as a process it is 18.4.0, of release oarepo-14, and no release has 15
    [services.postgresql]
    image = "postgres:15-alpine"

    # search, docker/docker-compose.yml:26
    # which port is http is not told there; it is as the release has it
    # bitnami/opensearch:2 is made otherwise than the image of the release; here it is opensearchproject/opensearch:3
    [services.opensearch]
    plugins = ["analysis-icu", "analysis-nori"]

    # redis is as the release has it (cache, docker/docker-compose.yml:6): which port is redis is not told there; it is as
    # the release has it
    # rabbitmq is as the release has it (mq, docker/docker-compose.yml:18): which port is http and amqp is not told there;
    # it is as the release has it
    # minio is as the release has it (s3, docker/docker-compose.yml:35): which port is s3 and console is not told there; it
    # is as the release has it
    # Not taken over:
    # - addresses (docker/docker-compose.yml:9 6379 of cache, docker/docker-compose.yml:16 5432 of db,
    #   docker/docker-compose.yml:23 15672 of mq, docker/docker-compose.yml:24 5672 of mq and 3 more): 0.0.0.0 and the like
    #   are not reproduced; every port is on 127.0.0.1 alone
    # - passwords (docker/docker-compose.yml:14, 21, 38): this program makes a new one for each server; `env` prints them
    # - names of users and databases (docker/docker-compose.yml:13, 20, 37): they are `invenio`; `env` prints the addresses
    #   for the application
    # - other ports (docker/docker-compose.yml:33 9600 of search): nothing listens there here
    # - restart policies (docker/docker-compose.yml:7): what ends by itself is started again anyway
    "#);
}

#[test]
fn further_servers_anchors_and_the_network_of_the_machine() {
    let manifest = of("documented", &[("compose.yaml", ANCHORS)], "").unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # compose.yaml; what is not written is as the release has it.

    release = "documented"

    [profiles]
    core = ["redis", "sessions", "opensearch"]

    # cache, compose.yaml:7
    [services.redis]
    ports = { redis = 6379 }

    # sessions, compose.yaml:9
    [services.sessions]
    kind = "redis"
    ports = { redis = 6380 }
    settings = { maxmemory = "64mb" }

    # search, compose.yaml:14
    # it may ask for a login there; OpenSearch has none here, and no HTTPS
    [services.opensearch]
    ports = { cluster = 9300, http = 9200 }
    heap = "2g"
    settings = { "cluster.max_shards_per_node" = "3000" }

    # Not taken over:
    # - addresses (compose.yaml:4 6379 of cache, compose.yaml:11 6380 of sessions, compose.yaml:14 the network of the
    #   machine, of search): 0.0.0.0 and the like are not reproduced; every port is on 127.0.0.1 alone
    # - passwords (compose.yaml:12): this program makes a new one for each server; `env` prints them
    # - other services (compose.yaml:19 mail (axllent/mailpit)): this program does not know them; see kind = "process" for
    #   programs beside the servers
    # - restart policies (compose.yaml:2, 2): what ends by itself is started again anyway
    "#);
}

#[test]
fn a_file_that_is_as_the_release_has_it_needs_two_lines() {
    let text = "services:\n  db:\n    image: postgres:12.4\n    ports: [\"127.0.0.1:5632:5432\"]\n  a: {image: redis:7, ports: [\"127.0.0.1:6579:6379\"]}\n  \
                b: {image: \"rabbitmq:3-management\", ports: [\"127.0.0.1:5872:5672\"]}\n  \
                c: {image: opensearchproject/opensearch:2.3.0, ports: [\"127.0.0.1:9400:9200\"], environment: [DISABLE_SECURITY_PLUGIN=true]}\n";
    let manifest = of("documented", &[("f.yml", text)], "").unwrap();
    assert_eq!(manifest.left_out, []);
    let lines: Vec<&str> =
        manifest.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(lines, ["release = \"documented\""]);
}

#[test]
fn without_a_file_it_is_short_and_every_line_of_it_holds() {
    let project = |release| Detected {
        requirement: "invenio-app-rdm ~=12.0".to_owned(),
        release,
        file: "Pipfile".to_owned(),
        line: 6,
    };
    let with = |project| resolve(&[], &Flags { project, ..Flags::default() }).unwrap();
    let manifest = short(&with(Some(project(Some("v12"))))).unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Everything may be
    # left out; what is commented out is as the release has it. Your own values go into ecosystem.local.toml.

    # Versions, images and ports: Pipfile:6 names invenio-app-rdm ~=12.0, and so they follow it. To hold them:
    # release = "v12"

    # What `up` starts; another set is `up --profile NAME`.
    # [profiles]
    # core = ["postgresql", "redis", "rabbitmq", "opensearch"]

    # [services.postgresql]
    # ports = { sql = 5432 }
    # [services.redis]
    # ports = { redis = 6379 }
    # [services.rabbitmq]
    # ports = { amqp = 5672, distribution = 25672, epmd = 4389, http = 15672 }
    # [services.opensearch]
    # ports = { cluster = 9300, http = 9200 }
    # heap = "512m"
    "#);
    let names: Vec<String> = [with(None), with(Some(project(None))), release("v14")]
        .iter()
        .map(|ecosystem| {
            short(ecosystem).unwrap().text.lines().skip(3).take(3).collect::<Vec<_>>().join("\n")
        })
        .collect();
    insta::assert_snapshot!(names.join("\n"), @r#"
    # Where versions, images and ports come from: documented, v11, v12, v13, v14, oarepo-14.
    release = "documented"

    # Where versions, images and ports come from: documented, v11, v12, v13, v14, oarepo-14. Pipfile:6 names invenio-app-rdm
    # ~=12.0, which is none of them.
    release = "documented"
    # Where versions, images and ports come from: documented, v11, v12, v13, v14, oarepo-14.
    release = "v14"
    "#);
    // What is commented out says what holds without it.
    let all: String = manifest
        .text
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(['=', '[']) && !rest.contains(": "))
                .unwrap_or(line)
                .to_owned()
                + "\n"
        })
        .collect();
    let read = resolve(&[Layer { name: "m", text: &all }], &Flags::default()).unwrap();
    assert_eq!(read.release.value, "v12");
    assert_eq!(read.ports_at(0), release("v12").ports_at(0));
}

#[test]
fn ports_make_way_for_those_of_the_file() {
    let text = "services:\n  mq: {image: \"rabbitmq:3-management\", ports: [\"127.0.0.1:25672:5672\", \"127.0.0.1:15672:15672\"]}\n  \
                cache: {image: redis:7, ports: [\"127.0.0.1:9000:6379\"]}\n  db: {image: postgres:14.13, ports: [\"127.0.0.1:9000:5432\"]}\n";
    let manifest = of("v13", &[("f.yml", text)], "").unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # f.yml; what is not written is as the release has it.

    release = "v13"

    [profiles]
    core = ["postgresql", "redis", "rabbitmq"]

    # db, f.yml:4
    [services.postgresql]
    ports = { sql = 9000 }

    # mq, f.yml:2
    # moved out of the way of another port: distribution
    [services.rabbitmq]
    ports = { amqp = 25672, distribution = 25673 }

    # Not in the file; moved out of the way of what is.
    [services.minio]
    ports = { s3 = 9002 }

    # redis is as the release has it (cache, f.yml:3): 9000 is another service's port already: its redis is on 6379
    "#);
}

#[test]
fn files_without_servers_are_refused_by_name() {
    let refused =
        of("v12", &[("a.yml", "services:\n  x: {image: nginx}\n"), ("b.yml", "- 1")], "").unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        ("nothing-to-take-over", "no service of a.yml, b.yml is one that this program knows")
    );
}

#[test]
fn hostile_words_stay_words() {
    let text = "services:\n  \"db\\n]\\nbind = '0.0.0.0'\":\n    image: postgres:1\"\"\"\n    environment: {\"a\\nb\": 1, \"\\e[2J\": 1}\n  \
                'x'' = 1 #': {image: 'redis:7'' # \"', ports: ['1:6379']}\n  \u{202e}evil\u{7}:\n    image: redis:6\n    ports: [\"2:6379\"]\n  \
                os:\n    image: opensearchproject/opensearch:2.1\n    environment: {\"a.b\\\"c\": 1, a.b: \"x\\ny\", path.repo: /, a.c: \"1\" }\n";
    let manifest = of("documented", &[("a\n[profiles]\n.yml", text)], "").unwrap();
    insta::assert_snapshot!(manifest.text, @r#"
    # What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Taken over from
    # a??profiles??.yml; what is not written is as the release has it.

    release = "documented"

    [profiles]
    core = ["postgresql", "redis", "evil", "opensearch"]

    # x?? = 1 ?, a??profiles??.yml:5
    # no version is named there; here it is redis:7
    [services.redis]
    ports = { redis = 1 }

    # ?evil?, a??profiles??.yml:7
    # the image is what `up --backend compose` runs; as a process it is the version of the system
    [services.evil]
    kind = "redis"
    image = "redis:6"
    ports = { redis = 2 }

    # os, a??profiles??.yml:10
    # it publishes no port there; its ports are those of the release
    # the image is what `up --backend compose` runs; as a process it is 2.3.0, of release documented
    # it may ask for a login there; OpenSearch has none here, and no HTTPS
    [services.opensearch]
    image = "opensearchproject/opensearch:2.1"
    settings = { "a.c" = "1" }

    # postgresql is as the release has it (db?n??nbind = ?0.0.0.0?, a??profiles??.yml:3): it publishes no port there; its
    # ports are those of the release; no version is named there; here it is postgres:12.4
    # Not taken over:
    # - addresses (a??profiles??.yml:5 1 of x?? = 1 ?, a??profiles??.yml:8 2 of ?evil?): 0.0.0.0 and the like are not
    #   reproduced; every port is on 127.0.0.1 alone
    # - environment (a??profiles??.yml:4 ?e?2J of db?n??nbind = ?0.0.0.0?, a??profiles??.yml:4 a?nb of db?n??nbind =
    #   ?0.0.0.0?, a??profiles??.yml:11 a.b of os, a??profiles??.yml:11 a.b??c of os and 1 more): it has no counterpart
    "#);
    assert!(!manifest.text.contains(['\u{202e}', '\u{7}', '\u{1b}']));
}
