//! Processes of the manifest, live: started and told what they need, and every way in which a program can misbehave.

use std::net::{Ipv4Addr, TcpListener};

use rustix::process::Signal;

use crate::support::{Place, Run, eventually, kill, processes, repository};

/// The port of the manifests below, before the offset.
const PORT: u16 = 8025;

/// A server that every Debian can run. It answers HTTP and has the project's folder on its command line.
const WEB: &str = r#"
use IO::Socket::INET;
$| = 1;
my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 9, ReuseAddr => 1) or die "$@\n";
print "listening\n";
while (my $c = $s->accept) { sysread($c, my $b, 4096); print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"; close $c }
"#;

/// A service `web` that runs this command, with the folder of the project as the last word.
fn web(place: &Place, command: &[&str], more: &str) -> String {
    let mut words: Vec<&str> = command.to_vec();
    words.push(place.root.as_str());
    let words = serde_json::to_string(&words).unwrap();
    format!("[services.web]\nkind = \"process\"\ncommand = {words}\nports = {{ http = {PORT} }}\n{more}\n")
}

/// The same, as a script of a shell.
fn script(place: &Place, text: &str, more: &str) -> String {
    web(place, &["sh", "-c", text, "sh"], more)
}

/// A service `web` that really serves.
fn serving(place: &Place, more: &str) -> String {
    web(place, &["perl", "-e", WEB, "{port.http}"], &format!("ready = {{ http = \"http\" }}\n{more}"))
}

/// What lives of `web` and all that it started: it has the folder of the project on its command line, or its home in its environment.
fn alive(place: &Place) -> Vec<u32> {
    let home = format!("HOME={}/web", place.state());
    let ours = |pid: u32, words: &[String]| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        words.iter().any(|word| word == place.root.as_str())
            || environment.split('\0').any(|line| line == home)
    };
    processes().into_iter().filter(|(pid, words)| ours(*pid, words)).map(|(pid, _)| pid).collect()
}

