//! A person's own Compose file: which ports it opens to other machines, on which line, and what to write there instead.

mod habits;
mod image;
mod port;
mod services;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::ops::Range;

use habits::Habit;
pub use image::{Known, known, roles};
use port::{Published, Reach};
pub use services::{Described, File, Port, Service, Text, Where, describe, siblings};
pub use variables::{Variables, variables};
pub use yaml::Unread;
use yaml::{Document, Leaf, Place};

use super::{Finding, Section, Verdict};

/// The names under which Compose and Invenio's templates keep such files.
pub const NAMES: [&str; 10] = [
    "compose.yaml",
    "compose.yml",
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "docker-compose.override.yml",
    "docker-compose.full.yml",
    "docker-services.yml",
    "docker-services.yaml",
];

/// The longest Compose file that is read, in bytes.
pub const LONGEST: u64 = 256 << 10;

/// What was found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Ports that other machines reach, by line.
    pub open: Vec<Binding>,
    /// How many ports are published for this machine only.
    pub guarded: usize,
    /// What could not be read or followed.
    pub unread: Vec<Unread>,
    /// What a file that others start from should not do, by line.
    pub habits: Vec<Habit>,
}

/// A port that other machines reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Counted from one.
    pub line: usize,
    pub service: String,
    pub port: String,
    /// `all addresses`, or the one that it is published on.
    pub address: String,
    /// The line as it stands.
    pub written: String,
    /// What to write, where that can be told.
    pub change: Option<Change>,
}

/// How a port is kept to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The line, or the lines, that then stand there.
    pub instead: String,
    at: Range<usize>,
    text: String,
}

/// How many things that cannot be read are told one by one.
const NOTES: usize = 20;

/// Why this matters: the warning of the documentation.
const WHY: &str =
    "whoever reaches this machine reaches the service, past most firewalls: Docker writes rules of its own";

/// Looks through a file.
pub fn scan(text: &str) -> Scan {
    let Document { leaves, unread, .. } = yaml::read(text);
    let mut scan = Scan { unread, habits: habits::of(&leaves), ..Scan::default() };
    let mut long: BTreeMap<&[String], Vec<&Leaf>> = BTreeMap::new();
    for leaf in &leaves {
        let Some(ports) = ports(&leaf.path) else {
            scan.unread.extend(elsewhere(leaf));
            continue;
        };
        let (service, below) = (&leaf.path[usize::from(leaf.path[0] == "services")], &leaf.path[ports..]);
        if leaf.text.starts_with('*') {
            let what = format!("ports of {service} come from {}, which is not followed", leaf.text);
            scan.unread.push(Unread { line: leaf.line, what });
        } else if below.len() == 1 {
            scan.short(text, service, leaf);
        } else if below.len() == 2 {
            long.entry(&leaf.path[..=ports]).or_default().push(leaf);
        }
    }
    for (path, fields) in long {
        let service = &path[usize::from(path[0] == "services")];
        scan.long(text, service, &fields);
    }
    scan.open.sort_by_key(|binding| binding.line);
    scan.unread.sort_by_key(|unread| unread.line);
    scan.unread.dedup_by(|later, earlier| later.what == earlier.what);
    if let Some(first) = scan.unread.get(NOTES) {
        let what = format!("and {} more things from here on", scan.unread.len() - NOTES);
        let rest = Unread { line: first.line, what };
        scan.unread.truncate(NOTES);
        scan.unread.push(rest);
    }
    scan
}

/// Where in a path the ports of a service begin. Templates for services stand in sections of any name with `x-` in front.
fn ports(path: &[String]) -> Option<usize> {
    match path {
        [services, _, ports, ..] if services == "services" && ports == "ports" => Some(3),
        [extension, ..] if extension.starts_with("x-") => {
            path.iter().position(|step| step == "ports").map(|at| at + 1)
        }
        _ => None,
    }
}

/// What this leaf says of ports that are described somewhere else.
fn elsewhere(leaf: &Leaf) -> Option<Unread> {
    let text = &leaf.text;
    let path: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
    let what = match path.as_slice() {
        ["include", ..] => "include: the files that it names are not followed".to_owned(),
        ["services", service, "extends", ..] => {
            format!("{service} extends another service, which is not followed")
        }
        // What an `x-` section holds is looked at where it stands.
        ["services", service, "<<", ..] | ["services", service] if text.starts_with('*') => {
            format!("{service} takes over {text}, which is judged where it stands")
        }
        ["services", service, "network_mode"] if text == "host" => {
            format!("{service} uses the network of this machine: its ports are as open as it opens them")
        }
        _ => return None,
    };
    Some(Unread { line: leaf.line, what })
}

impl Scan {
    fn short(&mut self, text: &str, service: &str, leaf: &Leaf) {
        let open = match port::short(&leaf.text) {
            Published::Loopback => return self.guarded += 1,
            Published::Unknown => return self.unknown(service, leaf),
            Published::Open { address, port, instead } => (address, port, instead),
        };
        let (address, port, instead) = open;
        let change = instead.map(|instead| change(text, leaf.at.clone(), instead));
        self.push(text, service, leaf, address, port, change);
    }

