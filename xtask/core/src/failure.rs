//! What every error that reaches a person looks like: what failed, on what, why, and the one next step.
//!
//! The kind alone chooses the exit status; nothing else in the project maps errors to numbers.

use std::fmt;

/// The class of a failure; it alone decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A check found something: the command did its work and the answer is "no".
    Finding,
    /// The command line cannot be understood.
    Usage,
    /// This machine lacks something: a program, a right, a free port.
    Host,
    /// The manifest or the lock file is wrong.
    Manifest,
    /// A server did not start, did not answer, or is not ours.
    Service,
    /// Data could not be loaded or does not match.
    Data,
    /// A fault of this program.
    Bug,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Kind {
    /// The process exit status of this kind.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Finding => 1,
            Self::Usage => 2,
            Self::Host => 3,
            Self::Manifest => 4,
            Self::Service => 5,
            Self::Data => 6,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }
}

/// An error for a person: stable code, message, and hints kept apart from it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    pub kind: Kind,
    /// Stable, kebab-case; scripts and documentation refer to it.
    pub code: &'static str,
    /// What failed, on what, and why. Starts in lower case; may have several lines.
    pub message: String,
    /// Next steps, best first.
    pub hints: Vec<String>,
    /// What the message sums up, one by one: for programs only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Failure {
    /// A failure without hints.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), hints: Vec::new(), details: Vec::new() }
    }

    /// Adds a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Text of a stranger, such as a server's answer or a command line, for a terminal: what could steer the terminal becomes `U+FFFD`.
pub fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn no_text_steers_a_terminal() {
        let hostile = "a\tb\nž\u{1b}[2J\r\u{9b}0m\u{7}";
        assert_eq!(harmless(hostile), "a\tb\nž\u{fffd}[2J\u{fffd}\u{fffd}0m\u{fffd}");
    }
}
