//! Reading an archive of a pack to its end, with nothing in it trusted: what it holds, how much, how it is packed.
//!
//! Everything is bounded while it is read. How large a member is, is known from its header, and no more is taken out of the frame than that:
//! not for content, and not for the headers themselves, which the reader of tar keeps in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::rc::Rc;

use anyhow::Context as _;
use camino::Utf8Path;
use ecosystem_core::failure::{Failure, harmless};
use ecosystem_core::pack::{FILE, FilePath};
use zstd::stream::read::Decoder;

use super::super::pack::{MAX_DATA, invalid};
use crate::provision::{Hashed, Uncopied, copy_member};
use crate::sys::fs::create_private_dir;
use crate::sys::interrupt;

/// What is read of an archive at most.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Of all files, unpacked.
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// How many times as large as the archive so far what comes out of it may be, where it is more than `small`.
    pub(super) ratio: u64,
    pub(super) small: u64,
}

pub(super) const LIMITS: Limits = Limits {
    // Rows and documents, the contents of objects, and a little for the rest: the pack itself is measured when it is opened.
    bytes: 2 * MAX_DATA + (256 << 20),
    // Contents of objects are a file each.
    entries: 100_000,
    // Synthetic packs have 8, lines that are nearly all the same about 100.
    ratio: 500,
    small: 64 << 20,
};

/// 8 MB, as a power of two: what the format asks every decoder for, and `zstd -19` needs; the ultra levels and `--long` take more.
const WINDOW: u32 = 23;
/// One header with its name: 200 characters and what belongs to them in any dialect of tar.
const HEADER: u64 = 64 << 10;
/// What is behind the end of a tar archive: zeros up to a full record, 10 KB unless somebody has chosen another size.
const PADDING: u64 = 1 << 20;
/// The two blocks of zeros that end a tar archive.
const END: u64 = 1024;
const BUFFER: usize = 256 * 1024;

/// A file of the archive.
pub(super) struct Header<'a> {
    /// As it stands in the archive, below the folder of the pack or not.
    pub(super) path: &'a str,
    /// Inside the pack.
    pub(super) inner: &'a FilePath,
    pub(super) size: u64,
    archive: &'a Utf8Path,
}

/// An archive that was read to its end and found good.
#[derive(Debug)]
pub(super) struct Whole {
    /// Of the archive itself.
    pub(super) sha256: String,
    pub(super) bytes: u64,
    /// Of all files in it.
    pub(super) unpacked: u64,
    /// Its files are below a folder with the name of the pack, not at the top.
    pub(super) below: bool,
}

