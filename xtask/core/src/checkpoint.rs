//! Checkpoints: what they are called, what is written of one, whether it fits what is wanted now, and what is left of a restore that has begun.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::artifact::Key;
use crate::catalog::container;
use crate::endpoint::Secret;
use crate::failure::{Failure, Kind};
use crate::model::{Backend, Service, is_name};
use crate::place::Place;
use crate::tool::accepts_major;

/// What of the files below this build can read.
pub const FORMAT: u32 = 1;
/// How names end that stand for something unfinished, or for something that is being deleted.
pub const UNFINISHED: &str = ".tmp";
/// What a checkpoint says of itself, in its folder.
pub const MANIFEST: &str = "checkpoint.toml";

/// What lies where, in the state folder of a place. A name of a checkpoint has no dot, so none of these can be one.
#[derive(Debug, Clone)]
pub struct Folders {
    /// All checkpoints, a folder each.
    pub all: Utf8PathBuf,
    /// Data that is going to take the place of what is there.
    pub staged: Utf8PathBuf,
    /// The journal while data is staged: it says what was begun.
    pub draft: Utf8PathBuf,
    /// The journal of a restore that happens whatever comes: renaming the draft to it is the moment.
    pub journal: Utf8PathBuf,
    /// Data whose place was taken.
    pub replaced: Utf8PathBuf,
}

impl Folders {
    /// Those of a place.
    pub fn of(place: &Place) -> Self {
        let all = place.state.join("checkpoints");
        let staged = all.join(".restoring");
        Self {
            draft: staged.join("journal.toml"),
            journal: all.join("restore.toml"),
            replaced: all.join(".replaced"),
            staged,
            all,
        }
    }

    /// The folder of a checkpoint.
    pub fn checkpoint(&self, name: &str) -> Utf8PathBuf {
        self.all.join(name)
    }

    /// The same while it is made, and from the moment on when it is deleted.
    pub fn unfinished(&self, name: &str) -> Utf8PathBuf {
        self.all.join(format!("{name}{UNFINISHED}"))
    }
}

/// A copy of all stores of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: u32,
    /// When the servers had been stopped for it, UTC.
    pub made: String,
    /// The place: the names of clusters and nodes in the data are made from it.
    pub place: String,
    pub services: BTreeMap<String, Stored>,
}

/// The data of one service in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub backend: Backend,
    /// What made the data: `postgresql 12`; absent where an image does not tell its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Proves that a password is the one that this data was made with, and does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Key>,
    /// What a volume is copied with: the image of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub bytes: u64,
}

/// What a restore replaces, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub format: u32,
    /// The name of the checkpoint.
    pub checkpoint: String,
    pub services: BTreeMap<String, Stored>,
}

/// Proves a password without telling it. The passwords of a place are random, so trying is hopeless.
pub fn proof(place: &str, service: &str, secret: &Secret) -> Key {
    Key::of(["checkpoint", place, service, secret.reveal()])
}

/// Fails where a name cannot be one of a checkpoint. It becomes part of the names of folders and volumes.
pub fn check_name(name: &str) -> Result<(), Failure> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("`{}` cannot be the name of a checkpoint", name.escape_debug());
    Err(Failure::new(Kind::Usage, "checkpoint-name", message)
        .hint("small letters, digits and hyphens, a letter first, at most 63: before-migration"))
}

/// The services that have data, and what runs each: where both backends keep some, what the manifest wants now counts.
pub fn kept(
    processes: &BTreeSet<String>,
    volumes: &BTreeSet<String>,
    services: &BTreeMap<String, Service>,
) -> BTreeMap<String, Backend> {
    let backend = |name: &String| {
        let (native, compose) = (processes.contains(name), volumes.contains(name));
        match services.get(name).map(|service| service.backend.value) {
            Some(Backend::Compose) => compose.then_some(Backend::Compose),
            Some(Backend::Native) => native.then_some(Backend::Native),
            // Somebody else's data is not copied, whatever was there before.
            Some(Backend::External) => None,
            None if native => Some(Backend::Native),
            None => Some(Backend::Compose),
        }
    };
    processes.union(volumes).filter_map(|name| Some((name.clone(), backend(name)?))).collect()
}

