//! Releases other than the default one: chosen by flag, manifest or the project itself, and run with their own servers.

use crate::clients::{number, search};
use crate::support::Place;

/// What a project of InvenioRDM 14 looks like to this program.
const PYPROJECT: &str =
    "[project]\nname = \"my-site\"\ndependencies = [\n  \"invenio-app-rdm[opensearch2]~=14.0\",\n]\n";

#[test]
fn a_project_of_release_14_gets_its_servers_without_being_asked() {
    let place = Place::heavy();
    place.file("pyproject.toml", PYPROJECT);
    // The transport port of this release could meet a port of another place.
    place.manifest("[services.opensearch]\nports = { cluster = 9301 }\n");
    let up = place.ok(&["up", "postgresql", "opensearch"]);
    assert!(up.stderr.contains("v14"), "{up}");
    let env = place.env();
    assert_eq!(env["PGPORT"], place.port(5432).to_string());
    assert_eq!(number(&env, "SELECT current_setting('server_version_num')::int8 / 10000"), 17);
    assert_eq!(search(&env, "GET", "/", None)["version"]["number"], "2.19.5");
    place.ok(&["status"]);
}

#[test]
fn a_release_given_to_up_is_remembered() {
    let place = Place::new();
    let port = |expected: u16| {
        let url = &place.env()["REDIS_URL"];
        assert!(url.contains(&format!(":{}/", place.port(expected))), "{url}");
    };
    place.ok(&["up", "redis"]);
    port(6579);
    place.ok(&["up", "redis", "--release", "v12"]);
    port(6379);
    place.ok(&["up", "redis"]);
    port(6379);
    // What the project names holds only where nobody was told anything.
    place.file("pyproject.toml", PYPROJECT);
    let up = place.ok(&["up", "redis"]);
    assert!(up.stderr.contains("names invenio-app-rdm ~=14.0, which is release v14"), "{up}");
}

#[test]
fn the_manifest_is_not_overruled_for_one_command_only() {
    let place = Place::new();
    place.file("ecosystem.toml", &format!("port_offset = {}\nrelease = \"documented\"\n", place.offset));
    let run = place.run(&["up", "redis", "--release", "v13"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @r#"

    error[release-differs]: --release v13: ecosystem.toml:2 names release documented
      → change that line, or write `release = "v13"` into ecosystem.local.toml
    [exit status: 2]
    "#);
}

#[test]
fn a_server_that_is_only_an_image_is_named_before_anything_is_fetched() {
    let place = Place::new();
    let run = place.run(&["provision", "--release", "oarepo-14"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @r"

    error[image-only]: services.opensearch: the opensearch of release oarepo-14 runs from its container image only (opensearchproject/opensearch:3)
      → run it as a container, with Docker: ecosystem up --backend compose
      → start the others by name: ecosystem up postgresql redis rabbitmq
    [exit status: 3]
    ");
    let run = place.run(&["check", "--release", "v99"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @r#"

    error[manifest-invalid]: 1 problem in the manifest
      --release: this version knows no release "v99"
          did you mean `v11`?
    [exit status: 4]
    "#);
}

#[test]
fn a_release_that_was_refused_is_not_remembered_and_the_way_back_keeps_the_data() {
    let place = Place::new();
    place.ok(&["up", "postgresql"]);
    place.ok(&["down"]);
    let refused = place.run(&["up", "postgresql", "--release", "v14"]);
    assert_eq!(refused.status, 5, "{refused}");
    assert!(refused.stderr.contains("error[data-other-version]"), "{refused}");
    let keep = "keep the data, with the release that has postgresql 12: ecosystem up --release documented";
    assert!(refused.stderr.find(keep) < refused.stderr.find("losing its data"), "{refused}");
    assert!(refused.stderr.contains(keep), "{refused}");
    place.ok(&["up", "postgresql"]);
    // With the last data goes the release that it was made with.
    place.ok(&["down", "--data", "--yes"]);
    place.ok(&["up", "postgresql", "--release", "v14"]);
    place.ok(&["down", "--data", "--yes"]);
    assert_eq!(place.json(&["check"])["release"], "documented");
}

#[test]
fn what_was_never_started_gets_no_settings_with_an_empty_password() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let run = place.ok(&["env"]);
    assert!(run.stdout.contains("REDIS_URL") && !run.stdout.contains("AMQP_URL"), "{run}");
    assert!(run.stderr.contains("never started here"), "{run}");
    assert!(run.stderr.contains("ecosystem up postgresql rabbitmq"), "{run}");
}

#[test]
fn a_copy_of_a_project_does_not_work_on_the_data_of_the_original() {
    let (place, copy) = (Place::new(), Place::new());
    place.ok(&["up", "redis"]);
    let text = std::fs::read_to_string(place.state().join("place.toml")).unwrap();
    let secrets = std::fs::read_to_string(place.state().join("secrets.toml")).unwrap();
    copy.ok(&["up", "redis"]);
    copy.ok(&["down"]);
    copy.file(".ecosystem/place.toml", &text);
    copy.file(".ecosystem/secrets.toml", &secrets);
    for words in [["redis-cli", "ping"].as_slice(), &["env"], &["up", "redis"], &["shell", "--", "true"]] {
        let run = copy.run(words);
        assert_eq!(run.status, 2, "{words:?}\n{run}");
        assert!(run.stderr.contains("error[state-of-another]"), "{run}");
        assert!(run.stderr.contains("if this folder is a copy of that one"), "{run}");
    }
    // Its own again, so that it can be taken down.
    std::fs::remove_dir_all(copy.state()).unwrap();
}
