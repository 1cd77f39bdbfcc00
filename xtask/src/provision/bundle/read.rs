//! Reading a bundle: everything is unpacked beside the store and checked; only when all of it is right does any of it become part of the store.
//!
//! Nothing in the file is trusted: neither its list nor its members. What the list cannot prove is who made the bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use camino::{Utf8Component, Utf8Path};
use ecosystem_core::failure::{Failure, Kind};

use super::{Bundled, BundledEntry, Entry, FORMAT, LIST, List, Member, MemberKind, Platform, invalid};
use crate::event::{Events, Section, Task, Unit};
use crate::provision::archive::{self, Hashed, Uncopied};
use crate::provision::lock::{Pin, is_pin};
use crate::provision::store::{Id, RECORD, Record, Scratch, Store, extent_of, publish};
use crate::sys;

/// A list is never larger.
const LIST_LIMIT: u64 = 64 << 20;

/// Package versions by their name in the lock.
type Resolved = BTreeMap<String, Vec<String>>;

/// Takes a bundle over. Also returns the package versions that it was made for.
pub(super) fn adopt(
    store: &Store,
    file: &Utf8Path,
    here: &Platform,
    jars: &BTreeMap<String, Pin>,
    events: &dyn Events,
) -> anyhow::Result<(Bundled, Resolved)> {
    let source = File::open(file).with_context(|| format!("cannot open {file}"))?;
    let bytes = source.metadata().with_context(|| format!("cannot read {file}"))?.len();
    let mut source = Hashed::new(BufReader::with_capacity(1 << 18, source));
    let mut tar = tar::Archive::new(&mut source);
    let mut members = tar.entries().map_err(|error| invalid(file, error))?;
    let list = read_list(&mut members, file)?;
    if list.platform != *here {
        let message = format!("{file} was made for {}, and this is {here}", list.platform);
        return Err(Failure::new(Kind::Host, "bundle-other-platform", message)
            .hint("make a bundle on a machine like this one")
            .into());
    }
    // They will be words of apt's command line.
    if let Some(pin) = list.resolved.values().flatten().find(|pin| !is_pin(pin)) {
        return Err(invalid(file, format!("{pin:?} is no package=version")));
    }
    // Two that wait for each other's locks would wait for good.
    if !list.entries.is_sorted_by_key(|entry| &entry.folder) {
        return Err(invalid(file, "its list is not in order"));
    }
    let known: BTreeSet<&str> = jars.values().map(|pin| pin.sha256.as_str()).collect();
    let mut folders = BTreeSet::new();
    for entry in &list.entries {
        check(entry, file, &known)?;
        if !folders.insert(&entry.folder) {
            return Err(invalid(file, format!("{} stands in it twice", entry.folder)));
        }
    }

    let task = Task::start(events, Section::Build, "store from the bundle");
    let mut done = 0;
    let mut ready = Vec::new();
    let mut present = BTreeSet::new();
    for entry in &list.entries {
        let target = store.root().join(&entry.folder);
        // One after the other and always in the same order: two at once wait for each other and never for good.
        let guard = store.lock(&entry.folder, events)?;
        let scratch = store.scratch()?;
        if store.record(&target)?.is_ok() {
            present.insert(entry.folder.clone());
        }
        for member in &entry.members {
            sys::interrupt::check()?;
            let mut packed = match members.next() {
                Some(packed) => packed.map_err(|error| invalid(file, error))?,
                None => {
                    return Err(invalid(file, format!("it ends before {}/{}", entry.folder, member.path)));
                }
            };
            done += take(&mut packed, entry, member, &scratch, present.contains(&entry.folder), file)?;
            task.progress(done, Some(bytes), Unit::Bytes);
        }
        ready.push((entry, scratch, guard));
    }
    if members.next().is_some() {
        return Err(invalid(file, "it holds more than its list says"));
    }
    let (sha256, bytes) = source.finish().with_context(|| format!("cannot read {file}"))?;

    for (entry, scratch, _guard) in &ready {
        if present.contains(&entry.folder) {
            continue;
        }
        let extent = Some(extent_of(scratch.path()));
        let record = Record { extent, ..entry.record.clone() };
        publish(scratch, &record, &store.root().join(&entry.folder))?;
    }
    task.finish(format!("{} of {} new", list.entries.len() - present.len(), list.entries.len()));
    let entries =
        list.entries.iter().map(|entry| BundledEntry::of(entry, present.contains(&entry.folder))).collect();
    Ok((Bundled { entries, bytes, sha256 }, list.resolved))
}

fn read_list<R: Read>(members: &mut tar::Entries<'_, R>, file: &Utf8Path) -> anyhow::Result<List> {
    let no_list = || invalid(file, format!("it does not begin with {LIST}"));
    let first = members.next().ok_or_else(no_list)?.map_err(|error| invalid(file, error))?;
    let is_list = first.path_bytes() == LIST.as_bytes() && first.header().entry_type().is_file();
    if !is_list || first.size() > LIST_LIMIT {
        return Err(no_list());
    }
    let size = first.size();
    let mut text = Vec::new();
    first.take(LIST_LIMIT).read_to_end(&mut text).map_err(|error| invalid(file, error))?;
    if text.len() as u64 != size {
        return Err(invalid(file, format!("it ends in {LIST}")));
    }
    // A newer format may have other fields: the number comes first.
    let format =
        serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|list| list.get("format")?.as_u64());
    if format.is_some_and(|format| format != u64::from(FORMAT)) {
        let message = format!("{file} was written by another version of this program");
        return Err(Failure::new(Kind::Host, "bundle-other-version", message)
            .hint("use the same version of this program on both machines")
            .into());
    }
    serde_json::from_slice(&text).map_err(|error| invalid(file, format!("{LIST}: {error}")))
}

