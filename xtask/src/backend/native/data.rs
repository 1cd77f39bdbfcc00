//! The folders of services on the disk: data, configuration, and what made them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::catalog::{Data, Fresh, Launch};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::process::{Content, File, Process};

use crate::sys::fs::{create_private_dir, read_optional, remove_optional, write_atomic};
use crate::sys::{interrupt, launch, os};

/// What made the data of these services, for [`Observed::data`].
pub fn data(place: &Place, wanted: &[(&str, &Launch)]) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let mut found = BTreeMap::new();
    for (service, launch) in wanted {
        // A folder that is empty holds no data. One that cannot be read is told by what follows.
        let any = std::fs::read_dir(&launch.data.folder).is_ok_and(|mut entries| entries.next().is_some());
        let kind = launch.endpoint.kind.name();
        let own = launch.data.version.as_ref().map(|file| read_optional(file)).transpose()?.flatten();
        // The server's own word counts more than ours.
        let own = own.map(|version| format!("{kind} {}", version.trim()));
        let known = own.or(read_optional(&made_by(place, service))?.map(|text| text.trim().to_owned()));
        let known = known.filter(|text| text.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' ')));
        if any {
            found.insert((*service).to_owned(), known);
        }
    }
    Ok(found)
}

pub(super) fn made_by(place: &Place, service: &str) -> camino::Utf8PathBuf {
    place.service(service).join("made-by")
}

/// What made the data of each service that was started here.
pub fn made(place: &Place) -> anyhow::Result<BTreeMap<String, String>> {
    let made = |name: String| {
        let text = read_optional(&made_by(place, &name))?.unwrap_or_default();
        Ok((name, text.trim().to_owned()))
    };
    with_data(place)?.into_iter().map(made).collect()
}

/// Notes what made the data of a service.
pub fn note_made(place: &Place, service: &str, text: &str) -> anyhow::Result<()> {
    write_atomic(&made_by(place, service), text.as_bytes(), 0o600)
}

/// The services that were started here and have data, whether the manifest still names them or not.
pub fn with_data(place: &Place) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let state = &place.state;
    for entry in state.read_dir_utf8().with_context(|| format!("cannot read {state}"))? {
        let entry = entry.with_context(|| format!("cannot read {state}"))?;
        if entry.file_type()?.is_dir() && made_by(place, entry.file_name()).is_file() {
            found.insert(entry.file_name().to_owned());
        }
    }
    Ok(found)
}

/// Makes the data folder of a service from its template: beside its place, and moved there when it is whole. Data that is there is
/// never touched.
pub fn prepare(service: &str, launch: &Launch) -> anyhow::Result<()> {
    let Fresh::Template { archive, folder, command, input } = &launch.data.fresh else { return Ok(()) };
    refuse_link(folder)?;
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the unfinished data in {folder}"));
        }
        _ => {}
    }
    create_private_dir(folder)?;
    let file = std::fs::File::open(archive).with_context(|| format!("cannot open {archive}"))?;
    let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 18, file));
    archive.set_preserve_mtime(false);
    let unpack = |entry: std::io::Result<tar::Entry<'_, _>>| -> anyhow::Result<bool> {
        interrupt::check()?;
        entry?.unpack_in(folder).with_context(|| format!("cannot unpack into {folder}"))
    };
    archive.entries()?.try_for_each(|entry| unpack(entry).map(drop))?;
    write_files(&launch.files)?;
    launch::run(command, input.reveal()).map_err(|error| {
        let message =
            format!("{service} ended before it was ready: its data folder could not be made: {error:#}");
        Failure::new(Kind::Service, "service-ended", message)
            .hint(format!("the whole log: {{program}} logs {service}"))
    })?;
    let data = &launch.data.folder;
    std::fs::rename(folder, data).with_context(|| format!("cannot move {folder} to {data}"))
}

/// Lets the processes that can do so read their configuration, before any of the service is started.
pub(super) fn test(service: &str, processes: &[Process]) -> anyhow::Result<()> {
    for process in processes.iter().filter(|process| !process.rules.test.is_empty()) {
        let argv = process.argv.iter().chain(&process.rules.test).cloned().collect();
        let name = format!("{}-test", process.name);
        launch::run(&Process { argv, name, ..process.clone() }, "").map_err(|error| {
            let message = format!(
                "{service} ended before it was ready: {} does not accept its configuration: {error:#}",
                process.name
            );
            Failure::new(Kind::Service, "service-ended", message)
                .hint(format!("the whole log: {{program}} logs {service}"))
        })?;
    }
    Ok(())
}

/// Removes the lock file of a server that was killed, once nothing is left of that server. Its own check of the process id in there
/// would take any process that has this id today for itself.
pub(super) fn remove_stale_lock(data: &Data) -> anyhow::Result<()> {
    let Some(lock) = data.lock.as_ref().filter(|lock| lock.exists()) else { return Ok(()) };
    let Some(left) = os::working_in(&data.folder) else { return Ok(()) };
    for pid in left.into_keys() {
        os::wait_for_end(pid, Duration::from_secs(5))
            .with_context(|| format!("something still works in {}", data.folder))?;
    }
    std::fs::remove_file(lock).with_context(|| format!("cannot remove {lock}"))
}

pub(super) fn write_files(files: &[File]) -> anyhow::Result<()> {
    for File { path, content } in files {
        match content {
            Content::Text(text) | Content::Secret(text) => write_atomic(path, text.as_bytes(), 0o600)?,
            Content::Cookie(text) => write_atomic(path, text.as_bytes(), 0o400)?,
            Content::Folder => create_private_dir(path)?,
            Content::Link(target) => link(path, target)?,
            Content::NoLink => unlink(path)?,
        }
    }
    Ok(())
}

/// A repository could come with links in its state folder that lead anywhere; what is made and removed must be below it.
pub fn refuse_link(folder: &Utf8Path) -> Result<(), Failure> {
    let Some(link) = folder.ancestors().take(2).find(|path| path.is_symlink()) else { return Ok(()) };
    let message = format!("{link} is a link; nothing is made or deleted behind it");
    Err(Failure::new(Kind::Host, "state-is-a-link", message)
        .hint("remove the link; ECOSYSTEM_STATE names another place for the whole state folder"))
}

/// Removes a link; what is none stays.
pub fn unlink(path: &Utf8Path) -> anyhow::Result<()> {
    if path.is_symlink() { remove_optional(path) } else { Ok(()) }
}

/// Makes a link, in the place of one that leads elsewhere.
pub fn link(path: &Utf8Path, target: &Utf8Path) -> anyhow::Result<()> {
    if path.read_link_utf8().is_ok_and(|present| present == target) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        create_private_dir(folder)?;
    }
    if path.exists() && !path.is_symlink() {
        let message = format!("{path} is no link, and a link to {target} belongs there");
        return Err(Failure::new(Kind::Host, "not-a-link", message)
            .hint(format!("move it away, or into {target}"))
            .into());
    }
    remove_optional(path)?;
    match std::os::unix::fs::symlink(target, path) {
        // An application is started while it is set up, and either needs its links.
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists
                && path.read_link_utf8().is_ok_and(|present| present == target) =>
        {
            Ok(())
        }
        made => made.with_context(|| format!("cannot link {path}")),
    }
}
