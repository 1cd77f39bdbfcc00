//! Servers that are run from an archive of whoever makes them: OpenSearch Dashboards and OpenSearch. Unpacked as they are, and looked at once.

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::{Facts, Installed, Key};
use ecosystem_core::catalog::Kind as ServiceKind;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Archive, Format, Sum};

use super::debian::probe;
use super::download::Download;
use super::host::Host;
use super::on_path;
use super::store::{Built, Id, Source, Store};
use super::tree::folders;
use super::unpack::unpack;
use crate::event::{Events, Section, Task, Unit};
use crate::sys;

/// What of Dashboards needs the security plugin of the server, which is off.
const SECURITY: &str = "plugins/securityDashboards";

/// A server and the archive that it is run from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distribution {
    kind: ServiceKind,
    archive: Archive,
}

impl Distribution {
    pub(super) fn of(kind: ServiceKind, archive: &Archive) -> Self {
        Self { kind, archive: archive.clone() }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(super) fn url(&self) -> &str {
        &self.archive.url.value
    }

    /// Depends on its bytes alone, wherever they come from.
    pub(super) fn id(&self) -> Id {
        let version = version_in(self.url()).unwrap_or("archive").to_owned();
        let key = Key::of(["archive", "1", self.name(), self.archive.sum.digits()]);
        Id { name: self.name().to_owned(), version, key }
    }

    /// Whether it can be had without a network.
    pub(super) fn is_at_hand(&self, store: &Store, host: &Host) -> bool {
        Download::new(&self.archive, store, host).is_at_hand()
    }

    /// Fetches and unpacks it where it is not there yet.
    pub(super) fn install(
        &self,
        store: &Store,
        host: &Host,
        events: &dyn Events,
    ) -> anyhow::Result<Installed> {
        let id = self.id();
        let made = store.ensure(&id, events, |folder| {
            let download = Download::new(&self.archive, store, host);
            let file = download.get(events)?;
            let task = Task::start(events, Section::Build, format!("{} {}", self.name(), id.version));
            let size = std::fs::metadata(&file).map(|meta| meta.len()).ok();
            let Some(format) = Format::of(self.url()) else {
                return Err(self.unknown("its name tells no format").into());
            };
            let unpacked = unpack(&file, format, folder, self.url(), |done| {
                task.progress(done, size, Unit::Bytes);
            });
            let facts = unpacked.and_then(|()| self.inspect(folder));
            sys::interrupt::check()?;
            // What has failed on this machine may succeed later, what is wrong with the archive stays wrong.
            if facts.as_ref().map_or_else(anyhow::Error::is::<Failure>, |_| true) {
                download.forget()?;
            }
            let facts = facts?;
            task.finish("");
            let sha256 = match &self.archive.sum {
                Sum::Sha256(digits) => digits.clone(),
                Sum::Sha512(_) => String::new(),
            };
            let sources = vec![Source { name: self.url().to_owned(), sha256 }];
            Ok(Built { facts, sources, ..Built::default() })
        })?;
        Ok(made)
    }

    /// What it is, in the words of the catalog.
    fn inspect(&self, folder: &Utf8Path) -> anyhow::Result<Facts> {
        // Most archives hold one folder with all of it.
        let mut homes = folders(folder)?;
        homes.insert(0, folder.to_owned());
        if self.kind == ServiceKind::Opensearch {
            let home = homes.iter().find(|home| on_path::is_opensearch(home));
            let home = home.ok_or_else(|| self.unknown("it has no lib and modules folders"))?;
            return Ok(Facts { paths: on_path::opensearch_paths(home), ..Facts::default() });
        }
        let program = |home: &Utf8Path| home.join("bin/opensearch-dashboards");
        let home = homes.iter().find(|home| program(home).is_file());
        let home = home.ok_or_else(|| self.unknown("it has no bin/opensearch-dashboards"))?;
        // As the official image does it. Its settings must not be named afterwards.
        match std::fs::remove_dir_all(home.join(SECURITY)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        its_node_runs(home)?;
        let paths = [("home", home.clone()), ("program", program(home))];
        let paths = paths.map(|(role, path)| (role.to_owned(), path)).into();
        Ok(Facts { paths, ..Facts::default() })
    }

    fn unknown(&self, why: &str) -> Failure {
        let (url, origin) = (self.url(), &self.archive.url.origin);
        let message = format!("{url} ({origin}) is no {}: {why}", self.kind);
        Failure::new(Kind::Manifest, "archive-unknown", message)
            .hint("name the archive that its makers publish for this system and processor")
    }
}

/// Archives bring a Node of their own, for one system and processor; some a second one for older C libraries.
fn its_node_runs(home: &Utf8Path) -> anyhow::Result<()> {
    let nodes: Vec<Utf8PathBuf> = ["node/bin/node", "node/fallback/bin/node"]
        .iter()
        .map(|node| home.join(node))
        .filter(|node| node.is_file())
        .collect();
    let mut first = None;
    for node in &nodes {
        match probe(node, &["--version"], &[], "the Node of OpenSearch Dashboards") {
            Ok(_) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), Err)
}

/// What its own description says.
pub(super) fn dashboards_version(home: &Utf8Path) -> Option<String> {
    let text = sys::fs::read_at_most(&home.join("package.json"), 1 << 20).ok()??;
    let described: serde_json::Value = serde_json::from_str(&text).ok()?;
    described["version"].as_str().map(ToOwned::to_owned)
}

/// `2.3.0` of `https://…/opensearch-dashboards-2.3.0-linux-x64.tar.gz`. Known before anything is fetched, as every name in the store has to be.
fn version_in(url: &str) -> Option<&str> {
    let name = url.split(['?', '#']).next()?.rsplit('/').next()?;
    let endings = [".tar.gz", ".tgz", ".tar.xz", ".txz", ".zip"];
    let name = endings.iter().find_map(|ending| name.strip_suffix(ending))?;
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.contains('.')
            && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    name.split('-').find(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_name_where_it_stands_there() {
        let url = "https://h/bundle/2.3.0/opensearch-dashboards-2.3.0-linux-x64.tar.gz";
        assert_eq!(version_in(url), Some("2.3.0"));
        assert_eq!(version_in("file:///a/dashboards-2.0.tgz"), Some("2.0"));
        assert_eq!(version_in("https://h/1.0/dashboards.tar.gz?v=2.0"), None);
    }
}
