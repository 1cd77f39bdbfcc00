//! `init`: the first `ecosystem.toml` of a project, from what its Compose files say where they are named. What is in it is decided in core.

use std::collections::BTreeSet;
use std::fmt::Write;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::compose_file::{File, LONGEST, Variables, describe, siblings, variables};
use ecosystem_core::model::{Asked, Ecosystem, Flags, failure, resolve};
use ecosystem_core::process::quoted;
use ecosystem_core::render::init::{Left, Manifest, Taken, from_compose, short};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::{Global, Init};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output::{self, Report};
use crate::site::{MANIFEST, State, detect_release, find_root};
use crate::stack::warn_of;
use crate::sys::fs::{canonical, read_at_most, write_atomic};

/// So many files are read, those that others extend among them.
const FILES: usize = 16;
/// So many places of a kind are shown to a person.
const PLACES: usize = 12;
/// Where variables of Compose files stand: what Compose reads, and what OARepo's tools do.
const VARIABLES: [&str; 2] = [".env", "variables"];

#[derive(Debug, Serialize)]
struct Initialised {
    /// Where the manifest is, or would be.
    file: String,
    written: bool,
    release: String,
    manifest: String,
    services: Vec<Taken>,
    left_out: Vec<Left>,
    /// The files that were read, those that others extend among them.
    #[serde(skip)]
    from: Vec<String>,
    #[serde(skip)]
    program: String,
}

/// A file as people are shown it, and its text.
struct Source {
    name: String,
    text: String,
    named: bool,
}

/// Writes the manifest, or with `--dry-run` prints it.
pub fn run(context: &Context, global: &Global, args: &Init, events: &dyn Events) -> anyhow::Result<()> {
    let start = context.cwd.join(global.directory.as_deref().unwrap_or(Utf8Path::new("")));
    let Ok(start) = start.canonicalize_utf8() else {
        let text = format!("there is no folder {start}");
        return Err(Failure::new(Kind::Usage, "no-such-folder", text).into());
    };
    let file = start.join(MANIFEST);
    if !args.dry_run {
        refuse_present(&file, &args.from)?;
    }
    let ecosystem = without_manifest(context, global, &start)?;
    warn_of(&ecosystem, events);
    let sources = sources(context, &args.from)?;
    let manifest = match sources.as_slice() {
        [] => short(&ecosystem)?,
        sources => taken_over(context, sources, &start, &ecosystem, events)?,
    };
    if let Some(root) = find_root(&start).filter(|root| *root != start) {
        let text = format!("{root} is a project already; with a manifest of its own {start} is another one");
        events.emit(Event::Warning(text));
    }
    if !args.dry_run {
        refuse_present(&file, &args.from)?;
        write_atomic(&file, manifest.text.as_bytes(), 0o644)?;
    }
    let Manifest { text, release, services, left_out } = manifest;
    let report = Initialised {
        file: file.into_string(),
        written: !args.dry_run,
        release,
        manifest: text,
        services,
        left_out,
        from: sources.into_iter().map(|source| source.name).collect(),
        program: context.program.clone(),
    };
    output::report(&report, global.format)
}

/// A manifest that is there, even a link that leads nowhere, is somebody's.
fn refuse_present(file: &Utf8Path, from: &[Utf8PathBuf]) -> Result<(), Failure> {
    if file.symlink_metadata().is_err() {
        return Ok(());
    }
    let words = from.iter().fold(String::new(), |words, file| words + " --from " + &quoted(file.as_str()));
    Err(Failure::new(Kind::Usage, "file-exists", format!("{file} is there already")).hint(format!(
        "see what would be written, and take from it what you want: {{program}} init{words} --dry-run"
    )))
}

/// What holds for the project as long as it has no manifest.
fn without_manifest(context: &Context, global: &Global, start: &Utf8Path) -> Result<Ecosystem, Failure> {
    let earlier = State::at(canonical(&context.state(start))).asked();
    let flags = Flags {
        release: global.release.clone(),
        earlier: Asked { release: earlier.release, ..Asked::default() },
        project: detect_release(start),
        ..Flags::default()
    };
    resolve(&[], &flags).map_err(|problems| failure(&problems))
}

