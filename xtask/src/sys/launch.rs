//! Starting programs that outlive a function call: servers, the supervisor, one-off preparations of data.
//!
//! A program is never spawned directly. The child is this very program again (`__exec`), which has a single thread and can therefore set up
//! a session, a user namespace and the parent-death signal with safe calls, and then becomes the program. The specification
//! arrives on standard input, so nothing of it shows in a process list; what follows it there is the program's own input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::marker;
use ecosystem_core::process::{Process, RunAs};
use serde::{Deserialize, Serialize};

use super::{log, os};

/// The hidden first argument that makes this program a launcher.
pub const EXEC: &str = "__exec";

/// The hidden first argument that makes this program another one which does not outlive its parent.
pub const FOLLOW: &str = "__follow";

/// Becomes a short command that dies with the process that started this one: its process id, the program, its arguments.
/// Returns only if that failed.
pub fn follow(words: &[OsString]) -> anyhow::Error {
    let become_it = || -> anyhow::Result<std::convert::Infallible> {
        let [parent, program, args @ ..] = words else { anyhow::bail!("nothing to run") };
        let parent = parent.to_str().context("no process id")?.parse()?;
        #[expect(clippy::disallowed_methods, reason = "this replaces the launcher; nothing is spawned")]
        let mut command = Command::new(program);
        os::die_with_parent(parent)?;
        Err(command.args(args).exec()).with_context(|| format!("cannot run {}", program.display()))
    };
    match become_it() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The log of what nobody wants to read.
const NOWHERE: &str = "/dev/null";

/// What to become.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Utf8PathBuf,
    run_as: RunAs,
    /// The process that it must not outlive.
    parent: u32,
    /// Whether standard input carries on with the program's own input.
    input: bool,
}

/// Runs a program to its end, feeding it `input`, and returns an error with the end of its log if it fails.
pub fn run(process: &Process, input: &str) -> anyhow::Result<()> {
    let status = noted(process, input)?.wait()?;
    if status.success() {
        return Ok(());
    }
    let said = tail(&process.log, 2_000).unwrap_or_default();
    let said: String = marker::last_run(&said).lines().flat_map(|line| ["\n  | ", line]).collect();
    anyhow::bail!("{} ended with {status}{said}", process.argv.first().map_or("", String::as_str))
}

/// Starts a process that is fed `input` and whose output is appended to its log. It dies with the thread that called this.
pub fn spawn(process: &Process, input: &str) -> anyhow::Result<Child> {
    launch(process, input, |_, _| Ok(()))
}

/// Starts a process, with a line in its log that says so before anything that it writes itself.
pub fn spawn_noted(process: &Process) -> anyhow::Result<Child> {
    noted(process, "")
}

fn noted(process: &Process, input: &str) -> anyhow::Result<Child> {
    launch(process, input, |log, pid| log::mark(log, &process.id(), pid))
}

/// Starts the launcher and lets it become the process. `begin` is called while nothing can have been written yet.
#[expect(clippy::disallowed_methods, reason = "the one place where long-lived programs are started")]
fn launch(
    process: &Process,
    input: &str,
    begin: impl FnOnce(&std::fs::File, u32) -> std::io::Result<()>,
) -> anyhow::Result<Child> {
    let spec = Spec {
        argv: process.argv.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        run_as: process.run_as,
        parent: std::process::id(),
        input: !input.is_empty(),
    };
    let log = open_log(&process.log)?;
    let mut child = Command::new(os::this_program()?)
        .arg0("ecosystem")
        .arg(EXEC)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .context("cannot start the launcher")?;
    if let Err(error) = begin(&log, child.id()) {
        // A full disk keeps nobody from starting.
        let _nowhere_else = writeln!(std::io::stderr(), "cannot mark the start in {}: {error}", process.log);
    }
    let pipe = child.stdin.take();
    let feed = || -> std::io::Result<()> {
        let Some(mut pipe) = pipe else { return Ok(()) };
        let spec = serde_json::to_vec(&spec)?;
        pipe.write_all(&u32::try_from(spec.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        pipe.write_all(&spec)?;
        pipe.write_all(input.as_bytes())
    };
    // A launcher that died before it read everything has said why in the log; its status is reported by whoever waits for it.
    match feed() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot talk to the launcher")
        }
        _ => Ok(child),
    }
}

