//! Machines that give little: files, processes, names, addresses, rights.

use crate::faults::{is_root, namespaces, not_run, run_of, unshared, wrapped};
use crate::support::Place;

/// The limits of open files of a process: soft, hard.
fn open_files(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn servers_get_the_files_that_the_machine_allows() {
    for (asked, given) in [("256:4096", (4096, 4096)), ("256:256", (256, 256))] {
        let place = Place::new();
        let limit = format!("--nofile={asked}");
        let run = run_of(&mut wrapped(&place, &["prlimit", &limit], &["up", "redis"]));
        assert_eq!(run.status, 0, "{asked}: {run}");
        assert_eq!(open_files(place.pid("redis", "redis")), given, "{asked}");
    }
}

#[test]
fn a_machine_without_processes_to_give_is_named() {
    if !is_root() {
        not_run("only root can become a user with no processes");
        return;
    }
    let place = Place::new();
    // The checkout and the store may be where this user cannot look.
    std::fs::copy(env!("CARGO_BIN_EXE_ecosystem"), place.root.join("ecosystem")).unwrap();
    let user = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "prlimit", "--nproc=1"];
    let copy = ["sh", "-c", "shift; exec ./ecosystem \"$@\"", "sh"];
    let through = [&user[..], &copy[..]].concat();
    for folder in place.root.ancestors().take(2) {
        std::os::unix::fs::chown(folder, Some(4242), Some(4242)).unwrap();
    }
    std::os::unix::fs::chown(place.root.join("ecosystem.toml"), Some(4242), Some(4242)).unwrap();
    let mut command = wrapped(&place, &through, &["status"]);
    command.env("HOME", &place.root).env_remove("XDG_CACHE_HOME").env_remove("ECOSYSTEM_STORE");
    let run = run_of(&mut command);
    assert_eq!(run.status, 3, "{run}");
    assert!(run.stderr.contains("error[no-thread]") && run.stderr.contains("ulimit -u"), "{run}");
}

#[test]
fn one_core_is_enough() {
    let place = Place::new();
    let run = run_of(&mut wrapped(&place, &["taskset", "-c", "0"], &["up", "redis", "postgresql"]));
    assert_eq!(run.status, 0, "{run}");
    place.ok(&["status"]);
}

#[test]
fn without_ipv6_nothing_is_missed() {
    if !namespaces("-rn") {
        return;
    }
    let place = Place::new();
    let text = "\
        ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
        \"$@\" up redis postgresql; \"$@\" status; \"$@\" down";
    let run = run_of(&mut unshared(&place, "-rn", text, &[]));
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stdout.contains("Stopped postgresql, redis."), "{run}");
}

#[test]
fn a_machine_that_does_not_know_localhost_is_told_before_rabbitmq_starts() {
    if !namespaces("-rmn") {
        return;
    }
    let place = Place::new();
    place.file("hosts", "127.0.0.1 somebody # localhost\n");
    let text = "ip link set lo up; mount --bind hosts /etc/hosts; exec \"$@\"";
    let run = run_of(&mut unshared(&place, "-rmn", text, &["up", "redis", "rabbitmq"]));
    assert_eq!(run.status, 3, "{run}");
    for part in ["error[localhost-unknown]", "/etc/hosts: 127.0.0.1 localhost"] {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
    assert_eq!((place.supervisor(), place.listening()), (None, vec![]), "nothing may be started");
}

#[test]
fn root_that_may_not_make_namespaces_is_told() {
    if !namespaces("-Ur") {
        return;
    }
    let place = Place::new();
    let text = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let run = run_of(&mut unshared(&place, "-Ur", text, &["up", "redis"]));
    assert_eq!(run.status, 3, "{run}");
    for part in ["error[root-without-namespaces]", "ordinary user", "max_user_namespaces"] {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
    assert!(!place.state().exists(), "nothing may be made");
}
