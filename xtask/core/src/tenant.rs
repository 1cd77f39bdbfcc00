//! Tenants: further logical instances on the servers that run. Names, marks and what belongs to whom; making them is `xtask/src/tenant`.
//!
//! A tenant is a database in PostgreSQL, a virtual host in RabbitMQ, a prefix of indices in OpenSearch, five databases in Redis and, in an object
//! store, a bucket beside each one of the manifest.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::artifact::Key;
use crate::catalog::Kind;
use crate::endpoint::Endpoint;
use crate::failure::{self, Failure};
use crate::model::is_name;
use crate::place::Place;

/// How many databases of Redis an instance of Invenio uses: cache, sessions, results, rate limits, identities. The main one has the first.
pub const REDIS_BLOCK: u32 = 5;

/// How many databases a Redis of ours has; they cost next to nothing.
pub const REDIS_DATABASES: u32 = 128;

/// The prefix of the main instance's indices.
pub const MAIN_PREFIX: &str = "invenio-";

/// The longest name: it becomes part of the name of a database, which has 63 characters at most.
const MAX_NAME: usize = 40;

/// The longest name of a database.
const MAX_DATABASE: usize = 63;

/// How names of tenants begin that `test` makes.
const TEST: &str = "test-";

/// The folder with a file for each tenant.
pub fn folder(place: &Place) -> Utf8PathBuf {
    place.state.join("tenants")
}

/// What is remembered of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub step: Step,
    /// The services that it has a part in, from the moment on when that may be.
    pub services: BTreeSet<String>,
    /// The first of its databases in Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<u32>,
    /// Made for one command: deleted with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
}

/// How far a tenant is. What was interrupted is finished by the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Making,
    Ready,
    Deleting,
}

/// Whether servers of this kind can hold tenants.
pub const fn holds(kind: Kind) -> bool {
    matches!(kind, Kind::Postgresql | Kind::Redis | Kind::Rabbitmq | Kind::Opensearch | Kind::Minio)
}

/// Whether a person may give this name to a tenant.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let refused = |why: &str| {
        let message = format!("`{}` cannot be the name of a tenant: {why}", name.escape_debug());
        Err(Failure::new(failure::Kind::Usage, "tenant-name", message)
            .hint(format!("small letters, digits and hyphens, a letter first, at most {MAX_NAME}: review")))
    };
    if !is_name(name) || name.ends_with('-') {
        return refused("it is none");
    }
    if name.len() > MAX_NAME {
        return refused("it is too long");
    }
    if prefix(name).starts_with(MAIN_PREFIX) {
        return refused(&format!("its indices would be among those of the main instance, {MAIN_PREFIX}*"));
    }
    if prefix(name).starts_with(TEST) {
        return refused("such names are those of tenants that `test` makes");
    }
    Ok(())
}

/// The first of these names whose indices a wildcard of this tenant would cover, or the other way round.
pub fn overlapping<'a>(name: &str, others: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let own = prefix(name);
    others.into_iter().find(|other| {
        let theirs = prefix(other);
        *other != name && (theirs.starts_with(&own) || own.starts_with(&theirs))
    })
}

/// A name that no other tenant has, and whose prefix covers no other.
pub fn test_name(pid: u32, random: [u8; 3]) -> String {
    format!("{TEST}{pid}-{:02x}{:02x}{:02x}", random[0], random[1], random[2])
}

/// Whether it is a name that `test` makes.
pub fn is_test(name: &str) -> bool {
    name.starts_with(TEST) && is_name(name)
}

/// How the names of a tenant's indices begin.
pub fn prefix(name: &str) -> String {
    format!("{name}-")
}

/// Whether an index, or a template of indices, is of one of these tenants.
pub fn is_of_any(name: &str, tenants: &BTreeSet<String>) -> bool {
    tenants.iter().any(|tenant| name.starts_with(&prefix(tenant)))
}

/// The database of a tenant beside this one. Without hyphens, so that nobody has to quote it.
pub fn database(main: &str, name: &str) -> String {
    let whole = format!("{main}_{}", name.replace('-', "_"));
    if whole.len() <= MAX_DATABASE { whole } else { format!("tenant_{}", Key::of([main, name])) }
}

/// The bucket of a tenant beside this one.
pub fn bucket(main: &str, name: &str) -> String {
    let whole = format!("{main}-{name}");
    if whole.len() <= MAX_DATABASE {
        whole
    } else {
        format!("{}-{}", &main[..main.len().min(40)], Key::of([main, name]))
    }
}

/// What stands at a database, a bucket and a virtual host, so that it is known whose they are.
pub fn mark(place: &str, name: &str) -> String {
    format!("{MARK}tenant {name} of {place}")
}

/// How every mark of ours begins.
pub const MARK: &str = "ecosystem: ";

/// The tenant of this place that a mark names.
pub fn marked<'a>(place: &str, mark: &'a str) -> Option<&'a str> {
    let (name, of) = mark.strip_prefix(MARK)?.strip_prefix("tenant ")?.split_once(" of ")?;
    (of == place && is_name(name)).then_some(name)
}

