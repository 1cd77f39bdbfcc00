//! Signals at the wrong moment, commands that meet, and a supervisor that does not answer: nothing is lost, and the cause is named.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use camino::Utf8Path;
use rustix::process::Signal;

use crate::clients::number;
use crate::support::{Place, Run, eventually, kill};

/// A place where Redis runs, with its supervisor.
fn with_redis() -> (Place, u32) {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let supervisor = place.supervisor().unwrap();
    (place, supervisor)
}

#[track_caller]
fn says(run: &Run, status: i32, parts: &[&str]) {
    assert_eq!(run.status, status, "{run}");
    for part in parts {
        assert!(run.stderr.contains(part) || run.stdout.contains(part), "{part} is missing in\n{run}");
    }
}

#[track_caller]
fn nothing_is_left(place: &Place) {
    eventually("nothing is left", || place.processes().is_empty());
    assert_eq!(place.listening(), Vec::<u16>::new());
}

/// Starts the program and does not wait for it.
fn begin(place: &Place, args: &[&str]) -> Child {
    place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> Run {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Run { status: child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
}

#[test]
fn a_supervisor_that_a_signal_has_stopped_is_named_and_ended_by_down() {
    let (place, supervisor) = with_redis();
    kill(supervisor, Signal::STOP);
    let way_out = format!("kill -CONT {supervisor}");
    let named = format!("(pid {supervisor}) does not answer: a signal has stopped it");
    for command in [&["status"][..], &["up", "redis"], &["up", "redis", "--dry-run"], &["down", "redis"]] {
        says(&place.run(command), 5, &["error[supervisor-silent]", &named, &way_out, "down"]);
    }
    kill(supervisor, Signal::CONT);
    place.ok(&["status"]);
    assert_eq!(place.json(&["up", "redis"])["unchanged"], true);

    kill(supervisor, Signal::STOP);
    place.ok(&["down"]);
    nothing_is_left(&place);
    place.ok(&["up", "redis"]);
}

#[test]
fn a_supervisor_that_lost_its_socket_is_named_and_ended_by_down() {
    let (place, supervisor) = with_redis();
    std::fs::remove_file(place.state().join("control")).unwrap();
    let named = format!("(pid {supervisor}) does not answer: it is alive, but cannot be reached");
    says(&place.run(&["up", "redis"]), 5, &["error[supervisor-silent]", &named]);
    place.ok(&["down"]);
    nothing_is_left(&place);
}

#[test]
fn a_number_that_belongs_to_another_program_is_not_killed() {
    let (place, _) = with_redis();
    place.ok(&["down"]);
    // As it looks from outside of the container in which the supervisor runs.
    let stranger = duct::cmd!("sleep", "600").start().unwrap();
    let lock = std::fs::File::options()
        .write(true)
        .truncate(true)
        .open(place.state().join("supervisor.lock"))
        .unwrap();
    lock.lock().unwrap();
    std::io::Write::write_all(&mut &lock, stranger.pids()[0].to_string().as_bytes()).unwrap();
    let down = place.run(&["down"]);
    assert!(stranger.try_wait().unwrap().is_none(), "{down}");
    stranger.kill().unwrap();
    says(&down, 5, &["error[supervisor-elsewhere]"]);
}

#[test]
fn a_supervisor_whose_folder_was_deleted_does_not_fight_with_the_next_one() {
    let (place, first) = with_redis();
    std::fs::remove_dir_all(place.state()).unwrap();
    place.ok(&["up", "redis"]);
    eventually("the first one has ended", || !Utf8Path::new(&format!("/proc/{first}")).exists());
    std::fs::remove_dir_all(place.state()).unwrap();
    place.ok(&["down"]);
    eventually("nothing is left", || place.listening().is_empty());
}

#[test]
fn a_command_that_carries_the_mark_of_the_place_does_not_end_itself() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    place.ok(&["down"]);
    let run = Run::of(place.command(&["up", "redis"]).env("ECOSYSTEM_SUPERVISED_IN", place.state()));
    assert_eq!(run.status, 0, "{run}");
}

#[test]
fn a_server_that_a_signal_has_stopped_is_named() {
    let (place, _) = with_redis();
    let pid = place.pid("redis", "redis");
    kill(pid, Signal::STOP);
    let way_out = format!("kill -CONT {pid}");
    says(&place.run(&["status"]), 1, &["a signal has stopped redis", &way_out]);
    says(&place.run(&["up", "redis"]), 5, &["error[service-stopped]", &way_out]);
    place.ok(&["restart", "redis"]);
    assert_ne!(place.pid("redis", "redis"), pid);
    // It hears of its end although it is stopped.
    kill(place.pid("redis", "redis"), Signal::STOP);
    place.ok(&["down"]);
    nothing_is_left(&place);
}

#[test]
fn the_supervisor_ends_everything_at_sigterm_and_ignores_what_a_terminal_sends() {
    let (place, supervisor) = with_redis();
    for signal in [Signal::HUP, Signal::INT] {
        kill(supervisor, signal);
        place.ok(&["status"]);
        assert_eq!(place.supervisor(), Some(supervisor));
    }
    kill(supervisor, Signal::TERM);
    nothing_is_left(&place);
    place.ok(&["up", "redis"]);
}

/// Whether a program of this name runs in a place.
fn runs(place: &Place, program: &str) -> bool {
    let is = |pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with(program));
    place.processes().into_iter().any(is)
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_supervisor_finishes() {
    let place = Place::heavy();
    place.ok(&["up", "redis"]);
    let redis = place.pid("redis", "redis");
    interrupt_twice(&place, &["up", "redis", "rabbitmq"]);
    eventually("RabbitMQ is stopped", || !runs(&place, "beam.smp") && !runs(&place, "epmd"));
    assert_eq!(place.pid("redis", "redis"), redis, "what ran before is left alone");
    place.ok(&["down"]);

    // With nothing else to run, the supervisor goes as well.
    interrupt_twice(&place, &["up", "rabbitmq"]);
    nothing_is_left(&place);
}

/// Presses Ctrl-C while RabbitMQ starts, and again when the first one was heard.
#[track_caller]
fn interrupt_twice(place: &Place, args: &[&str]) {
    let mut up = begin(place, args);
    eventually("RabbitMQ starts", || runs(place, "beam.smp"));
    kill(up.id(), Signal::INT);
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C again leaves at once")));
    kill(up.id(), Signal::INT);
    assert_eq!(up.wait().unwrap().code(), Some(130));
}

#[test]
fn an_up_that_is_killed_is_finished_by_the_next_one() {
    let place = Place::heavy();
    let up = begin(&place, &["up", "rabbitmq"]);
    eventually("RabbitMQ starts", || runs(&place, "beam.smp"));
    kill(up.id(), Signal::KILL);
    drop(up);
    place.ok(&["up", "rabbitmq"]);
    place.ok(&["status"]);
}

#[test]
fn a_port_that_is_taken_between_looking_and_starting_is_named() {
    let place = Place::new();
    let port = place.port(5632);
    let up = begin(&place, &["up", "postgresql"]);
    let unpacking = place.state().join("postgresql/data.new");
    eventually("its data is being made", || unpacking.exists());
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let run = end(up);
    let holder = format!("port {port} (postgresql sql) is held by pid {}", std::process::id());
    says(&run, 5, &["error[port-taken]", "somebody who came in between", &holder]);
    drop(stranger);
    place.ok(&["up", "postgresql"]);
}

#[test]
fn up_and_down_at_once_end_in_the_state_of_the_last() {
    let place = Place::new();
    for _ in 0..5 {
        let both =
            [begin(&place, &["up", "redis"]), begin(&place, &["down"]), begin(&place, &["up", "redis"])];
        for child in both {
            let run = end(child);
            assert_eq!(run.status, 0, "{run}");
        }
    }
    place.ok(&["down"]);
    nothing_is_left(&place);
}

#[test]
fn a_program_that_is_replaced_while_it_supervises_goes_on() {
    let place = Place::new();
    let program = place.root.join("ecosystem");
    let install = || {
        // As a build does: a new file under the old name.
        let _first = std::fs::remove_file(&program);
        std::fs::copy(env!("CARGO_BIN_EXE_ecosystem"), &program).unwrap();
    };
    let run = |args: &[&str]| {
        let ours = place.command(args);
        #[expect(clippy::disallowed_methods, reason = "the program under test is started as a person would")]
        let mut command = std::process::Command::new(&program);
        command.args(args).current_dir(&place.root).stdin(Stdio::null());
        command.envs(ours.get_envs().filter_map(|(key, value)| Some((key, value?))));
        Run::of(&mut command)
    };
    install();
    assert_eq!(run(&["up", "redis"]).status, 0);
    install();
    place.kill("redis", "redis");
    let supervisor = place.supervisor();
    let up = run(&["up", "redis"]);
    assert_eq!((up.status, place.supervisor()), (0, supervisor), "the old program starts it again\n{up}");
    assert_eq!(run(&["down"]).status, 0);
    nothing_is_left(&place);
}

#[test]
fn data_without_its_mark_is_kept() {
    let place = Place::new();
    place.ok(&["up", "postgresql"]);
    let env = place.env();
    crate::clients::sql(&env).batch_execute("CREATE TABLE kept AS SELECT 1 AS id").unwrap();
    place.ok(&["down"]);
    let home = place.state().join("postgresql");
    for lost in ["made-by", "postgresql.conf"] {
        std::fs::remove_file(home.join(lost)).unwrap();
    }
    place.ok(&["up", "postgresql"]);
    assert_eq!(number(&env, "SELECT count(*) FROM kept"), 1);
    assert!(Utf8Path::new(&home).join("made-by").exists());
}

#[test]
fn one_ctrl_c_is_an_answer_to_a_question() {
    let (place, supervisor) = with_redis();
    let mut down = place.on_terminal(&["down", "--data"]);
    let mut down = down.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut said, mut asked) = (down.stdout.take().unwrap(), Vec::new());
    while !asked.ends_with(b"[y/N] ") {
        let mut byte = [0];
        said.read_exact(&mut byte).unwrap();
        asked.extend(byte);
    }
    let mut keys = down.stdin.take().unwrap();
    std::io::Write::write_all(&mut keys, b"\x03").unwrap();
    let down = std::cell::RefCell::new(down);
    eventually("it leaves", || down.borrow_mut().try_wait().unwrap().is_some());
    assert_eq!(down.borrow_mut().wait().unwrap().code(), Some(130));
    assert_eq!(place.supervisor(), Some(supervisor), "nothing was stopped");
}

