//! Debian packages: what a mirror can do wrong, and what the lock can.

use std::time::Duration;

use super::lab::{Lab, REDIS, suite};
use super::mirror::Fault;

#[test]
fn a_server_is_fetched_from_the_persons_own_source_and_kept() {
    let (lab, mirror) = Lab::with_packages();
    let report = lab.json(&["provision", "redis"]);
    assert_eq!((&report["new"], &report["items"][0]["version"]), (&1.into(), &"7.0.15".into()));
    assert_eq!(mirror.asked(".deb"), 2);
    assert_eq!(lab.json(&["provision", "redis"])["new"], 0);
    assert_eq!(mirror.asked(".deb"), 2);
    lab.assert_quiet();
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let (mut lab, proxy) = Lab::with_packages();
    lab.source("http://packages.invalid");
    lab.set("http_proxy", proxy.url());
    lab.ok(&["provision", "redis"]);
    assert!(proxy.asked("http://packages.invalid/") > 2);
}

/// A fault in one package: named, nothing used, the other package kept, and the next run goes on from there.
#[track_caller]
fn one_package(fault: Fault, code: &str, words: &str) {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault("/redis-server", fault);
    let message = lab.fails(&["provision", "redis"], code);
    assert!(message.contains(words), "{message}");
    assert_eq!(lab.entries(), Vec::<String>::new());
    lab.assert_quiet();
    let before = mirror.asked("/liblab");
    mirror.behave();
    lab.ok(&["provision", "redis"]);
    assert_eq!(mirror.asked("/liblab"), before, "what was fetched is kept");
    lab.assert_quiet();
}

#[test]
fn a_package_that_is_missing() {
    one_package(Fault::Status(404), "mirror-lacks", "redis-server");
}

#[test]
fn a_mirror_that_is_broken() {
    one_package(Fault::Status(500), "mirror-refused", "status 500");
}

#[test]
fn a_package_that_is_cut() {
    one_package(Fault::Cut, "download-cut", "in the middle of a file");
}

#[test]
fn a_package_that_has_changed() {
    one_package(Fault::Changed, "mirror-changed", "than its own index says");
}

/// apt looks at the size alone and keeps nothing of it: the hint names both reasons.
#[test]
fn a_page_instead_of_a_package() {
    one_package(Fault::Page, "mirror-changed", "than its own index says");
}

#[test]
fn a_download_that_stalls_is_noticed_by_the_lack_of_bytes() {
    let (mut lab, mirror) = Lab::with_packages();
    lab.set("ECOSYSTEM_STALL", "1");
    mirror.fault("/redis-server", Fault::Hang);
    let message = lab.fails(&["provision", "redis"], "download-stalled");
    assert!(message.contains("no byte has arrived for 1 s"), "{message}");
    lab.assert_quiet();
    mirror.behave();
    lab.ok(&["provision", "redis"]);
}

#[test]
fn a_mirror_that_is_slow_but_alive_is_waited_for() {
    let (mut lab, mirror) = Lab::with_packages();
    // Four seconds for the whole file.
    lab.set("ECOSYSTEM_STALL", "3");
    mirror.fault("/redis-server", Fault::Slow(Duration::from_millis(200)));
    lab.ok(&["provision", "redis"]);
}

#[test]
fn a_page_instead_of_package_lists() {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault("/", Fault::Page);
    let message = lab.fails(&["provision", "redis"], "network-login");
    assert!(message.contains("web page"), "{message}");
    mirror.behave();
    // The page was not kept as a list.
    lab.ok(&["provision", "redis"]);
}

#[test]
fn package_lists_that_are_refused() {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault("/", Fault::Status(503));
    let message = lab.fails(&["provision", "redis"], "mirror-refused");
    assert!(message.contains("status 503"), "{message}");
    mirror.behave();
    lab.ok(&["provision", "redis"]);
}

#[test]
fn a_version_that_is_gone_is_replaced_with_a_notice() {
    let (lab, _mirror) = Lab::with_packages();
    lab.redis_lock(&["liblab=1.0-1", "redis-server=5:6.0.0-1"]);
    let run = lab.ok(&["provision", "redis"]);
    let notice = format!("has dropped locked packages of redis; using redis-server={REDIS} instead");
    assert!(run.stderr.contains(&notice), "{run}");
    let lock = std::fs::read_to_string(lab.place.root.join("ecosystem.lock")).unwrap();
    assert!(lock.contains(REDIS) && !lock.contains("6.0.0"), "{lock}");
}

#[test]
fn a_version_that_is_gone_stops_a_locked_run() {
    let (lab, _mirror) = Lab::with_packages();
    lab.redis_lock(&["liblab=1.0-1", "redis-server=5:6.0.0-1"]);
    let message = lab.fails(&["provision", "redis", "--locked"], "lock-gone");
    assert!(message.contains("redis 6.0.0"), "{message}");
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test]
fn a_mirror_that_is_down_is_no_reason_to_say_that_a_version_is_gone() {
    let (lab, mirror) = Lab::with_packages();
    lab.ok(&["provision", "redis"]);
    lab.redis_lock(&["liblab=1.0-1", "redis-server=5:6.0.0-1"]);
    mirror.fault("/", Fault::Status(500));
    lab.fails(&["provision", "redis", "--locked"], "mirror-refused");
}

#[test]
fn a_lock_without_the_packages_stops_a_locked_run() {
    let (lab, _mirror) = Lab::with_packages();
    lab.place.file("ecosystem.lock", "[maven]\n");
    let message = lab.fails(&["provision", "redis", "--locked"], "lock-missing");
    let (suite, machine) = suite();
    assert!(message.contains(&format!("{suite}.{machine}.redis")), "{message}");
    // Without it, packages are resolved and the lock gets them.
    lab.ok(&["provision", "redis"]);
    lab.ok(&["provision", "redis", "--locked"]);
}

#[test]
fn without_a_network_nothing_is_asked_for() {
    let (lab, mirror) = Lab::with_packages();
    for command in [["provision", "redis", "--offline"], ["up", "redis", "--offline"]] {
        let message = lab.fails(&command, "offline-missing");
        assert!(message.contains("redis 7.0.15"), "{message}");
    }
    assert_eq!(mirror.asked(""), 0);
    lab.ok(&["provision", "redis"]);
    let before = mirror.asked("");
    lab.ok(&["provision", "redis", "--offline"]);
    assert_eq!(mirror.asked(""), before);
}

#[test]
fn a_login_in_the_address_of_a_source_is_not_told() {
    let (mut lab, mirror) = Lab::with_packages();
    for (port, fault) in [(mirror.port, Fault::Status(403)), (mirror.port, Fault::Cut), (9, Fault::Page)] {
        mirror.fault("/redis-server", fault);
        lab.source(&format!("http://me:hunter2@127.0.0.1:{port}"));
        let run = lab.run(&["provision", "redis"]);
        assert!(run.status == 3 && !run.to_string().contains("hunter2"), "{run}");
        assert!(run.stderr.contains(&format!("127.0.0.1:{port}")), "{run}");
        mirror.behave();
    }
}
