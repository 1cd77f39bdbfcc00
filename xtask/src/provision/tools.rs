//! Host tools without Nix: Node, npm and pnpm from the npm registry, Pipenv and uv from PyPI, the right Python found on the machine.
//!
//! What no package registry carries is looked for on PATH and never installed. Versions of what lies on PATH are judged by `check`.

mod npm;
mod pypi;
pub(super) mod python;

use std::collections::BTreeSet;

use anyhow::Context;
use camino::Utf8PathBuf;
use ecosystem_core::artifact::{Facts, Installed};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::tool::Requirement;
use serde::Serialize;

use super::cause::explain;
use super::lock::Lock;
use super::provisioner::{InUse, Mode, Provisioner};
pub(super) use pypi::is_line;

use super::store::{Id, Store};

/// A host tool, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    pub name: String,
    pub title: String,
    pub source: Source,
    /// Of what is in the store; what lies on PATH is not asked.
    pub version: Option<String>,
    /// The program, or where it would be.
    pub path: Option<Utf8PathBuf>,
    /// The folder that belongs on PATH for it.
    pub bin: Option<Utf8PathBuf>,
}

/// Where a tool comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The per-user store.
    Store,
    /// It is installed on this machine.
    Host,
    /// It would be fetched.
    Absent,
    /// It is neither here nor in a registry for this platform.
    Missing,
}

/// What is known of a tool before anything is fetched.
enum Found<'a> {
    Store(Installed),
    Host(Utf8PathBuf),
    Fetch(Fetch<'a>),
    Python(Utf8PathBuf),
    Missing,
}

/// A tool that a registry has.
enum Fetch<'a> {
    Npm(npm::Package),
    Pypi(pypi::Package<'a>),
}

impl Fetch<'_> {
    fn id(&self, lock: &Lock) -> Option<Id> {
        match self {
            Self::Npm(package) => package.id(&lock.npm),
            Self::Pypi(package) => package.id(&lock.pypi),
        }
    }
}

