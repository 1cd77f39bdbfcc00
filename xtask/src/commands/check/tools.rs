//! The tools that the release wants: each is asked for its version under all its names, all of them at once.

use std::time::Duration;

use ecosystem_core::host::{self, Section};
use ecosystem_core::tool::{
    Answer, Finding, Manager, Requirement, System, Verdict, Version, in_words, judge, remedies, selectable,
    with_own_manager,
};
use serde::Serialize;

use super::{npm, pipenv};
use crate::context::Context;
use crate::sys::cmd::Cmd;

/// A tool that says nothing for so long counts as broken.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found of one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    pub name: String,
    pub title: String,
    #[serde(flatten)]
    pub finding: Finding,
    /// The command that answered.
    pub command: Option<String>,
    /// The program behind it.
    pub path: Option<String>,
    /// A semver requirement.
    pub accept: String,
    pub tested: String,
    /// What to do about it, best first.
    pub remedies: Vec<String>,
}

/// Checks the tools of the release.
pub(super) fn check(context: &Context, wanted: &[Requirement], system: System) -> Vec<Tool> {
    let managers = managers(context);
    let one = |tool| report(tool, probe(tool, &|words| ask(context, words)), system, &managers);
    std::thread::scope(|scope| {
        let probes: Vec<_> = wanted.iter().map(|tool| scope.spawn(move || one(tool))).collect();
        probes.into_iter().map(super::join).collect()
    })
}

/// The tool managers of this person.
fn managers(context: &Context) -> Vec<Manager> {
    let at_home = |sign: &str| context.home.as_ref().is_some_and(|home| home.join(sign).exists());
    let there = |manager: &Manager| {
        context.find(manager.program()).is_some() || manager.signs().iter().any(|sign| at_home(sign))
    };
    Manager::ALL.into_iter().filter(there).collect()
}

pub(super) fn report(tool: &Requirement, probed: Probed, system: System, managers: &[Manager]) -> Tool {
    let Probed { finding, command, path, selectable } = probed;
    let mut remedies = remedies(tool, &finding.verdict, system);
    if finding.verdict != Verdict::Ok {
        remedies = with_own_manager(tool, managers, path.as_deref(), system, remedies);
    }
    if let Some(version) = selectable.filter(|_| finding.verdict != Verdict::Ok) {
        remedies.insert(
            0,
            format!("pyenv has it: pyenv shell {version}, or pyenv local {version} for this folder"),
        );
    }
    if tool.get.is_some() && finding.verdict != Verdict::Ok {
        // What the person is used to goes first; this installs nothing, and nothing of their own is in its way.
        let line = format!("{{program}} shell   has {} first on PATH, beside your own", tool.tested);
        remedies.insert(remedies.len().min(1), line);
    }
    Tool {
        name: tool.name.clone(),
        title: tool.title.clone(),
        remedies,
        finding,
        command,
        path,
        accept: tool.accept.clone(),
        tested: tool.tested.clone(),
    }
}

impl Tool {
    /// The same as one of all findings.
    pub(super) fn as_finding(&self) -> host::Finding {
        let ok = host::Finding::ok(Section::Tools, &self.title, self.wording());
        if self.finding.verdict == Verdict::Ok {
            return ok;
        }
        let why =
            format!("the release accepts {}, and is tested with {}", in_words(&self.accept), self.tested);
        let next = self.remedies.first().cloned();
        host::Finding { verdict: host::Verdict::Problem, why: Some(why), next, ..ok }
    }

    /// The line that says how it stands with it, in the wording that people know.
    pub(super) fn wording(&self) -> String {
        let Self { title, finding, accept, .. } = self;
        let version = finding.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let (subject, got) = match self.name.as_str() {
            "pipenv" => (title.clone(), "Got version "),
            _ => (format!("{title} version"), "Got "),
        };
        match &finding.verdict {
            Verdict::Ok => format!("{subject} OK. {got}{version}."),
            Verdict::TooOld => format!("{title} is too old. Got {version}, expected {}.", in_words(accept)),
            Verdict::TooNew => format!("{title} is too new. Got {version}, expected {}.", in_words(accept)),
            Verdict::NotFound => format!("{title} not found."),
            Verdict::Broken => format!("{title} is installed, but does not work."),
            Verdict::OtherProgram(other) => format!("{title} not found: {other} answers in its place."),
            Verdict::Unreadable => format!("{title}: no version can be found in what it prints."),
        }
    }
}

/// The best answer that was got for a tool.
pub(super) struct Probed {
    finding: Finding,
    command: Option<String>,
    path: Option<String>,
    /// A version that is there and only has to be selected.
    selectable: Option<Version>,
}

/// How one command answered: where it lies, and what it said. `None` where there is no such program.
pub(super) type Asked = Option<(String, Answer)>;

/// Asks every candidate until one is right; else the answer that says most counts.
pub(super) fn probe(tool: &Requirement, ask: &dyn Fn(&[String]) -> Asked) -> Probed {
    let mut best = Probed { finding: judge(tool, None), command: None, path: None, selectable: None };
    for candidate in tool.candidates() {
        let Some((path, answer)) = ask(&candidate) else { continue };
        let finding = judge(tool, Some(&answer));
        let selectable = best.selectable.take().or_else(|| selectable(&answer));
        if best.command.is_none() || telling(&finding.verdict) > telling(&best.finding.verdict) {
            best = Probed { finding, command: Some(candidate.join(" ")), path: Some(path), selectable };
        } else {
            best.selectable = selectable;
        }
        if best.finding.verdict == Verdict::Ok {
            break;
        }
    }
    best
}

/// How much a verdict tells: a wrong version more than a program that fails, that more than none.
fn telling(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::NotFound => 0,
        Verdict::Unreadable => 1,
        Verdict::Broken => 2,
        Verdict::OtherProgram(_) => 3,
        Verdict::TooOld | Verdict::TooNew => 4,
        Verdict::Ok => 5,
    }
}

/// Runs a command that prints a version.
fn ask(context: &Context, words: &[String]) -> Asked {
    let (program, args) = words.split_first()?;
    let path = context.find(program)?;
    let shown = path.to_string();
    // What is slow to start tells its version in a file.
    let node = || Version::read(ask(context, &["node".to_owned(), "--version".to_owned()])?.1.stdout.trim());
    let stdout = match program.as_str() {
        "pipenv" => pipenv::version(&path).map(|version| format!("pipenv, version {version}")),
        "npm" => npm::version(&path, node),
        _ => None,
    };
    if let Some(stdout) = stdout {
        return Some((shown, Answer { stdout, ..Answer::default() }));
    }
    let answer = match Cmd::new(path.as_str()).args(args).env("LC_ALL", "C").limit(LIMIT).run() {
        Ok(output) => Answer {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            timed_out: output.timed_out,
        },
        // It is on PATH and cannot be started: a missing interpreter, which the system calls a missing file, or the wrong architecture.
        Err(error) => {
            let cause = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            let stderr = match cause {
                Some(std::io::ErrorKind::NotFound) => {
                    "bad interpreter: the program that it is written for is not there".to_owned()
                }
                _ => format!("{error:#}"),
            };
            Answer { status: 126, stderr, ..Answer::default() }
        }
    };
    Some((shown, answer))
}
