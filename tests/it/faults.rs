//! What the tests of faults share: commands that cannot hang, and surroundings that only a namespace can give.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::support::{Place, Run};

/// The program in a place, ended after a minute: a test of a hang must not hang. Its status is 137 then.
pub(crate) fn bounded(place: &Place, args: &[&str]) -> Run {
    run_of(&mut wrapped(place, &[], args))
}

/// The same, started through another program such as `unshare`.
pub(crate) fn wrapped(place: &Place, through: &[&str], args: &[&str]) -> Command {
    wrapped_for("60", place, through, args)
}

/// The same with another limit, in seconds.
pub(crate) fn wrapped_for(limit: &str, place: &Place, through: &[&str], args: &[&str]) -> Command {
    let own = place.command(args);
    let mut words: Vec<&OsStr> = ["-s", "KILL", limit].map(OsStr::new).to_vec();
    words.extend(through.iter().map(OsStr::new));
    words.push(own.get_program());
    words.extend(own.get_args());
    #[expect(clippy::disallowed_methods, reason = "the program under test is started as a person would")]
    let mut command = Command::new("timeout");
    command.args(words).current_dir(&place.root).stdin(Stdio::null());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs it, and insists that it ended by itself and in its senses.
#[track_caller]
pub(crate) fn run_of(command: &mut Command) -> Run {
    let run = Run::of(command);
    assert!(![70, 101, 134, 137, 139].contains(&run.status) && !run.stderr.contains("panicked"), "{run}");
    run
}

/// Whether this machine lets us make such a namespace. Where it must and does not, the test fails; elsewhere it says that it was not run.
#[track_caller]
pub(crate) fn namespaces(flags: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "asks the machine, as the test is going to")]
    let works = Command::new("unshare").args([flags, "true"]).output().is_ok_and(|o| o.status.success());
    assert!(works || !must_run(), "`unshare {flags}` does not work here, and this test needs it");
    if !works {
        not_run(&format!("`unshare {flags}` does not work here"));
    }
    works
}

/// Whether a program is there that plays a part in a test. Where it must be and is not, the test fails; elsewhere it says that it was not run.
#[track_caller]
pub(crate) fn installed(program: &str) -> bool {
    let path = variable("PATH");
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(there || !must_run(), "{program} is not installed, and this test needs it");
    if !there {
        not_run(&format!("{program} is not installed"));
    }
    there
}

/// Whether this is the machine that has to run everything.
#[expect(clippy::disallowed_methods, reason = "tests that depend on the machine ask it")]
pub(crate) fn must_run() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says that a test was not run. A line of its own: the test runner reports such a test as passed.
#[expect(clippy::print_stderr, reason = "there is no other way to say it")]
pub(crate) fn not_run(why: &str) {
    eprintln!("not run: {why}");
}

/// A variable of the person who runs the tests.
#[expect(clippy::disallowed_methods, reason = "some tests change what is there")]
pub(crate) fn variable(name: &str) -> std::ffi::OsString {
    std::env::var_os(name).unwrap()
}

/// A shell script around the program, which is `"$@"` in it.
pub(crate) fn script(text: &str) -> [&str; 4] {
    ["sh", "-ec", text, "sh"]
}

/// The program within a shell script, in namespaces of its own that these flags of `unshare` say.
pub(crate) fn unshared(place: &Place, flags: &str, text: &str, args: &[&str]) -> Command {
    wrapped(place, &[&["unshare", flags][..], &script(text)].concat(), args)
}

/// Whoever runs the tests may read everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program as somebody who owns these files and is not root: only then modes mean something.
pub(crate) fn as_owner() -> Option<&'static [&'static str]> {
    if !is_root() {
        return Some(&[]);
    }
    namespaces("-U").then_some(&["unshare", "-U", "--map-user=1000", "--map-group=1000"])
}
