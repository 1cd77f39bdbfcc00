//! A new pack on disk: written beside its place and moved there when it is whole, so that no half of one is ever found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::hex;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Content, FILE, FilePath};
use ecosystem_core::synthetic::{DOCUMENTS, Lines, PIDS, ROWS, Synthetic};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{millis, pack::invalid};
use crate::event::{Events, Section, Task, Unit};
use crate::sys::fs::{create_private_dir, utf8, write_atomic};
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
    // A bad name is told before anything is written.
    pack.manifest(name, BTreeMap::new())?;
    let folder = seeds.join(name);
    refuse_existing(&folder)?;
    std::fs::create_dir_all(seeds).with_context(|| format!("cannot make {seeds}"))?;
    let making = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(seeds)
        .with_context(|| format!("cannot write into {seeds}"))?;
    let root = utf8(making.path().to_owned())?;
    let mut files = BTreeMap::new();
    for (path, text) in pack.fixed() {
        let mut file = Writer::create(&root, path)?;
        file.add(text)?;
        file.close(&mut files)?;
    }
    let task = Task::start(events, Section::Make, name);
    let [mut rows, mut pids, mut documents] =
        [Writer::create(&root, ROWS)?, Writer::create(&root, PIDS)?, Writer::create(&root, DOCUMENTS)?];
    pids.add(&pack.vocabulary_pids())?;
    let mut lines = Lines::default();
    for number in 0..pack.records() {
        pack.record(number, &mut lines);
        rows.add(&lines.row)?;
        pids.add(&lines.pids)?;
        documents.add(&lines.document)?;
        if number % STEP == 0 {
            interrupt::check()?;
            task.progress(u64::from(number), Some(u64::from(pack.records())), Unit::Items);
        }
    }
    for file in [rows, pids, documents] {
        file.close(&mut files)?;
    }
    let bytes = files.values().map(|content| content.bytes).sum();
    write_atomic(&root.join(FILE), pack.manifest(name, files)?.as_bytes(), 0o644)?;
    refuse_existing(&folder)?;
    std::fs::rename(&root, &folder).with_context(|| format!("cannot move the pack to {folder}"))?;
    let _moved_away = making.keep();
    let took_ms = millis(started);
    let records_per_s = u64::from(pack.records()) * 1_000 / took_ms.max(1);
    task.finish(format!("{} records, {records_per_s} a second", pack.records()));
    Ok(Made { pack: name.to_owned(), folder, records: pack.records(), bytes, records_per_s, took_ms })
}

fn refuse_existing(folder: &Utf8Path) -> Result<(), Failure> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, "pack-exists", format!("{folder} exists already; nothing was written"))
        .hint("choose another name, or remove the folder first"))
}

/// A file that is being written.
struct Writer {
    path: FilePath,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    lines: u64,
}

impl Writer {
    fn create(root: &Utf8Path, path: &str) -> anyhow::Result<Self> {
        let path = FilePath::try_from(path.to_owned()).map_err(invalid)?;
        let target = root.join(path.as_str());
        if let Some(parent) = target.parent() {
            create_private_dir(parent)?;
        }
        let file = File::create_new(&target).with_context(|| format!("cannot write {target}"))?;
        Ok(Self {
            path,
            file: BufWriter::with_capacity(256 * 1024, file),
            hash: Sha256::new(),
            bytes: 0,
            lines: 0,
        })
    }

    /// Adds whole lines, none of them empty but in fixed files, whose lines nobody counts.
    fn add(&mut self, text: &str) -> anyhow::Result<()> {
        self.hash.update(text);
        self.bytes += text.len() as u64;
        self.lines += text.lines().filter(|line| !line.is_empty()).count() as u64;
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path))
    }

    fn close(mut self, files: &mut BTreeMap<FilePath, Content>) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path))?;
        let sha256 = hex(&self.hash.finalize());
        files.insert(self.path, Content { bytes: self.bytes, lines: self.lines, sha256 });
        Ok(())
    }
}
