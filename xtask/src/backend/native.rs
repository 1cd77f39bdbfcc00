//! The native backend: looks at what runs, and carries out single steps. It decides nothing and waits for nothing but ends.

mod data;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::catalog::Launch;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::{self, Place};
use ecosystem_core::plan::{Holder, Observed, Obstacle, Supervisor, Voice, port_obstacles, silence};
use ecosystem_core::process::Process;

pub use self::data::{data, link, made, note_made, prepare, refuse_link, unlink, with_data};
use self::data::{made_by, remove_stale_lock, test, write_files};
use crate::sys::control::{self, Control, Request, Response, Supervised};
use crate::sys::fs::{canonical, create_private_dir, read_optional, write_atomic};
use crate::sys::os::{self, Listener};
use crate::sys::{interrupt, supervisor};

/// How long a listener without a visible owner is taken for one that is going away.
const OWNERLESS: Duration = Duration::from_secs(2);

/// How long a supervisor may take to stop everything before it ends.
const ORDERLY: Duration = Duration::from_mins(1);

/// Looks once at everything that planning needs to know.
pub fn observe(place: &Place, wanted: &[(&str, &Endpoint)]) -> anyhow::Result<Observed> {
    let mut observed = Observed::default();
    if let Some((supervisor, control)) = meet(place)? {
        if let (Voice::Ours, Some(mut control)) = (&supervisor.voice, control) {
            let processes = control.processes(&Request::List)?;
            observed.processes =
                processes.into_iter().map(|s| (s.process.id(), (s.process, s.status))).collect();
        }
        observed.supervisor = Some(supervisor);
    }
    // Finding owners means reading all of /proc: not worth it when nothing is going to be started.
    if wanted.iter().any(|(service, endpoint)| !observed.runs(service) || moves(service, endpoint, &observed))
    {
        observed.held = held(wanted, observed.supervisor.as_ref().map(|s| s.pid))?;
    }
    Ok(observed)
}

/// Whether a service runs on other ports than it should.
fn moves(service: &str, endpoint: &Endpoint, observed: &Observed) -> bool {
    let processes = observed.processes.values().filter(|(process, _)| process.service == service);
    let port =
        |process: &Process, role: &str| process.labels.get(&format!("ports.{role}"))?.parse::<u16>().ok();
    processes
        .into_iter()
        .any(|(process, _)| endpoint.ports.iter().any(|(role, wanted)| port(process, role) != Some(*wanted)))
}

/// The supervisor of this place and, where it answers, a connection to it; `None` where there is none.
fn meet(place: &Place) -> anyhow::Result<Option<(Supervisor, Option<Control>)>> {
    let silent = |pid, stopped| Some((Supervisor { pid, voice: Voice::Silent { stopped } }, None));
    // Asked before it is talked to: one that is stopped would be waited for.
    if let Some(pid) = supervisor::holder(&place.state)?.filter(|pid| os::is_stopped(*pid)) {
        return Ok(silent(pid, true));
    }
    if let Some(mut control) = Control::connect(&place.state)? {
        match control.ask(&Request::Hello) {
            // Somebody has told it to end: when it has, there is none.
            Ok(Response::Hello { pid, ending: true, .. }) => {
                os::wait_for_end(pid, ORDERLY)?;
                return Ok(None);
            }
            Ok(Response::Hello { protocol, build, pid, ending: false }) => {
                let ours = protocol == control::PROTOCOL;
                let voice = if ours { Voice::Ours } else { Voice::Other { build } };
                return Ok(Some((Supervisor { pid, voice }, Some(control))));
            }
            Ok(other) => anyhow::bail!("the supervisor in {} does not say who it is: {other:?}", place.state),
            // It ended while it was asked, or it was stopped meanwhile: its lock tells which.
            Err(_) => {}
        }
    }
    let Some(pid) = supervisor::holder(&place.state)? else { return Ok(None) };
    // One that is on its way out has closed its socket already.
    if os::wait_for_end(pid, Duration::from_secs(5)).is_ok() {
        return Ok(None);
    }
    Ok(silent(pid, os::is_stopped(pid)))
}

/// A connection to the supervisor of this place; `None` where none runs. One that does not answer is a failure.
fn connect(place: &Place) -> anyhow::Result<Option<Control>> {
    match meet(place)? {
        None => Ok(None),
        Some((_, Some(control))) => Ok(Some(control)),
        Some((supervisor, None)) => {
            let stopped = supervisor.voice == Voice::Silent { stopped: true };
            Err(silence(supervisor.pid, stopped).into())
        }
    }
}

