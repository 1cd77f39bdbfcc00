//! `report`: everything that somebody else needs to help, in one Markdown text without secrets.
//!
//! What other commands say is asked of this very program, so that it is what the person sees, errors included, even where the manifest
//! cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use camino::Utf8Path;
use ecosystem_core::endpoint::encoded;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::log::Level;
use ecosystem_core::redact::Redaction;
use serde::Serialize;

use crate::cli::{self as args, Global};
use crate::context::Context;
use crate::output;
use crate::site::logs::{Log, logs};
use crate::site::{LOCAL, MANIFEST, State, find_root};
use crate::stack::Stack;
use crate::sys::cmd::Cmd;
use crate::sys::fs::{canonical, read_optional, write_atomic};
use crate::sys::os;

/// A question that takes longer is reported as that.
const PATIENCE: Duration = Duration::from_secs(30);
/// Characters of one part, and of all of them: an issue on GitHub holds 65,536.
const PART: usize = 8_000;
const ALL: usize = 60_000;
/// Lines about errors of one log, and characters of a line.
const LINES: usize = 30;
const LINE: usize = 400;
/// How much of a log is looked at.
const TAIL: u64 = 1 << 20;

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    title: String,
    text: String,
    /// Characters of a line.
    #[serde(skip)]
    longest: usize,
}

#[derive(Debug, Serialize)]
struct Written {
    file: String,
}

/// Collects, takes out what is secret, and prints or writes.
pub fn run(context: &Context, global: &Global, args: &args::Report) -> anyhow::Result<()> {
    if let Some(file) = args.output.as_ref().map(|file| context.cwd.join(file)).filter(|file| file.exists()) {
        return Err(Failure::new(Kind::Usage, "file-exists", format!("{file} is there already"))
            .hint("name another file, or remove it")
            .into());
    }
    let start = context.cwd.join(global.directory.as_deref().unwrap_or(Utf8Path::new("")));
    let start = start.canonicalize_utf8().unwrap_or(start);
    let root = find_root(&start).unwrap_or(&start).to_owned();
    let state = State::at(canonical(&context.state(&root)));
    let secrets = state.secrets().unwrap_or_default();
    // As they are, and as a URL has them.
    let elsewhere: Vec<String> = Stack::look(context, global).map_or_else(
        |_| Vec::new(),
        |stack| {
            let external = stack.site.ecosystem.services.values().filter_map(|s| s.external.as_ref());
            let passwords = external.filter_map(|external| external.value.password.as_ref());
            passwords.flat_map(|word| [word.reveal().to_owned(), encoded(word.reveal())]).collect()
        },
    );
    let secrets: Vec<String> = secrets.all().chain(elsewhere).collect();
    let known = secrets.iter().map(String::as_str);
    let mut redaction = Redaction::new(known, context.home.as_deref().map(Utf8Path::as_str));

    let mut parts = vec![part("System", &system(context)), part("Project", &project(context, &root, &state))];
    for name in [MANIFEST, LOCAL] {
        let text = read_optional(&root.join(name)).unwrap_or_else(|error| Some(format!("{error:#}")));
        if let Some(text) = text {
            let text = redaction
                .manifest(&text)
                .unwrap_or_else(|error| format!("it is not TOML: {}", error.message()));
            parts.push(part(name, &text));
        }
    }
    for words in [&["status"][..], &["up", "--dry-run"], &["check"]] {
        parts.push(part(&words.join(" "), &said(&root, words)));
    }
    parts.push(part("Ports", &ports(context, global)));
    for mut log in logs(state.folder()) {
        let text = if log.name == "supervisor" { end(&mut log) } else { errors(&mut log) };
        parts.push(Part { longest: LINE, ..part(&format!("Log of {}", log.name), &text) });
    }
    shorten(&mut parts, &redaction);
    let report = Report { version: env!("CARGO_PKG_VERSION"), parts };
    match &args.output {
        None => output::report(&report, global.format),
        Some(file) => {
            let file = context.cwd.join(file);
            let text = match global.format {
                output::Format::Human => output::Report::human(&report),
                output::Format::Json => serde_json::to_string_pretty(&report)? + "\n",
            };
            write_atomic(&file, text.as_bytes(), 0o600)?;
            output::report(&Written { file: file.into_string() }, global.format)
        }
    }
}

