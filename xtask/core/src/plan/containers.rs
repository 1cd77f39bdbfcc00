//! The part of a plan that is about containers: which are made, changed or started, and why. All of it is one call of Docker Compose, which
//! finds the order by itself.

use std::collections::BTreeMap;

use super::reconcile::{differences, port_obstacles};
use super::{Action, Cause, Change, Observed, Obstacle, Plan};
use crate::catalog::container::Contained;
use crate::model::Backend;
use crate::seen::{Phase, Seen};

/// What it takes to have these containers running, usable and ours. Adds to `ready` the step after which each is.
pub(super) fn add<'a>(
    plan: &mut Plan,
    wanted: &[(&'a str, &Contained)],
    observed: &Observed,
    restart: bool,
    needed_by: &BTreeMap<String, String>,
    ready: &mut BTreeMap<&'a str, usize>,
) {
    let mut causes = BTreeMap::new();
    let mut stops = Vec::new();
    for (service, contained) in wanted {
        let needed = needed_by.get(*service).map(|by| Cause::Needed { by: by.clone() });
        let seen = observed.containers.get(*service);
        let cause = match reason_to_apply(contained, seen, &observed.images) {
            Some(Cause::Missing) => needed.unwrap_or(Cause::Missing),
            Some(cause) => cause,
            None if restart && needed.is_none() => {
                stops.push((*service).to_owned());
                Cause::Requested
            }
            None => {
                let cause = needed.unwrap_or(Cause::Requested);
                ready.insert(service, plan.push(Action::Verify((*service).to_owned()), cause, []));
                continue;
            }
        };
        plan.obstacles.extend(port_obstacles(&[(*service, &contained.endpoint)], observed));
        plan.obstacles.extend(data_obstacle(service, contained, observed));
        causes.insert((*service).to_owned(), cause);
    }
    if causes.is_empty() {
        return;
    }
    let images = wanted.iter().filter(|(service, _)| causes.contains_key(*service));
    let mut images: Vec<&String> = images.map(|(_, contained)| &contained.image).collect();
    images.sort();
    images.dedup();
    images.retain(|image| !observed.images.contains_key(*image));
    let mut after: Vec<usize> =
        images.into_iter().map(|image| plan.push(Action::Pull(image.clone()), Cause::Missing, [])).collect();
    if !stops.is_empty() {
        after.push(plan.push(Action::Halt(stops), Cause::Requested, []));
    }
    let services: Vec<String> = causes.keys().cloned().collect();
    let apply = plan.push(Action::Apply(services), Cause::Each { causes: causes.clone() }, after);
    for (service, _) in wanted.iter().filter(|(service, _)| causes.contains_key(*service)) {
        ready.insert(service, plan.push(Action::Await((*service).to_owned()), Cause::Follows, [apply]));
    }
}

/// Why a container has to be made, changed or started; `None` where it runs as wanted.
fn reason_to_apply(
    wanted: &Contained,
    seen: Option<&Seen>,
    images: &BTreeMap<String, String>,
) -> Option<Cause> {
    let Some(seen) = seen else { return Some(Cause::Missing) };
    match &seen.phase {
        Phase::Running | Phase::Paused => {}
        Phase::Created => return Some(Cause::Missing),
        // Somebody waits: the pause of the engine between two attempts is for when nobody does.
        Phase::Restarting { how } | Phase::Ended { how } => return Some(Cause::Ended { how: how.clone() }),
    }
    let mut changes = differences(&seen.labels, &wanted.labels);
    if images.get(&wanted.image).is_some_and(|id| *id != seen.image) && changes.is_empty() {
        changes.push(Change {
            path: "image".to_owned(),
            was: Some(format!("{} as it was", wanted.image)),
            now: Some(format!("{} as it was fetched since", wanted.image)),
        });
    }
    (!changes.is_empty()).then_some(Cause::Drifted { changes })
}

/// Data of another major version, where the service is going to be started on it.
fn data_obstacle(service: &str, wanted: &Contained, observed: &Observed) -> Option<Obstacle> {
    let made_by = observed.data.get(service)?.as_ref()?;
    let now = wanted.made_by.as_ref().filter(|now| *now != made_by)?;
    Some(Obstacle::OtherData {
        service: service.to_owned(),
        folder: format!("in the volume of {service}").into(),
        made_by: made_by.clone(),
        wanted: now.clone(),
    })
}

/// Services that run, and not by what they shall be run by. Their data would not come along.
pub fn backend_obstacles(
    processes: &[&str],
    containers: &[&str],
    elsewhere: &[&str],
    observed: &Observed,
) -> Option<Obstacle> {
    let other = |wanted: Backend, services: Vec<&&str>| {
        let services: Vec<String> = services.into_iter().map(ToString::to_string).collect();
        (!services.is_empty()).then_some(Obstacle::OtherBackend { services, wanted })
    };
    let contained = |service: &&&str| observed.containers.get(**service).is_some_and(Seen::runs);
    let process = |service: &&&str| observed.runs(service);
    other(Backend::Native, processes.iter().filter(contained).collect())
        .or_else(|| other(Backend::Compose, containers.iter().filter(process).collect()))
        .or_else(|| {
            other(Backend::External, elsewhere.iter().filter(|s| contained(s) || process(s)).collect())
        })
}

/// The ports that lead to containers of this place: nobody else holds them.
pub fn own_ports(observed: &Observed) -> impl Iterator<Item = u16> {
    let running = observed.containers.values().filter(|seen| seen.runs());
    running.flat_map(|seen| seen.ports.iter().map(|(port, _)| *port))
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