/// The processes under supervision; none where no supervisor runs.
pub fn list(place: &Place) -> anyhow::Result<Vec<Supervised>> {
    match connect(place)? {
        Some(mut control) => control.processes(&Request::List),
        None => Ok(Vec::new()),
    }
}

/// Whether a supervisor runs here.
pub fn supervised(place: &Place) -> anyhow::Result<bool> {
    Ok(meet(place)?.is_some())
}

/// The services that have a running process.
pub fn running(place: &Place) -> anyhow::Result<Vec<String>> {
    let processes = list(place)?.into_iter().filter(|s| s.status.pid.is_some());
    Ok(processes.map(|s| s.process.service).collect())
}

/// The ports that somebody else listens on, with the holder where it can be seen.
fn held(
    wanted: &[(&str, &Endpoint)],
    supervisor: Option<u32>,
) -> anyhow::Result<BTreeMap<u16, Option<Holder>>> {
    let ports: BTreeSet<u16> = wanted.iter().flat_map(|(_, e)| e.ports.values().copied()).collect();
    let binds: BTreeSet<IpAddr> = wanted.iter().filter_map(|(_, e)| e.host.parse().ok()).collect();
    let begin = Instant::now();
    let listeners = loop {
        let mut listeners = os::listeners(Some(&ports))?;
        // In this order: a server that the supervisor has just started again would be taken for somebody else's.
        let ours = supervisor.map(os::descendants).unwrap_or_default();
        listeners.retain(|l| {
            (l.address.is_unspecified() || binds.contains(&l.address))
                && l.owner.as_ref().is_none_or(|owner| !ours.contains(&owner.pid))
        });
        // Nobody's: a server that is just ending has let go of its socket, and the kernel has not yet. Else another user's.
        if listeners.iter().all(|l| l.owner.is_some()) || begin.elapsed() > OWNERLESS {
            break listeners;
        }
        interrupt::pause(Duration::from_millis(20), || false)?;
    };
    Ok(listeners
        .into_iter()
        .map(|l| {
            let holder = l.owner.map(|owner| Holder {
                pid: owner.pid,
                place: other_place(owner.pid),
                command: owner.command,
                cwd: owner.cwd,
                container: None,
            });
            (l.port, holder)
        })
        .collect())
}

/// The same for services that this place does not run as processes.
pub fn held_by_others(
    place: &Place,
    wanted: &[(&str, &Endpoint)],
) -> anyhow::Result<BTreeMap<u16, Option<Holder>>> {
    held(wanted, supervisor::holder(&place.state)?)
}

/// Every port of this machine that somebody listens on, on whatever address.
pub fn listening() -> anyhow::Result<BTreeSet<u16>> {
    Ok(os::listeners(None)?.into_iter().map(|listener| listener.port).collect())
}

/// The next offset, in steps of 100, at which nobody listens on any of these ports, which have `present` added to them already.
pub fn free_offset(ports: &BTreeSet<u16>, present: u16) -> anyhow::Result<u16> {
    let taken = listening()?;
    let ports: BTreeSet<u16> = ports.iter().map(|port| port - present).collect();
    let next = (present / 100 * 100).saturating_add(100);
    Ok(place::free_offset(&ports, &taken, place::blocks(next)).unwrap_or(next))
}

/// What of the ports of a service somebody else holds right now.
pub fn strangers(place: &Place, service: &str, endpoint: &Endpoint) -> anyhow::Result<Vec<Obstacle>> {
    let supervisor = supervisor::holder(&place.state)?;
    let wanted = [(service, endpoint)];
    let observed = Observed { held: held(&wanted, supervisor)?, ..Observed::default() };
    Ok(port_obstacles(&wanted, &observed))
}

/// Which processes of a service a signal has stopped: they are there, and will not answer.
pub fn stopped(place: &Place, service: &str) -> anyhow::Result<Vec<(String, u32)>> {
    let of_service = list(place)?.into_iter().filter(|supervised| supervised.process.service == service);
    let with_pid = of_service.filter_map(|s| Some((s.process.id(), s.status.pid?)));
    Ok(with_pid.filter(|(_, pid)| os::is_stopped(*pid)).collect())
}