/// Takes out what is secret, and only then what is too long: of a password that is cut nobody knows any more that it is one.
fn shorten(parts: &mut [Part], redaction: &Redaction) {
    let mut left = ALL;
    for part in parts {
        let text = redaction.apply(&part.text);
        let lines: Vec<String> = text.lines().map(|line| cut(line, part.longest)).collect();
        part.text = cut(&lines.join("\n"), PART.min(left));
        left = left.saturating_sub(part.text.chars().count());
    }
}

fn part(title: &str, text: &str) -> Part {
    Part { title: title.to_owned(), text: text.trim_end().to_owned(), longest: PART }
}

fn system(context: &Context) -> String {
    let line = |path: &str, start: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix(start))
            .map(|rest| rest.trim().trim_matches('"').to_owned())
    };
    let host = context.host();
    let mut facts = vec![
        ("ecosystem", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("system", line("/etc/os-release", "PRETTY_NAME=").or_else(|| Some(std::env::consts::OS.to_owned()))),
        ("kernel", line("/proc/sys/kernel/osrelease", "")),
        ("processor", Some(std::env::consts::ARCH.to_owned())),
        ("processors", std::thread::available_parallelism().ok().map(|count| count.to_string())),
        ("memory", line("/proc/meminfo", "MemTotal:")),
        ("available", line("/proc/meminfo", "MemAvailable:")),
        ("vm.max_map_count", line("/proc/sys/vm/max_map_count", "")),
        ("as root", Some(if host.root { "yes" } else { "no" }.to_owned())),
    ];
    if host.root {
        facts.push(("user namespaces", Some(if host.user_namespaces { "yes" } else { "no" }.to_owned())));
    }
    facts.into_iter().filter_map(|(name, value)| Some(format!("{name:<17} {}\n", value?))).collect()
}

fn project(context: &Context, root: &Utf8Path, state: &State) -> String {
    let mut text = format!("folder  {root}\nstate   {}\n", state.folder());
    let Ok(store) = context.store() else { return text };
    let _ = writeln!(text, "store   {store}");
    if let Ok(Some(place)) = state.place(&store) {
        let _ = writeln!(text, "place   {}, port offset {}", place.id, place.offset);
    }
    let entries = store.read_dir_utf8().into_iter().flatten().flatten();
    let mut installed: Vec<String> = entries
        .filter(|entry| entry.path().join("installed.json").exists())
        .map(|entry| entry.file_name().to_owned())
        .collect();
    installed.sort();
    for name in &installed {
        text.extend(["  ", name, "\n"]);
    }
    text
}

/// What another command of this program prints, and how it ends.
fn said(root: &Utf8Path, words: &[&str]) -> String {
    let program = match os::this_program() {
        Ok(program) => program,
        Err(error) => return format!("{error:#}"),
    };
    match Cmd::new(program).args(words).cwd(root).limit(PATIENCE).run() {
        Ok(output) if output.timed_out => format!("no end within {} s", PATIENCE.as_secs()),
        Ok(output) => {
            format!("{}\n{}\nexit status {}", output.stdout.trim_end(), output.stderr.trim(), output.status)
                .replace("\n\n\n", "\n")
        }
        Err(error) => format!("{error:#}"),
    }
}

