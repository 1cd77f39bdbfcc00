//! The rules of the house that a compiler does not know: layers, lengths, and words that must not appear.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::support::repository;

/// Each layer may use the ones below it, and nothing beside or above it.
const LAYERS: [&[&str]; 5] = [
    &["main", "lib"],
    &["cli", "context", "stack", "commands", "output"],
    &["engine", "seed", "snapshot", "checkpoint", "tenant", "reset", "app"],
    &["provision", "backend", "client", "site"],
    &["event", "sys"],
];

/// Every file with this extension below a folder.
pub(crate) fn files(folder: &Utf8Path, extension: &str) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8().unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !matches!(entry.file_name(), "target" | ".git" | ".ecosystem") {
            found.extend(files(path, extension));
        } else if path.extension() == Some(extension) {
            found.push(path.to_owned());
        }
    }
    found
}

/// Every source file with its path in this repository.
pub(crate) fn sources() -> Vec<(Utf8PathBuf, String)> {
    let root = repository();
    let all = files(&root.join("xtask"), "rs").into_iter().chain(files(&root.join("tests"), "rs"));
    all.map(|path| (path.strip_prefix(root).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Collects every problem before it fails.
#[track_caller]
pub(crate) fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//! ") {
            problems.push(format!("{path}: the first line must say what the file is for"));
        }
        if text.lines().count() > 500 {
            problems.push(format!("{path}: {} lines; split it", text.lines().count()));
        }
    }
    none(&problems);
}

#[test]
fn layers_only_use_what_is_below_them() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let Ok(inner) = path.strip_prefix("xtask/src") else { continue };
        let module = inner.components().next().unwrap().as_str().trim_end_matches(".rs");
        let from = layer(module)
            .unwrap_or_else(|| panic!("{path}: tell tests/it/tidy.rs which layer `{module}` is in"));
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let Some(to) = layer(&used) else { continue };
                let beside =
                    to == from && used != module && from >= 2 && used != "event" && module != "event";
                let command = module == "commands" && line.contains("crate::commands::");
                if to < from || (beside && from < 4) || command {
                    problems.push(format!("{path}:{}: `{module}` must not use `{used}`", number + 1));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn clients_do_not_know_each_other() {
    let kinds = ["redis", "postgresql", "rabbitmq", "opensearch"];
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let Ok(inner) = path.strip_prefix("xtask/src/client") else { continue };
        let own = inner.components().next().unwrap().as_str().trim_end_matches(".rs");
        for other in kinds.into_iter().filter(|kind| kinds.contains(&own) && *kind != own) {
            if text.contains(&format!("super::{other}")) {
                problems.push(format!("{path}: uses {other}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn core_is_pure() {
    let banned = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "Instant",
        "SystemTime",
        "std::thread",
        "println!",
    ];
    let mut problems = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("xtask/core/src")) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) =
                banned.iter().find(|word| line.contains(**word) && !line.trim_start().starts_with("//"))
            {
                problems.push(format!("{path}:{}: {word} in the pure crate", number + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let with: BTreeSet<_> = sources()
        .into_iter()
        .filter(|(path, text)| text.contains("unsafe {") && !path.ends_with("tidy.rs"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(with, BTreeSet::from([Utf8PathBuf::from("xtask/src/sys/os/linux.rs")]));
}

#[test]
fn no_file_of_tests_is_forgotten() {
    let folder = repository().join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    let mut problems = Vec::new();
    for entry in folder.read_dir_utf8().unwrap().flatten() {
        let name = entry.file_name().trim_end_matches(".rs");
        let hidden = name.starts_with('.');
        if name != "main" && !hidden && !main.contains(&format!("mod {name};")) {
            problems.push(format!("tests/it/{name} is not in main.rs"));
        }
    }
    none(&problems);
}

#[test]
fn the_changelog_knows_the_version() {
    let text = std::fs::read_to_string(repository().join("CHANGELOG.md")).unwrap();
    assert!(text.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}
