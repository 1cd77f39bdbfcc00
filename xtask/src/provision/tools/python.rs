//! Python: found where version managers and systems keep it, never fetched.

use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Installed, Key};
use ecosystem_core::tool::Requirement;

use super::links;
use crate::event::Events;
use crate::provision::host::Host;
use crate::provision::store::{Built, Id, Store};
use crate::provision::tree::folders;

/// The series that a release wants: `3.9`.
pub(super) fn series(tools: &[Requirement]) -> Option<String> {
    tools.iter().find(|tool| tool.name == "python").map(Requirement::series)
}

/// The newest Python of a series: on PATH, else of pyenv, uv, mise, asdf or Homebrew. Shims of version managers answer for others and are passed over.
pub(in crate::provision) fn find(host: &Host, series: &str) -> Option<Utf8PathBuf> {
    let program = format!("python{series}");
    if let Some(found) = host.all(&program).into_iter().find(is_real) {
        return Some(found);
    }
    let of_series = |folder: &Utf8PathBuf| {
        let name = folder.file_name().unwrap_or_default();
        let version = name.strip_prefix("cpython-").unwrap_or(name);
        version.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    let managed = host.pythons.iter().filter_map(|place| {
        let versions = folders(place).unwrap_or_default().into_iter().filter(&of_series);
        let programs =
            versions.map(|folder| folder.join("bin").join(&program)).filter(|program| program.is_file());
        programs.max_by_key(|program| number(program))
    });
    let brew = ["/opt/homebrew", "/usr/local"]
        .map(|prefix| Utf8PathBuf::from(format!("{prefix}/opt/python@{series}/bin/{program}")));
    managed.chain(brew.into_iter().filter(|program| program.is_file())).next()
}

/// Any Python 3, the person's own first.
pub(super) fn any(host: &Host) -> Option<Utf8PathBuf> {
    let programs = host.all("python3");
    programs.iter().find(|path| is_real(path)).or_else(|| programs.first()).cloned()
}

/// A shim of a version manager runs one Python today and another one tomorrow.
fn is_real(path: &Utf8PathBuf) -> bool {
    !path.components().any(|part| part.as_str() == "shims")
}

/// The numbers in the name of the folder that a manager keeps a Python in.
fn number(program: &Utf8Path) -> Option<Vec<u32>> {
    let folder = program.parent()?.parent()?.file_name()?;
    let version = folder.strip_prefix("cpython-").unwrap_or(folder);
    version.split('-').next()?.split('.').map(|part| part.parse().ok()).collect()
}

/// Changes when the program does.
pub(in crate::provision) fn stamp(program: &Utf8Path) -> anyhow::Result<String> {
    let meta = std::fs::metadata(program).with_context(|| format!("cannot look at {program}"))?;
    Ok(format!("{program} {} {}", meta.len(), meta.mtime()))
}

/// Where its links lie.
pub(super) fn id(program: &Utf8Path) -> anyhow::Result<Id> {
    let stamp = stamp(program)?;
    Ok(Id { name: "python".to_owned(), version: "host".to_owned(), key: Key::of(["python", "1", &stamp]) })
}

/// Links under all the names that people type.
pub(super) fn record(store: &Store, events: &dyn Events, program: &Utf8Path) -> anyhow::Result<Installed> {
    store.ensure(&id(program)?, events, |folder| {
        let banner = crate::provision::debian::probe(program, &["--version"], &[], "python")?;
        let version = banner.strip_prefix("Python ").map(|version| version.trim().to_owned());
        let own = program.file_name().unwrap_or("python3").to_owned();
        let names = [own.as_str(), "python3", "python"];
        let facts = links(folder, &names.map(|name| (name, program.to_owned())))?;
        Ok(Built { version, facts, ..Built::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_series_is_found_and_shims_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let make = |path: &str| {
            let path = root.join(path);
            crate::sys::fs::write_atomic(&path, b"#!/bin/sh\n", 0o700).unwrap();
            path
        };
        make("shims/python3.9");
        make("pyenv/3.9.2/bin/python3.9");
        let newest = make("pyenv/3.9.18/bin/python3.9");
        make("pyenv/3.90.1/bin/python3.90");
        make("pyenv/3.11.7/bin/python3.11");
        let uv = make("uv/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12");
        let mut host = Host {
            path: root.join("shims").into_string(),
            pythons: vec![root.join("pyenv"), root.join("uv")],
            ..Host::default()
        };
        assert_eq!(find(&host, "3.9"), Some(newest));
        assert_eq!(find(&host, "3.12"), Some(uv));
        assert_eq!(find(&host, "3.10"), None);
        let own = make("own/python3.9");
        host.path = format!("{}:{}", host.path, root.join("own"));
        assert_eq!(find(&host, "3.9"), Some(own));
    }
}
