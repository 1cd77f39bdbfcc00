//! `logs` over what real servers write, and over files that are cut while they are read.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::clients::sql;
use crate::support::{Place, Watched, eventually, kill};

/// Appends to a log as a server does.
fn write(place: &Place, name: &str, text: &str) {
    let path = place.state().join("logs").join(format!("{name}.log"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::set_permissions(place.state(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// The lines of a JSON stream.
fn entries(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn real_servers_in_one_stream_with_their_levels() {
    let place = Place::new();
    place.ok(&["up", "redis", "postgresql"]);
    let env = place.env();
    assert!(sql(&env).batch_execute("SELECT 1\n  FROM nowhere_at_all").is_err());

    let all = entries(&place.ok(&["logs", "--since", "1d", "--format", "json"]).stdout);
    let times: Vec<&str> = all.iter().filter_map(|entry| entry["at"].as_str()).collect();
    assert_eq!(times.len(), all.len(), "every line has a time, or that of its entry: {all:?}");
    assert!(times.is_sorted(), "{times:?}");
    for service in ["redis", "postgresql"] {
        let levels: Vec<&Value> =
            all.iter().filter(|e| e["service"] == service).map(|e| &e["level"]).collect();
        assert!(levels.iter().any(|level| **level != Value::Null), "{service}: {levels:?}");
    }

    let errors = place.ok(&["logs", "postgresql", "--errors", "-n", "3"]).stdout;
    let said: Vec<&str> = errors.lines().map(|line| line.rsplit(']').next().unwrap().trim()).collect();
    assert_eq!(said[0], "ERROR:  relation \"nowhere_at_all\" does not exist at character 17", "{errors}");
    assert_eq!(
        said[1..],
        ["STATEMENT:  SELECT 1", "FROM nowhere_at_all"],
        "what belongs to it stays with it"
    );

    let found = place.ok(&["logs", "--grep", "ready to accept"]).stdout;
    assert!(found.contains("redis      | ") && found.contains("postgresql | "), "{found}");
    assert_eq!(place.ok(&["logs", "--grep", "READY TO ACCEPT"]).stdout, "");
}

#[test]
fn what_is_older_or_cannot_be_printed_is_left_out() {
    let place = Place::new();
    write(
        &place,
        "redis",
        "7:M 01 Jan 2001 00:00:00.000 * old\n7:M 01 Jan 2900 00:00:00.000 * \u{1b}]0;new\u{7}\n",
    );
    insta::assert_snapshot!(place.ok(&["logs", "redis"]), @"
    7:M 01 Jan 2001 00:00:00.000 * old
    7:M 01 Jan 2900 00:00:00.000 * �]0;new�
    [exit status: 0]
    ");
    insta::assert_snapshot!(place.ok(&["logs", "--since", "1d"]), @"
    7:M 01 Jan 2900 00:00:00.000 * �]0;new�
    [exit status: 0]
    ");
    write(&place, "rabbitmq-epmd", "epmd: Tue Nov 24 22:09:00 2015: got partial packet\n");
    insta::assert_snapshot!(place.ok(&["logs"]), @"
    redis         | 7:M 01 Jan 2001 00:00:00.000 * old
    rabbitmq-epmd | epmd: Tue Nov 24 22:09:00 2015: got partial packet
    redis         | 7:M 01 Jan 2900 00:00:00.000 * �]0;new�
    [exit status: 0]
    ");
    insta::assert_snapshot!(place.ok(&["logs", "rabbitmq", "--format", "json"]), @r#"
    {"service":"rabbitmq","log":"rabbitmq-epmd","at":"2015-11-24T22:09:00.000000Z","level":null,"text":"epmd: Tue Nov 24 22:09:00 2015: got partial packet"}
    [exit status: 0]
    "#);
    insta::assert_snapshot!(place.run(&["logs", "reddis"]), @"

    error[unknown-service]: there is no service `reddis`
      → did you mean `redis`?
    [exit status: 2]
    ");
    insta::assert_snapshot!(place.run(&["logs", "--since", "yesterday"]), @"
    error: invalid value 'yesterday' for '--since <PERIOD>': `yesterday` is no period; write 30s, 10m, 2h or 1d

    For more information, try '--help'.
    [exit status: 2]
    ");
}

#[test]
fn following_survives_cuts_and_sees_new_logs() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let mut command = place.command(&["logs", "--follow", "-n", "1"]);
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    eventually("it shows the last line", || watched.seen().contains("Ready to accept"));

    write(&place, "rabbitmq", "2026-11-24 22:09:02.076054+00:00 [info] <0.1.0> from a new log\n");
    eventually("it shows a new log", || {
        watched.seen().contains("rabbitmq | 2026-11-24 22:09:02.076054+00:00")
    });

    // As the supervisor does it: the end is kept.
    let path = place.state().join("logs/redis.log");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    write(&place, "redis", &text[text.len() / 2..]);
    write(&place, "redis", "after the cut\n");
    eventually("it goes on after a cut", || watched.seen().contains("after the cut"));
    assert_eq!(watched.seen().matches("Ready to accept").count(), 1, "{}", watched.seen());

    kill(watched.pid(), Signal::INT);
    assert_eq!(watched.end(), Some(0), "Ctrl-C is how it ends");
}

#[test]
fn the_end_of_a_run_is_told_with_its_reason() {
    let place = Place::new();
    place.manifest(
        "[services.web]\nkind = \"process\"\ncommand = [\"sh\", \"-c\", \"echo at work; exit 7\"]\n",
    );
    assert_eq!(place.run(&["up", "web"]).status, 5);
    let logs = place.ok(&["logs", "web"]).stdout;
    let lines: Vec<&str> = logs.lines().collect();
    assert!(lines[0].starts_with("=== started web, pid ") && lines[1] == "at work", "{logs}");
    assert!(lines[2].starts_with("=== ended web, exit status 7, 20") && lines.len() == 3, "{logs}");
    let entries = entries(&place.ok(&["logs", "web", "--format", "json"]).stdout);
    assert_eq!((&entries[2]["level"], entries[2]["at"].is_null()), (&"notice".into(), false));

    place.ok(&["up", "redis"]);
    place.kill("redis", "redis");
    place.ok(&["up", "redis"]);
    let logs = place.ok(&["logs", "redis"]).stdout;
    let killed = logs.find("=== ended redis, signal 9, ").unwrap_or_else(|| panic!("{logs}"));
    assert!(killed < logs.rfind("=== started redis, pid ").unwrap(), "{logs}");
    place.ok(&["down"]);
    assert!(place.ok(&["logs", "redis"]).stdout.contains("=== ended redis, stopped, "));
}
