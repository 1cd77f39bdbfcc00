//! Files with the modes this project promises: state is 0700, secrets are 0600, and no reader ever sees half a file.
//!
//! What is read may be anything that a person or a broken disk left there: a reader here never waits, and never reads without end.

use std::fs::{DirBuilder, File, FileType, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::sync::OnceLock;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

/// How often a lock that somebody else holds is tried.
const LOCK_PERIOD: std::time::Duration = std::time::Duration::from_millis(20);

/// The umask that the person has.
static THEIRS: OnceLock<rustix::fs::Mode> = OnceLock::new();

/// Whatever this process and those that it starts create from now on is for this user alone.
pub fn make_private() {
    let before = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let _the_first_is_theirs = THEIRS.set(before);
}

/// Takes it back, for a program of the person's that this one becomes.
pub fn as_before() {
    if let Some(before) = THEIRS.get() {
        rustix::process::umask(*before);
    }
}

/// Writes a whole file by a rename: readers see the old content or the new, and the mode is right from the start.
pub fn write_atomic(path: &Utf8Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    write_whole(path, content, mode, false)
}

/// The same for what cannot be made again: it is on the disk when this returns, whatever becomes of the machine.
pub fn write_lasting(path: &Utf8Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    write_whole(path, content, mode, true)
}

fn write_whole(path: &Utf8Path, content: &[u8], mode: u32, lasting: bool) -> anyhow::Result<()> {
    let folder = path.parent().with_context(|| format!("{path} has no folder"))?;
    create_private_dir(folder)?;
    let temporary =
        folder.join(format!(".{}.{}.tmp", path.file_name().unwrap_or("file"), std::process::id()));
    let write = || -> std::io::Result<()> {
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        // The umask may have taken bits away.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if lasting {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)?;
        if lasting { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    write().map_err(|error| {
        // Left behind, it would fill a disk that is full already.
        let _never_made = std::fs::remove_file(&temporary);
        let error = anyhow::Error::from(error);
        match is_file_or_missing(path) {
            Err(unreadable) if path.is_dir() => error.context(unreadable),
            _ => error.context(format!("cannot write {path}")),
        }
    })
}

/// Makes a folder and its missing parents with mode 0700. An existing folder keeps its mode.
pub fn create_private_dir(path: &Utf8Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the folder {path}"))
}

/// What a folder and everything below it take on the disk, in bytes. Links are not followed; what cannot be read counts nothing.
pub fn disk_use(folder: &Utf8Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks() * 512);
    let below = folder.read_dir_utf8().into_iter().flatten().flatten();
    own + below
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => disk_use(entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.blocks() * 512),
        })
        .sum::<u64>()
}

/// Why a small file cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    pub path: Utf8PathBuf,
    /// Counted from 1, where a line is to blame.
    pub line: Option<usize>,
    pub why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read {}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl std::error::Error for Unreadable {}

/// Removes a file; one that is not there is as good.
pub fn remove_optional(path: &Utf8Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

/// Reads a text file of at most 1 MB, which no file of a state folder or a store exceeds; `None` where there is none.
pub fn read_optional(path: &Utf8Path) -> Result<Option<String>, Unreadable> {
    read_at_most(path, 1 << 20)
}

/// Reads a text file of at most `limit` bytes; `None` where there is none.
///
/// What is no regular file is not opened at all: a pipe would wait for a writer, a device never ends. A link that leads nowhere is
/// an error, because what it stands for may come back.
pub fn read_at_most(path: &Utf8Path, limit: u64) -> Result<Option<String>, Unreadable> {
    let unreadable = |line, why| Unreadable { path: path.to_owned(), line, why };
    let Some(file) = open_optional(path)? else { return Ok(None) };
    let length = file.metadata().map_err(|error| unreadable(None, error.to_string()))?.len();
    let mut bytes = Vec::new();
    if length <= limit {
        // One byte more: the file may have grown meanwhile, and some report no length at all.
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(None, error.to_string()))?;
    }
    if length.max(bytes.len() as u64) > limit {
        return Err(unreadable(
            None,
            format!("it is longer than {} kB, and at most that is read", limit >> 10),
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        unreadable(Some(line), format!("byte {} of the file is not UTF-8 text", valid + 1))
    })
}

/// Reads TOML. The message names the line and what is wrong, never the line itself: it may hold a secret, or anything else.
pub fn from_toml<T: serde::de::DeserializeOwned>(path: &Utf8Path, text: &str) -> Result<T, Unreadable> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| span.start);
        let line = at.map(|at| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count());
        let why = error.message().trim().chars().take(160).collect::<String>();
        Unreadable { path: path.to_owned(), line, why: why.escape_debug().to_string() }
    })
}

