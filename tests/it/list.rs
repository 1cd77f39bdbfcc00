//! `list` and `down --all`, in a store of their own: other stacks of this machine are none of their business.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::support::{Place, Run, eventually, kill};

/// A store that lends its servers from the user's own and has a list of places of its own.
struct Store {
    _folder: tempfile::TempDir,
    path: Utf8PathBuf,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap().join("store");
        std::fs::create_dir(&path).unwrap();
        let own = Place::new().json(&["provision", "redis"])["store"].as_str().unwrap().to_owned();
        for entry in Utf8Path::new(&own).read_dir_utf8().unwrap().flatten() {
            if !matches!(entry.file_name(), "places" | "tmp" | "locks") {
                std::os::unix::fs::symlink(entry.path(), path.join(entry.file_name())).unwrap();
            }
        }
        Self { _folder: folder, path }
    }

    /// The program in a place, with this store.
    fn command(&self, place: &Place, args: &[&str]) -> Command {
        let mut command = place.command(args);
        command.env("ECOSYSTEM_STORE", &self.path);
        command
    }

    #[track_caller]
    fn ok(&self, place: &Place, args: &[&str]) -> String {
        let run = Run::of(&mut self.command(place, args));
        assert_eq!(run.status, 0, "{run}");
        run.stdout
    }

    /// State and services by project folder.
    #[track_caller]
    fn list(&self, place: &Place) -> Vec<(String, String)> {
        let listed: Value = serde_json::from_str(&self.ok(place, &["list", "--format", "json"])).unwrap();
        let row = |stack: &Value| {
            let services: Vec<&str> =
                stack["services"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let state = stack["state"].as_str().unwrap();
            (stack["root"].as_str().unwrap().to_owned(), format!("{state} {}", services.join(" ")))
        };
        listed["stacks"].as_array().unwrap().iter().map(row).collect()
    }
}

#[test]
fn stacks_are_listed_and_stopped_together_wherever_they_are() {
    let (store, first, second, lost) =
        (Store::new(), Place::named("a"), Place::named("b"), Place::named("c"));
    assert_eq!(store.ok(&first, &["list"]), format!("No stack was set up with the store {}.\n", store.path));
    for place in [&first, &second, &lost] {
        store.ok(place, &["up", "redis"]);
    }
    store.ok(&second, &["down"]);
    let row = |place: &Place, state: &str| (place.root.to_string(), state.to_owned());
    let mut expected =
        vec![row(&first, "running redis"), row(&second, "stopped "), row(&lost, "running redis")];
    expected.sort();
    assert_eq!(store.list(&second), expected);
    let text = store.ok(&first, &["list"]);
    assert!(
        text.contains(first.root.as_str()) && text.contains("To stop all of them: ecosystem down --all"),
        "{text}"
    );

    // Somebody deletes a project whose servers run, and where a shell is.
    let (pid, port) = (lost.supervisor().unwrap(), lost.port(6579));
    let stranger = duct::cmd!("sleep", "600").dir(lost.state()).start().unwrap();
    std::fs::remove_dir_all(&lost.root).unwrap();
    assert!(store.list(&first).contains(&row(&lost, "gone ")));
    let listed: Value = serde_json::from_str(&store.ok(&first, &["list", "--format", "json"])).unwrap();
    crate::json::fits("Listed", &listed);
    let stopped = store.ok(&second, &["down", "--all"]);
    assert!(stopped.contains(&format!("Stopped redis of {}.\n", first.root)), "{stopped}");
    assert!(stopped.contains(&format!("Stopped what was left of {}.\n", lost.root)), "{stopped}");
    assert_eq!((first.listening(), lost.listening()), (vec![], vec![]), "{port}");
    assert!(stranger.try_wait().unwrap().is_none(), "who only is there is nobody's to end");
    stranger.kill().unwrap();
    eventually("the supervisor has ended", || !Utf8Path::new(&format!("/proc/{pid}")).exists());

    let mut expected = vec![row(&first, "stopped "), row(&second, "stopped ")];
    expected.sort();
    assert_eq!(store.list(&first), expected, "what is gone is forgotten");
    assert_eq!(store.ok(&first, &["down", "--all"]), "Nothing was running.\n");
    store.ok(&first, &["up", "redis"]);
    let stopped: Value =
        serde_json::from_str(&store.ok(&first, &["down", "--all", "--format", "json"])).unwrap();
    crate::json::fits("AllStopped", &stopped);
    assert_eq!(stopped["stacks"][0]["stopped"][0], "redis");
    std::fs::create_dir(&lost.root).unwrap();
}

#[test]
fn down_all_ends_supervisors_that_do_not_answer() {
    let (store, place) = (Store::new(), Place::named("silent"));
    let silence: [fn(&Place, u32); 2] = [
        |_, supervisor| kill(supervisor, rustix::process::Signal::STOP),
        |place, _| std::fs::remove_file(place.state().join("control")).unwrap(),
    ];
    for silence in silence {
        store.ok(&place, &["up", "redis"]);
        silence(&place, place.supervisor().unwrap());
        let stopped = store.ok(&place, &["down", "--all"]);
        assert_eq!(stopped, format!("Stopped what was left of {}.\n", place.root));
        eventually("nothing is left", || place.processes().is_empty());
    }
}

