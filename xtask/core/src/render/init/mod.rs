//! A first `ecosystem.toml`: a short one with comments, or what people's Compose files say, as far as it differs from the release and is safe.
//!
//! Whatever is written was read back before anybody gets it: a value that would mean something else than it should is a failure.

mod adopt;
mod left;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use self::adopt::{Adopted, adopt};
use self::left::plain;
pub use self::left::{Left, Place};
use crate::catalog::Kind;
use crate::failure::{Failure, Kind as FailureKind};
use crate::host::compose_file::Described;
use crate::model::{Ecosystem, Flags, Layer, Origin, failure, resolve};
use crate::release;

/// The longest manifest that is made, in bytes: a longer one would not be read.
const LONGEST: usize = 48 << 10;

/// A manifest, and what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub text: String,
    pub release: String,
    /// What is taken over.
    pub services: Vec<Taken>,
    /// What is not.
    pub left_out: Vec<Left>,
}

/// A service of a Compose file that the manifest has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub name: String,
    pub kind: Kind,
    /// Its name there, and where it stands.
    pub service: String,
    pub file: String,
    pub line: usize,
    /// Every port that it has now, by role.
    pub ports: BTreeMap<String, u16>,
    /// What the manifest says of it: nothing where all is as the release has it.
    pub lines: Vec<String>,
    /// What differs from the file, and is good to know.
    pub notes: Vec<String>,
}

/// The manifest of a project that has no Compose file to begin with. `ecosystem` is what holds without one.
pub fn short(ecosystem: &Ecosystem) -> Result<Manifest, Failure> {
    let release = &ecosystem.release.value;
    let mut text = Text::default();
    text.comment("What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. Everything may be left \
               out; what is commented out is as the release has it. Your own values go into ecosystem.local.toml.");
    text.line("");
    let line = format!("release = {}", quoted(release));
    match (&ecosystem.release.origin, &ecosystem.project) {
        (Origin::File { .. }, Some(project)) => {
            let named = format!("{}:{} names {}", project.file, project.line, project.requirement);
            text.comment(&format!(
                "Versions, images and ports: {}, and so they follow it. To hold them:",
                plain(&named)
            ));
            text.line(&format!("# {line}"));
        }
        (origin, project) => {
            let known: Vec<&str> = release::names().collect();
            let mut told = format!("Where versions, images and ports come from: {}.", known.join(", "));
            if let (Origin::Release(_), Some(project)) = (origin, project) {
                let named = format!("{}:{} names {}", project.file, project.line, project.requirement);
                let _ = write!(told, " {}, which is none of them.", plain(&named));
            }
            text.comment(&told);
            text.line(&line);
        }
    }
    text.line("");
    text.comment("What `up` starts; another set is `up --profile NAME`.");
    text.line("# [profiles]");
    let core: Vec<String> = ecosystem.profiles.get("core").cloned().unwrap_or_default();
    text.line(&format!("# core = {}\n", list(&core)));
    for service in core.iter().filter_map(|name| ecosystem.services.get(name)) {
        let ports: Vec<String> =
            service.ports.iter().map(|(role, port)| format!("{role} = {port}")).collect();
        text.line(&format!("# [services.{}]\n# ports = {{ {} }}", service.name, ports.join(", ")));
        if let Some(heap) = &service.heap {
            text.line(&format!("# heap = {}", quoted(&heap.value)));
        }
    }
    let manifest =
        Manifest { text: text.0, release: release.clone(), services: Vec::new(), left_out: Vec::new() };
    verified(manifest)
}

