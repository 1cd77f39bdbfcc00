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
    #[serde(default)]
    pub rules: Rules,
}

/// What a process of the manifest may say of itself, and how a server is tested. Else servers have the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// When it is started again after it ended by itself.
    pub restart: Restart,
    /// The services that it starts after, and is stopped before.
    pub after: Vec<String>,
    /// Variables of `env` that were taken from whoever started it: another value there is no drift.
    pub inherited: Vec<String>,
    /// Arguments after which it reads its configuration and ends: with them it is run once before it is started. None where it cannot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
}

/// When a process that ended by itself is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// However it ended. What every server does.
    #[default]
    Always,
    /// Unless it ended with exit status 0.
    OnFailure,
    Never,
}

impl Restart {
    /// The words of the manifest.
    pub const WORDS: &'static [&'static str] = &["always", "on-failure", "never"];

    /// The word of the manifest.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        }
    }

    /// The policy of a word of the manifest.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "always" => Some(Self::Always),
            "on-failure" => Some(Self::OnFailure),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

impl Process {
    /// The name used by the supervisor: `redis`, `rabbitmq/epmd`.
    pub fn id(&self) -> String {
        if self.service == self.name { self.name.clone() } else { format!("{}/{}", self.service, self.name) }
    }
}

/// A command line as it could be typed, on one line.
pub fn command_line(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as it could be typed in a shell, on one line: what it holds is never anything but text there.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word = word.replace('\'', r"'\''");
    let control = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    format!("'{}'", word.chars().map(control).collect::<String>())
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
    /// A symbolic link to this target. What stands there and is none was put there by somebody.
    Link(Utf8PathBuf),
    /// No symbolic link; anything else is left alone.
    NoLink,
    /// An empty folder, mode 0700.
    Folder,
}

impl Content {
    /// What it holds, secrets included.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Secret(text) | Self::Cookie(text) => text,
            Self::Link(target) => target.as_str(),
            Self::Folder | Self::NoLink => "",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed() {
        let line = |words: &[&str]| command_line(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(line(&["python3", "-m", "http.server", "8025"]), "python3 -m http.server 8025");
        assert_eq!(line(&["sh", "-c", "echo $A; it's", ""]), r"sh -c 'echo $A; it'\''s' ''");
        assert_eq!(line(&["a\nb\u{1b}"]), r"'a\nb\u{1b}'");
    }

    #[test]
    fn a_process_of_an_older_build_can_be_read() {
        let text = r#"{"service":"a","name":"b","argv":[],"env":{},"cwd":"/","run_as":"me",
            "stop":{"signal":"SIGTERM","grace_ms":1},"log":"/l","log_limit":1,"labels":{}}"#;
        let process: Process = serde_json::from_str(text).unwrap();
        assert_eq!((process.id().as_str(), process.rules.restart), ("a/b", Restart::Always));
    }

    #[test]
    fn every_word_is_a_policy() {
        assert!(Restart::WORDS.iter().all(|word| Restart::of(word).map(Restart::word) == Some(word)));
        assert_eq!(Restart::of("sometimes"), None);
    }
}
