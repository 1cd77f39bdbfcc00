//! `list`: the stacks of this user on this machine.

use std::collections::BTreeMap;
use std::fmt::Write;

use camino::Utf8Path;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::backend::native;
use crate::cli::Global;
use crate::context::Context;
use crate::output::{self, Report};
use crate::site::places::{self, Known};
use crate::stack::Stack as Opened;
use crate::sys::{fs, os, parallel};

#[derive(Debug, Serialize)]
struct Listed {
    store: String,
    stacks: Vec<Stack>,
    damaged: Vec<Damaged>,
    #[serde(skip)]
    home: Option<String>,
    #[serde(skip)]
    program: String,
}

/// A file of the store that cannot be read: a stack is missing from the list.
#[derive(Debug, Serialize)]
struct Damaged {
    path: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Stack {
    place: String,
    /// The project folder.
    root: String,
    /// The state folder.
    folder: String,
    state: State,
    /// What is damaged.
    reason: Option<String>,
    port_offset: Option<u16>,
    /// The services that have a running process.
    services: Vec<String>,
    memory_bytes: u64,
    /// What the state folder takes on the disk.
    disk_bytes: u64,
}

/// How a stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Running,
    Stopped,
    /// Its containers cannot be looked at.
    Unknown,
    /// Its supervisor does not answer.
    Silent,
    /// Its project folder, or its state folder, is not there any more.
    Gone,
    /// Its state folder does not say whose it is.
    Damaged,
}

/// Prints every stack that the store knows.
pub fn run(context: &Context, global: &Global) -> anyhow::Result<()> {
    let store = context.store()?;
    let places::Registry { known, damaged } = places::all(&store);
    // An engine that hangs is waited for once, not once a project.
    let stacks = parallel::map(&known, |known| stack(context, known, &store));
    let damaged = damaged.into_iter();
    let damaged =
        damaged.map(|one| Damaged { path: one.path.to_string(), reason: one.to_string() }).collect();
    let home = context.home.as_ref().map(ToString::to_string);
    let listed =
        Listed { store: store.into_string(), stacks, damaged, home, program: context.program.clone() };
    output::report(&listed, global.format)
}

fn stack(context: &Context, known: &Known, store: &Utf8Path) -> Stack {
    let (place, damage) = match known.place(store) {
        Ok(place) => (place, None),
        Err(error) => (Some(known.remembered(store)), Some(format!("{error:#}"))),
    };
    // A supervisor of another protocol still tells what it runs; one that does not answer is shown as it is.
    let silent = place.as_ref().and_then(|place| native::silent(place).ok()).flatten();
    let processes = match &place {
        Some(place) if silent.is_none() => native::list(place).unwrap_or_default(),
        _ => Vec::new(),
    };
    let looked = place.as_ref().map(|place| Opened::containers(context, place));
    let (containers, unseen) = match looked {
        Some(Ok(looked)) => (looked.map(|(_, seen)| seen).unwrap_or_default(), None),
        Some(Err(error)) => (BTreeMap::new(), Some(format!("its containers cannot be looked at: {error:#}"))),
        None => (BTreeMap::new(), None),
    };
    let contained = || containers.iter().filter(|(_, seen)| seen.runs());
    let supervisor = known.abandoned().or(silent);
    let mut services: Vec<String> =
        processes.iter().filter(|p| p.status.pid.is_some()).map(|p| p.process.service.clone()).collect();
    services.extend(contained().map(|(service, _)| service.clone()));
    services.sort();
    services.dedup();
    let pids = processes.iter().filter_map(|p| p.status.pid).chain(supervisor);
    let pids = pids.chain(contained().filter_map(|(_, seen)| seen.pid));
    let state = match services.is_empty() && supervisor.is_none() {
        _ if damage.is_some() => State::Damaged,
        _ if silent.is_some() => State::Silent,
        _ if !known.root.exists() || place.is_none() => State::Gone,
        true if unseen.is_some() => State::Unknown,
        true => State::Stopped,
        false => State::Running,
    };
    Stack {
        place: known.id.clone(),
        root: known.root.to_string(),
        folder: known.state.to_string(),
        state,
        port_offset: place.filter(|_| damage.is_none()).map(|place| place.offset),
        reason: damage.or(unseen),
        services,
        memory_bytes: os::memory_of(pids),
        disk_bytes: fs::disk_use(&known.state),
    }
}

impl Listed {
    /// The program without the project that it was told to work on.
    fn bare(&self) -> &str {
        self.program.split_once(" -C ").map_or(self.program.as_str(), |(bare, _)| bare)
    }
}

impl Report for Listed {
    fn human(&self) -> String {
        if self.stacks.is_empty() && self.damaged.is_empty() {
            return format!("No stack was set up with the store {}.\n", self.store);
        }
        let shown = |path: &str| match self.home.as_ref().and_then(|home| path.strip_prefix(home.as_str())) {
            Some(rest) if rest.starts_with('/') => format!("~{rest}"),
            _ => path.to_owned(),
        };
        let roots: Vec<String> = self.stacks.iter().map(|stack| shown(&stack.root)).collect();
        let width = roots.iter().map(|root| root.chars().count()).max().unwrap_or(0).max(7);
        let mut text = String::new();
        let header = format!(
            "{:<width$}  {:<8} {:>6} {:>9} {:>9}  {}",
            "project", "state", "offset", "memory", "disk", "services"
        );
        let _ = writeln!(text, "{}", header.dimmed());
        for (stack, root) in self.stacks.iter().zip(&roots) {
            let (word, memory) = match stack.state {
                State::Running => (format!("{:<8}", "running").green().to_string(), stack.memory_bytes),
                State::Stopped => (format!("{:<8}", "stopped").dimmed().to_string(), stack.memory_bytes),
                State::Unknown => (format!("{:<8}", "unknown").yellow().to_string(), stack.memory_bytes),
                State::Silent => (format!("{:<8}", "silent").red().to_string(), stack.memory_bytes),
                State::Gone => (format!("{:<8}", "gone").red().to_string(), stack.memory_bytes),
                State::Damaged => (format!("{:<8}", "damaged").red().to_string(), stack.memory_bytes),
            };
            let memory = if memory == 0 { "-".to_owned() } else { output::bytes(memory) };
            let offset = stack.port_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            let _ = writeln!(
                text,
                "{root:<width$}  {word} {offset:>6} {memory:>9} {:>9}  {}",
                output::bytes(stack.disk_bytes),
                stack.services.join(" ")
            );
            if stack.state == State::Silent {
                let _ = writeln!(
                    text,
                    "  its supervisor does not answer; {} down -C '{root}' ends it",
                    self.bare()
                );
            }
            if let Some(reason) = &stack.reason {
                let _ = writeln!(text, "  {reason}; {} status -C '{root}' says what to do", self.bare());
            }
            if stack.state == State::Gone {
                let folder =
                    if stack.port_offset.is_some() { stack.root.clone() } else { stack.folder.clone() };
                let _ = writeln!(text, "  {} is not there any more", shown(&folder));
            }
        }
        for damaged in &self.damaged {
            let _ = writeln!(
                text,
                "  {}; {} up in the project that is missing here writes it anew, else remove it",
                damaged.reason,
                self.bare()
            );
        }
        if self.stacks.iter().any(|stack| stack.memory_bytes > 0) {
            let _ = writeln!(text, "\nTo stop all of them: {} down --all", self.program);
        }
        text
    }
}
