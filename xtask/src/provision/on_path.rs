//! `from = "path"`: servers that are installed already. Nothing is fetched; what was found is written down once.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::catalog::dashboards;
use ecosystem_core::catalog::opensearch::SECURITY_PLUGIN;
use ecosystem_core::failure::{Failure, Kind};

use super::debian::probe;
use super::distribution::dashboards_version;
use super::host::Host;
use super::rabbitmq;
use super::store::{Built, Id, Store};
use super::tree::folders;
use crate::event::Events;

/// Programs of the host that make up a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnPath {
    name: &'static str,
    paths: BTreeMap<String, Utf8PathBuf>,
    /// The one that is asked for its version.
    main: Utf8PathBuf,
}

/// Redis on PATH.
pub(super) fn redis(host: &Host) -> Result<OnPath, Failure> {
    let server = host.find("redis-server");
    let server =
        server.ok_or_else(|| absent(host, "redis", "redis-server", ["redis-server", "redis", "redis"]))?;
    Ok(OnPath { name: "redis", paths: one("server", &server), main: server })
}

/// NGINX on PATH, or where systems keep what only root has on it.
pub(super) fn nginx(host: &Host) -> Result<OnPath, Failure> {
    let elsewhere = || {
        ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].map(Utf8PathBuf::from).into_iter().find(|p| p.is_file())
    };
    let server = host.find("nginx").or_else(elsewhere);
    let server = server.ok_or_else(|| absent(host, "invenio", "nginx", ["nginx-light", "nginx", "nginx"]))?;
    Ok(OnPath { name: "nginx", paths: one("server", &server), main: server })
}

/// PostgreSQL on PATH, or where Debian keeps what it does not put there.
pub(super) fn postgresql(host: &Host) -> Result<OnPath, Failure> {
    let debian = folders("/usr/lib/postgresql".into()).unwrap_or_default();
    let server = host.find("postgres").or_else(|| {
        debian.into_iter().rev().map(|version| version.join("bin/postgres")).find(|program| program.is_file())
    });
    let names = ["postgresql", "postgresql-server", "postgresql@16"];
    let server = server.ok_or_else(|| absent(host, "postgresql", "postgres", names))?;
    let initdb = server.with_file_name("initdb");
    if !initdb.is_file() {
        return Err(absent(host, "postgresql", "initdb", names));
    }
    let mut paths = one("server", &server);
    paths.insert("initdb".to_owned(), initdb);
    Ok(OnPath { name: "postgresql", paths, main: server })
}

/// PostgreSQL's client programs on PATH.
pub(super) fn postgresql_client(host: &Host) -> Result<OnPath, Failure> {
    let names = ["postgresql-client", "postgresql", "libpq"];
    let psql = host.find("psql").ok_or_else(|| absent(host, "postgresql", "psql", names))?;
    let others = ["pg_dump", "pg_restore", "pg_isready", "createdb", "dropdb"];
    let mut paths = one("psql", &psql);
    paths.extend(others.into_iter().filter_map(|name| Some((name.to_owned(), host.find(name)?))));
    Ok(OnPath { name: "postgresql-client", paths, main: psql })
}

/// RabbitMQ on PATH in the layout of its own releases, as Nix and Homebrew have it, or where Debian's packages put it.
pub(super) fn rabbitmq(host: &Host) -> Result<OnPath, Failure> {
    let home = |program: &Utf8PathBuf| two_up(program).filter(|home| home.join("plugins").is_dir());
    if let Some(home) = host.all("rabbitmq-server").iter().find_map(home) {
        let Some(erlang) = erlang(host, &home) else {
            return Err(absent(host, "rabbitmq", "erl, which runs it,", ["erlang-base", "erlang", "erlang"]));
        };
        let paths = [("home", home.clone()), ("erlang", erlang)];
        let paths = paths.into_iter().map(|(role, path)| (role.to_owned(), path)).collect();
        return Ok(OnPath { name: "rabbitmq", paths, main: home });
    }
    let main: Utf8PathBuf = "/usr/lib/rabbitmq".into();
    if !main.is_dir() {
        return Err(absent(host, "rabbitmq", "rabbitmq-server", ["rabbitmq-server"; 3]));
    }
    Ok(OnPath { name: "rabbitmq", paths: BTreeMap::new(), main })
}

