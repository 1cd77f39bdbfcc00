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
