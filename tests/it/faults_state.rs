//! Damaged state folders: every file of one, damaged in every way, while servers run and while they do not. Nothing hangs, nothing
//! is lost, and what cannot go on names the file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::faults::{as_owner, bounded, run_of, wrapped};
use crate::support::{Place, Run};

/// Every file that a place with Redis has. The socket is damaged in a test of its own: who looks for its supervisor waits for it.
const FILES: [&str; 9] = [
    "place.toml",
    "secrets.toml",
    "durations.json",
    "operation.lock",
    "supervisor.lock",
    "redis/made-by",
    "redis/redis.conf",
    "logs/redis.log",
    ".gitignore",
];

/// What can have become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Empty,
    Torn,
    Garbage,
    Folder,
    Pipe,
    Link,
    Future,
    Unreadable,
    Missing,
}

/// A file as it was, to be put back.
struct Kept {
    path: Utf8PathBuf,
    beside: Utf8PathBuf,
}

impl Fault {
    /// Damages a file; `None` where it cannot be damaged in this way.
    fn strike(self, path: &Utf8Path) -> Option<Kept> {
        let bytes = std::fs::read(path).ok()?;
        if self == Self::Future && !matches!(path.extension(), Some("toml" | "json")) {
            return None;
        }
        let beside = path.parent().unwrap().parent().unwrap().join("kept-by-the-test");
        std::fs::rename(path, &beside).unwrap();
        let write = |bytes: &[u8]| {
            let mut file = std::fs::File::create(path).unwrap();
            file.write_all(bytes).unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        match self {
            Self::Empty => write(b""),
            Self::Torn => write(&bytes[..bytes.len() / 2]),
            Self::Garbage => write(&[0xff, 0, b'\n', 0xfe, b'=', 0x1b, b'[', 7, b'\n']),
            Self::Folder => std::fs::create_dir(path).unwrap(),
            Self::Pipe => {
                #[expect(clippy::disallowed_methods, reason = "there is no portable safe call for this")]
                let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            }
            Self::Link => std::os::unix::fs::symlink("nowhere", path).unwrap(),
            Self::Future => {
                let more = if path.extension() == Some("json") { ",\"new\":7}" } else { "new = \"field\"\n" };
                let text = String::from_utf8(bytes).unwrap();
                write((text.trim_end_matches('}').to_owned() + more).as_bytes());
            }
            Self::Unreadable => {
                write(&bytes);
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
            }
            Self::Missing => {}
        }
        Some(Kept { path: path.to_owned(), beside })
    }
}

impl Kept {
    /// Puts the file back, whatever stands in its place.
    fn put_back(&self) {
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&self.path).unwrap(),
            Ok(_) => std::fs::remove_file(&self.path).unwrap(),
            Err(_) => {}
        }
        std::fs::rename(&self.beside, &self.path).unwrap();
    }
}