#[test]
fn who_hangs_up_while_it_waits_keeps_nothing_in_the_supervisor() {
    let (place, supervisor) = with_redis();
    let threads = || std::fs::read_dir(format!("/proc/{supervisor}/task")).unwrap().count();
    eventually("the connections of `up` have ended", || threads() == 3);
    let ask = |_| {
        let mut stream = UnixStream::connect(place.state().join("control")).unwrap();
        stream.write_all(b"{\"verb\":\"wait\",\"seen\":{\"redis\":1}}\n").unwrap();
        stream
    };
    let asked: Vec<UnixStream> = (0..5).map(ask).collect();
    eventually("all of them wait", || threads() == 8);
    let [patient, gone @ ..] = asked.as_slice() else { unreachable!() };
    for stream in gone {
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    eventually("only one waits", || threads() == 4);
    place.kill("redis", "redis");
    let mut answer = String::new();
    BufReader::new(patient).read_line(&mut answer).unwrap();
    assert!(answer.contains("signal 9"), "who is still there is answered: {answer}");
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_works_in_the_state_folder_and_is_no_server_is_left_alone() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let folder = place.state().join("redis");
    #[expect(clippy::disallowed_methods, reason = "somebody's backup")]
    let mut backup = std::process::Command::new("sleep").arg("600").current_dir(&folder).spawn().unwrap();
    kill(place.supervisor().unwrap(), Signal::KILL);
    eventually("nothing listens", || place.listening().is_empty());
    place.ok(&["up", "redis"]);
    place.ok(&["down"]);
    let lives = backup.try_wait().unwrap().is_none();
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert!(lives, "a process of somebody else was ended");
}
