//! What of a Compose file is not in the manifest, by reason, with the lines where it stands.

use std::fmt;

use serde::Serialize;

use crate::host::compose_file::Where;

/// Why something is not taken over. The order is that in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Addresses,
    Passwords,
    Names,
    Data,
    Application,
    Others,
    Databases,
    Ports,
    Plugins,
    Environment,
    Commands,
    Networks,
    Restart,
    Health,
    Containers,
    Unread,
}

impl Reason {
    /// What it is, and why it stays where it is.
    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Addresses => {
                ("addresses", "0.0.0.0 and the like are not reproduced; every port is on 127.0.0.1 alone")
            }
            Self::Passwords => {
                ("passwords", "this program makes a new one for each server; `env` prints them")
            }
            Self::Names => (
                "names of users and databases",
                "they are `invenio`; `env` prints the addresses for the application",
            ),
            Self::Data => {
                ("volumes and mounted files", "nothing is moved; servers begin empty, and the volumes stay")
            }
            Self::Application => {
                ("what is built there", "the application is yours to start, with what `env` prints")
            }
            Self::Others => (
                "other services",
                "this program does not know them; see kind = \"process\" for programs beside the servers",
            ),
            Self::Databases => ("other databases", "the database is PostgreSQL here"),
            Self::Ports => ("other ports", "nothing listens there here"),
            Self::Plugins => {
                ("plugins", "the server here does not have them, or they would listen on every address")
            }
            Self::Environment => ("environment", "it has no counterpart"),
            Self::Commands => {
                ("commands", "servers are started this program's own way; `settings` changes them")
            }
            Self::Networks => ("networks and names in them", "servers meet on ports of this machine"),
            Self::Restart => ("restart policies", "what ends by itself is started again anyway"),
            Self::Health => ("checks of health", "`up` asks every server itself"),
            Self::Containers => ("limits, rights and labels", "they are of containers only"),
            Self::Unread => ("not understood", "look at these lines yourself"),
        }
    }
}

impl Reason {
    /// Whether a person wants to know what stands there, even where there is little room.
    fn names(self) -> bool {
        use Reason::{Addresses, Application, Databases, Environment, Others, Plugins, Ports, Unread};
        [Addresses, Application, Databases, Environment, Others, Plugins, Ports, Unread].contains(&self)
    }
}

/// Something of the files that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    pub what: &'static str,
    pub why: &'static str,
    pub places: Vec<Place>,
    /// What stands there is not the same everywhere.
    #[serde(skip)]
    named: bool,
}

/// A line with what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    /// Without any value that stands there, which could be a secret.
    pub what: String,
}

/// So many places of a kind are told.
const MANY: usize = 200;

/// The collection of it.
#[derive(Debug, Default)]
pub(super) struct Rest(Vec<(Reason, Place)>);

impl Rest {
    pub(super) fn push(&mut self, reason: Reason, at: &Where, what: &str) {
        let place = Place { file: plain(&at.file), line: at.line, what: plain(what) };
        self.0.push((reason, place));
    }

    /// By reason, each with its places by file and line.
    pub(super) fn sorted(mut self) -> Vec<Left> {
        self.0.sort_by(|(a, x), (b, y)| (a, &x.file, x.line, &x.what).cmp(&(b, &y.file, y.line, &y.what)));
        self.0.dedup();
        let mut all: Vec<Left> = Vec::new();
        for (reason, place) in self.0 {
            let (what, why) = reason.told();
            match all.last_mut().filter(|left| left.what == what) {
                Some(left) if left.places.len() >= MANY => {}
                Some(left) => left.places.push(place),
                _ => all.push(Left { what, why, places: vec![place], named: reason.names() }),
            }
        }
        all
    }
}

impl Left {
    /// The places as one text, each with what stands there.
    pub fn told(&self, most: usize) -> String {
        let told: Vec<String> = self.places.iter().map(Place::to_string).collect();
        cut(&told, most)
    }

    /// The same as short as it can be.
    pub(super) fn brief(&self) -> String {
        if self.named {
            return self.told(4);
        }
        let mut told: Vec<String> = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            let same = index > 0 && self.places[index - 1].file == place.file;
            let line = place.line.to_string();
            told.push(if same { line } else { format!("{}:{line}", place.file) });
        }
        told.dedup();
        cut(&told, 6)
    }
}

fn cut(told: &[String], most: usize) -> String {
    let shown = told[..told.len().min(most)].join(", ");
    let more = told.len().saturating_sub(most);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.file, self.line, self.what)
    }
}

/// A word of somebody else's file as it may be shown anywhere: short, on one line, and without what could be taken for anything but text.
pub(super) fn plain(text: &str) -> String {
    const LONGEST: usize = 80;
    let fits = |c: char| c.is_alphanumeric() || " ._-/:@+*${}(),;<>=~".contains(c);
    let short: String = text.chars().take(LONGEST).map(|c| if fits(c) { c } else { '?' }).collect();
    if text.chars().nth(LONGEST).is_some() { short + "…" } else { short }
}
