//! Releases: the versions, images and ports that a documentation pins, as data built into the program.
//!
//! A release is the lowest layer of the model. What a manifest may change of it is decided in `model`, not here.

pub mod assembly;
mod detect;
pub mod requirements;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use detect::{Detected, FILES, detect, release_of};

use crate::catalog::Kind;
use crate::tool::Requirement;

/// The release of a project that does not name one.
pub const DEFAULT: &str = "documented";

/// Every release that this version knows, with its text.
const RELEASES: [(&str, &str); 6] = [
    (DEFAULT, include_str!("documented.toml")),
    ("v11", include_str!("v11.toml")),
    ("v12", include_str!("v12.toml")),
    ("v13", include_str!("v13.toml")),
    ("v14", include_str!("v14.toml")),
    ("oarepo-14", include_str!("oarepo-14.toml")),
];

/// The pins of one documentation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub profiles: BTreeMap<String, Vec<String>>,
    /// Host tools, in the order in which they are checked.
    pub tools: Vec<Requirement>,
    /// What servers need to run beside themselves: `java`.
    pub runtimes: BTreeMap<String, Runtime>,
    pub services: BTreeMap<Kind, Defaults>,
}

/// Something that servers run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// A semver requirement.
    pub accept: String,
    /// A Package URL that says what is fetched where none is found.
    pub get: String,
}

/// What a release says about one kind of service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Every role that the kind has; a manifest moves them, it adds none.
    pub ports: BTreeMap<String, u16>,
    pub image: Option<String>,
    pub accept: Option<String>,
    pub get: Option<String>,
    #[serde(default)]
    pub plugins: Vec<String>,
    #[serde(default)]
    pub modules: Vec<String>,
    pub heap: Option<String>,
    /// The pack that an application starts from.
    pub pack: Option<String>,
    #[serde(default)]
    pub buckets: Vec<String>,
    /// Why nobody looks after the server of the release any more, and what else there is.
    pub unmaintained: Option<String>,
}

/// The names of all releases.
pub fn names() -> impl Iterator<Item = &'static str> {
    RELEASES.into_iter().map(|(name, _)| name)
}

/// The release of this name. It is read once, when it is first asked for.
pub fn find(name: &str) -> Option<Release> {
    static READ: [OnceLock<Release>; RELEASES.len()] = [const { OnceLock::new() }; RELEASES.len()];
    let index = RELEASES.iter().position(|(known, _)| *known == name)?;
    let read = || match toml::from_str(RELEASES[index].1) {
        Ok(release) => release,
        Err(error) => unreachable!("the built-in release {name} cannot be read: {error}"),
    };
    Some(READ[index].get_or_init(read).clone())
}

/// The first release whose native server made data of this kind and major version: `postgresql 14`.
pub fn with(made_by: &str) -> Option<&'static str> {
    let (kind, major) = made_by.split_once(' ')?;
    let has = |name: &&str| {
        let release = find(name).unwrap_or_else(|| unreachable!("{name} is built in"));
        let mut services = release.services.iter().filter(|(known, _)| known.name() == kind);
        services.any(|(_, service)| {
            let version = service.get.as_deref().and_then(|purl| purl.rsplit_once('@'));
            version.is_some_and(|(_, version)| version.split('.').next() == Some(major))
        })
    };
    names().find(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_can_be_read_and_knows_every_kind() {
        for name in names() {
            let release = find(name).unwrap();
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Process) {
                assert!(release.services[&kind].ports.values().all(|port| *port > 0), "{name} {kind}");
            }
        }
        assert_eq!(find("v0"), None);
    }

    #[test]
    fn every_accepted_range_is_a_requirement_that_accepts_what_was_tested() {
        for name in names() {
            let release = find(name).unwrap();
            for tool in &release.tools {
                let accept = semver::VersionReq::parse(&tool.accept).unwrap();
                assert!(accept.matches(&semver::Version::parse(&tool.tested).unwrap()), "{}", tool.name);
            }
            for accept in release.services.values().filter_map(|s| s.accept.as_deref()) {
                semver::VersionReq::parse(accept).unwrap();
            }
            semver::VersionReq::parse(&release.runtimes["java"].accept).unwrap();
        }
    }

    #[test]
    fn data_leads_to_the_release_that_made_it() {
        assert_eq!(with("postgresql 12"), Some(DEFAULT));
        assert_eq!(with("postgresql 14"), Some("v12"));
        assert_eq!(with("postgresql 18"), Some("oarepo-14"));
        assert_eq!(with("postgresql 9"), None);
        assert_eq!(with("mysql 8"), None);
    }

    #[test]
    fn whatever_this_version_runs_can_be_fetched() {
        let release = find(DEFAULT).unwrap();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.runs() && *kind != Kind::Process) {
            let get = release.services[&kind].get.as_deref().unwrap();
            assert!(get.starts_with("pkg:"), "{kind}: {get}");
        }
    }

    #[test]
    fn the_documented_ports_are_those_of_the_table() {
        let release = find(DEFAULT).unwrap();
        let ports: Vec<String> = Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Process)
            .map(|kind| {
                let ports: Vec<_> = release.services[&kind]
                    .ports
                    .iter()
                    .map(|(role, port)| format!("{role} {port}"))
                    .collect();
                format!("{kind}: {}", ports.join(", "))
            })
            .collect();
        insta::assert_snapshot!(ports.join("\n"), @r"
        postgresql: sql 5632
        redis: redis 6579
        rabbitmq: amqp 5872, distribution 25872, epmd 4399, http 15872
        opensearch: cluster 9800, http 9400
        dashboards: http 5801
        pgadmin: http 5250, https 5251
        minio: console 9001, s3 9000
        invenio: http 5001, https 5000
        ");
    }
}
