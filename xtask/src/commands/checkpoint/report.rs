//! What `checkpoint` has to say at its end.

use std::collections::BTreeMap;
use std::fmt::Write;

use ecosystem_core::checkpoint::Stored;
use ecosystem_core::plan::{Plan, render};
use owo_colors::OwoColorize;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::output::{self, Report};

/// What a dry run reports.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    #[serde(skip)]
    pub(super) last: BTreeMap<String, u64>,
}

/// What saving and restoring report.
#[derive(Debug, Serialize)]
pub(super) struct Copied {
    pub(super) checkpoint: String,
    pub(super) restored: bool,
    #[serde(serialize_with = "services")]
    pub(super) services: BTreeMap<String, Stored>,
    pub(super) bytes: u64,
    /// What ran and was started again, and is ready.
    pub(super) started: Vec<String>,
    pub(super) took_ms: u64,
    /// The part of it that copying took.
    pub(super) copy_ms: u64,
    #[serde(skip)]
    pub(super) program: String,
}

/// What `checkpoint list` reports.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    /// The checkpoint whose restoring was interrupted; the next command that changes something finishes it.
    pub(super) restoring: Option<String>,
    pub(super) checkpoints: Vec<Entry>,
    #[serde(skip)]
    pub(super) program: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) made: String,
    pub(super) bytes: u64,
    #[serde(serialize_with = "services")]
    pub(super) services: BTreeMap<String, Stored>,
}

/// What `checkpoint delete` reports.
#[derive(Debug, Serialize)]
pub(super) struct Deleted {
    pub(super) deleted: String,
}

/// Without what is only of use to this program.
fn services<S: Serializer>(services: &BTreeMap<String, Stored>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(services.len()))?;
    for (name, stored) in services {
        let told = serde_json::json!({
            "backend": stored.backend, "made_by": stored.made_by, "bytes": stored.bytes,
        });
        map.serialize_entry(name, &told)?;
    }
    map.end()
}

/// `postgresql 12, redis 7 (compose)`; of a program of the project's own its name.
fn shown(services: &BTreeMap<String, Stored>) -> String {
    let one = |(name, stored): (&String, &Stored)| {
        let version =
            stored.made_by.as_deref().and_then(|by| by.strip_prefix(name.as_str())).unwrap_or_default();
        format!("{name}{version} ({})", stored.backend)
    };
    services.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Report for Planned {
    fn human(&self) -> String {
        render(&self.plan, &self.last)
    }
}

impl Report for Copied {
    fn human(&self) -> String {
        let word = if self.restored { "Restored" } else { "Saved" };
        let mut text = format!(
            "{} {} in {}, {} of it copying {}\n  {}\n",
            word.green().bold(),
            self.checkpoint,
            output::seconds(self.took_ms),
            output::seconds(self.copy_ms),
            output::bytes(self.bytes),
            shown(&self.services),
        );
        if !self.started.is_empty() {
            let _ = writeln!(text, "Started again, and ready: {}.", self.started.join(", "));
        } else if self.restored {
            let _ = writeln!(text, "Nothing ran, and nothing was started: {} up", self.program);
        }
        text
    }
}

impl Report for Listed {
    fn human(&self) -> String {
        let mut text = String::new();
        if let Some(name) = &self.restoring {
            let _ = writeln!(
                text,
                "Restoring {name} was interrupted: the next command that changes something finishes it, such as {} up",
                self.program
            );
        }
        if self.checkpoints.is_empty() {
            let _ =
                writeln!(text, "There is no checkpoint. To make one: {} checkpoint save NAME", self.program);
            return text;
        }
        let header = format!("{:<20} {:<21} {:>9}  {}", "name", "made", "on disk", "services");
        let _ = writeln!(text, "{}", header.dimmed());
        for Entry { name, made, bytes, services } in &self.checkpoints {
            let _ = writeln!(text, "{name:<20} {made:<21} {:>9}  {}", output::bytes(*bytes), shown(services));
        }
        text
    }
}

impl Report for Deleted {
    fn human(&self) -> String {
        format!("Deleted the checkpoint {}.\n", self.deleted)
    }
}
