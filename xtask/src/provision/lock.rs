//! `ecosystem.lock`: exactly what the store is filled with. Parsing and printing only; who trusts what is decided by the providers.
//!
//! Two kinds of origin. *Immutable* ones (Maven) are pinned by SHA-256: other bytes are refused. *Moving* ones (Debian) are pinned by version;
//! their bytes are vouched for by the signatures that apt checks, and a version that is gone is resolved again.

use std::collections::BTreeMap;
use std::fmt::Write;

use camino::Utf8Path;
use ecosystem_core::failure::{Failure, Kind};
use serde::Deserialize;

use crate::sys;

/// The lock file's contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// By `group:artifact:version`.
    pub maven: BTreeMap<String, Pin>,
    /// By `name@version`.
    pub npm: BTreeMap<String, Pin>,
    /// By `name@version`: lines for `pip install --require-hashes`.
    pub pypi: BTreeMap<String, Vec<String>>,
    /// By `module@version`: the checksum that `go.sum` files have.
    pub go: BTreeMap<String, String>,
    /// By `suite.architecture.name`: `package=version`, in apt's order.
    pub debian: BTreeMap<String, Vec<String>>,
}

/// An immutable artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub sha256: String,
    pub size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    maven: BTreeMap<String, Pin>,
    #[serde(default)]
    npm: BTreeMap<String, Pin>,
    #[serde(default)]
    pypi: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    go: BTreeMap<String, String>,
    #[serde(default)]
    debian: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<String>>>>,
}

impl Document {
    /// The first thing in it that is not what it should be, with what it should be. All of it ends up in command lines and paths.
    fn wrong(&self) -> Option<(&str, &'static str)> {
        let architectures = || self.debian.values().flatten();
        let lists = || architectures().flat_map(|(_, names)| names);
        let names = self
            .debian
            .keys()
            .chain(architectures().map(|(name, _)| name))
            .chain(lists().map(|(name, _)| name));
        let checks = self
            .maven
            .iter()
            .flat_map(|(gav, pin)| {
                [
                    (gav, is_gav(gav), "group:artifact:version"),
                    (&pin.sha256, is_sha256(&pin.sha256), "SHA-256"),
                ]
            })
            .chain(self.npm.iter().flat_map(|(name, pin)| {
                [(name, is_package(name), "name@version"), (&pin.sha256, is_sha256(&pin.sha256), "SHA-256")]
            }))
            .chain(self.pypi.keys().map(|name| (name, is_package(name), "name@version")))
            .chain(
                self.pypi
                    .values()
                    .flatten()
                    .map(|line| (line, super::tools::is_line(line), "name==version with checksums")),
            )
            .chain(self.go.iter().flat_map(|(name, sum)| {
                [
                    (name, super::go::is_module(name), "module@version"),
                    (sum, super::go::is_sum(sum), "checksum of a Go module"),
                ]
            }))
            .chain(names.map(|name| (name, is_name(name), "name of letters, digits, _ and -")))
            .chain(lists().flat_map(|(_, pins)| pins).map(|pin| (pin, is_pin(pin), "package=version")));
        let mut wrong = checks.filter(|(_, good, _)| !good);
        wrong.next().map(|(text, _, what)| (text.as_str(), what))
    }
}

fn is_gav(text: &str) -> bool {
    super::maven::Gav::parse(text).is_ok()
}

