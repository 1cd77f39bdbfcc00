//! Checkpoints on the disk: saved, restored and deleted so that whoever is killed at whatever moment leaves nothing half.
//!
//! A checkpoint is there once its folder has its name: it is made under another one, and loses its name before it is deleted. A restore is
//! decided once its journal has its name: until then what was staged is thrown away, from then on it is finished by [`settle`], which every
//! command that changes something calls first. What the names mean is `ecosystem_core::checkpoint`.

mod store;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::catalog::data_folder;
use ecosystem_core::checkpoint::{
    self as core, Checkpoint, FORMAT, Folders, Journal, MANIFEST, Move, Stored,
};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::engine::no_client;
use ecosystem_core::model::Backend;
use ecosystem_core::place::Place;

pub use store::{names, pending, read};

use crate::backend::compose::{Compose, Volume, record};
use crate::backend::native;
use crate::event::{Event, Events, Section, Task, Unit};
use crate::sys::fs::{create_private_dir, disk_use, remove_optional, write_lasting};
use crate::sys::{copy, parallel};

/// Copies the data of a place, in which nothing runs. The caller holds the lock and has settled what was left.
pub fn save(
    place: &Place,
    compose: Option<&Compose>,
    name: &str,
    mut checkpoint: Checkpoint,
    events: &dyn Events,
) -> anyhow::Result<Checkpoint> {
    let folders = Folders::of(place);
    let unfinished = folders.unfinished(name);
    create_private_dir(&unfinished)?;
    // First: it tells which volumes are to be removed where this is not finished.
    write(&unfinished.join(MANIFEST), &checkpoint)?;
    let copied = each(&checkpoint.services, events, &|service, stored, task| {
        if stored.backend == Backend::Compose {
            let copy = core::volume(place, name, service);
            return engine(compose)?.save_volume(volume(name, service, stored, &copy)?);
        }
        let (from, to) = (live(place, service, stored), unfinished.join(service));
        native::refuse_link(&from)?;
        // Started, and ended before it made any.
        if from.exists() {
            copy_tree(&from, &to, task)?;
        } else {
            create_private_dir(&to)?;
        }
        Ok(disk_use(&to))
    })?;
    for (service, bytes) in copied {
        if let Some(stored) = checkpoint.services.get_mut(&service) {
            stored.bytes = bytes;
        }
    }
    write(&unfinished.join(MANIFEST), &checkpoint)?;
    copy::lasting(&unfinished)?;
    copy::rename(&unfinished, &folders.checkpoint(name))?;
    Ok(checkpoint)
}

/// Puts the data of a checkpoint in the place of what is there. Nothing runs; the caller holds the lock and has settled what was left.
pub fn restore(
    place: &Place,
    compose: Option<&Compose>,
    name: &str,
    checkpoint: &Checkpoint,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let folders = Folders::of(place);
    if checkpoint.services.values().any(|stored| stored.backend == Backend::Compose) {
        // From now on there are volumes that `down --data` has to find.
        engine(compose)?.claim()?;
    }
    create_private_dir(&folders.staged)?;
    let journal =
        Journal { format: FORMAT, checkpoint: name.to_owned(), services: checkpoint.services.clone() };
    write(&folders.draft, &journal)?;
    each(&journal.services, events, &|service, stored, task| {
        if stored.backend == Backend::Compose {
            let copy = core::volume(place, name, service);
            engine(compose)?.stage_volume(volume(name, service, stored, &copy)?)?;
        } else {
            copy_tree(&folders.checkpoint(name).join(service), &folders.staged.join(service), task)?;
        }
        Ok(stored.bytes)
    })?;
    copy::lasting(&folders.staged)?;
    // From here on it happens, whatever comes.
    copy::rename(&folders.draft, &folders.journal)?;
    let compose = compose.map(Compose::to_the_end);
    finish(place, compose.as_ref(), &folders, &journal)?;
    clean(place, compose.as_ref(), &folders)
}

/// Takes its name from a checkpoint, and removes it.
pub fn delete(place: &Place, compose: Option<&Compose>, name: &str) -> anyhow::Result<()> {
    let folders = Folders::of(place);
    copy::rename(&folders.checkpoint(name), &folders.unfinished(name))?;
    clean(place, compose, &folders)
}

/// Finishes a restore that was decided, and removes what else was left by commands that were killed. The caller holds the lock. `docker` is
/// asked for only where volumes are concerned.
pub fn settle(
    place: &Place,
    docker: impl FnOnce() -> Option<Utf8PathBuf>,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let folders = Folders::of(place);
    let journal = pending(place)?;
    if journal.is_none() && !store::left_over(&folders)?.any(|_| true) {
        return Ok(());
    }
    // What is put in order is not left halfway.
    let compose = docker().map(|docker| Compose::new(docker, place).to_the_end());
    if let Some(journal) = journal {
        let text = format!("finishing to restore {}, which was interrupted", journal.checkpoint);
        events.emit(Event::Fact { title: "Checkpoint", text });
        finish(place, compose.as_ref(), &folders, &journal)?;
    }
    clean(place, compose.as_ref(), &folders)
}