/// The manifest that says what these Compose files do. `files` are those that a person named, as they are shown.
pub fn from_compose(
    ecosystem: &Ecosystem,
    described: &Described,
    files: &[&str],
) -> Result<Manifest, Failure> {
    let files = plain(&files.join(", "));
    let Adopted { services, profiles, moved, left_out } = adopt(ecosystem, described);
    if services.is_empty() {
        let message = format!("no service of {files} is one that this program knows");
        // What could not be read may be why.
        let unread = described.unread.first().map(|(at, what)| format!("look at {at}: {}", plain(what)));
        return Err(match unread {
            Some(unread) => refused(message).hint(unread),
            None => refused(message),
        });
    }
    let release = &ecosystem.release.value;
    let mut text = Text::default();
    text.comment(&format!(
        "What this repository needs around it: `cargo xtask up` starts it, on ports of this machine alone. \
         Taken over from {files}; what is not written is as the release has it."
    ));
    text.line(&format!("\nrelease = {}", quoted(release)));
    if !profiles.is_empty() {
        text.line("\n[profiles]");
    }
    for (name, members) in &profiles {
        text.line(&format!("{name} = {}", list(members)));
    }
    for taken in services.iter().filter(|taken| !taken.lines.is_empty()) {
        text.line("");
        text.comment(&format!("{}, {}:{}", plain(&taken.service), taken.file, taken.line));
        taken.notes.iter().for_each(|note| text.comment(note));
        text.line(&format!("[services.{}]", taken.name));
        taken.lines.iter().for_each(|line| text.line(line));
    }
    for (name, lines) in &moved {
        text.line("");
        text.comment("Not in the file; moved out of the way of what is.");
        text.line(&format!("[services.{name}]\n{lines}"));
    }
    text.line("");
    for taken in services.iter().filter(|taken| taken.lines.is_empty()) {
        let notes =
            if taken.notes.is_empty() { String::new() } else { format!(": {}", taken.notes.join("; ")) };
        text.comment(&format!(
            "{} is as the release has it ({}, {}:{}){notes}",
            taken.name,
            plain(&taken.service),
            taken.file,
            taken.line
        ));
    }
    if !left_out.is_empty() {
        text.comment("Not taken over:");
    }
    for left in &left_out {
        text.item(&format!("{} ({}): {}", left.what, left.brief(), left.why));
    }
    verified(Manifest { text: text.0, release: release.clone(), services, left_out })
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Usage, "nothing-to-take-over", message)
        .hint("name the file that says which images are used, such as docker-services.yml")
        .hint("write a manifest without one: {program} init")
}

/// Reads the manifest back: it has to be one, and every port has to be the one that was meant.
fn verified(manifest: Manifest) -> Result<Manifest, Failure> {
    if manifest.text.len() > LONGEST {
        return Err(refused(format!(
            "what these files say would be a manifest of more than {} kB",
            LONGEST >> 10
        )));
    }
    let layer = Layer { name: "ecosystem.toml", text: &manifest.text };
    let read = resolve(&[layer], &Flags::default()).map_err(|problems| failure(&problems))?;
    for taken in &manifest.services {
        let ports = read.services.get(&taken.name).map(|service| service.ports_at(0));
        if ports.as_ref() != Some(&taken.ports) {
            let message = format!("services.{} is not read as it was written", taken.name);
            return Err(Failure::new(FailureKind::Bug, "manifest-unlike", message));
        }
    }
    Ok(manifest)
}

/// A text as TOML quotes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A key as TOML takes it.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { quoted(text) }
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

/// A manifest in the making; what it says to people is broken into lines that are comments.
#[derive(Default)]
struct Text(String);

impl Text {
    const WIDTH: usize = 120;

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn comment(&mut self, text: &str) {
        self.wrapped(text, "# ", "# ");
    }

    fn item(&mut self, text: &str) {
        self.wrapped(text, "# - ", "#   ");
    }

    fn wrapped(&mut self, text: &str, first: &str, then: &str) {
        let mut line = first.to_owned();
        let mut begun = false;
        // A control character would end the comment, or the file.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for word in text.split_whitespace() {
            if begun && line.chars().count() + 1 + word.chars().count() > Self::WIDTH {
                self.line(line.trim_end());
                then.clone_into(&mut line);
                begun = false;
            }
            if begun {
                line.push(' ');
            }
            line.push_str(word);
            begun = true;
        }
        self.line(line.trim_end());
    }
}

#[cfg(test)]
#[path = "init_properties.rs"]
mod properties;

#[cfg(test)]
mod tests;
