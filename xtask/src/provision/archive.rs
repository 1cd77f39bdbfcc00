//! Archives and trees: unpacking that cannot leave its folder, packing, checksums, links. It knows no formats of servers.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Component, Path};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::hex;
use ecosystem_core::failure::{Failure, Kind};
use sha2::{Digest, Sha256};

use super::unpack::Budget;
use crate::sys;

/// The SHA-256, in hexadecimal, and the size of a file.
pub(super) fn sha256(path: &Utf8Path) -> anyhow::Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 * 1024]);
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {path}"))?;
        if read == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

/// A stream whose checksum is taken while it is read.
pub struct Hashed<R> {
    source: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashed<R> {
    pub fn new(source: R) -> Self {
        Self { source, hash: Sha256::new(), bytes: 0 }
    }

    /// How much was read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is left, and returns the checksum and the size of all of it.
    pub fn finish(mut self) -> std::io::Result<(String, u64)> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok((hex(&self.hash.finalize()), self.bytes))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Why a member of an archive could not be copied.
#[derive(Debug)]
pub enum Uncopied {
    /// It ends before the size that it was said to have.
    Cut,
    Unreadable(std::io::Error),
    Unwritable(std::io::Error),
}

/// Copies a member of an archive, of which exactly `size` bytes are there, and returns its SHA-256.
pub fn copy_member(packed: &mut dyn Read, size: u64, out: &mut dyn Write) -> Result<String, Uncopied> {
    let (mut hash, mut left, mut buffer) = (Sha256::new(), size, vec![0; 128 * 1024]);
    while left > 0 {
        let read = packed.read(&mut buffer).map_err(Uncopied::Unreadable)?;
        if read == 0 {
            return Err(Uncopied::Cut);
        }
        hash.update(&buffer[..read]);
        out.write_all(&buffer[..read]).map_err(Uncopied::Unwritable)?;
        left = left.saturating_sub(read as u64);
    }
    Ok(hex(&hash.finalize()))
}

/// Whether this is a page for people, which a network shows before it lets anybody in.
pub(super) fn is_page(file: &Utf8Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(512).read_to_end(&mut start));
    let text = String::from_utf8_lossy(&start).trim_start().to_ascii_lowercase();
    read.is_ok() && (text.starts_with("<!doctype html") || text.starts_with("<html"))
}

/// The one member of a zip file whose name ends like this, as a stream handed to `use_it`.
pub fn zip_member<T>(
    path: &Utf8Path,
    ending: &str,
    use_it: impl FnOnce(&mut dyn Read) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut zip =
        zip::ZipArchive::new(BufReader::new(file)).with_context(|| format!("{path} is no zip file"))?;
    let name =
        zip.file_names().flatten().find(|name| name.ends_with(ending)).map(std::borrow::Cow::into_owned);
    let name = name.with_context(|| format!("{path} holds no {ending}"))?;
    let mut member = zip.by_name(&name).with_context(|| format!("cannot read {name} in {path}"))?;
    use_it(&mut member)
}

/// Unpacks a tar stream. A path or link that leaves the folder is refused, not skipped.
pub fn untar(stream: impl Read, folder: &Utf8Path, name: &str) -> anyhow::Result<()> {
    untar_within(stream, folder, name, Budget::NONE)
}

/// The same, of no more than a budget.
pub(super) fn untar_within(
    stream: impl Read,
    folder: &Utf8Path,
    name: &str,
    mut budget: Budget,
) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(stream);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    let mut links = Vec::new();
    for entry in archive.entries().with_context(|| format!("{name} is no tar archive"))? {
        let mut entry = entry.with_context(|| format!("{name} is damaged"))?;
        let path = entry.path()?.into_owned();
        budget.take(entry.size(), name)?;
        sys::interrupt::check()?;
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let target = entry.link_name()?.map(|link| {
            // Hard links are relative to the archive's top, symbolic ones to where they stand.
            if entry.header().entry_type().is_hard_link() { link.into_owned() } else { base.join(link) }
        });
        if !inside(&path) || target.as_deref().is_some_and(|target| !inside(target)) {
            return Err(hostile(name, &path));
        }
        if !entry.unpack_in(folder).with_context(|| format!("cannot unpack {} of {name}", path.display()))? {
            return Err(hostile(name, &path));
        }
        if entry.header().entry_type().is_symlink() {
            links.push(path);
        }
    }
    // What a link means depends on the links that it leads through, whichever of them came first.
    let root = folder.canonicalize_utf8().with_context(|| format!("cannot find {folder}"))?;
    let leaves =
        |path: &Path| root.as_std_path().join(path).canonicalize().is_ok_and(|real| !real.starts_with(&root));
    links.iter().find(|path| leaves(path)).map_or(Ok(()), |path| Err(hostile(name, path)))
}

