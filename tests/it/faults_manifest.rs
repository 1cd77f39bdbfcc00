//! Bad manifests: the whole corpus of `dev prove manifests`, and what that one cannot lay.

use std::os::unix::fs::PermissionsExt;

use crate::faults::{as_owner, bounded, run_of, wrapped};
use crate::support::Place;

#[test]
fn whatever_stands_in_place_of_a_manifest_is_refused_by_name() {
    let place = Place::new();
    let run = bounded(&place, &["dev", "prove", "manifests", "--format", "json"]);
    assert_eq!(run.status, 0, "{run}");
    let proven: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let proof = &proven["proofs"][0];
    assert_eq!(proof["failures"], serde_json::json!([]), "{run}");
    for file in ["ecosystem.toml", "ecosystem.local.toml", "ecosystem.lock"] {
        assert!(proof["counts"][file].as_u64().unwrap() >= 12, "{run}");
    }
}

#[test]
fn a_manifest_that_may_not_be_read_is_named() {
    let Some(through) = as_owner() else { return };
    let place = Place::new();
    for file in ["ecosystem.toml", "ecosystem.local.toml", "ecosystem.lock"] {
        place.manifest("");
        place.file(file, "seed = \"demo\"\n");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.root.join(file), mode(0o000)).unwrap();
        let run = run_of(&mut wrapped(&place, through, &["up", "redis", "--dry-run"]));
        assert_eq!(run.status, 4, "{run}");
        assert!(run.stderr.contains(file) && run.stderr.contains("ermission denied"), "{run}");
        std::fs::set_permissions(place.root.join(file), mode(0o600)).unwrap();
        if file != "ecosystem.toml" {
            std::fs::remove_file(place.root.join(file)).unwrap();
        }
    }
    place.manifest("");
}
