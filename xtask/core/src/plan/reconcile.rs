//! Reconciling: what is wanted against what was observed.

use std::collections::{BTreeMap, BTreeSet};

use super::containers::{self, backend_obstacles};
use super::{Action, Cause, Change, Observed, Obstacle, Plan, Voice, Wanted};
use crate::catalog::{Fresh, Launch, RECIPE};
use crate::endpoint::Endpoint;
use crate::process::Process;
use crate::supervise::{Phase, Status};

/// What it takes to have these services running, usable and ours.
///
/// A service that runs as wanted is only verified, unless `restart` asks for more. `needed_by` names, for each service that
/// nobody asked for, one that starts after it: those are not restarted.
pub fn reconcile_up(
    wanted: Wanted<'_>,
    observed: &Observed,
    restart: bool,
    needed_by: &BTreeMap<String, String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut replaced = Vec::new();
    let lost = observed.supervisor.as_ref().is_some_and(|supervisor| supervisor.voice != Voice::Ours);
    plan.obstacles.extend(silent_supervisor(observed));
    if let Some(Voice::Other { build }) = observed.supervisor.as_ref().map(|supervisor| &supervisor.voice) {
        replaced.push(plan.push(Action::Replace, Cause::OtherBuild { build: build.clone() }, []));
    }
    let Wanted { containers: contained, elsewhere, lazy, .. } = wanted;
    let mut wanted = in_order(wanted.processes);
    // When all others are ready: until then it would only take their processor.
    wanted.sort_by_key(|(service, _)| lazy.contains(service));
    let (processes, containers): (Vec<&str>, Vec<&str>) =
        (wanted.iter().map(|(s, _)| *s).collect(), contained.iter().map(|(s, _)| *s).collect());
    plan.obstacles.extend(backend_obstacles(&processes, &containers, elsewhere, observed));
    let mut reasons: BTreeMap<&str, Cause> = BTreeMap::new();
    for (service, launch) in &wanted {
        let needed = || needed_by.get(*service).map(|by| Cause::Needed { by: by.clone() });
        let cause = if lost { Some(Cause::Missing) } else { reason_to_start(launch, observed) };
        let cause = match cause {
            Some(Cause::Missing) => Some(needed().unwrap_or(Cause::Missing)),
            None if restart && needed().is_none() => Some(Cause::Requested),
            other => other,
        };
        reasons.extend(cause.map(|cause| (*service, cause)));
    }
    let runs =
        |service: &str| !lost && observed.processes.values().any(|(p, s)| p.service == service && alive(s));
    let stopping: Vec<(&str, &Launch)> = wanted
        .iter()
        .copied()
        .filter(|(service, _)| reasons.contains_key(service) && runs(service))
        .collect();
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ready: BTreeMap<&str, usize> = BTreeMap::new();
    // First: processes of the manifest start after them.
    for service in elsewhere {
        let cause = needed_by.get(*service).map_or(Cause::Requested, |by| Cause::Needed { by: by.clone() });
        ready.insert(service, plan.push(Action::Verify((*service).to_owned()), cause, []));
    }
    containers::add(&mut plan, contained, observed, restart, needed_by, &mut ready);
    for (service, launch) in &wanted {
        let lazy = lazy.contains(service);
        let Some(cause) = reasons.get(service) else {
            if lazy {
                continue;
            }
            let cause =
                needed_by.get(*service).map_or(Cause::Requested, |by| Cause::Needed { by: by.clone() });
            ready.insert(service, plan.push(Action::Verify((*service).to_owned()), cause, []));
            continue;
        };
        plan.obstacles.extend(port_obstacles(&[(*service, &launch.endpoint)], observed));
        plan.obstacles.extend(data_obstacle(service, launch, observed));
        plan.show_command(launch);
        let (mut after, mut cause) = (replaced.clone(), cause.clone());
        if stopping.iter().any(|(other, _)| other == service) {
            after.push(push_stop(&mut plan, service, &stopping, &reasons, &mut stops));
            cause = Cause::Follows;
        }
        let fresh = !observed.data.contains_key(*service);
        if fresh && matches!(launch.data.fresh, Fresh::Template { .. }) {
            after = vec![plan.push(Action::Prepare((*service).to_owned()), Cause::Missing, after)];
        }
        if lazy {
            after.extend(ready.values());
        } else {
            after.extend(needs(launch).filter_map(|name| ready.get(name)));
        }
        let start = plan.push(Action::Start((*service).to_owned()), cause, after);
        if lazy {
            continue;
        }
        ready.insert(service, plan.push(Action::Await((*service).to_owned()), Cause::Follows, [start]));
    }
    plan
}

/// What a service starts after.
fn needs(launch: &Launch) -> impl Iterator<Item = &str> {
    launch.processes.iter().flat_map(|process| &process.rules.after).map(String::as_str)
}

