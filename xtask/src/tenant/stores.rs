//! The part of a tenant in each kind of server.

use std::collections::{BTreeMap, BTreeSet};

use ecosystem_core::catalog::Kind as Service;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::tenant::{
    REDIS_BLOCK, block as block_from, bucket, database, free_block, mark, marked, prefix,
};
use serde::Serialize;

use super::Servers;
use crate::client::opensearch::Search;
use crate::client::postgresql::Admin;
use crate::client::rabbitmq::{MANAGEMENT, Management};
use crate::client::redis::Databases;
use crate::client::s3::Store;

/// What a server has of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    There,
    Missing,
}

/// Why a server cannot hold tenants.
pub fn lacks(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.kind {
        Service::Rabbitmq if !endpoint.ports.contains_key(MANAGEMENT) => {
            Some("no port of its management API is known, and virtual hosts are made there")
        }
        Service::Minio if endpoint.storage.buckets.is_empty() => {
            Some("the manifest names no `buckets` of it")
        }
        _ => None,
    }
}

/// The tenants of this place that a server knows of by itself.
pub(super) fn tenants(main: &Endpoint, place: &Place) -> anyhow::Result<Vec<String>> {
    let marks = match main.kind {
        Service::Postgresql => Admin::open(main)?.databases()?,
        Service::Rabbitmq => Management::open(main)?.vhosts()?,
        Service::Minio => {
            let store = Store::open(main)?;
            let names = store.buckets()?;
            // Whatever else is in there, the tenants' begin with the names of ours.
            let beside = |name: &&String| {
                main.storage.buckets.iter().any(|main| name.starts_with(&format!("{main}-")))
            };
            let read = |name: &String| Ok((name.clone(), store.mark(name)?.unwrap_or_default()));
            names.iter().filter(beside).map(read).collect::<anyhow::Result<_>>()?
        }
        _ => BTreeMap::new(),
    };
    Ok(marks.values().filter_map(|mark| marked(&place.id, mark)).map(ToOwned::to_owned).collect())
}

/// What a server has that does not know of its tenants.
pub(super) fn implied(main: &Endpoint) -> Part {
    match main.kind {
        Service::Postgresql | Service::Rabbitmq | Service::Minio => Part::Missing,
        _ => Part::There,
    }
}

/// What stands where a new tenant would be, and is none of ours.
pub(super) fn foreign(
    main: &Endpoint,
    place: &Place,
    name: &str,
    redis: Option<u32>,
) -> anyhow::Result<Option<String>> {
    let ours = |mark: &str| marked(&place.id, mark) == Some(name);
    Ok(match main.kind {
        Service::Postgresql => {
            let wanted = database(main.database.as_deref().unwrap_or_default(), name);
            let found = Admin::open(main)?.databases()?;
            found
                .get(&wanted)
                .filter(|mark| !ours(mark))
                .map(|_| format!("PostgreSQL has a database {wanted} already"))
        }
        Service::Rabbitmq => {
            let found = Management::open(main)?.vhosts()?;
            found
                .get(name)
                .filter(|mark| !ours(mark))
                .map(|_| format!("RabbitMQ has a virtual host {name} already"))
        }
        Service::Opensearch => {
            let prefix = prefix(name);
            let search = Search::open(main)?;
            let found = search.all()?.into_keys().find(|index| index.starts_with(&prefix));
            let templates = search.templates()?;
            let mut names = templates.kinds().into_iter().flat_map(|(_, templates)| templates.keys());
            let template = names.find(|template| template.starts_with(&prefix));
            found
                .map(|index| format!("OpenSearch has an index {index} already"))
                .or_else(|| template.map(|name| format!("OpenSearch has a template {name} already")))
        }
        Service::Minio => {
            let store = Store::open(main)?;
            let names = store.buckets()?;
            let mut found = None;
            for wanted in main.storage.buckets.iter().map(|main| bucket(main, name)) {
                if names.contains(&wanted) && !ours(&store.mark(&wanted)?.unwrap_or_default()) {
                    found.get_or_insert(format!("MinIO has a bucket {wanted} already"));
                }
            }
            found
        }
        // One that is free in all of them is looked for, unless it has its databases in another one already.
        Service::Redis => match redis {
            Some(first) => {
                let used = Databases::open(main)?.keys()?.range(block_from(first)).next().is_some();
                used.then(|| format!("Redis has keys in its databases from {first} on"))
            }
            None => None,
        },
        _ => None,
    })
}

