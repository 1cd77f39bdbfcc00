//! Seeding: a pack is laid into the stores that run. Seeding is reconciling: what is there already stays as it is.
//!
//! Every store carries its own receipt, so a store that lost its data, or whose loading was cut short, is noticed and loaded again.
//! Guarantee: each part at least once and idempotent, hence one end state; not one instant over all stores.
//! What this pack did not make itself is never touched: it is reported instead, before anything is loaded.

pub mod archive;
pub mod capture;
mod document;
mod lines;
mod making;
pub mod new;
mod objects;
mod opensearch;
pub mod pack;
mod postgresql;
mod rabbitmq;
mod rebuild;
pub mod verify;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::Part;
use serde::Serialize;

pub use archive::Found;
pub use objects::strays;
pub use pack::Pack;

use crate::client::Halt;
use crate::event::{Event, Events, Section, Task, Unit};
use crate::sys::{interrupt, parallel};

/// What a store holds of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Everything, by the receipt and by a look. Numbers by table, index, queue or bucket.
    Loaded(Counts),
    /// Not, or not all of it, with the reason.
    Missing(String),
    /// Something that this pack did not make stands in its way.
    Foreign(String),
}

/// How many rows, documents or objects, by table, index or bucket; queues count one each.
pub type Counts = BTreeMap<String, u64>;

/// What seeding did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub pack: String,
    pub parts: Vec<PartReport>,
    pub took_ms: u64,
}

/// What seeding did in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartReport {
    pub part: Part,
    pub outcome: Outcome,
    /// Why it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What it holds now, by table, index, queue or bucket.
    pub counts: Counts,
    pub took_ms: u64,
}

/// How a part came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Loaded,
    /// It was there already.
    Kept,
    /// Made from the tables of the database.
    Rebuilt,
    /// Its store is not among those that run.
    Skipped,
}

impl PartReport {
    /// `423 rows`
    pub fn total(&self) -> String {
        total(self.part, &self.counts)
    }
}

/// What each store holds of a pack. Endpoints are by kind of service; a part without one is left out.
pub fn observe(pack: &Pack, endpoints: &BTreeMap<String, Endpoint>) -> anyhow::Result<BTreeMap<Part, State>> {
    let all = in_parallel(&reachable(pack, endpoints), "seeded", |part, endpoint| match part {
        Part::Postgresql => postgresql::observe(pack, endpoint),
        Part::Opensearch => opensearch::observe(pack, endpoint),
        Part::Rabbitmq => rabbitmq::observe(pack, endpoint),
        Part::Objects => objects::observe(pack, endpoint),
    })?;
    Ok(all.into_iter().collect())
}

/// Loads what is missing of a pack, all stores at once. With nothing missing it only looks.
pub fn seed(
    pack: &Pack,
    endpoints: &BTreeMap<String, Endpoint>,
    events: &dyn Events,
) -> anyhow::Result<Report> {
    let started = Instant::now();
    interrupt::check()?;
    let states = observe(pack, endpoints)?;
    refuse_foreign(pack, &states)?;
    for (part, _) in states.iter().filter(|(_, state)| matches!(state, State::Missing(_))) {
        pack.check(*part)?;
    }

    let halt = Halt::default();
    let reports =
        in_parallel(&reachable(pack, endpoints), "seeded", |part, endpoint| match states.get(&part) {
            Some(State::Missing(cause)) => {
                let report = load(pack, part, endpoint, cause, events, &halt);
                if report.is_err() {
                    halt.ring();
                }
                report
            }
            Some(State::Loaded(counts)) => Ok(PartReport {
                part,
                outcome: Outcome::Kept,
                cause: None,
                counts: counts.clone(),
                took_ms: 0,
            }),
            _ => Ok(skipped(part)),
        })?;
    let mut reports: BTreeMap<Part, PartReport> = reports.into_iter().collect();
    compare(pack, &reports, events)?;
    let parts = pack.manifest.parts();
    Ok(Report {
        pack: pack.manifest.name.clone(),
        parts: parts.into_iter().map(|part| reports.remove(&part).unwrap_or_else(|| skipped(part))).collect(),
        took_ms: millis(started),
    })
}

/// Makes the indices of a pack from the tables in the database, rather than from its documents.
pub fn rebuild(
    pack: &Pack,
    endpoints: &BTreeMap<String, Endpoint>,
    events: &dyn Events,
) -> anyhow::Result<Report> {
    let started = Instant::now();
    interrupt::check()?;
    let of = |part: Part| {
        endpoints.get(part.name()).ok_or_else(|| {
            let text = format!("indices are made from the database, and {} does not run", part.name());
            Failure::new(Kind::Finding, "nothing-runs", text).hint(format!("{{program}} up {}", part.name()))
        })
    };
    let (from, to) = (of(Part::Postgresql)?, of(Part::Opensearch)?);
    let task = Task::start(events, Section::Seed, Part::Opensearch.name());
    let counts =
        rebuild::rebuild(pack, from, to, &|done, total| task.progress(done, Some(total), Unit::Items))?;
    task.finish(format!(
        "{}{}",
        total(Part::Opensearch, &counts),
        rate(counts.values().sum(), started.elapsed())
    ));
    let took_ms = millis(started);
    let part = PartReport { part: Part::Opensearch, outcome: Outcome::Rebuilt, cause: None, counts, took_ms };
    Ok(Report { pack: pack.manifest.name.clone(), parts: vec![part], took_ms })
}

