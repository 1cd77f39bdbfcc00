//! `logs`: what servers say.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::time::Duration;

use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind};

use crate::cli::{Global, Logs};
use crate::context::Context;
use crate::output;
use crate::stack::Stack;
use crate::sys::fs::open_optional;
use crate::sys::interrupt;

/// Looked at this often while following.
const PERIOD: Duration = Duration::from_millis(200);
/// Enough for any number of lines a person reads.
const TAIL: u64 = 1 << 20;

/// Prints the ends of logs, and what comes after where asked to.
pub fn run(context: &Context, global: &Global, args: &Logs) -> anyhow::Result<()> {
    let stack = Stack::open(context, global, None)?;
    let logs = find(&stack, &args.services)?;
    let several = logs.len() > 1;
    let prefix =
        |name: &str, line: &str| if several { format!("{name:<12} | {line}\n") } else { format!("{line}\n") };
    let mut ends = Vec::new();
    for (name, path) in &logs {
        ends.push(std::fs::metadata(path).map_or(0, |m| m.len()));
        let text = crate::sys::launch::tail(path, TAIL)?;
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(args.lines)..] {
            output::text(&prefix(name, line))?;
        }
    }
    while args.follow && interrupt::pause(PERIOD, || false).is_ok() {
        for ((name, path), end) in logs.iter().zip(&mut ends) {
            *end = follow(path, *end, |line| output::text(&prefix(name, line)))?;
        }
    }
    Ok(())
}

/// Prints whole lines from `from` on and returns where to go on. A log that became shorter was cut: it is read from its beginning.
fn follow(
    path: &Utf8PathBuf,
    from: u64,
    mut print: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let Some(mut file) = open_optional(path)? else { return Ok(0) };
    let mut at = if file.metadata()?.len() < from { 0 } else { from };
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::new(file.take(TAIL));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        at += line.len() as u64;
        print(String::from_utf8_lossy(&line).trim_end())?;
        line.clear();
    }
    Ok(at)
}

fn find(stack: &Stack, services: &[String]) -> anyhow::Result<Vec<(String, Utf8PathBuf)>> {
    let folder = stack.state.folder().join("logs");
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8().into_iter().flatten().flatten() {
        let name = entry.file_name().trim_end_matches(".log").to_owned();
        let wanted = services.iter().any(|s| name == *s || name.starts_with(&format!("{s}-")));
        if wanted || (services.is_empty() && name != "supervisor") {
            found.push((name, entry.path().to_owned()));
        }
    }
    found.sort();
    if found.is_empty() {
        let what = if services.is_empty() { "no service".to_owned() } else { services.join(", ") };
        let text = format!("{what} has written a log in {folder} yet");
        return Err(Failure::new(Kind::Finding, "no-log", text).hint("{program} up").into());
    }
    Ok(found)
}
