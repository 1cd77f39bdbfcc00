//! Which services of a Compose file become services of a manifest, under which names, on which ports, and in which profiles.

use std::collections::{BTreeMap, BTreeSet};

use super::Taken;
use super::left::{Left, Reason, Rest, plain};
use super::values::values;
use crate::catalog::Kind;
use crate::host::compose_file::{Described, Known, Service, known, roles};
use crate::model::{Ecosystem, Service as Default};

/// What becomes of the services of Compose files.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) services: Vec<Taken>,
    /// Profiles that the manifest has to define.
    pub(super) profiles: Vec<(&'static str, Vec<String>)>,
    /// Services that are not in the files and whose ports had to make way, with the line that says so.
    pub(super) moved: Vec<(String, String)>,
    pub(super) left_out: Vec<Left>,
}

/// A service on its way.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) service: &'a Service,
    pub(super) known: Known<'a>,
    /// Its name here.
    pub(super) name: String,
    /// What the release says of its kind.
    pub(super) release: &'a Default,
    /// Ports that the file says, by role.
    pub(super) wanted: BTreeMap<&'static str, u16>,
    pub(super) notes: Vec<String>,
}

/// So many services beside the first one of each kind are taken over.
const MANY: usize = 20;

pub(super) fn adopt(ecosystem: &Ecosystem, described: &Described) -> Adopted {
    let mut rest = Rest::default();
    for (at, what) in &described.unread {
        rest.push(Reason::Unread, at, what);
    }
    let mut drafts = choose(ecosystem, described, &mut rest);
    for draft in &mut drafts {
        ports(draft, &mut rest);
    }
    let assigned = assign(ecosystem, &drafts);
    let of = |name: &str| assigned.get(name).cloned().unwrap_or_default();
    let mut services = Vec::new();
    for draft in &mut drafts {
        let ports = of(&draft.name);
        let mut lines = Vec::new();
        if draft.name != draft.known.kind.name() {
            lines.push(format!("kind = {}", super::quoted(draft.known.kind.name())));
        }
        let image = values(draft, ecosystem, &mut rest);
        lines.extend(image.first);
        lines.extend(ports_line(&ports, draft.release));
        lines.extend(image.then);
        for (role, port) in &draft.wanted {
            let got = ports[*role];
            if got != *port {
                draft.notes.push(format!("{port} is another service's port already: its {role} is on {got}"));
            }
        }
        let missing = |role: &&str| {
            !draft.wanted.contains_key(*role)
                && draft.release.ports.get(*role).is_some_and(|p| p.value != ports[*role])
        };
        let moved: Vec<&str> = ports.keys().map(String::as_str).filter(missing).collect();
        if draft.name == draft.known.kind.name() && !moved.is_empty() {
            draft.notes.push(format!("moved out of the way of another port: {}", moved.join(", ")));
        }
        services.push(Taken {
            name: draft.name.clone(),
            kind: draft.known.kind,
            service: plain(&draft.service.name),
            file: plain(&draft.service.at.file),
            line: draft.service.at.line,
            ports,
            lines,
            notes: std::mem::take(&mut draft.notes),
        });
    }
    let moved = ecosystem.services.values().filter(|service| !drafts.iter().any(|d| d.name == service.name));
    let moved =
        moved.filter_map(|service| Some((service.name.clone(), ports_line(&of(&service.name), service)?)));
    Adopted {
        profiles: profiles(ecosystem, &drafts),
        moved: moved.collect(),
        services,
        left_out: rest.sorted(),
    }
}

