//! From what a tool printed to a verdict. Running the tools is `xtask/src/commands/check.rs`.
//!
//! Verdicts follow what was printed rather than the exit status: version managers answer for programs that they do not
//! have, wrappers answer for others, and some tools print their version and fail all the same.

use std::cmp::Ordering;

use semver::VersionReq;
use serde::{Serialize, Serializer};

use super::{Requirement, Version};

/// How a tool answered when it was asked for its version. Bytes that are not UTF-8 have been replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub timed_out: bool,
}

/// What is to be thought of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    TooOld,
    TooNew,
    NotFound,
    /// It is there and does not work.
    Broken,
    /// Another program answers under its name.
    OtherProgram(String),
    /// It works, and no version can be found in what it says.
    Unreadable,
}

impl Verdict {
    /// The word for it in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TooOld => "too-old",
            Self::TooNew => "too-new",
            Self::NotFound => "not-found",
            Self::Broken => "broken",
            Self::OtherProgram(_) => "other-program",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    pub version: Option<Version>,
    /// What it said that was no version: its most telling line.
    pub said: Option<String>,
}

/// How a tool presents itself: what stands before the version in its line.
fn marks(tool: &str) -> &'static [&'static str] {
    match tool {
        "python" => &["Python "],
        "pipenv" => &["pipenv, version "],
        "docker" => &["Docker version "],
        "docker-compose" => &["Docker Compose version ", "docker-compose version "],
        "node" => &["v"],
        "imagemagick" => &["Version: ImageMagick "],
        "git" => &["git version "],
        "uv" => &["uv "],
        // npm and pnpm print the bare number.
        _ => &[""],
    }
}

/// Programs that answer under the name of another one.
const OTHERS: [(&str, &str, &str); 3] = [
    ("docker", "podman version ", "podman"),
    ("docker-compose", "podman-compose version ", "podman-compose"),
    ("imagemagick", "Version: GraphicsMagick ", "GraphicsMagick"),
];

/// Lines of programs that answer for one that is not there.
const ABSENT: [&str; 5] = [
    "command not found",
    "is not a docker command",
    "unknown command: docker compose",
    "no developer tools were found",
    "No such file or directory",
];

/// Lines of programs that are there and fail.
const BROKEN: [&str; 6] = [
    "Traceback (most recent call last)",
    "is known not to run on",
    "error while loading shared libraries",
    "Segmentation fault",
    "Cannot find module",
    "bad interpreter",
];

/// Judges what a tool printed; `None` where there is no such program.
pub fn judge(requirement: &Requirement, answer: Option<&Answer>) -> Finding {
    let Some(answer) = answer else {
        return Finding { verdict: Verdict::NotFound, version: None, said: None };
    };
    // Python 2 prints its version on stderr; warnings of others stand there, hence second.
    let text = plain(&format!("{}\n{}", answer.stdout, answer.stderr));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |words: &[&str]| {
        lines.iter().find(|line| words.iter().any(|word| line.contains(word))).map(|line| (*line).to_owned())
    };
    let other = OTHERS
        .iter()
        .find(|(tool, mark, _)| *tool == requirement.name && lines.iter().any(|line| line.starts_with(mark)));
    if let Some((_, mark, name)) = other {
        let line = lines.iter().find(|line| line.starts_with(mark));
        return Finding {
            verdict: Verdict::OtherProgram((*name).to_owned()),
            version: line.and_then(|line| Version::read(line.strip_prefix(mark)?)),
            said: line.map(|line| short(line)),
        };
    }
    if let Some(version) = version(&requirement.name, &lines) {
        let verdict = match VersionReq::parse(&requirement.accept).map(|range| version.within(&range)) {
            Ok(Ordering::Less) => Verdict::TooOld,
            Ok(Ordering::Greater) => Verdict::TooNew,
            // A range that cannot be read is a fault of the release, which its own test finds.
            Ok(Ordering::Equal) | Err(_) => Verdict::Ok,
        };
        return Finding { verdict, version: Some(version), said: None };
    }
    let no_version = |verdict, said| Finding { verdict, version: None, said };
    if answer.timed_out {
        return no_version(Verdict::Broken, Some("it did not answer in time".to_owned()));
    }
    if let said @ Some(_) = telling(&ABSENT) {
        return no_version(Verdict::NotFound, said);
    }
    if telling(&BROKEN).is_some() {
        // The last line of a traceback says what it was about.
        return no_version(Verdict::Broken, lines.last().map(|line| short(line)));
    }
    // A shell says 126 and 127 of what it cannot run, and more of what a signal ended.
    if answer.status >= 126 || (answer.status != 0 && lines.is_empty()) {
        let said =
            lines.last().map_or_else(|| format!("it ends with status {}", answer.status), |line| short(line));
        return no_version(Verdict::Broken, Some(said));
    }
    no_version(Verdict::Unreadable, lines.first().map(|line| short(line)))
}

/// A version that a version manager has and would answer with, if it were told to.
///
/// pyenv says so itself, below its "command not found".
pub fn selectable(answer: &Answer) -> Option<Version> {
    let text = plain(&format!("{}\n{}", answer.stdout, answer.stderr));
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.ends_with("command exists in these Python versions:"))?;
    lines.next().and_then(Version::read)
}

/// The version in the line in which the tool presents itself.
fn version(tool: &str, lines: &[&str]) -> Option<Version> {
    lines.iter().find_map(|line| {
        marks(tool).iter().find_map(|mark| {
            let rest = line.strip_prefix(mark)?;
            let whole = !mark.is_empty() && *mark != "v" || !rest.contains(char::is_whitespace);
            Version::read(rest).filter(|_| whole)
        })
    })
}

