//! A place for a test: a project folder, ports nobody else uses, and the program run in it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

/// The ports of the release that servers listen on, one for processes of a test, two for an object store, and those of two fronts.
const PORTS: [u16; 15] =
    [5632, 6579, 5872, 15872, 4399, 25872, 9400, 9800, 8025, 9002, 9003, 5000, 5001, 5250, 5251];

/// A project that exists for one test. Whatever runs in it ends with it.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) root: Utf8PathBuf,
    pub(crate) offset: u16,
    /// What is set on top of the environment, such as where a container engine is.
    pub(crate) env: Vec<(&'static str, String)>,
    // Given back last, when nothing of the place runs any more.
    turn: Option<Turn>,
}

/// What a run of the program printed and how it ended; `Display` shows all three.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A project in a folder with a name that needs quoting.
    pub(crate) fn new() -> Self {
        Self::named("a repository")
    }

    /// A project in a folder with this name.
    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap().join(name);
        std::fs::create_dir_all(&root).unwrap();
        let place = Self { _folder: folder, root, offset: free_offset(), env: Vec::new(), turn: None };
        place.manifest("");
        place
    }

    /// A project for servers that take seconds of a processor to start: only a few of these exist at a time.
    pub(crate) fn heavy() -> Self {
        Self::heavy_at("a repository")
    }

    /// The same in a folder with this name.
    pub(crate) fn heavy_at(name: &str) -> Self {
        let turn = Turn::take();
        let mut place = Self::named(name);
        place.turn = Some(turn);
        place
    }

    /// Writes the manifest: the offset of this place, then `text`.
    pub(crate) fn manifest(&self, text: &str) {
        self.file("ecosystem.toml", &format!("port_offset = {}\n{text}", self.offset));
    }

    /// Writes a file of the project.
    pub(crate) fn file(&self, name: &str, text: &str) {
        #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
        std::fs::write(self.root.join(name), text).unwrap();
    }

    /// The program with these arguments, in this place.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the program under test is started as a person would")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecosystem"));
        command
            .args(args)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .env_remove("CARGO_PKG_NAME")
            .env("CI", "1");
        command.env_remove("ECOSYSTEM_STATE").envs(self.env.iter().cloned());
        command
    }

    /// The same on a terminal of its own, as `script` makes one.
    pub(crate) fn on_terminal(&self, args: &[&str]) -> Command {
        let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let line = format!("exec '{}' {}", env!("CARGO_BIN_EXE_ecosystem"), quoted.join(" "));
        let like = self.command(args);
        #[expect(clippy::disallowed_methods, reason = "the program under test is started as a person would")]
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.current_dir(&self.root).stdin(Stdio::null());
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Runs the program and insists on success.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Run {
        self.run(args).succeeded(args)
    }

    /// Runs the program with `--format json` and returns its report.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--format", "json"]].concat()).report()
    }

    /// The settings that `env` prints.
    #[track_caller]
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        serde_json::from_value(self.json(&["env"])).unwrap()
    }

    /// A port of the release, shifted to this place.
    pub(crate) fn port(&self, base: u16) -> u16 {
        base + self.offset
    }

    /// The state folder.
    pub(crate) fn state(&self) -> Utf8PathBuf {
        self.root.join(".ecosystem")
    }

    /// The process ids of a service by process name, as `status` tells them.
    #[track_caller]
    pub(crate) fn pids(&self, service: &str) -> BTreeMap<String, Option<u32>> {
        let status = self.json(&["status"]);
        let services = status["services"].as_array().unwrap();
        let found = services.iter().find(|s| s["name"] == service);
        serde_json::from_value(found.unwrap_or_else(|| panic!("no {service} in {status}"))["pids"].clone())
            .unwrap()
    }

    /// The process id of a running process of a service.
    #[track_caller]
    pub(crate) fn pid(&self, service: &str, process: &str) -> u32 {
        self.pids(service)[process].unwrap()
    }

    /// Kills a process and waits until `status` or a new process id shows that it was noticed.
    #[track_caller]
    pub(crate) fn kill(&self, service: &str, process: &str) {
        let pid = self.pid(service, process);
        kill(pid, rustix::process::Signal::KILL);
        eventually("the end is noticed", || self.pids(service)[process] != Some(pid));
    }

    /// Every process that works in the state folder: supervisor, servers, and what they started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let state = self.state();
        let works_here = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&state))
        };
        processes().into_iter().map(|(pid, _)| pid).filter(works_here).collect()
    }

    /// The passwords of this place.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.state().join("secrets.toml")).unwrap();
        toml::from_str::<BTreeMap<String, String>>(&text).unwrap().into_values().collect()
    }

    /// The process id of the supervisor.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        let state = self.state();
        processes()
            .into_iter()
            .find(|(pid, words)| {
                words.get(1).is_some_and(|word| word == "__supervise")
                    && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == state)
            })
            .map(|(pid, _)| pid)
    }

    /// Ports of this place that something listens on.
    pub(crate) fn listening(&self) -> Vec<u16> {
        PORTS.into_iter().map(|port| self.port(port)).filter(|port| !is_free(*port)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let run = self.run(&["down"]);
        if !std::thread::panicking() {
            assert_eq!(run.status, 0, "{run}");
            assert_eq!(self.listening(), Vec::<u16>::new(), "`down` left somebody listening");
        }
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Insists on success.
    #[track_caller]
    pub(crate) fn succeeded(self, args: &[&str]) -> Self {
        assert_eq!(self.status, 0, "{args:?}\n{self}");
        self
    }

    /// The report that it printed as JSON.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}[exit status: {}]", self.stdout, self.stderr, self.status)
    }
}