/// Refuses a list that could write outside of the store, or bring in anything but plain files, folders and inner links.
fn check(entry: &Entry, file: &Utf8Path, jars: &BTreeSet<&str>) -> anyhow::Result<()> {
    let installed = &entry.record.installed;
    let id =
        Id { name: installed.name.clone(), version: installed.version.clone(), key: installed.key.clone() };
    let hostile = |path: &Utf8Path| archive::hostile(file.as_str(), path.as_std_path());
    if entry.folder != id.folder() || !plain(Utf8Path::new(&entry.folder)) || entry.folder.contains('/') {
        return Err(hostile(Utf8Path::new(&entry.folder)));
    }
    let facts = &installed.facts;
    let plugins = facts.plugins.values().map(|plugin| &plugin.folder);
    for path in facts.paths.values().chain(&facts.libraries).chain(plugins) {
        if !path.as_str().is_empty() && !plain(path) {
            return Err(hostile(path));
        }
    }
    // What is written is only ever put into folders that the list made before: never through a link.
    let mut folders = BTreeSet::from([Utf8Path::new("")]);
    let mut seen = BTreeSet::new();
    for Member { path, kind } in &entry.members {
        let inside = plain(path) && path.parent().is_some_and(|parent| folders.contains(parent));
        let link = match kind {
            MemberKind::Link { target } => archive::link_stays(path, target),
            _ => true,
        };
        if !inside || !link || path == RECORD || !seen.insert(path) {
            return Err(hostile(path));
        }
        match kind {
            MemberKind::Folder => drop(folders.insert(path)),
            MemberKind::File { sha256, .. }
                if path.extension() == Some("jar")
                    && installed.name == "opensearch"
                    && !jars.contains(sha256.as_str()) =>
            {
                let message =
                    format!("{file}: {path} of {} is none of the jars of ecosystem.lock", installed.name);
                return Err(Failure::new(Kind::Host, "artifact-changed", message)
                    .hint("make the bundle anew with the ecosystem.lock of this project")
                    .into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A relative path of plain names.
fn plain(path: &Utf8Path) -> bool {
    !path.as_str().is_empty() && path.components().all(|part| matches!(part, Utf8Component::Normal(_)))
        // Components do not show these.
        && !path.as_str().contains("//") && !path.as_str().contains("/./") && !path.as_str().ends_with('/')
}

/// Checks one member against the list and, where it is needed, writes it. Returns its size.
fn take<R: Read>(
    packed: &mut tar::Entry<'_, R>,
    entry: &Entry,
    member: &Member,
    scratch: &Scratch,
    present: bool,
    file: &Utf8Path,
) -> anyhow::Result<u64> {
    let name = format!("{}/{}", entry.folder, member.path);
    let other = |what: &str| invalid(file, format!("{name} {what}"));
    let there = packed.path_bytes();
    if there.strip_suffix(b"/").unwrap_or(&there) != name.as_bytes() {
        let there = String::from_utf8_lossy(&there).into_owned();
        return Err(invalid(file, format!("it holds {there:?} where {name} should be")));
    }
    let kind = packed.header().entry_type();
    let path = scratch.path().join(&member.path);
    match &member.kind {
        MemberKind::Folder if kind.is_dir() => {
            if !present {
                std::fs::create_dir(&path).with_context(|| format!("cannot make {path}"))?;
            }
            Ok(0)
        }
        MemberKind::Link { target } if kind.is_symlink() => {
            if packed.link_name_bytes().as_deref() != Some(target.as_str().as_bytes()) {
                return Err(other("is another link than its list says"));
            }
            if !present {
                std::os::unix::fs::symlink(target, &path).with_context(|| format!("cannot make {path}"))?;
            }
            Ok(0)
        }
        MemberKind::File { size, executable, sha256 } if kind.is_file() && packed.size() == *size => {
            let mut out: Box<dyn Write> = if present {
                Box::new(std::io::sink())
            } else {
                let mut options = std::fs::OpenOptions::new();
                let mode = if *executable { 0o755 } else { 0o644 };
                let out = options.write(true).create_new(true).mode(mode).open(&path);
                Box::new(out.with_context(|| format!("cannot make {path}"))?)
            };
            let digest = archive::copy_member(packed, *size, &mut out).map_err(|error| match error {
                Uncopied::Cut => other("is cut"),
                Uncopied::Unreadable(error) => invalid(file, error),
                Uncopied::Unwritable(error) => {
                    anyhow::Error::from(error).context(format!("cannot write {path}"))
                }
            })?;
            if digest != *sha256 {
                return Err(other("has not the SHA-256 of its list"));
            }
            Ok(*size)
        }
        _ => Err(other("is not what its list says")),
    }
}

#[cfg(test)]
mod tests;