/// What a checkpoint is compared with before it is restored.
pub struct Present<'a> {
    pub place: &'a str,
    /// What the manifest wants.
    pub services: &'a BTreeMap<String, Service>,
    pub secret: &'a dyn Fn(&str) -> Secret,
    /// The services that have data now.
    pub data: &'a BTreeSet<String>,
}

/// Everything that speaks against restoring a checkpoint, a line each.
pub fn problems(checkpoint: &Checkpoint, present: &Present<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if checkpoint.place != present.place {
        problems.push(format!(
            "it was made in a place called {}, and this one is called {}",
            checkpoint.place, present.place
        ));
    }
    for (name, stored) in &checkpoint.services {
        let proven = |proof: &Key| *proof == self::proof(&checkpoint.place, name, &(present.secret)(name));
        if stored.password.as_ref().is_some_and(|proof| !proven(proof)) {
            problems.push(format!("{name}: its data was made with another password than it has now"));
        }
        let Some(service) = present.services.get(name) else { continue };
        let wanted = service.backend.value;
        if wanted != stored.backend {
            problems.push(format!(
                "{name}: it holds data of the backend {}, and {wanted} runs it now",
                stored.backend
            ));
            continue;
        }
        let Some(made_by) = &stored.made_by else { continue };
        let Some(wanted) = unfit(service, made_by) else { continue };
        problems.push(format!("{name}: its data was made by {made_by}, and {wanted} is wanted now"));
    }
    for name in present.data.iter().filter(|name| !checkpoint.services.contains_key(*name)) {
        problems.push(format!("{name}: it has data now, and had none then"));
    }
    problems
}

/// What is wanted of a service, where that cannot start with data that was made by this.
fn unfit(service: &Service, made_by: &str) -> Option<String> {
    let (kind, major) = made_by.split_once(' ')?;
    if kind != service.kind.name() {
        return Some(service.kind.to_string());
    }
    if service.backend.value == Backend::Compose {
        return container::made_by(service).filter(|wanted| wanted != made_by);
    }
    let accept = &service.accept.as_ref()?.value;
    let fits = major.parse().is_ok_and(|major| accepts_major(accept, major));
    (!fits).then(|| format!("{} {}", service.kind, crate::tool::in_words(accept)))
}

/// All problems as one failure; `None` where there are none.
pub fn problems_failure(name: &str, problems: &[String], present: &Present<'_>) -> Option<Failure> {
    if problems.is_empty() {
        return None;
    }
    let lines = problems.join("\n  ");
    let message =
        format!("the checkpoint {name} does not fit what is wanted now; nothing was stopped\n  {lines}");
    let mut failure = Failure::new(Kind::Data, "checkpoint-unfit", message);
    failure.details = problems.to_vec();
    let added: Vec<&str> = present
        .data
        .iter()
        .map(String::as_str)
        .filter(|data| {
            problems.iter().any(|problem| problem.starts_with(&format!("{data}: it has data now")))
        })
        .collect();
    if !added.is_empty() {
        failure =
            failure.hint(format!("delete what came later: {{program}} down --data {}", added.join(" ")));
    }
    Some(
        failure
            .hint("change ecosystem.toml back to what it was then")
            .hint(format!("or delete it: {{program}} checkpoint delete {name}")),
    )
}

/// A folder that a restore moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The data that is there to what was replaced.
    Away,
    /// The staged data to its place.
    In,
}

/// What is left to do for one service, told from whether there is staged data and whether there is something in its place. However often
/// it was interrupted, and wherever, the staged data ends up in its place once.
pub fn moves(staged: bool, present: bool) -> &'static [Move] {
    match (staged, present) {
        (true, true) => &[Move::Away, Move::In],
        (true, false) => &[Move::In],
        (false, _) => &[],
    }
}

/// Whether an entry of the folder of checkpoints was left by a command that was interrupted.
pub fn is_left_over(entry: &str) -> bool {
    entry.ends_with(UNFINISHED) || [".restoring", ".replaced"].contains(&entry)
}

/// The volume with the data of a service in a checkpoint. No service has a `_` in its name, so it is never taken for one of a service.
pub fn volume(place: &Place, name: &str, service: &str) -> String {
    format!("{}_checkpoint-{name}_{service}", place.identity())
}

/// The label of such a volume, with the name of the checkpoint.
pub const LABEL: &str = "org.invenio-ecosystem.checkpoint";

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