#[test]
fn down_all_does_not_take_what_it_cannot_mean() {
    let place = Place::new();
    for other in [&["redis"][..], &["--data"], &["-C", "/tmp"]] {
        assert_eq!(place.run(&[&["down", "--all"], other].concat()).status, 2, "{other:?}");
    }
}

#[test]
fn what_is_damaged_does_not_hide_what_runs() {
    let (store, place) = (Store::new(), Place::named("damaged"));
    store.ok(&place, &["up", "redis"]);
    let row = |state: &str| vec![(place.root.to_string(), state.to_owned())];
    assert_eq!(store.list(&place), row("running redis"));

    let remembered = place.state().join("place.toml");
    let whole = std::fs::read_to_string(&remembered).unwrap();
    place.file(".ecosystem/place.toml", "id = ");
    assert_eq!(store.list(&place), row("damaged redis"));
    let listed = store.ok(&place, &["list"]);
    for part in [remembered.as_str(), ", line 1: ", "status -C", "says what to do"] {
        assert!(listed.contains(part), "{part} is missing in\n{listed}");
    }
    assert_eq!(store.ok(&place, &["down", "--all"]), format!("Stopped redis of {}.\n", place.root));
    assert_eq!(store.list(&place), row("damaged "));
    place.file(".ecosystem/place.toml", &whole);
    store.ok(&place, &["up", "redis"]);

    // The store's own file about it: which project it was about, nobody knows.
    let entry = store.path.join("places").read_dir_utf8().unwrap().next().unwrap().unwrap();
    let mut file = std::fs::File::create(entry.path()).unwrap();
    std::io::Write::write_all(&mut file, b"root = \"/cut").unwrap();
    let report: Value = serde_json::from_str(&store.ok(&place, &["list", "--format", "json"])).unwrap();
    crate::json::fits("Listed", &report);
    assert_eq!(report["damaged"][0]["path"], entry.path().as_str());
    let listed = store.ok(&place, &["list"]);
    assert!(
        listed.contains(entry.path().as_str()) && listed.contains("ecosystem up in the project"),
        "{listed}"
    );
    store.ok(&place, &["up", "redis"]);
    assert_eq!(store.list(&place), row("running redis"));
    store.ok(&place, &["down"]);
}

/// Where blocks of ports are given out by `auto`: beyond those of all other tests.
const FIRST_BLOCK: u64 = 7300;

/// The port that Redis has.
#[track_caller]
fn redis_port(report: &str) -> u64 {
    let report: Value = serde_json::from_str(report).unwrap();
    report["services"][0]["ports"]["redis"].as_u64().unwrap()
}

#[test]
fn every_checkout_gets_ports_of_its_own_and_keeps_them() {
    let (store, first, second, third) = (Store::new(), Place::new(), Place::new(), Place::new());
    let places = [&first, &second, &third];
    for place in places {
        place.file("ecosystem.toml", &format!("port_offset = {FIRST_BLOCK}\n"));
    }
    let words = ["up", "redis", "--port-offset", "auto"];
    let json = [&words[..], &["--format", "json"]].concat();
    // A look gives nothing away.
    let dry = Run::of(&mut store.command(&first, &[&words[..], &["--dry-run"]].concat()));
    assert_eq!(dry.status, 0, "{dry}");
    assert!(!first.state().exists() && !store.path.join("locks/ports").exists());

    // Two at once are told apart.
    let running: Vec<_> = places[..2]
        .iter()
        .map(|place| {
            let mut command = store.command(place, &json);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    let mut ports: Vec<u64> = running
        .into_iter()
        .map(|child| redis_port(&String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()))
        .collect();
    // One that is stopped keeps what it has.
    store.ok(&first, &["down"]);
    let run = Run::of(&mut store.command(&third, &words));
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stderr.contains("which no other checkout has"), "{run}");
    ports.push(redis_port(&store.ok(&third, &json)));
    assert!(ports.iter().all(|port| *port >= 6579 + FIRST_BLOCK && (port - 6579) % 100 == 0), "{ports:?}");
    assert!(ports[0] != ports[1] && !ports[..2].contains(&ports[2]), "{ports:?}");
    for (place, port) in places.into_iter().zip(&ports) {
        assert_eq!(redis_port(&store.ok(place, &json)), *port, "{ports:?}");
        store.ok(place, &["status"]);
    }
    for place in places {
        store.ok(place, &["down"]);
    }

    // Somebody else has come meanwhile: the ports are others.
    let port = u16::try_from(ports[0]).unwrap();
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let moved = redis_port(&store.ok(&first, &json));
    assert!(!ports.contains(&moved), "{moved} {ports:?}");
    drop(stranger);
    // Other commands know them, although the manifest says something else; until everything is deleted.
    assert_eq!(redis_port(&store.ok(&first, &["status", "--format", "json"])), moved);
    store.ok(&first, &["down", "--data", "--yes"]);
    assert_eq!(redis_port(&store.ok(&first, &["up", "redis", "--format", "json"])), 6579 + FIRST_BLOCK);
    store.ok(&first, &["down"]);
    let wrong = Run::of(&mut store.command(&first, &["up", "redis", "--port-offset", "many"]));
    assert_eq!(wrong.status, 2, "{wrong}");
    assert!(wrong.stderr.contains("write a number from 0 to 65535, or auto"), "{wrong}");
}
