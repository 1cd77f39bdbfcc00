//! Where a project lies: moved, deleted, linked, read-only, full, deep and badly named, with its servers running.

use std::io::{Read, Write};
use std::net::TcpStream;

use camino::{Utf8Path, Utf8PathBuf};

use crate::clients::{number, search, sql};
use crate::faults::{bounded, installed, namespaces, run_of, script, unshared, wrapped, wrapped_for};
use crate::support::{Place, Run};

/// Sends Redis commands with the password of a place.
fn redis(place: &Place, commands: &str) -> String {
    let password = place.env()["REDISCLI_AUTH"].clone();
    let mut stream = TcpStream::connect(("127.0.0.1", place.port(6579))).unwrap();
    write!(stream, "AUTH {password}\r\n{commands}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The program in another folder than that of the place.
fn at(place: &Place, folder: &Utf8Path, args: &[&str]) -> Run {
    run_of(wrapped(place, &[], args).current_dir(folder))
}

#[test]
fn a_project_that_is_moved_takes_its_servers_along() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    redis(&place, "SET kept 1");
    let moved = place.root.parent().unwrap().join("another place");
    std::fs::rename(&place.root, &moved).unwrap();
    let status = at(&place, &moved, &["status"]);
    assert!(status.stdout.contains("redis"), "{status}");
    let down = at(&place, &moved, &["down"]);
    assert_eq!((down.status, place.listening()), (0, vec![]), "{down}");
    let up = at(&place, &moved, &["up", "redis"]);
    assert_eq!(up.status, 0, "{up}");
    let down = at(&place, &moved, &["down"]);
    assert_eq!(down.status, 0, "{down}");
    std::fs::rename(&moved, &place.root).unwrap();
    place.ok(&["up", "redis"]);
    assert!(redis(&place, "GET kept").contains("$1\r\n1\r\n"));
}

#[test]
fn servers_of_a_deleted_project_are_ended_by_the_next_up() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let (redis, supervisor) = (place.pid("redis", "redis"), place.supervisor().unwrap());
    std::fs::remove_dir_all(&place.root).unwrap();
    std::fs::create_dir(&place.root).unwrap();
    place.manifest("");
    // What carries the mark of this place is ended, though nothing else is left of it.
    let up = bounded(&place, &["up", "redis"]);
    assert_eq!(up.status, 0, "{up}");
    assert_ne!(place.pid("redis", "redis"), redis);
    crate::support::eventually("the old ones are gone", || {
        crate::support::processes().iter().all(|(pid, _)| *pid != redis && *pid != supervisor)
    });
}

#[test]
fn a_folder_that_is_deleted_under_ones_feet_is_told() {
    let place = Place::new();
    let gone = place.root.join("gone");
    std::fs::create_dir(&gone).unwrap();
    let text = "cd gone; rmdir \"$PWD\"; exec \"$@\"";
    let run = run_of(&mut wrapped(&place, &script(text), &["status"]));
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr.contains("error[no-such-folder]") && run.stderr.contains("cd to the project"),
        "{run}"
    );
}

#[test]
fn a_state_folder_elsewhere_may_be_a_link() {
    let place = Place::new();
    let elsewhere = place.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.root.join("link")).unwrap();
    for (args, part) in [(&["up", "redis"][..], "redis"), (&["status"], "ready"), (&["down"], "Stopped")] {
        let run = run_of(wrapped(&place, &[], args).env("ECOSYSTEM_STATE", "link"));
        assert_eq!(run.status, 0, "{run}");
        assert!(run.stdout.contains(part), "{run}");
    }
    assert!(elsewhere.join("place.toml").exists());
}

