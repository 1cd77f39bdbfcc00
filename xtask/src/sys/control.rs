//! The wire between commands and the supervisor: one JSON object a line over a Unix socket in the state folder.
//!
//! `hello`, `list` and `shutdown` never change, so that a command of another build can always look and end what runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::Process;
use ecosystem_core::supervise::Status;
use serde::{Deserialize, Serialize};

/// Raised when a verb changes its meaning. A supervisor of another protocol is replaced.
pub const PROTOCOL: u32 = 2;

/// The socket's name within the state folder.
const SOCKET: &str = "control";

/// The name of one that is only made to see whether that works.
const TRIAL: &str = ".control.tmp";

/// How long a supervisor may take over a question that it answers at once. It has nothing else to do, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take where processes have to end first: longer than any of them may take before it is killed.
const LONG_PATIENCE: Duration = Duration::from_mins(2);

/// A message is never longer than this: what is, does not come from this program.
const LONGEST: u64 = 8 << 20;

/// What a command asks of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Who are you?
    Hello,
    /// What do you run?
    List,
    /// Start these, in this order. One that runs already is left alone.
    Start { processes: Vec<Process> },
    /// Stop these, each by its own rule, those of one service in the reverse order of their start, and answer when they have ended.
    Stop { ids: Vec<String> },
    /// Answer when one of these is no longer running in the incarnation that is named.
    Wait { seen: BTreeMap<String, u32> },
    /// Stop everything, answer when nothing is left, and end.
    Shutdown,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Response {
    Hello {
        protocol: u32,
        build: String,
        pid: u32,
        /// It has been told to end and takes nothing new.
        #[serde(default)]
        ending: bool,
    },
    Processes {
        processes: Vec<Supervised>,
    },
    Refused {
        reason: String,
    },
}

impl Request {
    /// How long the answer may take; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::Hello | Self::List | Self::Start { .. } => Some(PATIENCE),
            Self::Stop { .. } | Self::Shutdown => Some(LONG_PATIENCE),
            Self::Wait { .. } => None,
        }
    }
}

/// The supervisor is there and does not answer: stopped by a signal, or without its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent;

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the supervisor does not answer")
    }
}

impl std::error::Error for Silent {}

/// A process under supervision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Supervised {
    pub process: Process,
    pub status: Status,
}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    /// Connects to the supervisor of a state folder. `None`: none is running.
    pub fn connect(state: &Utf8Path) -> anyhow::Result<Option<Self>> {
        let folder = match std::fs::File::open(state) {
            Ok(folder) => folder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot open {state}")),
        };
        match UnixStream::connect(short_path(state, &folder, SOCKET)) {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream) })),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("cannot reach the supervisor in {state}")),
        }
    }

    /// Asks and waits for the answer. The error is [`Silent`] where there is none in time.
    pub fn ask(&mut self, request: &Request) -> anyhow::Result<Response> {
        self.stream.get_ref().set_read_timeout(request.patience())?;
        send(self.stream.get_mut(), request).context("cannot talk to the supervisor")?;
        let answer =
            receive(&mut self.stream).map_err(|error| match error.downcast_ref::<std::io::Error>() {
                Some(late) if matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Silent.into()
                }
                _ => error,
            });
        match answer? {
            Some(Response::Refused { reason }) => anyhow::bail!("the supervisor refused: {reason}"),
            Some(response) => Ok(response),
            None => anyhow::bail!("the supervisor ended while it was asked"),
        }
    }

    /// Asks and does not wait for the answer.
    pub fn tell(&mut self, request: &Request) -> anyhow::Result<()> {
        send(self.stream.get_mut(), request).context("cannot talk to the supervisor")
    }

    /// Asks for a list of processes.
    pub fn processes(&mut self, request: &Request) -> anyhow::Result<Vec<Supervised>> {
        match self.ask(request)? {
            Response::Processes { processes } => Ok(processes),
            other => anyhow::bail!("the supervisor gave an answer that does not fit: {other:?}"),
        }
    }

    /// The process id of the supervisor, where it tells.
    pub fn peer(&mut self) -> Option<u32> {
        match self.ask(&Request::Hello) {
            Ok(Response::Hello { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    /// A handle with which another thread can end a blocking question.
    pub fn hang_up_handle(&self) -> anyhow::Result<UnixStream> {
        self.stream.get_ref().try_clone().context("cannot duplicate the control connection")
    }
}

/// Binds the control socket of a state folder; only the holder of its operation lock may.
pub fn bind(state: &Utf8Path) -> anyhow::Result<OwnedFd> {
    bind_as(state, SOCKET)
}

/// Fails where the file system of a state folder has no sockets, before anything is fetched or started for it. Only the holder of its
/// operation lock may ask.
pub fn try_to_bind(state: &Utf8Path) -> anyhow::Result<()> {
    let there = state.join(SOCKET).symlink_metadata();
    if there.is_ok_and(|meta| meta.file_type().is_socket()) {
        return Ok(());
    }
    drop(bind_as(state, TRIAL)?);
    let path = state.join(TRIAL);
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {path}"))
}

fn bind_as(state: &Utf8Path, name: &str) -> anyhow::Result<OwnedFd> {
    match std::fs::remove_file(state.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| {
                format!("cannot remove what stands in the place of the control socket, {}", state.join(name))
            });
        }
        _ => {}
    }
    let folder = std::fs::File::open(state).with_context(|| format!("cannot open {state}"))?;
    let path = short_path(state, &folder, name);
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map(|()| listener)
    });
    match bound {
        Ok(listener) => Ok(listener.into()),
        Err(error) if means_no_sockets(&error) => Err(no_sockets(state, &error).into()),
        Err(error) => Err(error).with_context(|| format!("cannot make a control socket in {state}")),
    }
}

