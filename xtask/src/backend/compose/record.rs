//! What is remembered of a place's containers, in its state folder. An engine that knows nothing of them may be another one than yesterday's.

use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::{CONTAINERS, Place, Record};

use crate::sys::fs::{read_optional, remove_optional, write_atomic};

fn path(place: &Place) -> Utf8PathBuf {
    place.state.join(CONTAINERS)
}

/// What is remembered of this place; nothing where it never had containers.
pub fn read(place: &Place) -> anyhow::Result<Record> {
    let path = path(place);
    let text = read_optional(&path)?.unwrap_or_default();
    toml::from_str(&text).map_err(|error| {
        let text = format!("cannot read {path}: {}", error.message());
        Failure::new(Kind::Host, "state-unreadable", text)
            .hint("put it back from a backup: it tells which engine has the containers, and what made their data")
            .hint(format!("or remove {path} and look for containers and volumes with docker ps -a and docker volume ls"))
            .into()
    })
}

/// Whether there ever were containers whose volumes, or more, may still be there.
pub fn exists(place: &Place) -> bool {
    path(place).exists()
}

/// Changes it.
pub(super) fn change(place: &Place, change: impl FnOnce(&mut Record)) -> anyhow::Result<()> {
    let known = read(place)?;
    let mut record = known.clone();
    change(&mut record);
    if record == known && exists(place) {
        return Ok(());
    }
    write_atomic(&path(place), toml::to_string(&record)?.as_bytes(), 0o600)
}

/// Forgets all of it.
pub(super) fn forget(place: &Place) -> anyhow::Result<()> {
    remove_optional(&path(place))
}
