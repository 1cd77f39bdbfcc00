//! `check`: is everything on this machine as the release and `up` want it? All of it is looked at, whatever the first thing says.
//!
//! Here it is looked at, all at once, and reported. What it means is decided in `ecosystem_core::tool` and `ecosystem_core::host`.

mod containers;
mod fix;
mod human;
mod libraries;
mod machine;
mod npm;
mod pipenv;
mod ports;
mod project;
mod tools;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::{Finding, Section, Verdict};
use ecosystem_core::tool::System;
use serde::Serialize;

use crate::cli::{self as args, Global};
use crate::context::Context;
use crate::output;

use fix::Fixed;
use project::Project;
use tools::Tool;

/// What `check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub release: String,
    pub system: System,
    /// Whether there is no problem; there may be warnings.
    pub ok: bool,
    pub problems: usize,
    pub warnings: usize,
    /// Every finding, in the order of the sections.
    pub findings: Vec<Finding>,
    /// What stands behind the findings about tools.
    pub tools: Vec<Tool>,
    /// With `--fix`: what was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Vec<Fixed>>,
    /// It is about files that were named, not about this machine.
    #[serde(skip)]
    of_files: bool,
}

impl Report {
    fn new(release: &str, system: System, findings: Vec<Finding>, tools: Vec<Tool>) -> Self {
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
        let release = release.to_owned();
        Self {
            release,
            system,
            ok: problems == 0,
            problems,
            warnings,
            findings,
            tools,
            fixed: None,
            of_files: false,
        }
    }

    /// The failure behind exit status 1, where something is missing.
    pub fn failure(&self) -> Option<Failure> {
        let of_tools = |f: &&Finding| f.section == Section::Tools && f.verdict == Verdict::Problem;
        let code = if self.findings.iter().any(|f| of_tools(&f)) {
            "tools-missing"
        } else {
            "machine-lacks-something"
        };
        (!self.ok).then(|| Failure::new(Kind::Finding, code, self.summary()))
    }

    /// The last line: everything in one sentence.
    pub fn summary(&self) -> String {
        let number =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        match (self.problems, self.warnings) {
            (0, 0) if self.of_files => "Nothing was found.".to_owned(),
            (0, warnings) if self.of_files => format!("{}.", number(warnings, "warning")),
            (0, 0) => "All requirements are fulfilled.".to_owned(),
            (0, warnings) => format!("All requirements are fulfilled; {}.", number(warnings, "warning")),
            (problems, 0) => format!("{}.", number(problems, "problem")),
            (problems, warnings) => {
                format!("{}, {}.", number(problems, "problem"), number(warnings, "warning"))
            }
        }
    }
}

impl output::Report for Report {
    fn human(&self) -> String {
        human::render(self, true)
    }
}

/// Checks and reports. Fails with a finding, already reported, where there is a problem.
pub fn run(context: &Context, global: &Global, args: &args::Check) -> anyhow::Result<()> {
    let project = Project::open(context, global)?;
    let fixed = if args.fix { Some(fix::fix(&project, args.yes)?) } else { None };
    let report = match args.files.as_slice() {
        [] => Report { fixed, ..look(context, &project) },
        files => {
            let mut findings = containers::named(context, files)?;
            name_program(&mut findings, context);
            let of_nothing =
                Report::new(&project.ecosystem.release.value, context.system(), findings, vec![]);
            Report { of_files: true, ..of_nothing }
        }
    };
    output::report(&report, global.format)?;
    match report.failure() {
        Some(failure) => Err(Failure { message: String::new(), ..failure }.into()),
        None => Ok(()),
    }
}

/// Looks at everything at once: nothing waits for the slowest tool but the end.
fn look(context: &Context, project: &Project) -> Report {
    let system = context.system();
    let (mut tools, libraries, machine, (ports, containers)) = std::thread::scope(|scope| {
        let tools = scope.spawn(|| tools::check(context, &project.ecosystem.tools, system));
        let libraries = scope.spawn(|| libraries::check(context, system));
        let containers = scope.spawn(|| {
            let engine = scope.spawn(|| containers::engine(context));
            let taken = ports::look(context, project);
            let engine = join(engine);
            let ports = ports::judge(taken, || containers::publishing(context, &engine));
            (ports, containers::check(context, project, &engine))
        });
        let machine = scope.spawn(|| machine::check(context, project));
        (join(tools), join(libraries), join(machine), join(containers))
    });
    for remedy in tools.iter_mut().flat_map(|tool| &mut tool.remedies) {
        *remedy = output::naming(remedy, &context.program);
    }
    let mut findings = project.findings();
    findings.extend(tools.iter().map(Tool::as_finding));
    findings.extend([libraries, ports, machine, containers].into_iter().flatten());
    name_program(&mut findings, context);
    Report::new(&project.ecosystem.release.value, system, findings, tools)
}

/// Puts the word that the person typed into what is said.
fn name_program(findings: &mut [Finding], context: &Context) {
    for text in findings.iter_mut().flat_map(|f| [f.next.as_mut(), f.why.as_mut()]).flatten() {
        *text = output::naming(text, &context.program);
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests;
