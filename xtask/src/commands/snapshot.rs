//! `snapshot`: the effective configuration of the running services, compared with the accepted one.
//!
//! Two halves a service: how it is launched, and what the server itself says is set. Only what was set, so that the next laptop agrees.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};
use ecosystem_core::render::compose::portable_container;
use ecosystem_core::render::launch::portable;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::{Global, Snapshot};
use crate::client;
use crate::context::Context;
use crate::event::Silent;
use crate::output::{self, Report};
use crate::provision::Mode;
use crate::snapshot::{Difference, compare};
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Compared {
    folder: String,
    services: Vec<String>,
    accepted: bool,
    differences: Vec<Difference>,
}

/// Compares or accepts. Fails with a finding, already reported, where something differs.
pub fn run(context: &Context, global: &Global, args: &Snapshot) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let documents = documents(context, &stack)?;
    let folder = stack.site.root.join("snapshots");
    let services = documents.keys().cloned().collect();
    let scratch = stack.state.folder().join("tmp");
    let differences = compare(documents, &folder, &scratch, args.accept)?;
    let differ = !differences.is_empty() && !args.accept;
    let report = Compared { folder: folder.into_string(), services, accepted: args.accept, differences };
    output::report(&report, global.format)?;
    if differ {
        return Err(Failure::new(Kind::Finding, "snapshot-differs", "").into());
    }
    Ok(())
}

/// One document a running service.
fn documents(context: &Context, stack: &Stack) -> anyhow::Result<BTreeMap<String, String>> {
    let nothing_runs = || {
        let text =
            format!("nothing runs for {}, so there is no effective configuration to read", stack.site.root);
        Failure::new(Kind::Finding, "nothing-runs", text).hint("{program} up")
    };
    let place = stack.place().ok_or_else(nothing_runs)?;
    let running = Stack::running(context, &place)?;
    let services: Vec<&Service> =
        stack.site.ecosystem.services.values().filter(|s| running.contains(&s.name)).collect();
    if services.is_empty() {
        return Err(nothing_runs().into());
    }
    let run_as = context.host().run_as().context("root without user namespaces")?;
    let processes: Vec<&Service> =
        services.iter().copied().filter(|service| service.backend.value == Backend::Native).collect();
    let installed = stack.provisioner(context, run_as, Mode::Locked, &Silent)?.provide(&processes)?;
    let endpoints = stack.endpoints(&services, &place, &stack.state.secrets()?);
    services
        .into_iter()
        .map(|service| {
            let name = &service.name;
            let asked: Vec<&str> = service.settings.keys().map(String::as_str).collect();
            let mut text = "as launched\n".to_owned();
            let (launched, title) = match installed.get(name) {
                Some(installed) => (portable(&stack.site.ecosystem, service, installed), name.clone()),
                // What was accepted of a server as a process says nothing of its container.
                None => (portable_container(&stack.site.ecosystem, service), format!("{name}.container")),
            };
            for line in launched.lines() {
                let _ = writeln!(text, "  {line}");
            }
            text.push_str("as the server says\n");
            for (setting, value) in client::describe(&endpoints[name], &asked)? {
                let _ = writeln!(text, "  {setting} = {value}");
            }
            Ok((title, text))
        })
        .collect()
}

impl Report for Compared {
    fn human(&self) -> String {
        let mut text = String::new();
        for difference in &self.differences {
            let word = if difference.new { "was never accepted" } else { "differs" };
            let _ = writeln!(text, "{} {word}", difference.name.bold());
            if self.accepted {
                continue;
            }
            for line in difference.diff.lines() {
                let _ = match line.chars().next() {
                    Some('+') => writeln!(text, "  {}", line.green()),
                    Some('-') => writeln!(text, "  {}", line.red()),
                    _ => writeln!(text, "  {line}"),
                };
            }
        }
        let _ = match (self.differences.len(), self.accepted) {
            (0, _) => writeln!(text, "{} services are configured as accepted.", self.services.len()),
            (some, true) => writeln!(text, "Accepted {some} in {}.", self.folder),
            (some, false) => writeln!(
                text,
                "{some} of {} services are not configured as accepted; to accept: snapshot --accept",
                self.services.len()
            ),
        };
        text
    }
}
