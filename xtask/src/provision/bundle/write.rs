//! Writing a bundle: first the list, then everything on it. The same content is always the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Installed, hex};
use sha2::{Digest, Sha256};

use super::{Bundled, BundledEntry, Entry, FORMAT, LIST, List, Member, MemberKind, Platform};
use crate::event::{Events, Section, Task, Unit};
use crate::provision::archive;
use crate::provision::store::{RECORD, Store};

/// Looks at everything that goes into it.
pub(super) fn list(
    store: &Store,
    things: impl Iterator<Item = Installed>,
    platform: Platform,
    resolved: BTreeMap<String, Vec<String>>,
) -> anyhow::Result<List> {
    let mut entries = Vec::new();
    for thing in things {
        let folder = thing.root.file_name().unwrap_or_default().to_owned();
        let record = match store.record(&thing.root)? {
            Ok(record) => record,
            Err(damage) => anyhow::bail!("{} is damaged: {damage}", thing.root),
        };
        let mut members = Vec::new();
        collect(&thing.root, Utf8Path::new(""), &mut members)?;
        entries.push(Entry { folder, record, members });
    }
    entries.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(List { format: FORMAT, platform, resolved, entries })
}

fn collect(root: &Utf8Path, below: &Utf8Path, members: &mut Vec<Member>) -> anyhow::Result<()> {
    let folder = root.join(below);
    let mut found = folder
        .read_dir_utf8()
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("cannot read {folder}"))?;
    found.sort_by(|a, b| a.file_name().cmp(b.file_name()));
    for entry in found {
        let path = below.join(entry.file_name());
        let meta = entry.metadata().with_context(|| format!("cannot read {}", entry.path()))?;
        if meta.is_dir() {
            members.push(Member { path: path.clone(), kind: MemberKind::Folder });
            collect(root, &path, members)?;
        } else if meta.is_symlink() {
            let target = entry.path().read_link_utf8()?;
            // A link to something of the system has no meaning elsewhere.
            if archive::link_stays(&path, &target) {
                members.push(Member { path, kind: MemberKind::Link { target } });
            }
        } else if meta.is_file() && path != RECORD {
            let (sha256, size) = archive::sha256(entry.path())?;
            let executable = meta.permissions().mode() & 0o100 != 0;
            members.push(Member { path, kind: MemberKind::File { size, executable, sha256 } });
        }
    }
    Ok(())
}

/// Writes it beside its name and renames it when it is whole.
pub(super) fn write(
    store: &Store,
    list: &List,
    file: &Utf8Path,
    events: &dyn Events,
) -> anyhow::Result<Bundled> {
    let entries: Vec<BundledEntry> = list.entries.iter().map(|entry| BundledEntry::of(entry, true)).collect();
    let total = entries.iter().map(|entry| entry.bytes).sum();
    let task = Task::start(events, Section::Build, "bundle");
    let half: Utf8PathBuf = format!("{file}.{}.half", std::process::id()).into();
    let written =
        fill(store, list, &half, |done| task.progress(done, Some(total), Unit::Bytes)).and_then(|done| {
            std::fs::rename(&half, file).map(|()| done).with_context(|| format!("cannot make {file}"))
        });
    if written.is_err() {
        let _gone = std::fs::remove_file(&half);
    }
    let (sha256, bytes) = written?;
    task.finish("");
    Ok(Bundled { entries, bytes, sha256 })
}

fn fill(
    store: &Store,
    list: &List,
    file: &Utf8Path,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<(String, u64)> {
    let mut options = std::fs::OpenOptions::new();
    let out = options.write(true).create_new(true).mode(0o644).open(file);
    let out = out.with_context(|| format!("cannot create {file}"))?;
    let mut tar = tar::Builder::new(Hashed { out: BufWriter::new(out), hash: Sha256::new(), bytes: 0 });
    let text = serde_json::to_vec(list)?;
    append(
        &mut tar,
        LIST,
        &MemberKind::File { size: text.len() as u64, executable: false, sha256: String::new() },
        &text[..],
    )?;
    let mut done = 0;
    for entry in &list.entries {
        for member in &entry.members {
            crate::sys::interrupt::check()?;
            let name = format!("{}/{}", entry.folder, member.path);
            match &member.kind {
                MemberKind::File { size, .. } => {
                    let path = store.root().join(&name);
                    let content = File::open(&path).with_context(|| format!("cannot open {path}"))?;
                    append(&mut tar, &name, &member.kind, content)?;
                    done += size;
                    progress(done);
                }
                kind => append(&mut tar, &name, kind, std::io::empty())?,
            }
        }
    }
    let mut hashed = tar.into_inner().with_context(|| format!("cannot write {file}"))?;
    hashed.out.flush().with_context(|| format!("cannot write {file}"))?;
    hashed.out.get_ref().sync_all().with_context(|| format!("cannot write {file}"))?;
    Ok((hex(&hashed.hash.finalize()), hashed.bytes))
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    kind: &MemberKind,
    content: impl std::io::Read,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    let written = match kind {
        MemberKind::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            tar.append_data(&mut header, name, content)
        }
        MemberKind::File { size, executable, .. } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(*size);
            tar.append_data(&mut header, name, content)
        }
        MemberKind::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, name, target)
        }
    };
    written.with_context(|| format!("cannot pack {name}"))
}

/// A file whose checksum is taken while it is written.
struct Hashed<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
