//! Virtual environments of Python: made, filled by pip or uv with every file checked against its checksum, and movable.
//!
//! Deliberately not here: which packages, and what is run of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::release::requirements::Requirements;

use super::cause;
use super::host::Host;
use super::store::{Built, Id, Store};
use super::tools::python;
use super::watch::fetch;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::cmd::{Cmd, Output};
use crate::sys::fs::write_atomic;

/// A Python application that is wanted, and the Python that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Application {
    name: &'static str,
    set: Requirements,
    python: Utf8PathBuf,
}

impl Application {
    /// What `name` runs from, on this machine.
    pub(super) fn of(name: &'static str, purl: &str, host: &Host) -> Result<Self, Failure> {
        let Some(set) = Requirements::find(purl) else {
            let message = format!("{name}: this version has no pinned packages for `{purl}`");
            return Err(Failure::new(Kind::Manifest, "get-invalid", message));
        };
        let series = set.python();
        let Some(python) = python::find(host, series) else {
            return Err(python_missing(&format!("{name} {}", set.version), series));
        };
        Ok(Self { name, set, python })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Depends on every file and on the Python that runs it.
    pub(super) fn id(&self) -> anyhow::Result<Id> {
        let python = python::stamp(&self.python)?;
        let lines: Vec<&str> = self.set.lines().collect();
        let parts = ["venv", "2", python.as_str()].into_iter().chain(lines);
        Ok(Id { name: self.name.to_owned(), version: self.set.version.to_owned(), key: Key::of(parts) })
    }

    /// Installs it where it is not there yet.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
    ) -> anyhow::Result<Installed> {
        let id = self.id()?;
        store.ensure(&id, events, |folder| {
            let what = format!("{}@{}", self.set.package, self.set.version);
            let task = Task::start(events, Section::Fetch, what.as_str());
            let venv = Venv::make(&self.python, folder, &what, (host, store))?;
            venv.fill(&self.set, &task)?;
            venv.make_movable()?;
            task.finish(format!("{} packages", self.set.lines().count()));
            Ok(Built { facts: Facts { paths: venv.paths()?, ..Facts::default() }, ..Built::default() })
        })
    }
}

/// The failure where a Python is not on this machine.
pub(super) fn python_missing(who: &str, series: &str) -> Failure {
    Failure::new(Kind::Host, "python-missing", format!("{who} needs Python {series}, which is not here"))
        .hint(format!(
            "uv python install {series}, or pyenv install {series}: it is found where they keep it"
        ))
        .hint("or enter the Nix shell, which has it: nix develop")
}

/// A virtual environment in the making, `venv` in a folder.
pub(super) struct Venv<'a> {
    folder: &'a Utf8Path,
    /// For whom it is made, for messages.
    what: &'a str,
    around: (&'a Host, &'a Store),
}

impl<'a> Venv<'a> {
    /// Makes an empty one.
    pub(super) fn make(
        python: &Utf8Path,
        folder: &'a Utf8Path,
        what: &'a str,
        around: (&'a Host, &'a Store),
    ) -> anyhow::Result<Self> {
        let (host, store) = around;
        let venv = folder.join("venv");
        let output = apart(Cmd::new(python))
            .args(["-m", "venv", venv.as_str()])
            .limit(Duration::from_mins(5))
            .run()?;
        if output.ok() {
            return Ok(Self { folder, what, around });
        }
        let said = format!("{}\n{}", output.stdout, output.stderr);
        if let Some(cause) = cause::of(&said) {
            return Err(cause.failure("python", "make a virtual environment", store.root()).into());
        }
        let hint = if said.contains("ensurepip") {
            host.family().install("python3-venv", "python3", "python")
        } else {
            format!("try it: {python} -m venv /tmp/some-folder")
        };
        let message =
            format!("{python} could not make a virtual environment for {what}: {}", output.last_line());
        Err(Failure::new(Kind::Host, "venv-failed", message).hint(hint).into())
    }

    /// Installs these packages, and nothing that is not named. Those that are published as source alone are built with what is among them:
    /// what pip would fetch to build them has no checksum.
    fn fill(&self, set: &Requirements, task: &Task<'_>) -> anyhow::Result<()> {
        let uv = self.around.0.find("uv");
        let python = self.folder.join("venv/bin/python");
        let steps = [
            ("builders.txt", set.builders().collect::<Vec<_>>(), None),
            ("requirements.txt", set.lines().collect(), Some("--no-build-isolation")),
        ];
        for (name, lines, more) in steps {
            let file = self.folder.join(name);
            write_atomic(&file, (lines.join("\n") + "\n").as_bytes(), 0o600)?;
            let args = ["--require-hashes", "--no-deps", "-r", file.as_str()].into_iter().chain(more);
            let args: Vec<&str> = args.collect();
            match &uv {
                Some(uv) => {
                    let install =
                        ["pip", "install", "--quiet", "--compile-bytecode", "--python", python.as_str()];
                    self.run("uv", Cmd::new(uv).args(install), &args, task)?;
                }
                None => self.pip(&[&["install"], args.as_slice()].concat(), task)?,
            }
        }
        Ok(())
    }

