//! Ctrl-C and its relatives: the first asks for an orderly end, the second ends at once.
//!
//! Work that takes long waits here, never on time alone, so that it wakes up at once when somebody wants to stop.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ecosystem_core::failure::{Failure, Kind};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::os;

struct Shared {
    interrupted: bool,
    /// What is done before leaving at once.
    last_words: Option<Box<dyn Fn() + Send>>,
    /// Process groups of short commands that run right now.
    groups: BTreeSet<i32>,
    /// The program that all signals are for while it runs in the foreground.
    handed: Option<Pid>,
}

static SHARED: Mutex<Shared> =
    Mutex::new(Shared { interrupted: false, last_words: None, groups: BTreeSet::new(), handed: None });
static CHANGED: Condvar = Condvar::new();

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to listen for SIGINT, SIGTERM and SIGHUP.
pub fn install() -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let mut shared = shared();
            if let Some(pid) = shared.handed {
                hand_over(pid, signal);
                continue;
            }
            if shared.interrupted {
                let words = shared.last_words.take();
                drop(shared);
                if let Some(words) = words {
                    words();
                }
                #[expect(clippy::exit, clippy::disallowed_methods, reason = "the second Ctrl-C means: now")]
                std::process::exit(i32::from(Kind::Interrupted.exit_status()));
            }
            shared.interrupted = true;
            for group in &shared.groups {
                if let Some(pid) = Pid::from_raw(*group) {
                    let _gone = rustix::process::kill_process_group(pid, Signal::TERM);
                }
            }
            CHANGED.notify_all();
        }
    });
    Ok(())
}

/// Gives all signals to this program for as long as the value lives: what they mean is its own business. Somebody who wanted this one to
/// stop before wants it of that one as well.
pub fn hand_to(pid: u32) -> Handed {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let mut shared = shared();
    shared.handed = pid;
    if let Some(pid) = pid.filter(|_| shared.interrupted) {
        let _gone = rustix::process::kill_process(pid, Signal::TERM);
    }
    Handed
}

/// Keeps signals handed to another program.
#[derive(Debug)]
pub struct Handed;

impl Drop for Handed {
    fn drop(&mut self) {
        shared().handed = None;
    }
}

/// What a terminal sends goes to all who are in its foreground: a second Ctrl-C would mean more than the first.
fn hand_over(pid: Pid, signal: i32) {
    let signal = match signal {
        SIGINT if os::in_foreground() => return,
        SIGINT => Signal::INT,
        SIGHUP => Signal::HUP,
        _ => Signal::TERM,
    };
    let _gone = rustix::process::kill_process(pid, signal);
}

/// Registers what is done at the second Ctrl-C, before this program leaves at once: it must not wait for anybody.
/// Dropping the value takes it back.
pub fn last_words(words: impl Fn() + Send + 'static) -> LastWords {
    shared().last_words = Some(Box::new(words));
    LastWords
}

/// Keeps last words registered.
#[derive(Debug)]
pub struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        shared().last_words = None;
    }
}

/// Fails where somebody wants this program to stop.
pub fn check() -> Result<(), Failure> {
    if shared().interrupted {
        return Err(Failure::new(Kind::Interrupted, "interrupted", "interrupted"));
    }
    Ok(())
}

/// Waits for `limit`, or until [`wake`] was called and `until` holds. Fails where somebody wants this program to stop.
pub fn pause(limit: Duration, until: impl Fn() -> bool) -> Result<(), Failure> {
    let end = Instant::now() + limit;
    let mut guard = shared();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if guard.interrupted || left.is_zero() || until() {
            drop(guard);
            return check();
        }
        guard = CHANGED.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Waits for what cannot be interrupted itself, such as reading what a person types. Where somebody wants this program to stop it fails, and
/// leaves the work behind.
pub fn wait_for<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let worker = std::thread::spawn(move || {
        let result = work();
        wake();
        result
    });
    while !worker.is_finished() {
        pause(Duration::from_millis(20), || worker.is_finished())?;
    }
    worker.join().map_err(|_| anyhow::anyhow!("the thread that was waited for has failed"))
}

/// Makes every [`pause`] look again at what it waits for.
pub fn wake() {
    // Taking the lock makes sure that nobody is between looking and waiting.
    let _guard = shared();
    CHANGED.notify_all();
}

/// Ends a process group with this program for as long as the value lives.
#[derive(Debug)]
pub struct Follows(i32);

/// Registers the process group of a short command.
pub fn follow(group: i32) -> Follows {
    shared().groups.insert(group);
    Follows(group)
}

impl Drop for Follows {
    fn drop(&mut self) {
        shared().groups.remove(&self.0);
    }
}
