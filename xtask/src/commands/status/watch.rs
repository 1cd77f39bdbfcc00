//! `status --watch`: the table drawn anew in its place, or one line a change where nobody watches a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Service, State, Status, gather};
use crate::cli::Global;
use crate::context::Context;
use crate::output::{self, Format, Report, Screen};
use crate::stack::Stack;
use crate::sys::interrupt;

/// Every look logs in to every server, and some of them write that into their logs.
const PERIOD: Duration = Duration::from_secs(2);

/// What counts as a change: not that it got older or took some memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    state: State,
    reason: Option<String>,
    pids: BTreeMap<String, Option<u32>>,
}

/// Shows what changes until somebody presses Ctrl-C.
pub(super) fn run(context: &Context, global: &Global, stack: &Stack) -> anyhow::Result<()> {
    let screen = Screen::on_terminal(context.terminal);
    let mut before: Option<BTreeMap<String, Seen>> = None;
    loop {
        let status = gather(context, stack)?;
        let now: BTreeMap<String, Seen> = status.services.iter().map(|s| (s.name.clone(), seen(s))).collect();
        let changed = before.as_ref() != Some(&now);
        match (global.format, &screen, &before) {
            (Format::Json, ..) if changed => output::text(&(serde_json::to_string(&status)? + "\n"))?,
            (Format::Json, ..) => {}
            (Format::Human, Some(screen), _) => screen.draw(&status.human())?,
            (Format::Human, None, None) => output::styled(&status.human())?,
            (Format::Human, None, Some(before)) => output::styled(&changes(before, &status))?,
        }
        before = Some(now);
        if interrupt::pause(PERIOD, || false).is_err() {
            return Ok(());
        }
    }
}

fn seen(service: &Service) -> Seen {
    Seen { state: service.state, reason: service.reason.clone(), pids: service.pids.clone() }
}

/// One line for every service that is not as it was.
fn changes(before: &BTreeMap<String, Seen>, now: &Status) -> String {
    let mut text = String::new();
    for service in &now.services {
        let was = before.get(&service.name);
        if was == Some(&seen(service)) {
            continue;
        }
        let was = was.map_or("not there", |was| was.state.word());
        let pids = service.pid_list();
        let with = if pids.is_empty() { String::new() } else { format!(", pid {pids}") };
        let _ = write!(text, "{:<12} {was} → {}{with}", service.name, service.state.word());
        for why in [&service.reason, &service.error].into_iter().flatten() {
            let _ = write!(text, "; {why}");
        }
        text.push('\n');
    }
    for name in before.keys().filter(|name| !now.services.iter().any(|service| service.name == **name)) {
        let _ = writeln!(text, "{name:<12} {} → gone", before[name].state.word());
    }
    text
}
