//! What of this machine provisioning asks for: programs on PATH, the suite and the architecture. Read where it is needed, never cached.

use std::time::Duration;

use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind};

use crate::sys;

/// The parts of the environment that provisioning looks at.
#[derive(Debug, Clone)]
pub struct Host {
    /// The value of PATH.
    pub path: String,
    /// The value of JAVA_HOME.
    pub java_home: Option<Utf8PathBuf>,
    /// Folders in which version managers keep Pythons, one folder a version.
    pub pythons: Vec<Utf8PathBuf>,
    /// How long a download may go without a new byte.
    pub stall: Duration,
}

impl Default for Host {
    fn default() -> Self {
        Self { path: String::new(), java_home: None, pythons: Vec::new(), stall: super::watch::STALL }
    }
}

impl Host {
    /// Every program of this name on PATH, in order.
    pub fn all(&self, program: &str) -> Vec<Utf8PathBuf> {
        let found = which::which_in_all(program, Some(self.path.clone()), "/");
        found.into_iter().flatten().filter_map(|path| Utf8PathBuf::from_path_buf(path).ok()).collect()
    }

    /// The first program of this name on PATH.
    pub fn find(&self, program: &str) -> Option<Utf8PathBuf> {
        self.all(program).into_iter().next()
    }

    /// `bookworm`, `noble`: the name under which Debian and its relatives publish.
    pub fn suite(&self) -> anyhow::Result<Option<String>> {
        let text = sys::fs::read_optional("/etc/os-release".into())?.unwrap_or_default();
        Ok(codename(&text))
    }

    /// The family that this system belongs to, for hints.
    pub fn family(&self) -> Family {
        if cfg!(target_os = "macos") {
            Family::Homebrew
        } else if self.find("dnf").is_some() {
            Family::Dnf
        } else {
            Family::Apt
        }
    }
}

/// How programs are installed by hand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Apt,
    Dnf,
    Homebrew,
}

impl Family {
    /// The line that installs a package, given its name for each family.
    pub fn install(self, apt: &str, dnf: &str, homebrew: &str) -> String {
        match self {
            Self::Apt => format!("sudo apt-get install {apt}"),
            Self::Dnf => format!("sudo dnf install {dnf}"),
            Self::Homebrew => format!("brew install {homebrew}"),
        }
    }
}

fn codename(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let name = line.trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

/// The machine's architecture in Debian's words.
pub(super) fn debian_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The error for a package client that is not there.
pub(super) fn missing(program: &str, what_for: &str, way_out: impl Into<String>) -> Failure {
    let message = format!("{program} is not on PATH; it is needed to fetch {what_for}");
    Failure::new(Kind::Host, "package-client-missing", message).hint(way_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_read_from_os_release() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n").as_deref(), Some("noble"));
        assert_eq!(codename("ID=fedora\nVERSION_CODENAME=\"\"\n"), None);
    }
}
