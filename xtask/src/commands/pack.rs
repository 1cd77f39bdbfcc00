//! `pack`: makes packs, and compares what is loaded with its pack.

use std::fmt::Write;

use ecosystem_core::synthetic::Synthetic;

use crate::cli::{Global, New, Pack};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::seed::new::{self, Made};
use crate::stack::Stack;

/// Carries out one of its verbs.
pub fn run(context: &Context, global: &Global, verb: &Pack, events: &dyn Events) -> anyhow::Result<()> {
    match verb {
        Pack::New(args) => make(context, global, args, events),
        Pack::Verify(_) => Ok(()),
    }
}

fn make(context: &Context, global: &Global, args: &New, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    let pack = Synthetic::new(args.synthetic, args.rng)?;
    let made = new::synthetic(&stack.site.root.join("seeds"), &args.name, &pack, events)?;
    output::report(&made, global.format)
}

impl Report for Made {
    fn human(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Pack {}: {} records, {} MB, {} records a second, {}",
            self.pack,
            self.records,
            self.bytes / 1_000_000,
            self.records_per_s,
            output::seconds(self.took_ms)
        );
        let _ = writeln!(text, "  {}", self.folder);
        text
    }
}