/// The Erlang that runs a RabbitMQ: the one that its own `rabbitmq-env` puts on PATH, which is how Nix ties them together, else that of PATH.
fn erlang(host: &Host, home: &Utf8Path) -> Option<Utf8PathBuf> {
    let script = std::fs::read_to_string(home.join("sbin/rabbitmq-env")).unwrap_or_default();
    let folders =
        script.lines().filter_map(|line| line.trim().trim_start_matches("export ").strip_prefix("PATH="));
    let own = folders
        .flat_map(|path| path.trim_matches(['"', '\'']).split(':'))
        .map(|folder| Utf8Path::new(folder).join("erl"));
    let programs = own.filter(|erl| erl.is_absolute()).chain(host.find("erl"));
    programs.filter_map(|erl| two_up(&erl)).find(|erlang| erlang.join("releases").is_dir())
}

/// OpenSearch on PATH, in the layout of its own releases. Its class archive is made from it as from an assembled one.
pub(super) fn opensearch(host: &Host) -> Result<OnPath, Failure> {
    let home = |program: &Utf8PathBuf| two_up(program).filter(|home| is_opensearch(home));
    let Some(home) = host.all("opensearch").iter().find_map(home) else {
        return Err(absent(host, "opensearch", "opensearch", ["opensearch"; 3]));
    };
    Ok(OnPath { name: "opensearch", paths: opensearch_paths(&home), main: home.join("lib") })
}

/// Whether this folder is laid out as an OpenSearch of its own releases.
pub(super) fn is_opensearch(home: &Utf8Path) -> bool {
    home.join("lib").is_dir() && home.join("modules").is_dir()
}

/// What the catalog has to know of an OpenSearch.
pub(super) fn opensearch_paths(home: &Utf8Path) -> BTreeMap<String, Utf8PathBuf> {
    let mut paths = one("home", home);
    let security = home.join("plugins/opensearch-security");
    if security.is_dir() {
        paths.insert(SECURITY_PLUGIN.to_owned(), security);
    }
    paths
}

/// OpenSearch Dashboards on PATH, in the layout of its own releases or behind a script of a packager.
pub(super) fn dashboards(host: &Host) -> Result<OnPath, Failure> {
    let name = "opensearch-dashboards";
    let Some(program) = host.find(name) else {
        let message = format!("services.dashboards has from = \"path\", but {name} is not installed");
        return Err(Failure::new(Kind::Host, "program-missing", message)
            .hint("put its `bin` folder on PATH")
            .hint("or take `from` out and write `get` and `sha512` of its official archive instead"));
    };
    let mut paths = one("program", &program);
    let above = two_up(&program);
    let homes = above.iter().flat_map(|above| {
        ["", "libexec/opensearch-dashboards", "share/opensearch-dashboards"].map(|below| above.join(below))
    });
    if let Some(home) = homes.into_iter().find(|home| home.join("package.json").is_file()) {
        let security = home.join("plugins/securityDashboards");
        if security.is_dir() {
            paths.insert(dashboards::SECURITY_PLUGIN.to_owned(), security);
        }
        paths.insert("home".to_owned(), home);
    }
    Ok(OnPath { name: "dashboards", paths, main: program })
}

/// MinIO on PATH. No distribution has a package of it.
pub(super) fn minio(host: &Host) -> Result<OnPath, Failure> {
    let Some(server) = host.find("minio") else {
        let message = "services.minio has from = \"path\", but minio is not installed";
        return Err(Failure::new(Kind::Host, "program-missing", message)
            .hint("leave `from` out: Go builds it then, once"));
    };
    Ok(OnPath { name: "minio", paths: one("server", &server), main: server })
}

/// The folder above the one in which a program really lies.
fn two_up(program: &Utf8Path) -> Option<Utf8PathBuf> {
    Some(program.canonicalize_utf8().ok()?.parent()?.parent()?.to_owned())
}

fn one(role: &str, path: &Utf8Path) -> BTreeMap<String, Utf8PathBuf> {
    BTreeMap::from([(role.to_owned(), path.to_owned())])
}

fn absent(host: &Host, service: &str, program: &str, [apt, dnf, homebrew]: [&str; 3]) -> Failure {
    let message = format!("services.{service} has from = \"path\", but {program} is not installed");
    Failure::new(Kind::Host, "program-missing", message)
        .hint(host.family().install(apt, dnf, homebrew))
        .hint("or leave `from` out: it is fetched then")
}

impl OnPath {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Changes when one of the programs does.
    pub(super) fn id(&self) -> anyhow::Result<Id> {
        let mut parts = vec!["host".to_owned(), self.name.to_owned()];
        for path in std::iter::once(&self.main).chain(self.paths.values()) {
            let meta = std::fs::metadata(path)?;
            parts.push(format!("{path} {} {}", meta.len(), meta.mtime()));
        }
        let key = Key::of(parts.iter().map(String::as_str));
        Ok(Id { name: self.name.to_owned(), version: "host".to_owned(), key })
    }

