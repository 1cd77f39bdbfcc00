//! What makes a Compose file start something else tomorrow, or say that it is ready when it is not: images without a version, services
//! without a check of health.

use std::collections::{BTreeMap, BTreeSet};

use super::yaml::Leaf;
use crate::host::{Finding, Section, Verdict};

/// Something that a service of a file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habit {
    /// Counted from one.
    pub line: usize,
    pub service: String,
    pub what: What,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The image has no tag, or one that says nothing.
    Unpinned { image: String },
    /// Nobody asks it whether it is usable.
    Unchecked,
}

/// The habits of all services, by line. What a service takes over from elsewhere is judged there.
pub(super) fn of(leaves: &[Leaf]) -> Vec<Habit> {
    let mut services: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut images: BTreeMap<&str, &Leaf> = BTreeMap::new();
    for leaf in leaves {
        let [section, service, key, ..] = leaf.path.as_slice() else { continue };
        if section != "services" {
            continue;
        }
        let switched_off = leaf.path.last().is_some_and(|last| last == "disable") && leaf.text == "true";
        let key = if key == "healthcheck" && switched_off { "no healthcheck" } else { key };
        services.entry(service).or_default().insert(key);
        if key == "image" {
            images.insert(service, leaf);
        }
    }
    let mut habits = Vec::new();
    for (service, leaf) in images {
        let has = |key: &str| services[service].contains(key);
        let habit = |what| Habit { line: leaf.line, service: service.to_owned(), what };
        // What is built here has the version of the project.
        if !has("build") && is_unpinned(&leaf.text) {
            habits.push(habit(What::Unpinned { image: leaf.text.clone() }));
        }
        if !["healthcheck", "extends", "<<"].into_iter().any(has) {
            habits.push(habit(What::Unchecked));
        }
    }
    habits.sort_by_key(|habit| habit.line);
    habits
}

/// Whether an image is another one next month. A name that a variable makes is not known here.
pub(super) fn is_unpinned(image: &str) -> bool {
    if image.contains(['$', '@', '*']) {
        return false;
    }
    // The address of a registry may have a port.
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':')
        .is_none_or(|(_, tag)| matches!(tag, "latest" | "edge" | "master" | "main" | "nightly"))
}

impl Habit {
    pub(super) fn finding(&self, name: &str) -> Finding {
        let service = &self.service;
        let (on, why, next) = match &self.what {
            What::Unpinned { image } => (
                format!("{service} uses {image}, whichever is the newest"),
                "another machine, or this one next month, runs another version",
                "write a version behind the image, or a digest".to_owned(),
            ),
            What::Unchecked => (
                format!("{service} has no healthcheck"),
                "it counts as ready as soon as it runs: what starts after it meets a server that takes no login yet",
                "add one; {program} render writes a file in which every service has one".to_owned(),
            ),
        };
        Finding::of(Verdict::Warning, Section::Containers, format!("{name}:{}", self.line), on, why, next)
    }
}