/// A program that goes on, and what it has printed so far.
pub(crate) struct Watched {
    child: std::process::Child,
    seen: std::sync::Arc<Mutex<String>>,
}

impl Watched {
    /// Watches the standard output of a child, which must be a pipe.
    pub(crate) fn new(mut child: std::process::Child) -> Self {
        let mut output = child.stdout.take().unwrap();
        let seen = std::sync::Arc::new(Mutex::new(String::new()));
        let writer = std::sync::Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = std::io::Read::read(&mut output, &mut buffer) {
                if count == 0 {
                    return;
                }
                writer.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, seen }
    }

    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and returns its exit status.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A test that failed must not leave it behind.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The right to start heavy servers. More than a few at once would only make each other late.
struct Turn;

static TURNS: Mutex<usize> = Mutex::new(2);
static TURN_ENDED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let left = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        *TURN_ENDED.wait_while(left, |left| *left == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        TURN_ENDED.notify_one();
    }
}

/// Sends a signal as `kill` does.
pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal)
        .unwrap();
}

/// Waits until something holds, looking often; panics after half a minute.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed().as_secs() < 30, "not within half a minute: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// Every process with its command line.
pub(crate) fn processes() -> Vec<(u32, Vec<String>)> {
    let words = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, text.split('\0').map(ToOwned::to_owned).collect()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(words).collect()
}

/// Every file and folder below a folder.
pub(crate) fn walk(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8().unwrap().flatten() {
        found.push(entry.path().to_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(entry.path()));
        }
    }
    found
}

/// The folder of this repository.
pub(crate) fn repository() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// An offset whose ports are free. Multiples of 17 never make two blocks overlap: no two ports of the release
/// differ by one. Below 6,900 all ports stay out of the range that the kernel gives to clients.
fn free_offset() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 350).unwrap();
    for _ in 0..350 {
        let offset = 17 * (30 + (first + NEXT.fetch_add(1, Ordering::SeqCst)) % 350);
        if PORTS.iter().all(|port| is_free(port + offset)) {
            return offset;
        }
    }
    panic!("no free block of ports");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
