//! A process of the manifest: does it run, is what answers its own, and does it do what its `ready` asks for. It says nothing of itself:
//! it is ours because the supervisor of our state folder runs it, and a port is ours when a descendant of that supervisor listens on it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::net::IpAddr;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::endpoint::{Attempt, Endpoint, Ready, Watched};
use ecosystem_core::marker;
use ecosystem_core::process::{Process, command_line};
use ecosystem_core::supervise::{MIN_UPTIME, Phase, Status};

use super::http::Http;
use super::wire::Wire;
use super::{Effort, trouble};
use crate::sys::cmd::Cmd;
use crate::sys::control::{Control, Request, Response};
use crate::sys::fs::{read_optional, write_atomic};
use crate::sys::os::{self, Listener};

/// A process that ended is taken for one that will end again for this long. Celery imports an application before it fails.
const SETTLED_MS: u64 = 20_000;
/// How long a `ready` command may take.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// As much of the end of a log is searched. Logs are cut long before they are as long as this.
const SEARCHED: u64 = 16 * 1024 * 1024;

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let Some(watched) = &endpoint.watched else {
        return Err(Attempt::Never("this version does not know how to look at it".to_owned()));
    };
    let run = Run::of(watched)?;
    match &watched.ready {
        Ready::Running => run.long_enough(),
        Ready::Tcp { role } => {
            run.owns(endpoint, role)?;
            let connected = Wire::open(endpoint, role, effort.limit());
            connected.map(drop).map_err(|error| trouble(&error, "TCP", &endpoint.address(role)))
        }
        Ready::Http { role, path } => {
            run.owns(endpoint, role)?;
            answers(endpoint, role, path, effort)
        }
        Ready::Command(words) => run.passes(words),
        Ready::Log(text) => run.has_said(watched, text, effort),
    }
}

/// The present run of a process.
struct Run {
    supervisor: u32,
    process: Process,
    status: Status,
}

impl Run {
    /// Asks the supervisor.
    fn of(watched: &Watched) -> Result<Self, Attempt> {
        let not_yet = |error: anyhow::Error| Attempt::NotYet(format!("{error:#}"));
        let Some(mut control) = Control::connect(&watched.state).map_err(not_yet)? else {
            return Err(Attempt::NotYet("no supervisor runs".to_owned()));
        };
        let Ok(Response::Hello { pid: supervisor, .. }) = control.ask(&Request::Hello) else {
            return Err(Attempt::NotYet("the supervisor does not answer".to_owned()));
        };
        let all = control.processes(&Request::List).map_err(not_yet)?;
        let found = all.into_iter().find(|one| one.process.service == watched.service);
        match found {
            Some(one) if one.status.phase == Phase::Running => {
                Ok(Self { supervisor, process: one.process, status: one.status })
            }
            Some(one) => {
                let how = one.status.last_exit.unwrap_or_else(|| "not started".to_owned());
                Err(Attempt::NotYet(format!("it does not run: {how}")))
            }
            None => Err(Attempt::NotYet("it does not run".to_owned())),
        }
    }

    fn long_enough(&self) -> Result<(), Attempt> {
        let (up, needed) = (self.status.uptime_ms.unwrap_or(0), MIN_UPTIME.as_millis());
        if u128::from(up) >= needed {
            return Ok(());
        }
        Err(Attempt::NotYet(format!(
            "it has been running for {up} ms; without `ready` it counts as ready after {needed}"
        )))
    }

    /// Whether the port of a role is listened on by something that our supervisor started.
    fn owns(&self, endpoint: &Endpoint, role: &str) -> Result<(), Attempt> {
        let (port, address) = (endpoint.port(role), endpoint.address(role));
        let listeners = os::listeners(Some(&BTreeSet::from([port])))
            .map_err(|error| Attempt::NotYet(format!("{error:#}")))?;
        let host: Option<IpAddr> = endpoint.host.parse().ok();
        let (here, elsewhere): (Vec<Listener>, Vec<Listener>) =
            listeners.into_iter().partition(|l| l.address.is_unspecified() || Some(l.address) == host);
        if here.is_empty() {
            let other = elsewhere
                .first()
                .map(|l| format!("; {} is listened on", std::net::SocketAddr::new(l.address, port)));
            return Err(Attempt::NotYet(format!(
                "nothing listens on {address}{}",
                other.unwrap_or_default()
            )));
        }
        let ours = os::descendants(self.supervisor);
        let stranger = here.iter().find(|l| l.owner.as_ref().is_none_or(|owner| !ours.contains(&owner.pid)));
        match stranger.map(|listener| &listener.owner) {
            None => Ok(()),
            Some(Some(owner)) => Err(Attempt::Never(format!(
                "{address} is held by pid {}, which is not part of this stack: {}",
                owner.pid, owner.command
            ))),
            Some(None) => Err(Attempt::Never(format!("{address} is held by a process of another user"))),
        }
    }

