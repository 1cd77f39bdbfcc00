//! A pack by its name: the folder `seeds/NAME`, or the one file `seeds/NAME.tar.zst`, a tar archive of the same folder in one frame of zstd.
//!
//! An archive is unpacked once, into the state folder, and found there by its digest the next time.

mod read;
mod write;

use std::fs::File;
use std::io::Seek as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};

use super::Pack;
use super::pack::invalid;
use crate::event::{Events, Section, Task, Unit};
use crate::provision::Hashed;
use crate::sys::fs::{create_private_dir, lock, open_optional, utf8, write_atomic};
use crate::sys::interrupt;
use read::{Header, LIMITS, Limits};
pub use write::{Archived, archive};

/// How the name of an archive ends.
pub const ENDING: &str = ".tar.zst";
/// What is unpacked there has its name once it is whole. No pack begins with a dot.
const UNPACKING: &str = ".unpacking-";
/// Held by whoever works there. No pack is called like this there: a digest follows its name.
const LOCK: &str = "lock";
/// How much of its digest is in the name of what was unpacked from an archive.
const DIGITS: usize = 16;

/// A pack as it lies in `seeds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Folder(Utf8PathBuf),
    Archive {
        name: String,
        file: Utf8PathBuf,
    },
    /// One that this program brings along.
    BuiltIn {
        name: &'static str,
        bytes: &'static [u8],
    },
}

/// Archives that are part of the program: what a new application starts from, wherever the project is.
const BUILT_IN: [(&str, &[u8]); 1] = [("rdm-12", include_bytes!("../../packs/rdm-12.tar.zst"))];

/// Finds the pack of a name, in either form; there must be exactly one.
pub fn find(seeds: &Utf8Path, name: &str) -> Result<Found, Failure> {
    let (folder, file) = (seeds.join(name), seeds.join(format!("{name}{ENDING}")));
    let plain = !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
    match (plain && folder.is_dir(), plain && file.symlink_metadata().is_ok()) {
        (true, false) => Ok(Found::Folder(folder)),
        (false, true) => Ok(Found::Archive { name: name.to_owned(), file }),
        (true, true) => {
            let text = format!("the pack {name} is there twice: {folder} and {file}");
            Err(Failure::new(Kind::Usage, "pack-ambiguous", text)
                .hint("remove one of them, or give it another name"))
        }
        (false, false) => {
            if let Some((name, bytes)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
                return Ok(Found::BuiltIn { name, bytes });
            }
            let known = names(seeds);
            let known = known.join(", ");
            let text = format!("there is no pack {name} in {seeds}");
            Err(Failure::new(Kind::Usage, "no-such-pack", text).hint(format!("packs: {known}")))
        }
    }
}

fn names(seeds: &Utf8Path) -> Vec<String> {
    let entries = seeds.read_dir_utf8().into_iter().flatten().flatten();
    let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
    let mut names: Vec<String> = entries
        .filter(|entry| !entry.file_name().starts_with('.'))
        .map(|entry| entry.file_name().strip_suffix(ENDING).unwrap_or(entry.file_name()).to_owned())
        .chain(built_in)
        .collect();
    names.sort();
    names.dedup();
    names
}

impl Found {
    /// Reads it. What comes out of an archive stays in the folder `unpacked`; of several commands at once one unpacks it.
    pub fn open(&self, unpacked: &Utf8Path, events: &dyn Events) -> anyhow::Result<Pack> {
        match self {
            Self::Folder(folder) => Pack::open(folder),
            Self::Archive { name, file } => open(name, file, unpacked, &LIMITS, events),
            Self::BuiltIn { name, bytes } => {
                create_private_dir(unpacked)?;
                // Another command may do the same at this moment.
                let scratch = tempfile::Builder::new().prefix(".built-in-").tempdir_in(unpacked)?;
                let file = utf8(scratch.path().to_owned())?.join(format!("{name}{ENDING}"));
                write_atomic(&file, bytes, 0o600)?;
                open(name, &file, unpacked, &LIMITS, events)
            }
        }
    }
}