/// Who listens on the ports of the manifest. Only the program's name is told: the words after it may be secret.
fn ports(context: &Context, global: &Global) -> String {
    let stack = match Stack::look(context, global) {
        Ok(stack) => stack,
        Err(error) => return format!("{error:#}"),
    };
    let place = stack.place().unwrap_or_else(|| stack.imagined_place());
    let mut names: BTreeMap<u16, String> = BTreeMap::new();
    for service in stack.site.ecosystem.services.values().filter(|service| service.runs()) {
        let ports = service.ports_at(place.offset).into_iter();
        names.extend(ports.map(|(role, port)| (port, format!("{} {role}", service.name))));
    }
    let listeners = match os::listeners(Some(&names.keys().copied().collect::<BTreeSet<u16>>())) {
        Ok(listeners) => listeners,
        Err(error) => return format!("{error:#}"),
    };
    let mut text = String::new();
    for (port, name) in names {
        let mut held = listeners.iter().filter(|listener| listener.port == port).peekable();
        if held.peek().is_none() {
            let _ = writeln!(text, "{port:<6} {name:<24} free");
        }
        for listener in held {
            let who = listener.owner.as_ref().map_or_else(
                || "somebody else".to_owned(),
                |owner| {
                    let program = owner.command.split_whitespace().next().unwrap_or_default();
                    format!("pid {} {program} in {}", owner.pid, owner.cwd.as_deref().unwrap_or("?"))
                },
            );
            let _ = writeln!(text, "{port:<6} {name:<24} {} {who}", listener.address);
        }
    }
    text
}

/// The last warnings and errors of a log, with what belongs to them.
fn errors(log: &mut Log) -> String {
    let lines = log.end(TAIL).unwrap_or_default();
    let bad: Vec<_> = lines.into_iter().filter(|line| line.level >= Some(Level::Warning)).collect();
    if bad.is_empty() {
        return "no warnings, no errors".to_owned();
    }
    let shown = bad.iter().skip(bad.len().saturating_sub(LINES));
    shown.map(|line| harmless(&line.text) + "\n").collect()
}

/// The last lines of a log, whatever they say.
fn end(log: &mut Log) -> String {
    let lines = log.end(TAIL).unwrap_or_default();
    let shown = lines.iter().skip(lines.len().saturating_sub(LINES));
    shown.map(|line| harmless(&line.text) + "\n").collect()
}

/// A text of at most so many characters, which says if something is missing.
fn cut(text: &str, limit: usize) -> String {
    if limit == 0 || text.chars().count() <= limit {
        return text.chars().take(limit).collect();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

impl output::Report for Report {
    fn human(&self) -> String {
        let mut text = "# Report of ecosystem\n\nPasswords were taken out, the home folder is written as `~`. Read it once \
                        before you publish it.\n"
            .to_owned();
        for part in &self.parts {
            let body = if part.text.is_empty() { "nothing" } else { &part.text };
            // A fence in the text would end the block.
            let _ = write!(text, "\n## {}\n\n```text\n{}\n```\n", part.title, body.replace("```", "'''"));
        }
        text
    }
}

impl output::Report for Written {
    fn human(&self) -> String {
        format!("Written to {}.\n", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_stay_below_their_limit_however_many_there_are() {
        let long = "x".repeat(2 * PART);
        let mut parts: Vec<Part> = (0..20).map(|_| part("long", &long)).collect();
        shorten(&mut parts, &Redaction::default());
        let lengths: Vec<usize> = parts.iter().map(|part| part.text.chars().count()).collect();
        assert_eq!((lengths[0], lengths[19], lengths.iter().sum::<usize>()), (PART, 0, ALL));
    }

    #[test]
    fn a_secret_at_the_end_of_a_long_line_is_taken_out_whole() {
        let line = format!("{}hunter2hunter2", "x".repeat(LINE - 8));
        let mut parts = [Part { longest: LINE, ..part("log", &line) }];
        shorten(&mut parts, &Redaction::new(["hunter2hunter2"], None));
        assert!(!parts[0].text.contains("hunter"), "{}", parts[0].text);
    }
}
