//! `render`: the files of this project's own checkout that are made from the program. They are checked in, and a test checks them.

mod cli;

use std::fmt::Write;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::render::{page, releases, schema};
use serde::Serialize;

use crate::cli::{Global, Render};
use crate::context::Context;
use crate::output::{self, Report};
use crate::stack::Stack;
use crate::sys::fs::{read_optional, write_atomic};

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
pub fn run(context: &Context, global: &Global, args: &Render) -> anyhow::Result<()> {
    let root = Stack::open(context, global, None)?.site.root;
    if !root.join(MARK).is_dir() {
        let text = format!(
            "`render` writes this project's own files, and {root} is not a checkout of Invenio Ecosystem"
        );
        return Err(Failure::new(Kind::Usage, "not-a-checkout", text).into());
    }
    let mut report = Rendered { files: Vec::new() };
    for (path, text) in generated()? {
        let target = root.join(path);
        let state = if read_optional(&target)?.as_deref() == Some(text.as_str()) {
            State::UpToDate
        } else if args.check {
            State::OutOfDate
        } else {
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

/// Every generated file with its text.
fn generated() -> anyhow::Result<Vec<(&'static str, String)>> {
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
