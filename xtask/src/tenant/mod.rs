//! Tenants on the servers that run: made, looked at and deleted. What the names mean is `ecosystem_core::tenant`.
//!
//! A file for each tenant in the state folder says how far it is, before anything is made and until everything is deleted: what was
//! interrupted is finished by the next call. Databases and virtual hosts carry a mark, and what carries none is somebody else's.

mod registry;
mod stores;

use std::collections::{BTreeMap, BTreeSet};

use ecosystem_core::catalog::Kind as Service;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::tenant::{Entry, Step, endpoint, endpoints, holds, is_test, overlapping};

pub use registry::{Hold, entries, forget, hold, read, release};
pub use stores::{Part, lacks};

use self::stores::Of;
use crate::client::postgresql::Admin;
use crate::sys::parallel;

/// The servers of a place that hold tenants, by name of service.
pub type Servers = BTreeMap<String, Endpoint>;

/// Those of these servers that can hold tenants, and why others cannot.
pub fn servers(running: &BTreeMap<String, Endpoint>) -> (Servers, BTreeMap<String, String>) {
    let (mut can, mut cannot) = (Servers::new(), BTreeMap::new());
    for (service, endpoint) in running.iter().filter(|(_, endpoint)| holds(endpoint.kind)) {
        match lacks(endpoint) {
            None => drop(can.insert(service.clone(), endpoint.clone())),
            Some(reason) => drop(cannot.insert(service.clone(), reason.to_owned())),
        }
    }
    (can, cannot)
}

/// What there is of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is remembered of it; nothing where its servers have come back from an older time.
    pub entry: Option<Entry>,
    /// By service, of those that run.
    pub parts: BTreeMap<String, Part>,
}

/// Every tenant that is remembered, or that a server of ours still has.
pub fn look(place: &Place, servers: &Servers) -> anyhow::Result<BTreeMap<String, Found>> {
    let mut all: BTreeMap<String, Found> = registry::entries(place)?
        .into_iter()
        .map(|(name, entry)| (name, Found { entry: Some(entry), parts: BTreeMap::new() }))
        .collect();
    for (service, looked) in each(servers, |_, main| stores::tenants(main, place))? {
        for name in looked {
            let found = all.entry(name).or_insert_with(|| Found { entry: None, parts: BTreeMap::new() });
            found.parts.insert(service.clone(), Part::There);
        }
    }
    for found in all.values_mut() {
        let Some(entry) = &found.entry else { continue };
        for (service, main) in servers.iter().filter(|(service, _)| entry.services.contains(*service)) {
            found.parts.entry(service.clone()).or_insert_with(|| stores::implied(main));
        }
    }
    Ok(all)
}

/// Makes a tenant on these servers, or what is missing of it. The caller holds the lock.
pub fn create(place: &Place, servers: &Servers, name: &str, temporary: bool) -> anyhow::Result<Entry> {
    let known = registry::entries(place)?;
    if let Some(other) = overlapping(name, known.keys().map(String::as_str)) {
        let message = format!(
            "indices of a tenant {name} would be taken for those of the tenant {other}, or the other way round"
        );
        return Err(Failure::new(Kind::Usage, "tenant-overlaps", message)
            .hint("choose a name of which neither begins with the other and a hyphen")
            .into());
    }
    let deleting = known.get(name).filter(|entry| entry.step == Step::Deleting);
    if deleting.is_some() {
        let left = delete(place, servers, name)?;
        refuse_left(name, &left)?;
    }
    let fresh = Entry { step: Step::Making, services: BTreeSet::new(), redis: None, temporary };
    let mut entry = known.get(name).filter(|_| deleting.is_none()).cloned().unwrap_or(fresh);
    // Whose what is there is, is asked before it is remembered that it may be ours.
    let new = |service: &String| !entry.services.contains(service);
    let strangers: Servers = servers
        .iter()
        .filter(|(service, _)| new(service))
        .map(|(service, main)| (service.clone(), main.clone()))
        .collect();
    let foreign: Vec<String> = each(&strangers, |_, main| stores::foreign(main, place, name, entry.redis))?
        .into_values()
        .flatten()
        .collect();
    if !foreign.is_empty() {
        let message = format!("a tenant {name} cannot be made: {}", foreign.join("; "));
        return Err(Failure::new(Kind::Data, "tenant-foreign", message)
            .hint("choose another name, or remove it yourself")
            .into());
    }
    if entry.redis.is_none() && servers.values().any(|main| main.kind == Service::Redis) {
        let taken = known.values().filter_map(|entry| entry.redis).collect();
        entry.redis = Some(stores::block(servers, &taken)?);
    }
    let more = !strangers.is_empty() || entry.step != Step::Ready;
    entry.services.extend(servers.keys().cloned());
    if more {
        entry.step = Step::Making;
        registry::write(place, name, &entry)?;
    }
    // Of one that is ready as well: an older time of its server may have come back, without it.
    each(servers, |_, main| stores::make(main, &endpoint(main, name, entry.redis), place, name, more))?;
    if more {
        entry.step = Step::Ready;
        registry::write(place, name, &entry)?;
    }
    Ok(entry)
}

