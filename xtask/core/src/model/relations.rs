//! What values must not do to each other: ports that collide, profiles in circles, settings that are not the manifest's to set.
//!
//! Everything here is found out of resolved values; shapes of single values are `keys.rs`.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::problem::MOST;
use super::{Ecosystem, Origin, Problem, Service, Sourced, external, suggest};
use crate::catalog::{self, Kind};

/// So many services, and so many profiles, may a manifest have.
const MANY: usize = 200;

/// Entries of a table that nobody has written by hand: a slip in a generator, or an attack on whoever opens the folder.
pub(super) fn many<'a>(table: &str, mut origins: impl Iterator<Item = &'a Origin>) -> Option<Problem> {
    let first = origins.nth(MANY)?;
    let what = format!("{table} has {} entries, and at most {MANY} are read", MANY + 1 + origins.count());
    Some(Problem::at(first, what, "take out what is not needed"))
}

/// Checks the address that servers bind: a warning, nothing, or a problem.
pub(super) fn bind(bind: &Sourced<String>) -> Result<Option<Problem>, Problem> {
    match bind.value.parse::<IpAddr>() {
        // Not ::1 yet: RabbitMQ's distribution needs more than an address for that.
        Ok(address) if address.is_loopback() && address.is_ipv4() => Ok(None),
        Ok(address) if address.is_unspecified() && address.is_ipv4() => Ok(Some(Problem::at(
            &bind.origin,
            "bind = \"0.0.0.0\" opens every server to the network",
            "write bind = \"127.0.0.1\" unless others must reach them",
        ))),
        Ok(_) => Err(Problem::at(
            &bind.origin,
            format!("bind = \"{}\" is not an IPv4 loopback address", bind.value),
            "write \"127.0.0.1\"; \"0.0.0.0\" opens the servers to the network",
        )),
        Err(_) => Err(Problem::at(
            &bind.origin,
            format!("bind = \"{}\" is not an IP address", bind.value.escape_debug()),
            "write \"127.0.0.1\"",
        )),
    }
}

/// Two applications would work on the same database, queues and indices.
pub(super) fn applications(ecosystem: &Ecosystem) -> Vec<Problem> {
    let all = ecosystem.services.values().filter(|service| service.kind == Kind::Invenio);
    // The one of the release is there whether anybody names it or not.
    let others = all.filter(|service| service.name != Kind::Invenio.name());
    let problem = |service: &Service| {
        let origin = service.ports.values().map(|port| &port.origin).next();
        let what = format!(
            "services.{} is a second application, on the same database as services.invenio",
            service.name
        );
        Some(Problem::at(
            origin?,
            what,
            "call it services.invenio; a second one runs on a tenant, or in a checkout of its own",
        ))
    };
    others.filter_map(problem).collect()
}

/// Ports that two roles share, and ports that the offset moves out of range.
pub(super) fn ports(ecosystem: &Ecosystem, files: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut taken: BTreeMap<u16, (String, &Origin)> = BTreeMap::new();
    let mut highest: Option<(u16, String)> = None;
    // What a person wrote yields to nothing: of two equal ports the later written one is reported.
    let mut all: Vec<(&Sourced<u16>, String)> = ecosystem
        .services
        .values()
        .flat_map(|service| {
            service.ports.iter().map(|(role, port)| (port, format!("services.{}.ports.{role}", service.name)))
        })
        .collect();
    all.sort_by_key(|(port, _)| rank(&port.origin, files));
    for (port, name) in all {
        if highest.as_ref().is_none_or(|(high, _)| port.value > *high) {
            highest = Some((port.value, name.clone()));
        }
        match taken.get(&port.value) {
            None => {
                taken.insert(port.value, (name, &port.origin));
            }
            Some((owner, origin)) => problems.push(Problem::at(
                &port.origin,
                format!("{name} is {}, which is also {owner} ({origin})", port.value),
                format!("give {name} a port of its own"),
            )),
        }
    }
    let offset = &ecosystem.port_offset;
    if let Some((high, name)) = highest
        && high.checked_add(offset.value).is_none()
    {
        problems.push(Problem::at(
            &offset.origin,
            format!(
                "an offset of {} moves {name} from {high} to {}, and ports end at 65535",
                offset.value,
                u32::from(high) + u32::from(offset.value)
            ),
            format!("use an offset of at most {}", u16::MAX - high),
        ));
    }
    problems
}

