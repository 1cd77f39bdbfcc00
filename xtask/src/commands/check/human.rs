//! The report for people: tools in the wording that they know from Invenio's own, everything else as a table with the next step below.

use std::fmt::Write;

use ecosystem_core::failure::harmless;
use ecosystem_core::host::{Finding, Section, Verdict};
use ecosystem_core::tool::{Verdict as ToolVerdict, in_words};
use owo_colors::OwoColorize;

use super::{Report, Tool};
use crate::output;

/// Renders all of it.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let mut text = if report.of_files { String::new() } else { "Checking requirements...\n".to_owned() };
    for section in Section::ALL {
        let findings: Vec<&Finding> = report.findings.iter().filter(|f| f.section == section).collect();
        if findings.is_empty() {
            continue;
        }
        let title = section.title();
        let _ = if colour { writeln!(text, "\n{}", title.bold()) } else { writeln!(text, "\n{title}") };
        if section == Section::Tools {
            report.tools.iter().for_each(|one| tool(&mut text, one, colour));
        } else {
            table(&mut text, &findings, colour);
        }
    }
    for fixed in report.fixed.iter().flatten() {
        let _ = writeln!(text, "\nDone: {}", harmless(&fixed.what));
        if let Some(backup) = &fixed.backup {
            let _ = writeln!(text, "  as it was: {}", harmless(backup.as_str()));
        }
    }
    if report.fixed.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("\nNothing was changed: there is nothing that can be put right safely.\n");
    }
    let summary = report.summary();
    let summary = match (colour, report.ok) {
        (false, _) => summary,
        (true, true) => summary.green().bold().to_string(),
        (true, false) => summary.red().bold().to_string(),
    };
    let _ = writeln!(text, "\n{summary}");
    if report.findings.iter().any(|f| matches!(f.section, Section::Tools) && f.verdict == Verdict::Problem) {
        text.push_str(
            "`up` needs none of the tools: they are what the release asks for to develop the application.\n\
             What stops `up` are problems of the other sections.\n",
        );
    }
    text
}

fn tool(text: &mut String, tool: &Tool, colour: bool) {
    let checking = match tool.name.as_str() {
        "pipenv" => format!("Checking {} is installed...", tool.title),
        _ => format!("Checking {} version...", tool.title),
    };
    let ok = tool.finding.verdict == ToolVerdict::Ok;
    let verdict = match (colour, ok) {
        (false, _) => tool.wording(),
        (true, true) => tool.wording().green().to_string(),
        (true, false) => tool.wording().red().to_string(),
    };
    let _ = writeln!(text, "{checking}\n{verdict}");
    if ok {
        return;
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

fn table(text: &mut String, findings: &[&Finding], colour: bool) {
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default().min(32);
    for Finding { verdict, what, on, why, next, .. } in findings {
        let sign = match (verdict, colour) {
            (Verdict::Ok, false) => "✓".to_owned(),
            (Verdict::Warning, false) => "!".to_owned(),
            (Verdict::Problem, false) => "✗".to_owned(),
            (Verdict::Ok, true) => "✓".green().to_string(),
            (Verdict::Warning, true) => "!".yellow().bold().to_string(),
            (Verdict::Problem, true) => "✗".red().bold().to_string(),
        };
        let _ = writeln!(text, "  {sign} {:<width$}  {}", harmless(what), below(&harmless(on), width));
        if let Some(why) = why {
            for line in output::wrapped(&harmless(why)).lines() {
                let line = format!("    {:<width$}  {line}", "");
                let _ = if colour { writeln!(text, "{}", line.dimmed()) } else { writeln!(text, "{line}") };
            }
        }
        if let Some(next) = next {
            let arrow = if colour { "→".cyan().to_string() } else { "→".to_owned() };
            let _ = writeln!(text, "    {:<width$}  {arrow} {}", "", harmless(next));
        }
    }
}

/// What follows the first line stands under it.
fn below(on: &str, width: usize) -> String {
    on.trim_end().replace('\n', &format!("\n    {:<width$}  ", ""))
}