/// Without colours and other control sequences.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    // A control sequence ends with its first letter.
                    let _end = rest.find(|c| ('@'..='~').contains(c));
                }
            }
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

fn short(line: &str) -> String {
    const WIDTH: usize = 160;
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release;

    fn requirement(tool: &str) -> Requirement {
        let release = release::find("documented").unwrap();
        release.tools.into_iter().find(|requirement| requirement.name == tool).unwrap()
    }

    fn said(tool: &str, status: i32, stdout: &str, stderr: &str) -> Finding {
        let answer = Answer { status, stdout: stdout.into(), stderr: stderr.into(), timed_out: false };
        judge(&requirement(tool), Some(&answer))
    }

    /// `\n`, `\xHH` as in a shell's `$'…'`, read as UTF-8 with replacements.
    fn unescape(text: &str) -> String {
        let (mut bytes, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('\\') {
            bytes.extend(rest[..at].bytes());
            let (byte, length) = match rest.as_bytes()[at + 1] {
                b'n' => (b'\n', 2),
                b'x' => (u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap(), 4),
                other => panic!("unknown escape {other}"),
            };
            bytes.push(byte);
            rest = &rest[at + length..];
        }
        bytes.extend(rest.bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn verdict(words: &str) -> Verdict {
        match words {
            "ok" => Verdict::Ok,
            "too old" => Verdict::TooOld,
            "too new" => Verdict::TooNew,
            "not found" => Verdict::NotFound,
            "broken" => Verdict::Broken,
            "unreadable" => Verdict::Unreadable,
            other => Verdict::OtherProgram(other.strip_prefix("other program: ").unwrap().to_owned()),
        }
    }

    #[test]
    fn every_line_seen_in_the_wild_is_judged_right_on_either_stream() {
        let table = include_str!("version-strings.tsv");
        let tools = release::find("documented").unwrap().tools;
        let mut rows = 0;
        for row in table.lines().skip(1) {
            let columns: Vec<&str> = row.split('\t').collect();
            let [tool, printed, version, words] = columns[..] else { panic!("{row}") };
            let printed = unescape(printed);
            for requirement in tools.iter().filter(|r| tool == "any" || r.name == tool) {
                for (stdout, stderr) in [(printed.as_str(), ""), ("", printed.as_str())] {
                    for status in [0, 1] {
                        // A program that fails without a word is broken, not unreadable.
                        if printed.is_empty() && status == 1 {
                            continue;
                        }
                        let finding = said(&requirement.name, status, stdout, stderr);
                        assert_eq!(finding.verdict, verdict(words), "{row}");
                        let read = finding.version.map(|v| v.to_string()).unwrap_or_default();
                        if !matches!(finding.verdict, Verdict::OtherProgram(_)) {
                            assert_eq!(read, version, "{row}");
                        }
                        rows += 1;
                    }
                }
            }
        }
        assert!(rows > 150, "only {rows} cases were tried");
    }

    #[test]
    fn absence_silence_and_signals_are_told_apart() {
        assert_eq!(judge(&requirement("git"), None).verdict, Verdict::NotFound);
        assert_eq!(said("git", 0, "", "").verdict, Verdict::Unreadable);
        assert_eq!(said("git", 1, "", "").said.as_deref(), Some("it ends with status 1"));
        assert_eq!(said("git", 139, "", "").verdict, Verdict::Broken);
        assert_eq!(said("git", 127, "", "sh: x: not found").verdict, Verdict::Broken);
        let slow = Answer { timed_out: true, status: 137, ..Answer::default() };
        assert_eq!(
            judge(&requirement("git"), Some(&slow)).said.as_deref(),
            Some("it did not answer in time")
        );
    }

    #[test]
    fn a_python_that_only_has_to_be_selected_is_found() {
        let pyenv = "pyenv: python3.9: command not found\n\n\
                     The `python3.9' command exists in these Python versions:\n  3.9.18\n\nNote: See 'pyenv help global'";
        let answer = |text: &str| Answer { stderr: text.into(), status: 127, ..Answer::default() };
        assert_eq!(selectable(&answer(pyenv)).map(|v| v.to_string()).as_deref(), Some("3.9.18"));
        assert_eq!(judge(&requirement("python"), Some(&answer(pyenv))).verdict, Verdict::NotFound);
        assert_eq!(selectable(&answer("pyenv: python3.9: command not found")), None);
    }

    #[test]
    fn a_traceback_is_told_by_its_last_line() {
        let printed =
            "Traceback (most recent call last):\n  File \"x\"\nModuleNotFoundError: No module named 'pipenv'";
        assert_eq!(
            said("pipenv", 1, "", printed).said.as_deref(),
            Some("ModuleNotFoundError: No module named 'pipenv'")
        );
    }

    #[test]
    fn a_number_in_a_sentence_is_no_version() {
        for sentence in ["7 errors occurred", "v8 engine missing", "found 3.9.16 somewhere"] {
            for tool in ["npm", "node", "python"] {
                assert_eq!(said(tool, 0, sentence, "").verdict, Verdict::Unreadable, "{tool}: {sentence}");
            }
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let said = said("git", 0, &"ž".repeat(5000), "").said.unwrap();
        assert_eq!(said.chars().count(), 161);
    }

    #[test]
    fn control_sequences_do_not_hide_a_version() {
        assert_eq!(said("git", 0, "\u{1b}[0;32mgit version\u{1b}[m 2.40.0\r\n", "").verdict, Verdict::Ok);
        assert_eq!(plain("a\u{1b}"), "a");
        assert_eq!(plain("a\u{1b}[31"), "a");
    }
}
