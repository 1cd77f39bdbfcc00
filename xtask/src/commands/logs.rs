//! `logs`: what servers say, all of them in one stream by time.

mod source;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use ecosystem_core::failure::harmless;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::log::{Level, Line, Time, interleave, matches};
use ecosystem_core::model::Backend;
use ecosystem_core::seen::Seen;
use owo_colors::{AnsiColors, OwoColorize};
use serde::Serialize;

use self::source::Source;
use crate::backend::compose::Compose;
use crate::cli::{Global, Logs};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Format};
use crate::site::logs::logs;
use crate::stack::Stack;
use crate::sys::{clock, interrupt};

/// Looked at this often while following.
const PERIOD: Duration = Duration::from_millis(200);
/// Containers are looked for this often while following: each look is a command or two.
const CONTAINERS: Duration = Duration::from_secs(1);
/// How many lines of each log, where nothing was said.
const LINES: usize = 40;
/// Red and yellow are for levels.
const COLOURS: [AnsiColors; 6] = [
    AnsiColors::Cyan,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Blue,
    AnsiColors::BrightCyan,
    AnsiColors::BrightMagenta,
];

/// One line as programs get it.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    service: &'a str,
    log: &'a str,
    #[serde(flatten)]
    line: &'a Line,
}

/// Which lines are wanted, and how they are shown.
struct View<'a> {
    stack: &'a Stack,
    args: &'a Logs,
    format: Format,
    /// The containers of the place, and what speaks to them.
    containers: Option<(Compose, BTreeMap<String, Seen>)>,
    /// When they were looked for.
    looked: Instant,
    /// Lines from before are not wanted.
    since: Option<Time>,
}

/// A line and the log that it stands in, by its index.
type Found = (usize, Line);

/// Prints the ends of logs, and what comes after where asked to.
pub fn run(context: &Context, global: &Global, args: &Logs, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    stack.warn_if_broken(events);
    let place = stack.place();
    let containers = match &place {
        Some(place) => Stack::containers(context, place)?,
        None => None,
    };
    let mut view = View {
        stack: &stack,
        args,
        format: global.format,
        containers,
        looked: Instant::now(),
        since: args.since.map(|seconds| clock::now().before(seconds)),
    };
    let mut all = view.find()?;
    let whole = args.since.is_some() || args.grep.is_some() || args.errors;
    let limit = args.lines.or(args.since.is_none().then_some(LINES)).unwrap_or(usize::MAX);
    let mut ends = Vec::new();
    for (index, log) in all.iter_mut().enumerate() {
        let mut lines = view.wanted(index, log.end(whole)?);
        lines.drain(..lines.len().saturating_sub(limit));
        ends.push(lines);
    }
    view.print(&all, ends)?;
    while args.follow && interrupt::pause(PERIOD, || false).is_ok() {
        if view.looked.elapsed() >= CONTAINERS
            && let Some(place) = stack.present_place()?
        {
            // Somebody may have started them meanwhile. One look that fails is no end.
            view.containers = Stack::containers(context, &place).unwrap_or_default();
            view.looked = Instant::now();
        }
        for log in view.logs() {
            if !all.iter().any(|known| known.name == log.name) {
                all.push(log);
            }
        }
        let mut news = Vec::new();
        for (index, log) in all.iter_mut().enumerate() {
            let lines = log.more()?;
            news.push(view.wanted(index, lines));
        }
        view.print(&all, news)?;
    }
    Ok(())
}

