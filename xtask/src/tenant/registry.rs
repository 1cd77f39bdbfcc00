//! What is remembered of tenants: a file for each, and another one that is held by whoever uses a tenant of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::is_name;
use ecosystem_core::place::Place;
use ecosystem_core::tenant::{Entry, folder};

use crate::sys::fs::{create_private_dir, from_toml, read_optional, remove_optional, write_lasting};

/// A tenant that is used: nobody takes it for one that was left, while this or a program that was started with it goes on.
#[derive(Debug)]
pub struct Hold(File);

impl Hold {
    /// Lets the programs that are started from now on hold it as well.
    pub fn hand_on(&self) -> anyhow::Result<()> {
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::empty()).context("cannot hand a lock on")
    }
}

/// All tenants that are remembered, by name.
pub fn entries(place: &Place) -> anyhow::Result<BTreeMap<String, Entry>> {
    let folder = folder(place);
    let cannot = || format!("cannot read {folder}");
    let names = match folder.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.with_context(cannot)?,
    };
    let mut all = BTreeMap::new();
    for entry in names {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().strip_suffix(".toml").filter(|name| is_name(name));
        if let Some(name) = name
            && let Some(found) = read(place, name)?
        {
            all.insert(name.to_owned(), found);
        }
    }
    Ok(all)
}

/// What is remembered of one.
pub fn read(place: &Place, name: &str) -> anyhow::Result<Option<Entry>> {
    let path = file(place, name);
    let read = read_optional(&path).and_then(|text| text.map(|text| from_toml(&path, &text)).transpose());
    read.map_err(|error| {
        Failure::new(Kind::Host, "state-unreadable", error.to_string())
            .hint(format!("put it back from a backup, or remove it and delete the tenant: {{program}} tenant delete {name}"))
            .into()
    })
}

pub(super) fn write(place: &Place, name: &str, entry: &Entry) -> anyhow::Result<()> {
    write_lasting(&file(place, name), toml::to_string(entry)?.as_bytes(), 0o600)
}

pub(super) fn remove(place: &Place, name: &str) -> anyhow::Result<()> {
    remove_optional(&file(place, name))?;
    remove_optional(&lock(place, name))
}

/// Forgets the parts of all tenants in these services, whose data is gone.
pub fn forget(place: &Place, services: &BTreeSet<String>) -> anyhow::Result<()> {
    for (name, mut entry) in entries(place)? {
        entry.services.retain(|service| !services.contains(service));
        if entry.services.is_empty() { remove(place, &name)? } else { write(place, &name, &entry)? }
    }
    Ok(())
}

/// Holds a tenant that is about to be made, or that is there.
pub fn hold(place: &Place, name: &str) -> anyhow::Result<Hold> {
    create_private_dir(&folder(place))?;
    let path = lock(place, name);
    let file = open(&path, true)?;
    file.try_lock().with_context(|| format!("cannot lock {path}"))?;
    Ok(Hold(file))
}

/// Takes away what was to be held of one that is not remembered.
pub fn release(place: &Place, name: &str) -> anyhow::Result<()> {
    if read(place, name)?.is_none() { remove_optional(&lock(place, name)) } else { Ok(()) }
}

/// Whether somebody holds it.
pub(super) fn is_held(place: &Place, name: &str) -> anyhow::Result<bool> {
    let path = lock(place, name);
    if !path.exists() {
        return Ok(false);
    }
    match open(&path, false)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {path}")),
    }
}

fn open(path: &Utf8Path, create: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(create).truncate(false).mode(0o600);
    options.open(path).with_context(|| format!("cannot open {path}"))
}

fn file(place: &Place, name: &str) -> Utf8PathBuf {
    folder(place).join(format!("{name}.toml"))
}

fn lock(place: &Place, name: &str) -> Utf8PathBuf {
    folder(place).join(format!("{name}.lock"))
}
