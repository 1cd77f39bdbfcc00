//! `seed`: lays a pack into the stores that run. What is there already stays as it is.

use std::fmt::Write;

use crate::cli::{Global, Seed};
use crate::context::Context;
use crate::event::Events;
use crate::output;
use crate::seed::{self, Outcome, Report};
use crate::stack::Stack;

/// Loads a pack.
pub fn run(context: &Context, global: &Global, args: &Seed, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let found = stack.pack(args.pack.as_deref())?;
    let _lock = stack.lock(context, "seed", &[], events)?;
    let mut endpoints = stack.running_by_kind(context)?;
    let pack = stack.open_pack(&found, events)?;
    if args.from_database {
        return output::report(&seed::rebuild(&pack, &endpoints, events)?, global.format);
    }
    endpoints.retain(|kind, _| args.only.is_empty() || args.only.contains(kind));
    output::report(&seed::seed(&pack, &endpoints, events)?, global.format)
}

impl output::Report for Report {
    fn human(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let outcome = match part.outcome {
                Outcome::Loaded => "loaded",
                Outcome::Kept => "there already",
                Outcome::Rebuilt => "made from the database",
                Outcome::Skipped => "skipped",
            };
            let _ = writeln!(text, "  {:<12} {:<16} {outcome}", part.part.name(), part.total());
        }
        let _ = writeln!(text, "Pack {}: {}", self.pack, output::seconds(self.took_ms));
        text
    }
}
