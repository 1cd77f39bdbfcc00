//! What happens while a command works, as values. Only `output` turns them into lines and bars.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that a person may want to see while it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of work began.
    Started { task: u64, section: Section, title: String },
    /// It got on. Repeated; a renderer may drop any of them.
    Progress { task: u64, done: u64, total: Option<u64>, unit: Unit },
    /// It ended well.
    Finished { task: u64, detail: String, took: Duration },
    /// It did not end well; the error itself travels by `Result`.
    Failed { task: u64, took: Duration },
    /// A fact that stays on the screen: `Backend    native: no container engine answers`.
    Fact { title: &'static str, text: String },
    /// Something that went on all the same, but that a person should know.
    Warning(String),
}

/// The groups under which work is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Fetch,
    Build,
    Start,
    Stop,
    Reset,
    Seed,
    Copy,
    Make,
    Capture,
    Verify,
    Prove,
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Items,
}

/// Receives events from any thread.
pub trait Events: Send + Sync {
    /// Takes one event. Must not block for long: the work waits.
    fn emit(&self, event: Event);
}

/// Swallows events: for tests and for commands whose report says it all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _: Event) {}
}

/// A piece of work in progress. Dropped without `finish`, it has failed.
pub struct Task<'a> {
    events: &'a dyn Events,
    id: u64,
    started: Instant,
    open: bool,
}

impl<'a> Task<'a> {
    /// Announces the beginning of a piece of work.
    pub fn start(events: &'a dyn Events, section: Section, title: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        events.emit(Event::Started { task: id, section, title: title.into() });
        Self { events, id, started: Instant::now(), open: true }
    }

    /// Reports how far it is.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: Unit) {
        self.events.emit(Event::Progress { task: self.id, done, total, unit });
    }

    /// Announces that it ended well, with what came of it.
    pub fn finish(mut self, detail: impl Into<String>) -> Duration {
        self.open = false;
        let took = self.started.elapsed();
        self.events.emit(Event::Finished { task: self.id, detail: detail.into(), took });
        took
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if self.open {
            self.events.emit(Event::Failed { task: self.id, took: self.started.elapsed() });
        }
    }
}
