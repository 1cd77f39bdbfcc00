//! The virtual environment of an application that is a project of its own: made from what it has locked, itself as an editable install.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::site::pipfile_lock;

use super::host::Host;
use super::store::{Built, Id, Store};
use super::tools::python;
use super::venv::{Venv, python_missing};
use crate::event::{Events, Section, Task};
use crate::sys::fs::{read_at_most, write_atomic};

/// The longest file of a project that is read, in bytes: a lock of 400 packages has a tenth of it.
const LONGEST: u64 = 8 << 20;

/// How the packages of a project are locked, the one that says most first.
const LOCKS: [&str; 3] = ["uv.lock", "Pipfile.lock", "requirements.txt"];

/// What makes a folder a Python project.
const PROJECTS: [&str; 3] = ["pyproject.toml", "setup.cfg", "setup.py"];

/// A project that is an application.
#[derive(Debug)]
pub(super) struct Site {
    folder: Utf8PathBuf,
    python: Utf8PathBuf,
    /// Its lock, by name and text; none: whatever its requirements bring today.
    lock: Option<(&'static str, String)>,
    /// The other files that decide what is installed.
    project: Vec<(&'static str, String)>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder.file_name().unwrap_or("the application"))
    }
}

impl Site {
    /// Reads what it has locked. `series` is the Python of the release, where the project names none.
    pub(super) fn of(folder: &Utf8Path, series: &str, host: &Host) -> anyhow::Result<Self> {
        let read = |name: &'static str| -> anyhow::Result<Option<(&'static str, String)>> {
            let text = read_at_most(&folder.join(name), LONGEST);
            let text =
                text.map_err(|error| anyhow::anyhow!("{} cannot be read: {}", error.path, error.why))?;
            Ok(text.map(|text| (name, text)))
        };
        let lock = LOCKS.into_iter().find_map(|name| read(name).transpose()).transpose()?;
        let project =
            PROJECTS.into_iter().filter_map(|name| read(name).transpose()).collect::<Result<Vec<_>, _>>()?;
        if lock.is_none() && project.is_empty() {
            let message = format!("{folder} has none of {}, {}", LOCKS.join(", "), PROJECTS.join(", "));
            return Err(Failure::new(Kind::Manifest, "site-unknown", message)
                .hint("name the folder of the application: site = \"FOLDER\" in [services.invenio]")
                .into());
        }
        let mut project = project;
        if let Some(("Pipfile.lock", text)) = &lock {
            // What is installed from a folder has its entry points there.
            for line in pipfile_lock(text).map(|locked| locked.others).unwrap_or_default() {
                let path = line.strip_prefix("-e ").unwrap_or(&line);
                for name in PROJECTS.into_iter().filter(|_| !path.contains('@')) {
                    let text = read_at_most(&folder.join(path).join(name), LONGEST).ok().flatten();
                    project.extend(text.map(|text| (name, text)));
                }
            }
        }
        let named = match &lock {
            Some(("Pipfile.lock", text)) => pipfile_lock(text).ok().and_then(|locked| locked.python),
            _ => read(".python-version")?.map(|(_, text)| {
                let text = text.trim();
                text.match_indices('.').nth(1).map_or(text, |(end, _)| &text[..end]).to_owned()
            }),
        };
        let series = named.unwrap_or_else(|| series.to_owned());
        let python = python::find(host, &series).ok_or_else(|| python_missing(folder.as_str(), &series))?;
        Ok(Self { folder: folder.to_owned(), python, lock, project })
    }

    /// Depends on what is locked, on the Python that runs it, and on where it is: it is not copied.
    pub(super) fn id(&self) -> anyhow::Result<Id> {
        let python = python::stamp(&self.python)?;
        let files = self.lock.iter().chain(&self.project).flat_map(|(name, text)| [*name, text.as_str()]);
        let parts = ["site", "2", &python, self.folder.as_str()].into_iter().chain(files);
        Ok(Id {
            name: "invenio".to_owned(),
            version: "site".to_owned(),
            key: Key::of(parts.collect::<Vec<_>>()),
        })
    }

    /// Installs it where it is not there yet.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
    ) -> anyhow::Result<Installed> {
        let id = self.id()?;
        let what = self.to_string();
        store.ensure(&id, events, |folder| {
            let task = Task::start(events, Section::Fetch, format!("the packages of {what}"));
            let venv = Venv::make(&self.python, folder, &what, (host, store))?;
            self.fill(&venv, folder, host, &task)?;
            venv.make_movable()?;
            let version = venv.version_of("invenio-app-rdm").or_else(|| venv.version_of("invenio-app"));
            task.finish(
                self.lock.as_ref().map_or("unlocked".to_owned(), |(name, _)| format!("as in {name}")),
            );
            Ok(Built {
                version,
                facts: Facts { paths: venv.paths()?, ..Facts::default() },
                ..Built::default()
            })
        })
    }

    fn fill(&self, venv: &Venv<'_>, folder: &Utf8Path, host: &Host, task: &Task<'_>) -> anyhow::Result<()> {
        let own = ["install", "-e", self.folder.as_str()];
        match &self.lock {
            Some(("uv.lock", _)) => {
                let Some(uv) = host.find("uv") else {
                    return Err(Failure::new(
                        Kind::Host,
                        "uv-missing",
                        "uv.lock is read by uv alone, which is not on PATH",
                    )
                    .hint("put it on PATH: pip install uv, or as it is installed on this machine")
                    .into());
                };
                venv.uv_sync(&uv, &self.folder, task)
            }
            Some(("Pipfile.lock", text)) => {
                let locked = pipfile_lock(text).map_err(|why| {
                    let message = format!("{}/Pipfile.lock cannot be read: {why}", self.folder);
                    Failure::new(Kind::Manifest, "site-unreadable", message).hint("lock anew: pipenv lock")
                })?;
                let requirements = folder.join("requirements.txt");
                write_atomic(&requirements, (locked.hashed.join("\n") + "\n").as_bytes(), 0o600)?;
                venv.pip(&["install", "--no-deps", "--require-hashes", "-r", requirements.as_str()], task)?;
                let others = folder.join("others.txt");
                // Relative folders are those of the project.
                let rooted = |line: &String| match line.strip_prefix("-e ") {
                    Some(path) => format!("-e {}", self.folder.join(path)),
                    None if line.starts_with(['.', '/']) => self.folder.join(line).into_string(),
                    None => line.clone(),
                };
                let lines: Vec<String> = locked.others.iter().map(rooted).collect();
                write_atomic(&others, (lines.join("\n") + "\n").as_bytes(), 0o600)?;
                if lines.is_empty() {
                    Ok(())
                } else {
                    venv.pip(&["install", "--no-deps", "-r", others.as_str()], task)
                }
            }
            Some((name, _)) => {
                venv.pip(&["install", "-r", self.folder.join(name).as_str()], task)?;
                if self.project.is_empty() {
                    Ok(())
                } else {
                    venv.pip(&[&own[..], &["--no-deps"]].concat(), task)
                }
            }
            None => venv.pip(&own, task),
        }
    }
}
