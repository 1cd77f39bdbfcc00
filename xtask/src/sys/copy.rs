//! Copying a folder with everything below it, as it is: modes, links, empty folders. Where the file system can, no data is copied at all.

use std::fs::{DirBuilder, File, FileType, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use camino::Utf8Path;

use super::{interrupt, os};

/// How much of a file is copied between two looks whether somebody wants this program to stop.
const PIECE: u64 = 16 << 20;

/// The bytes of all files below a folder; links are not followed. What goes meanwhile counts nothing.
pub fn bytes(folder: &Utf8Path) -> u64 {
    let entries = std::fs::read_dir(folder.as_std_path()).into_iter().flatten().flatten();
    entries.map(|entry| below(&entry.path())).sum()
}

fn below(path: &Path) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| below(&entry.path())).sum()
        }
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    }
}

/// Copies a folder to where nothing is yet, and tells `copied` of the bytes as they come. Sockets and pipes are left out: they hold nothing.
/// What was copied is on the disk when [`lasting`] was called, not before.
pub fn tree(from: &Utf8Path, to: &Utf8Path, copied: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
    folder(from.as_std_path(), to.as_std_path(), copied)
}

fn folder(from: &Path, to: &Path, copied: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    let meta = std::fs::symlink_metadata(from).with_context(cannot)?;
    anyhow::ensure!(meta.is_dir(), "{} is no folder", from.display());
    DirBuilder::new().mode(0o700).create(to).with_context(cannot)?;
    for entry in std::fs::read_dir(from).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        one(&entry.path(), &to.join(entry.file_name()), entry.file_type()?, copied)?;
    }
    // Last: its own mode may not allow to write into it.
    std::fs::set_permissions(to, mode(&meta)).with_context(cannot)
}

fn one(from: &Path, to: &Path, kind: FileType, copied: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    if kind.is_dir() {
        return folder(from, to, copied);
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(from).with_context(cannot)?;
        return std::os::unix::fs::symlink(target, to).with_context(cannot);
    }
    if kind.is_file() { file(from, to, copied).with_context(cannot) } else { Ok(()) }
}

fn file(from: &Path, to: &Path, copied: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
    interrupt::check()?;
    // Between looking and opening somebody may have put a link there.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let source = OpenOptions::new().read(true).custom_flags(flags).open(from)?;
    let meta = source.metadata()?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if os::share_data(&source, &target) {
        copied(meta.len());
    } else {
        loop {
            interrupt::check()?;
            let count = std::io::copy(&mut (&source).take(PIECE), &mut target)?;
            copied(count);
            if count < PIECE {
                break;
            }
        }
    }
    target.set_permissions(mode(&meta))?;
    Ok(())
}

/// Without set-user-id and its like, which no data has.
fn mode(meta: &std::fs::Metadata) -> Permissions {
    Permissions::from_mode(meta.permissions().mode() & 0o777)
}

/// Has everything that was written to the file system of a folder so far on the disk.
pub fn lasting(folder: &Utf8Path) -> anyhow::Result<()> {
    let file = File::open(folder).with_context(|| format!("cannot open {folder}"))?;
    os::sync_file_system(&file).with_context(|| format!("what was copied below {folder} is not on the disk"))
}

/// Has the names in a folder on the disk.
pub fn lasting_names(folder: &Utf8Path) -> anyhow::Result<()> {
    let synced = || File::open(folder)?.sync_all();
    synced().with_context(|| format!("the names in {folder} are not on the disk"))
}

/// Removes a folder with everything below it, or a file; what is not there is as good. Links are not followed.
pub fn remove(path: &Utf8Path) -> anyhow::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

/// Renames a folder or file to where nothing is, and has that on the disk.
pub fn rename(from: &Utf8Path, to: &Utf8Path) -> anyhow::Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot move {from} to {to}"))?;
    [to.parent(), from.parent()].into_iter().flatten().try_for_each(lasting_names)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use camino::Utf8PathBuf;

    use super::*;
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_copy_is_like_the_original_and_follows_no_links() {
        let held = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(held.path().to_owned()).unwrap();
        let (from, to) = (root.join("from"), root.join("to"));
        write_atomic(&from.join("a/b/file"), &vec![7; 100_000], 0o400).unwrap();
        write_atomic(&from.join("run"), b"x", 0o755).unwrap();
        std::fs::create_dir(from.join("empty")).unwrap();
        std::os::unix::fs::symlink("/usr", from.join("outside")).unwrap();
        std::os::unix::fs::symlink("nowhere", from.join("dangling")).unwrap();
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
        std::fs::copy(from.join("run"), from.as_std_path().join::<&std::ffi::OsStr>(odd)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        std::fs::set_permissions(from.join("a/b"), Permissions::from_mode(0o500)).unwrap();

        let seen = AtomicU64::new(0);
        tree(&from, &to, &|count| {
            seen.fetch_add(count, Ordering::Relaxed);
        })
        .unwrap();
        lasting(&to).unwrap();
        assert_eq!((seen.into_inner(), bytes(&from), bytes(&to)), (100_002, 100_002, 100_002));
        assert_eq!(std::fs::read(to.join("a/b/file")).unwrap(), vec![7; 100_000]);
        let mode = |path: &str| std::fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(["a/b/file", "run", "a/b", "a"].map(mode), [0o400, 0o755, 0o500, 0o700]);
        assert_eq!(std::fs::read_link(to.join("outside")).unwrap(), Path::new("/usr"));
        assert!(to.join("dangling").is_symlink() && to.join("empty").is_dir());
        assert!(to.as_std_path().join::<&std::ffi::OsStr>(odd).exists() && !to.join("socket").exists());
        assert!(tree(&from, &to, &|_| ()).is_err(), "nothing is copied over what is there");

        std::fs::set_permissions(to.join("a/b"), Permissions::from_mode(0o700)).unwrap();
        std::fs::set_permissions(from.join("a/b"), Permissions::from_mode(0o700)).unwrap();
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert!(!to.exists() && Path::new("/usr").exists());
    }
}