/// The services that this program knows, each with its name here: that of its kind for the first of them.
fn choose<'a>(ecosystem: &'a Ecosystem, described: &'a Described, rest: &mut Rest) -> Vec<Draft<'a>> {
    let mut found: Vec<(&Service, Known<'_>)> = Vec::new();
    for service in &described.services {
        match service.image.as_ref().and_then(|image| known(&image.text)) {
            Some(known) => found.push((service, known)),
            None => other(service, rest),
        }
    }
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    let mut extra = 0;
    for kind in Kind::ALL {
        let Some(release) = ecosystem.services.get(kind.name()) else { continue };
        let mut of_kind: Vec<&(&Service, Known<'_>)> =
            found.iter().filter(|(_, known)| known.kind == kind).collect();
        // Its own name says most, then that somebody else can reach it.
        of_kind.sort_by_key(|(service, _)| {
            (service.name != kind.name(), service.ports.is_empty() && !service.host_network)
        });
        for (index, (service, known)) in of_kind.into_iter().enumerate() {
            let name = if index == 0 {
                kind.name().to_owned()
            } else {
                free_name(service, kind, ecosystem, &drafts)
            };
            let draft =
                Draft { service, known: *known, name, release, wanted: BTreeMap::new(), notes: Vec::new() };
            if index > 0 {
                extra += 1;
                // One that nobody outside can reach belongs to the first one, such as the second node of a cluster.
                if service.ports.is_empty() || extra > MANY {
                    rest.push(
                        Reason::Others,
                        &service.at,
                        &format!("{}, a further {kind} that publishes no port", service.name),
                    );
                    continue;
                }
            }
            drafts.push(draft);
        }
    }
    drafts
}

/// A service that this program does not know.
fn other(service: &Service, rest: &mut Rest) {
    let image = service.image.as_ref().map_or("", |image| image.text.as_str());
    let last = image.split([':', '@']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let reason = match last {
        _ if service.builds => Reason::Application,
        "mysql" | "mariadb" | "mongo" => Reason::Databases,
        _ => Reason::Others,
    };
    let image = if image.is_empty() || service.builds { String::new() } else { format!(" ({image})") };
    rest.push(reason, &service.at, &format!("{}{image}", service.name));
}

/// A name for a further service of a kind: its own, as far as it can be one here.
fn free_name(service: &Service, kind: Kind, ecosystem: &Ecosystem, drafts: &[Draft<'_>]) -> String {
    const TAKEN: [&str; 4] = ["control", "logs", "tmp", "supervisor"];
    let free = |name: &String| {
        let known = ecosystem.services.contains_key(name) || Kind::ALL.iter().any(|kind| kind.name() == name);
        !known && !TAKEN.contains(&name.as_str()) && !drafts.iter().any(|draft| draft.name == *name)
    };
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let own: String = service.name.chars().take(40).map(fit).collect();
    let own = own.trim_matches('-').to_owned();
    let numbered = (2..).map(|number| format!("{kind}-{number}"));
    let fits = own.starts_with(|c: char| c.is_ascii_lowercase());
    fits.then_some(own).into_iter().chain(numbered).find(free).unwrap_or_default()
}

/// The ports that the file publishes, by their role.
fn ports(draft: &mut Draft<'_>, rest: &mut Rest) {
    let (service, kind) = (draft.service, draft.known.kind);
    let has = |role: &str| draft.release.ports.contains_key(role);
    let roles: Vec<(u16, &'static str)> = roles(kind).iter().copied().filter(|(_, role)| has(role)).collect();
    if service.host_network {
        rest.push(
            Reason::Addresses,
            &service.at,
            &format!("the network of the machine, of {}", service.name),
        );
        draft.wanted.extend(roles.iter().map(|(port, role)| (*role, *port)));
    }
    let mut untold = Vec::new();
    for port in &service.ports {
        // A server with one port has no other one, whichever number it has there.
        let only = (roles.len() == 1 && service.ports.len() == 1).then(|| roles[0].1);
        let role =
            only.or_else(|| roles.iter().find(|(inside, _)| *inside == port.inside).map(|(_, role)| *role));
        let Some(role) = role else {
            rest.push(Reason::Ports, &port.at, &format!("{} of {}", port.inside, service.name));
            continue;
        };
        match port.outside {
            Some(outside) => drop(draft.wanted.insert(role, outside)),
            None => untold.push(role),
        }
        if port.open {
            rest.push(
                Reason::Addresses,
                &port.at,
                &format!("{} of {}", port.outside.unwrap_or(port.inside), service.name),
            );
        }
    }
    if !untold.is_empty() {
        draft.notes.push(format!(
            "which port is {} is not told there; it is as the release has it",
            untold.join(" and ")
        ));
    }
    if draft.wanted.is_empty() && service.ports.is_empty() && kind.runs() {
        draft.notes.push("it publishes no port there; its ports are those of the release".to_owned());
    }
}

type Ports = BTreeMap<String, u16>;

/// Every port of every service: what the files say first, then what the release says, as far as that is free, then the next free one.
fn assign(ecosystem: &Ecosystem, drafts: &[Draft<'_>]) -> BTreeMap<String, Ports> {
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    let mut all: BTreeMap<String, Ports> = BTreeMap::new();
    for draft in drafts {
        for (role, port) in &draft.wanted {
            if taken.insert(*port) {
                all.entry(draft.name.clone()).or_default().insert((*role).to_owned(), *port);
            }
        }
    }
    let further = drafts.iter().filter(|draft| !ecosystem.services.contains_key(&draft.name));
    let services = ecosystem.services.values().map(|service| (service.name.as_str(), service));
    let services: Vec<(&str, &Default)> =
        services.chain(further.map(|draft| (draft.name.as_str(), draft.release))).collect();
    for free in [false, true] {
        for (name, service) in &services {
            let ports = all.entry((*name).to_owned()).or_default();
            for (role, port) in &service.ports {
                if ports.contains_key(role) {
                    continue;
                }
                let upwards = (port.value..=u16::MAX).chain(1024..port.value);
                let next = if free {
                    upwards.into_iter().find(|port| !taken.contains(port))
                } else {
                    Some(port.value)
                };
                if let Some(port) = next.filter(|port| taken.insert(*port)) {
                    ports.insert(role.clone(), port);
                }
            }
        }
    }
    all
}

/// The line about ports that differ from the release's.
fn ports_line(ports: &Ports, release: &Default) -> Option<String> {
    let differs = |role: &str, port: u16| release.ports.get(role).is_none_or(|known| known.value != port);
    let pairs: Vec<String> = ports
        .iter()
        .filter(|(role, port)| differs(role, **port))
        .map(|(role, port)| format!("{role} = {port}"))
        .collect();
    (!pairs.is_empty()).then(|| format!("ports = {{ {} }}", pairs.join(", ")))
}

/// The profiles that differ from the release's: `core` has what runs natively and is not asked for by a profile there, `recommended` the rest.
fn profiles(ecosystem: &Ecosystem, drafts: &[Draft<'_>]) -> Vec<(&'static str, Vec<String>)> {
    let (core, more): (Vec<&Draft<'_>>, Vec<&Draft<'_>>) =
        drafts.iter().partition(|Draft { known, service, .. }| {
            known.kind.runs() && !known.kind.can_be_left_out() && !service.optional
        });
    let names = |drafts: &[&Draft<'_>]| drafts.iter().map(|draft| draft.name.clone()).collect::<Vec<_>>();
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let of = |profile: &str| ecosystem.profiles.get(profile).map(|members| set(members)).unwrap_or_default();
    let (core, more) = (names(&core), names(&more));
    let mut profiles = Vec::new();
    if set(&core) != of("core") {
        profiles.push(("core", core));
    }
    let beside: BTreeSet<String> = of("recommended").difference(&of("core")).cloned().collect();
    if !more.is_empty() && set(&more) != beside {
        profiles.push(("recommended", std::iter::once("@core".to_owned()).chain(more).collect()));
    }
    profiles
}
