//! Signals to processes, to groups of them, and to what is left of a process that has ended.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use ecosystem_core::process::Signal;

use super::os;

/// The variable that holds the name of the process by which something was started, however far it went away from it.
pub(super) const PROCESS_MARK: &str = "ECOSYSTEM_PROCESS";

/// How long it may take until nothing is left. Killed processes end within milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Kills what a process has left behind, wherever that went: what is in `tree`, and what carries its mark. Only descendants of this
/// process are looked at. Repeated, because what is about to be killed may start something meanwhile.
pub(super) fn end_rest(id: &str, tree: &BTreeSet<u32>) {
    let begin = Instant::now();
    loop {
        let marked = os::with_variable(PROCESS_MARK, id);
        let mut left = os::descendants(std::process::id());
        left.retain(|pid| tree.contains(pid) || marked.contains(pid));
        if left.is_empty() {
            return;
        }
        if begin.elapsed() > LIMIT {
            let _nowhere_else = writeln!(std::io::stderr(), "{id} is not rid of {left:?}");
            return;
        }
        for pid in &left {
            send_signal(*pid, Signal::Kill, false);
        }
        for pid in left {
            // Looked at once more in the next round.
            let _slow = os::wait_for_end(pid, LIMIT.saturating_sub(begin.elapsed()));
        }
    }
}

/// Sends one of the signals that the catalog knows to a process, or to its whole group.
pub(super) fn send_signal(pid: u32, signal: Signal, group: bool) {
    let signal = match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Int => rustix::process::Signal::INT,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    send(pid, signal, group);
}

/// Sends any signal to a process, or to its whole group.
pub(super) fn send(pid: u32, signal: rustix::process::Signal, group: bool) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
    // ESRCH: it is gone already, which is what was wanted.
    let _gone = if group {
        rustix::process::kill_process_group(pid, signal)
    } else {
        rustix::process::kill_process(pid, signal)
    };
}
