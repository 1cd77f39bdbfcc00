//! The supervisor: starts finished processes, keeps them running, and leaves nothing behind.
//!
//! It knows no service, no manifest and no probe. One runs per place, until it is told to end. If it is
//! killed, the kernel kills its children (Linux).

mod lock;

use std::collections::BTreeSet;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::process::{Process, Signal};
use ecosystem_core::shortage::{OUT_OF_MEMORY, Shortage};
use ecosystem_core::supervise::{Input, Leaver, Order, Phase, Supervision, next_to_stop};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, waitid, waitpid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

pub use lock::holder;

use super::control::{self, Request, Response, Supervised};
use super::signal::{self, send, send_signal};
use super::{launch, log, os};

/// The hidden first argument that makes this program a supervisor.
pub const SUPERVISE: &str = "__supervise";

/// The variable by which everything that was started here is known, whatever became of its parents: the state folder. PostgreSQL's own
/// children lose it, because they write their titles there.
pub const PLACE_MARK: &str = "ECOSYSTEM_SUPERVISED_IN";

/// A supervisor that nobody talks to, and that runs nothing because everything was stopped, ends after this: the command that
/// started it, or that stopped the last process, did not live to end it.
const IDLE: Duration = Duration::from_secs(2);

/// Starts a supervisor for a state folder. Connections are accepted from the moment this returns: its socket exists already.
#[expect(clippy::disallowed_methods, reason = "the supervisor outlives the command that starts it")]
pub fn start(state: &Utf8Path) -> anyhow::Result<()> {
    super::fs::is_file_or_missing(&state.join(lock::LOCK))?;
    let socket = control::bind(state)?;
    let log = launch::open_log(&state.join("logs").join("supervisor.log"))?;
    Command::new(os::this_program()?)
        .arg0("ecosystem")
        .arg(SUPERVISE)
        .env_clear()
        .current_dir(state)
        .stdin(Stdio::from(socket))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    Ok(())
}

/// The supervisors that go on although the state folder in which they were started was deleted; another may stand in its place by now.
pub fn abandoned(state: &Utf8Path) -> BTreeSet<u32> {
    // What the kernel calls the working directory of such a process. A person's shell may be there as well.
    let gone = format!("{state} (deleted)");
    let there = os::working_in(Utf8Path::new(&gone)).unwrap_or_default();
    there.into_keys().filter(|pid| is_one(*pid)).collect()
}

/// Whether a process was started as a supervisor, and not only bears the number of one that ended, or that lives in another container.
pub fn is_one(pid: u32) -> bool {
    os::command_line(pid).get(1).is_some_and(|word| word == SUPERVISE)
}

/// What the main thread wakes up for.
enum Wake {
    Asked(Request, Sender<Response>, Arc<UnixStream>),
    ChildEnded,
    Terminate,
    /// Somebody has hung up.
    HungUp,
}

/// The supervisor itself. Must run on the main thread: children die with the thread that started them.
pub fn run() -> anyhow::Result<()> {
    let _lock = lock::take()?;
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // A session of its own: neither Ctrl-C at the terminal nor closing it is meant for the servers.
    rustix::process::setsid().context("cannot start a session")?;
    os::forget_inherited_files()?;
    super::fs::make_private();
    os::adopt_orphans()?;

    let (sender, receiver) = channel();
    watch_signals(sender.clone())?;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || accept(&listener, &sender, &counted));
    Loop {
        state: super::fs::utf8(std::fs::canonicalize(".")?)?.into_string(),
        children: Vec::new(),
        to_stop: BTreeSet::new(),
        waiting: Vec::new(),
        shutdown: Vec::new(),
        ending: false,
        connections,
        shortage: Shortage::default(),
        idle_since: None,
        begin: Instant::now(),
    }
    .run(&receiver);
    Ok(())
}

fn watch_signals(sender: Sender<Wake>) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let wake = match signal {
                SIGCHLD => Wake::ChildEnded,
                SIGTERM => Wake::Terminate,
                _ => continue,
            };
            if sender.send(wake).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn accept(listener: &UnixListener, sender: &Sender<Wake>, connections: &Arc<AtomicUsize>) {
    for stream in listener.incoming().flatten() {
        let (sender, connections) = (sender.clone(), Arc::clone(connections));
        connections.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            converse(stream, &sender);
            connections.fetch_sub(1, Ordering::SeqCst);
            // The main thread outlives its connections, or ends the process.
            let _ended = sender.send(Wake::HungUp);
        });
    }
}

