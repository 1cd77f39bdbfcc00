//! `provision --tools`: the host tools of the release, as far as registries have them; the rest is named with the command that installs it.

use std::fmt::Write;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::RunAs;
use ecosystem_core::tool::{Verdict, remedies};
use serde::Serialize;

use super::mode;
use crate::cli::{Global, Provision};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::provision::{Tool, ToolSource};
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Provided {
    store: String,
    release: String,
    /// What had to be fetched by this run.
    new: usize,
    tools: Vec<Placed>,
}

#[derive(Debug, Serialize)]
struct Placed {
    #[serde(flatten)]
    tool: Tool,
    /// The version that the release pins.
    wanted: String,
    /// How to get what is missing, best first.
    remedies: Vec<String>,
}

/// Fetches and reports. Fails with a finding, already reported, where a tool is missing.
pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &Provision,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let ecosystem = &stack.site.ecosystem;
    let mut provisioner = stack.provisioner(context, RunAs::Me, mode(args), events)?;
    provisioner.offline = args.offline;
    let before = provisioner.look_for_tools(&ecosystem.tools)?;
    let tools = provisioner.provide_tools(&ecosystem.tools)?;
    let stored = |tools: &[Tool]| tools.iter().filter(|tool| tool.source == ToolSource::Store).count();
    let new = stored(&tools).saturating_sub(stored(&before));
    let system = context.system();
    let placed = tools.into_iter().zip(&ecosystem.tools).map(|(tool, wanted)| {
        let missing = tool.source == ToolSource::Missing;
        let remedies = if missing { remedies(wanted, &Verdict::NotFound, system) } else { Vec::new() };
        Placed { tool, wanted: wanted.tested.clone(), remedies }
    });
    let report = Provided {
        store: stack.store.to_string(),
        release: ecosystem.release.value.clone(),
        new,
        tools: placed.collect(),
    };
    output::report(&report, global.format)?;
    if report.tools.iter().any(|placed| placed.tool.source == ToolSource::Missing) {
        return Err(Failure::new(Kind::Finding, "tools-missing", "").into());
    }
    Ok(())
}

impl Report for Provided {
    fn human(&self) -> String {
        let mut text = String::new();
        let mut missing = 0;
        for Placed { tool, wanted, remedies } in &self.tools {
            let path = tool.path.as_ref().map(|path| path.as_str()).unwrap_or_default();
            let (version, place) = match tool.source {
                ToolSource::Store => (tool.version.as_deref().unwrap_or(wanted), path.to_owned()),
                ToolSource::Host => ("", format!("{path}   of this machine, see `check`")),
                ToolSource::Absent | ToolSource::Missing => {
                    ("", format!("missing; the release has {wanted}"))
                }
            };
            let _ = writeln!(text, "  {:<16} {version:<10} {place}", tool.title);
            missing += usize::from(tool.source == ToolSource::Missing);
            for remedy in remedies {
                let _ = writeln!(text, "  {:<16} {:<10} → {remedy}", "", "");
            }
        }
        let did = if self.new == 0 { "nothing to do".to_owned() } else { format!("{} new", self.new) };
        let _ = writeln!(text, "Tools of release {} in {}: {did}", self.release, self.store);
        if missing > 0 {
            let have = if missing == 1 { "has" } else { "have" };
            let _ = writeln!(text, "{missing} of {} {have} to be installed by hand.", self.tools.len());
        }
        text
    }
}