/// Where a value stands in the order of the layers: release, files as they were given, flags.
pub(super) fn rank(origin: &Origin, files: &[String]) -> (usize, usize) {
    match origin {
        Origin::Release(_) => (0, 0),
        Origin::File { name, line } => (1 + files.iter().position(|file| file == name).unwrap_or(0), *line),
        Origin::Flag(_) => (1 + files.len(), 0),
    }
}

/// What one service must not say.
pub(super) fn service(service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in &service.settings {
        if catalog::is_reserved(service.kind, name) {
            problems.push(Problem::at(
                &value.origin,
                format!("services.{}.settings.{name} is not for a manifest to set", service.name),
                "take the line out; ports, bind and the place of the data have keys or flags of their own",
            ));
        }
    }
    let (plugins, jvm) =
        (matches!(service.kind, Kind::Rabbitmq | Kind::Opensearch), matches!(service.kind, Kind::Opensearch));
    if ["checkpoints", "control", "logs", "packs", "tenants", "tmp", "supervisor"]
        .contains(&service.name.as_str())
    {
        problems.push(Problem::at(
            service.ports.values().next().map_or(&service.from.origin, |port| &port.origin),
            format!("services.{0}: {0} is the name of something else in the state folder", service.name),
            "choose another name",
        ));
    }
    let listening =
        service.plugins.value.iter().filter(|plugin| catalog::listens_by_itself(service.kind, plugin));
    for plugin in listening {
        problems.push(Problem::at(
            &service.plugins.origin,
            format!(
                "services.{}.plugins: {plugin} listens on ports of its own, on every address",
                service.name
            ),
            "take it out; this version cannot put it on loopback",
        ));
    }
    if service.archive.is_some() {
        for (key, list) in [("plugins", &service.plugins), ("modules", &service.modules)] {
            if let Origin::File { .. } = list.origin {
                problems.push(Problem::at(
                    &list.origin,
                    format!(
                        "services.{}.{key} has no effect beside `get`: the archive has its own",
                        service.name
                    ),
                    "take one of the two out",
                ));
            }
        }
    }
    if service.external.is_some() {
        let main = external::scheme(service.kind).map(|(_, role, _)| role);
        let ports = service.ports.iter().filter(|(role, _)| Some(role.as_str()) == main);
        let said = [
            ("settings", service.settings.values().next().map(|setting| &setting.origin)),
            ("image", service.image.as_ref().map(|image| &image.origin)),
            ("from", Some(&service.from.origin)),
            ("get", service.archive.as_ref().map(|archive| &archive.url.origin)),
            ("plugins", Some(&service.plugins.origin)),
            ("modules", Some(&service.modules.origin)),
            ("heap", service.heap.as_ref().map(|heap| &heap.origin)),
            ("command", service.program.as_ref().map(|program| &program.command.origin)),
        ];
        let ports = ports.map(|(_, port)| ("ports", Some(&port.origin)));
        for (key, origin) in said.into_iter().chain(ports) {
            if let Some(origin @ Origin::File { .. }) = origin {
                problems.push(Problem::at(
                    origin,
                    format!(
                        "services.{}.{key} has no effect beside `external`: somebody else runs it",
                        service.name
                    ),
                    "take one of the two out",
                ));
            }
        }
    }
    if service.kind == Kind::Minio && service.program.is_some() {
        let said = [
            ("image", service.image.as_ref().map(|image| &image.origin)),
            ("from", Some(&service.from.origin)),
            ("via", Some(&service.backend.origin)),
        ];
        for (key, origin) in said {
            if let Some(origin @ Origin::File { .. }) = origin.filter(|_| service.external.is_none()) {
                let what =
                    format!("services.{}.{key} has no effect beside `command`, which is run", service.name);
                problems.push(Problem::at(origin, what, "take one of the two out"));
            }
        }
    }
    let mut unwanted = |key: &str, origin: Option<&Origin>| {
        if let Some(origin @ Origin::File { .. }) = origin {
            problems.push(Problem::at(
                origin,
                format!("services.{}.{key}: {} has no {key}", service.name, service.kind),
                "take the line out",
            ));
        }
    };
    if service.kind == Kind::Minio {
        unwanted("settings", service.settings.values().next().map(|setting| &setting.origin));
    } else {
        unwanted("buckets", Some(&service.buckets.origin));
    }
    if service.kind == Kind::Process {
        unwanted("settings", service.settings.values().next().map(|setting| &setting.origin));
        unwanted("image", service.image.as_ref().map(|image| &image.origin));
        unwanted("from", Some(&service.from.origin));
        unwanted("via", Some(&service.backend.origin));
    }
    if !plugins {
        unwanted("plugins", Some(&service.plugins.origin));
    }
    if !jvm {
        unwanted("modules", Some(&service.modules.origin));
        unwanted("heap", service.heap.as_ref().map(|heap| &heap.origin));
    }
    problems
}

