//! Work in progress on standard error: bars on a terminal, one line an event elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

use super::seconds;
use crate::event::{Event, Events, Section, Unit};

/// Shows events to a person.
pub struct Progress {
    state: Mutex<State>,
    bars: Option<MultiProgress>,
    begin: std::time::Instant,
}

#[derive(Default)]
struct State {
    heading: Option<&'static str>,
    tasks: BTreeMap<u64, Shown>,
    /// Several threads may wait for the same.
    warned: BTreeSet<String>,
}

struct Shown {
    title: String,
    section: Section,
    bar: Option<ProgressBar>,
    done: u64,
    unit: Option<Unit>,
}

impl Progress {
    /// With bars where `terminal` says that somebody watches.
    pub fn new(terminal: bool) -> Self {
        let bars = terminal.then(MultiProgress::new);
        Self { state: Mutex::default(), bars, begin: std::time::Instant::now() }
    }

    fn line(&self, text: &str) {
        let print = || {
            // Progress that nobody can see is not worth failing for.
            let _unheard = writeln!(anstream::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Opens a section with its heading, once. Fetching and building go on at the same time: they share one.
    fn heading(&self, state: &mut State, section: Section) {
        if state.heading != Some(heading(section)) {
            state.heading = Some(heading(section));
            self.line(&heading(section).bold().to_string());
        }
    }

    fn start(&self, task: u64, section: Section, name: &str) {
        let title = title(section, name);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style("  {spinner} {msg:34} {elapsed}"));
            bar.set_message(title.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        // Without a terminal long work announces itself; quick starts are one line at their end.
        if bar.is_none() && matches!(section, Section::Fetch | Section::Build) {
            self.heading(&mut state, section);
            self.line(&format!("  … {title}"));
        }
        state.tasks.insert(task, Shown { title, section, bar, done: 0, unit: None });
    }

    fn advance(&self, task: u64, done: u64, total: Option<u64>, unit: Unit) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = state.tasks.get_mut(&task) else { return };
        shown.done = done;
        let Some(bar) = &shown.bar else { return };
        if shown.unit.is_none()
            && let Some(total) = total
        {
            shown.unit = Some(unit);
            bar.set_length(total);
            bar.set_style(style(match unit {
                Unit::Bytes => {
                    "  {spinner} {msg:34} {bar:20} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"
                }
                Unit::Items => "  {spinner} {msg:34} {bar:20} {pos}/{len}  {per_sec}  {eta} left",
            }));
        }
        bar.set_position(done);
    }

    fn end(&self, task: u64, outcome: Option<&str>, took: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = state.tasks.remove(&task) else { return };
        if let Some(bar) = &shown.bar {
            bar.finish_and_clear();
        }
        self.heading(&mut state, shown.section);
        let took =
            if matches!(shown.section, Section::Start) { self.begin.elapsed().min(took) } else { took };
        let took = seconds(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let line = match outcome {
            Some(detail) => format!("  {} {:<34} {took:>7}  {detail}", "✓".green(), shown.title),
            None => format!("  {} {:<34} {took:>7}", "✗".red(), shown.title),
        };
        self.line(line.trim_end());
    }
}

impl Events for Progress {
    fn emit(&self, event: Event) {
        match event {
            Event::Started { task, section, title } => self.start(task, section, &title),
            Event::Progress { task, done, total, unit } => self.advance(task, done, total, unit),
            Event::Finished { task, detail, took } => self.end(task, Some(&detail), took),
            Event::Failed { task, took } => self.end(task, None, took),
            Event::Fact { title, text } => self.line(&format!("{:<10} {text}", title.bold())),
            Event::Warning(text) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.warned.insert(text.clone()) {
                    self.line(&format!("{} {text}", "warning:".yellow()));
                }
            }
        }
    }
}

fn heading(section: Section) -> &'static str {
    match section {
        Section::Fetch | Section::Build => "Provide",
        Section::Start => "Start",
        Section::Stop => "Stop",
        Section::Reset => "Reset",
        Section::Seed => "Seed",
        Section::Copy => "Copy",
        Section::Make => "Make",
        Section::Capture => "Capture",
        Section::Verify => "Verify",
        Section::Prove => "Prove",
    }
}

/// A task's line: what is done to it, where the heading does not say so.
fn title(section: Section, title: &str) -> String {
    match section {
        Section::Fetch => format!("fetch {title}"),
        Section::Build => format!("build {title}"),
        _ => title.to_owned(),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
