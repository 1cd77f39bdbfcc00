//! What is wrong with a manifest: one value a problem, all of them in one failure.

use std::fmt::Write;

use serde::Serialize;

use super::Origin;
use crate::failure::{Failure, Kind};

/// One thing that is wrong, and the way out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file as it is shown, or the flag.
    pub file: String,
    /// Counted from 1; a flag has none.
    pub line: Option<usize>,
    pub what: String,
    pub way_out: String,
}

impl Problem {
    /// A problem with a value that came from there.
    pub(super) fn at(origin: &Origin, what: impl Into<String>, way_out: impl Into<String>) -> Self {
        let (file, line) = match origin {
            Origin::File { name, line } => (name.clone(), Some(*line)),
            other => (other.to_string(), None),
        };
        Self { file, line, what: cut(what.into()), way_out: cut(way_out.into()) }
    }

    /// Where it is: `ecosystem.toml:12`, or `--port-offset`.
    pub fn place(&self) -> String {
        self.line.map_or_else(|| self.file.clone(), |line| format!("{}:{line}", self.file))
    }
}

/// A value can be as long as the file: its beginning has to do.
fn cut(text: String) -> String {
    const LONGEST: usize = 240;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where so many problems were found, nobody looks for more: a file of that kind is no manifest, and every problem takes time.
pub(super) const MOST: usize = 200;

/// So many problems are printed at once; the others are counted.
const SHOWN: usize = 40;

/// All problems as one failure for a person.
pub fn failure(problems: &[Problem]) -> Failure {
    let mut message = match problems.len() {
        1 => "1 problem in the manifest".to_owned(),
        count if count >= MOST => format!("{count} problems or more in the manifest"),
        count => format!("{count} problems in the manifest"),
    };
    for problem in problems.iter().take(SHOWN) {
        let _ = write!(message, "\n  {}: {}\n      {}", problem.place(), problem.what, problem.way_out);
    }
    if problems.len() > SHOWN {
        let _ = write!(message, "\n  and {} more", problems.len() - SHOWN);
    }
    Failure::new(Kind::Manifest, "manifest-invalid", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_shown_with_its_place_and_way_out() {
        let file = Origin::File { name: "ecosystem.toml".into(), line: 3 };
        let problems = [
            Problem::at(&file, "unknown key `prots`", "did you mean `ports`?"),
            Problem::at(&Origin::Flag("--port-offset"), "too far", "use at most 39663"),
        ];
        let failure = failure(&problems);
        assert_eq!((failure.kind.exit_status(), failure.code), (4, "manifest-invalid"));
        insta::assert_snapshot!(failure.message, @"
        2 problems in the manifest
          ecosystem.toml:3: unknown key `prots`
              did you mean `ports`?
          --port-offset: too far
              use at most 39663
        ");
    }
}
