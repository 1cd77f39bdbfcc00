//! A store that is damaged, in the way, or not ours to write: named, mended where that can be done, never half used.

use std::os::unix::fs::PermissionsExt;

use super::lab::{Lab, failed, file, unshared};
use crate::support::Run;

/// Damages a finished server, and insists that the next run says so and makes it again.
#[track_caller]
fn mended(damage: impl FnOnce(&camino::Utf8Path), words: &str) {
    let (lab, _mirror) = Lab::with_packages();
    lab.ok(&["provision", "redis"]);
    let entry = lab.entry("redis-");
    damage(&entry);
    let run = lab.ok(&["provision", "redis"]);
    assert!(run.stderr.contains("is damaged: ") && run.stderr.contains(words), "{run}");
    assert!(run.stdout.contains("1 new"), "{run}");
    assert!(entry.join("usr/bin/redis-server").exists());
    let again = lab.ok(&["provision", "redis"]);
    assert!(!again.stderr.contains("damaged") && again.stdout.contains("nothing to do"), "{again}");
    lab.assert_quiet();
}

#[test]
fn a_record_that_was_cut() {
    let cut = |entry: &camino::Utf8Path| {
        let text = std::fs::read(entry.join("installed.json")).unwrap();
        file(&entry.join("installed.json"), &text[..text.len() / 2]);
    };
    mended(cut, "installed.json cannot be read");
}

#[test]
fn a_record_that_is_empty() {
    mended(|entry| file(&entry.join("installed.json"), b""), "installed.json cannot be read");
}

#[test]
fn a_record_that_is_garbage() {
    mended(|entry| file(&entry.join("installed.json"), &[0, 0xff, 7]), "installed.json cannot be read");
}

#[test]
fn a_removal_that_was_cut_short() {
    mended(|entry| std::fs::remove_file(entry.join("installed.json")).unwrap(), "it has no installed.json");
}

#[test]
fn a_program_that_is_gone() {
    mended(|entry| std::fs::remove_file(entry.join("usr/bin/redis-server")).unwrap(), "is missing");
}

#[test]
fn a_file_that_is_gone() {
    let gone = |entry: &camino::Utf8Path| std::fs::remove_dir_all(entry.join("usr/share/liblab")).unwrap();
    mended(gone, "files in it are missing or have changed");
}

#[test]
fn a_file_where_a_server_should_be() {
    let other = |entry: &camino::Utf8Path| {
        std::fs::remove_dir_all(entry).unwrap();
        file(entry, b"something else");
    };
    mended(other, "it is no folder");
}

#[test]
fn a_file_where_the_store_keeps_its_own() {
    for name in ["locks", "tmp", "cache"] {
        let (lab, _mirror) = Lab::with_packages();
        std::fs::create_dir(&lab.store).unwrap();
        file(&lab.store.join(name), b"something else");
        let message = lab.fails(&["provision", "redis"], "store-blocked");
        assert!(message.contains(lab.store.join(name).as_str()), "{message}");
        assert_eq!(std::fs::read(lab.store.join(name)).unwrap(), b"something else", "it is somebody's");
    }
}

#[test]
fn a_file_where_the_store_should_be() {
    let (lab, _mirror) = Lab::with_packages();
    file(&lab.store, b"something else");
    lab.fails(&["provision", "redis"], "store-blocked");
}

#[test]
fn a_store_that_can_only_be_read_serves_what_it_has() {
    let (lab, _mirror) = Lab::with_packages();
    lab.ok(&["provision", "redis"]);
    let store = &lab.store;
    let mount = format!("mount --bind '{store}' '{store}' && mount -o remount,bind,ro '{store}'");
    let run = unshared(&lab, "-rm", &mount, &["provision", "redis"]);
    assert!(run.status == 0 && run.stdout.contains("nothing to do"), "{run}");
    std::fs::remove_dir_all(lab.entry("redis-")).unwrap();
    let run = unshared(&lab, "-rm", &mount, &["provision", "redis", "--format", "json"]);
    let message = failed(&run, "store-unwritable");
    assert!(message.contains(store.as_str()), "{message}");
}

#[test]
fn a_cache_of_somebody_else_is_named() {
    let (lab, _mirror) = Lab::with_packages();
    let cache = lab.store.join("cache/apt");
    std::fs::create_dir_all(&cache).unwrap();
    let args = ["provision", "redis", "--format", "json"];
    let run = if rustix::process::geteuid().is_root() {
        // What belongs to a user that a namespace does not know is as closed to its root as to anybody.
        let uid = Some(12_345);
        std::os::unix::fs::chown(&cache, uid, uid).unwrap();
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o700)).unwrap();
        unshared(&lab, "-r", "true", &args)
    } else {
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o500)).unwrap();
        Run::of(&mut lab.command(&args))
    };
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o700)).unwrap();
    let message = failed(&run, "store-unwritable");
    assert!(message.contains(cache.as_str()), "{message}");
}
