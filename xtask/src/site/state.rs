//! The state folder of a project: its name, its secrets, its lock, and how long things took last time. Mode 0700.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::catalog::minio::application_secret;
use ecosystem_core::endpoint::Secret;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Asked, Backend};
use ecosystem_core::place::{CONTAINERS, Place, Record, place_id};
use ecosystem_core::process::quoted;
use serde::{Deserialize, Serialize};

use super::operation::{self, Holder, Lock};
use crate::event::Events;
use crate::sys::fs::{Unreadable, create_private_dir, from_toml, read_optional, write_atomic, write_lasting};
use crate::sys::{control, supervisor};

/// What is remembered of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    id: String,
    root: Utf8PathBuf,
    port_offset: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    /// The offset of a flag, which holds against the manifest; `port_offset` is the one that was used last, whoever named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_offset: Option<u16>,
    /// What ran its servers last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<Backend>,
}

impl Remembered {
    fn asked(&self) -> Asked {
        Asked { release: self.release.clone(), port_offset: self.asked_offset, backend: self.backend }
    }
}

/// The state folder of a project.
#[derive(Debug)]
pub struct State {
    folder: Utf8PathBuf,
}

/// The secrets of a place, by service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// The secret of a service; empty before the first `up`.
    pub fn of(&self, service: &str) -> Secret {
        self.0.get(service).cloned().unwrap_or_else(|| Secret::new(""))
    }
}

impl Secrets {
    /// Whether this service was ever set up.
    pub fn has(&self, service: &str) -> bool {
        self.0.contains_key(service)
    }

    /// All of them, and what is made of them, to take them out of a text.
    pub fn all(&self) -> impl Iterator<Item = String> {
        self.0
            .values()
            .flat_map(|secret| [secret.clone(), application_secret(secret)].map(|s| s.reveal().to_owned()))
    }
}

impl State {
    /// The state in this folder, which need not exist yet.
    pub fn at(folder: Utf8PathBuf) -> Self {
        Self { folder }
    }