/// Opens a log for appending, mode 0600, and makes its folder.
pub fn open_log(path: &Utf8Path) -> anyhow::Result<std::fs::File> {
    if let Some(folder) = path.parent() {
        super::fs::create_private_dir(folder)?;
    }
    if path != NOWHERE {
        super::fs::is_file_or_missing(path)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).with_context(|| format!("cannot open the log {path}"))
}

/// The last `limit` bytes of a file, from the beginning of a line.
pub fn tail(path: &Utf8Path, limit: u64) -> anyhow::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let Some(mut file) = super::fs::open_optional(path)? else { anyhow::bail!("there is no {path}") };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.to_owned(),
        _ => text,
    })
}

/// The launcher: reads what to become and becomes it. Returns only if that failed.
pub fn become_program() -> anyhow::Error {
    let become_it = || -> anyhow::Result<std::convert::Infallible> {
        let spec = read_spec()?;
        // A session of its own: a Ctrl-C at the terminal is for the command, not for the servers.
        rustix::process::setsid().context("cannot start a session")?;
        os::forget_inherited_files()?;
        super::fs::make_private();
        if !spec.input {
            rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        }
        if let RunAs::Mapped(uid) = spec.run_as {
            os::enter_user_namespace(uid)?;
        }
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        allow_open_files();
        let [program, args @ ..] = spec.argv.as_slice() else { anyhow::bail!("an empty command line") };
        #[expect(clippy::disallowed_methods, reason = "this replaces the launcher; nothing is spawned")]
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(&spec.env).current_dir(&spec.cwd);
        os::die_with_parent(spec.parent)?;
        let error = command.exec();
        Err(error).with_context(|| format!("cannot run {}", shown(program, &spec)))
    };
    match become_it() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// A program that could not be run, with what can be seen of the reason.
fn shown(program: &str, spec: &Spec) -> String {
    if !spec.cwd.is_dir() {
        return format!("{program} in {}, which is not a folder", spec.cwd);
    }
    if !program.contains('/') {
        let path = spec.env.get("PATH").map_or("", String::as_str);
        return format!("{program}, looked for on PATH={path}");
    }
    let file = spec.cwd.join(program);
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => format!("{program}, which is a folder"),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            format!("{program}, which may not be executed (chmod +x makes it so)")
        }
        Ok(_) | Err(_) => format!("{program} in {}", spec.cwd),
    }
}

/// So many files may a server have open, where the machine allows it.
const OPEN_FILES: u64 = 65_536;

/// Raises the soft limit of open files, which is there for old programs, towards the hard one. Not to the hard one: the Erlang VM
/// makes a table as long as the limit, and in some containers that is a thousand million.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    // What it may not be raised to, the server says in its own words where it needs it.
    let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit });
}

/// Reads the specification without a buffer: what follows belongs to the program.
fn read_spec() -> anyhow::Result<Spec> {
    let read_exact = |bytes: &mut [u8]| -> anyhow::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::io::read(rustix::stdio::stdin(), &mut bytes[filled..])? {
                0 => anyhow::bail!("the specification ended early"),
                count => filled += count,
            }
        }
        Ok(())
    };
    let mut length = [0; 4];
    read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    anyhow::ensure!(length <= 1 << 20, "a specification of {length} bytes");
    let mut spec = vec![0; length];
    read_exact(&mut spec)?;
    serde_json::from_slice(&spec).context("the specification cannot be read")
}

/// Whether user namespaces can be made here: some containers forbid it. Asked by making one.
pub fn user_namespaces_work() -> bool {
    let process = Process {
        service: "host".to_owned(),
        name: "user-namespace".to_owned(),
        argv: vec!["/bin/true".to_owned()],
        env: BTreeMap::new(),
        cwd: "/".into(),
        run_as: RunAs::Mapped(1000),
        stop: ecosystem_core::process::Stop { signal: ecosystem_core::process::Signal::Kill, grace_ms: 0 },
        log: NOWHERE.into(),
        log_limit: u64::MAX,
        labels: BTreeMap::new(),
        rules: ecosystem_core::process::Rules::default(),
    };
    run(&process, "").is_ok()
}
