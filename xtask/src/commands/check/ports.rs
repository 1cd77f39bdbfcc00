//! The ports of the project's services: who holds them, asked as `up` asks.

use std::collections::BTreeSet;

use ecosystem_core::host::ports::{Container, Use, judge as judge_one};
use ecosystem_core::host::{Finding, Section, Verdict};
use ecosystem_core::model::Backend;
use ecosystem_core::plan::own_ports;

use super::project::Project;
use crate::backend::native;
use crate::context::Context;
use crate::stack::Stack;

/// A port, what it is for, and how it stands with it.
pub(super) struct Port {
    service: String,
    role: String,
    number: u16,
    using: Use,
}

/// What was seen of all ports, and an offset at which they are free.
pub(super) struct Seen {
    ports: Vec<Port>,
    offset: u16,
}

/// Looks at the ports; `None` where there is no place to look from.
pub(super) fn look(context: &Context, project: &Project) -> anyhow::Result<Option<Seen>> {
    let Some(place) = &project.place else { return Ok(None) };
    let services = project.services();
    let services: Vec<_> =
        services.into_iter().filter(|service| service.backend.value != Backend::External).collect();
    let endpoints = project.endpoints(&services, place);
    let as_container =
        |name: &str| services.iter().any(|s| s.name == name && s.backend.value == Backend::Compose);
    let (contained, named): (Vec<_>, Vec<_>) =
        endpoints.iter().map(|(name, endpoint)| (*name, endpoint)).partition(|(name, _)| as_container(name));
    let mut observed = native::observe(place, &named)?;
    if let Some(compose) = Stack::compose(context, place)? {
        // An engine that does not answer runs none.
        observed.containers = compose.containers().unwrap_or_default();
    }
    observed.held.extend(native::held_by_others(place, &contained)?);
    let own: BTreeSet<u16> = own_ports(&observed).collect();
    let mut ports = Vec::new();
    for (service, endpoint) in &endpoints {
        for (role, number) in &endpoint.ports {
            let using = match observed.held.get(number) {
                _ if own.contains(number) => Use::Ours,
                Some(holder) => Use::Taken(holder.clone()),
                None if observed.runs(service) => Use::Ours,
                None => Use::Free,
            };
            let (service, role) = ((*service).to_owned(), role.clone());
            ports.push(Port { service, role, number: *number, using });
        }
    }
    let taken = ports.iter().any(|port| matches!(port.using, Use::Taken(_)));
    let numbers: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
    let offset = if taken { native::free_offset(&numbers, place.offset)? } else { 0 };
    Ok(Some(Seen { ports, offset }))
}

/// Judges what was seen; containers are asked for where a port is taken only.
pub(super) fn judge(
    seen: anyhow::Result<Option<Seen>>,
    containers: impl FnOnce() -> Vec<Container>,
) -> Vec<Finding> {
    let section = Section::Ports;
    let Seen { ports, offset } = match seen {
        Ok(Some(seen)) => seen,
        Ok(None) => {
            let note = "what is wrong with the project stands above";
            return vec![Finding::ok(section, "ports", "not looked at").note(note)];
        }
        Err(error) => {
            let why = "`up` looks at them before it starts anything";
            let (on, next) = (format!("cannot be looked at: {error:#}"), "{program} status");
            return vec![Finding::of(Verdict::Warning, section, "ports", on, why, next)];
        }
    };
    let taken = ports.iter().any(|port| matches!(port.using, Use::Taken(_)));
    let containers = if taken { containers() } else { Vec::new() };
    let one =
        |port: &Port| judge_one(&port.service, &port.role, port.number, &port.using, &containers, offset);
    ports.iter().map(one).collect()
}
