//! `provision --clean`: shows what in the store no known project needs, asks, and removes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::RunAs;
use ecosystem_core::release;
use serde::Serialize;

use crate::cli::{Global, Provision};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output::{self, Report};
use crate::provision::{Mode, Sweep, Waste, What};
use crate::site::places;
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Cleaned {
    store: Utf8PathBuf,
    /// The projects whose needs were kept.
    projects: Vec<Utf8PathBuf>,
    /// It was removed, not only shown.
    removed: bool,
    bytes: u64,
    items: Vec<Waste>,
}

/// Removes what nobody needs.
pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &Provision,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let here = Stack::open(context, global)?;
    let store = here.store.clone();
    if !store.is_dir() {
        let report = Cleaned { store, projects: vec![], removed: false, bytes: 0, items: vec![] };
        return output::report(&report, global.format);
    }
    let mut projects = BTreeSet::from([here.site.root.clone()]);
    let registry = places::registered(&store);
    // A project that is gone needs nothing.
    projects.extend(registry.known.into_iter().map(|known| known.root).filter(|root| root.is_dir()));
    let mut known = registry.damaged.is_empty();
    for damaged in registry.damaged {
        events.emit(Event::Warning(damaged.to_string()));
    }
    let mut keep = BTreeSet::new();
    for root in &projects {
        match needs(context, global, root, events) {
            Ok(needed) => keep.extend(needed),
            // The project at hand must be right: its error is the person's to see.
            Err(error) if *root == here.site.root => return Err(error),
            Err(error) => {
                events.emit(Event::Warning(format!("{root}: {error:#}")));
                known = false;
            }
        }
    }
    let sweep = Sweep::begin(&store)?;
    let mut items = sweep.waste(&keep)?;
    if !known {
        events.emit(Event::Warning(
            "what these projects need is not known, so nothing is removed that one of them could need"
                .to_owned(),
        ));
        items.retain(|item| item.what != What::Unneeded);
    }
    let bytes = items.iter().map(|item| item.bytes).sum();
    let mut report =
        Cleaned { store, projects: projects.into_iter().collect(), removed: false, bytes, items };
    if !args.dry_run && !report.items.is_empty() {
        if !args.yes {
            confirm(&report)?;
        }
        sweep.remove(&report.items)?;
        report.removed = true;
    }
    output::report(&report, global.format)
}

/// The folders of the store that all services of a project need.
fn needs(
    context: &Context,
    global: &Global,
    root: &Utf8Path,
    events: &dyn Events,
) -> anyhow::Result<BTreeSet<String>> {
    let stack =
        Stack::open(context, &Global { directory: Some(root.to_owned()), release: None, ..global.clone() })?;
    let services: Vec<_> = stack.site.ecosystem.services.values().collect();
    let provisioner = stack.provisioner(context, RunAs::Me, Mode::Normal, events)?;
    let mut folders = provisioner.needed(&services)?;
    // A shell is no stack that anybody remembers: the tools of every release stay.
    for release in release::names().filter_map(release::find) {
        folders.extend(provisioner.needed_tools(&release.tools)?);
    }
    Ok(folders)
}

fn confirm(report: &Cleaned) -> anyhow::Result<()> {
    let size = output::bytes(report.bytes);
    if !std::io::stdin().is_terminal() {
        let text = format!("removing {size} from {} needs a yes", report.store);
        return Err(Failure::new(Kind::Usage, "needs-yes", text)
            .hint("{program} provision --clean --yes")
            .into());
    }
    if output::agreed(&format!("{}Remove {size} from {}?", report.human(), report.store))? {
        return Ok(());
    }
    Err(Failure::new(Kind::Interrupted, "not-confirmed", "nothing was removed").into())
}

impl Report for Cleaned {
    fn human(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let why = match item.what {
                What::Unneeded => "no project needs it",
                What::Unfinished => "of a build that did not finish",
                What::Cache => "cache",
            };
            let path = item.path.strip_prefix(&self.store).unwrap_or(&item.path);
            let size = output::bytes(item.bytes);
            let _ = writeln!(text, "  {path:<48} {size:>9}  {why}", path = path.as_str());
        }
        let size = output::bytes(self.bytes);
        let projects = match self.projects.len() {
            1 => "1 project".to_owned(),
            count => format!("{count} projects"),
        };
        let _ = match (self.items.is_empty(), self.removed) {
            (true, _) => writeln!(text, "Nothing to remove from {}.", self.store),
            (false, true) => writeln!(text, "Removed {size} from {}; kept what {projects} need.", self.store),
            (false, false) => {
                writeln!(text, "{size} in {} could go; what {projects} need stays.", self.store)
            }
        };
        text
    }
}