impl View<'_> {
    /// The logs that are wanted and there: without names those of all servers, the supervisor's own where it is named.
    fn logs(&self) -> Vec<Source> {
        let names = &self.args.services;
        let elsewhere = |service: &str| {
            let known = self.stack.site.ecosystem.services.get(service);
            known.is_some_and(|service| service.backend.value == Backend::External)
        };
        let wanted = |log: &Source| {
            let service = self.service(log);
            // What was written before somebody else ran it says nothing of what runs.
            !elsewhere(service)
                && (names.iter().any(|name| *name == log.name || name == service)
                    || (names.is_empty() && log.name != "supervisor"))
        };
        let contained = self.containers.iter().flat_map(|(compose, seen)| {
            seen.iter().map(|(service, seen)| Source::container(service, compose, &seen.name))
        });
        let mut all: Vec<Source> = contained.collect();
        // What a process of this name wrote was written before.
        let files = logs(self.stack.state.folder()).into_iter().map(Source::file);
        let replaced = |log: &Source| all.iter().any(|other| self.service(log) == other.name);
        let files: Vec<Source> = files.filter(|log| !replaced(log)).collect();
        all.extend(files);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.into_iter().filter(wanted).collect()
    }

    /// The service that a log belongs to: `rabbitmq` for `rabbitmq-epmd`.
    fn service<'l>(&self, log: &'l Source) -> &'l str {
        let known = self.stack.site.ecosystem.services.keys();
        let of = |service: &&String| {
            log.name.strip_prefix(service.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        if self.stack.site.ecosystem.services.contains_key(&log.name) {
            return &log.name;
        }
        known.filter(of).map(String::len).max().map_or(&log.name, |length| &log.name[..length])
    }

    /// The same, but none is an error, and so is a name that has none; following waits for those that are only not there yet.
    fn find(&self) -> anyhow::Result<Vec<Source>> {
        let logs = self.logs();
        for name in &self.args.services {
            let known = self.stack.site.ecosystem.services.get(name);
            if known.is_some_and(|service| service.backend.value == Backend::External) {
                let text = format!("somebody else runs {name}, and has its log");
                return Err(Failure::new(Kind::Finding, "no-log", text).into());
            }
        }
        for name in &self.args.services {
            let known = self.stack.site.ecosystem.services.contains_key(name) || name == "supervisor";
            if !known && !logs.iter().any(|log| log.name == *name || self.service(log) == name) {
                self.stack.site.ecosystem.select(None, std::slice::from_ref(name))?;
            }
        }
        if logs.is_empty() && !(self.args.follow && self.stack.place().is_some()) {
            let services = &self.args.services;
            let what = if services.is_empty() { "no service".to_owned() } else { services.join(", ") };
            let text = match services.as_slice() {
                [] => format!("no service of {} has written a log yet", self.stack.site.root),
                _ => format!("{what} has not written a log in {} yet", self.stack.site.root),
            };
            let failure = Failure::new(Kind::Finding, "no-log", text).hint("{program} up");
            let by = |backend| {
                let mut all = self.stack.site.ecosystem.services.values();
                all.any(|s| s.backend.value == backend && (services.is_empty() || services.contains(&s.name)))
            };
            let failure = if by(Backend::Compose) {
                failure.hint("the log of a container goes with it: `down` removes both")
            } else {
                failure
            };
            return Err(failure.into());
        }
        Ok(logs)
    }

    fn wanted(&self, index: usize, lines: Vec<Line>) -> Vec<(Option<Time>, Found)> {
        let args = self.args;
        let wanted = |line: &Line| {
            self.since.is_none_or(|since| line.at.is_none_or(|at| at >= since))
                && args.grep.as_ref().is_none_or(|text| matches(&line.text, text))
                && (!args.errors || line.level >= Some(Level::Warning))
        };
        lines.into_iter().filter(wanted).map(|line| (line.at, (index, line))).collect()
    }

    fn print(&self, logs: &[Source], lines: Vec<Vec<(Option<Time>, Found)>>) -> anyhow::Result<()> {
        let lines = interleave(lines);
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (index, line) in &lines {
            let log = &logs[*index];
            match self.format {
                Format::Json => {
                    let entry = Entry { service: self.service(log), log: &log.name, line };
                    text.push_str(&serde_json::to_string(&entry)?);
                    text.push('\n');
                }
                Format::Human => {
                    if logs.len() > 1 {
                        let width = logs.iter().map(|log| log.name.len()).max().unwrap_or(0);
                        let name = format!("{:<width$} |", log.name);
                        let _ = write!(text, "{} ", name.color(COLOURS[index % COLOURS.len()]));
                    }
                    let said = harmless(&line.text);
                    let _ = match line.level {
                        Some(Level::Error | Level::Fatal) => writeln!(text, "{}", said.red()),
                        Some(Level::Warning) => writeln!(text, "{}", said.yellow()),
                        _ => writeln!(text, "{said}"),
                    };
                }
            }
        }
        match self.format {
            Format::Json => output::text(&text),
            Format::Human => output::styled(&text),
        }
    }
}
