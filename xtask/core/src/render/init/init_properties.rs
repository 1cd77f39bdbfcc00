//! Manifests of Compose files, whatever is in them: each is read back with the ports that were meant, on loopback, and says nothing else.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::json;

use super::tests::release;
use super::*;
use crate::host::compose_file::{File, describe, siblings, variables};
use crate::release::names;

/// Pieces that Compose files are made of, good and bad.
const PIECES: [&str; 62] = [
    "services:",
    "services: &all",
    "  db:",
    "  cache: &cache",
    "  redis:",
    "  \"a'b\\\"c\\n\":",
    "  'x]=':",
    "  logs:",
    "  s3: {image: \"minio/minio:1\", ports: [\"0.0.0.0:9000:9000\", 9001]}",
    "  es: {image: docker.elastic.co/elasticsearch/elasticsearch:7.9.3, ports: [\"9200:9200\"]}",
    "  os2: {image: \"opensearchproject/opensearch:2\", ports: [\"9201:9200\", \"9300:9300\"]}",
    "  c2: {image: redis, ports: [\"6379:6379\"]}",
    "  c3: {extends: cache}",
    "  c4: {extends: {file: f, service: c3}}",
    "  c5: {extends: {file: g.yml, service: db}}",
    "  k: {image: kibana, network_mode: host}",
    "  h: {image: \"rabbitmq:3\", network_mode: host, profiles: [x]}",
    "    image: postgres:15-alpine",
    "    image: postgres:${TAG}",
    "    image: \"redis:7\\\"\"",
    "    image: redis:7'''\"",
    "    image: rabbitmq:3.8",
    "    image: mysql",
    "    image: opensearchproject/opensearch:2.3.0@sha256:00",
    "    <<: *cache",
    "    <<: *all",
    "    *nothing",
    "    build: .",
    "    ports:",
    "      - \"5432:5432\"",
    "      - \"127.0.0.1:6379:6379\"",
    "      - \"65535:5672\"",
    "      - \"65536:5672\"",
    "      - \"25672:5672\"",
    "      - \"0:15672\"",
    "      - \"1-20:1-20\"",
    "      - \"5000-5010:9200-9210\"",
    "      - \"${PORT}:5432\"",
    "      - \"${DB_PORT:-15432}:5432\"",
    "      - target: 5432",
    "        published: 4389",
    "      - 5432:5432/udp",
    "    environment:",
    "      OPENSEARCH_JAVA_OPTS: -Xmx2g",
    "      OPENSEARCH_JAVA_OPTS: \"-Xmx0g\"",
    "      - ES_JAVA_OPTS=-Xmx999999g",
    "      cluster.max: \"'\\\"\"",
    "      a.b: \"1\\n[bind]\"",
    "      c.d: 'x = \"1\" # '",
    "      POSTGRES_PASSWORD: hunter2",
    "      OPENSEARCH_PLUGINS: analysis-icu ../x",
    "    command: postgres -c max_connections=5 -c bind=0.0.0.0 -c listen_addresses=*",
    "    command: [redis-server, --maxmemory, \"1\\\"\", --save, \"60 1\", --bind, 0.0.0.0]",
    "    command: rabbitmq-plugins enable rabbitmq_mqtt rabbitmq_shovel",
    "    extends: db",
    "    profiles: [a]",
    "    volumes: [\"/:/x\"]",
    "include: [other.yml]",
    "x: {y: *cache}",
    "\t",
    "\u{0}",
    "{",
];

fn text() -> impl Strategy<Value = String> {
    let pieces = vec(prop::sample::select(PIECES.to_vec()), 0..24)
        .prop_map(|pieces| format!("services:\n{}\n", pieces.join("\n")));
    prop_oneof![8 => pieces, 1 => any::<String>(), 1 => "[a-z:{}\\[\\]\"'&*<#$ \n-]{0,120}"]
}

