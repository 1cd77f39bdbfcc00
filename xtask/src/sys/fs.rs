//! Files with the modes this project promises: state is 0700, secrets are 0600, and no reader ever sees half a file.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

/// How often a lock that somebody else holds is tried.
const LOCK_PERIOD: std::time::Duration = std::time::Duration::from_millis(20);

/// Whatever this process and those that it becomes or starts create from now on is for this user alone.
pub fn make_private() {
    let _before = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
}

/// Writes a whole file by a rename: readers see the old content or the new, and the mode is right from the start.
pub fn write_atomic(path: &Utf8Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
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
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {path}"))
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

/// Reads a text file; `None` where there is none.
pub fn read_optional(path: &Utf8Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
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
}