/// Deletes a tenant from these servers. What is returned are the services that do not run: the next call deletes it there. The caller
/// holds the lock.
pub fn delete(place: &Place, servers: &Servers, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut entry = registry::read(place, name)?;
    // Until it is ready its database may be there without a mark.
    let unmarked = entry.as_ref().is_some_and(|entry| entry.step != Step::Ready);
    if let Some(entry) = &mut entry {
        entry.step = Step::Deleting;
        registry::write(place, name, entry)?;
    }
    let first = entry.as_ref().and_then(|entry| entry.redis);
    each(servers, |service, main| {
        let own = endpoint(main, name, first);
        match &entry {
            Some(entry) if entry.services.contains(service) => {
                stores::remove(main, &own, place, name, if unmarked { Of::Name } else { Of::Mark })
            }
            // Indices whose names begin so may be anybody's, but where nobody else would have thought of the name.
            None if is_test(name) => stores::remove(main, &own, place, name, Of::Mark),
            _ => stores::remove_marked(main, &own, place, name, Of::Mark),
        }
    })?;
    let Some(mut entry) = entry else { return Ok(BTreeSet::new()) };
    entry.services.retain(|service| !servers.contains_key(service));
    if entry.services.is_empty() {
        registry::remove(place, name)?;
    } else {
        registry::write(place, name, &entry)?;
    }
    Ok(entry.services)
}

/// Fails where a tenant could not be deleted everywhere.
pub fn refuse_left(name: &str, left: &BTreeSet<String>) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    let names = left.iter().map(String::as_str).collect::<Vec<_>>();
    let message = format!("the tenant {name} is still in {}, which cannot be asked now", names.join(", "));
    Err(Failure::new(Kind::Service, "tenant-left", message)
        .hint(format!("{{program}} up {}, then once more", names.join(" "))))
}

/// Tenants of `test` whose command was killed: nobody holds them any more.
pub fn abandoned(place: &Place, all: &BTreeMap<String, Found>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, found) in all {
        let temporary = match &found.entry {
            Some(entry) => entry.temporary,
            // Its server has come back from an older time; whoever it was made for holds a file of it.
            None => is_test(name),
        };
        if temporary && !registry::is_held(place, name)? {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Fails where somebody is at work on a tenant: a `test` that goes on, or a program that is connected to its database. `doing` would stop its
/// servers.
pub fn refuse_used(place: &Place, servers: &Servers, doing: &str) -> anyhow::Result<()> {
    let mut used = Vec::new();
    for (name, entry) in registry::entries(place)? {
        let connected = || {
            let own = endpoints(servers, &name, &entry);
            let databases = own.values().filter(|own| own.kind == Service::Postgresql);
            // One that cannot be asked has nobody who would miss it.
            databases
                .filter_map(|own| Admin::open(own).ok()?.connected(own.database.as_deref()?).ok())
                .sum::<u64>()
        };
        if registry::is_held(place, &name)? {
            used.push(format!("{name}: a command runs on it"));
        } else if let connections @ 1.. = connected() {
            used.push(format!("{name}: {connections} connections to its database"));
        }
    }
    if used.is_empty() {
        return Ok(());
    }
    let message = format!("{doing} stops the servers, and tenants are in use\n  {}", used.join("\n  "));
    Err(Failure::new(Kind::Data, "tenant-in-use", message)
        .hint("wait until those have ended, or end them")
        .into())
}

/// Asks all servers at once. Of several errors the first is told.
fn each<T: Send>(
    servers: &Servers,
    work: impl Fn(&str, &Endpoint) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<BTreeMap<String, T>> {
    let all: Vec<(&String, &Endpoint)> = servers.iter().collect();
    let results = parallel::map(&all, |(service, main)| ((*service).clone(), work(service, main)));
    results.into_iter().map(|(service, result)| Ok((service, result?))).collect()
}