fn taken_over(
    context: &Context,
    sources: &[Source],
    start: &Utf8Path,
    ecosystem: &Ecosystem,
    events: &dyn Events,
) -> anyhow::Result<Manifest> {
    let first =
        sources.first().and_then(|source| Utf8Path::new(&source.name).parent()).unwrap_or(Utf8Path::new(""));
    let mut held = Variables::new();
    let mut names: Vec<&str> =
        sources.iter().filter(|source| source.named).map(|s| s.name.as_str()).collect();
    let files: BTreeSet<(usize, Utf8PathBuf)> = [context.cwd.join(first), start.to_owned()]
        .iter()
        .enumerate()
        .flat_map(|(order, folder)| VARIABLES.map(|name| (order, folder.join(name))))
        .collect();
    let mut used = Vec::new();
    for (_, path) in files {
        match read_at_most(&path, LONGEST) {
            Ok(Some(text)) => {
                // What stands nearer to the file holds.
                for (name, value) in variables(&text) {
                    held.entry(name).or_insert(value);
                }
                used.push(path.file_name().unwrap_or_default().to_owned());
            }
            Ok(None) => {}
            Err(error) => events.emit(Event::Warning(format!("{error}; its variables are not filled in"))),
        }
    }
    used.dedup();
    let refer = sources.iter().any(|source| source.text.contains('$'));
    names.extend(used.iter().filter(|_| refer).map(String::as_str));
    let files: Vec<File<'_>> =
        sources.iter().map(|s| File { name: &s.name, text: &s.text, named: s.named }).collect();
    Ok(from_compose(ecosystem, &describe(&files, &held), &names)?)
}

/// The files that were named, and those beside them that services of theirs extend.
fn sources(context: &Context, named: &[Utf8PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    let known = |sources: &[Source], name: &str| sources.iter().any(|source| source.name == name);
    for file in named {
        let path = context.cwd.join(file);
        let name = file.as_str().trim_start_matches("./").to_owned();
        let Some(text) = read_at_most(&path, LONGEST)? else {
            let failure = Failure::new(Kind::Usage, "no-such-file", format!("there is no file {path}"));
            return Err(failure.hint("name a Compose file: {program} init --from docker-compose.yml").into());
        };
        if !known(&sources, &name) {
            sources.push(Source { name, text, named: true });
        }
    }
    let mut next = 0;
    while next < sources.len() {
        let name = Utf8PathBuf::from(&sources[next].name);
        let folder = name.parent().unwrap_or(Utf8Path::new(""));
        for sibling in siblings(&sources[next].text) {
            let name = folder.join(sibling).into_string();
            if known(&sources, &name) || sources.len() >= FILES {
                continue;
            }
            // One that is not there is told with what extends it.
            if let Ok(Some(text)) = read_at_most(&context.cwd.join(&name), LONGEST) {
                sources.push(Source { name, text, named: false });
            }
        }
        next += 1;
    }
    Ok(sources)
}

impl Report for Initialised {
    fn human(&self) -> String {
        if !self.written {
            return self.manifest.clone();
        }
        let mut text = format!("Wrote {}, release {}.\n", self.file, self.release);
        let width =
            self.services.iter().map(|service| service.name.chars().count()).max().unwrap_or_default();
        if !self.services.is_empty() {
            let _ = writeln!(text, "\n{}", "Taken over".bold());
        }
        for taken in &self.services {
            let same = if taken.lines.is_empty() { ": as the release has it" } else { "" };
            let _ = writeln!(
                text,
                "  {:<width$}  {}:{} {}{same}",
                taken.name, taken.file, taken.line, taken.service
            );
            let notes = taken.notes.iter().map(|note| note.dimmed().to_string());
            for line in taken.lines.iter().cloned().chain(notes) {
                let _ = writeln!(text, "  {:<width$}  {line}", "");
            }
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "\n{}", "Not taken over".bold());
        }
        for left in &self.left_out {
            let _ = writeln!(text, "  {}: {}", left.what, left.why);
            for line in output::wrapped(&left.told(PLACES)).lines() {
                let _ = writeln!(text, "      {}", line.dimmed());
            }
        }
        let _ = writeln!(text, "\n{}", "Next".bold());
        let arrow = "→".cyan();
        let _ = writeln!(text, "  {arrow} read {MANIFEST}, and check it in");
        if !self.from.is_empty() {
            let files: Vec<String> = self.from.iter().map(|file| quoted(file)).collect();
            let _ = writeln!(
                text,
                "  {arrow} see what is open in the old files: {} check {}",
                self.program,
                files.join(" ")
            );
            let _ = writeln!(
                text,
                "  {arrow} stop their containers, which hold the same ports: docker compose stop"
            );
        }
        let program = &self.program;
        let _ = writeln!(text, "  {arrow} {program} up");
        let of = |wanted: fn(&Taken) -> bool| -> Vec<&str> {
            self.services.iter().filter(|taken| wanted(taken)).map(|taken| taken.name.as_str()).collect()
        };
        if !of(|taken| taken.lines.iter().any(|line| line.starts_with("image"))).is_empty() {
            let _ = writeln!(
                text,
                "  {arrow} or the images above, as containers: {program} up --backend compose"
            );
        }
        let consoles = of(|taken| !taken.kind.runs() && taken.kind.is_contained());
        if !consoles.is_empty() {
            let names = consoles.join(" ");
            let _ = writeln!(text, "  {arrow} what runs as a container only: {program} up {names}");
        }
        text
    }
}
