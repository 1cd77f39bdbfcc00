//! `seed`: lays a pack into the stores that run. What is there already stays as it is.

use std::fmt::Write;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};

use crate::cli::{Global, Seed};
use crate::context::Context;
use crate::event::Events;
use crate::output;
use crate::seed::{self, Outcome, Pack, Report};
use crate::stack::Stack;

/// Loads a pack.
pub fn run(context: &Context, global: &Global, args: &Seed, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let named = stack.site.ecosystem.seed.as_ref().map(|seed| seed.value.as_str());
    let pack = Pack::open(&stack.pack_folder(args.pack.as_deref().or(named).unwrap_or("demo"))?)?;
    let Some(place) = stack.place() else { return Err(nothing_runs(&stack).into()) };
    let _lock = stack.lock(context, "seed", &[], events)?;
    let running = Stack::running(context, &place)?;
    let there = |s: &&Service| running.contains(&s.name) || s.backend.value == Backend::External;
    let services: Vec<&Service> = stack.site.ecosystem.services.values().filter(there).collect();
    if services.is_empty() {
        return Err(nothing_runs(&stack).into());
    }
    let endpoints = Stack::by_kind(&stack.endpoints(&services, &place, &stack.state.secrets()?));
    output::report(&seed::seed(&pack, &endpoints, events)?, global.format)
}

fn nothing_runs(stack: &Stack) -> Failure {
    Failure::new(Kind::Finding, "nothing-runs", format!("nothing runs for {}", stack.site.root))
        .hint("{program} up")
}

impl output::Report for Report {
    fn human(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let outcome = match part.outcome {
                Outcome::Loaded => "loaded",
                Outcome::Kept => "there already",
                Outcome::Skipped => "skipped: its server does not run",
            };
            let _ = writeln!(text, "  {:<12} {:<16} {outcome}", part.part.name(), part.total());
        }
        let _ = writeln!(text, "Pack {}: {}", self.pack, output::seconds(self.took_ms));
        text
    }
}