    /// Runs the check of the manifest as the process itself is run.
    fn passes(&self, words: &[String]) -> Result<(), Attempt> {
        let [program, args @ ..] = words else { return Ok(()) };
        let line = command_line(words);
        let output = Cmd::new(program)
            .args(args)
            .only_env(&self.process.env)
            .cwd(&self.process.cwd)
            .limit(CHECK_LIMIT)
            .run()
            .map_err(|error| cannot_run(&line, &error))?;
        if output.ok() {
            return Ok(());
        }
        if output.timed_out {
            return Err(Attempt::NotYet(format!("{line} did not end within {} s", CHECK_LIMIT.as_secs())));
        }
        let said = output.stderr.lines().chain(output.stdout.lines()).rfind(|line| !line.trim().is_empty());
        let said = said.map(|line| format!(": {}", line.chars().take(200).collect::<String>()));
        Err(Attempt::NotYet(format!(
            "{line} ended with status {}{}",
            output.status,
            said.unwrap_or_default()
        )))
    }

    /// Whether the text was written since the start. What was once found is remembered for this run, because logs are cut.
    fn has_said(&self, watched: &Watched, text: &str, effort: Effort) -> Result<(), Attempt> {
        let file = said(watched);
        let run = format!("{} {:?} {} {text:?}", self.supervisor, self.status.pid, self.status.incarnation);
        if read_optional(&file).ok().flatten().is_some_and(|known| known == run) {
            return Ok(());
        }
        match find(&self.process.log, text) {
            Ok(true) if effort == Effort::Look => Ok(()),
            Ok(true) => write_atomic(&file, run.as_bytes(), 0o600)
                .map_err(|error| Attempt::NotYet(format!("{error:#}"))),
            Ok(false) => Err(Attempt::NotYet(format!("it has not written \"{text}\" since it was started"))),
            Err(error) => Err(Attempt::NotYet(format!("{} cannot be read: {error}", self.process.log))),
        }
    }
}

/// Whether every process of a service runs and stays, and, where it was started a moment ago, has said of itself that it works: `said` is by
/// process what it writes then.
pub(super) fn all_work(watched: &Watched, effort: Effort, said: &[(&str, &str)]) -> Result<(), Attempt> {
    let not_yet = |error: anyhow::Error| Attempt::NotYet(format!("{error:#}"));
    let Some(mut control) = Control::connect(&watched.state).map_err(not_yet)? else {
        return Err(Attempt::NotYet("no supervisor runs".to_owned()));
    };
    let all = control.processes(&Request::List).map_err(not_yet)?;
    for one in all.iter().filter(|one| one.process.service == watched.service) {
        let name = &one.process.name;
        let settled = one.status.incarnation == 1 || one.status.uptime_ms.unwrap_or(0) >= SETTLED_MS;
        if one.status.phase != Phase::Running || !settled {
            let how = one.status.last_exit.as_deref().unwrap_or("not started");
            return Err(Attempt::NotYet(format!("its {name} does not stay up: {how}")));
        }
        let words = said.iter().find(|(process, _)| process == name).map(|(_, words)| *words);
        if let (Effort::Write, Some(words)) = (effort, words)
            && !find(&one.process.log, words).unwrap_or(false)
        {
            return Err(Attempt::NotYet(format!("its {name} has not said \"{words}\" since it was started")));
        }
    }
    Ok(())
}

/// What it means that a check could not even be started. A machine that is short of processes or memory may have some in a moment.
fn cannot_run(line: &str, error: &anyhow::Error) -> Attempt {
    let reason = format!("its `ready` command cannot be run, {line}: {error:#}");
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory) => {
            Attempt::Unknowable(reason)
        }
        _ => Attempt::NotYet(reason),
    }
}

/// The file that says which run has written what it was waited for.
fn said(watched: &Watched) -> Utf8PathBuf {
    watched.state.join(&watched.service).join("ready")
}

/// Whether a text stands on one line of a log, behind its last marker.
fn find(log: &Utf8Path, text: &str) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED)))?;
    let mut reader = BufReader::new(std::io::Read::take(file, SEARCHED));
    let (mut found, mut line) = (false, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        let words = String::from_utf8_lossy(&line);
        found = !marker::is_marker(&words) && (found || words.contains(text));
        line.clear();
    }
    Ok(found)
}

fn answers(endpoint: &Endpoint, role: &str, path: &str, effort: Effort) -> Result<(), Attempt> {
    let url = format!("http://{}{path}", endpoint.address(role));
    // Nobody is sent its secret: that is for whoever comes in.
    let asked = Endpoint { secret: None, ..endpoint.clone() };
    match Http::new(&asked, role, effort.limit()).get(path) {
        Ok(reply) if (200..400).contains(&reply.status) => Ok(()),
        Ok(reply) => Err(Attempt::NotYet(format!("{url} answers {}", reply.reason()))),
        // It is ours, whatever it speaks by now: asking again makes sense.
        Err(error) => match trouble(&error, "HTTP", &endpoint.address(role)) {
            Attempt::Never(reason) | Attempt::NotYet(reason) | Attempt::Unknowable(reason) => {
                Err(Attempt::NotYet(reason))
            }
            Attempt::Ready => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(content: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_atomic(Utf8Path::from_path(file.path()).unwrap(), content.as_bytes(), 0o600).unwrap();
        find(Utf8Path::from_path(file.path()).unwrap(), "ready to serve").unwrap()
    }

    #[test]
    fn only_the_last_run_has_said_it() {
        let start = format!("{}\n", marker::line("mail", 1, 0));
        assert!(searched(&format!("{start}is ready to serve.\nmore\n")));
        assert!(searched("cut at its beginning\nready to serve"));
        assert!(!searched(&format!("{start}ready to serve\n{start}starting\n")));
        assert!(!searched(&format!("{start}ready to\nserve\n")));
        assert!(!searched(""));
    }
}
