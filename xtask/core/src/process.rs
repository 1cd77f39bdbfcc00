//! A process as the supervisor gets it: finished values, nothing left to decide.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// What a server process consists of, once everything has been decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The service it belongs to.
    pub service: String,
    /// Its name within the service; the service's own name where there is only one.
    pub name: String,
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub cwd: Utf8PathBuf,
    pub run_as: RunAs,
    pub stop: Stop,
    /// Where output is appended.
    pub log: Utf8PathBuf,
    /// The log is cut to its newest half when it grows beyond this many bytes.
    pub log_limit: u64,
    /// What was set, by name: compared to tell a person what drifted. Never holds a secret.
    pub labels: BTreeMap<String, String>,
}

impl Process {
    /// The name used by the supervisor: `redis`, `rabbitmq/epmd`.
    pub fn id(&self) -> String {
        if self.service == self.name { self.name.clone() } else { format!("{}/{}", self.service, self.name) }
    }
}

/// As whom a server runs. Some refuse root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunAs {
    /// As the person who typed the command.
    Me,
    /// In a user namespace where the current user appears as this uid. Files stay owned by the current user.
    Mapped(u32),
}

/// How a process is asked to end, and how long it may take before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub signal: Signal,
    /// Milliseconds between the signal and SIGKILL.
    pub grace_ms: u64,
}

/// The signals that servers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    #[serde(rename = "SIGTERM")]
    Term,
    #[serde(rename = "SIGINT")]
    Int,
    #[serde(rename = "SIGQUIT")]
    Quit,
    #[serde(rename = "SIGKILL")]
    Kill,
}

/// A file that must be there before a process starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: Utf8PathBuf,
    pub content: Content,
}

/// What a prepared file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Plain configuration, mode 0600. Shown by `snapshot`.
    Text(String),
    /// Holds a secret: mode 0600, never shown.
    Secret(String),
    /// Holds a secret and must not be writable: mode 0400.
    Cookie(String),
    /// A symbolic link to this target.
    Link(Utf8PathBuf),
    /// An empty folder, mode 0700.
    Folder,
}

impl Content {
    /// What it holds, secrets included.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Secret(text) | Self::Cookie(text) => text,
            Self::Link(target) => target.as_str(),
            Self::Folder => "",
        }
    }
}

/// Facts about this machine that decide how servers are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFacts {
    pub root: bool,
    /// User namespaces can be made.
    pub user_namespaces: bool,
}

impl HostFacts {
    /// As whom servers run here. `None`: root without user namespaces, where PostgreSQL and OpenSearch refuse to start.
    pub fn run_as(self) -> Option<RunAs> {
        match (self.root, self.user_namespaces) {
            (false, _) => Some(RunAs::Me),
            (true, true) => Some(RunAs::Mapped(1000)),
            (true, false) => None,
        }
    }
}
