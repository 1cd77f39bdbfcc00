//! What makes the command line pleasant every day: watching, clients, consoles, and words about errors.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Watched, eventually, kill};

/// A report with what differs from run to run replaced.
fn plain(place: &Place, text: &str) -> String {
    text.replace(place.root.as_str(), "<root>")
}

#[test]
fn watching_tells_changes_and_ends_with_ctrl_c() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let mut command = place.command(&["status", "--watch"]);
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the table comes first", || watched.seen().contains("service"));
    place.ok(&["down", "redis"]);
    eventually("a change is a line", || watched.seen().contains("ready → gone\n"));
    place.ok(&["up", "redis"]);
    eventually("a new service is a line", || watched.seen().contains("redis        not there → ready, pid "));
    kill(watched.pid(), Signal::INT);
    let seen = watched.seen();
    assert!(!seen.contains('\u{1b}'), "nothing but text where nobody watches: {seen:?}");
    assert_eq!(watched.end(), Some(0));
}

#[test]
fn a_terminal_gets_a_table_in_its_place() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let mut command = place.on_terminal(&["status", "--watch"]);
    command.env_remove("CI").env("TERM", "xterm").env("NO_COLOR", "1");
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    eventually("it is drawn again in its place", || watched.seen().contains("\u{1b}[2A\r"));
    let seen = watched.seen();
    assert!(!seen.contains("\u{1b}[32m") && seen.contains("redis        ready"), "{seen:?}");
}

#[test]
fn a_service_that_the_manifest_does_not_name_any_more_is_seen_and_can_be_stopped() {
    let place = Place::new();
    place.manifest("[services.cache]\nkind = \"redis\"\nports = { redis = 7001 }\n");
    place.ok(&["up", "cache"]);
    place.manifest("");
    let status = place.json(&["status"]);
    let service = &status["services"][0];
    assert_eq!((&service["name"], &service["state"]), (&"cache".into(), &"orphaned".into()), "{status}");
    assert_eq!(service["ports"]["redis"], 7001 + place.offset);
    let text = place.ok(&["status"]).stdout;
    assert!(text.contains("to stop it: ecosystem down cache"), "{text}");
    place.ok(&["down", "cache"]);
    assert_eq!(plain(&place, &place.ok(&["status"]).stdout), "Nothing runs for <root>.\n");
}

#[test]
fn a_service_that_is_not_ready_is_shown_with_the_first_error_of_its_log() {
    let place = Place::new();
    place.manifest("services.redis.settings.maxmemory = \"64zb\"\n");
    assert_eq!(place.run(&["up", "redis"]).status, 5);
    let run = place.run(&["status"]);
    assert_eq!(run.status, 1, "{run}");
    assert!(run.stdout.contains("log: *** FATAL CONFIG FILE ERROR"), "{run}");
}