/// Reads an archive and hands every file in it to `take`, which must read it to its end.
pub(super) fn read(
    file: File,
    archive: &Utf8Path,
    name: &str,
    limits: &Limits,
    take: &mut dyn FnMut(&Header<'_>, &mut dyn Read) -> anyhow::Result<()>,
) -> anyhow::Result<Whole> {
    let source = BufReader::with_capacity(BUFFER, Hashed::new(file));
    let mut frame = Decoder::with_buffer(source).context("cannot make a decoder")?.single_frame();
    frame.window_log_max(WINDOW).context("cannot make a decoder")?;
    let meter = Rc::new(Meter::default());
    let mut tar = tar::Archive::new(Metered { frame, meter: meter.clone(), limits: limits.clone() });
    let damaged = |error: &dyn std::fmt::Display| {
        let why = meter.why.borrow_mut().take();
        why.map_or_else(|| damaged(archive, error), |why| hostile(archive, &why))
    };
    let (mut seen, mut folders) = (BTreeSet::new(), BTreeSet::new());
    let (mut unpacked, mut entries, mut at_top, mut beside) = (0, 0, false, None);
    let mut members = tar.entries().map_err(|error| damaged(&error))?;
    loop {
        interrupt::check()?;
        meter.allow(HEADER);
        let Some(entry) = members.next() else { break };
        let mut entry = entry.map_err(|error| damaged(&error))?;
        entries += 1;
        if entries > limits.entries {
            return Err(hostile(
                archive,
                &format!("it holds more than {} files and folders", limits.entries),
            )
            .into());
        }
        let bytes = entry.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&bytes).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            folder(path, name).map_err(|why| hostile(archive, &why))?;
            continue;
        }
        if !kind.is_file() {
            let why = format!("it holds {}, which is {}", quoted(path), what(kind));
            return Err(hostile(archive, &why).into());
        }
        let inner = inner(path, name).map_err(|why| hostile(archive, &why))?;
        if !seen.insert(path.to_owned()) {
            return Err(hostile(archive, &format!("it holds {path} twice")).into());
        }
        let parents = || Utf8Path::new(path).ancestors().skip(1).map(Utf8Path::as_str);
        let above = parents().find(|parent| seen.contains(*parent));
        if let Some(both) = above.or_else(|| folders.contains(path).then_some(path)) {
            return Err(hostile(archive, &format!("it holds {both} as a file and as a folder")).into());
        }
        folders.extend(parents().map(ToOwned::to_owned));
        at_top |= path == FILE;
        if inner.as_str().len() == path.len() {
            beside = Some(path.to_owned());
        }
        let size = entry.size();
        unpacked = limits.bytes.min(size).saturating_add(unpacked);
        if size > limits.bytes || unpacked > limits.bytes {
            let text =
                format!("at {path} it is more than the {} MB that a pack may have", limits.bytes >> 20);
            return Err(hostile(archive, &text).into());
        }
        meter.allow(size);
        let header = Header { path, inner: &inner, size, archive };
        take(&header, &mut entry).map_err(|error| match meter.why.borrow_mut().take() {
            Some(why) => hostile(archive, &why).into(),
            None => error,
        })?;
    }

    let mut rest = tar.into_inner();
    let before = meter.read.get();
    meter.allow(PADDING);
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(|error| damaged(&error))?;
    if meter.zeros.get() < END.max(meter.read.get() - before) {
        return Err(
            damaged(&"it ends before the end of its tar archive, or something follows behind it").into()
        );
    }
    let mut source = rest.frame.finish();
    if source.read(&mut [0]).with_context(|| format!("cannot read {archive}"))? > 0 {
        let why = "something follows behind its frame";
        return Err(damaged(&why)
            .hint("where it is several frames, pack it again as one: `zstd`, not `pzstd`")
            .into());
    }
    let below = !at_top;
    if below && !seen.contains(&format!("{name}/{FILE}")) {
        let why = format!("there is no {FILE} in it, neither at the top nor below {name}/");
        return Err(refused(archive, &why).hint("make it with: {program} pack archive NAME").into());
    }
    if let Some(path) = beside.filter(|_| below) {
        return Err(refused(archive, &format!("{path} lies beside the pack, which is below {name}/")).into());
    }
    let (sha256, bytes) = source.into_inner().finish().with_context(|| format!("cannot read {archive}"))?;
    Ok(Whole { sha256, bytes, unpacked, below })
}