    fn long(&mut self, text: &str, service: &str, fields: &[&Leaf]) {
        let field = |name: &str| fields.iter().find(|leaf| leaf.path.last().is_some_and(|key| key == name));
        let Some(first) = fields.first() else { return };
        if field("target").is_none() && field("published").is_none() {
            return self.unknown(service, first);
        }
        let port = field("published").map_or("some port", |leaf| leaf.text.as_str()).to_owned();
        let (address, leaf, change) = match field("host_ip") {
            Some(leaf) => match port::reach(&leaf.text) {
                Reach::Loopback => return self.guarded += 1,
                Reach::Unknown => return self.unknown(service, leaf),
                Reach::Others => {
                    let instead = port::guarded_address(&leaf.text);
                    (leaf.text.clone(), *leaf, Some(change(text, leaf.at.clone(), instead)))
                }
            },
            // A key without a value is no leaf, and a second one of that name would be wrong.
            None if entry(text, first).contains("host_ip") => return self.unknown(service, first),
            None => (String::new(), *first, added(text, first)),
        };
        let everywhere = address.is_empty() || address.contains("0.0.0.0") || address == "::";
        let address = if everywhere { "all addresses".to_owned() } else { address };
        self.push(text, service, leaf, address, port, change);
    }

    fn push(
        &mut self,
        text: &str,
        service: &str,
        leaf: &Leaf,
        address: String,
        port: String,
        change: Option<Change>,
    ) {
        let (start, end) = line_of(text, &leaf.at);
        let written = text[start..end].trim().to_owned();
        self.open.push(Binding {
            line: leaf.line,
            service: service.to_owned(),
            port,
            address,
            written,
            change,
        });
    }

    fn unknown(&mut self, service: &str, leaf: &Leaf) {
        let what = format!("where {service} publishes {} cannot be told", leaf.text);
        self.unread.push(Unread { line: leaf.line, what });
    }

    /// What is to be said of the file called `name`.
    pub fn findings(&self, name: &str) -> Vec<Finding> {
        let mut findings = self.of_ports(name);
        let not_read = |unread: &Unread| {
            Finding::ok(Section::Containers, format!("{name}:{}", unread.line), "not looked at")
                .note(unread.what.clone())
        };
        findings.extend(self.unread.iter().map(not_read));
        findings
    }

    fn of_ports(&self, name: &str) -> Vec<Finding> {
        let section = Section::Containers;
        let mut findings: Vec<Finding> = self.open.iter().map(|binding| binding.finding(name)).collect();
        if self.open.is_empty() {
            let on = match self.guarded {
                0 => "publishes no ports that can be read here".to_owned(),
                1 => "its port is for this machine only".to_owned(),
                many => format!("its {many} ports are for this machine only"),
            };
            findings.push(Finding::ok(section, name, on));
        }
        findings
    }

    /// The same, with everything that whoever asked for this very file wants to know.
    pub fn all_findings(&self, name: &str) -> Vec<Finding> {
        let mut findings = self.of_ports(name);
        // Somebody wants to know of this file: what it does not tell must not look like a pass.
        let not_read = |unread: &Unread| {
            let place = format!("{name}:{}", unread.line);
            let on = format!("not looked at: {}", unread.what);
            let why = "what stands there may be open to others, and is not told here";
            let next = "look at it, and at the files that it names: {program} check FILE…";
            Finding::of(Verdict::Warning, Section::Containers, place, on, why, next)
        };
        findings.extend(self.unread.iter().map(not_read));
        findings.extend(self.habits.iter().map(|habit| habit.finding(name)));
        findings
    }
}

impl Binding {
    fn finding(&self, name: &str) -> Finding {
        let next = match &self.change {
            Some(change) => format!("write  {}", change.instead),
            None => "put 127.0.0.1: in front of the port".to_owned(),
        };
        let on = format!("{} publishes {} on {}: {}", self.service, self.port, self.address, self.written);
        Finding::of(Verdict::Warning, Section::Containers, format!("{name}:{}", self.line), on, WHY, next)
    }
}

/// Where the line begins and ends that this stands on.
fn line_of(text: &str, at: &Range<usize>) -> (usize, usize) {
    let start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at.end..].find(['\r', '\n']).map_or(text.len(), |length| at.end + length);
    (start, end)
}

/// Another text in a place of the file.
fn change(text: &str, at: Range<usize>, new: String) -> Change {
    let (start, end) = line_of(text, &at);
    Change {
        instead: format!("{}{new}{}", &text[start..at.start], &text[at.end..end]).trim().to_owned(),
        at,
        text: new,
    }
}

/// The address as one more key of the long form.
fn added(text: &str, leaf: &Leaf) -> Option<Change> {
    match leaf.place {
        Place::Block { column, end } => {
            let newline = if text[end..].starts_with('\r') { "\r\n" } else { "\n" };
            let line = "host_ip: 127.0.0.1";
            let new = format!("{newline}{}{line}", " ".repeat(column));
            let instead = format!("{line}   (one more line, below this one)");
            Some(Change { instead, at: end..end, text: new })
        }
        Place::Flow { from } => {
            // A file that is JSON stays JSON.
            let json = text[from..].trim_start().starts_with('"');
            let key = if json { "\"host_ip\": \"127.0.0.1\", " } else { "host_ip: 127.0.0.1, " };
            Some(change(text, from..from, key.to_owned()))
        }
        Place::Nowhere => None,
    }
}

/// The file with all changes made that are known.
pub fn changed(text: &str, scan: &Scan) -> String {
    let mut changes: Vec<&Change> = scan.open.iter().filter_map(|binding| binding.change.as_ref()).collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.at.start));
    let mut new = text.to_owned();
    for change in changes {
        new.replace_range(change.at.clone(), &change.text);
    }
    new
}

/// The text of a list entry from its first leaf on: up to the next entry or a line that is indented less.
fn entry<'a>(text: &'a str, first: &Leaf) -> &'a str {
    let (start, _) = line_of(text, &first.at);
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let column = text[start..].lines().next().map_or(0, indent);
    let mut end = start;
    for (index, line) in text[start..].split_inclusive('\n').enumerate() {
        let content = line.trim();
        if index > 0 && !content.is_empty() && (content.starts_with('-') || indent(line) < column) {
            break;
        }
        end += line.len();
    }
    &text[start..end]
}

#[cfg(test)]
mod tests;
