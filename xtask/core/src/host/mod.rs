//! What `check` finds on a machine: each topic judges values that were read elsewhere, and all of them say the same five things.

pub mod compose_file;
pub mod engine;
pub mod libraries;
pub mod limits;
pub mod ports;

use serde::Serialize;

/// What is to be thought of one finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing has to be done.
    Ok,
    /// It works, but not as well or as safely as it could. The exit status stays 0.
    Warning,
    /// The release, or `up`, does not get what it needs. The exit status is 1.
    Problem,
}

/// A topic of the report, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    Project,
    Tools,
    Libraries,
    Ports,
    Machine,
    Containers,
}

impl Section {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Project, Self::Tools, Self::Libraries, Self::Ports, Self::Machine, Self::Containers];

    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Project => "Project",
            Self::Tools => "Tools",
            Self::Libraries => "Libraries",
            Self::Ports => "Ports",
            Self::Machine => "Machine",
            Self::Containers => "Containers",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub section: Section,
    pub verdict: Verdict,
    /// What was looked at: `cairo`, `postgresql sql`, `open files`.
    pub what: String,
    /// What was found, and on what.
    pub on: String,
    /// Why it matters, where there is something to do or to know.
    pub why: Option<String>,
    /// The one next step. It may name this program as `{program}`.
    pub next: Option<String>,
}

impl Finding {
    /// A finding that asks for nothing.
    pub fn ok(section: Section, what: impl Into<String>, on: impl Into<String>) -> Self {
        Self { section, verdict: Verdict::Ok, what: what.into(), on: on.into(), why: None, next: None }
    }

    /// A finding with something to do.
    pub fn of(
        verdict: Verdict,
        section: Section,
        what: impl Into<String>,
        on: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { verdict, why: Some(why.into()), next: Some(next.into()), ..Self::ok(section, what, on) }
    }

    /// Adds what is good to know about a finding that asks for nothing.
    #[must_use]
    pub fn note(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}

/// Bytes as people write them, in the binary units in which memory and limits are set: `512 MiB`, `7.5 GiB`.
pub fn binary(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) % 1024) * 10 / 1024),
    }
}