fn load(
    pack: &Pack,
    part: Part,
    endpoint: &Endpoint,
    cause: &str,
    events: &dyn Events,
    halt: &Halt,
) -> anyhow::Result<PartReport> {
    let started = Instant::now();
    let task = Task::start(events, Section::Seed, part.name());
    let expected = pack.expected(part);
    let total_items = expected.values().sum();
    let progress = |done: u64| task.progress(done, Some(total_items), Unit::Items);
    let counts = match part {
        Part::Postgresql => postgresql::load(pack, endpoint, &progress),
        Part::Opensearch => opensearch::load(pack, endpoint, halt, &progress),
        Part::Rabbitmq => rabbitmq::load(pack, endpoint),
        Part::Objects => objects::load(pack, endpoint, halt, &progress),
    }?;
    if counts != expected {
        let message = format!(
            "{} holds {} after loading the pack {}, which has {}",
            part.name(),
            total(part, &counts),
            pack.manifest.name,
            total(part, &expected)
        );
        return Err(mismatch(message).into());
    }
    let rate = rate(total_items, started.elapsed());
    task.finish(format!("{}{rate}", total(part, &counts)));
    Ok(PartReport {
        part,
        outcome: Outcome::Loaded,
        cause: Some(cause.to_owned()),
        counts,
        took_ms: millis(started),
    })
}

/// Everything that stands in the way, in one failure.
fn refuse_foreign(pack: &Pack, states: &BTreeMap<Part, State>) -> Result<(), Failure> {
    let foreign: Vec<&str> = states
        .values()
        .filter_map(|state| match state {
            State::Foreign(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let name = &pack.manifest.name;
    let message = format!(
        "the pack {name} cannot be loaded over data that it did not bring:\n  {}",
        foreign.join("\n  ")
    );
    Err(Failure::new(Kind::Data, "data-foreign", message)
        .hint("keep this data and leave the pack out: {program} up --no-seed")
        .hint("or remove the data yourself and try again; nothing was changed"))
}

/// What to do about rows and documents that were equally many once.
const UNEVEN: &str = "one of them was changed since it was loaded. Where that was meant, let the application write its index anew \
                      (invenio rdm-records rebuild-index); else load the pack afresh: `down --data`, then `up`";

fn mismatch(message: String) -> Failure {
    Failure::new(Kind::Data, "data-mismatch", message)
        .hint("load it again: {program} seed; where that changes nothing, the pack contradicts itself")
}

/// Rows and documents that stand for the same things should be equally many. People may change either afterwards, so it is an
/// error only when both were loaded just now.
pub fn compare(
    pack: &Pack,
    reports: &BTreeMap<Part, PartReport>,
    events: &dyn Events,
) -> Result<(), Failure> {
    let (Some(rows), Some(documents)) = (reports.get(&Part::Postgresql), reports.get(&Part::Opensearch))
    else {
        return Ok(());
    };
    for index in pack.manifest.opensearch.iter().flat_map(|part| &part.indices) {
        let Some(table) = &index.table else { continue };
        let (Some(in_table), Some(in_index)) = (rows.counts.get(table), documents.counts.get(&index.name))
        else {
            continue;
        };
        if in_table == in_index {
            continue;
        }
        let message = format!("{in_table} rows in {table}, but {in_index} documents in {}", index.name);
        if rows.outcome == Outcome::Loaded && documents.outcome == Outcome::Loaded {
            return Err(mismatch(message));
        }
        events.emit(Event::Warning(format!("{message}; {UNEVEN}")));
    }
    Ok(())
}

/// The parts whose store is there.
fn reachable<'a>(pack: &Pack, endpoints: &'a BTreeMap<String, Endpoint>) -> Vec<(Part, &'a Endpoint)> {
    pack.manifest.parts().into_iter().filter_map(|part| Some((part, endpoints.get(part.name())?))).collect()
}

/// Runs one thing for every part at once. Several errors are told together.
fn in_parallel<T: Send>(
    parts: &[(Part, &Endpoint)],
    verb: &str,
    work: impl Fn(Part, &Endpoint) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<(Part, T)>> {
    let results = parallel::map(parts, |(part, endpoint)| (*part, work(*part, endpoint)));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (part, result) in results {
        match result.with_context(|| format!("{} could not be {verb}", part.name())) {
            Ok(value) => good.push((part, value)),
            Err(error) => bad.push(error),
        }
    }
    if bad.len() < 2 {
        return bad.pop().map_or(Ok(good), Err);
    }
    let messages: Vec<String> = bad.iter().map(|error| format!("{error:#}")).collect();
    let failure = bad.iter().find_map(|error| error.downcast_ref::<Failure>());
    let (kind, code) =
        failure.map_or((Kind::Data, "data-not-loaded"), |failure| (failure.kind, failure.code));
    let mut all = Failure::new(kind, code, messages.join("\n"));
    all.hints =
        bad.iter().filter_map(|e| e.downcast_ref::<Failure>()).flat_map(|f| f.hints.clone()).collect();
    Err(all.into())
}

fn skipped(part: Part) -> PartReport {
    PartReport { part, outcome: Outcome::Skipped, cause: None, counts: Counts::new(), took_ms: 0 }
}

fn total(part: Part, counts: &Counts) -> String {
    format!("{} {}", counts.values().sum::<u64>(), part.unit())
}

/// `, 41000 a second`, where it took long enough to mean something.
fn rate(items: u64, took: Duration) -> String {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let rate = if ms < 1_000 { 0 } else { items.saturating_mul(1_000) / ms };
    if rate == 0 { String::new() } else { format!(", {rate} a second") }
}

/// Milliseconds since then.
pub fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
