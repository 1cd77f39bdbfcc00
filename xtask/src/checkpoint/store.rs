//! What there is of checkpoints in a state folder; looking changes nothing.

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::checkpoint::{Checkpoint, FORMAT, Folders, Journal, MANIFEST, is_left_over};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::is_name;
use ecosystem_core::place::Place;

use crate::sys::fs::{from_toml, read_optional};

/// The names of all checkpoints of a place, in order.
pub fn names(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> =
        entries(&Folders::of(place))?.into_iter().filter(|name| is_name(name)).collect();
    names.sort();
    Ok(names)
}

/// What a checkpoint says of itself.
pub fn read(place: &Place, name: &str) -> anyhow::Result<Checkpoint> {
    let folder = Folders::of(place).checkpoint(name);
    if !is_name(name) || !folder.is_dir() {
        let names = names(place)?;
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        let message = format!("there is no checkpoint `{}`", name.escape_debug());
        let failure = Failure::new(Kind::Usage, "no-such-checkpoint", message);
        return Err(failure.hint(format!("checkpoints: {known}")).into());
    }
    let path = folder.join(MANIFEST);
    let damaged = |why: String| {
        Failure::new(Kind::Data, "checkpoint-damaged", format!("the checkpoint {name} cannot be used: {why}"))
            .hint(format!("delete it: {{program}} checkpoint delete {name}"))
    };
    match read_toml::<Checkpoint>(&path) {
        Ok(Some(found)) if found.format == FORMAT => Ok(found),
        Ok(Some(found)) => {
            Err(damaged(format!("it has the format {}, this build reads {FORMAT}", found.format)).into())
        }
        Ok(None) => Err(damaged(format!("{path} is missing")).into()),
        Err(error) => Err(damaged(format!("{error:#}")).into()),
    }
}

/// The restore that was decided and is not finished.
pub fn pending(place: &Place) -> anyhow::Result<Option<Journal>> {
    let path = Folders::of(place).journal;
    read_toml(&path).map_err(|error| {
        Failure::new(Kind::Host, "state-unreadable", format!("{error:#}"))
            .hint("a restore was interrupted and this says what is left to do: put it back from a backup")
            .into()
    })
}

/// What commands have left that were killed.
pub(super) fn left_over(folders: &Folders) -> anyhow::Result<impl Iterator<Item = String>> {
    Ok(entries(folders)?.into_iter().filter(|name| is_left_over(name)))
}

fn entries(folders: &Folders) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("cannot read {}", folders.all);
    match folders.all.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(cannot),
        Ok(entries) => entries.map(|entry| Ok(entry.with_context(cannot)?.file_name().to_owned())).collect(),
    }
}

pub(super) fn read_toml<T: serde::de::DeserializeOwned>(path: &Utf8Path) -> anyhow::Result<Option<T>> {
    let Some(text) = read_optional(path)? else { return Ok(None) };
    Ok(Some(from_toml(path, &text)?))
}
