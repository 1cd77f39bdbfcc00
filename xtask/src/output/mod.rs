//! The only place that prints. Reports go to standard output, everything else to standard error.

mod progress;
mod screen;

use std::io::Write;

use anyhow::Context;
use ecosystem_core::failure::{Failure, Kind, harmless};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::sys::interrupt;

pub use progress::Progress;
pub use screen::Screen;

use crate::sys::fs::Unreadable;

/// How a report is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON document on standard output.
    Json,
}

/// What a command has to say, once, at its end. People and programs get the same facts.
pub trait Report: Serialize {
    /// For people. Colours may be used: they are removed where they are not wanted.
    fn human(&self) -> String;
}

/// Nobody reads standard output any more. Any other pipe that breaks is an error like every other.
#[derive(Debug)]
struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

fn print(text: &str, out: &mut impl Write) -> anyhow::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}

/// Prints a report to standard output.
pub fn report<R: Report>(report: &R, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Human => report.human(),
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
    };
    print(&text, &mut anstream::stdout().lock())
}

/// Prints text that is already in its final form: environment files, completions, logs.
pub fn text(text: &str) -> anyhow::Result<()> {
    print(text, &mut std::io::stdout().lock())
}

/// Prints text whose colours are removed where they are not wanted.
pub fn styled(text: &str) -> anyhow::Result<()> {
    print(text, &mut anstream::stdout().lock())
}

/// Asks the person, on standard error, and waits for a yes. Ctrl-C ends the waiting.
pub fn agreed(question: &str) -> anyhow::Result<bool> {
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let read = || {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = interrupt::wait_for(read)?.context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes a line to standard error for processes that have nobody to report to.
pub fn log(line: &str) {
    let _nowhere_else = writeln!(std::io::stderr(), "{line}");
}

/// Prints what went wrong, and returns the exit status. A failure without a message was part of a report already.
pub fn failures(errors: &[anyhow::Error], format: Format, program: &str) -> u8 {
    let failures: Vec<Failure> = errors.iter().map(|error| failure_of(error, program)).collect();
    let status = failures.first().map_or(0, |f| f.kind.exit_status());
    let mut untold: Vec<&Failure> = Vec::new();
    for failure in failures.iter().filter(|failure| !failure.message.is_empty()) {
        // Several steps may have met the same.
        if !untold.contains(&failure) {
            untold.push(failure);
        }
    }
    if untold.is_empty() {
        return status;
    }
    if errors.iter().all(anyhow::Error::is::<ReaderGone>) {
        return 0;
    }
    let mut err = anstream::stderr().lock();
    // Where standard error is gone, the exit status has to do.
    let _unheard = match format {
        Format::Human => untold.iter().try_for_each(|failure| human(&mut err, failure)),
        Format::Json => serde_json::to_string_pretty(&serde_json::json!({ "errors": untold }))
            .map_err(std::io::Error::from)
            .and_then(|text| writeln!(err, "{text}")),
    };
    status
}

fn human(err: &mut impl Write, failure: &Failure) -> std::io::Result<()> {
    writeln!(err)?;
    let heading = format!("error[{}]", failure.code);
    writeln!(err, "{}: {}", heading.red().bold(), harmless(&failure.message))?;
    for hint in &failure.hints {
        writeln!(err, "  {} {}", "→".cyan(), harmless(hint))?;
    }
    Ok(())
}

/// The failure inside an error; what is none is a fault of this program or of the machine, and keeps its whole chain.
fn failure_of(error: &anyhow::Error, program: &str) -> Failure {
    let mut failure = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.clone(),
        None if error.is::<Unreadable>() => Failure::new(Kind::Host, "file-unreadable", format!("{error:#}"))
            .hint("remove what is there, or put the file back from a backup"),
        None => Failure::new(Kind::Host, "unexpected", format!("{error:#}"))
            .hint("if that does not say what to do, ask with what this collects: {program} report"),
    };
    for hint in &mut failure.hints {
        *hint = naming(hint, program);
    }
    failure.message = naming(&failure.message, program);
    failure
}

/// A text of core with what the person typed in the place of `{program}`: core does not know it.
pub fn naming(text: &str, program: &str) -> String {
    // A hint that names a folder of its own must not name the present one as well.
    let bare = program.split_once(" -C ").map_or(program, |(bare, _)| bare);
    text.replace("{program}", if text.contains(" -C ") { bare } else { program })
}

/// A paragraph broken anew into lines of at most 100 characters.
pub fn wrapped(paragraph: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A number of bytes as people write it: `14.2 MB`.
pub fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// Milliseconds as seconds: `0.05 s`, `2.1 s`, `74 s`.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("0.{:02} s", ms / 10),
        1_000..20_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} s", ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!([0, 999, 14_176_556, 3_000_000_000].map(bytes), ["0 B", "999 B", "14.2 MB", "3.00 GB"]);
        assert_eq!([0, 54, 2_149, 74_000].map(seconds), ["0.00 s", "0.05 s", "2.1 s", "74 s"]);
    }

    #[test]
    fn hints_name_what_the_person_typed() {
        let error = Failure::new(Kind::Host, "x", "y").hint("{program} up").into();
        assert_eq!(failure_of(&error, "cargo xtask").hints, ["cargo xtask up"]);
        assert_eq!(failure_of(&error, "ecosystem -C ../x").hints, ["ecosystem -C ../x up"]);
        let error = Failure::new(Kind::Host, "x", "y").hint("{program} down -C '/z'").into();
        assert_eq!(failure_of(&error, "ecosystem -C ../x").hints, ["ecosystem down -C '/z'"]);
    }
}
