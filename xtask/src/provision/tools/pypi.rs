//! Programs from PyPI: each in a virtual environment of its own, installed by pip with every file checked against the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Key};
use ecosystem_core::failure::{Failure, Kind};

use super::{links, python};
use crate::event::{Events, Section, Task};
use crate::provision::host::Host;
use crate::provision::store::{Built, Id, Store};
use crate::provision::venv::{Venv, apart};
use crate::sys::cmd::Cmd;
use crate::sys::fs::write_atomic;

/// A program from PyPI, and the Python that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package<'a> {
    tool: &'a str,
    name: &'a str,
    version: &'a str,
    python: Utf8PathBuf,
}

impl fmt::Display for Package<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl<'a> Package<'a> {
    /// Reads `pipenv@2022.9.24`.
    pub(super) fn parse(tool: &'a str, text: &'a str, python: Utf8PathBuf) -> Result<Self, Failure> {
        match text.split_once('@') {
            Some((name, version)) if is_requirement(&format!("{name}=={version}")) => {
                Ok(Self { tool, name, version, python })
            }
            _ => Err(Failure::new(
                Kind::Manifest,
                "get-invalid",
                format!("`pkg:pypi/{text}` is not pkg:pypi/NAME@VERSION"),
            )),
        }
    }

    /// Depends on every file and on the Python that runs it.
    pub(super) fn id(&self, pins: &BTreeMap<String, Vec<String>>) -> Option<Id> {
        let lines = pins.get(&self.to_string())?;
        let python = python::stamp(&self.python).ok()?;
        let mut parts = vec!["pypi", "1", &python];
        parts.extend(lines.iter().map(String::as_str));
        Some(Id { name: self.tool.to_owned(), version: self.version.to_owned(), key: Key::of(parts) })
    }

    /// Makes the environment and fills it.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
        relock: bool,
        pins: &mut BTreeMap<String, Vec<String>>,
    ) -> anyhow::Result<()> {
        if relock {
            let scratch = store.scratch()?;
            let resolved = self.resolve(store, host, events, scratch.path())?;
            let known = pins.remove(&self.to_string()).unwrap_or_default();
            pins.insert(self.to_string(), merge(&known, &resolved));
        }
        let id = self.id(pins).context("the package has no pin")?;
        let lines = pins.get(&self.to_string()).cloned().unwrap_or_default();
        store.ensure(&id, events, |folder| {
            let task = Task::start(events, Section::Fetch, self.to_string());
            let what = self.to_string();
            let venv = Venv::make(&self.python, folder, &what, (host, store))?;
            let wanted = folder.join("requirements.txt");
            write_atomic(&wanted, (lines.join("\n") + "\n").as_bytes(), 0o600)?;
            let install =
                ["install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", wanted.as_str()];
            venv.pip(&install, &task)?;
            self.program(folder)?;
            self.try_out(folder)?;
            task.finish("");
            let paths = std::iter::once(("bin".to_owned(), folder.join("bin")));
            let facts = Facts {
                paths: paths.chain([("python".to_owned(), self.python.clone())]).collect(),
                ..Facts::default()
            };
            Ok(Built { facts, ..Built::default() })
        })?;
        Ok(())
    }

    /// What pip would install, as lines for `--require-hashes`.
    fn resolve(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
        folder: &Utf8Path,
    ) -> anyhow::Result<Vec<String>> {
        let task = Task::start(events, Section::Fetch, format!("what {self} needs"));
        let what = self.to_string();
        let venv = Venv::make(&self.python, folder, &what, (host, store))?;
        let report = folder.join("report.json");
        let wanted = format!("{}=={}", self.name, self.version);
        let dry = [
            "install",
            "--dry-run",
            "--ignore-installed",
            "--only-binary=:all:",
            "--report",
            report.as_str(),
            &wanted,
        ];
        venv.pip(&dry, &task)?;
        let text = std::fs::read(&report).with_context(|| format!("cannot read {report}"))?;
        let report: serde_json::Value =
            serde_json::from_slice(&text).context("pip's report cannot be read")?;
        let mut lines = Vec::new();
        for item in report["install"].as_array().context("pip's report lists nothing")? {
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let (name, version) = (word(&item["metadata"]["name"]), word(&item["metadata"]["version"]));
            let sha256 = word(&item["download_info"]["archive_info"]["hashes"]["sha256"]);
            lines.push(format!("{}=={version} --hash=sha256:{sha256}", name.to_ascii_lowercase()));
        }
        lines.sort();
        anyhow::ensure!(
            lines.iter().all(|line| is_line(line)),
            "pip's report holds something else than names, versions and checksums"
        );
        task.finish(format!("{} packages", lines.len()));
        Ok(lines)
    }

    /// Runs it once: a version that is older than the Python fails when it is started, not when it is installed.
    fn try_out(&self, folder: &Utf8Path) -> anyhow::Result<()> {
        let program = folder.join("bin").join(self.tool);
        let output = apart(Cmd::new(program)).args(["--version"]).run()?;
        if output.ok() {
            return Ok(());
        }
        let message = format!("{self} does not run on {}: {}", self.python, output.last_line());
        Err(Failure::new(Kind::Host, "tool-unusable", message)
            .hint("install the Python of the release, and it is used: `{program} check` says how")
            .into())
    }

    /// What starts the program. A script that pip wrote names the folder in which it was made; the environment is moved when it is whole.
    fn program(&self, folder: &Utf8Path) -> anyhow::Result<()> {
        let made = folder.join("venv/bin").join(self.tool);
        let start =
            std::fs::read(&made).with_context(|| format!("{self} brings no program {}", self.tool))?;
        if start.starts_with(b"#!") {
            let script =
                format!("#!/bin/sh\nexec \"${{0%/*}}/../venv/bin/python\" -m {} \"$@\"\n", self.name);
            return write_atomic(&folder.join("bin").join(self.tool), script.as_bytes(), 0o700);
        }
        links(folder, &[(self.tool, format!("../venv/bin/{}", self.tool).into())]).map(drop)
    }
}