/// The same services, each behind those that it starts after. A model has no circles.
fn in_order<'a>(wanted: &[(&'a str, &'a Launch)]) -> Vec<(&'a str, &'a Launch)> {
    fn add<'a>(
        one: (&'a str, &'a Launch),
        wanted: &[(&'a str, &'a Launch)],
        all: &mut Vec<(&'a str, &'a Launch)>,
    ) {
        if all.iter().any(|(seen, _)| *seen == one.0) {
            return;
        }
        for name in needs(one.1) {
            if let Some(needed) = wanted.iter().find(|(other, _)| *other == name) {
                add(*needed, wanted, all);
            }
        }
        all.push(one);
    }
    let mut all = Vec::new();
    for one in wanted {
        add(*one, wanted, &mut all);
    }
    all
}

/// Stops a service, and before it those of the others to be stopped that start after it. Returns its step.
fn push_stop<'a>(
    plan: &mut Plan,
    service: &'a str,
    stopping: &[(&'a str, &'a Launch)],
    reasons: &BTreeMap<&str, Cause>,
    stops: &mut BTreeMap<&'a str, usize>,
) -> usize {
    if let Some(step) = stops.get(service) {
        return *step;
    }
    let mut after = Vec::new();
    for (dependent, launch) in stopping {
        if needs(launch).any(|name| name == service) {
            after.push(push_stop(plan, dependent, stopping, reasons, stops));
        }
    }
    let cause = reasons.get(service).cloned().unwrap_or(Cause::Requested);
    let step = plan.push(Action::Stop(service.to_owned()), cause, after);
    stops.insert(service, step);
    step
}

/// What it takes to stop these services; all of them, and the supervisor with them, where none is named.
pub fn reconcile_down(services: &[String], observed: &Observed) -> Plan {
    let mut plan = reconcile_down_processes(services, observed);
    let named = |service: &&String| services.is_empty() || services.contains(service);
    let chosen: Vec<String> = observed.containers.keys().filter(named).cloned().collect();
    let all = chosen.len() == observed.containers.len();
    if !chosen.is_empty() || (observed.leftovers && services.is_empty()) {
        // What starts after a server stops before it.
        let after: Vec<usize> = plan.steps.iter().map(|step| step.id).collect();
        plan.push(Action::Remove { services: chosen, all }, Cause::Requested, after);
    }
    plan
}

pub(super) fn reconcile_down_processes(services: &[String], observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let Some(supervisor) = &observed.supervisor else { return plan };
    if let Voice::Silent { .. } = supervisor.voice {
        // It cannot be asked to stop some and keep others.
        if services.is_empty() {
            plan.push(Action::Kill, Cause::Silent, []);
        } else {
            plan.obstacles.extend(silent_supervisor(observed));
        }
        return plan;
    }
    if let Voice::Other { build } = &supervisor.voice {
        // What it runs cannot be read: it ends as a whole, or not at all.
        if services.is_empty() {
            plan.push(Action::Shutdown, Cause::OtherBuild { build: build.clone() }, []);
        } else {
            plan.obstacles.push(Obstacle::OtherSupervisor { build: build.clone() });
        }
        return plan;
    }
    let running: BTreeSet<&str> = observed
        .processes
        .values()
        .filter(|(_, status)| alive(status))
        .map(|(process, _)| process.service.as_str())
        .collect();
    let chosen: Vec<&str> = if services.is_empty() {
        running.iter().copied().collect()
    } else {
        // Each once, however often it is named.
        let named: BTreeSet<&str> = services.iter().map(String::as_str).collect();
        named.into_iter().filter(|s| running.contains(s)).collect()
    };
    // What starts after another is stopped before it. Read from what runs: the manifest may say something else by now.
    let needs = |service: &str, other: &str| {
        let mut processes = observed.processes.values().filter(|(process, _)| process.service == service);
        processes.any(|(process, _)| process.rules.after.iter().any(|name| name == other))
    };
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(next) = chosen.iter().copied().find(|service| {
        let dependents = chosen.iter().filter(|other| needs(other, service) && *other != service);
        !stops.contains_key(service) && dependents.copied().all(|other| stops.contains_key(other))
    }) {
        let after: Vec<usize> =
            stops.iter().filter(|(other, _)| needs(other, next)).map(|(_, step)| *step).collect();
        stops.insert(next, plan.push(Action::Stop(next.to_owned()), Cause::Requested, after));
    }
    // What runs was started by several manifests: together they could have a circle.
    for service in &chosen {
        if !stops.contains_key(service) {
            stops.insert(service, plan.push(Action::Stop((*service).to_owned()), Cause::Requested, []));
        }
    }
    let stops: Vec<usize> = stops.into_values().collect();
    if running.iter().all(|s| chosen.contains(s)) {
        plan.push(Action::Shutdown, Cause::Follows, stops);
    }
    plan
}

