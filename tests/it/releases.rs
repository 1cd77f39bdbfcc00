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
    let port = |expected: u16| assert_eq!(place.env()["PGPORT"], place.port(expected).to_string());
    place.ok(&["up", "redis"]);
    port(5632);
    place.ok(&["up", "redis", "--release", "v12"]);
    port(5432);
    place.ok(&["up", "redis"]);
    port(5432);
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
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @"

    error[image-only]: services.opensearch: the opensearch of release oarepo-14 runs from its container image only (opensearchproject/opensearch:3), and this version has no container backend
      → `ecosystem up NAME …` starts the services that can run natively; docs/releases.md tells which these are
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