/// Makes a file and its folders for this user alone. What is there is never opened.
pub(super) fn create(path: &Utf8Path) -> anyhow::Result<File> {
    if let Some(parent) = path.parent() {
        create_private_dir(parent)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot make {path}"))
}

/// Copies the content of a file, and returns its SHA-256.
pub(super) fn copy(
    header: &Header<'_>,
    content: &mut dyn Read,
    out: impl Write,
    more: &mut dyn FnMut(u64),
) -> anyhow::Result<String> {
    let copied = copy_member(content, header.size, &mut Watched { out, more });
    let why = match copied {
        Ok(digest) => return Ok(digest),
        Err(why) => why,
    };
    interrupt::check()?;
    Err(match why {
        Uncopied::Cut => damaged(header.archive, &format!("it ends in {}", header.path)).into(),
        Uncopied::Unreadable(error) => damaged(header.archive, &error).into(),
        Uncopied::Unwritable(error) => {
            anyhow::Error::from(error).context(format!("cannot write {}", header.path))
        }
    })
}

/// Where content goes while somebody watches, and may have enough of it.
struct Watched<'a, W> {
    out: W,
    more: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        interrupt::check().map_err(std::io::Error::other)?;
        let count = self.out.write(bytes)?;
        (self.more)(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// What a path is inside the pack.
fn inner(path: &str, name: &str) -> Result<FilePath, String> {
    let below = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
    FilePath::try_from(below.unwrap_or(path).to_owned()).map_err(|_| {
        let plain = "the path of a file is letters, digits, `.`, `-` and `_`, with `/` between names that begin with no dot";
        format!("it holds {}: {plain}", quoted(path))
    })
}

/// Whether a folder may stand in an archive; it is made with what is in it.
fn folder(path: &str, name: &str) -> Result<(), String> {
    let plain = path.strip_suffix('/').unwrap_or(path);
    let top = path != "/" && ["", ".", name].contains(&plain);
    if top { Ok(()) } else { inner(plain, name).map(drop) }
}

fn quoted(path: &str) -> String {
    format!("`{}`", harmless(&path.chars().take(200).collect::<String>()))
}

fn what(kind: tar::EntryType) -> &'static str {
    match kind {
        tar::EntryType::Symlink => "a link",
        tar::EntryType::Link => "a hard link",
        tar::EntryType::Char | tar::EntryType::Block => "a device",
        tar::EntryType::Fifo => "a named pipe",
        _ => "no plain file",
    }
}

/// What has come out of a frame, and how much more may.
#[derive(Debug, Default)]
struct Meter {
    read: Cell<u64>,
    allowed: Cell<u64>,
    /// The zeros at the end of what was read.
    zeros: Cell<u64>,
    why: RefCell<Option<String>>,
}

impl Meter {
    fn allow(&self, more: u64) {
        self.allowed.set(self.read.get().saturating_add(more));
    }

    fn refuse(&self, why: String) -> std::io::Error {
        *self.why.borrow_mut() = Some(why);
        std::io::ErrorKind::InvalidData.into()
    }
}

struct Metered {
    frame: Decoder<'static, BufReader<Hashed<File>>>,
    meter: Rc<Meter>,
    limits: Limits,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Self { frame, meter, limits } = self;
        let left = meter.allowed.get().saturating_sub(meter.read.get());
        // One more than is allowed: nothing at all would look like the end.
        let wanted = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let count = frame.read(&mut buffer[..wanted])?;
        let zeros = buffer[..count].iter().rev().take_while(|byte| **byte == 0).count();
        let before = if zeros == count { meter.zeros.get() } else { 0 };
        meter.zeros.set(before + zeros as u64);
        meter.read.set(meter.read.get() + count as u64);
        if count as u64 > left {
            return Err(meter
                .refuse("what lies between its files is longer than in any archive of a pack".to_owned()));
        }
        let packed = frame.get_ref().get_ref().bytes();
        if meter.read.get() > limits.small.max(packed.saturating_mul(limits.ratio)) {
            let text = format!("it unpacks to more than {} times its size", limits.ratio);
            return Err(meter.refuse(text));
        }
        Ok(count)
    }
}

fn refused(archive: &Utf8Path, why: &str) -> Failure {
    invalid(format!("{archive} is refused: {why}"))
}

fn damaged(archive: &Utf8Path, why: &dyn std::fmt::Display) -> Failure {
    let why = harmless(&why.to_string());
    // So zstd says.
    if why.contains("requires too much memory") {
        let text = format!("unpacking it takes more than {} MB of memory", (1_u64 << WINDOW) >> 20);
        return refused(archive, &text)
            .hint("pack it again without `--ultra` and `--long`, or by: {program} pack archive NAME");
    }
    invalid(format!("{archive} is no whole archive: {why}"))
        .hint("copy it again, and compare its SHA-256 with the one that `{program} pack archive` printed")
}

fn hostile(archive: &Utf8Path, why: &str) -> Failure {
    refused(archive, why)
        .hint("an archive of a pack is made with: {program} pack archive NAME")
        .hint("where it came like this, do not use it, and tell whoever gave it to you")
}
