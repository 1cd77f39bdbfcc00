//! A new pack of invented records.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::synthetic::{DOCUMENTS, Lines, PIDS, ROWS, Synthetic};
use serde::Serialize;

use super::making::Making;
use super::millis;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::interrupt;

/// How many records are made between two looks at Ctrl-C and two reports of progress.
const STEP: u32 = 500;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    pub pack: String,
    pub folder: Utf8PathBuf,
    pub records: u32,
    pub bytes: u64,
    pub records_per_s: u64,
    pub took_ms: u64,
}

/// Writes a pack of invented records into `seeds/NAME`.
pub fn synthetic(
    seeds: &Utf8Path,
    name: &str,
    pack: &Synthetic,
    events: &dyn Events,
) -> anyhow::Result<Made> {
    let started = std::time::Instant::now();
    let making = Making::begin(seeds, name)?;
    let mut files = BTreeMap::new();
    for (path, text) in pack.fixed() {
        making.whole(path, text, &mut files)?;
    }
    let task = Task::start(events, Section::Make, name);
    let [mut rows, mut pids, mut documents] =
        [making.file(ROWS)?, making.file(PIDS)?, making.file(DOCUMENTS)?];
    pids.add(pack.vocabulary_pids().as_bytes())?;
    let mut lines = Lines::default();
    for number in 0..pack.records() {
        pack.record(number, &mut lines);
        rows.add(lines.row.as_bytes())?;
        pids.add(lines.pids.as_bytes())?;
        documents.add(lines.document.as_bytes())?;
        if number % STEP == 0 {
            interrupt::check()?;
            task.progress(u64::from(number), Some(u64::from(pack.records())), Unit::Items);
        }
    }
    for file in [rows, pids, documents] {
        file.close(&mut files)?;
    }
    let bytes = files.values().map(|content| content.bytes).sum();
    let folder = making.finish(&pack.manifest(name, files)?)?;
    let took_ms = millis(started);
    let records_per_s = u64::from(pack.records()) * 1_000 / took_ms.max(1);
    task.finish(format!("{} records, {records_per_s} a second", pack.records()));
    Ok(Made { pack: name.to_owned(), folder, records: pack.records(), bytes, records_per_s, took_ms })
}