/// Ends what is left of this very place when its supervisor is gone: everything that carries its mark, and whatever works in one of its
/// service folders and holds one of its ports or is a server of the store. PostgreSQL's processes write over their environment, and with
/// it over the mark; one that a signal has stopped does not hear of the end of its server.
///
/// On Linux the kernel has ended the servers themselves already, or is about to, but not what they started; elsewhere this is what
/// ends them.
pub fn end_leftovers(place: &Place, ports: &BTreeSet<u16>) -> anyhow::Result<()> {
    if meet(place)?.is_some() {
        return Ok(());
    }
    end_abandoned(&place.state)?;
    let leftover = |listener: Listener| {
        let owner = listener.owner?;
        let cwd = Utf8Path::new(owner.cwd.as_deref()?);
        (cwd.starts_with(&place.state) && cwd != place.state).then_some(owner.pid)
    };
    let mut pids: BTreeSet<u32> = os::listeners(Some(ports))?.into_iter().filter_map(leftover).collect();
    pids.extend(os::with_variable(supervisor::PLACE_MARK, place.state.as_str()));
    let inside = os::working_in(&place.state).unwrap_or_default().into_iter();
    // Others may have business in there: a backup, an editor's helper, a state folder within this one. A server of ours works in the folder
    // of its service and is a program of the store.
    let (services, store) = (with_data(place)?, canonical(&place.store));
    let server = |pid: u32, cwd: &Utf8Path| {
        let service = cwd.strip_prefix(&place.state).ok().and_then(|inside| inside.components().next());
        service.is_some_and(|name| services.contains(name.as_str()))
            && !os::has_terminal(pid)
            && os::program(pid).is_some_and(|program| program.starts_with(&store))
    };
    pids.extend(inside.filter(|(pid, cwd)| server(*pid, cwd)).map(|(pid, _)| pid));
    // Whoever works in a shell that was left, or in one that read the settings of a process, does not end that way.
    let me = std::process::id();
    pids.retain(|pid| *pid != me && !os::descendants(*pid).contains(&me));
    kill_all(&pids)
}

/// Ends the supervisors that go on although their state folder was deleted; tells whether there were any. Else they would bring their
/// servers up again, on the ports and in the folders of those that come after them.
pub fn end_abandoned(state: &Utf8Path) -> anyhow::Result<bool> {
    let pids = supervisor::abandoned(state);
    for pid in &pids {
        if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    pids.iter().try_for_each(|pid| os::wait_for_end(*pid, ORDERLY))?;
    Ok(!pids.is_empty())
}

/// The project of another supervisor that this process descends from.
fn other_place(pid: u32) -> Option<String> {
    let state = os::ancestor_folder(pid, supervisor::SUPERVISE)?;
    let text = read_optional(&Utf8Path::new(&state).join("place.toml")).ok()??;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("root")?.as_str()?.to_owned())
}

/// Writes a service's files and starts its processes.
pub fn start(place: &Place, service: &str, launch: &Launch) -> anyhow::Result<()> {
    refuse_link(&launch.data.folder)?;
    write_files(&launch.files)?;
    test(service, &launch.processes)?;
    create_private_dir(&launch.data.folder)?;
    remove_stale_lock(&launch.data)?;
    write_atomic(&made_by(place, service), launch.made_by.as_bytes(), 0o600)?;
    let mut control = supervise(place)?;
    let mut processes = launch.processes.as_slice();
    if let (Some(port), [first, rest @ ..]) = (launch.gate, processes) {
        control.processes(&Request::Start { processes: vec![first.clone()] })?;
        wait_for_listener(&launch.endpoint.host, port)?;
        processes = rest;
    }
    // After a Ctrl-C nothing new begins: what does would be missed by those who stop what was started.
    interrupt::check()?;
    control.processes(&Request::Start { processes: processes.to_vec() })?;
    Ok(())
}

/// Waits until something listens, for a few seconds at most: what does not come up is found out when the service is awaited.
fn wait_for_listener(host: &str, port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::new(host.parse()?, port);
    let begin = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_millis(250)).is_err() {
        if begin.elapsed() > Duration::from_secs(5) {
            break;
        }
        interrupt::pause(Duration::from_millis(2), || false)?;
    }
    Ok(())
}

/// The supervisor of this place; started if none runs. The caller holds the place's lock.
pub fn supervise(place: &Place) -> anyhow::Result<Control> {
    // Services start at the same time, each in its thread. Two supervisors would take the socket from each other, and one would be lost.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(control) = connect(place)? {
        return Ok(control);
    }
    supervisor::start(&place.state)?;
    connect(place)?.with_context(|| {
        format!("the supervisor did not start; see {}", place.state.join("logs").join("supervisor.log"))
    })
}

/// Stops the processes of a service and waits until they have ended.
pub fn stop(place: &Place, service: &str) -> anyhow::Result<()> {
    stop_all(place, &[service])
}