#[test]
fn a_project_that_cannot_be_written_to_names_a_way_out() {
    if !namespaces("-rm") {
        return;
    }
    let place = Place::new();
    let text = "mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\" && exec \"$@\"";
    let refused = run_of(&mut unshared(&place, "-rm", text, &["up", "redis"]));
    assert_eq!(refused.status, 3, "{refused}");
    for part in ["error[state-not-writable]", "Read-only file system", "ECOSYSTEM_STATE="] {
        assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let state = Utf8PathBuf::from_path_buf(elsewhere.path().join("state")).unwrap();
    let text = "mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\" && \"$@\" up redis && \"$@\" status && \"$@\" down";
    let works = run_of(unshared(&place, "-rm", text, &[]).env("ECOSYSTEM_STATE", state));
    assert_eq!(works.status, 0, "{works}");
}

#[test]
fn a_file_system_without_sockets_is_named_before_anything_is_fetched() {
    if !namespaces("-rm") || !installed("fuse-zip") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    // A folder inside of a zip file, which holds files, folders and links only.
    let (empty, store, state) =
        (place.root.join("empty.zip"), place.root.join("store"), place.root.join("state"));
    let end = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
    std::fs::write(&empty, end).unwrap();
    let text = "\
        fuse-zip empty.zip .ecosystem
        trap 'umount .ecosystem' EXIT
        set +e
        \"$@\" up redis; echo \"refused: $?\"
        ECOSYSTEM_STATE=state ECOSYSTEM_STORE= \"$@\" up redis; echo \"elsewhere: $?\"
        ECOSYSTEM_STATE=state \"$@\" down";
    let through = [&["unshare", "-rm"][..], &script(text)].concat();
    let run = run_of(wrapped(&place, &through, &[]).env("ECOSYSTEM_STORE", &store));
    for part in ["refused: 3", "elsewhere: 0"] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{run}");
    }
    for part in
        ["error[state-without-sockets]", "(fuse.fuse-zip)", "Operation not permitted", "ECOSYSTEM_STATE=/"]
    {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
    assert!(!store.exists() && state.exists(), "{run}");
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    if !namespaces("-rm") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    // Full before anything is made, full while it runs, and with room again.
    let text = "\
        state=\"$PWD/.ecosystem\"
        mount -t tmpfs -o size=1m,mode=0700 tmpfs \"$state\"
        fill() { head -c 2000000 /dev/zero > \"$state/fill\" 2>/dev/null || true; }
        fill; set +e
        \"$@\" up redis; echo \"full: $?\"
        rm \"$state/fill\"; \"$@\" up redis >&2; echo \"room: $?\"
        fill
        \"$@\" status >&2; echo \"runs: $?\"
        \"$@\" restart redis; echo \"restart: $?\"
        rm \"$state/fill\"
        \"$@\" up redis >&2; echo \"again: $?\"
        fill; \"$@\" down >&2; echo \"down: $?\"";
    let run = run_of(&mut unshared(&place, "-rm", text, &[]));
    for part in ["full: 3", "room: 0", "runs: 0", "again: 0", "down: 0"] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{run}");
    }
    assert!(run.stderr.contains("No space left on device"), "{run}");
}

#[test]
fn a_path_of_a_thousand_bytes_is_only_a_path() {
    let deep = ["d".repeat(250), "é".repeat(120), "x y".repeat(80), "z".repeat(200)].join("/");
    let place = Place::named(&deep);
    assert!(place.root.as_str().len() > 900);
    place.ok(&["up", "redis"]);
    place.ok(&["status"]);
}

#[test]
fn all_servers_live_in_a_folder_with_a_nasty_name_and_in_a_hostile_environment() {
    let place = Place::heavy_at(".a \"nasty\" 'name' % $HOME `id` #{x} é 🐘 \\ & ; * ~");
    let hostile = [
        ("PGHOST", "192.0.2.1"),
        ("PGPASSWORD", "wrong"),
        ("PGSSLMODE", "verify-full"),
        ("PGDATA", "/nowhere"),
        ("RABBITMQ_NODENAME", "evil@nowhere"),
        ("RABBITMQ_CONFIG_FILE", "/nowhere"),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-evil"),
        ("ERL_FLAGS", "-evil"),
        ("ERL_AFLAGS", "-setcookie evil"),
        ("ERL_EPMD_PORT", "1"),
        ("ERL_LIBS", "/nowhere"),
        ("OPENSEARCH_JAVA_OPTS", "-Xmx1k"),
        ("OPENSEARCH_PATH_CONF", "/nowhere"),
        ("JAVA_TOOL_OPTIONS", "-Devil=1"),
        ("_JAVA_OPTIONS", "-Devil=1"),
        ("JDK_JAVA_OPTIONS", "-Devil=1"),
        ("CLASSPATH", "/nowhere"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("LD_PRELOAD", "/nowhere/evil.so"),
        ("REDISCLI_AUTH", "wrong"),
        ("http_proxy", "http://192.0.2.1:9"),
        ("HTTP_PROXY", "http://192.0.2.1:9"),
        ("ALL_PROXY", "socks5://192.0.2.1:9"),
        ("TZ", "Pacific/Chatham"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "xx_YY.evil"),
        ("XDG_RUNTIME_DIR", "nowhere"),
    ];
    let up = run_of(wrapped_for("300", &place, &[], &["up", "--no-seed", "--timeout", "300"]).envs(hostile));
    assert_eq!(up.status, 0, "{up}");
    let status = run_of(wrapped(&place, &[], &["status"]).envs(hostile));
    assert_eq!((status.status, status.stdout.matches("ready").count()), (0, 4), "{status}");

    for pid in place.processes() {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        for (name, value) in hostile {
            let entry = format!("{name}={value}");
            assert!(!environment.split('\0').any(|e| e == entry), "{entry} has reached {pid}");
        }
    }
    // What `env` prints wins over what was there, when a shell evaluates it.
    let text = "eval \"$(\"$@\" env)\"; printf '%s|%s|%s' \"$PGHOST\" \"$PGPASSWORD\" \"$REDISCLI_AUTH\"";
    let shell = run_of(wrapped(&place, &script(text), &[]).envs(hostile));
    let env = place.env();
    let expected = format!("{}|{}|{}", env["PGHOST"], env["PGPASSWORD"], env["REDISCLI_AUTH"]);
    assert_eq!(shell.stdout, expected, "{shell}");
    assert_eq!(number(&env, "SELECT count(*)"), 1);
    sql(&env).batch_execute("CREATE TABLE t (id int)").unwrap();
    search(&env, "PUT", "/t/_doc/1", Some(&serde_json::json!({"id": 1})));
    assert!(crate::amqp::Broker::login(&env).is_ok());
    place.ok(&["down"]);
    assert_eq!((place.listening(), place.processes()), (vec![], vec![]));
}