/// One connection: a question, its answer, the next question. Ends when either side is gone.
fn converse(stream: UnixStream, sender: &Sender<Wake>) {
    let Ok(asker) = stream.try_clone().map(Arc::new) else { return };
    let mut stream = BufReader::new(stream);
    loop {
        let response = match control::receive::<Request>(&mut stream) {
            Ok(Some(request)) => {
                let (reply, answer) = channel();
                if sender.send(Wake::Asked(request, reply, Arc::clone(&asker))).is_err() {
                    return;
                }
                match answer.recv() {
                    Ok(response) => response,
                    Err(_) => return,
                }
            }
            Ok(None) => return,
            Err(error) => Response::Refused { reason: format!("{error:#}") },
        };
        if control::send(stream.get_mut(), &response).is_err() {
            return;
        }
    }
}

struct Child {
    process: Process,
    supervision: Supervision,
    /// What it had started when it was asked to stop.
    tree: BTreeSet<u32>,
}

/// A question whose answer has to wait.
struct Waiting {
    /// Processes with the incarnation to leave; `None`: until it has ended.
    until: Vec<(String, Option<u32>)>,
    reply: Sender<Response>,
    asker: Arc<UnixStream>,
}

impl Waiting {
    /// Whether nobody is there any more to be answered.
    fn is_abandoned(&self) -> bool {
        let mut asked = [PollFd::new(&self.asker, PollFlags::empty())];
        // A hang-up is told unasked.
        poll(&mut asked, Some(&Timespec::default())).is_ok()
            && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

struct Loop {
    /// The state folder.
    state: String,
    children: Vec<Child>,
    /// Processes that are to stop and were not told yet: those that were started after them come first.
    to_stop: BTreeSet<String>,
    waiting: Vec<Waiting>,
    shutdown: Vec<Sender<Response>>,
    ending: bool,
    connections: Arc<AtomicUsize>,
    shortage: Shortage,
    /// Since when nothing runs and nobody talks.
    idle_since: Option<Duration>,
    begin: Instant,
}

impl Loop {
    fn run(mut self, receiver: &Receiver<Wake>) {
        let mut next_log_check = log::PERIOD;
        self.shortage.counted(os::oom_kills(), Duration::ZERO);
        loop {
            let now = self.begin.elapsed();
            let deadline =
                self.children.iter().filter_map(|c| c.supervision.deadline()).min().unwrap_or(Duration::MAX);
            let end_of_idle = self.idle_since.map_or(Duration::MAX, |since| since + IDLE);
            let next = deadline.min(next_log_check).min(end_of_idle);
            match receiver.recv_timeout(next.saturating_sub(now)) {
                Ok(Wake::Asked(request, reply, asker)) => self.answer(request, reply, asker),
                Ok(Wake::ChildEnded) => self.reap(),
                Ok(Wake::Terminate) | Err(RecvTimeoutError::Disconnected) => self.end_all(),
                Ok(Wake::HungUp) | Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.begin.elapsed();
            for index in 0..self.children.len() {
                self.feed(index, Input::Tick);
            }
            self.tell_to_stop();
            self.note_idleness(now);
            if now >= next_log_check {
                next_log_check = now + log::trim_all(self.children.iter().map(|child| &child.process));
                self.shortage.counted(os::oom_kills(), now);
                // Its thread waits for the answer and does not notice.
                self.waiting.retain(|waiting| !waiting.is_abandoned());
            }
            self.answer_waiting();
            if self.ending && self.children.iter().all(|c| c.supervision.pid().is_none()) {
                return self.finish();
            }
        }
    }

    fn answer(&mut self, request: Request, reply: Sender<Response>, asker: Arc<UnixStream>) {
        let response = match request {
            Request::Hello => Response::Hello {
                protocol: control::PROTOCOL,
                build: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                ending: self.ending,
            },
            Request::List => self.list(),
            Request::Start { .. } if self.ending => {
                Response::Refused { reason: "it is shutting down".to_owned() }
            }
            Request::Start { processes } => {
                for process in processes {
                    self.start(process);
                }
                self.list()
            }
            Request::Stop { ids } => {
                self.to_stop.extend(ids.iter().cloned());
                let until = ids.into_iter().map(|id| (id, None)).collect();
                self.waiting.push(Waiting { until, reply, asker });
                return;
            }
            Request::Wait { seen } => {
                let until = seen.into_iter().map(|(id, run)| (id, Some(run))).collect();
                self.waiting.push(Waiting { until, reply, asker });
                return;
            }
            Request::Shutdown => {
                self.shutdown.push(reply);
                return self.end_all();
            }
        };
        // A command that went away does not need its answer.
        let _gone = reply.send(response);
    }

    fn list(&self) -> Response {
        let now = self.begin.elapsed();
        let processes = self
            .children
            .iter()
            .map(|c| Supervised { process: c.process.clone(), status: c.supervision.status(now) })
            .collect();
        Response::Processes { processes }
    }

    fn start(&mut self, process: Process) {
        let index = self.children.iter().position(|c| c.process.id() == process.id());
        if index.is_some_and(|i| self.children[i].supervision.pid().is_some()) {
            return;
        }
        self.to_stop.remove(&process.id());
        let child = Child {
            supervision: Supervision::new(process.stop, process.rules.restart),
            process,
            tree: BTreeSet::new(),
        };
        let index = if let Some(index) = index {
            self.children[index] = child;
            index
        } else {
            self.children.push(child);
            self.children.len() - 1
        };
        self.carry_out(index, Order::Spawn);
    }

    fn feed(&mut self, index: usize, input: Input) {
        let order = self.children[index].supervision.on(input, self.begin.elapsed());
        self.carry_out(index, order);
    }

    fn carry_out(&mut self, index: usize, order: Order) {
        match order {
            Order::Nothing => {}
            Order::Spawn => {
                let mut process = self.children[index].process.clone();
                process.env.insert(PLACE_MARK.to_owned(), self.state.clone());
                process.env.insert(signal::PROCESS_MARK.to_owned(), process.id());
                let input = match launch::spawn_noted(&process) {
                    // The handle is dropped: children are reaped by pid, together with adopted orphans.
                    Ok(child) => Input::Spawned(child.id()),
                    Err(error) => Input::SpawnFailed(format!("{error:#}")),
                };
                self.feed(index, input);
            }
            Order::Signal(pid, signal) => {
                let tree = os::descendants(pid);
                send_signal(pid, signal, false);
                // What was stopped by a signal would not hear of it.
                for pid in tree.iter().chain([&pid]) {
                    send(*pid, rustix::process::Signal::CONT, false);
                }
                self.children[index].tree = tree;
            }
            Order::KillGroup(pid) => send_signal(pid, Signal::Kill, true),
        }
    }

    /// Kills what a process leaves behind, wherever that went: what it had started when it was asked to stop, and what carries its mark.
    fn sweep(&mut self, index: usize, pid: u32) {
        let child = &mut self.children[index];
        let tree = std::mem::take(&mut child.tree);
        send_signal(pid, Signal::Kill, true);
        signal::end_rest(&child.process.id(), &tree);
    }

    /// Takes note of every process that has ended. As long as it is not reaped, its number and that of its group belong to nobody else:
    /// what it leaves behind is killed first.
    fn reap(&mut self) {
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for index in 0..self.children.len() {
            let pid = self.children[index].supervision.pid();
            let Some((pid, id)) = pid.and_then(|pid| Some((pid, Pid::from_raw(pid.cast_signed())?))) else {
                continue;
            };
            let Ok(Some(status)) = waitid(WaitId::Pid(id), seen) else { continue };
            let how = self.how_it_ended(index, &status);
            self.sweep(index, pid);
            let phase = self.children[index].supervision.status(self.begin.elapsed()).phase;
            // Some servers are stopped by a signal that looks like a crash.
            let told = if phase == Phase::Stopping { "stopped" } else { how.as_str() };
            log::mark_end(&self.children[index].process, told);
            self.feed(index, Input::Exited { how, success: status.exit_status() == Some(0) });
            let _reaped = waitpid(Some(id), WaitOptions::NOHANG);
        }
        if !matches!(waitid(WaitId::All, seen), Ok(Some(_))) {
            return;
        }
        // One of ours that has ended meanwhile is told by a signal of its own.
        for pid in os::ended_children() {
            if !self.children.iter().any(|child| child.supervision.pid() == Some(pid)) {
                let _reaped = waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::NOHANG);
            }
        }
    }

    fn how_it_ended(&mut self, index: usize, status: &WaitIdStatus) -> String {
        let now = self.begin.elapsed();
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        // A shell tells with 128 more what became of the program that it ran.
        let killed = signal == Some(9) || code == Some(128 + 9);
        if killed && self.children[index].supervision.status(now).phase == Phase::Running {
            self.shortage.counted(os::oom_kills(), now);
            if self.shortage.explains() {
                return OUT_OF_MEMORY.to_owned();
            }
        }
        match (code, signal) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "without a trace".to_owned(),
        }
    }

    fn end_all(&mut self) {
        self.ending = true;
        self.to_stop.extend(self.children.iter().map(|child| child.process.id()));
    }

    /// Tells those to stop whose turn it is. What is not there any more needs not be told.
    fn tell_to_stop(&mut self) {
        let now = self.begin.elapsed();
        let leavers: Vec<Leaver<'_>> = self
            .children
            .iter()
            .map(|child| {
                let status = child.supervision.status(now);
                let to_tell = self.to_stop.contains(&child.process.id());
                let leaving = status.pid.is_some() && (to_tell || status.phase == Phase::Stopping);
                Leaver { service: &child.process.service, to_tell, leaving }
            })
            .collect();
        let turn = next_to_stop(&leavers);
        for index in turn {
            self.to_stop.remove(&self.children[index].process.id());
            self.feed(index, Input::StopRequested);
        }
        let children = &self.children;
        self.to_stop.retain(|id| children.iter().any(|child| child.process.id() == *id));
    }

    /// Ends a supervisor that is of no use to anybody. One with a process that failed stays, to tell how.
    fn note_idleness(&mut self, now: Duration) {
        let stopped = |child: &Child| child.supervision.status(now).phase == Phase::Ended;
        if self.connections.load(Ordering::SeqCst) > 0 || !self.children.iter().all(stopped) {
            self.idle_since = None;
        } else if now >= *self.idle_since.get_or_insert(now) + IDLE {
            self.ending = true;
        }
    }

    fn answer_waiting(&mut self) {
        let now = self.begin.elapsed();
        let left = |id: &str, run: Option<u32>| match self.children.iter().find(|c| c.process.id() == id) {
            None => true,
            Some(child) => {
                let status = child.supervision.status(now);
                match run {
                    None => child.supervision.pid().is_none() && !self.to_stop.contains(id),
                    Some(run) => status.incarnation != run || status.phase != Phase::Running,
                }
            }
        };
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| {
                // A stop waits for all, a watch for the first.
                if w.until.iter().all(|(_, run)| run.is_none()) {
                    w.until.iter().all(|(id, run)| left(id, *run))
                } else {
                    w.until.iter().any(|(id, run)| left(id, *run))
                }
            });
        self.waiting = waiting;
        for question in done {
            let _gone = question.reply.send(self.list());
        }
    }

    /// Nothing that was started may be left: adopted orphans go too.
    fn finish(mut self) {
        let begin = Instant::now();
        loop {
            let left = os::descendants(std::process::id());
            if left.is_empty() || begin.elapsed() > Duration::from_secs(5) {
                break;
            }
            for pid in left {
                send_signal(pid, Signal::Kill, false);
            }
            // Blocks until one of them has ended.
            if rustix::process::wait(rustix::process::WaitOptions::empty()).is_err() {
                break;
            }
        }
        let _already_gone = std::fs::remove_file("control");
        let response = self.list();
        let Response::Processes { processes } = &response else { return };
        for reply in std::mem::take(&mut self.shutdown) {
            let _gone = reply.send(Response::Processes { processes: processes.clone() });
        }
        // The answer is written by the connection's thread; the command hangs up once it has read it.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