    /// Refuses a state folder that this user did not make: a repository, or another user, could have brought one along, with links that
    /// lead what is written elsewhere, or with data and passwords that somebody else knows.
    pub fn refuse_strangers(&self) -> anyhow::Result<()> {
        let folder = &self.folder;
        let Ok(meta) = std::fs::metadata(folder) else { return Ok(()) };
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me {
            let message =
                format!("the state folder {folder} belongs to user {}, and you are {me}", meta.uid());
            return Err(Failure::new(Kind::Host, "state-of-another-user", message)
                .hint("work as that user, or name a folder of your own: ECOSYSTEM_STATE=/some/folder")
                .into());
        }
        let mut entries = folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))?.peekable();
        if entries.peek().is_some() && meta.permissions().mode() & 0o077 != 0 {
            let message =
                format!("the state folder {folder} is open to others; this program did not make it so");
            return Err(Failure::new(Kind::Host, "state-not-private", message)
                .hint(format!(
                    "if it came with the repository, remove it; if it is yours: chmod 700 {}",
                    quoted(folder.as_str())
                ))
                .into());
        }
        for entry in entries {
            let entry = entry?;
            // Deeper down only servers write, and whole files by a rename.
            let below = if entry.file_type()?.is_dir() { Some(entry.path().read_dir_utf8()?) } else { None };
            for entry in std::iter::once(Ok(entry)).chain(below.into_iter().flatten()) {
                let entry = entry?;
                if entry.file_type()?.is_symlink() {
                    return Err(super::link_refused(entry.path()).into());
                }
            }
        }
        Ok(())
    }

    /// The place that was set up here; `None` before the first `up`.
    pub fn place(&self, store: &Utf8Path) -> anyhow::Result<Option<Place>> {
        let known = self.remembered()?;
        Ok(known.map(|known| Place {
            id: known.id,
            root: known.root,
            state: self.folder.clone(),
            store: store.to_owned(),
            offset: known.port_offset,
        }))
    }

    /// What an earlier `up` was told. What cannot be read is told by `place`.
    pub fn asked(&self) -> Asked {
        let known = self.remembered().ok().flatten();
        known.map(|known| known.asked()).unwrap_or_default()
    }

    /// Changes what later commands are told. The place was set up.
    pub fn ask(&self, change: impl FnOnce(&mut Asked)) -> anyhow::Result<()> {
        let Some(known) = self.remembered()? else { return Ok(()) };
        let mut asked = known.asked();
        change(&mut asked);
        if asked == known.asked() {
            return Ok(());
        }
        let Asked { release, port_offset, backend } = asked;
        self.remember(&Remembered { release, asked_offset: port_offset, backend, ..known })
    }

    fn remember(&self, known: &Remembered) -> anyhow::Result<()> {
        write_lasting(&self.folder.join("place.toml"), toml::to_string(known)?.as_bytes(), 0o600)
    }

    fn remembered(&self) -> anyhow::Result<Option<Remembered>> {
        let path = self.folder.join("place.toml");
        match read_optional(&path).and_then(|text| match text {
            Some(text) => from_toml(&path, &text).map(Some),
            None => Ok(None),
        }) {
            // Passwords are made after this file: without it the servers would get new names, and not find their data.
            Ok(None) if self.folder.join("secrets.toml").symlink_metadata().is_ok() => {
                let why = "it is missing, and beside it are passwords of a place".to_owned();
                Err(self.place_unreadable(&Unreadable { path, line: None, why }).into())
            }
            Ok(known) => Ok(known),
            Err(error) => Err(self.place_unreadable(&error).into()),
        }
    }

    /// Without its name nothing of a place can be told from what others run.
    fn place_unreadable(&self, error: &Unreadable) -> Failure {
        let failure = Failure::new(Kind::Host, "state-unreadable", error.to_string())
            .hint("put it back from a backup: the name of the servers' data stands in it");
        let running = supervisor::holder(&self.folder).ok().flatten();
        let ended = running.map_or_else(String::new, |pid| format!("end the servers (kill {pid}), then "));
        failure.hint(format!("or start afresh and lose the data: {ended}remove the folder {}", self.folder))
    }

    /// The folder.
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// Sets a place up, or changes its port offset. The folder ignores itself for git.
    pub fn create(&self, root: &Utf8Path, store: &Utf8Path, offset: u16) -> anyhow::Result<Place> {
        self.make_folder()?;
        control::try_to_bind(&self.folder)?;
        let known = self.remembered()?;
        if let Some(other) = known.as_ref().filter(|place| place.root != root && place.root.exists()) {
            let message = format!("the state folder {} belongs to {}", self.folder, other.root);
            return Err(Failure::new(Kind::Usage, "state-of-another", message)
                .hint("one state folder a project: leave ECOSYSTEM_STATE unset, or name another folder")
                .into());
        }
        let wanted = match known.clone() {
            Some(known) => Remembered { root: root.to_owned(), port_offset: offset, ..known },
            None => Remembered {
                id: place_id(root, random()?),
                root: root.to_owned(),
                port_offset: offset,
                release: None,
                asked_offset: None,
                backend: None,
            },
        };
        if known.as_ref() != Some(&wanted) {
            self.remember(&wanted)?;
        }
        Ok(Place {
            id: wanted.id,
            root: wanted.root,
            state: self.folder.clone(),
            store: store.to_owned(),
            offset,
        })
    }

    fn make_folder(&self) -> anyhow::Result<()> {
        create_private_dir(&self.folder).map_err(|error| {
            Failure::new(Kind::Host, "state-not-writable", format!("{error:#}"))
                .hint("name a folder that can be written to: ECOSYSTEM_STATE=/some/folder")
        })?;
        self.refuse_strangers()?;
        let mode = std::fs::metadata(&self.folder)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(&self.folder, std::fs::Permissions::from_mode(0o700))
                .with_context(|| format!("{} must be private", self.folder))?;
        }
        let ignore = self.folder.join(".gitignore");
        if !ignore.exists() {
            write_atomic(&ignore, b"*\n", 0o600)?;
        }
        Ok(())
    }

    /// The secrets made so far.
    pub fn secrets(&self) -> anyhow::Result<Secrets> {
        let path = self.folder.join("secrets.toml");
        let read = read_optional(&path).and_then(|text| match text {
            Some(text) => from_toml(&path, &text),
            None => Ok(Secrets::default()),
        });
        read.map_err(|error| {
            Failure::new(Kind::Host, "state-unreadable", error.to_string())
                .hint("put it back from a backup: the servers' passwords stand in it, and their data was made with them")
                .hint(format!("or start afresh and lose the data: {{program}} down --data, then remove {path}"))
                .into()
        })
    }

    /// Fails where a service has a folder already and no secret any more: a new one would not open what was made with the old one.
    pub fn refuse_lost_secrets<'a>(
        &self,
        secrets: &Secrets,
        mut services: impl Iterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let contained = self.contained();
        let lost = services.find(|name| {
            let data = contained.contains_key(*name)
                || self.folder.join(name).join("made-by").symlink_metadata().is_ok();
            !secrets.0.contains_key(*name) && data
        });
        let Some(lost) = lost else { return Ok(()) };
        let message = format!(
            "{} has no password of {lost} any more, and the data in {} was made with one",
            self.folder.join("secrets.toml"),
            self.folder.join(lost)
        );
        Err(Failure::new(Kind::Host, "secrets-lost", message)
            .hint("put the file back from a backup")
            .hint(format!("or start afresh and lose the data: {{program}} down --data {lost}")))
    }

    /// The services that have data in a volume, with what made it. What cannot be read is told by whoever needs it.
    fn contained(&self) -> BTreeMap<String, String> {
        let text = read_optional(&self.folder.join(CONTAINERS)).ok().flatten().unwrap_or_default();
        toml::from_str::<Record>(&text).unwrap_or_default().made_by
    }

    /// Makes the secrets that are still missing.
    pub fn make_secrets<'a>(
        &self,
        services: impl Iterator<Item = &'a str> + Clone,
    ) -> anyhow::Result<Secrets> {
        let mut secrets = self.secrets()?;
        self.refuse_lost_secrets(&secrets, services.clone())?;
        let before = secrets.clone();
        for service in services {
            if !secrets.0.contains_key(service) {
                secrets.0.insert(service.to_owned(), new_secret()?);
            }
        }
        if secrets != before {
            write_lasting(&self.folder.join("secrets.toml"), toml::to_string(&secrets)?.as_bytes(), 0o600)?;
        }
        Ok(secrets)
    }

    /// Takes the lock of commands that change something; waits for the one that holds it, and says for whom. `starts` are the services
    /// that the command is going to start.
    pub fn lock(&self, command: &str, starts: &[&str], events: &dyn Events) -> anyhow::Result<Lock> {
        self.make_folder()?;
        operation::take(&self.folder, command, starts, events)
    }

    /// The command that is at work here, where there is one.
    pub fn at_work(&self) -> anyhow::Result<Option<Holder>> {
        operation::holder(&self.folder)
    }

    /// How many milliseconds each step took last time.
    pub fn durations(&self) -> BTreeMap<String, u64> {
        // A convenience: unreadable means unknown.
        let text = read_optional(&self.folder.join("durations.json")).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Remembers how long steps took.
    pub fn remember_durations(&self, new: &BTreeMap<String, u64>) -> anyhow::Result<()> {
        let mut all = self.durations();
        all.extend(new.iter().map(|(title, ms)| (title.clone(), *ms)));
        write_atomic(&self.folder.join("durations.json"), &serde_json::to_vec(&all)?, 0o600)
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// 24 letters and digits, 140 bits. Starts with a letter: some applications parse what looks like a number.
fn new_secret() -> anyhow::Result<Secret> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789aZ";
    let bytes: [u8; 24] = random()?;
    let text = bytes.iter().enumerate().map(|(index, byte)| {
        let limit = if index == 0 { 52 } else { 64 };
        char::from(LETTERS[usize::from(*byte) % limit])
    });
    Ok(Secret::new(text.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("a b/.ecosystem")).unwrap();
        (folder, State::at(path))
    }

    #[test]
    fn a_place_keeps_its_id_and_takes_a_new_offset() {
        let (_folder, state) = state();
        assert_eq!(state.place("/s".into()).unwrap(), None);
        let first = state.create("/p".into(), "/s".into(), 0).unwrap();
        let second = state.create("/p".into(), "/s".into(), 100).unwrap();
        assert_eq!((second.id, second.offset), (first.id.clone(), 100));
        assert_eq!(state.place("/s".into()).unwrap().unwrap().id, first.id);
    }

    #[test]
    fn state_is_private_and_ignores_itself() {
        let (_folder, state) = state();
        state.create("/p".into(), "/s".into(), 0).unwrap();
        state.make_secrets(["redis"].into_iter()).unwrap();
        let mode =
            |name: &str| std::fs::metadata(state.folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("secrets.toml"), mode("place.toml")), (0o700, 0o600, 0o600));
        assert_eq!(std::fs::read_to_string(state.folder.join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn a_state_folder_that_somebody_else_could_have_made_is_refused() {
        let code = |state: &State| {
            let error = state.lock("up", &[], &Silent).unwrap_err();
            error.downcast::<Failure>().unwrap().code
        };
        let (_folder, state) = state();
        state.create("/p".into(), "/s".into(), 0).unwrap();
        let open = |mode| {
            std::fs::set_permissions(&state.folder, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(0o755);
        assert_eq!(code(&state), "state-not-private");
        open(0o700);
        for link in ["logs", "redis/data", "redis/made-by"] {
            let link = state.folder.join(link);
            create_private_dir(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/tmp", &link).unwrap();
            assert_eq!(code(&state), "state-is-a-link", "{link}");
            std::fs::remove_file(&link).unwrap();
        }
        state.lock("up", &[], &Silent).unwrap();
    }

    #[test]
    fn secrets_are_made_once_and_start_with_a_letter() {
        let (_folder, state) = state();
        let first = state.make_secrets(["redis"].into_iter()).unwrap();
        let second = state.make_secrets(["redis", "postgresql"].into_iter()).unwrap();
        assert_eq!(first.of("redis"), second.of("redis"));
        assert_ne!(second.of("redis"), second.of("postgresql"));
        assert!(second.of("redis").reveal().starts_with(|c: char| c.is_ascii_alphabetic()));
        assert_eq!(second.of("redis").reveal().len(), 24);
    }
}