fn is_package(text: &str) -> bool {
    let good = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    text.split_once('@').is_some_and(|(name, version)| good(name) && good(version))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// A suite, an architecture or the name of a list. Without dots: they are joined by dots.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// Whether this is `package=version` and nothing that apt could take for an option.
pub(super) fn is_pin(text: &str) -> bool {
    let safe = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    text.split_once('=').is_some_and(|(package, version)| {
        package.starts_with(|c: char| c.is_ascii_alphanumeric())
            && safe(package, "+.-:")
            && version.starts_with(|c: char| c.is_ascii_alphanumeric())
            && safe(version, "+.:~-")
    })
}

/// The error for bytes that are not those of the lock. `mirror` is whom to ask about them.
pub(super) fn changed(name: &str, locked: Option<&Pin>, got: &Pin, mirror: &str) -> Failure {
    let expected = locked.map_or("nothing", |pin| &pin.sha256);
    let message = format!(
        "{name} is not what ecosystem.lock says: expected {expected}, got {}; it was thrown away",
        got.sha256
    );
    Failure::new(Kind::Host, "artifact-changed", message)
        .hint(format!("a released version never changes: ask who runs the {mirror}"))
}

const HEADER: &str = "\
# Written by `cargo xtask provision`. Check it in; do not edit it.
#
# maven, npm, pypi, go:
#         immutable. Bytes with another SHA-256 are refused and never reach the store.
# debian: moves with its suite. These versions are tried first; when the suite has dropped one, it is resolved again with a notice
#         (`--locked` fails instead). Signatures are checked by apt.
";

fn invalid(message: String) -> Failure {
    Failure::new(Kind::Manifest, "lock-invalid", message)
        .hint("it is a generated file: take it from version control again")
}

impl Lock {
    /// The lock that this program was built with.
    pub fn builtin() -> Result<Self, Failure> {
        Self::parse(include_str!("../../../ecosystem.lock"), "the built-in ecosystem.lock")
    }

    /// Reads a project's lock file; the built-in one where the project has none.
    pub fn load(path: &Utf8Path) -> anyhow::Result<Self> {
        match sys::fs::read_optional(path).map_err(|error| invalid(error.to_string()))? {
            Some(text) => Ok(Self::parse(&text, path.as_str())?),
            None => Ok(Self::builtin()?),
        }
    }

    /// Parses a lock file; `name` is for the message.
    pub fn parse(text: &str, name: &str) -> Result<Self, Failure> {
        let document: Document =
            sys::fs::from_toml(name.into(), text).map_err(|error| invalid(error.to_string()))?;
        if let Some((text, what)) = document.wrong() {
            let text: String = text.chars().take(80).collect();
            return Err(invalid(format!("{name} holds `{}`, which is no {what}", text.escape_debug())));
        }
        let mut debian = BTreeMap::new();
        for (suite, architectures) in document.debian {
            for (architecture, names) in architectures {
                for (name, packages) in names {
                    debian.insert(format!("{suite}.{architecture}.{name}"), packages);
                }
            }
        }
        Ok(Self { maven: document.maven, npm: document.npm, pypi: document.pypi, go: document.go, debian })
    }

    /// The file's text: sorted, so that the same content is always the same bytes.
    pub fn print(&self) -> String {
        let mut text = HEADER.to_owned();
        text.push_str("\n[maven]\n");
        for (name, pin) in &self.maven {
            let _ = writeln!(text, "\"{name}\" = {{ sha256 = \"{}\", size = {} }}", pin.sha256, pin.size);
        }
        if !self.npm.is_empty() {
            text.push_str("\n[npm]\n");
        }
        for (name, pin) in &self.npm {
            let _ = writeln!(text, "\"{name}\" = {{ sha256 = \"{}\", size = {} }}", pin.sha256, pin.size);
        }
        if !self.pypi.is_empty() {
            text.push_str("\n[pypi]\n");
        }
        for (name, lines) in &self.pypi {
            let _ = writeln!(text, "\"{name}\" = [");
            for line in lines {
                let _ = writeln!(text, "  \"{line}\",");
            }
            text.push_str("]\n");
        }
        if !self.go.is_empty() {
            text.push_str("\n[go]\n");
        }
        for (name, sum) in &self.go {
            let _ = writeln!(text, "\"{name}\" = \"{sum}\"");
        }
        let mut table = "";
        for (name, packages) in &self.debian {
            let (place, name) = name.rsplit_once('.').unwrap_or(("", name));
            if place != table {
                let quoted: Vec<_> = place.split('.').map(|part| format!("\"{part}\"")).collect();
                let _ = writeln!(text, "\n[debian.{}]", quoted.join("."));
                table = place;
            }
            let _ = writeln!(text, "{name} = [");
            for package in packages {
                let _ = writeln!(text, "  \"{package}\",");
            }
            text.push_str("]\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let pin = Pin { sha256: "ab".repeat(32), size: 12 };
        let line = format!("x==1.0 --hash=sha256:{}", pin.sha256);
        let lock = Lock {
            maven: BTreeMap::from([("org.x:y:1.0".to_owned(), pin.clone())]),
            npm: BTreeMap::from([("npm@6.14.17".to_owned(), pin)]),
            pypi: BTreeMap::from([("x@1.0".to_owned(), vec![line])]),
            go: BTreeMap::from([("a.org/b@v1.0.0".to_owned(), format!("h1:{}=", "a".repeat(43)))]),
            debian: BTreeMap::from([
                ("bookworm.amd64.java".to_owned(), vec!["a=1:2.3-4~x+y".to_owned()]),
                ("bookworm.amd64.redis".to_owned(), vec![]),
                ("bookworm.arm64.redis".to_owned(), vec!["b=1".to_owned(), "a=2".to_owned()]),
            ]),
        };
        let text = lock.print();
        assert_eq!(Lock::parse(&text, "x").unwrap(), lock);
        assert_eq!(Lock::parse(&text, "x").unwrap().print(), text);
    }

    #[test]
    fn a_lock_cannot_slip_options_to_apt() {
        for pin in ["-oDpkg::x=1", "redis", "redis=", "redis=-1", "re dis=1", "redis=1;x"] {
            let text = format!("[debian.bookworm.amd64]\nredis = [{pin:?}]\n");
            assert_eq!(Lock::parse(&text, "x").unwrap_err().code, "lock-invalid", "{pin}");
        }
        assert!(is_pin("redis-server=5:7.0.15-1~deb12u10") && is_pin("libstdc++6:amd64=12.2.0-14+deb12u1"));
    }

    #[test]
    fn a_lock_holds_only_coordinates_checksums_and_plain_names() {
        let sum = "ab".repeat(32);
        for text in [
            format!("[maven]\n\"../../x:y:1\" = {{ sha256 = \"{sum}\", size = 1 }}\n"),
            "[maven]\n\"a:b:1\" = { sha256 = \"AB\", size = 1 }\n".to_owned(),
            format!("[npm]\n\"--x@1\" = {{ sha256 = \"{sum}\", size = 1 }}\n"),
            "[pypi]\n\"x@1\" = [\"x==1 --index-url=evil\"]\n".to_owned(),
            "[go]\n\"a.org/b@v1\" = \"h1:x=\"\n".to_owned(),
            "[debian.\"book.worm\".amd64]\nredis = []\n".to_owned(),
            "[debian.bookworm.amd64]\n\"re dis\" = []\n".to_owned(),
        ] {
            assert_eq!(Lock::parse(&text, "x").unwrap_err().code, "lock-invalid", "{text}");
        }
    }

    #[test]
    fn a_broken_lock_names_the_file() {
        let failure = Lock::parse("[maven]\n\"a:b:1\" = { sha256 = 3 }\n", "some.lock").unwrap_err();
        assert_eq!(failure.code, "lock-invalid");
        assert!(failure.message.contains("some.lock"));
    }

    #[test]
    fn the_built_in_lock_is_printed_by_this_program() {
        assert_eq!(Lock::builtin().unwrap().print(), include_str!("../../../ecosystem.lock"));
    }
}
