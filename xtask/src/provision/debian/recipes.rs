//! Which packages make up which server, and where in them its programs are.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::Facts;

use super::packages::{self, Package};
use crate::provision::rabbitmq;
use crate::provision::tree::{folders, glob_one};

/// Changes when a recipe makes something else from the same packages.
pub(super) const REVISION: &str = "1";

/// How a server is made from packages.
#[derive(Debug)]
pub(in crate::provision) struct Recipe {
    pub(in crate::provision) name: &'static str,
    /// The service that can take it from PATH instead.
    pub(super) service: Option<&'static str>,
    /// The first one that the suite has is taken.
    pub(super) roots: &'static [&'static str],
    pub(super) keep: Keep,
    /// The packages that give the version.
    pub(super) named_after: &'static [&'static str],
    /// What finds the programs in the unpacked packages.
    pub(super) inspect: fn(&Utf8Path) -> anyhow::Result<Facts>,
    /// A role and arguments with which it runs once, harmlessly.
    pub(super) probe: Option<(&'static str, &'static [&'static str])>,
    /// Its package with apt, dnf and Homebrew.
    pub(super) elsewhere: (&'static str, &'static str, &'static str),
}

/// Which packages of the closure are unpacked.
#[derive(Debug)]
pub(super) enum Keep {
    /// All but these.
    Except(&'static [&'static str]),
    /// Only these: the rest serves scripts and features that are not used.
    Only(&'static [&'static str]),
}

impl Keep {
    pub(super) fn select(&self, closure: Vec<Package>, base: &[Package]) -> Vec<Package> {
        match self {
            Self::Except(skip) => packages::needed(closure, base, skip),
            Self::Only(keep) => {
                let others = packages::needed(closure.clone(), &[], keep);
                let skip: Vec<&str> = others.iter().map(|package| package.name.as_str()).collect();
                packages::needed(closure, base, &skip)
            }
        }
    }
}

pub(in crate::provision) const REDIS: Recipe = Recipe {
    name: "redis",
    service: Some("redis"),
    roots: &["redis-server"],
    keep: Keep::Except(&["adduser", "lsb-base", "procps", "libproc2*", "sysvinit*", "init-system-helpers"]),
    named_after: &["redis-server"],
    inspect: redis,
    probe: Some(("server", &["--version"])),
    elsewhere: ("redis-server", "redis", "redis"),
};

pub(in crate::provision) const POSTGRESQL_CLIENT: Recipe = Recipe {
    name: "postgresql-client",
    service: None,
    roots: &["postgresql-client"],
    keep: Keep::Except(&[
        "netbase",
        "perl*",
        "libperl*",
        "postgresql-client",
        "postgresql-client-common",
        "readline-common",
        "sensible-utils",
        "libsasl2-modules*",
        "libldap-common",
    ]),
    named_after: &[
        "postgresql-client-15",
        "postgresql-client-16",
        "postgresql-client-17",
        "postgresql-client-18",
        "postgresql-client-14",
        "postgresql-client-13",
    ],
    inspect: postgresql_client,
    probe: Some(("psql", &["--version"])),
    elsewhere: ("postgresql-client", "postgresql", "libpq"),
};

pub(in crate::provision) const RABBITMQ: Recipe = Recipe {
    name: "rabbitmq",
    service: Some("rabbitmq"),
    roots: &["rabbitmq-server"],
    keep: Keep::Only(&["rabbitmq-server", "erlang-*", "libncurses*", "libtinfo*", "libssl*", "libsctp*"]),
    named_after: &["rabbitmq-server"],
    inspect: rabbitmq::inspect,
    probe: None,
    elsewhere: ("rabbitmq-server", "rabbitmq-server", "rabbitmq"),
};

/// The front of applications. In newer suites the program lies in a package of its own.
pub(in crate::provision) const NGINX: Recipe = Recipe {
    name: "nginx",
    service: None,
    roots: &["nginx-light"],
    keep: Keep::Only(&["nginx", "nginx-light", "libpcre*", "libssl*"]),
    named_after: &["nginx", "nginx-light"],
    inspect: nginx,
    probe: Some(("server", &["-v"])),
    elsewhere: ("nginx-light", "nginx", "nginx"),
};

pub(in crate::provision) const JAVA: Recipe = Recipe {
    name: "java",
    service: None,
    // A headless server loads none of the graphics, printing and smart card libraries that the package depends on.
    roots: &["openjdk-17-jre-headless", "openjdk-21-jre-headless"],
    keep: Keep::Only(&["openjdk-*"]),
    named_after: &["openjdk-17-jre-headless", "openjdk-21-jre-headless"],
    inspect: java,
    probe: Some(("java", &["-version"])),
    elsewhere: ("openjdk-17-jre-headless", "java-17-openjdk-headless", "openjdk@17"),
};

/// The folders for `LD_LIBRARY_PATH`: those of the packages themselves, never the C library's.
pub(in crate::provision) fn libraries(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    ["usr/lib", "lib"].iter().map(|lib| root.join(lib).join(&triple)).filter(|path| path.is_dir()).collect()
}

fn redis(root: &Utf8Path) -> anyhow::Result<Facts> {
    let server = glob_one(root, "usr/bin/redis-server")?;
    Ok(facts([("server", server)], root))
}

fn nginx(root: &Utf8Path) -> anyhow::Result<Facts> {
    let server = glob_one(root, "usr/sbin/nginx")?;
    Ok(facts([("server", server)], root))
}

fn postgresql_client(root: &Utf8Path) -> anyhow::Result<Facts> {
    let bin = glob_one(root, "usr/lib/postgresql/*/bin")?;
    let programs = ["psql", "pg_dump", "pg_restore", "pg_isready", "createdb", "dropdb"];
    Ok(facts(programs.map(|name| (name, bin.join(name))), root))
}

fn java(root: &Utf8Path) -> anyhow::Result<Facts> {
    // Beside the real folder there is a link with another name.
    let homes = folders(&root.join("usr/lib/jvm"))?;
    let home = homes.into_iter().find(|home| home.join("bin/java").exists());
    let home = home.ok_or_else(|| anyhow::anyhow!("the package has no bin/java"))?;
    Ok(facts([("java", home.join("bin/java")), ("home", home)], root))
}

fn facts<const N: usize>(paths: [(&str, Utf8PathBuf); N], root: &Utf8Path) -> Facts {
    let paths = paths.into_iter().map(|(role, path)| (role.to_owned(), path));
    Facts { paths: paths.collect(), libraries: libraries(root), plugins: BTreeMap::new() }
}
