//! `pack`: makes packs, and compares what is loaded with its pack.

use std::fmt::Write;

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::pack::Part;
use ecosystem_core::synthetic::Synthetic;

use super::clients::pg_dump;
use crate::app::tasks;
use crate::cli::{Archive, Capture, Global, New, Pack, Verify};
use crate::context::Context;
use crate::event::{Events, Section};
use crate::output::{self, Report};
use crate::seed;
use crate::seed::archive::Archived;
use crate::seed::capture::{self, Wanted};
use crate::seed::new::{self, Made};
use crate::seed::verify::{Compared, Found, Verified};
use crate::stack::Stack;
use crate::tenant;

/// Carries out one of its verbs.
pub fn run(context: &Context, global: &Global, verb: &Pack, events: &dyn Events) -> anyhow::Result<()> {
    match verb {
        Pack::New(args) => make(context, global, args, events),
        Pack::Capture(args) => capture(context, global, args, events),
        Pack::Archive(args) => archive(context, global, args, events),
        Pack::Verify(args) => verify(context, global, args, events),
    }
}

fn verify(context: &Context, global: &Global, args: &Verify, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let found = stack.pack(args.pack.as_deref())?;
    let _lock = stack.lock(context, "pack verify", &[], events)?;
    let endpoints = stack.running_by_kind(context)?;
    let pack = stack.open_pack(&found, events)?;
    let verified = seed::verify::verify(&pack, &endpoints, events)?;
    output::report(&verified, global.format)?;
    if verified.equal {
        return Ok(());
    }
    let text = format!("what the stores hold differs from the pack {}", verified.pack);
    Err(Failure::new(Kind::Finding, "pack-differs", text)
        .hint("where it was changed on purpose, this is no fault")
        .hint("else begin again with the pack: {program} down --data, then {program} up")
        .into())
}

fn capture(context: &Context, global: &Global, args: &Capture, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let _lock = stack.lock(context, "pack capture", &[], events)?;
    let endpoints = stack.running_by_kind(context)?;
    if args.quiesce
        && let Some(endpoint) = endpoints.get("rabbitmq")
    {
        tasks::drain(endpoint, Section::Capture, None, events)?;
    }
    let runs = endpoints.contains_key("postgresql");
    let dump = runs.then(|| pg_dump(context, &stack, events)).transpose()?;
    let (servers, _) = tenant::servers(&stack.running_by_name(context)?);
    let place = stack.place().context("the place is set up")?;
    let tenants = tenant::look(&place, &servers)?.into_keys().collect();
    let wanted = Wanted {
        name: &args.name,
        description: args.description.clone().unwrap_or_else(|| "captured from a running stack".to_owned()),
        release: stack.site.ecosystem.release.value.clone(),
        endpoints: &endpoints,
        dump: &|words| dump.as_ref().context("PostgreSQL does not run")?(words),
        tenants: &tenants,
    };
    output::report(&capture::take(&stack.seeds(), &wanted, events)?, global.format)
}

fn make(context: &Context, global: &Global, args: &New, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    let pack = Synthetic::new(args.synthetic, args.rng)?;
    let made = new::synthetic(&stack.seeds(), &args.name, &pack, events)?;
    output::report(&made, global.format)
}

fn archive(context: &Context, global: &Global, args: &Archive, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    output::report(&seed::archive::archive(&stack.seeds(), &args.name, events)?, global.format)
}

impl Report for Verified {
    fn human(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if part.skipped {
                let _ = writeln!(text, "  {:<12} skipped: its server does not run", part.part.name());
            }
            for compared in &part.compared {
                let Compared { name, in_pack, in_store, missing, added, changed, .. } = compared;
                let verdict = if compared.equal() { "equal" } else { "different" };
                let _ = writeln!(
                    text,
                    "  {:<12} {name:<42} {in_store:>9} of {in_pack:<9} {verdict}",
                    part.part.name()
                );
                if let Some(problem) = &compared.problem {
                    let _ = writeln!(text, "      {problem}");
                }
                found(&mut text, "missing", missing);
                found(&mut text, "not from the pack", added);
                found(&mut text, "changed", changed);
            }
        }
        for pair in &self.pairs {
            let verdict = if pair.equal() { "one to one" } else { "different" };
            let _ = writeln!(text, "  {} and {}: {verdict}", pair.table, pair.index);
            found(&mut text, "rows without a document", &pair.rows_without_document);
            found(&mut text, "documents without a row", &pair.documents_without_row);
            found(&mut text, "rows newer than their document", &pair.rows_newer_than_document);
        }
        for reason in &self.stale {
            let _ = writeln!(text, "  older than the application: {}", harmless(reason));
        }
        if !self.stale.is_empty() {
            let _ = writeln!(text, "      capture it again once the application is set up anew");
        }
        let _ = writeln!(text, "Pack {}: {}", self.pack, output::seconds(self.took_ms));
        text
    }
}

fn found(text: &mut String, what: &str, found: &Found) {
    if found.count == 0 {
        return;
    }
    let _ = writeln!(text, "      {} {what}", found.count);
    for id in &found.first {
        // An id comes from a store, and may hold anything.
        let _ = writeln!(text, "        {}", harmless(id));
    }
    let more = found.count - found.first.len() as u64;
    if more > 0 && !found.first.is_empty() {
        let _ = writeln!(text, "        and {more} more");
    }
}

impl Report for capture::Report {
    fn human(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let total: u64 = part.counts.values().sum();
            let number = part.counts.len();
            let (unit, of) = (
                part.part.unit(),
                match part.part {
                    Part::Postgresql => format!(" in {number} tables"),
                    Part::Opensearch => format!(" in {number} indices"),
                    Part::Rabbitmq => String::new(),
                    Part::Objects => format!(" in {number} buckets"),
                },
            );
            let _ = writeln!(text, "  {:<12} {total} {unit}{of}", part.part.name());
        }
        for pair in self.pairs.iter().filter(|pair| !pair.equal()) {
            let _ = writeln!(
                text,
                "  {} and {}: {} rows without a document, {} documents without a row",
                pair.table, pair.index, pair.rows_without_document, pair.documents_without_row
            );
        }
        let (size, took) = (output::bytes(self.bytes), output::seconds(self.took_ms));
        let _ = writeln!(text, "Pack {}: {size}, {took}", self.pack);
        let _ = writeln!(text, "  {}", self.folder);
        text
    }
}

impl Report for Archived {
    fn human(&self) -> String {
        let Self { pack, file, files, unpacked_bytes, bytes, sha256, took_ms } = self;
        let mut text = String::new();
        let (from, to) = (output::bytes(*unpacked_bytes), output::bytes(*bytes));
        let _ = writeln!(text, "Pack {pack}: {files} files, {from} in {to}, {}", output::seconds(*took_ms));
        let _ = writeln!(text, "  {file}\n  SHA-256 {sha256}");
        let _ = writeln!(
            text,
            "  The folder {pack} beside it can be removed now; with both there the pack is ambiguous."
        );
        text
    }
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