    /// Runs its pip.
    pub(super) fn pip(&self, args: &[&str], task: &Task<'_>) -> anyhow::Result<()> {
        let command = Cmd::new(self.folder.join("venv/bin/python"))
            .args(["-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet"])
            // Whoever has switched it off pays seconds for it at every start of an application.
            .without(&["PYTHONDONTWRITEBYTECODE"]);
        self.run("pip", command, args, task)
    }

    fn run(&self, client: &str, command: Cmd, args: &[&str], task: &Task<'_>) -> anyhow::Result<()> {
        let command = apart(command).args(args).limit(Duration::from_hours(1));
        let what = format!("install {}", self.what);
        let output = fetch(client, command, &what, self.around, self.folder, |done| {
            task.progress(done, None, Unit::Bytes);
        })?;
        if output.ok() {
            return Ok(());
        }
        Err(self.refused(client, &output).into())
    }

    fn refused(&self, client: &str, output: &Output) -> Failure {
        let what = self.what;
        let changed = ["DO NOT MATCH THE HASHES", "Hash mismatch"];
        if changed.iter().any(|words| output.stderr.contains(words)) {
            let message =
                format!("a file of {what} does not have the pinned checksum; nothing was installed");
            return Failure::new(Kind::Host, "artifact-changed", message).hint(
                "a released version never changes: ask who runs the PyPI mirror of this machine (pip config list)",
            );
        }
        let message = format!("{client} could not install {what}: {}", output.last_line());
        Failure::new(Kind::Host, "pip-failed", message)
            .hint("pip reads its mirror and proxy from its own configuration: python3 -m pip config list")
    }

    /// Where its programs, its Python and its packages lie.
    pub(super) fn paths(&self) -> anyhow::Result<BTreeMap<String, Utf8PathBuf>> {
        let bin = self.folder.join("venv/bin");
        let paths = [("bin", bin.clone()), ("python", bin.join("python")), ("packages", self.packages()?)];
        let mut paths: BTreeMap<String, Utf8PathBuf> =
            paths.map(|(role, path)| (role.to_owned(), path)).into_iter().collect();
        // Without it files cannot be kept in a bucket.
        let s3 = self.packages()?.join("invenio_s3");
        if s3.is_dir() {
            paths.insert(ecosystem_core::catalog::invenio::S3.to_owned(), s3);
        }
        Ok(paths)
    }

    /// The version of a package that is installed.
    pub(super) fn version_of(&self, package: &str) -> Option<String> {
        let begin = format!("{}-", package.replace('-', "_"));
        let entries = self.packages().ok()?.read_dir_utf8().ok()?;
        let mut names = entries.flatten().map(|entry| entry.file_name().to_ascii_lowercase());
        names.find_map(|name| Some(name.strip_prefix(&begin)?.strip_suffix(".dist-info")?.to_owned()))
    }

    /// Installs what a project has locked with uv, and the project itself.
    pub(super) fn uv_sync(&self, uv: &Utf8Path, project: &Utf8Path, task: &Task<'_>) -> anyhow::Result<()> {
        let venv = self.folder.join("venv");
        let command = Cmd::new(uv).env("UV_PROJECT_ENVIRONMENT", venv.as_str());
        let args =
            ["sync", "--frozen", "--no-dev", "--compile-bytecode", "--quiet", "--project", project.as_str()];
        self.run("uv", command, &args, task)
    }

    /// Programs that pip wrote name the folder in which they were made; the environment is moved when it is whole. Afterwards they look for
    /// their Python beside themselves.
    pub(super) fn make_movable(&self) -> anyhow::Result<()> {
        let bin = self.folder.join("venv/bin");
        let made = format!("#!{bin}/python");
        let start =
            "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")/python\" \"$0\" \"$@\"\n' '''\n";
        for entry in bin.read_dir_utf8().with_context(|| format!("cannot list {bin}"))? {
            let path = entry?.into_path();
            let regular = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
            let Some(text) = regular.then(|| std::fs::read(&path).ok()).flatten() else { continue };
            if let Some(rest) = text.strip_prefix(made.as_bytes()) {
                let rest = rest
                    .split_at(rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1))
                    .1;
                write_atomic(&path, &[start.as_bytes(), rest].concat(), 0o700)?;
            }
        }
        Ok(())
    }

    /// Where its packages lie.
    fn packages(&self) -> anyhow::Result<Utf8PathBuf> {
        let lib = self.folder.join("venv/lib");
        let mut entries = lib.read_dir_utf8().with_context(|| format!("cannot list {lib}"))?;
        let python = entries.next().context("the virtual environment has no packages")??;
        Ok(python.path().join("site-packages"))
    }
}

/// What would make pip install elsewhere, or Python look elsewhere. Empty is unset to both; mirrors and proxies stay.
pub(super) fn apart(command: Cmd) -> Cmd {
    let variables =
        ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE"];
    variables.iter().fold(command, |command, name| command.env(name, ""))
}