proptest! {
    #![proptest_config(Config { cases: 400, rng_seed: RngSeed::Fixed(23), failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_is_written_is_what_was_meant(first in text(), second in text(), which in 0..6_usize, named: bool) {
        siblings(&first);
        let release_name = names().nth(which).unwrap();
        let files = [File { name: "f", text: &first, named: true }, File { name: "g.yml", text: &second, named }];
        let described = describe(&files, &variables("TAG=16\nPORT=4000\n"));
        let written = match from_compose(&release(release_name), &described, &["f", "g.yml"]) {
            Ok(written) => written,
            // Nothing else is refused: least of all because it cannot be read back.
            Err(failure) => {
                prop_assert_eq!(failure.code, "nothing-to-take-over");
                return Ok(());
            }
        };
        let layer = [Layer { name: "m", text: &written.text }];
        let read = resolve(&layer, &Flags::default()).unwrap();
        prop_assert_eq!(&read.warnings, &[]);
        prop_assert_eq!((read.release.value.as_str(), read.bind.value.as_str()), (release_name, "127.0.0.1"));
        prop_assert!(read.services.values().all(|service| service.kind != Kind::Process));
        // Nothing is said but by keys of these names.
        let table: toml::Table = written.text.parse().unwrap();
        prop_assert!(table.keys().all(|key| ["release", "profiles", "services"].contains(&key.as_str())), "{}", written.text);
        let keys: Vec<&String> = table.get("services").and_then(|s| s.as_table()).into_iter().flat_map(|s| s.values()).filter_map(|s| s.as_table()).flat_map(|s| s.keys()).collect();
        let allowed = ["kind", "image", "ports", "heap", "plugins", "settings"];
        prop_assert!(keys.iter().all(|key| allowed.contains(&key.as_str())), "{}", written.text);
        prop_assert!(!written.text.contains("hunter2"));
        prop_assert!(written.text.lines().all(|line| line.chars().count() < 2_000));
        // Every port that the files publish and nobody else has is the one that was written.
        let mut taken: BTreeMap<u16, usize> = BTreeMap::new();
        for port in written.services.iter().flat_map(|service| service.ports.values()) {
            *taken.entry(*port).or_default() += 1;
        }
        prop_assert!(taken.values().all(|count| *count == 1), "{:?}", written.services);
        for service in &written.services {
            prop_assert_eq!(&read.services[&service.name].ports_at(0), &service.ports);
        }
    }
}

/// A service of OpenSearch, PostgreSQL or Redis, of which every word could be anything.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    image: usize,
    tag: String,
    port: u16,
    setting: (String, String),
}

const IMAGES: [&str; 3] = ["opensearchproject/opensearch", "postgres", "redis"];

fn written() -> impl Strategy<Value = Written> {
    let word = prop_oneof![3 => "[a-z0-9._-]{1,12}", 1 => any::<String>(), 1 => "[a-z'\"=#\\\\\\]\\[{}\n\u{1b} ]{0,12}"];
    let names = prop_oneof![4 => "[a-z]{1,6}\\.[a-z_]{1,6}", 1 => any::<String>()];
    (word.clone(), 0..IMAGES.len(), word.clone(), 1..=u16::MAX, (names, word))
        .prop_map(|(name, image, tag, port, setting)| Written { name, image, tag, port, setting })
}

/// The file, as JSON is YAML too.
fn file(services: &[Written]) -> String {
    let one = |service: &Written| {
        let (name, value) = &service.setting;
        let (environment, command) = match service.image {
            0 => (json!({ name.clone(): value }), json!([])),
            1 => (json!({}), json!(["postgres", "-c", format!("{name}={value}")])),
            _ => (json!({}), json!(["redis-server", format!("--{name}"), value])),
        };
        let image = format!("{}:{}", IMAGES[service.image], service.tag);
        let inside = [9200, 5432, 6379][service.image];
        json!({ "image": image, "ports": [format!("0.0.0.0:{}:{inside}", service.port)], "environment": environment, "command": command })
    };
    let all: serde_json::Map<String, serde_json::Value> =
        services.iter().map(|s| (s.name.clone(), one(s))).collect();
    json!({ "services": all }).to_string()
}

proptest! {
    #![proptest_config(Config { cases: 300, rng_seed: RngSeed::Fixed(29), failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_word_of_a_file_means_anything_else(services in vec(written(), 1..5)) {
        let text = file(&services);
        let described = describe(&[File { name: "f", text: &text, named: true }], &variables(""));
        let Ok(manifest) = from_compose(&release("v12"), &described, &["f"]) else { return Ok(()) };
        let read = resolve(&[Layer { name: "m", text: &manifest.text }], &Flags::default()).unwrap();
        let before = release("v12");
        for (name, service) in &read.services {
            let default = &before.services[service.kind.name()];
            let taken = manifest.services.iter().any(|taken| taken.name == *name);
            for (setting, value) in &service.settings {
                let said = |w: &&Written| w.setting.0 == *setting && w.setting.1.trim() == value.value;
                prop_assert!(taken && services.iter().any(|w| said(&w)), "{setting} = {value:?}\n{}", manifest.text);
            }
            let image = service.image.as_ref().map(|image| image.value.as_str());
            let said = services.iter().any(|w| image == Some(format!("{}:{}", IMAGES[w.image], w.tag).as_str()));
            prop_assert!(said || image == default.image.as_ref().map(|image| image.value.as_str()), "{image:?}");
            let same = (&service.heap, &service.plugins.value) == (&default.heap, &default.plugins.value);
            prop_assert!(same && service.from.value == default.from.value, "{}", manifest.text);
        }
        // The first to ask for a port has it.
        let roles = ["http", "sql", "redis"];
        let ports: Vec<u16> = manifest.services.iter().flat_map(|s| roles.iter().filter_map(|role| s.ports.get(*role)).copied()).collect();
        let kept = services.iter().filter(|w| ports.contains(&w.port)).count();
        prop_assert!(kept >= manifest.services.len().min(1));
    }
}
