//! Capturing: a pack is made from what the stores of a running stack hold, so that another stack becomes equal to it.
//!
//! Each store is read as of one moment, not all of them as of the same one. Nothing is changed in them. What belongs into a pack is
//! decided in `core::capture`.

mod objects;
mod opensearch;
mod postgresql;
mod rabbitmq;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::capture;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Captured, Content, FORMAT, FilePath, Manifest, Part};
use serde::Serialize;

use super::making::Making;
use super::{Counts, in_parallel, millis};
use crate::event::{Event, Events, Section, Task};
use crate::sys::{clock, interrupt};

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub pack: String,
    pub folder: Utf8PathBuf,
    pub bytes: u64,
    pub parts: Vec<PartReport>,
    /// Tables and indices that hold the same things, and how many of one have no counterpart in the other.
    pub pairs: Vec<Pair>,
    pub took_ms: u64,
}

/// What was captured of one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartReport {
    pub part: Part,
    /// By table, index, queue or bucket.
    pub counts: Counts,
    pub took_ms: u64,
}

/// A table and an index whose keys and ids are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    pub table: String,
    pub index: String,
    pub rows_without_document: u64,
    pub documents_without_row: u64,
}

impl Pair {
    /// Whether each has its counterpart.
    pub fn equal(&self) -> bool {
        self.rows_without_document == 0 && self.documents_without_row == 0
    }
}

/// Runs pg_dump with these words, and gives what it prints.
pub type Dump<'a> = dyn Fn(&[String]) -> anyhow::Result<String> + Sync + 'a;

/// What a store gives to the manifest.
enum Piece {
    Tables(postgresql::Taken),
    Indices(opensearch::Taken),
    Broker(FilePath, Counts),
    Objects(objects::Taken),
}

/// What is to be captured, and how.
pub struct Wanted<'a> {
    pub name: &'a str,
    pub description: String,
    pub release: String,
    /// Servers by kind.
    pub endpoints: &'a BTreeMap<String, Endpoint>,
    pub dump: &'a Dump<'a>,
    /// Whose indices and templates are others' than the main instance's.
    pub tenants: &'a BTreeSet<String>,
}

/// Makes the pack `seeds/NAME`.
pub fn take(seeds: &Utf8Path, wanted: &Wanted<'_>, events: &dyn Events) -> anyhow::Result<Report> {
    let started = Instant::now();
    let making = Making::begin(seeds, wanted.name)?;
    let stores: Vec<(Part, &Endpoint)> =
        Part::ALL.into_iter().filter_map(|part| Some((part, wanted.endpoints.get(part.name())?))).collect();
    let pieces = in_parallel(&stores, "captured", |part, endpoint| {
        interrupt::check()?;
        let began = Instant::now();
        let task = Task::start(events, Section::Capture, part.name());
        let mut files = BTreeMap::new();
        let at = clock::now().to_the_second();
        let piece = match part {
            Part::Postgresql => {
                Piece::Tables(postgresql::take(endpoint, wanted.dump, &making, &mut files, &task)?)
            }
            Part::Opensearch => {
                Piece::Indices(opensearch::take(endpoint, wanted.tenants, &making, &mut files, &task)?)
            }
            Part::Rabbitmq => {
                let (path, counts) = rabbitmq::take(endpoint, &making, &mut files)?;
                Piece::Broker(path, counts)
            }
            Part::Objects => Piece::Objects(objects::take(endpoint, &making, &mut files, &task)?),
        };
        let counts = match &piece {
            Piece::Tables(taken) => taken.counts.clone(),
            Piece::Indices(taken) => taken.counts.clone(),
            Piece::Broker(_, counts) => counts.clone(),
            Piece::Objects(taken) => taken.counts.clone(),
        };
        task.finish(super::total(part, &counts));
        Ok((piece, files, at, PartReport { part, counts, took_ms: millis(began) }))
    })?;

    let mut manifest = Manifest {
        format: FORMAT,
        name: wanted.name.to_owned(),
        description: wanted.description.clone(),
        postgresql: None,
        opensearch: None,
        rabbitmq: None,
        objects: None,
        captured: None,
        files: BTreeMap::new(),
    };
    let mut captured = Captured { release: wanted.release.clone(), ..Captured::default() };
    let mut contents = 0;
    let (mut parts, mut ids, mut tables, mut left_out) =
        (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
    for (_, (piece, files, at, report)) in pieces {
        manifest.files.extend(files);
        parts.push(report);
        match piece {
            Piece::Tables(taken) => {
                captured.postgresql = Some(at);
                captured.alembic = taken.alembic;
                left_out.extend(taken.left_out);
                tables = taken.known;
                // A database without a table is no part: there is nothing to load, and nothing to compare.
                manifest.postgresql = Some(taken.part).filter(|part| !part.tables.is_empty());
            }
            Piece::Indices(taken) => {
                captured.opensearch = Some(at);
                ids = taken.ids;
                let some = |part: &ecosystem_core::pack::Indices| {
                    !part.indices.is_empty() || part.templates.is_some()
                };
                manifest.opensearch = Some(taken.part).filter(some);
            }
            Piece::Broker(definitions, counts) => {
                captured.rabbitmq = Some(at);
                let broker = ecosystem_core::pack::Broker { definitions };
                manifest.rabbitmq = Some(broker).filter(|_| !counts.is_empty());
            }
            Piece::Objects(taken) => {
                captured.objects = Some(at);
                contents = taken.bytes;
                manifest.objects = Some(taken.part).filter(|part| !part.buckets.is_empty());
            }
        }
    }
    manifest.captured = Some(captured);
    // Files of parts that are none are no files of the pack.
    let named: Vec<FilePath> = Part::ALL.into_iter().flat_map(|part| manifest.files(part)).cloned().collect();
    manifest.files.retain(|path, _| named.contains(path));
    let pairs = match wanted.endpoints.get(Part::Postgresql.name()) {
        Some(endpoint) => postgresql::pairs(endpoint, &tables, &ids)?,
        None => Vec::new(),
    };
    for index in manifest.opensearch.iter_mut().flat_map(|part| &mut part.indices) {
        // Only what is one to one now can be expected to be so after loading.
        let equal: Vec<&Pair> =
            pairs.iter().filter(|pair| pair.index == index.name && pair.equal()).collect();
        // Drafts have the keys of their records.
        let named = equal.iter().find(|pair| capture::related(&pair.table, &index.name));
        index.table = named.or(equal.first()).map(|pair| pair.table.clone());
    }
    if manifest.parts().is_empty() {
        let text = "there is nothing to capture: no table, no index, no queue, no bucket".to_owned();
        return Err(Failure::new(Kind::Finding, "nothing-to-capture", text).hint("{program} seed").into());
    }
    let text = toml::to_string(&manifest).map_err(|error| unfit(&[error.to_string()]))?;
    // What this version cannot load is no pack; all of it is told at once.
    Manifest::parse(&text).map_err(|failure| unfit(&[failure.message]))?;
    for text in left_out {
        events.emit(Event::Warning(text));
    }
    let lists: u64 = manifest.files.values().map(|content: &Content| content.bytes).sum();
    let bytes = lists + contents;
    let folder = making.finish(&text)?;
    Ok(Report { pack: wanted.name.to_owned(), folder, bytes, parts, pairs, took_ms: millis(started) })
}

fn unfit(problems: &[String]) -> Failure {
    let text = format!("this cannot be captured as a pack: {}; nothing was written", problems.join("; "));
    Failure::new(Kind::Data, "capture-unfit", text)
        .hint("{program} checkpoint save NAME copies all stores as they are, whatever is in them")
}