fn open(
    name: &str,
    path: &Utf8Path,
    unpacked: &Utf8Path,
    limits: &Limits,
    events: &dyn Events,
) -> anyhow::Result<Pack> {
    let mut file = regular(path, limits)?;
    let (sha256, bytes) = Hashed::new(&file).finish().with_context(|| format!("cannot read {path}"))?;
    interrupt::check()?;
    create_private_dir(unpacked)?;
    let _lock = take_turn(unpacked)?;
    let target = unpacked.join(format!("{name}-{}", &sha256[..DIGITS]));
    if target.is_dir() {
        if let Ok(pack) = Pack::open(&target) {
            return Ok(pack);
        }
        // Not as it was: a machine that lost its power may have kept the name and lost what was in it.
        std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {target}"))?;
    }
    forget(unpacked, |entry| entry.starts_with(UNPACKING))?;
    let making = tempfile::Builder::new()
        .prefix(UNPACKING)
        .tempdir_in(unpacked)
        .with_context(|| format!("cannot write into {unpacked}"))?;
    let scratch = utf8(making.path().to_owned())?;
    file.rewind().with_context(|| format!("cannot read {path}"))?;

    let task = Task::start(events, Section::Seed, format!("unpack {name}"));
    let mut done = 0;
    let mut take = |header: &Header<'_>, content: &mut dyn std::io::Read| {
        let out = read::create(&scratch.join(header.path))?;
        read::copy(header, content, out, &mut |more| {
            done += more;
            task.progress(done, None, Unit::Bytes);
        })
        .map(drop)
    };
    let read = read::read(file, path, name, limits, &mut take)?;
    if (&read.sha256, read.bytes) != (&sha256, bytes) {
        return Err(invalid(format!("{path} was changed while it was read")).hint("try again").into());
    }
    let root = if read.below { scratch.join(name) } else { scratch };
    let pack = Pack::open(&root).map_err(|error| match error.downcast::<Failure>() {
        // Where it lies for now says nothing to anybody.
        Ok(failure) => {
            Failure { message: failure.message.replace(root.as_str(), path.as_str()), ..failure }.into()
        }
        Err(error) => error,
    })?;
    std::fs::rename(&root, &target).with_context(|| format!("cannot move the pack to {target}"))?;
    forget(unpacked, |entry| {
        let digest = entry.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let former = digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        former && !sha256.starts_with(digest)
    })?;
    task.finish(format!("{} MB", read.unpacked / 1_000_000));
    pack.moved_to(&target)
}

/// Opens an archive: a regular file that is not larger than what may come out of it.
fn regular(path: &Utf8Path, limits: &Limits) -> anyhow::Result<File> {
    let unreadable = |why: &dyn std::fmt::Display| invalid(why.to_string());
    let file = open_optional(path).map_err(|error| unreadable(&error))?;
    let file = file.ok_or_else(|| unreadable(&format!("{path} is gone")))?;
    let bytes = file.metadata().with_context(|| format!("cannot read {path}"))?.len();
    if bytes > limits.bytes {
        return Err(
            unreadable(&format!("{path} is too large: at most {} MB are read", limits.bytes >> 20)).into()
        );
    }
    Ok(file)
}

/// Waits until nobody else works in the folder.
fn take_turn(unpacked: &Utf8Path) -> anyhow::Result<File> {
    let path = unpacked.join(LOCK);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {path}"))?;
    lock(&file, &path)?;
    Ok(file)
}

/// Removes folders from among those that were unpacked.
fn forget(unpacked: &Utf8Path, which: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    for entry in unpacked.read_dir_utf8().with_context(|| format!("cannot read {unpacked}"))? {
        let entry = entry?;
        if which(entry.file_name()) {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
