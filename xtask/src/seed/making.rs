//! A pack that is being written: beside its place, and moved there when it is whole, so that no half of one is ever found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::hex;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Content, FILE, FilePath, check_name};
use sha2::{Digest as _, Sha256};

use super::archive::ENDING;
use super::objects::Digesting;
use super::pack::invalid;
use crate::sys::fs::{create_private_dir, utf8, write_atomic};

/// The folder of a pack, under a name that nobody looks for.
pub(super) struct Making {
    target: Utf8PathBuf,
    root: Utf8PathBuf,
    /// Dropped before its end, nothing of it is left.
    folder: tempfile::TempDir,
}

impl Making {
    /// Begins a pack. Nothing is ever written over.
    pub(super) fn begin(seeds: &Utf8Path, name: &str) -> anyhow::Result<Self> {
        check_name(name)?;
        let target = seeds.join(name);
        refuse_existing(&target)?;
        refuse_existing(&seeds.join(format!("{name}{ENDING}")))?;
        std::fs::create_dir_all(seeds).with_context(|| format!("cannot make {seeds}"))?;
        let folder = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(seeds)
            .with_context(|| format!("cannot write into {seeds}"))?;
        Ok(Self { target, root: utf8(folder.path().to_owned())?, folder })
    }

    /// Begins a file of it.
    pub(super) fn file(&self, path: &str) -> anyhow::Result<Writer> {
        Writer::create(&self.root, path)
    }

    /// Writes the content of an object under its digest, below this folder, the same content once. `None`: there was nothing after all.
    pub(super) fn content<T>(
        &self,
        folder: &str,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<(String, u64, T)>> {
        let folder = self.root.join(folder);
        create_private_dir(&folder)?;
        let scratch = tempfile::NamedTempFile::new_in(&folder)
            .with_context(|| format!("cannot write into {folder}"))?;
        let mut digesting = Digesting::new(scratch);
        let Some(told) = write(&mut digesting)? else { return Ok(None) };
        let bytes = digesting.bytes;
        let (sha256, scratch) = digesting.end();
        // Whoever wrote the same content at the same time wrote the same file.
        scratch.persist(folder.join(&sha256)).with_context(|| format!("cannot write into {folder}"))?;
        Ok(Some((sha256, bytes, told)))
    }

    /// Writes a file as a whole.
    pub(super) fn whole(
        &self,
        path: &str,
        text: &str,
        files: &mut BTreeMap<FilePath, Content>,
    ) -> anyhow::Result<FilePath> {
        let mut file = self.file(path)?;
        file.add(text.as_bytes())?;
        file.close(files)
    }

    /// Writes `pack.toml` and gives the pack its name.
    pub(super) fn finish(self, manifest: &str) -> anyhow::Result<Utf8PathBuf> {
        write_atomic(&self.root.join(FILE), manifest.as_bytes(), 0o644)?;
        refuse_existing(&self.target)?;
        std::fs::rename(&self.root, &self.target)
            .with_context(|| format!("cannot move the pack to {}", self.target))?;
        let _moved_away = self.folder.keep();
        Ok(self.target)
    }
}

/// Refuses to write where something is already.
pub(super) fn refuse_existing(path: &Utf8Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_err() { Ok(()) } else { Err(exists(path)) }
}

pub(super) fn exists(path: &Utf8Path) -> Failure {
    Failure::new(Kind::Usage, "pack-exists", format!("{path} exists already; nothing was written"))
        .hint("choose another name, or remove what is there first")
}

/// A file that is being written.
pub(super) struct Writer {
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

    /// How many lines it has so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Adds whole lines, none of them empty but in files that are read as a whole, whose lines nobody counts.
    pub(super) fn add(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.hash.update(text);
        self.bytes += text.len() as u64;
        self.lines += text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        self.file.write_all(text).with_context(|| format!("cannot write {}", self.path))
    }

    /// Ends it, and tells what it holds.
    pub(super) fn close(mut self, files: &mut BTreeMap<FilePath, Content>) -> anyhow::Result<FilePath> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path))?;
        let sha256 = hex(&self.hash.finalize());
        files.insert(self.path.clone(), Content { bytes: self.bytes, lines: self.lines, sha256 });
        Ok(self.path)
    }
}
