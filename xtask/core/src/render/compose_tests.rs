//! The Compose file of manifests that say something else than the release.

use super::{compose, falls_short, project};
use crate::host::compose_file::scan;
use crate::model::{Flags, Layer, resolve};

fn of(manifest: &str) -> String {
    compose(&resolved(manifest), "a-project")
}

fn resolved(manifest: &str) -> crate::model::Ecosystem {
    resolve(&[Layer { name: "ecosystem.toml", text: manifest }], &Flags::default()).unwrap()
}

/// The part of one service.
fn part<'a>(text: &'a str, service: &str) -> &'a str {
    let begin = text.find(&format!("\n  \"{service}\":\n    ")).unwrap();
    let part = &text[begin + 1..];
    &part[..part.find("\n\n").unwrap()]
}

#[test]
fn a_service_has_everything_that_its_image_does_not_say() {
    let text = of("[services.redis]\nsettings = { maxmemory = \"64mb\", appendonly = true }\n");
    insta::assert_snapshot!(part(&text, "redis"));
}

#[test]
fn every_published_port_is_on_loopback() {
    for release in crate::release::names() {
        let text = of(&format!("release = \"{release}\"\n"));
        let ports: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with("services:"))
            .filter(|line| line.trim_start().starts_with("- \"") && line.contains("_PORT:-"))
            .collect();
        assert!(ports.len() >= 10, "{ports:?}");
        assert!(ports.iter().all(|line| line.trim_start().starts_with("- \"127.0.0.1:")), "{ports:?}");
        let found = scan(&text);
        assert_eq!((found.open.len(), found.unread.len()), (0, 0), "{release}: {found:?}");
    }
}

#[test]
fn a_server_that_is_opened_to_the_network_is_opened_in_so_many_words() {
    let text = of("bind = \"0.0.0.0\"\n");
    assert!(part(&text, "postgresql").contains("- \"0.0.0.0:${POSTGRESQL_SQL_PORT:-5632}:5432\""));
    assert!(!scan(&text).open.is_empty());
}

#[test]
fn compose_fills_in_nothing_of_what_the_manifest_says() {
    let text =
        of("[services.postgresql]\nsettings = { application_name = \"costs ${HOME} $5 \\\"quoted\\\"\" }\n");
    let expected = r#"- "application_name=costs $${HOME} $$5 \"quoted\"""#;
    assert!(part(&text, "postgresql").contains(expected), "{text}");
}

#[test]
fn what_is_in_core_comes_without_asking_and_the_rest_with_its_profiles() {
    let manifest =
        "[profiles]\ncore = [\"redis\"]\nweb = [\"@core\", \"postgresql\"]\nall = [\"@web\", \"minio\"]\n";
    let text = of(manifest);
    let profiles =
        |service| part(&text, service).lines().find(|line| line.contains("profiles:")).map(str::trim);
    assert_eq!(profiles("redis"), None);
    assert_eq!(profiles("postgresql"), Some(r#"profiles: ["all", "web"]"#));
    assert_eq!(profiles("minio"), Some(r#"profiles: ["all", "app", "recommended"]"#));
}

#[test]
fn two_services_of_a_kind_are_told_apart() {
    let text = of("[services.queue]\nkind = \"redis\"\nports = { redis = 7000 }\n");
    assert!(part(&text, "queue").contains("\"127.0.0.1:${QUEUE_REDIS_PORT:-7000}:6379\""), "{text}");
    assert!(part(&text, "queue").contains("${QUEUE_PASSWORD:-invenio}"), "{text}");
    assert!(text.ends_with("  \"redis\":\n"), "{text}");
}

#[test]
fn programs_of_the_manifest_are_no_containers() {
    let text = of("[services.mail]\nkind = \"process\"\ncommand = [\"mailpit\"]\n");
    assert!(!text.contains("\"mail\""), "{text}");
}

#[test]
fn what_an_image_cannot_do_is_told() {
    let manifest = "[services.opensearch]\nplugins = [\"analysis-icu\"]\n";
    let expected = "the image does not have these plugins of the manifest: analysis-icu";
    assert_eq!(falls_short(&resolved(manifest)), [format!("opensearch: {expected}")]);
    assert!(part(&of(manifest), "opensearch").contains(&format!("# {expected}")));
    assert_eq!(falls_short(&resolved("")), Vec::<String>::new());
}

#[test]
fn a_file_tells_the_project_that_it_was_written_for() {
    assert_eq!(project(&of("")).as_deref(), Some("a-project"));
    assert_eq!(project("name: \"another\"\n"), None);
}

#[test]
fn a_console_beside_servers_that_are_no_containers_goes_onto_the_network_of_this_machine() {
    let ecosystem = resolved("port_offset = 100\nservices.pgadmin.via = \"compose\"\n");
    let place = crate::place::Place {
        id: "a-1".into(),
        root: "/p".into(),
        state: "/p/.ecosystem".into(),
        store: "/s".into(),
        offset: 100,
    };
    let (text, all) = super::of_place(&ecosystem, &place, |_| crate::endpoint::Secret::new("word"));
    assert_eq!(all.keys().collect::<Vec<_>>(), ["dashboards", "pgadmin"]);
    for line in [
        r#""OPENSEARCH_HOSTS": "[\"http://127.0.0.1:9500\"]""#,
        r#""SERVER_HOST": "127.0.0.1""#,
        r#""SERVER_PORT": "5901""#,
        r#"test: ["CMD-SHELL", "curl -fsS http://127.0.0.1:5901/api/status"]"#,
        "network_mode: host",
    ] {
        assert!(part(&text, "dashboards").contains(line), "{line}\n{text}");
    }
    for line in [r#""PGADMIN_LISTEN_PORT": "5350""#, r#"\"Host\":\"127.0.0.1\""#, r#"\"Port\":5732"#] {
        assert!(part(&text, "pgadmin").contains(line), "{line}\n{text}");
    }
    assert!(!part(&text, "pgadmin").contains("ports:"));
}

#[test]
fn the_file_of_a_place_is_literal_and_complete() {
    let manifest = "backend = \"compose\"\n[services.redis]\nsettings = { maxmemory = \"64mb\" }\n[services.mail]\n\
                    kind = \"process\"\ncommand = [\"mailpit\"]\n";
    let ecosystem = resolved(manifest);
    let place = crate::place::Place {
        id: "a-1".into(),
        root: "/p".into(),
        state: "/p/.ecosystem".into(),
        store: "/s".into(),
        offset: 100,
    };
    let (text, all) =
        super::of_place(&ecosystem, &place, |name| crate::endpoint::Secret::new(format!("word-of-{name}")));
    insta::assert_snapshot!(part(&text, "redis"));
    assert!(!text.contains("${") && !text.contains("mailpit"), "nothing is left to the environment\n{text}");
    assert!(text.contains("name: \"ecosystem-a-1\""), "{text}");
    assert_eq!(all["rabbitmq"].endpoint.identity, "ecosystem-a-1@localhost");
    assert_eq!(all["redis"].labels["settings.maxmemory"], "64mb");
    assert!(all.values().all(|contained| contained.labels.values().all(|label| !label.contains("word-of"))));
}
