//! Environments that people do not mean: no home, relative folders, texts that are no text, closed streams, umasks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use crate::faults::{as_owner, run_of, script, variable, wrapped};
use crate::support::{Place, repository, walk};

#[test]
fn without_home_the_system_is_asked_and_no_relative_folder_is_taken() {
    let place = Place::new();
    for (home, cache) in
        [(None, None), (Some(""), Some("")), (Some("rel"), Some("rel/cache")), (None, Some("x"))]
    {
        let mut command = wrapped(&place, &[], &["up", "redis", "--dry-run"]);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("ECOSYSTEM_STORE");
        command.envs(home.map(|home| ("HOME", home))).envs(cache.map(|cache| ("XDG_CACHE_HOME", cache)));
        let run = run_of(&mut command);
        // A relative HOME names no folder, and the system is not asked for another one.
        let (status, part) = if home == Some("rel") { (3, "error[no-home]") } else { (0, "redis") };
        assert_eq!(run.status, status, "{home:?} {cache:?} {run}");
        assert!(run.to_string().contains(part), "{home:?} {cache:?} {run}");
        assert!(!place.root.join("rel").exists() && !place.root.join("x").exists());
    }
}

#[test]
fn a_home_that_cannot_be_written_to_is_named() {
    let Some(through) = as_owner() else { return };
    let place = Place::new();
    let home = place.root.join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = wrapped(&place, through, &["up", "redis"]);
    command.env("HOME", &home).env_remove("XDG_CACHE_HOME").env_remove("ECOSYSTEM_STORE");
    let run = run_of(&mut command);
    assert_eq!(run.status, 3, "{run}");
    assert!(run.stderr.contains(home.as_str()) && run.stderr.contains("ermission denied"), "{run}");
}

#[test]
fn what_is_no_text_is_no_crash() {
    let place = Place::new();
    let bad = OsStr::from_bytes(b"/b\xffd");
    let path = [variable("PATH").as_bytes(), b":/b\xffd"].concat();
    let mut command = wrapped(&place, &[], &["up", "redis"]);
    command.env("PATH", OsStr::from_bytes(&path)).env("JAVA_HOME", bad).env("MY_OWN", bad).env("LANG", bad);
    let run = run_of(&mut command);
    assert_eq!(run.status, 0, "{run}");
    for name in ["HOME", "ECOSYSTEM_STATE", "ECOSYSTEM_STORE", "XDG_CACHE_HOME"] {
        let run = run_of(wrapped(&place, &[], &["status"]).env(name, bad));
        assert_eq!(run.status, 3, "{name}: {run}");
        assert!(run.stderr.contains(name), "{name} is not named: {run}");
    }
    let run = run_of(wrapped(&place, &[], &[]).arg(bad));
    assert_eq!(run.status, 2, "{run}");
}

#[test]
fn closed_streams_are_no_error() {
    let place = Place::new();
    let text =
        "\"$@\" up redis <&- >&- 2>&-; echo \"up: $?\"; \"$@\" nonsense <&- >&- 2>&-; echo \"nonsense: $?\"";
    let text = format!("set +e; {text}");
    let run = run_of(&mut wrapped(&place, &script(&text), &[]));
    assert_eq!(run.stdout, "up: 0\nnonsense: 2\n", "{run}");
    // What was opened in their place is not what servers write to.
    let pid = place.pid("redis", "redis");
    let target = |fd: u32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
    assert_eq!(target(0).to_str(), Some("/dev/null"));
    assert!(target(1).ends_with("redis.log") && target(2).ends_with("redis.log"));
}

#[test]
fn neither_an_open_nor_a_closed_umask_changes_what_is_made() {
    for mask in ["000", "0777"] {
        let place = Place::new();
        let text = format!("umask {mask}; exec \"$@\"");
        let through = [as_owner().unwrap_or_default(), &script(&text)].concat();
        let run = run_of(&mut wrapped(&place, &through, &["up", "redis"]));
        assert_eq!(run.status, 0, "umask {mask}: {run}");
        for path in walk(&place.state()) {
            let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "umask {mask}: {path} has mode {mode:o}");
            assert_ne!(mode & 0o400, 0, "umask {mask}: {path} has mode {mode:o}");
        }
    }
}

#[test]
fn a_store_that_is_read_only_and_full_is_enough() {
    if !crate::faults::namespaces("-rm") {
        return;
    }
    let place = Place::new();
    place.ok(&["up", "redis"]);
    place.ok(&["down"]);
    let home = variable("HOME").into_string().unwrap();
    let text = format!(
        "mount --bind {home} {home} && mount -o remount,bind,ro {home} && \"$@\" up redis && \"$@\" down"
    );
    let through = [&["unshare", "-rm"][..], &script(&text)].concat();
    let run = run_of(&mut wrapped(&place, &through, &[]));
    assert_eq!(run.status, 0, "{run}");
    assert!(repository().exists());
}