/// Stops the processes of several services at once and waits until they have ended.
pub fn stop_all(place: &Place, services: &[&str]) -> anyhow::Result<()> {
    let Some(mut control) = connect(place)? else { return Ok(()) };
    let ids = ids(&mut control, services)?;
    control.processes(&Request::Stop { ids }).map(drop)
}

/// Stops one process and waits until it has ended; whether it ran.
pub fn stop_process(place: &Place, id: &str) -> anyhow::Result<bool> {
    let Some(mut control) = connect(place)? else { return Ok(false) };
    let all = control.processes(&Request::List)?;
    let runs = all.iter().any(|one| one.process.id() == id && one.status.pid.is_some());
    control.processes(&Request::Stop { ids: vec![id.to_owned()] })?;
    Ok(runs)
}

/// Starts one process of a service whose others run.
pub fn start_process(place: &Place, process: &Process) -> anyhow::Result<()> {
    supervise(place)?.processes(&Request::Start { processes: vec![process.clone()] }).map(drop)
}

/// Asks for the same and does not wait: the supervisor finishes it, and ends if that was all it ran.
pub fn ask_to_stop(place: &Place, services: &[&str]) -> anyhow::Result<()> {
    let Some(mut control) = connect(place)? else { return Ok(()) };
    let ids = ids(&mut control, services)?;
    control.tell(&Request::Stop { ids })
}

/// The processes of these services, as the supervisor names them.
fn ids(control: &mut Control, services: &[&str]) -> anyhow::Result<Vec<String>> {
    let processes = control.processes(&Request::List)?;
    let of_services = processes.into_iter().filter(|s| services.contains(&s.process.service.as_str()));
    Ok(of_services.map(|s| s.process.id()).collect())
}

/// Ends the supervisor and everything it runs, and waits until nothing is left.
pub fn shutdown(place: &Place) -> anyhow::Result<()> {
    let Some((supervisor, control)) = meet(place)? else { return Ok(()) };
    let Some(mut control) = control else {
        let stopped = supervisor.voice == Voice::Silent { stopped: true };
        return Err(silence(supervisor.pid, stopped).into());
    };
    // Its end is the answer that counts: on a busy machine it may come before the other one was sent.
    let _answered_by_its_end = control.ask(&Request::Shutdown);
    os::wait_for_end(supervisor.pid, Duration::from_secs(5))
}

/// The process id of a supervisor that is there and does not answer.
pub fn silent(place: &Place) -> anyhow::Result<Option<u32>> {
    Ok(meet(place)?.filter(|(_, control)| control.is_none()).map(|(supervisor, _)| supervisor.pid))
}

/// Kills a supervisor that does not answer, and waits until nothing of it is left: the kernel kills what it runs.
pub fn kill(place: &Place) -> anyhow::Result<()> {
    let Some(pid) = supervisor::holder(&place.state)? else { return Ok(()) };
    if !supervisor::is_one(pid) {
        let message = format!(
            "the supervisor of {} has process {pid} elsewhere, such as in a container: here that is another program",
            place.state
        );
        return Err(Failure::new(Kind::Service, "supervisor-elsewhere", message)
            .hint("end it where it runs: {program} down")
            .into());
    }
    let mut all = os::descendants(pid);
    all.insert(pid);
    kill_all(&all)
}

/// Kills these processes, which are this place's own, and waits until they have ended.
fn kill_all(pids: &BTreeSet<u32>) -> anyhow::Result<()> {
    for pid in pids {
        if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    pids.iter().try_for_each(|pid| os::wait_for_end(*pid, Duration::from_secs(5)))
}

/// Calls `ended` from a thread when a process of this service leaves its present run. Dropping the guard ends the watch.
pub fn watch(place: &Place, service: &str, ended: impl Fn() + Send + 'static) -> anyhow::Result<Watch> {
    let Some(mut control) = connect(place)? else { anyhow::bail!("the supervisor has ended") };
    let processes = control.processes(&Request::List)?;
    let seen = processes
        .iter()
        .filter(|s| s.process.service == service)
        .map(|s| (s.process.id(), s.status.incarnation))
        .collect();
    let stream = control.hang_up_handle()?;
    std::thread::spawn(move || {
        // Any answer, and no answer at all, mean that somebody has to look.
        let _looked_at_by_the_caller = control.ask(&Request::Wait { seen });
        ended();
        interrupt::wake();
    });
    Ok(Watch(stream))
}

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct Watch(std::os::unix::net::UnixStream);

impl Drop for Watch {
    fn drop(&mut self) {
        let _already_closed = self.0.shutdown(std::net::Shutdown::Both);
    }
}