/// Lines of the same version gather checksums: each platform has files of its own.
fn merge(known: &[String], resolved: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in resolved {
        let (name, hash) = line.split_once(' ').unwrap_or((line, ""));
        let others = known.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let mut hashes: BTreeSet<&str> = others.flat_map(|hashes| hashes.split(' ')).collect();
        hashes.insert(hash);
        lines.push(format!("{name} {}", hashes.into_iter().collect::<Vec<_>>().join(" ")));
    }
    lines
}

/// `name==version`, and nothing that pip could take for an option, an address or a file.
fn is_requirement(text: &str) -> bool {
    let safe = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    text.split_once("==").is_some_and(|(name, version)| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && safe(name, "._-")
            && version.starts_with(|c: char| c.is_ascii_digit())
            && safe(version, ".+!")
    })
}

/// A requirement with its checksums.
pub(in crate::provision) fn is_line(text: &str) -> bool {
    let mut words = text.split(' ');
    let hash = |word: &str| {
        word.strip_prefix("--hash=sha256:")
            .is_some_and(|sum| sum.len() == 64 && sum.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
    };
    words.next().is_some_and(is_requirement) && text.contains(' ') && words.all(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_lock_cannot_slip_options_to_pip() {
        let sum = "ab".repeat(32);
        assert!(is_line(&format!("certifi==2025.8.3 --hash=sha256:{sum}")));
        assert!(is_line(&format!("uv==0.9.30 --hash=sha256:{sum} --hash=sha256:{sum}")));
        for line in [
            "certifi==2025.8.3".to_owned(),
            format!("certifi --hash=sha256:{sum}"),
            format!("--index-url=evil==1 --hash=sha256:{sum}"),
            format!("certifi==1 --hash=sha256:{sum} --index-url=evil"),
            format!("certifi==1\n-e . --hash=sha256:{sum}"),
            format!("certifi==1 --hash=sha256:{}", sum.to_uppercase()),
            format!("./x==1 --hash=sha256:{sum}"),
        ] {
            assert!(!is_line(&line), "{line}");
        }
    }

    #[test]
    fn checksums_of_other_platforms_stay_and_other_versions_go() {
        let known = ["uv==1 --hash=sha256:a".to_owned(), "x==1 --hash=sha256:c".to_owned()];
        let resolved = ["uv==1 --hash=sha256:b".to_owned(), "x==2 --hash=sha256:d".to_owned()];
        assert_eq!(
            merge(&known, &resolved),
            ["uv==1 --hash=sha256:a --hash=sha256:b", "x==2 --hash=sha256:d"]
        );
    }
}