fn log(place: &Place) -> String {
    let bytes = std::fs::read(place.state().join("logs/web.log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The row of `web` in the report of `status`.
fn status(place: &Place) -> serde_json::Value {
    let report = place.json(&["status"]);
    report["services"].as_array().unwrap().iter().find(|service| service["name"] == "web").unwrap().clone()
}

#[track_caller]
fn says(run: &Run, code: i32, parts: &[&str]) {
    assert_eq!(run.status, code, "{run}");
    for part in parts {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
}

#[test]
fn a_process_goes_through_every_command() {
    let place = Place::new();
    place.manifest(&serving(&place, ""));
    let plan = place.ok(&["up", "web", "--dry-run"]);
    assert!(
        plan.stdout.contains("runs: perl -e ") && plan.stdout.contains(&place.port(PORT).to_string()),
        "{plan}"
    );
    assert_eq!(alive(&place), Vec::<u32>::new(), "a plan runs nothing");

    let up = place.ok(&["up", "web"]);
    assert!(up.stdout.contains(&format!("http://127.0.0.1:{}", place.port(PORT))), "{up}");
    let pid = place.pid("web", "web");
    assert_eq!(place.json(&["up", "web"])["unchanged"], true);
    assert_eq!((status(&place)["state"].as_str(), place.pid("web", "web")), (Some("ready"), pid));
    place.ok(&["status"]);
    let env = place.ok(&["env", "web"]);
    assert_eq!(env.stdout, format!("export ECOSYSTEM_WEB_HTTP='127.0.0.1:{}'\n", place.port(PORT)));
    assert!(place.ok(&["logs", "web"]).stdout.contains("listening"));
    place.ok(&["restart", "web"]);
    assert_ne!(place.pid("web", "web"), pid);
    let down = place.ok(&["down"]);
    assert!(down.stdout.contains("Stopped web."), "{down}");
    assert_eq!(alive(&place), Vec::<u32>::new());
}

#[test]
fn every_manifest_of_the_page_is_one() {
    let page = std::fs::read_to_string(repository().join("docs/processes.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for (block, service) in blocks.into_iter().zip(["mail", "mail", "flower"]) {
        let place = Place::new();
        place.manifest(block);
        let plan = place.ok(&["up", service, "--dry-run"]);
        assert!(plan.stdout.contains(&format!("start {service}")), "{plan}");
    }
}

#[test]
fn every_start_is_marked_in_the_log() {
    let place = Place::new();
    place.manifest(&script(&place, "printf 'no newline'; exec sleep 1000", "ready.log = \"no newline\""));
    place.ok(&["up", "web"]);
    let first = place.pid("web", "web");
    place.ok(&["restart", "web"]);
    let text = log(&place);
    let markers: Vec<&str> = text.lines().filter(|line| line.starts_with("=== started ")).collect();
    assert_eq!(markers.len(), 2, "{text}");
    for (marker, pid) in markers.into_iter().zip([first, place.pid("web", "web")]) {
        let time = marker.strip_prefix(&format!("=== started web, pid {pid}, ")).unwrap();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00Z");
    }
}

#[test]
fn what_it_starts_after_is_brought_along_and_told_to_it_alone() {
    let place = Place::new();
    place.manifest(&serving(&place, "after = [\"redis\"]\nenv = { PORT = \"{port.redis.redis}\" }"));
    let plan = place.ok(&["up", "web", "--dry-run"]);
    assert!(plan.stdout.contains("web starts after it"), "{plan}");
    let up = place.command(&["up", "web"]).env("MY_TOKEN", "hunter2").status().unwrap();
    assert!(up.success());
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", place.pid("web", "web"))).unwrap();
    let redis = place.env()["REDIS_URL"].clone();
    assert!(environment.split('\0').any(|line| line == format!("REDIS_URL={redis}")), "{environment}");
    assert!(
        environment.split('\0').any(|line| line == format!("PORT={}", place.port(6579))),
        "{environment}"
    );
    assert!(!environment.contains("hunter2") && !environment.contains("CARGO"), "{environment}");
    let secret = place.secrets().pop().unwrap();
    assert!(processes().iter().all(|(_, words)| !words.iter().any(|word| word.contains(&secret))));
    let shown = format!("{}{}{}", place.ok(&["status"]), place.ok(&["up", "web", "--dry-run"]), log(&place));
    assert!(!shown.contains(&secret));
    // What was only brought along is not restarted with it.
    let pid = place.pid("redis", "redis");
    place.ok(&["restart", "web"]);
    assert_eq!(place.pid("redis", "redis"), pid);
    let down = place.ok(&["down"]);
    assert!(down.stdout.contains("Stopped web, redis."), "{down}");
}

#[test]
fn programs_are_those_of_the_person_and_another_terminal_restarts_nothing() {
    let place = Place::new();
    place.manifest(&web(&place, &["my-server"], "ready.log = \"mine\""));
    place.file("my-server", "#!/bin/sh\necho mine\nexec sleep 1000\n");
    make_executable(&place, "my-server");
    says(&place.run(&["up", "web"]), 5, &["cannot run my-server, looked for on PATH="]);
    let path = format!("{}:/usr/bin:/bin", place.root);
    assert!(place.command(&["up", "web"]).env("PATH", path).status().unwrap().success());
    let pid = place.pid("web", "web");
    let again = place.json(&["up", "web"]);
    assert_eq!((again["unchanged"].as_bool(), place.pid("web", "web")), (Some(true), pid), "{again}");
}

#[test]
fn without_a_condition_it_is_ready_when_it_has_run_for_a_moment() {
    let place = Place::new();
    place.manifest(&script(&place, "echo too short >&2; sleep 1; exit 3", ""));
    says(&place.run(&["up", "web"]), 5, &["web ended before it was ready: exit status 3", "| too short"]);
    place.manifest(&script(&place, "exec sleep 1000", ""));
    let report = place.json(&["up", "web"]);
    assert!(report["services"][0]["took_ms"].as_u64().unwrap() >= 3_000, "{report}");
}

#[test]
fn a_command_says_when_it_is_ready() {
    let place = Place::new();
    let check = "ready.command = [\"sh\", \"-c\", \"test -e done-$WHICH || { echo not done; exit 7; }\"]";
    let text = "sleep 1; touch done-$WHICH; exec sleep 1000";
    place.manifest(&script(&place, text, &format!("env.WHICH = \"one\"\n{check}")));
    place.ok(&["up", "web"]);
    assert!(place.root.join("done-one").exists());
    place.manifest(&script(&place, "exec sleep 1000", &format!("env.WHICH = \"two\"\n{check}")));
    let plan = place.ok(&["up", "web", "--dry-run"]);
    assert!(plan.stdout.contains("asks: sh -c 'test -e done-"), "{plan}");
    let late = place.run(&["up", "web", "--timeout", "1"]);
    says(
        &late,
        5,
        &["error[service-not-ready]", "ended with status 7: not done", "it has written nothing into"],
    );
}

#[test]
fn a_command_that_cannot_be_run_is_not_asked_again() {
    let place = Place::new();
    place.file("check", "#!/bin/sh\n");
    let text = "exec sleep 1000";
    for (check, why) in [
        ("no-such-check", "No such file or directory"),
        ("./no-such-check", "No such file or directory"),
        ("./check", "Permission denied"),
    ] {
        place.manifest(&script(&place, text, &format!("ready.command = [\"{check}\", \"a b\"]")));
        // Far less than a test may take: waiting for it would be seen.
        let run = crate::faults::bounded(&place, &["up", "web", "--timeout", "600"]);
        let command = format!("{check} 'a b'");
        says(&run, 5, &["error[ready-not-runnable]", &command, why, "correct `ready` in [services.web]"]);
        assert!(status(&place)["reason"].as_str().unwrap().contains("cannot be run"), "{}", status(&place));
    }
}

#[test]
fn what_an_earlier_run_has_written_does_not_count() {
    let place = Place::new();
    place.manifest(&script(&place, "echo serving; exec sleep 1000", "ready.log = \"serving\""));
    place.ok(&["up", "web"]);
    place.ok(&["down"]);
    place.manifest(&script(&place, "echo other; exec sleep 1000", "ready.log = \"serving\""));
    let late = place.run(&["up", "web", "--timeout", "1"]);
    says(&late, 5, &["it has not written \"serving\" since it was started", "  | other"]);
    assert!(!late.stderr.contains("| serving"), "the end of an earlier run is not quoted: {late}");
}

#[test]
fn an_exit_at_once_shows_its_own_words() {
    let place = Place::new();
    place.manifest(&script(&place, "echo no such port >&2; exit 9", "ready.tcp = \"http\""));
    let run = place.run(&["up", "web"]);
    says(
        &run,
        5,
        &["error[service-ended]", "web ended before it was ready: exit status 9", "  | no such port"],
    );
    assert!(!run.stderr.contains("=== "), "{run}");
    assert_eq!(status(&place)["state"], "failed");
}

#[test]
fn one_that_never_gets_ready_has_a_reason_and_the_end_of_its_log() {
    let place = Place::new();
    place.manifest(&script(&place, "echo waiting for nothing; exec sleep 1000", "ready.tcp = \"http\""));
    let run = place.run(&["up", "web", "--timeout", "1"]);
    let answer = format!("last answer: nothing listens on 127.0.0.1:{}", place.port(PORT));
    says(&run, 5, &["web was not ready after 1 s", &answer, "  | waiting for nothing"]);
    assert_eq!(status(&place)["state"], "not-ready");
}

#[test]
fn a_stranger_on_its_port_is_named() {
    let place = Place::new();
    place.manifest(&script(&place, "exec sleep 1000", "ready.tcp = \"http\""));
    std::thread::scope(|scope| {
        let up = scope.spawn(|| place.run(&["up", "web"]));
        eventually("it is started", || !alive(&place).is_empty());
        let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, place.port(PORT))).unwrap();
        let me = format!("is held by pid {}, which is not part of this stack", std::process::id());
        says(&up.join().unwrap(), 5, &["error[port-taken]", &me]);
        assert_eq!(status(&place)["state"], "not-ours");
    });
}

#[test]
fn one_that_listens_elsewhere_is_told_where() {
    let place = Place::new();
    let elsewhere = WEB.replace("127.0.0.1", "127.0.0.2");
    place.manifest(&web(&place, &["perl", "-e", &elsewhere, "{port.http}"], "ready.tcp = \"http\""));
    let port = place.port(PORT);
    let answer = format!("nothing listens on 127.0.0.1:{port}; 127.0.0.2:{port} is listened on");
    says(&place.run(&["up", "web", "--timeout", "2"]), 5, &[&answer]);
}

#[test]
fn one_that_dies_again_and_again_is_given_up() {
    let place = Place::new();
    // The first run lasts long enough to have been a real start.
    let text = "echo up; test -e ran || { touch ran; sleep 4; }; exit 3";
    place.manifest(&script(&place, text, "ready.log = \"up\""));
    place.ok(&["up", "web"]);
    eventually("it is given up", || status(&place)["state"] == "failed" && status(&place)["restarts"] == 5);
    eventually("nothing is tried any more", || {
        status(&place)["reason"] == "web: exit status 3; it ended too often, and is not started again"
    });
    assert_eq!(log(&place).matches("=== started web, pid").count(), 6);
    let plan = place.ok(&["up", "web", "--dry-run"]);
    assert!(plan.stdout.contains("it ended by itself: exit status 3"), "{plan}");
}

#[test]
fn the_manifest_decides_what_comes_back() {
    for (restart, exit, comes_back) in
        [("always", 0, true), ("on-failure", 1, true), ("on-failure", 0, false), ("never", 1, false)]
    {
        let place = Place::new();
        let text = format!(
            "echo up; test ! -e go || exec sleep 1000; while [ ! -e go ]; do sleep 0.05; done; exit {exit}"
        );
        place.manifest(&script(&place, &text, &format!("restart = \"{restart}\"")));
        place.ok(&["up", "web"]);
        place.file("go", "");
        let which = format!("{restart} after exit status {exit}");
        eventually(&which, || match status(&place)["state"].as_str() {
            Some("ready" | "not-ready") => comes_back && status(&place)["restarts"] == 1,
            Some("stopped") => !comes_back && exit == 0,
            Some("failed") => !comes_back && exit == 1,
            _ => false,
        });
    }
}

#[test]
fn a_flood_fills_neither_disk_nor_memory_and_harms_nobody() {
    const MB: u64 = 1 << 20;
    let place = Place::new();
    // Some 100 MB a second, for as long as it lives.
    let text = "while :; do yes 0123456789012345678901234567890123456789 | head -c 20000000; sleep 0.1; done";
    place.manifest(&format!("{}\n[services.redis]\n", script(&place, text, "ready.log = \"01234\"")));
    place.ok(&["up", "redis", "web"]);
    let file = place.state().join("logs/web.log");
    let size = || file.metadata().unwrap().len();
    eventually("it floods", || size() > 20 * MB);
    for round in 0..3 {
        eventually("the log is cut", || size() < 16 * MB);
        eventually("and grows again", || size() > 16 * MB);
        assert!(size() < 4_096 * MB, "round {round}");
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", place.supervisor().unwrap())).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "the supervisor used {peak} kB");
    // Both are still fine, the flood too: what it was waited for was cut away long ago.
    let report = place.json(&["up", "redis", "web"]);
    assert_eq!(report["unchanged"], true, "{report}");
}

#[test]
fn what_it_was_waited_for_may_be_cut_away() {
    let place = Place::new();
    let text = "echo serving; while [ ! -e go ]; do sleep 0.05; done; \
                yes something else | head -c 30000000; exec sleep 1000";
    place.manifest(&script(&place, text, "ready.log = \"serving\""));
    place.ok(&["up", "web"]);
    place.file("go", "");
    eventually("it is cut away", || {
        let text = log(&place);
        text.contains("something else") && !text.contains("serving")
    });
    assert_eq!(place.json(&["up", "web"])["unchanged"], true);
}

#[test]
fn one_that_ignores_the_signal_is_killed_with_everything_it_started() {
    let place = Place::new();
    let text = "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' sh \"$1\" & echo deaf; while :; do sleep 1; done";
    place.manifest(&web(&place, &["sh", "-c", text, "sh"], "ready.log = \"deaf\""));
    place.ok(&["up", "web"]);
    eventually("both run", || alive(&place).len() >= 3);
    place.ok(&["down"]);
    assert_eq!(alive(&place), Vec::<u32>::new());
}

#[test]
fn children_that_leave_group_session_and_parent_go_with_it() {
    let place = Place::new();
    let text = "setsid sh -c 'sleep 1000; :' sh \"$1\" & (setsid sh -c 'cd /; sleep 1000; :' sh \"$1\" &) ; \
                echo forked; exec sh -c 'sleep 1000; :' sh \"$1\"";
    place.manifest(&web(&place, &["sh", "-c", text, "sh"], "ready.log = \"forked\""));
    place.ok(&["up", "redis", "web"]);
    eventually("all run", || alive(&place).len() == 6);
    // The supervisor stays, for redis.
    place.ok(&["down", "web"]);
    assert_eq!(alive(&place), Vec::<u32>::new());
    // After a death that nobody asked for nothing is left to hold a port against the next run.
    place.ok(&["up", "web"]);
    eventually("all run again", || alive(&place).len() == 6);
    let first = alive(&place);
    kill(place.pid("web", "web"), Signal::KILL);
    eventually("none of the first run is left", || !alive(&place).iter().any(|pid| first.contains(pid)));
    place.ok(&["up", "web"]);
    eventually("all run once more", || alive(&place).len() == 6);
    kill(place.supervisor().unwrap(), Signal::KILL);
    place.ok(&["up", "web"]);
}

#[test]
fn one_that_goes_into_the_background_has_ended() {
    let place = Place::new();
    let text = "(setsid sh -c 'sleep 1000; :' sh \"$1\" &); echo gone into the background";
    place.manifest(&web(&place, &["sh", "-c", text, "sh"], ""));
    let run = place.run(&["up", "web"]);
    says(&run, 5, &["web ended before it was ready: exit status 0", "| gone into the background"]);
    assert_eq!(alive(&place), Vec::<u32>::new());
}

#[test]
fn binary_output_and_endless_lines_harm_nobody() {
    let place = Place::new();
    let text = "head -c 10000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/urandom; \
                printf '\\033[31mred\\033[0m \\007\\n'; exit 4";
    place.manifest(&script(&place, text, "ready.tcp = \"http\""));
    let run = place.run(&["up", "web"]);
    says(&run, 5, &["web ended before it was ready: exit status 4", "red"]);
    assert!(!run.stderr.contains(['\u{1b}', '\u{7}']), "a terminal must not obey it: {run}");
    place.ok(&["logs", "web"]);
    place.run(&["status"]);
}

#[test]
fn programs_that_cannot_be_run_say_why() {
    let place = Place::new();
    std::fs::create_dir(place.root.join("folder")).unwrap();
    place.file("script", "#!/bin/sh\n");
    for (command, more, reason) in [
        ("./missing", "", "cannot run ./missing in "),
        ("missing-program", "", "cannot run missing-program, looked for on PATH="),
        ("./folder", "", "cannot run ./folder, which is a folder"),
        ("./script", "", "cannot run ./script, which may not be executed"),
        ("sh", "cwd = \"nowhere\"", "nowhere, which is not a folder"),
    ] {
        place.manifest(&web(&place, &[command], more));
        says(&place.run(&["up", "web"]), 5, &["web ended before it was ready: exit status 126", reason]);
    }
}

#[test]
fn one_that_closes_its_output_and_changes_its_folder_is_like_any_other() {
    let place = Place::new();
    let text = "exec >&- 2>&- </dev/null; cd /; exec perl -e \"$2\" \"$1\" \"$3\"";
    let port = "{port.http}";
    place.manifest(&web(&place, &["sh", "-c", text, "sh", port, WEB], "ready.http = \"http\""));
    place.ok(&["up", "web"]);
    place.ok(&["status"]);
    place.ok(&["down"]);
    assert_eq!(alive(&place), Vec::<u32>::new());
}

fn make_executable(place: &Place, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place.root.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}
