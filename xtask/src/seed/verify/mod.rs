//! Verification: what stores hold, compared with the pack, row by row and document by document.
//!
//! Rows are compared by the server, beside which those of the pack are laid for a moment. Documents are read page by page; of the pack's, and of
//! nothing else, a digest each is remembered, 32 bytes, so that a million of them take 32 MB.

mod objects;
mod opensearch;
mod postgresql;

use std::collections::BTreeMap;
use std::time::Instant;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{Part, Table};
use serde::Serialize;

use super::{Pack, State, in_parallel, millis, rabbitmq, reachable};
use crate::client::postgresql::Database;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::interrupt;
use opensearch::Held;

/// The column in which Invenio counts the changes of a row, and the field of its document that says which of them it shows.
const VERSION: &str = "version_id";

/// How many differences are named.
const NAMED: usize = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub pack: String,
    /// Nothing is missing, more, or different.
    pub equal: bool,
    pub parts: Vec<VerifiedPart>,
    /// Rows against documents that stand for the same things, as they are now.
    pub pairs: Vec<Pair>,
    /// Why a captured pack is older than the application that uses the stores now. It may be equal all the same.
    pub stale: Vec<String>,
    pub took_ms: u64,
}

/// What was found in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedPart {
    pub part: Part,
    /// Its store is not among those that run: nothing is known of it.
    pub skipped: bool,
    /// One a table, index, bucket, or for all of RabbitMQ.
    pub compared: Vec<Compared>,
    pub took_ms: u64,
}

/// A table, index or bucket beside what the pack says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub name: String,
    /// Why it could not be compared: it is not there, or has another form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub in_pack: u64,
    pub in_store: u64,
    /// Equal where the content is equal, in whatever order it lies.
    pub checksum_of_pack: String,
    pub checksum_of_store: String,
    pub missing: Found,
    pub added: Found,
    pub changed: Found,
}

/// Rows of a table and documents of an index that should be the same things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pair {
    pub table: String,
    pub index: String,
    pub rows_without_document: Found,
    pub documents_without_row: Found,
    /// Rows whose `version_id` is higher than the one in their document: it was not indexed again after a change.
    pub rows_newer_than_document: Found,
}

/// How many there are, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    pub count: u64,
    pub first: Vec<String>,
}

impl Found {
    fn add(&mut self, id: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(id.to_owned());
        }
    }
}

impl From<(u64, Vec<String>)> for Found {
    fn from((count, first): (u64, Vec<String>)) -> Self {
        Self { count, first }
    }
}

impl Compared {
    fn problem(name: &str, in_pack: u64, problem: String) -> Self {
        let missing = Found { count: in_pack, first: Vec::new() };
        Self { name: name.to_owned(), problem: Some(problem), in_pack, missing, ..Self::default() }
    }

    /// Whether it is as the pack says.
    pub fn equal(&self) -> bool {
        let none = [&self.missing, &self.added, &self.changed].iter().all(|found| found.count == 0);
        none && self.problem.is_none() && self.checksum_of_pack == self.checksum_of_store
    }
}

impl Pair {
    /// Whether each has its counterpart.
    pub fn equal(&self) -> bool {
        let all = [&self.rows_without_document, &self.documents_without_row, &self.rows_newer_than_document];
        all.iter().all(|found| found.count == 0)
    }
}

