//! Where stacks of this user live: one small file a place in the store, so that they can be listed and stopped from anywhere.
//!
//! The files only say where to look. Whether something runs there is asked of the kernel, through the supervisor's socket.

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::place::Place;
use serde::{Deserialize, Serialize};

use super::State;
use crate::sys::fs::{read_optional, write_atomic};
use crate::sys::supervisor;

/// A place that some `up` has set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    #[serde(skip)]
    pub id: String,
    pub root: Utf8PathBuf,
    pub state: Utf8PathBuf,
}

fn folder(store: &Utf8Path) -> Utf8PathBuf {
    store.join("places")
}

/// Remembers a place in its store, and forgets those of which nothing is left.
pub fn remember(place: &Place) -> anyhow::Result<()> {
    let path = folder(&place.store).join(format!("{}.toml", place.id));
    let known = Known { id: String::new(), root: place.root.clone(), state: place.state.clone() };
    let text = toml::to_string(&known)?;
    if read_optional(&path)?.as_deref() == Some(&text) {
        return Ok(());
    }
    for (file, gone) in read(&place.store)?.into_iter().filter(|(_, known)| !known.is_there(&place.store)) {
        // A disk that is not mounted takes its projects along: they come back with it.
        if gone.root.exists() || !gone.root.parent().is_some_and(Utf8Path::exists) {
            continue;
        }
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {file}"))?;
    }
    write_atomic(&path, text.as_bytes(), 0o600)
}

/// The places of a store of which something is left, by project folder.
pub fn all(store: &Utf8Path) -> anyhow::Result<Vec<Known>> {
    let mut places: Vec<Known> = read(store)?.into_iter().map(|(_, known)| known).collect();
    places.retain(|known| known.is_there(store));
    places.sort_by(|a, b| a.root.cmp(&b.root));
    Ok(places)
}

/// Every file of the store about a place, with what it says.
fn read(store: &Utf8Path) -> anyhow::Result<Vec<(Utf8PathBuf, Known)>> {
    let mut found = Vec::new();
    for entry in folder(store).read_dir_utf8().into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().strip_suffix(".toml") else { continue };
        let Some(text) = read_optional(entry.path())? else { continue };
        let Ok(known) = toml::from_str::<Known>(&text) else { continue };
        found.push((entry.path().to_owned(), Known { id: id.to_owned(), ..known }));
    }
    Ok(found)
}

impl Known {
    /// Whether anything is left of it: its state folder, or a supervisor that outlived that.
    fn is_there(&self, store: &Utf8Path) -> bool {
        self.place(store).is_some() || self.abandoned().is_some()
    }

    /// The place, where its state folder still is and still is this one's.
    pub fn place(&self, store: &Utf8Path) -> Option<Place> {
        State::at(self.state.clone()).place(store).ok().flatten().filter(|place| place.id == self.id)
    }

    /// The supervisor that goes on although its state folder was deleted.
    pub fn abandoned(&self) -> Option<u32> {
        if self.state.exists() {
            return None;
        }
        supervisor::abandoned(&self.state).first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_remembered_once_and_forgotten_with_their_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8Path::from_path(folder.path()).unwrap().join(name);
        let (store, root) = (path("store"), path("a b"));
        assert_eq!(all(&store).unwrap(), []);
        let state = State::at(root.join(".ecosystem"));
        let place = state.create(&root, &store, 3).unwrap();
        remember(&place).unwrap();
        remember(&place).unwrap();
        let known = all(&store).unwrap();
        assert_eq!(known, [Known { id: place.id.clone(), root: root.clone(), state: place.state.clone() }]);
        assert_eq!(known[0].place(&store), Some(place.clone()));

        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(all(&store).unwrap(), []);
        let files = || super::folder(&store).read_dir_utf8().unwrap().count();
        assert_eq!(files(), 1, "looking forgets nothing");
        let other = path("other");
        let other = State::at(other.join(".ecosystem")).create(&other, &store, 3).unwrap();
        remember(&other).unwrap();
        assert_eq!(files(), 1, "the other one alone is left");
    }
}
