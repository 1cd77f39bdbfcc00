//! `render`: the files that are made from the manifest and, in a checkout of this project, from the program. They are checked in; `--check`
//! tells whether they still say the same.

mod cli;

use std::fmt::Write;

use anyhow::Context as _;
use camino::Utf8Path;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Ecosystem;
use ecosystem_core::place::place_name;
use ecosystem_core::render::{compose, page, releases, schema};
use serde::Serialize;

use crate::cli::{Global, Render};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output::{self, Report};
use crate::stack::{Stack, warn_of};
use crate::sys::fs::{read_optional, write_atomic};

/// Where the Compose file of a project is.
const COMPOSE: &str = "docker/compose.yaml";

/// What only a checkout of this project has.
const MARK: &str = "xtask/core/src/render";

#[derive(Debug, Serialize)]
struct Rendered {
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    path: &'static str,
    state: State,
}

/// How a file is, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    UpToDate,
    OutOfDate,
    Written,
}

/// Writes what is out of date; with `--check` only says so.
pub fn run(context: &Context, global: &Global, args: &Render, events: &dyn Events) -> anyhow::Result<()> {
    let site = Stack::look(context, global)?.site;
    let root = &site.root;
    let ecosystem = site.shared(global.release.clone())?;
    warn_of(&ecosystem, events);
    for shortage in compose::falls_short(&ecosystem) {
        events.emit(Event::Warning(format!("{COMPOSE}: {shortage}")));
    }
    let mut files = vec![(COMPOSE, compose_file(root, &ecosystem)?)];
    if root.join(MARK).is_dir() {
        files.extend(pages()?);
    }
    let mut report = Rendered { files: Vec::new() };
    for (path, text) in files {
        let target = root.join(path);
        let state = if read_optional(&target)?.as_deref() == Some(text.as_str()) {
            State::UpToDate
        } else if args.check {
            State::OutOfDate
        } else {
            let folder = target.parent().unwrap_or(root);
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
            write_atomic(&target, text.as_bytes(), 0o644)?;
            State::Written
        };
        report.files.push(File { path, state });
    }
    output::report(&report, global.format)?;
    let stale = report.files.iter().filter(|file| file.state == State::OutOfDate).count();
    if stale > 0 {
        let text = format!("{stale} of {} generated files are out of date", report.files.len());
        return Err(Failure::new(Kind::Finding, "out-of-date", text).hint("{program} render").into());
    }
    Ok(())
}

/// The Compose file. Once written it keeps its project: its volumes are named after that, and a checkout in a folder of another name has
/// the same file.
fn compose_file(root: &Utf8Path, ecosystem: &Ecosystem) -> anyhow::Result<String> {
    let path = root.join(COMPOSE);
    let present = read_optional(&path)?;
    let project = match &present {
        None => place_name(root),
        Some(text) => compose::project(text).ok_or_else(|| {
            Failure::new(Kind::Usage, "file-of-another", format!("{path} was not written by this program"))
                .hint("give it another name, then: {program} render")
        })?,
    };
    Ok(compose::compose(ecosystem, &project))
}

/// The pages that are made from the program, with their text.
fn pages() -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("docs/cli.md", cli::page()),
        ("docs/manifest.md", page::manifest()?),
        ("docs/releases.md", releases::releases()),
        ("docs/ecosystem.schema.json", format!("{:#}\n", schema::schema())),
    ])
}

impl Report for Rendered {
    fn human(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let word = match file.state {
                State::UpToDate => "up to date",
                State::OutOfDate => "out of date",
                State::Written => "written",
            };
            let _ = writeln!(text, "  {:<28} {word}", file.path);
        }
        text
    }
}