/// Moves what was staged to its place: what is left of that, however often it was interrupted.
fn finish(
    place: &Place,
    compose: Option<&Compose>,
    folders: &Folders,
    journal: &Journal,
) -> anyhow::Result<()> {
    let of = |backend| journal.services.iter().filter(move |(_, stored)| stored.backend == backend);
    let processes: Vec<&str> = of(Backend::Native).map(|(service, _)| service.as_str()).collect();
    // Only somebody who went past this program could have started them.
    native::stop_all(place, &processes)?;
    create_private_dir(&folders.replaced)?;
    for (service, stored) in of(Backend::Native) {
        let (data, staged) = (live(place, service, stored), folders.staged.join(service));
        create_private_dir(&place.service(service))?;
        native::refuse_link(&data)?;
        for step in core::moves(staged.exists(), data.exists()) {
            match step {
                Move::Away => {
                    let away = folders.replaced.join(service);
                    copy::remove(&away)?;
                    copy::rename(&data, &away)?;
                }
                Move::In => copy::rename(&staged, &data)?,
            }
        }
        native::note_made(place, service, stored.made_by.as_deref().unwrap_or_default())?;
    }
    let volumes: BTreeMap<String, Stored> =
        of(Backend::Compose).map(|(service, stored)| (service.clone(), stored.clone())).collect();
    if !volumes.is_empty() {
        let compose = engine(compose)?;
        compose.end_helpers(&journal.checkpoint)?;
        in_parallel(&volumes, &|service, stored| {
            compose.swap_volume(volume(&journal.checkpoint, service, stored, "")?)
        })?;
        let made_by = |(service, stored): (String, Stored)| Some((service, stored.made_by?));
        compose.note_made(&volumes.into_iter().filter_map(made_by).collect())?;
    }
    copy::lasting(&folders.all)?;
    remove_optional(&folders.journal)?;
    copy::lasting_names(&folders.all)
}

/// Removes what is no checkpoint.
fn clean(place: &Place, compose: Option<&Compose>, folders: &Folders) -> anyhow::Result<()> {
    // Laid into volumes for a restore that was not decided.
    if let Some(draft) = store::read_toml::<Journal>(&folders.draft)? {
        for (service, stored) in draft.services.iter().filter(|(_, s)| s.backend == Backend::Compose) {
            let compose = engine(compose)?;
            compose.end_helpers(&draft.checkpoint)?;
            compose.unstage_volume(volume(&draft.checkpoint, service, stored, "")?)?;
        }
        remove_optional(&folders.draft)?;
    }
    for entry in store::left_over(folders)? {
        let path = folders.all.join(&entry);
        let volumes = match store::read_toml::<Checkpoint>(&path.join(MANIFEST)) {
            _ if !path.is_dir() => false,
            Ok(None) => false,
            Ok(Some(taken)) => taken.services.values().any(|stored| stored.backend == Backend::Compose),
            // It does not tell; where there never were containers there are no volumes.
            Err(_) => record::exists(place),
        };
        if volumes {
            let name = entry.trim_end_matches(core::UNFINISHED);
            engine(compose)?.remove_checkpoint(name)?;
        }
        copy::remove(&path)?;
    }
    Ok(())
}

/// What has the volumes.
fn engine(compose: Option<&Compose>) -> Result<&Compose, Failure> {
    compose.ok_or_else(|| {
        let failure = no_client();
        Failure { message: format!("there are volumes in this checkpoint: {}", failure.message), ..failure }
    })
}

fn volume<'a>(
    checkpoint: &'a str,
    service: &'a str,
    stored: &'a Stored,
    copy: &'a str,
) -> anyhow::Result<Volume<'a>> {
    let image = stored.image.as_deref().ok_or_else(|| {
        let message = format!("the checkpoint {checkpoint} does not tell which image {service} had");
        Failure::new(Kind::Data, "checkpoint-damaged", message)
            .hint(format!("delete it: {{program}} checkpoint delete {checkpoint}"))
    })?;
    Ok(Volume { service, image, checkpoint, copy })
}

/// The data folder of a service.
fn live(place: &Place, service: &str, stored: &Stored) -> Utf8PathBuf {
    data_folder(stored.made_by.as_deref().unwrap_or_default(), &place.service(service))
}

/// Copies a folder and shows how far it is.
fn copy_tree(from: &Utf8Path, to: &Utf8Path, task: &Task<'_>) -> anyhow::Result<()> {
    let (total, done) = (copy::bytes(from), AtomicU64::new(0));
    copy::tree(from, to, &|count| {
        let done = done.fetch_add(count, Ordering::Relaxed) + count;
        task.progress(done, Some(total), Unit::Bytes);
    })
}

/// Does the same for each service, all at once; what came of it, in bytes.
fn each(
    services: &BTreeMap<String, Stored>,
    events: &dyn Events,
    work: &(dyn Fn(&str, &Stored, &Task<'_>) -> anyhow::Result<u64> + Sync),
) -> anyhow::Result<BTreeMap<String, u64>> {
    let done = Mutex::new(BTreeMap::new());
    let one = |service: &str, stored: &Stored| -> anyhow::Result<()> {
        let task = Task::start(events, Section::Copy, service);
        let bytes = work(service, stored, &task)?;
        task.finish(format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000));
        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(service.to_owned(), bytes);
        Ok(())
    };
    in_parallel(services, &one)?;
    Ok(done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Does the same for each service, all at once, and tells the first failure once all have ended.
fn in_parallel(
    services: &BTreeMap<String, Stored>,
    work: &(dyn Fn(&str, &Stored) -> anyhow::Result<()> + Sync),
) -> anyhow::Result<()> {
    let all: Vec<(&String, &Stored)> = services.iter().collect();
    let results = parallel::map(&all, |(service, stored)| work(service, stored));
    results.into_iter().collect::<anyhow::Result<()>>().map_err(full)
}

/// A full disk by its name.
fn full(error: anyhow::Error) -> anyhow::Error {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_none_or(|io| io.kind() != std::io::ErrorKind::StorageFull) {
        return error;
    }
    Failure::new(Kind::Host, "disk-full", format!("{error:#}"))
        .hint("what checkpoints take: {program} checkpoint list")
        .into()
}

fn write(path: &Utf8Path, what: &impl serde::Serialize) -> anyhow::Result<()> {
    write_lasting(path, toml::to_string(what)?.as_bytes(), 0o600)
}
