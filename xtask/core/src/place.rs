//! Where one stack lives. Two checkouts, a test and a benchmark differ in their `Place` and in nothing else.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// Where a stack keeps its state, which ports it shifts to, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Short, unique name: cluster and node names are made from it, and identity is proven with it.
    pub id: String,
    /// The project folder: where `ecosystem.toml` is, or would be.
    pub root: Utf8PathBuf,
    /// The state folder of this project: data, configuration, logs, secrets. Mode 0700.
    pub state: Utf8PathBuf,
    /// The per-user store of servers, shared by all places.
    pub store: Utf8PathBuf,
    /// Added to every port of the manifest.
    pub offset: u16,
}

impl Place {
    /// A place in the folder `/p`, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(offset: u16) -> Self {
        Self { id: "x".into(), root: "/p".into(), state: "/p/.ecosystem".into(), store: "/s".into(), offset }
    }

    /// The folder of one service: its data, configuration and log live below it.
    pub fn service(&self, name: &str) -> Utf8PathBuf {
        self.state.join(name)
    }

    /// The log file of one process of a service.
    pub fn log(&self, service: &str, process: &str) -> Utf8PathBuf {
        self.state.join("logs").join(log_name(service, process))
    }

    /// The name under which servers of this place present themselves.
    pub fn identity(&self) -> String {
        format!("ecosystem-{}", self.id)
    }
}

/// `redis.log` for the only process of a service, `rabbitmq-epmd.log` otherwise.
fn log_name(service: &str, process: &str) -> String {
    if service == process { format!("{service}.log") } else { format!("{service}-{process}.log") }
}

/// The file in a state folder that tells what is remembered of containers.
pub const CONTAINERS: &str = "containers.toml";

/// What [`CONTAINERS`] says: which containers a place has started, what made the data in their volumes, and whose engine has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The id of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The services that were started and not removed since.
    #[serde(default)]
    pub services: BTreeSet<String>,
    /// What made the data of each service, as far as its image tells: `postgresql 12`.
    #[serde(default)]
    pub made_by: BTreeMap<String, String>,
}

/// How far apart the blocks of ports of two places are.
const BLOCK: u16 = 100;

/// The first of these offsets at which none of `ports`, to which nothing is added yet, is taken.
pub fn free_offset(
    ports: &BTreeSet<u16>,
    taken: &BTreeSet<u16>,
    mut offsets: impl Iterator<Item = u16>,
) -> Option<u16> {
    let free = |port: u16| !taken.contains(&port);
    offsets.find(|offset| ports.iter().all(|port| port.checked_add(*offset).is_some_and(free)))
}

/// The offsets of blocks: `from`, and the following ones in steps of a block.
pub fn blocks(from: u16) -> impl Iterator<Item = u16> {
    (from..u16::MAX).step_by(usize::from(BLOCK))
}

/// A place id: a readable part from the folder's name and a random part that tells two copies apart.
pub fn place_id(root: &Utf8Path, random: [u8; 3]) -> String {
    format!("{}-{:02x}{:02x}{:02x}", place_name(root), random[0], random[1], random[2])
}

/// The readable part. Only `a-z0-9` and inner dashes, at most 16 characters: it goes into names of nodes, clusters and containers.
pub fn place_name(root: &Utf8Path) -> String {
    let base: String = root
        .file_name()
        .unwrap_or("place")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let mut slug = base.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    slug.truncate(16);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "place".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
#[path = "place_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_readable_short_and_safe() {
        let id = |p: &str| place_id(Utf8Path::new(p), [1, 0xab, 0xff]);
        assert_eq!(id("/home/a/My Repository (2)"), "my-repository-2-01abff");
        assert_eq!(id("/"), "place-01abff");
        assert_eq!(id("/x/žluťoučký"), "lu-ou-k-01abff");
        assert_eq!(id("/x/$(rm -rf ~)"), "rm-rf-01abff");
        assert!(id(&format!("/x/{}", "a".repeat(250))).len() <= 24);
    }

    #[test]
    fn logs_are_named_after_the_process() {
        let place = Place {
            id: "x".into(),
            root: "/p".into(),
            state: "/p/.ecosystem".into(),
            store: "/s".into(),
            offset: 0,
        };
        assert_eq!(place.log("redis", "redis"), "/p/.ecosystem/logs/redis.log");
        assert_eq!(place.log("rabbitmq", "epmd"), "/p/.ecosystem/logs/rabbitmq-epmd.log");
    }

    #[test]
    fn an_offset_is_free_where_all_ports_are() {
        let ports = BTreeSet::from([5632, 6579]);
        let free = |taken: &[u16], from| free_offset(&ports, &taken.iter().copied().collect(), blocks(from));
        assert_eq!(free(&[], 0), Some(0));
        assert_eq!(free(&[5632, 6679, 6], 0), Some(200));
        assert_eq!(free(&[5732], 50), Some(50));
        // The next block is beyond the last port.
        assert_eq!(free(&[6579 + 58900], 58900), None);
    }
}
