//! Bundles from one store to another, through the program. Bundles that lie are tested where they are read.

use super::lab::{Lab, file};
use crate::support::Place;

#[test]
fn a_bundle_brings_a_server_to_a_machine_without_anything() {
    let (lab, mirror) = Lab::with_packages();
    let bundle = lab.folder.join("class room.tar");
    let report = lab.json(&["provision", "redis", "--bundle", bundle.as_str()]);
    assert_eq!(report["bundle"]["entries"][0]["name"], "redis");
    assert_eq!(report["bundle"]["bytes"], std::fs::metadata(&bundle).unwrap().len());
    lab.fails(&["provision", "redis", "--bundle", bundle.as_str()], "file-exists");

    let mut other = Lab::new();
    // Another lock: what the bundle has is used all the same, and that is said.
    other.redis_lock(&["redis-server=5:6.0.0-1"]);
    other.set("PATH", "/nowhere");
    let before = mirror.asked("");
    let run = other.ok(&["provision", "redis", "--from", bundle.as_str()]);
    assert!(run.stderr.contains("other package versions"), "{run}");
    assert_eq!(mirror.asked(""), before);
    assert_eq!(other.json(&["provision", "redis", "--offline"])["new"], 0);
    let again = other.json(&["provision", "redis", "--from", bundle.as_str()]);
    assert_eq!(again["bundle"]["entries"][0]["present"], true);
    assert_eq!(again["bundle"]["sha256"], report["bundle"]["sha256"]);
    other.assert_quiet();
}

#[test]
fn a_bundle_that_was_cut_is_refused_whole() {
    let (lab, _mirror) = Lab::with_packages();
    let bundle = lab.folder.join("bundle.tar");
    lab.ok(&["provision", "redis", "--bundle", bundle.as_str()]);
    let bytes = std::fs::read(&bundle).unwrap();
    file(&bundle, &bytes[..bytes.len() / 2]);
    let other = Lab::new();
    let message = other.fails(&["provision", "redis", "--from", bundle.as_str()], "bundle-invalid");
    assert!(message.contains("bundle.tar is not a whole bundle"), "{message}");
    assert_eq!(other.entries(), Vec::<String>::new());
    other.assert_quiet();
}

#[test]
fn what_a_bundle_lacks_is_named() {
    let (lab, _mirror) = Lab::with_packages();
    let bundle = lab.folder.join("bundle.tar");
    lab.ok(&["provision", "redis", "--bundle", bundle.as_str()]);
    let other = Lab::new();
    let message = other.fails(&["provision", "postgresql", "--from", bundle.as_str()], "offline-missing");
    assert!(message.contains("\n  postgresql 12.22.0: 1 artifact"), "{message}");
}

#[test]
fn all_four_servers_start_from_a_bundle_without_network_and_clients() {
    let from = Place::heavy();
    let folder = tempfile::tempdir().unwrap();
    let folder = camino::Utf8Path::from_path(folder.path()).unwrap().canonicalize_utf8().unwrap();
    let bundle = folder.join("bundle.tar");
    from.ok(&["provision", "--bundle", bundle.as_str()]);

    let (store, home) = (folder.join("another store"), folder.join("home"));
    std::fs::create_dir(&home).unwrap();
    let run = |args: &[&str]| {
        let mut command = from.command(args);
        command
            .env("ECOSYSTEM_STORE", &store)
            .env("HOME", &home)
            .env("PATH", "/nowhere")
            .env_remove("JAVA_HOME");
        let run = crate::support::Run::of(&mut command);
        assert_eq!(run.status, 0, "{args:?}\n{run}");
        run.stdout
    };
    let text = run(&["provision", "--from", bundle.as_str()]);
    assert!(text.contains("opensearch-cds"), "{text}");
    // What is derived from a machine's own things is made again; nothing of the host came along.
    for entry in store.read_dir_utf8().unwrap().flatten() {
        if let Ok(record) = std::fs::read_to_string(entry.path().join("installed.json")) {
            assert!(!record.contains("\"/"), "{}: {record}", entry.path());
        }
    }
    let text = run(&["up", "--offline", "--timeout", "300"]);
    for service in ["opensearch", "postgresql", "rabbitmq", "redis"] {
        assert!(text.contains(service), "{text}");
    }
    run(&["down"]);
}