    /// Writes down what was found.
    pub(super) fn record(&self, store: &Store, events: &dyn Events) -> anyhow::Result<Installed> {
        store.ensure(&self.id()?, events, |_| {
            if self.name == "opensearch" {
                let facts = Facts { paths: self.paths.clone(), ..Facts::default() };
                return Ok(Built { version: opensearch_version(&self.main), facts, ..Built::default() });
            }
            if self.name == "dashboards" {
                let facts = Facts { paths: self.paths.clone(), ..Facts::default() };
                // It takes seconds to say so itself.
                let version = self.paths.get("home").and_then(|home| dashboards_version(home));
                return Ok(Built { version, facts, ..Built::default() });
            }
            if self.name == "rabbitmq" {
                let facts = match (self.paths.get("home"), self.paths.get("erlang")) {
                    (Some(home), Some(erlang)) => rabbitmq::facts(home, erlang)?,
                    _ => rabbitmq::inspect("/".into())?,
                };
                // The host's own libraries are found without help, and the C library must not be among those on a path.
                let facts = Facts { libraries: Vec::new(), ..facts };
                let version = rabbitmq::version(&facts);
                return Ok(Built { version, facts, ..Built::default() });
            }
            let option = if self.name == "nginx" { "-V" } else { "--version" };
            let banner = probe(&self.main, &[option], &[], self.name)?;
            if self.name == "nginx" {
                refuse_without_modules(&self.main, &banner)?;
            }
            let facts = Facts { paths: self.paths.clone(), ..Facts::default() };
            let version = if self.name == "minio" { minio_version(&banner) } else { version(&banner) };
            Ok(Built { version, facts, ..Built::default() })
        })
    }
}

/// An NGINX that was built without what a front needs.
fn refuse_without_modules(program: &Utf8Path, banner: &str) -> Result<(), Failure> {
    let lacks = |module: &&str| !banner.contains(&format!("--with-{module}"));
    let Some(module) = ["http_ssl_module", "http_v2_module"].into_iter().find(|module| lacks(module)) else {
        return Ok(());
    };
    let message = format!("{program} was built without {module}, which an HTTPS front needs");
    Err(Failure::new(Kind::Host, "program-unusable", message)
        .hint("install the nginx of your system, or leave `from` out: it is fetched then"))
}

/// The version in `opensearch-2.3.0.jar`.
fn opensearch_version(lib: &Utf8Path) -> Option<String> {
    let names = lib.read_dir_utf8().ok()?.flatten().map(|entry| entry.file_name().to_owned());
    let mut versions =
        names.filter_map(|name| Some(name.strip_prefix("opensearch-")?.strip_suffix(".jar")?.to_owned()));
    versions.find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// `2025-01-20T14-49-07Z` of `minio version RELEASE.2025-01-20T14-49-07Z (commit-id=…`.
fn minio_version(banner: &str) -> Option<String> {
    let word = banner.split_whitespace().nth(2)?;
    Some(word.split_once('.').map_or(word, |(_, time)| time).to_owned())
}

/// The first thing in a banner that looks like a version: `7.0.15` of `Redis server v=7.0.15 sha=…`.
fn version(banner: &str) -> Option<String> {
    let word = |word: &str| {
        let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = word.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(word.len());
        (word[..end].contains('.')).then(|| word[..end].to_owned())
    };
    banner.split_whitespace().find_map(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_banners() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(version(redis).as_deref(), Some("7.0.15"));
        assert_eq!(version("postgres (PostgreSQL) 15.20 (Debian 15.20-0)").as_deref(), Some("15.20"));
        assert_eq!(version("nothing"), None);
        let minio = "minio version RELEASE.2025-01-20T14-49-07Z (commit-id=1)\nRuntime: go1.23.5 linux/amd64";
        assert_eq!(minio_version(minio).as_deref(), Some("2025-01-20T14-49-07Z"));
    }

    #[test]
    fn an_nginx_without_tls_is_refused() {
        let banner = "nginx version: nginx/1.22.1\nTLS SNI support enabled\nconfigure arguments: --with-http_ssl_module";
        assert_eq!(version(banner).as_deref(), Some("1.22.1"));
        let failure = refuse_without_modules("/usr/sbin/nginx".into(), banner).unwrap_err();
        assert!(failure.message.contains("http_v2_module"), "{}", failure.message);
        refuse_without_modules("/n".into(), &format!("{banner} --with-http_v2_module")).unwrap();
    }

    #[test]
    fn what_is_not_installed_is_named_with_both_ways_out() {
        let failure = redis(&Host::default()).unwrap_err();
        assert_eq!(failure.code, "program-missing");
        assert_eq!(failure.hints.len(), 2);
    }
}
