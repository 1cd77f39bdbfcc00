//! Where stacks of this user live: one small file a place in the store, so that they can be listed and stopped from anywhere.
//!
//! The files only say where to look. Whether something runs there is asked of the kernel, through the supervisor's socket.

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::place::Place;
use serde::{Deserialize, Serialize};

use super::State;
use crate::sys::fs::{Unreadable, from_toml, read_optional, write_atomic};
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

/// What the files of a store say.
#[derive(Debug, Default)]
pub struct Registry {
    /// By project folder.
    pub known: Vec<Known>,
    /// Files that cannot be read: nobody knows of which place they tell.
    pub damaged: Vec<Unreadable>,
}

/// Remembers a place in its store, and forgets those of which nothing is left.
pub fn remember(place: &Place) -> anyhow::Result<()> {
    let path = folder(&place.store).join(format!("{}.toml", place.id));
    let known = Known { id: String::new(), root: place.root.clone(), state: place.state.clone() };
    let text = toml::to_string(&known)?;
    // One that is damaged is written anew.
    if read_optional(&path).ok().flatten().as_deref() == Some(&text) {
        return Ok(());
    }
    forget_gone(&place.store)?;
    write_atomic(&path, text.as_bytes(), 0o600)
}

/// Forgets the places of which nothing is left, and returns them.
pub fn forget_gone(store: &Utf8Path) -> anyhow::Result<Vec<Known>> {
    let gone = gone(store);
    for known in &gone {
        let file = folder(store).join(format!("{}.toml", known.id));
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {file}"))?;
    }
    Ok(gone)
}

/// The places of which nothing is left.
pub fn gone(store: &Utf8Path) -> Vec<Known> {
    let mut places = registered(store).known;
    // A disk that is not mounted takes its projects along: they come back with it.
    let unmounted = |known: &Known| !known.root.parent().is_some_and(Utf8Path::exists);
    // In this order: the last question goes through all processes.
    places.retain(|known| !known.root.exists() && !unmounted(known) && !known.is_there(store));
    places
}

/// The places of a store of which something is left.
pub fn all(store: &Utf8Path) -> Registry {
    let mut registry = registered(store);
    registry.known.retain(|known| known.is_there(store));
    registry
}

/// Every place that a store was ever told of.
pub fn registered(store: &Utf8Path) -> Registry {
    let mut registry = Registry::default();
    for entry in folder(store).read_dir_utf8().into_iter().flatten().flatten() {
        let (path, Some(id)) = (entry.path(), entry.file_name().strip_suffix(".toml")) else { continue };
        let known = read_optional(path).and_then(|text| match text {
            Some(text) => from_toml::<Known>(path, &text).map(Some),
            None => Ok(None),
        });
        match known {
            Ok(Some(known)) => registry.known.push(Known { id: id.to_owned(), ..known }),
            // Forgotten between looking and reading.
            Ok(None) => {}
            Err(damaged) => registry.damaged.push(damaged),
        }
    }
    registry.known.sort_by(|a, b| a.root.cmp(&b.root));
    registry.damaged.sort_by(|a, b| a.path.cmp(&b.path));
    registry
}

impl Known {
    /// Whether anything is left of it: its state folder, damaged or not, or a supervisor that outlived that.
    fn is_there(&self, store: &Utf8Path) -> bool {
        !matches!(self.place(store), Ok(None)) || self.abandoned().is_some()
    }

    /// The place, where its state folder still is and still is this one's. An error where the folder is there and does not say whose it is.
    pub fn place(&self, store: &Utf8Path) -> anyhow::Result<Option<Place>> {
        Ok(State::at(self.state.clone()).place(store)?.filter(|place| place.id == self.id))
    }

    /// The place as the store remembers it, for a state folder that does not say whose it is: enough to see and to stop what runs there.
    pub fn remembered(&self, store: &Utf8Path) -> Place {
        Place {
            id: self.id.clone(),
            root: self.root.clone(),
            state: self.state.clone(),
            store: store.to_owned(),
            offset: 0,
        }
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
        assert_eq!(all(&store).known, []);
        let state = State::at(root.join(".ecosystem"));
        let place = state.create(&root, &store, 3).unwrap();
        remember(&place).unwrap();
        remember(&place).unwrap();
        let known = all(&store).known;
        assert_eq!(known, [Known { id: place.id.clone(), root: root.clone(), state: place.state.clone() }]);
        assert_eq!(known[0].place(&store).unwrap(), Some(place.clone()));

        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(all(&store).known, []);
        let files = || super::folder(&store).read_dir_utf8().unwrap().count();
        assert_eq!(files(), 1, "looking forgets nothing");
        let other = path("other");
        let other = State::at(other.join(".ecosystem")).create(&other, &store, 3).unwrap();
        remember(&other).unwrap();
        assert_eq!(files(), 1, "the other one alone is left");
    }

    #[test]
    fn what_is_damaged_is_told_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8Path::from_path(folder.path()).unwrap().join(name);
        let (store, root) = (path("store"), path("p"));
        let place = State::at(root.join(".ecosystem")).create(&root, &store, 3).unwrap();
        let file = super::folder(&store).join(format!("{}.toml", place.id));
        for damage in [&b"root = 1"[..], b"\xff", b"root = \"/p"] {
            write_atomic(&file, damage, 0o600).unwrap();
            let registry = all(&store);
            let paths: Vec<_> = registry.damaged.iter().map(|damaged| &damaged.path).collect();
            assert_eq!((paths, registry.known), (vec![&file], vec![]));
            remember(&place).unwrap();
            assert_eq!((all(&store).damaged.len(), all(&store).known.len()), (0, 1));
        }
        write_atomic(&place.state.join("place.toml"), b"id = ", 0o600).unwrap();
        assert!(all(&store).known[0].place(&store).is_err(), "a damaged state folder is there");
    }
}