/// Whether there is something to stop.
pub(super) fn alive(status: &Status) -> bool {
    status.pid.is_some() || status.phase == Phase::Restarting
}

/// Why a service has to be started, or `None` where it runs as wanted.
fn reason_to_start(launch: &Launch, observed: &Observed) -> Option<Cause> {
    let mut changes = Vec::new();
    for process in &launch.processes {
        let Some((running, status)) = observed.processes.get(&process.id()) else {
            return Some(Cause::Missing);
        };
        match status.phase {
            Phase::Running => {}
            Phase::Stopping | Phase::Ended => return Some(Cause::Missing),
            // Somebody waits: the supervisor's pause between two attempts is for when nobody does.
            Phase::Restarting | Phase::Failed => {
                let how = status.last_exit.clone().unwrap_or_else(|| "for an unknown reason".to_owned());
                return Some(Cause::Ended { how });
            }
        }
        for change in drift(running, process) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    changes.extend(left_over(launch, observed));
    (!changes.is_empty()).then_some(Cause::Drifted { changes })
}

/// Processes that the service had and has no longer, such as those of another kind under the same name.
fn left_over(launch: &Launch, observed: &Observed) -> Vec<Change> {
    let Some(service) = launch.processes.first().map(|process| &process.service) else { return Vec::new() };
    let left = observed.processes.iter().filter(|(id, (process, status))| {
        process.service == *service && alive(status) && launch.processes.iter().all(|p| p.id() != **id)
    });
    left.map(|(id, _)| Change {
        path: format!("process {id}"),
        was: Some("runs".to_owned()),
        now: Some("no longer part of the service".to_owned()),
    })
    .collect()
}

/// The readable differences between what runs and what is wanted.
fn drift(running: &Process, wanted: &Process) -> Vec<Change> {
    let mut running = running.clone();
    for name in &wanted.rules.inherited {
        // Taken from whoever started it. Two terminals must not restart each other's processes.
        if let (Some(now), true) = (wanted.env.get(name), running.rules.inherited.contains(name)) {
            running.env.insert(name.clone(), now.clone());
        }
    }
    if running == *wanted {
        return Vec::new();
    }
    let changes = differences(&running.labels, &wanted.labels);
    if changes.is_empty() { vec![other_recipe()] } else { changes }
}

/// How what is wanted differs from what was set, as people read it.
pub(super) fn differences(was: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Change> {
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let differ = |name: &&&String| was.get(**name) != now.get(**name);
    let (recipe, named): (Vec<&String>, Vec<&String>) =
        names.iter().filter(differ).copied().partition(|name| *name == RECIPE);
    let change = |name: &String| Change {
        path: name.clone(),
        was: was.get(name).cloned(),
        now: now.get(name).cloned(),
    };
    let changes: Vec<Change> = named.into_iter().map(change).collect();
    if changes.is_empty() && !recipe.is_empty() { vec![other_recipe()] } else { changes }
}

fn other_recipe() -> Change {
    Change {
        path: "how it is started".to_owned(),
        was: Some("as another build of this program does".to_owned()),
        now: Some("as this build does".to_owned()),
    }
}

/// A supervisor that is there and does not answer: nothing can be started beside it. Killing it is for a person to decide.
pub fn silent_supervisor(observed: &Observed) -> Option<Obstacle> {
    let supervisor = observed.supervisor.as_ref()?;
    let Voice::Silent { stopped } = supervisor.voice else { return None };
    Some(Obstacle::SilentSupervisor { pid: supervisor.pid, stopped })
}

/// The ports that somebody else holds. Asked before anything is fetched.
pub fn port_obstacles(wanted: &[(&str, &Endpoint)], observed: &Observed) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for (service, endpoint) in wanted {
        for (role, port) in &endpoint.ports {
            if let Some(holder) = observed.held.get(port) {
                obstacles.push(Obstacle::PortTaken {
                    service: (*service).to_owned(),
                    role: role.clone(),
                    port: *port,
                    holder: holder.clone(),
                });
            }
        }
    }
    obstacles
}

/// Data of another major version, where the service is going to be started on it.
fn data_obstacle(service: &str, launch: &Launch, observed: &Observed) -> Option<Obstacle> {
    // What nothing tells of is for the server to judge.
    let made_by = observed.data.get(service)?.as_ref().filter(|made_by| **made_by != launch.made_by)?;
    Some(Obstacle::OtherData {
        service: service.to_owned(),
        folder: launch.data.folder.clone(),
        made_by: made_by.clone(),
        wanted: launch.made_by.clone(),
    })
}

#[cfg(test)]
#[path = "reconcile_properties.rs"]
mod properties;

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
