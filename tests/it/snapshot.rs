//! `snapshot`: the same document in another place, a readable difference after a change.

use crate::support::Place;

/// Cheap servers whose configuration is read back in two very different ways.
const SERVICES: [&str; 3] = ["up", "redis", "postgresql"];

#[test]
fn accepted_in_one_place_it_holds_in_another_and_tells_what_changed() {
    let (one, other) = (Place::new(), Place::named("another folder"));
    one.ok(&SERVICES);
    let never = one.run(&["snapshot"]);
    assert_eq!(never.status, 1, "{never}");
    assert!(never.stdout.contains("redis was never accepted"), "{never}");
    one.ok(&["snapshot", "--accept"]);
    one.ok(&["snapshot", "--check"]);
    let secrets = std::fs::read_to_string(one.state().join("secrets.toml")).unwrap();

    std::fs::create_dir(other.root.join("snapshots")).unwrap();
    for name in ["redis.snap", "postgresql.snap"] {
        let text = std::fs::read_to_string(one.root.join("snapshots").join(name)).unwrap();
        let leaked = secrets.split('"').filter(|word| word.len() == 24).any(|secret| text.contains(secret));
        assert!(!leaked && !text.contains(one.root.as_str()), "{text}");
        other.file(&format!("snapshots/{name}"), &text);
    }
    other.ok(&SERVICES);
    other.ok(&["snapshot", "--check"]);

    other.manifest("services.postgresql.settings.max_connections = 77\n");
    other.ok(&SERVICES);
    let changed = other.run(&["snapshot"]);
    assert_eq!(changed.status, 1, "{changed}");
    for line in ["postgresql differs", "+    max_connections = '77'", "+  max_connections = 77"] {
        assert!(changed.stdout.contains(line), "{line} is missing in\n{changed}");
    }
    assert!(!changed.stdout.contains("redis differs"), "{changed}");
    assert!(!other.root.join("snapshots/postgresql.snap.new").exists(), "nothing is left behind");
}
