//! Copying data with the servers stopped: what stops before, and what of that is started again.

use std::collections::{BTreeMap, BTreeSet};

use super::reconcile::{alive, reconcile_down_processes, silent_supervisor};
use super::{Action, Cause, Observed, Obstacle, Plan, Voice};
use crate::process::Process;
use crate::seen::Seen;

/// Stops everything that runs, then `work`, then starts exactly that again. `known` are the services that can be asked whether they are ready.
pub fn reconcile_copying(work: Action, observed: &Observed, known: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    plan.obstacles.extend(silent_supervisor(observed));
    if let Some(Voice::Other { build }) = observed.supervisor.as_ref().map(|supervisor| &supervisor.voice) {
        plan.obstacles.push(Obstacle::OtherSupervisor { build: build.clone() });
    }
    if !plan.obstacles.is_empty() {
        return plan;
    }
    let mut running: BTreeMap<&str, Vec<&Process>> = BTreeMap::new();
    for (process, status) in observed.processes.values() {
        if alive(status) {
            running.entry(&process.service).or_default().push(process);
        }
    }
    for step in reconcile_down_processes(&[], observed).steps {
        let cause = if step.cause == Cause::Requested { Cause::Quiet } else { step.cause };
        plan.push(step.action, cause, step.after);
    }
    let containers: Vec<String> = observed
        .containers
        .iter()
        .filter(|(_, seen)| Seen::runs(seen))
        .map(|(name, _)| name.clone())
        .collect();
    if !containers.is_empty() {
        let after: Vec<usize> = plan.steps.iter().map(|step| step.id).collect();
        plan.push(Action::Halt(containers.clone()), Cause::Quiet, after);
    }
    let after: Vec<usize> = plan.steps.iter().map(|step| step.id).collect();
    let work = plan.push(work, Cause::Requested, after);

    let mut ready: BTreeMap<&str, usize> = BTreeMap::new();
    if !containers.is_empty() {
        let resumed = plan.push(Action::Resume(containers), Cause::Ran, [work]);
        for name in observed.containers.iter().filter(|(_, seen)| seen.runs()).map(|(name, _)| name) {
            if known.contains(name) {
                ready.insert(name, plan.push(Action::Await(name.clone()), Cause::Follows, [resumed]));
            }
        }
    }
    let needs = |service: &str| -> Vec<&str> {
        running[service].iter().flat_map(|process| &process.rules.after).map(String::as_str).collect()
    };
    let mut left: Vec<&str> = running.keys().copied().collect();
    while !left.is_empty() {
        // What runs was started by several manifests: together they could have a circle.
        let free = |service: &&str| !needs(service).iter().any(|need| left.contains(need));
        let next = left.iter().position(free).unwrap_or(0);
        let service = left.remove(next);
        let needed = needs(service).into_iter().filter_map(|need| ready.get(need)).copied();
        let after: Vec<usize> = std::iter::once(work).chain(needed).collect();
        let start = plan.push(Action::Start(service.to_owned()), Cause::Ran, after);
        if known.contains(service) {
            ready.insert(service, plan.push(Action::Await(service.to_owned()), Cause::Follows, [start]));
        }
    }
    plan
}

impl Plan {
    /// What comes before the step that copies, and what comes after it. The second half is carried out whatever became of the copying.
    pub fn around_copying(&self) -> (Self, Self) {
        let at = self.steps.iter().position(|step| step.action.copies()).unwrap_or(self.steps.len());
        let (before, after) = self.steps.split_at(at);
        let mut after: Vec<_> = after.iter().skip(1).cloned().collect();
        for step in &mut after {
            step.after.retain(|id| *id > at);
        }
        let of = |steps: Vec<_>| Self { steps, ..Self::default() };
        (of(before.to_vec()), of(after))
    }
}

#[cfg(test)]
#[path = "copying_tests.rs"]
mod tests;