/// The first database of a block that is free in every Redis.
pub(super) fn block(servers: &Servers, taken: &BTreeSet<u32>) -> anyhow::Result<u32> {
    let (mut total, mut used) = (u32::MAX, BTreeSet::new());
    for main in servers.values().filter(|main| main.kind == Service::Redis) {
        let mut databases = Databases::open(main)?;
        total = total.min(databases.total()?);
        used.extend(databases.keys()?.into_keys());
    }
    free_block(total, taken, &used).map_or_else(
        || {
            let message = format!(
                "Redis has {total} databases, and no {REDIS_BLOCK} that follow each other and are free"
            );
            Err(Failure::new(Kind::Service, "redis-full", message)
                .hint("delete a tenant: {program} tenant list")
                .hint("more databases: `services.redis.settings.databases = 128` and a restart; a Redis of this program that was started before it knew tenants gets them by {program} restart redis")
                .into())
        },
        Ok,
    )
}

/// By what a database or virtual host is known to be a tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// By its mark alone.
    Mark,
    /// By its name as well, where it has no mark: whoever made it was interrupted before it could be marked.
    Name,
}

/// Makes the part of a tenant; what is there stays as it is. `own` is how to reach it, `main` how to reach its server.
pub(super) fn make(
    main: &Endpoint,
    own: &Endpoint,
    place: &Place,
    name: &str,
    fresh: bool,
) -> anyhow::Result<()> {
    let (wanted, mark) = (own.database.as_deref().unwrap_or_default(), mark(&place.id, name));
    match main.kind {
        Service::Postgresql => {
            let mut admin = Admin::open(main)?;
            match admin.databases()?.get(wanted) {
                None => admin.create(wanted, None, &mark),
                Some(found) if found.is_empty() && fresh => admin.comment(wanted, &mark),
                Some(_) => Ok(()),
            }
        }
        Service::Rabbitmq => Management::open(own)?.make(own.user.as_deref().unwrap_or("guest"), &mark),
        Service::Minio => {
            let store = Store::open(own)?;
            for bucket in &own.storage.buckets {
                let there = store.list(bucket, None)?.is_some();
                if !there {
                    store.create(bucket)?;
                }
                if (!there || fresh) && store.mark(bucket)?.is_none() {
                    store.set_mark(bucket, &mark)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Removes the part of a tenant, and nothing else.
pub(super) fn remove(
    main: &Endpoint,
    own: &Endpoint,
    place: &Place,
    name: &str,
    of: Of,
) -> anyhow::Result<()> {
    match main.kind {
        Service::Opensearch => {
            let search = Search::open(main)?;
            let prefix = prefix(name);
            let mut indices: Vec<String> = search.all()?.into_keys().collect();
            indices.retain(|index| index.starts_with(&prefix));
            search.remove(&indices)?;
            search.remove_templates(&prefix)
        }
        // One whose databases nobody remembers has none that could be told from others.
        Service::Redis => match own.database.as_deref().unwrap_or_default().parse() {
            Ok(first) => Databases::open(main)?.empty(block_from(first)),
            Err(_) => Ok(()),
        },
        _ => remove_marked(main, own, place, name, of),
    }
}

/// Removes what says of itself that it is the tenant's.
pub(super) fn remove_marked(
    main: &Endpoint,
    own: &Endpoint,
    place: &Place,
    name: &str,
    of: Of,
) -> anyhow::Result<()> {
    let wanted = own.database.as_deref().unwrap_or_default();
    let ours = |mark: &String| marked(&place.id, mark) == Some(name) || (of == Of::Name && mark.is_empty());
    match main.kind {
        Service::Postgresql => {
            let mut admin = Admin::open(main)?;
            if admin.databases()?.get(wanted).is_some_and(ours) {
                admin.drop(wanted)?;
            }
        }
        Service::Rabbitmq => {
            let management = Management::open(own)?;
            if management.vhosts()?.get(wanted).is_some_and(ours) {
                management.remove()?;
            }
        }
        Service::Minio => {
            let store = Store::open(own)?;
            for bucket in &own.storage.buckets {
                let there = store.list(bucket, None)?.is_some();
                if there && ours(&store.mark(bucket)?.unwrap_or_default()) {
                    store.remove(bucket)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