/// Opens a regular file for reading; `None` where there is nothing.
pub fn open_optional(path: &Utf8Path) -> Result<Option<File>, Unreadable> {
    if !is_file_or_missing(path)? {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    // Between looking and opening somebody may have put a pipe there.
    options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(|error| Unreadable {
        path: path.to_owned(),
        line: None,
        why: error.to_string(),
    })?;
    Ok(Some(file))
}

/// Whether a regular file is there, behind links or not. An error where anything else is, a link that leads nowhere among it.
pub fn is_file_or_missing(path: &Utf8Path) -> Result<bool, Unreadable> {
    let unreadable = |why| Unreadable { path: path.to_owned(), line: None, why };
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(true),
        Ok(meta) => Err(unreadable(format!("it is {}, not a file", kind(meta.file_type())))),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.read_link_utf8() {
            Ok(target) => Err(unreadable(format!("it is a link to {target}, where nothing is"))),
            Err(_) => Ok(false),
        },
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// Waits for an exclusive lock, for as long as nobody wants this program to stop.
pub fn lock(file: &std::fs::File, path: &Utf8Path) -> anyhow::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) => super::interrupt::pause(LOCK_PERIOD, || false)?,
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {path}"));
            }
        }
    }
}

/// A path without links and `..`, whose last parts need not exist yet.
pub fn canonical(path: &Utf8Path) -> Utf8PathBuf {
    let known = path.ancestors().find_map(|known| Some((known, known.canonicalize_utf8().ok()?)));
    match known {
        Some((known, real)) => match path.strip_prefix(known) {
            // Joining nothing would add a slash.
            Ok(rest) if rest.as_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => path.to_owned(),
        },
        None => path.to_owned(),
    }
}

/// A path as UTF-8, or an error that names it.
pub fn utf8(path: std::path::PathBuf) -> anyhow::Result<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path)
        .map_err(|path| anyhow::anyhow!("the path {} is not valid UTF-8; please rename it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_path_ends_without_a_slash_whether_it_exists_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let real = Utf8Path::from_path(folder.path()).unwrap().canonicalize_utf8().unwrap();
        assert_eq!(canonical(&real).as_str(), real.as_str());
        assert_eq!(canonical(&real.join("a/b")).as_str(), format!("{real}/a/b"));
    }

    #[test]
    fn the_use_of_a_folder_counts_what_is_below_and_follows_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(path.join("below")).unwrap();
        let before = disk_use(path);
        write_atomic(&path.join("below/file"), &vec![1; 100_000], 0o600).unwrap();
        std::os::unix::fs::symlink("/usr", path.join("link")).unwrap();
        let grown = disk_use(path) - before;
        assert!((100_000..200_000).contains(&grown), "{grown}");
        assert_eq!(disk_use(&path.join("nowhere")), 0);
    }

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        (folder, path)
    }

    #[test]
    fn only_regular_files_are_read() {
        let (_folder, path) = folder();
        let why = |name: &str| read_optional(&path.join(name)).unwrap_err().why;
        assert!(crate::sys::cmd::Cmd::new("mkfifo").args([path.join("pipe")]).run().unwrap().ok());
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path.join("device")).unwrap();
        std::os::unix::fs::symlink("nowhere", path.join("dangling")).unwrap();
        assert_eq!(why(""), "it is a folder, not a file");
        assert_eq!(why("pipe"), "it is a named pipe, not a file");
        assert_eq!(why("socket"), "it is a socket, not a file");
        assert_eq!(why("device"), "it is a device, not a file");
        assert_eq!(why("dangling"), "it is a link to nowhere, where nothing is");
        assert_eq!(read_optional(&path.join("missing")).unwrap(), None);
        std::os::unix::fs::symlink("file", path.join("link")).unwrap();
        write_atomic(&path.join("file"), b"text", 0o600).unwrap();
        assert_eq!(read_optional(&path.join("link")).unwrap().as_deref(), Some("text"));
    }

    #[test]
    fn long_files_and_other_encodings_are_named() {
        let (_folder, path) = folder();
        let file = path.join("file");
        File::create(&file).unwrap().set_len(1 << 30).unwrap();
        assert!(read_optional(&file).unwrap_err().to_string().contains("longer than 1024 kB"));
        write_atomic(&file, b"a = 1\nb = \"\xff\"\n", 0o600).unwrap();
        let error = read_optional(&file).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot read {file}, line 2: byte 12 of the file is not UTF-8 text")
        );
    }
}
