//! A machine without a network, and a disk without space.

use super::lab::{Lab, failed, unshared};
use crate::support::walk;

#[test]
fn no_network_at_all_for_apt() {
    let (mut lab, _mirror) = Lab::with_packages();
    lab.source("http://packages.invalid");
    let run = unshared(&lab, "-rn", "true", &["provision", "redis", "--format", "json"]);
    let message = failed(&run, "network-down");
    assert!(message.contains("packages.invalid"), "{message}");
    lab.assert_quiet();
}

#[test]
fn no_network_at_all_for_maven() {
    let (mut lab, _mirror) = Lab::with_maven();
    lab.maven_mirror("https://jars.invalid");
    let run = unshared(&lab, "-rn", "true", &["provision", "postgresql", "--format", "json"]);
    let message = failed(&run, "network-down");
    assert!(message.contains("jars.invalid"), "{message}");
    lab.assert_quiet();
}

/// A lab whose store is on a disk with this much space beside what apt itself writes, and the run in it.
fn with_space(kilobytes: u64) -> (Lab, super::mirror::Mirror, crate::support::Run) {
    let (lab, mirror) = Lab::with_packages();
    lab.ok(&["provision", "redis"]);
    let apt: u64 = walk(&lab.store.join("cache/apt")).iter().map(|path| path.metadata().unwrap().len()).sum();
    std::fs::remove_dir_all(&lab.store).unwrap();
    std::fs::create_dir(&lab.store).unwrap();
    let size = apt / 1024 + kilobytes;
    let mount = format!("mount -t tmpfs -o size={size}k none '{}'", lab.store);
    let run = unshared(&lab, "-rm", &mount, &["provision", "redis", "--format", "json"]);
    (lab, mirror, run)
}

#[test]
fn no_space_for_package_lists() {
    let (lab, mirror) = Lab::with_packages();
    std::fs::create_dir(&lab.store).unwrap();
    let mount = format!("mount -t tmpfs -o size=100k none '{}'", lab.store);
    let run = unshared(&lab, "-rm", &mount, &["provision", "redis", "--format", "json"]);
    let message = failed(&run, "disk-full");
    assert!(message.contains("MB are free"), "{message}");
    assert_eq!(mirror.asked(".deb"), 0);
}

#[test]
fn no_space_for_packages() {
    // Two of 190 kB are wanted.
    let (_lab, mirror, run) = with_space(250);
    let message = failed(&run, "disk-full");
    assert!(message.contains("fetch redis"), "{message}");
    assert_eq!(mirror.asked(".deb"), 4);
}

#[test]
fn no_space_for_unpacking() {
    let (_lab, _mirror, run) = with_space(600);
    let message = failed(&run, "disk-full");
    assert!(message.contains("unpack"), "{message}");
}

#[test]
fn no_space_for_jars() {
    let (lab, mirror) = Lab::with_maven();
    let folder = lab.store.join("cache/maven/io");
    let mount = format!("mount -t tmpfs -o size=100k none '{folder}'");
    let run = unshared(&lab, "-rm", &mount, &["provision", "postgresql", "--format", "json"]);
    failed(&run, "disk-full");
    assert!(mirror.asked("embedded-postgres") > 0);
}

#[test]
fn with_a_store_no_home_is_needed() {
    let (lab, _mirror) = Lab::with_packages();
    let mut command = lab.command(&["provision", "redis"]);
    command.env_remove("HOME");
    let run = crate::support::Run::of(&mut command);
    assert_eq!(run.status, 0, "{run}");
}