/// How to reach a tenant, where its server is reached so.
pub fn endpoint(main: &Endpoint, name: &str, redis: Option<u32>) -> Endpoint {
    let database = match main.kind {
        Kind::Postgresql => Some(database(main.database.as_deref().unwrap_or_default(), name)),
        Kind::Rabbitmq | Kind::Minio => Some(name.to_owned()),
        Kind::Opensearch => Some(prefix(name)),
        Kind::Redis => redis.map(|first| first.to_string()),
        _ => main.database.clone(),
    };
    Endpoint { database, ..main.clone() }
}

/// The same for all services that a tenant has a part in.
pub fn endpoints(main: &BTreeMap<String, Endpoint>, name: &str, entry: &Entry) -> BTreeMap<String, Endpoint> {
    let own = main.iter().filter(|(service, _)| entry.services.contains(*service));
    own.map(|(service, main)| (service.clone(), endpoint(main, name, entry.redis))).collect()
}

/// What a tenant has of a server, for people.
pub fn described(own: &Endpoint) -> String {
    let what = own.database.as_deref().unwrap_or_default();
    match own.kind {
        Kind::Postgresql => format!("database {what}"),
        Kind::Rabbitmq => format!("virtual host {what}"),
        Kind::Opensearch => format!("indices {what}*"),
        Kind::Minio => {
            let buckets: Vec<String> = own.storage.buckets.iter().map(|main| bucket(main, what)).collect();
            format!("bucket {}", buckets.join(", "))
        }
        Kind::Redis => match what.parse::<u32>() {
            Ok(first) => format!("databases {first} to {}", first + REDIS_BLOCK - 1),
            Err(_) => "no database".to_owned(),
        },
        _ => String::new(),
    }
}

/// The databases of Redis from `first` on that belong together.
pub fn block(first: u32) -> std::ops::Range<u32> {
    first..first + REDIS_BLOCK
}

/// The first block of databases that nobody has been given and that holds nothing: what is in there is somebody's.
pub fn free_block(total: u32, taken: &BTreeSet<u32>, used: &BTreeSet<u32>) -> Option<u32> {
    let blocks = (1..).map(|number| number * REDIS_BLOCK).take_while(|first| first + REDIS_BLOCK <= total);
    let mut free =
        blocks.filter(|first| !taken.contains(first) && used.range(block(*first)).next().is_none());
    free.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_reach_into_other_indices_are_refused() {
        let why = |name: &str| check_name(name).map_err(|failure| failure.message).unwrap_err();
        assert_eq!(check_name("review"), Ok(()));
        assert_eq!(check_name("invenios"), Ok(()));
        for (name, part) in [
            ("invenio", "main instance"),
            ("invenio-x", "main instance"),
            ("test", "`test` makes"),
            ("test-1", "`test` makes"),
            ("Review", "it is none"),
            ("a-", "it is none"),
            ("a*", "it is none"),
            ("", "it is none"),
            (&"a".repeat(41), "too long"),
        ] {
            assert!(why(name).contains(part), "{name}: {}", why(name));
        }
    }

    #[test]
    fn no_wildcard_of_a_tenant_covers_another() {
        assert_eq!(overlapping("a", ["b", "a-b"]), Some("a-b"));
        assert_eq!(overlapping("a-b", ["b", "a"]), Some("a"));
        assert_eq!(overlapping("a", ["a", "ab", "b"]), None);
        let (one, other) = (test_name(12, [0, 1, 255]), test_name(12, [0, 1, 254]));
        assert_eq!(one, "test-12-0001ff");
        assert_eq!(overlapping(&one, [other.as_str(), "test-1-000000"]), None);
    }

    #[test]
    fn databases_need_no_quotes_and_fit() {
        assert_eq!(database("invenio", "my-review"), "invenio_my_review");
        assert_eq!(database(&"x".repeat(60), "review").len(), "tenant_".len() + 16);
        assert_eq!(bucket("default", "my-review"), "default-my-review");
        assert_eq!(bucket(&"x".repeat(60), "review").len(), 40 + 1 + 16);
    }

    #[test]
    fn a_mark_names_the_tenant_of_its_place_alone() {
        let text = mark("repo-1", "review");
        assert_eq!(marked("repo-1", &text), Some("review"));
        assert_eq!(marked("repo-2", &text), None);
        for text in ["", "a comment", "ecosystem: baseline x", "ecosystem: tenant A of repo-1"] {
            assert_eq!(marked("repo-1", text), None, "{text}");
        }
    }

    #[test]
    fn a_block_of_redis_that_holds_anything_is_not_given_away() {
        let free = |total, taken: &[u32], used: &[u32]| {
            free_block(total, &taken.iter().copied().collect(), &used.iter().copied().collect())
        };
        assert_eq!(free(16, &[], &[0, 4]), Some(5));
        assert_eq!(free(16, &[5], &[]), Some(10));
        assert_eq!(free(16, &[5], &[14]), None);
        assert_eq!(free(128, &[5], &[10, 19]), Some(20));
        assert_eq!(free(9, &[], &[]), None);
    }
}