/// Compares all stores that run with the pack. Nothing is changed in them.
pub fn verify(
    pack: &Pack,
    endpoints: &BTreeMap<String, Endpoint>,
    events: &dyn Events,
) -> anyhow::Result<Verified> {
    let started = Instant::now();
    interrupt::check()?;
    let results = in_parallel(&reachable(pack, endpoints), "verified", |part, endpoint| {
        let started = Instant::now();
        let task = Task::start(events, Section::Verify, part.name());
        let total: u64 = pack.expected(part).values().sum();
        let progress = |done: u64| task.progress(done, Some(total), Unit::Items);
        let (compared, held) = match part {
            Part::Postgresql => (postgresql::compare(pack, endpoint, &progress)?, Vec::new()),
            Part::Opensearch => opensearch::compare(pack, endpoint, &progress)?,
            Part::Rabbitmq => (vec![broker(pack, endpoint)?], Vec::new()),
            Part::Objects => (objects::compare(pack, endpoint, &progress)?, Vec::new()),
        };
        let different = compared.iter().filter(|compared| !compared.equal()).count();
        let detail = if different == 0 { "equal".to_owned() } else { format!("{different} differ") };
        task.finish(format!("{detail}, {total} {}", part.unit()));
        Ok((VerifiedPart { part, skipped: false, compared, took_ms: millis(started) }, held))
    })?;
    let mut held = Vec::new();
    let mut parts = BTreeMap::new();
    for (part, (verified, indices)) in results {
        parts.insert(part, verified);
        held.extend(indices);
    }
    let pairs = match endpoints.get(Part::Postgresql.name()) {
        Some(endpoint) => pairs(pack, endpoint, &mut held)?,
        None => Vec::new(),
    };
    let skipped = |part| VerifiedPart { part, skipped: true, compared: Vec::new(), took_ms: 0 };
    let parts: Vec<VerifiedPart> = pack
        .manifest
        .parts()
        .into_iter()
        .map(|part| parts.remove(&part).unwrap_or_else(|| skipped(part)))
        .collect();
    let equal =
        parts.iter().flat_map(|part| &part.compared).all(Compared::equal) && pairs.iter().all(Pair::equal);
    let stale = stale(pack, endpoints)?;
    Ok(Verified { pack: pack.manifest.name.clone(), equal, parts, pairs, stale, took_ms: millis(started) })
}

/// What tells that the application has moved on since the capture: its migrations, its mappings.
fn stale(pack: &Pack, endpoints: &BTreeMap<String, Endpoint>) -> anyhow::Result<Vec<String>> {
    let Some(captured) = &pack.manifest.captured else { return Ok(Vec::new()) };
    let mut stale = Vec::new();
    if let Some(endpoint) = endpoints.get(Part::Postgresql.name()) {
        let now = Database::open(endpoint)?.read()?.alembic()?;
        if now != captured.alembic {
            let (now, then) = (now.join(", "), captured.alembic.join(", "));
            stale.push(format!("the database is at the migrations {now}, the pack at {then}"));
        }
    }
    if let Some(endpoint) = endpoints.get(Part::Opensearch.name()) {
        stale.extend(opensearch::other_mappings(pack, endpoint)?);
    }
    Ok(stale)
}

/// RabbitMQ tells of the first difference only, and there is no content.
fn broker(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<Compared> {
    let wanted = pack.expected(Part::Rabbitmq).values().sum();
    let name = "definitions".to_owned();
    Ok(match rabbitmq::observe(pack, endpoint)? {
        State::Loaded(counts) => {
            Compared { name, in_pack: wanted, in_store: counts.values().sum(), ..Compared::default() }
        }
        State::Missing(reason) | State::Foreign(reason) => {
            Compared { name, problem: Some(reason), in_pack: wanted, ..Compared::default() }
        }
    })
}

/// Every row against the documents that were just read.
fn pairs(pack: &Pack, endpoint: &Endpoint, held: &mut [Held]) -> anyhow::Result<Vec<Pair>> {
    let mut database = Database::open(endpoint)?;
    let mut loading = database.begin()?;
    let mut pairs = Vec::new();
    let indices = super::opensearch::indices(pack);
    for held in held {
        let Some(index) = indices.iter().find(|index| index.name == held.index) else { continue };
        let table = |table: &&Table| Some(&table.name) == index.table.as_ref();
        let Some(table) = super::postgresql::tables(pack).iter().find(table) else { continue };
        let key = loading.key(&table.name)?;
        // A table that is not there was told of already, and one without a key cannot be compared.
        if key.is_empty() {
            continue;
        }
        let mut pair = Pair { table: table.name.clone(), index: index.name.clone(), ..Pair::default() };
        let version = table.columns.iter().find(|column| *column == VERSION).map(String::as_str);
        loading.keys(&table.name, &key, version, &mut |id, version| {
            match held.meet(id) {
                None => pair.rows_without_document.add(id),
                Some(indexed) if version.is_some_and(|version| indexed > 0 && version > indexed) => {
                    pair.rows_newer_than_document.add(id);
                }
                Some(_) => {}
            }
            Ok(())
        })?;
        pair.documents_without_row = held.unmet(pack, index)?;
        pairs.push(pair);
    }
    Ok(pairs)
}