/// Whether a symbolic link that stands at `path`, relative to a folder, leads to something in that folder.
pub(super) fn link_stays(path: &Utf8Path, target: &Utf8Path) -> bool {
    let base = path.parent().unwrap_or(Utf8Path::new(""));
    let up = |part: &camino::Utf8Component<'_>| *part == camino::Utf8Component::ParentDir;
    // `..` after a name would go up from wherever that name, perhaps a link itself, leads.
    let leads_down = !target.components().skip_while(up).any(|part| up(&part));
    !target.as_str().is_empty() && leads_down && inside(base.join(target).as_std_path())
}

pub(super) fn hostile(name: &str, path: &Path) -> anyhow::Error {
    let message = format!("{name} holds {}, which lies outside of its folder", path.display());
    Failure::new(Kind::Host, "archive-hostile", message)
        .hint("do not use it, and tell whoever gave it to you")
        .into()
}

/// Whether a path, taken relative to a folder, stays in it at every step.
fn inside(path: &Path) -> bool {
    let mut depth = 0_i32;
    path.components().all(|component| {
        depth += match component {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        depth >= 0
    })
}

/// Packs what is in a folder, without the folder's own name.
pub(super) fn pack(folder: &Utf8Path, into: &Utf8Path) -> anyhow::Result<()> {
    let file = File::create_new(into).with_context(|| format!("cannot create {into}"))?;
    let mut archive = tar::Builder::new(BufWriter::new(file));
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder).with_context(|| format!("cannot pack {folder}"))?;
    archive.into_inner().and_then(|mut out| std::io::Write::flush(&mut out))?;
    Ok(())
}

/// Makes absolute links of an unpacked package (`/etc/…`) point into the package's own tree, where they have a target there.
pub(super) fn relocate_links(root: &Utf8Path) -> anyhow::Result<()> {
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = sys::fs::utf8(entry.path())?;
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_symlink() {
                let target = sys::fs::utf8(std::fs::read_link(&path)?)?;
                let Ok(rest) = target.strip_prefix("/") else { continue };
                if root.join(rest).symlink_metadata().is_ok() {
                    let up: Utf8PathBuf = folder.strip_prefix(root)?.components().map(|_| "..").collect();
                    std::fs::remove_file(&path)?;
                    std::os::unix::fs::symlink(up.join(rest), &path)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        builder.into_inner().unwrap()
    }

    fn raw(builder: &mut tar::Builder<Vec<u8>>, path: &str, link: Option<&str>) {
        let mut header = tar::Header::new_gnu();
        // `set_path` refuses what this test is about.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(0);
        header.set_mode(0o644);
        if let Some(link) = link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }

    #[test]
    fn an_archive_cannot_leave_its_folder() {
        let cases = [
            ("../evil", None),
            ("a/../../evil", None),
            ("/tmp/evil", None),
            ("link", Some("/etc/passwd")),
            ("a/link", Some("../../evil")),
        ];
        for (path, link) in cases {
            let folder = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(folder.path()).unwrap().join("in");
            std::fs::create_dir(&root).unwrap();
            let bytes = archive(|builder| raw(builder, path, link));
            let error = untar(&bytes[..], &root, "x.tar").unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().code, "archive-hostile", "{path}");
            assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "{path}");
        }
    }

    #[test]
    fn links_that_lead_out_together_are_refused_in_any_order() {
        for order in [[("here", "."), ("out", "here/..")], [("out", "here/.."), ("here", ".")]] {
            let folder = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(folder.path()).unwrap().join("in");
            std::fs::create_dir(&root).unwrap();
            let bytes = archive(|builder| order.iter().for_each(|(path, to)| raw(builder, path, Some(to))));
            let error = untar(&bytes[..], &root, "x.tar").unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().code, "archive-hostile", "{order:?}");
        }
    }

    #[test]
    fn packing_and_unpacking_give_the_same_tree() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        sys::fs::write_atomic(&root.join("from/a/b.txt"), b"text", 0o640).unwrap();
        std::os::unix::fs::symlink("a/b.txt", root.join("from/link")).unwrap();
        pack(&root.join("from"), &root.join("x.tar")).unwrap();
        std::fs::create_dir(root.join("to")).unwrap();
        untar(File::open(root.join("x.tar")).unwrap(), &root.join("to"), "x.tar").unwrap();
        assert_eq!(std::fs::read_to_string(root.join("to/link")).unwrap(), "text");
    }

    #[test]
    fn absolute_links_are_turned_into_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        sys::fs::write_atomic(&root.join("etc/java/x.conf"), b"text", 0o640).unwrap();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("/etc/java/x.conf", root.join("usr/lib/x.conf")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", root.join("usr/lib/other")).unwrap();
        relocate_links(root).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("usr/lib/x.conf")).unwrap(), "text");
        assert_eq!(std::fs::read_link(root.join("usr/lib/other")).unwrap().to_str(), Some("/etc/hostname"));
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("x");
        sys::fs::write_atomic(&path, b"abc", 0o600).unwrap();
        let (sum, size) = sha256(&path).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(size, 3);
    }
}