/// Whether this answer to making a socket says that the file system has none. Files were made in the same folder a moment before, so it is
/// not about rights: FAT and exFAT say EPERM, others that they do not support it, and folders that a virtual machine shares that it
/// is not valid.
fn means_no_sockets(error: &std::io::Error) -> bool {
    use rustix::io::Errno as E;
    let said = [E::PERM, E::ACCESS, E::OPNOTSUPP, E::NOTSUP, E::NOSYS, E::INVAL];
    E::from_io_error(error).is_some_and(|errno| said.contains(&errno))
}

fn no_sockets(state: &Utf8Path, error: &std::io::Error) -> Failure {
    let what = super::os::file_system(state).map_or_else(String::new, |name| format!(" ({name})"));
    let message = format!(
        "the file system{what} of the state folder {state} has no sockets, and the supervisor of the servers is reached by one: {error}"
    );
    Failure::new(Kind::Host, "state-without-sockets", message)
        .hint("keep the state on a disk of this system: ECOSYSTEM_STATE=/some/folder")
}

/// A way to the socket that stays below the 107 bytes that a socket address can hold, however long the project's path is.
fn short_path(state: &Utf8Path, folder: &std::fs::File, name: &str) -> Utf8PathBuf {
    let direct = state.join(name);
    if direct.as_str().len() < 100 || !cfg!(target_os = "linux") {
        return direct;
    }
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()).into()
}

/// Writes one message.
pub fn send<T: Serialize>(stream: &mut UnixStream, message: &T) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

/// Reads one message. `None`: the other side has hung up.
pub fn receive<T: for<'de> Deserialize<'de>>(stream: &mut impl BufRead) -> anyhow::Result<Option<T>> {
    let mut line = String::new();
    if stream.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).with_context(|| {
        let beginning: String = line.chars().take(80).collect();
        format!("cannot read the message {beginning:?}")
    })
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_what_the_file_system_says_is_taken_for_its_word() {
        for errno in [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS, Errno::INVAL]
        {
            assert!(means_no_sockets(&errno.into()), "{errno}");
        }
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::MFILE, Errno::IO, Errno::ADDRINUSE] {
            assert!(!means_no_sockets(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn trying_leaves_nothing_and_takes_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let state = Utf8Path::from_path(folder.path()).unwrap();
        try_to_bind(state).unwrap();
        assert_eq!(state.read_dir_utf8().unwrap().count(), 0);
        let _socket = bind(state).unwrap();
        try_to_bind(state).unwrap();
        assert!(Control::connect(state).unwrap().is_some());
    }
}