impl Provisioner<'_> {
    /// Where each of these tools is. Reads only.
    pub fn look_for_tools(&self, tools: &[Requirement]) -> anyhow::Result<Vec<Tool>> {
        let store = self.store();
        let python = python::series(tools).and_then(|series| python::find(&self.host, &series));
        tools
            .iter()
            .map(|tool| {
                Ok(match self.find_tool(&store, tool, python.as_ref())? {
                    Found::Store(installed) => in_store(tool, &installed),
                    Found::Host(path) => Tool { source: Source::Host, path: Some(path), ..nowhere(tool) },
                    Found::Python(path) => Tool { source: Source::Absent, path: Some(path), ..nowhere(tool) },
                    Found::Fetch(_) => Tool { source: Source::Absent, ..nowhere(tool) },
                    Found::Missing => nowhere(tool),
                })
            })
            .collect()
    }

    /// Gets those that a registry has, all at once. What has to be installed by hand comes back as missing.
    pub fn provide_tools(&mut self, tools: &[Requirement]) -> anyhow::Result<Vec<Tool>> {
        self.provide_tools_unexplained(tools).map_err(|error| explain(error, self.store))
    }

    fn provide_tools_unexplained(&mut self, tools: &[Requirement]) -> anyhow::Result<Vec<Tool>> {
        let store = self.store();
        self.in_use = InUse::of(&store)?;
        let python = python::series(tools).and_then(|series| python::find(&self.host, &series));
        let (mut from_npm, mut from_pypi) = (Vec::new(), Vec::new());
        for tool in tools {
            match self.find_tool(&store, tool, python.as_ref())? {
                Found::Python(program) => drop(python::record(&store, self.events, &program)?),
                Found::Fetch(Fetch::Npm(package)) => from_npm.push(package),
                Found::Fetch(Fetch::Pypi(package)) => from_pypi.push(package),
                Found::Store(_) | Found::Host(_) | Found::Missing => {}
            }
        }
        let absent =
            from_npm.iter().map(npm::Package::to_string).chain(from_pypi.iter().map(ToString::to_string));
        let absent: Vec<String> = absent.collect();
        if self.offline && !absent.is_empty() {
            let message = format!("without a network there is no way to get {}", absent.join(", "));
            return Err(Failure::new(Kind::Host, "offline-missing", message)
                .hint("{program} provision --tools, where there is a network")
                .into());
        }
        let before = self.lock.clone();
        let relock = self.mode == Mode::Relock;
        let (host, events, Lock { npm, pypi, .. }) = (&self.host, self.events, &mut self.lock);
        let (one, other) = std::thread::scope(|scope| {
            let npm = scope.spawn(|| {
                from_npm.iter().try_for_each(|package| package.install(&store, host, events, relock, npm))
            });
            let other =
                from_pypi.iter().try_for_each(|package| package.install(&store, host, events, relock, pypi));
            (npm.join(), other)
        });
        if self.lock != before {
            self.write_lock();
        }
        one.map_err(|_| anyhow::anyhow!("fetching from the npm registry panicked"))??;
        other?;
        // What was resolved again is in the lock now.
        self.mode = Mode::Normal;
        self.look_for_tools(tools)
    }

    /// The folders of the store that these tools need.
    pub fn needed_tools(&self, tools: &[Requirement]) -> anyhow::Result<BTreeSet<String>> {
        let found = self.look_for_tools(tools)?.into_iter();
        let folders = found.filter_map(|tool| tool.bin?.parent()?.file_name().map(str::to_owned));
        Ok(folders.collect())
    }

    fn find_tool<'a>(
        &self,
        store: &Store,
        tool: &'a Requirement,
        python: Option<&Utf8PathBuf>,
    ) -> anyhow::Result<Found<'a>> {
        if tool.name == "python" {
            let Some(program) = python else { return Ok(Found::Missing) };
            let known = store.read(&python::id(program)?)?;
            return Ok(known.map_or_else(|| Found::Python(program.clone()), Found::Store));
        }
        let Some(purl) = &tool.get else {
            return Ok(on_path(self, tool).map_or(Found::Missing, Found::Host));
        };
        let fetch = match purl.strip_prefix("pkg:").and_then(|purl| purl.split_once('/')) {
            Some(("npm", package)) => Fetch::Npm(npm::Package::parse(&tool.name, package)?),
            Some(("pypi", package)) => {
                // Any Python runs it where the right one is not here; a tool for Python is best run by the one that it serves.
                let any = || python::any(&self.host);
                let Some(python) = python.cloned().or_else(any) else { return Ok(Found::Missing) };
                Fetch::Pypi(pypi::Package::parse(&tool.name, package, python)?)
            }
            _ => {
                let text =
                    format!("tools: `{purl}` is neither pkg:npm/NAME@VERSION nor pkg:pypi/NAME@VERSION");
                return Err(Failure::new(Kind::Manifest, "get-invalid", text).into());
            }
        };
        let relock = self.mode == Mode::Relock;
        match fetch.id(&self.lock) {
            // Nobody has checked what a registry would give for this platform: the host's will do.
            None if !relock => Ok(on_path(self, tool).map_or(Found::Missing, Found::Host)),
            Some(id) if !relock => Ok(store.read(&id)?.map_or(Found::Fetch(fetch), Found::Store)),
            _ => Ok(Found::Fetch(fetch)),
        }
    }
}

fn nowhere(tool: &Requirement) -> Tool {
    let (name, title) = (tool.name.clone(), tool.title.clone());
    Tool { name, title, source: Source::Missing, version: None, path: None, bin: None }
}

fn in_store(tool: &Requirement, installed: &Installed) -> Tool {
    let bin = installed.root.join("bin");
    let path = Some(bin.join(&tool.name));
    let version = Some(installed.version.clone());
    Tool { source: Source::Store, version, path, bin: Some(bin), ..nowhere(tool) }
}

/// Where a tool lies that is used as it is.
fn on_path(provisioner: &Provisioner<'_>, tool: &Requirement) -> Option<Utf8PathBuf> {
    if tool.name == "docker-compose" {
        let plugins = [
            "/usr/libexec/docker/cli-plugins",
            "/usr/lib/docker/cli-plugins",
            "/usr/local/lib/docker/cli-plugins",
        ];
        let plugins = plugins.iter().map(|folder| Utf8PathBuf::from(folder).join(&tool.name));
        return plugins.filter(|path| path.is_file()).chain(provisioner.host.find(&tool.name)).next();
    }
    tool.candidates().iter().find_map(|words| provisioner.host.find(words.first()?))
}

/// A folder `bin` with links to programs elsewhere.
fn links(folder: &camino::Utf8Path, programs: &[(&str, Utf8PathBuf)]) -> anyhow::Result<Facts> {
    let bin = folder.join("bin");
    crate::sys::fs::create_private_dir(&bin)?;
    for (name, target) in programs {
        let link = bin.join(name);
        std::os::unix::fs::symlink(target, &link).with_context(|| format!("cannot make {link}"))?;
    }
    Ok(Facts { paths: std::iter::once(("bin".to_owned(), bin)).collect(), ..Facts::default() })
}
