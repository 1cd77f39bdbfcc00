//! `check`: are the tools that the release wants on this machine? All of them are looked at, whatever the first one says.
//!
//! Here they are run and reported. What their answers mean is decided in `ecosystem_core::tool`.

use std::fmt::Write;
use std::time::Duration;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Ecosystem;
use ecosystem_core::tool::{
    Answer, Finding, Requirement, System, Verdict, Version, in_words, judge, remedies, selectable,
};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::output;
use crate::stack::Stack;
use crate::sys::cmd::Cmd;

/// A tool that says nothing for so long counts as broken.
const LIMIT: Duration = Duration::from_secs(10);

/// What `check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub release: String,
    pub system: System,
    /// Whether every tool is as the release wants it.
    pub ok: bool,
    /// How many tools need attention.
    pub attention: usize,
    pub tools: Vec<Tool>,
}

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

impl Report {
    /// The failure behind exit status 1, where something is missing.
    pub fn failure(&self) -> Option<Failure> {
        (!self.ok).then(|| Failure::new(Kind::Finding, "tools-missing", self.summary()))
    }

    /// The last line: everything in one sentence.
    pub fn summary(&self) -> String {
        match (self.attention, self.tools.len()) {
            (0, _) => "All requirements are fulfilled.".to_owned(),
            (1, all) => format!("1 of {all} tools needs attention."),
            (some, all) => format!("{some} of {all} tools need attention."),
        }
    }
}

/// Checks and reports. Fails with a finding, already reported, where a tool needs attention.
pub fn run(context: &Context, global: &Global) -> anyhow::Result<()> {
    let stack = Stack::open(context, global, None)?;
    let report = check(&stack.site.ecosystem, &[])?;
    output::report(&report, global.format)?;
    match report.failure() {
        Some(failure) => Err(Failure { message: String::new(), ..failure }.into()),
        None => Ok(()),
    }
}

impl output::Report for Report {
    fn human(&self) -> String {
        let mut text = render_human(self, true);
        if !self.ok {
            text.push_str(
                "`up` needs none of them: they are what the release asks for to develop the application.\n",
            );
        }
        text
    }
}

/// Checks the tools of the release, all at once; `only` narrows them down by name.
pub fn check(ecosystem: &Ecosystem, only: &[String]) -> Result<Report, Failure> {
    let known = || ecosystem.tools.iter().map(|tool| tool.name.as_str());
    if let Some(unknown) = only.iter().find(|name| !known().any(|tool| tool == name.as_str())) {
        let failure =
            Failure::new(Kind::Usage, "unknown-tool", format!("there is no tool `{unknown}` to check"));
        return Err(failure.hint(format!("tools: {}", known().collect::<Vec<_>>().join(", "))));
    }
    let wanted: Vec<&Requirement> =
        ecosystem.tools.iter().filter(|tool| only.is_empty() || only.contains(&tool.name)).collect();
    let system = system();
    let tools: Vec<Tool> = std::thread::scope(|scope| {
        let probes: Vec<_> =
            wanted.iter().map(|tool| scope.spawn(|| report(tool, probe(tool, &ask), system))).collect();
        probes
            .into_iter()
            .map(|probe| probe.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    Ok(assemble(&ecosystem.release.value, system, tools))
}

fn assemble(release: &str, system: System, tools: Vec<Tool>) -> Report {
    let attention = tools.iter().filter(|tool| tool.finding.verdict != Verdict::Ok).count();
    Report { release: release.to_owned(), system, ok: attention == 0, attention, tools }
}

fn report(tool: &Requirement, probed: Probed, system: System) -> Tool {
    let Probed { finding, command, path, selectable } = probed;
    let mut remedies = remedies(tool, &finding.verdict, system);
    if let Some(version) = selectable.filter(|_| finding.verdict != Verdict::Ok) {
        remedies.insert(
            0,
            format!("pyenv has it: pyenv shell {version}, or pyenv local {version} for this folder"),
        );
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

/// The best answer that was got for a tool.
struct Probed {
    finding: Finding,
    command: Option<String>,
    path: Option<String>,
    /// A version that is there and only has to be selected.
    selectable: Option<Version>,
}

/// How one command answered: where it lies, and what it said. `None` where there is no such program.
type Asked = Option<(String, Answer)>;

/// Asks every candidate until one is right; else the answer that says most counts.
fn probe(tool: &Requirement, ask: &dyn Fn(&[String]) -> Asked) -> Probed {
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
fn ask(words: &[String]) -> Asked {
    let (program, args) = words.split_first()?;
    let path = which::which(program).ok()?;
    let shown = path.display().to_string();
    let answer = match Cmd::new(path).args(args).env("LC_ALL", "C").limit(LIMIT).run() {
        Ok(output) => Answer {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            timed_out: output.timed_out,
        },
        // It is on PATH and cannot be started: a missing interpreter, the wrong architecture.
        Err(error) => Answer { status: 126, stderr: format!("{error:#}"), ..Answer::default() },
    };
    Some((shown, answer))
}

fn system() -> System {
    if cfg!(target_os = "macos") {
        return System::MacOs;
    }
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"));
    text.map_or(System::Other, |text| System::of_os_release(&text))
}

/// The report for people, in the wording that they know from their own tools.
pub fn render_human(report: &Report, colour: bool) -> String {
    let mut text = "Checking requirements...\n".to_owned();
    for tool in &report.tools {
        let (checking, verdict) = match tool.name.as_str() {
            "pipenv" => (format!("Checking {} is installed...", tool.title), wording(tool, "Got version ")),
            _ => (format!("Checking {} version...", tool.title), wording(tool, "Got ")),
        };
        let verdict = match (colour, &tool.finding.verdict) {
            (false, _) => verdict,
            (true, Verdict::Ok) => verdict.green().to_string(),
            (true, _) => verdict.red().to_string(),
        };
        let _ = writeln!(text, "{checking}\n{verdict}");
        if tool.finding.verdict == Verdict::Ok {
            continue;
        }
        if let Some(path) = &tool.path {
            let command = tool.command.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  found     {path}   ({command})");
        }
        if let Some(said) = &tool.finding.said {
            let _ = writeln!(text, "  it says   {said}");
        }
        let _ = writeln!(text, "  accepted  {}, tested with {}", in_words(&tool.accept), tool.tested);
        for (index, remedy) in tool.remedies.iter().enumerate() {
            let _ = writeln!(text, "  {}  {remedy}", if index == 0 { "get it  " } else { "        " });
        }
    }
    let summary = report.summary();
    let summary = match (colour, report.ok) {
        (false, _) => summary,
        (true, true) => summary.green().bold().to_string(),
        (true, false) => summary.red().bold().to_string(),
    };
    let _ = writeln!(text, "{summary}");
    text
}

/// The line that says how it stands with a tool.
fn wording(tool: &Tool, got: &str) -> String {
    let Tool { title, finding, accept, .. } = tool;
    let version = finding.version.as_ref().map(ToString::to_string).unwrap_or_default();
    let subject = if tool.name == "pipenv" { title.clone() } else { format!("{title} version") };
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

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