type Profiles = BTreeMap<String, Sourced<Vec<String>>>;

/// Expands `@name`, with what is wrong on the way: unknown members and circles.
pub(super) fn profiles(
    profiles: &Profiles,
    services: &BTreeMap<String, Service>,
    refused: &BTreeSet<String>,
    files: &[String],
) -> (BTreeMap<String, Vec<String>>, Vec<Problem>) {
    let mut problems = Vec::new();
    for (profile, members) in profiles {
        for member in &members.value {
            if problems.len() < MOST {
                problems.extend(unknown(profile, member, &members.origin, profiles, services, refused));
            }
        }
    }
    let mut walk =
        Walk { profiles, services, path: Vec::new(), expanded: BTreeMap::new(), circles: BTreeSet::new() };
    for name in profiles.keys() {
        walk.expand(name);
    }
    let Walk { expanded, circles, .. } = walk;
    for circle in circles {
        // A circle belongs to the profile that closes it last, in the latest layer.
        let origin = circle
            .iter()
            .filter_map(|name| profiles.get(name))
            .map(|members| &members.origin)
            .max_by_key(|origin| rank(origin, files));
        let first = circle.first().cloned().unwrap_or_default();
        if let Some(origin) = origin {
            problems.push(Problem::at(
                origin,
                format!("the profiles {} → @{first} contain themselves", at_names(&circle)),
                "take one of the `@` names out",
            ));
        }
    }
    (expanded, problems)
}

fn at_names(names: &[String]) -> String {
    names.iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(" → ")
}

fn unknown(
    profile: &str,
    member: &str,
    origin: &Origin,
    profiles: &Profiles,
    services: &BTreeMap<String, Service>,
    refused: &BTreeSet<String>,
) -> Option<Problem> {
    let (what, way_out) = if let Some(other) = member.strip_prefix('@') {
        if profiles.contains_key(other) {
            return None;
        }
        let what = format!("profiles.{profile} names the unknown profile `@{other}`");
        (what, suggest::way_out(other, profiles.keys().map(String::as_str)))
    } else {
        if services.contains_key(member) || refused.contains(member) {
            return None;
        }
        let way_out = if profiles.contains_key(member) {
            format!("did you mean the profile `@{member}`?")
        } else {
            suggest::way_out(member, services.keys().map(String::as_str))
        };
        (format!("profiles.{profile} names the unknown service `{member}`"), way_out)
    };
    Some(Problem::at(origin, what, way_out))
}

/// Expands profiles, each of them once, however many others name it.
struct Walk<'a> {
    profiles: &'a Profiles,
    services: &'a BTreeMap<String, Service>,
    /// The profiles that are being expanded, outermost first.
    path: Vec<String>,
    expanded: BTreeMap<String, Vec<String>>,
    circles: BTreeSet<Vec<String>>,
}

impl Walk<'_> {
    /// Collects the members of a profile, each once, in the order in which they are named.
    fn expand(&mut self, name: &str) {
        if let Some(start) = self.path.iter().position(|seen| seen == name) {
            // Told from its first name in the alphabet, wherever it was entered.
            let mut circle = self.path[start..].to_vec();
            let first = circle.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(index, _)| index);
            circle.rotate_left(first);
            self.circles.insert(circle);
            return;
        }
        let (Some(named), false) = (self.profiles.get(name), self.expanded.contains_key(name)) else {
            return;
        };
        self.path.push(name.to_owned());
        let mut members: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        let services = self.services;
        let mut add = |members: &mut Vec<String>, service: &String| {
            if services.contains_key(service) && seen.insert(service.clone()) {
                members.push(service.clone());
            }
        };
        for member in &named.value {
            match member.strip_prefix('@') {
                Some(other) => {
                    self.expand(other);
                    for service in self.expanded.get(other).into_iter().flatten() {
                        add(&mut members, service);
                    }
                }
                None => add(&mut members, member),
            }
        }
        self.path.pop();
        self.expanded.insert(name.to_owned(), members);
    }
}