/// Sends Redis commands as the owner of the place and returns what comes back.
fn redis(place: &Place, password: &str, commands: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", place.port(6579))).unwrap();
    write!(stream, "AUTH {password}\r\n{commands}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Damages every file in one way and uses the place meanwhile.
fn everything(fault: Fault) {
    let Some(through) = (if fault == Fault::Unreadable { as_owner() } else { Some(&[][..]) }) else { return };
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let password = place.env()["REDISCLI_AUTH"].clone();
    redis(&place, &password, "SET kept 1\r\nSAVE");
    let mut problems = Vec::new();
    for file in FILES {
        let path = place.state().join(file);
        for running in [true, false] {
            if !running {
                place.ok(&["down"]);
            }
            let Some(kept) = fault.strike(&path) else { continue };
            for args in [&["status"][..], &["env", "redis"], &["logs"], &["up", "redis"], &["down"]] {
                // Printing does not depend on what runs.
                if !running && matches!(args[0], "env" | "logs") {
                    continue;
                }
                let run = run_of(&mut wrapped(&place, through, args));
                let label = format!("{fault:?} {file}, {args:?}, running: {running}");
                problems.extend(judge(&label, file, &run, &password));
            }
            kept.put_back();
            place.ok(&["up", "redis"]);
            assert_eq!(place.env()["REDISCLI_AUTH"], password, "{fault:?} {file}: another password");
            let answer = redis(&place, &password, "GET kept");
            assert!(answer.contains("$1\r\n1\r\n"), "{fault:?} {file}: the data is gone: {answer}");
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n\n"));
}

/// A failure names the file and a next step; nothing tells the password but `env`.
fn judge(label: &str, file: &str, run: &Run, password: &str) -> Option<String> {
    let named = run.stderr.contains(file) && run.stderr.contains('→');
    // A log that is not there is no fault.
    let named = named || (file.starts_with("logs/") && run.stderr.contains("error[no-log]"));
    let told = run.stderr.contains(password);
    ((run.status != 0 && !named) || told).then(|| format!("{label}\n{run}"))
}

#[test]
fn empty_files() {
    everything(Fault::Empty);
}

#[test]
fn torn_files() {
    everything(Fault::Torn);
}

#[test]
fn garbage() {
    everything(Fault::Garbage);
}

#[test]
fn folders_in_place_of_files() {
    everything(Fault::Folder);
}

#[test]
fn pipes_in_place_of_files() {
    everything(Fault::Pipe);
}

#[test]
fn links_that_lead_nowhere() {
    everything(Fault::Link);
}

#[test]
fn files_of_a_later_version() {
    everything(Fault::Future);
}

#[test]
fn files_that_may_not_be_read() {
    everything(Fault::Unreadable);
}

#[test]
fn missing_files() {
    everything(Fault::Missing);
}

#[test]
fn a_damaged_socket_of_a_stopped_stack_is_replaced() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    place.ok(&["down"]);
    let socket = place.state().join("control");
    std::fs::File::create(&socket).unwrap();
    place.ok(&["status"]);
    place.ok(&["up", "redis"]);
    place.ok(&["down"]);
    std::fs::create_dir(&socket).unwrap();
    let refused = bounded(&place, &["up", "redis"]);
    assert_eq!(refused.status, 3, "{refused}");
    assert!(refused.stderr.contains(socket.as_str()), "{refused}");
    std::fs::remove_dir(&socket).unwrap();
    place.ok(&["up", "redis"]);
}

#[test]
fn a_lost_socket_of_a_running_stack_is_told_and_mended() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let supervisor = place.supervisor().unwrap();
    std::fs::remove_file(place.state().join("control")).unwrap();
    let refused = bounded(&place, &["up", "redis"]);
    assert_eq!(refused.status, 5, "{refused}");
    assert!(refused.stderr.contains(&supervisor.to_string()) && refused.stderr.contains('→'), "{refused}");
}

#[test]
fn a_password_that_is_lost_is_not_made_anew() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let secrets = place.state().join("secrets.toml");
    std::fs::remove_file(&secrets).unwrap();
    for args in [&["up", "redis"][..], &["env", "redis"], &["restart", "redis"]] {
        let refused = bounded(&place, args);
        assert_eq!(refused.status, 3, "{refused}");
        for part in ["error[secrets-lost]", secrets.as_str(), "down --data redis"] {
            assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
        }
    }
    assert!(!secrets.exists(), "nothing may stand in its place");
    place.ok(&["down", "--data", "redis", "--yes"]);
    place.ok(&["up", "redis"]);
}

#[test]
fn data_of_a_service_that_the_manifest_names_no_more_goes_with_the_rest_or_by_its_name() {
    let place = Place::new();
    let with = |names: &[&str]| {
        let section = |name: &&str| {
            format!(
                "[services.{name}]\nkind = \"process\"\ncommand = [\"sleep\", \"999\"]\nready.command = [\"true\"]\n"
            )
        };
        place.manifest(&names.iter().map(section).collect::<String>());
    };
    with(&["old", "older", "kept"]);
    place.ok(&["up", "old", "older", "kept"]);
    with(&["kept"]);
    std::fs::create_dir(place.state().join("mine")).unwrap();
    let there = |name: &str| place.state().join(name).exists();
    // By its name, while it runs.
    place.ok(&["down", "--data", "--yes", "older"]);
    assert_eq!((there("old"), there("older"), there("kept")), (true, false, true));
    place.ok(&["down"]);
    let unknown = place.run(&["down", "--data", "--yes", "older"]);
    assert_eq!(unknown.status, 2, "{unknown}");
    let asked = place.run(&["down", "--data"]);
    assert!(
        asked.stderr.contains("among them old, which the manifest does not name any more, in"),
        "{asked}"
    );
    let deleted = place.json(&["down", "--data", "--yes"]);
    assert_eq!(deleted["deleted"], serde_json::json!(["kept", "old"]));
    assert!(!there("old") && !there("kept") && there("mine") && there("place.toml"));
}
