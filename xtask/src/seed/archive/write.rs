//! Writing an archive of a pack. The same pack is the same bytes on every machine, and what was written is read back before it gets its name.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{Read, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::pack::FilePath;
use serde::Serialize;

use super::super::pack::{Pack, invalid, regular};
use super::super::{making, millis};
use super::read::{self, LIMITS, Whole};
use super::{ENDING, Found, find};
use crate::event::{Events, Section, Task, Unit};
use crate::provision::Hashed;
use crate::sys::interrupt;

/// What zstd takes by itself. Higher ones pack much longer for little.
const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archived {
    pub pack: String,
    pub file: Utf8PathBuf,
    pub files: usize,
    /// Of these files.
    pub unpacked_bytes: u64,
    /// Of the archive.
    pub bytes: u64,
    pub sha256: String,
    pub took_ms: u64,
}

/// Writes `seeds/NAME.tar.zst` from the folder `seeds/NAME`.
pub fn archive(seeds: &Utf8Path, name: &str, events: &dyn Events) -> anyhow::Result<Archived> {
    let started = Instant::now();
    let target = seeds.join(format!("{name}{ENDING}"));
    making::refuse_existing(&target)?;
    let Found::Folder(folder) = find(seeds, name)? else { return Err(making::exists(&target).into()) };
    let task = Task::start(events, Section::Make, format!("{name}{ENDING}"));
    let pack = Pack::open(&folder)?;
    for part in pack.manifest.parts() {
        pack.check(part)?;
    }
    let folder = folder.canonicalize_utf8().with_context(|| format!("cannot find {folder}"))?;
    let files = files(&folder)?;
    let total: u64 = files.values().sum();
    if total > LIMITS.bytes || files.len() as u64 > LIMITS.entries {
        let text = format!("{folder} has {} files and {} MB", files.len(), total >> 20);
        return Err(invalid(text)
            .hint(format!("a pack has at most {} files and {} MB", LIMITS.entries, LIMITS.bytes >> 20))
            .into());
    }
    let making = tempfile::Builder::new().prefix(".new-").suffix(ENDING).tempfile_in(seeds);
    let mut making = making.with_context(|| format!("cannot write into {seeds}"))?;
    let progress = |done: u64| task.progress(done, Some(total), Unit::Bytes);
    let digests = compress(making.as_file(), &folder, name, &files, &progress)?;
    for (path, digest) in &digests {
        // What was checked is what was packed.
        if pack.known(path).is_ok_and(|known| known.sha256 != *digest) {
            return Err(invalid(format!("{path} was changed while it was packed")).hint("try again").into());
        }
    }
    // A captured pack holds what a database holds, hashes of passwords among it.
    let mode = if pack.manifest.captured.is_some() { 0o600 } else { 0o644 };
    making.as_file().set_permissions(Permissions::from_mode(mode))?;
    making.as_file().sync_all().with_context(|| format!("cannot write into {seeds}"))?;
    making.rewind()?;
    let whole = verify(making.as_file().try_clone()?, &target, name, &digests)?;
    task.finish(format!("{} MB from {} MB", whole.bytes.div_ceil(1_000_000), total.div_ceil(1_000_000)));
    making.persist_noclobber(&target).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow::Error::from(making::exists(&target)),
        _ => anyhow::Error::from(error.error).context(format!("cannot make {target}")),
    })?;
    Ok(Archived {
        pack: name.to_owned(),
        file: target,
        files: files.len(),
        unpacked_bytes: total,
        bytes: whole.bytes,
        sha256: whole.sha256,
        took_ms: millis(started),
    })
}

/// Every file below a folder with its size. Whoever removes the folder afterwards must not lose one, so each of them has to fit.
fn files(root: &Utf8Path) -> anyhow::Result<BTreeMap<FilePath, u64>> {
    let (mut files, mut unfit, mut todo) = (BTreeMap::new(), Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))? {
            let entry = entry.with_context(|| format!("cannot read {folder}"))?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                todo.push(path.to_owned());
                continue;
            }
            let inner = path.strip_prefix(root)?.as_str().to_owned();
            match FilePath::try_from(inner.clone()) {
                Ok(inner) => {
                    let (_, size) = regular(root, inner.as_str(), LIMITS.bytes)?;
                    files.insert(inner, size);
                }
                Err(_) => unfit.push(inner),
            }
        }
    }
    if unfit.is_empty() {
        return Ok(files);
    }
    unfit.sort();
    let text = format!("not every file of {root} fits into an archive:\n  {}", unfit.join("\n  "));
    Err(invalid(text)
        .hint("names have letters, digits, `.`, `-` and `_`, and begin with no dot: rename these files, or take them out")
        .into())
}

/// Packs the files into one frame, in the order of their names and with nothing of this machine. Returns the SHA-256 of what was read of each.
fn compress(
    out: &File,
    folder: &Utf8Path,
    name: &str,
    files: &BTreeMap<FilePath, u64>,
    progress: &dyn Fn(u64),
) -> anyhow::Result<BTreeMap<FilePath, String>> {
    let mut frame = zstd::Encoder::new(out, LEVEL).context("cannot make an encoder")?;
    frame.include_checksum(true).context("cannot make an encoder")?;
    let mut tar = tar::Builder::new(frame);
    let (mut digests, mut done) = (BTreeMap::new(), 0);
    for (path, size) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(*size);
        let (file, _) = regular(folder, path.as_str(), LIMITS.bytes)?;
        let mut content = Hashed::new(Watched { source: file.take(*size), done: &mut done, progress });
        if let Err(error) = tar.append_data(&mut header, format!("{name}/{path}"), &mut content) {
            interrupt::check()?;
            return Err(error).with_context(|| format!("cannot pack {path}"));
        }
        let (digest, packed) = content.finish().with_context(|| format!("cannot read {path}"))?;
        if packed != *size {
            return Err(invalid(format!("{path} became shorter while it was packed"))
                .hint("try again")
                .into());
        }
        digests.insert(path.clone(), digest);
    }
    tar.into_inner().and_then(zstd::Encoder::finish).context("cannot write the archive")?;
    Ok(digests)
}

/// What is packed while somebody watches, and may have enough of it.
struct Watched<'a, R> {
    source: R,
    done: &'a mut u64,
    progress: &'a dyn Fn(u64),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        interrupt::check().map_err(std::io::Error::other)?;
        let count = self.source.read(buffer)?;
        *self.done += count as u64;
        (self.progress)(*self.done);
        Ok(count)
    }
}

/// Reads an archive as whoever uses it will, and compares what comes out with what went in.
fn verify(
    file: File,
    archive: &Utf8Path,
    name: &str,
    digests: &BTreeMap<FilePath, String>,
) -> anyhow::Result<Whole> {
    let mut left = digests.clone();
    let mut take = |header: &read::Header<'_>, content: &mut dyn Read| {
        let digest = read::copy(header, content, std::io::sink(), &mut |_| ())?;
        let wanted = left.remove(header.inner);
        anyhow::ensure!(
            wanted == Some(digest),
            "{} did not come out of {archive} as it went in",
            header.path
        );
        Ok(())
    };
    let whole = read::read(file, archive, name, &LIMITS, &mut take)?;
    anyhow::ensure!(left.is_empty(), "{} files are missing in {archive}", left.len());
    Ok(whole)
}
