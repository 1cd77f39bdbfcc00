//! The whole column on the cheapest server: up, status, env, down, and what goes wrong in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;

use crate::support::{Place, eventually, kill, processes, walk};

/// Sends Redis commands over one connection and returns everything that comes back.
pub(crate) fn redis(port: u16, commands: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(commands.as_bytes()).unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn redis_pid(place: &Place) -> u32 {
    let status = place.json(&["status"]);
    u32::try_from(status["services"][0]["pids"]["redis"].as_u64().unwrap()).unwrap()
}

#[test]
fn up_twice_then_down() {
    let place = Place::new();
    let first = place.json(&["up", "redis"]);
    assert_eq!(
        (first["unchanged"].as_bool(), first["services"][0]["started"].as_bool()),
        (Some(false), Some(true))
    );
    let again = place.json(&["up", "redis"]);
    assert_eq!(again["unchanged"].as_bool(), Some(true), "{again}");

    let env = place.env();
    let auth = format!("AUTH {}\r\nPING\r\n", env["REDISCLI_AUTH"]);
    assert_eq!(redis(place.port(6579), &auth), "+OK\r\n+PONG\r\n+OK\r\n");
    assert!(redis(place.port(6579), "PING\r\n").contains("NOAUTH"), "it must want a password");

    let status = place.ok(&["status"]);
    assert!(status.stdout.contains("ready"), "{status}");
    place.ok(&["down"]);
    assert_eq!((place.listening(), place.supervisor()), (vec![], None));
}

#[test]
fn data_survives_down_and_goes_with_down_data() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let auth = format!("AUTH {}\r\n", place.env()["REDISCLI_AUTH"]);
    redis(place.port(6579), &format!("{auth}SET here 1\r\n"));
    place.ok(&["restart", "redis"]);
    assert!(redis(place.port(6579), &format!("{auth}GET here\r\n")).contains("$1\r\n1\r\n"));

    let refused = place.run(&["down", "--data"]);
    assert_eq!(refused.status, 2, "without a terminal it needs --yes: {refused}");
    place.ok(&["down", "--data", "--yes"]);
    assert!(!place.state().join("redis").exists());
    place.ok(&["up", "redis"]);
    assert!(redis(place.port(6579), &format!("{auth}GET here\r\n")).contains("$-1"));
}

#[test]
fn sigkill_of_the_supervisor_leaves_nothing_behind() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let supervisor = place.supervisor().unwrap();
    kill(supervisor, Signal::KILL);
    eventually("nothing listens", || place.listening().is_empty());
    place.ok(&["up", "redis"]);
    assert_ne!(place.supervisor(), Some(supervisor));
}

#[test]
fn a_server_that_dies_is_reported_and_started_again() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    kill(redis_pid(&place), Signal::KILL);
    eventually("status finds out", || place.run(&["status"]).status == 1);
    let status = place.run(&["status"]);
    assert!(status.stdout.contains("signal 9"), "{status}");
    let plan = place.ok(&["up", "redis", "--dry-run"]);
    assert!(plan.stdout.contains("it ended by itself: signal 9"), "{plan}");
    place.ok(&["up", "redis"]);
    place.ok(&["status"]);
}

#[test]
fn a_healthy_stranger_is_refused_and_named() {
    let (ours, stranger) = (Place::new(), Place::new());
    stranger.file("ecosystem.toml", &format!("port_offset = {}\n", ours.offset));
    stranger.ok(&["up", "redis"]);
    let pid = redis_pid(&stranger);

    let refused = ours.run(&["up", "redis"]);
    assert_eq!(refused.status, 5, "{refused}");
    for part in [format!("pid {pid}"), stranger.root.to_string(), ours.port(6579).to_string()] {
        assert!(refused.stderr.contains(&part), "{part} is missing in\n{refused}");
    }
    assert_eq!(ours.supervisor(), None, "nothing may be started");
    stranger.ok(&["down"]);
}

#[test]
fn a_changed_setting_is_named_and_applied() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    place.manifest("services.redis.settings.maxmemory = \"64mb\"\n");
    let plan = place.ok(&["up", "redis", "--dry-run"]);
    assert!(plan.stdout.contains("settings.maxmemory: not set → 64mb"), "{plan}");
    place.ok(&["up", "redis"]);
    let auth = format!("AUTH {}\r\nCONFIG GET maxmemory\r\n", place.env()["REDISCLI_AUTH"]);
    assert!(redis(place.port(6579), &auth).contains("67108864"));
    assert_eq!(place.json(&["up", "redis"])["unchanged"].as_bool(), Some(true));
}

#[test]
fn a_setting_that_the_server_refuses_shows_its_own_words() {
    let place = Place::new();
    place.manifest("services.redis.settings.no-such-setting = \"1\"\n");
    let run = place.run(&["up", "redis"]);
    assert_eq!(run.status, 5, "{run}");
    assert!(run.stderr.contains("redis ended before it was ready: exit status 1"), "{run}");
    assert!(run.stderr.contains("no-such-setting"), "the log is quoted: {run}");
}

#[test]
fn two_at_once_do_the_work_once() {
    let place = Place::new();
    thread::scope(|scope| {
        let ups: Vec<_> = (0..4).map(|_| scope.spawn(|| place.json(&["up", "redis"]))).collect();
        let started =
            ups.into_iter().map(|up| up.join().unwrap()).filter(|r| r["unchanged"] == false).count();
        assert_eq!(started, 1);
    });
    let supervisors = processes().into_iter().filter(|(pid, words)| {
        words.get(1).is_some_and(|word| word == "__supervise")
            && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place.state())
    });
    assert_eq!(supervisors.count(), 1);
}

#[test]
fn hostile_folder_names_are_only_names() {
    let long = "x".repeat(240);
    for name in ["with 'quotes' \"and\" $HOME % `id`", "žluťoučký kůň", "#hash \\ back", long.as_str()]
    {
        let place = Place::named(name);
        place.ok(&["up", "redis"]);
        place.ok(&["status"]);
    }
}

#[test]
fn the_environment_of_the_person_does_not_reach_servers() {
    let place = Place::new();
    let status = place.command(&["up", "redis"]).env("MY_TOKEN", "hunter2").status().unwrap();
    assert!(status.success());
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", redis_pid(&place))).unwrap();
    assert!(!environment.contains("hunter2") && !environment.contains("CARGO"), "{environment}");
}

#[test]
fn secrets_are_neither_on_command_lines_nor_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let secret = place.env()["REDISCLI_AUTH"].clone();
    assert!(processes().iter().all(|(_, words)| !words.iter().any(|word| word.contains(&secret))));
    for file in walk(&place.state()).into_iter().filter(|path| path.is_file()) {
        let holds = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(&secret);
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert!(!holds || matches!(mode, 0o600 | 0o400), "{file} has mode {mode:o}");
    }
    assert_eq!(place.state().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let log = std::fs::read_to_string(place.state().join("logs/redis.log")).unwrap();
    assert!(!log.contains(&secret));
}
