//! `provision`: what the services need, fetched and built, without starting anything.

use std::fmt::Write;

use ecosystem_core::failure::{Failure, Kind};
use serde::Serialize;

use crate::cli::{Global, Provision};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::provision::{Mode, Need};
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Provided {
    store: String,
    /// What had to be fetched or built by this run.
    new: usize,
    items: Vec<Need>,
}

/// Fills the store.
pub fn run(context: &Context, global: &Global, args: &Provision, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global, None)?;
    let services = stack.site.ecosystem.select(None, &args.services)?;
    let (services, _) = stack.site.ecosystem.with_needed(&services)?;
    let run_as = context.host().run_as().ok_or_else(|| {
        Failure::new(
            Kind::Host,
            "root-without-namespaces",
            "PostgreSQL cannot be prepared as root on this machine",
        )
        .hint("run as an ordinary user")
    })?;
    let mode = match (args.locked, args.relock) {
        (true, _) => Mode::Locked,
        (_, true) => Mode::Relock,
        _ => Mode::Normal,
    };
    let mut provisioner = stack.provisioner(context, run_as, mode, events)?;
    let missing = provisioner.plan(&services)?.iter().filter(|need| !need.present).count();
    provisioner.provide(&services)?;
    let items = provisioner.plan(&services)?;
    output::report(&Provided { store: stack.store.to_string(), new: missing, items }, global.format)
}

impl Report for Provided {
    fn human(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let _ = writeln!(
                text,
                "  {:<12} {:<20} {}",
                item.service,
                item.name,
                item.version.as_deref().unwrap_or("")
            );
        }
        let did = if self.new == 0 { "nothing to do".to_owned() } else { format!("{} new", self.new) };
        let _ = writeln!(text, "All in {}: {did}", self.store);
        text
    }
}
