//! What surrounds a command: the environment, read once, and what the person typed.

use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::{HostFacts, quoted};
use ecosystem_core::tool::System;

use crate::provision::Host;
use crate::sys::fs::utf8;

/// The working directory cannot be told: mostly it was deleted while somebody was in it.
fn nowhere(error: &std::io::Error) -> Failure {
    let message =
        format!("the folder that you are in is not there any more, or is not yours to see: {error}");
    Failure::new(Kind::Usage, "no-such-folder", message).hint("cd to the project and try again")
}

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct Context {
    /// What the person typed: `cargo xtask` or `ecosystem`, with `-C` where that was given. Hints are made with it.
    pub program: String,
    /// Where the person is.
    pub cwd: Utf8PathBuf,
    pub home: Option<Utf8PathBuf>,
    /// `ECOSYSTEM_STORE`, or the user's cache folder.
    store: Option<Utf8PathBuf>,
    /// `ECOSYSTEM_STATE`: the state folder, where it is not to be in the project.
    state: Option<Utf8PathBuf>,
    /// `PATH`, where it is text.
    pub path: String,
    /// The folders that a variable names for the loader of shared libraries.
    pub library_path: String,
    /// `JAVA_HOME`.
    pub java_home: Option<Utf8PathBuf>,
    /// Where pyenv, uv, mise and asdf keep Pythons, one folder a version.
    pythons: Vec<Utf8PathBuf>,
    /// `ECOSYSTEM_STALL`: how many seconds a download may go without a new byte.
    stall: Option<u64>,
    /// `SHELL`, or the one that every system has.
    pub shell: Utf8PathBuf,
    /// There is a display that a browser could open on.
    pub display: bool,
    /// Somebody watches standard error.
    pub terminal: bool,
}

impl Context {
    /// Reads the environment.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn from_env() -> anyhow::Result<Self> {
        let path = |name: &str| -> anyhow::Result<Option<Utf8PathBuf>> {
            match std::env::var_os(name) {
                Some(value) if !value.is_empty() => {
                    utf8(value.into()).map(Some).with_context(|| format!("{name} cannot be used"))
                }
                _ => Ok(None),
            }
        };
        let cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == "xtask");
        // Where HOME is not set, the system knows it as well. A folder that depends on where one is, is none to keep things in.
        let home = match path("HOME")? {
            Some(home) => Some(home),
            None => std::env::home_dir().and_then(|home| utf8(home).ok()),
        };
        let home = home.filter(|home| home.is_absolute());
        let cache = match path("XDG_CACHE_HOME")?.filter(|cache| cache.is_absolute()) {
            Some(cache) => Some(cache),
            None => home
                .as_ref()
                .map(|h| h.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" })),
        };
        let managed = |variable: &str, below: &str, default: &str| {
            let named = path(variable).ok().flatten().map(|folder| folder.join(below));
            named.or_else(|| home.as_ref().map(|home| home.join(default)))
        };
        let pythons = [
            managed("PYENV_ROOT", "versions", ".pyenv/versions"),
            managed("UV_PYTHON_INSTALL_DIR", "", ".local/share/uv/python"),
            managed("MISE_DATA_DIR", "installs/python", ".local/share/mise/installs/python"),
            managed("ASDF_DATA_DIR", "installs/python", ".asdf/installs/python"),
        ];
        let pythons = pythons.into_iter().flatten().collect();
        let quiet =
            std::env::var_os("CI").is_some() || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            program: if cargo { "cargo xtask" } else { "ecosystem" }.to_owned(),
            cwd: utf8(std::env::current_dir().map_err(|error| nowhere(&error))?)?,
            home,
            store: path("ECOSYSTEM_STORE")?.or_else(|| cache.map(|c| c.join("invenio-ecosystem"))),
            state: path("ECOSYSTEM_STATE")?,
            path: std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned(),
            library_path: {
                let name =
                    if cfg!(target_os = "macos") { "DYLD_FALLBACK_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
                std::env::var_os(name).unwrap_or_default().to_string_lossy().into_owned()
            },
            java_home: path("JAVA_HOME").ok().flatten(),
            pythons,
            stall: std::env::var("ECOSYSTEM_STALL").ok().and_then(|text| text.parse().ok()),
            shell: path("SHELL").ok().flatten().unwrap_or_else(|| "/bin/sh".into()),
            display: if cfg!(target_os = "macos") {
                std::env::var_os("SSH_CONNECTION").is_none()
            } else {
                ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
            },
            terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()) && !quiet,
        })
    }

    /// The same surroundings for a command that was given `-C`.
    #[must_use]
    pub fn in_directory(mut self, directory: Option<&Utf8Path>) -> Self {
        if let Some(directory) = directory {
            self.program = format!("{} -C {}", self.program, quoted(directory.as_str()));
        }
        self
    }

    /// The first program of this name on PATH.
    pub fn find(&self, program: &str) -> Option<Utf8PathBuf> {
        let found = which::which_in(program, Some(&self.path), &self.cwd).ok()?;
        Utf8PathBuf::from_path_buf(found).ok()
    }

    /// The per-user store of servers.
    pub fn store(&self) -> Result<Utf8PathBuf, Failure> {
        match &self.store {
            Some(store) => Ok(self.cwd.join(store)),
            None => Err(Failure::new(
                Kind::Host,
                "no-home",
                "there is no place for the store: neither HOME nor XDG_CACHE_HOME is set",
            )
            .hint("name a folder: ECOSYSTEM_STORE=/some/folder")),
        }
    }

    /// The state folder of a project.
    pub fn state(&self, root: &Utf8Path) -> Utf8PathBuf {
        match &self.state {
            Some(state) => self.cwd.join(state),
            None => root.join(crate::site::STATE),
        }
    }

    /// The system, as far as hints depend on it.
    pub fn system(&self) -> System {
        if cfg!(target_os = "macos") {
            return System::MacOs;
        }
        let files = ["/etc/os-release", "/usr/lib/os-release"];
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
        text.map_or(System::Other, |text| System::of_os_release(&text))
    }

    /// PATH without the folders of the store, which `shell` puts there: what the store has is not something of the machine, and a shell
    /// within a shell must be the same shell.
    pub fn own_path(&self) -> String {
        let store = self.store().ok();
        let ours =
            |folder: &&str| store.as_ref().is_some_and(|store| Utf8Path::new(folder).starts_with(store));
        self.path
            .split(':')
            .filter(|folder| !folder.is_empty() && !ours(folder))
            .collect::<Vec<_>>()
            .join(":")
    }

    /// What provisioning looks at.
    pub fn provisioning(&self) -> Host {
        let default = Host::default();
        Host {
            path: self.own_path(),
            java_home: self.java_home.clone(),
            pythons: self.pythons.clone(),
            stall: self.stall.map_or(default.stall, |seconds| Duration::from_secs(seconds.max(1))),
        }
    }

    /// Facts that decide how servers are started.
    pub fn host(&self) -> HostFacts {
        let root = rustix::process::geteuid().is_root();
        HostFacts { root, user_namespaces: root && crate::sys::launch::user_namespaces_work() }
    }
}
