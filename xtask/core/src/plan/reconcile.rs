//! Reconciling: what is wanted against what was observed.

use std::collections::BTreeSet;

use super::{Action, Cause, Change, Observed, Obstacle, Plan, Voice};
use crate::catalog::{Fresh, Launch};
use crate::endpoint::Endpoint;
use crate::process::Process;
use crate::supervise::{Phase, Status};

/// The label that stands for everything that has no readable name: see [`drift`].
const RECIPE: &str = "recipe";

/// What it takes to have these services running, usable and ours.
///
/// A service that runs as wanted is only verified, unless `restart` asks for more.
pub fn reconcile_up(wanted: &[(&str, &Launch)], observed: &Observed, restart: bool) -> Plan {
    let mut plan = Plan::default();
    let mut replaced = Vec::new();
    let lost = observed.supervisor.as_ref().is_some_and(|supervisor| supervisor.voice != Voice::Ours);
    plan.obstacles.extend(silent_supervisor(observed));
    if let Some(Voice::Other { build }) = observed.supervisor.as_ref().map(|supervisor| &supervisor.voice) {
        replaced.push(plan.push(Action::Replace, Cause::OtherBuild { build: build.clone() }, []));
    }
    for (service, launch) in wanted {
        let cause = if lost { Some(Cause::Missing) } else { reason_to_start(launch, observed) };
        let Some(cause) = cause.or(restart.then_some(Cause::Requested)) else {
            plan.push(Action::Verify((*service).to_owned()), Cause::Requested, []);
            continue;
        };
        plan.obstacles.extend(port_obstacles(&[(*service, &launch.endpoint)], observed));
        plan.obstacles.extend(data_obstacle(service, launch, observed));
        let (mut after, mut cause) = (replaced.clone(), cause);
        let runs = !lost && observed.processes.values().any(|(p, s)| p.service == *service && alive(s));
        if runs {
            after.push(plan.push(Action::Stop((*service).to_owned()), cause, after.clone()));
            cause = Cause::Follows;
        }
        let fresh = !observed.data.contains_key(*service);
        if fresh && matches!(launch.data.fresh, Fresh::Template { .. }) {
            after = vec![plan.push(Action::Prepare((*service).to_owned()), Cause::Missing, after)];
        }
        let start = plan.push(Action::Start((*service).to_owned()), cause, after);
        plan.push(Action::Await((*service).to_owned()), Cause::Follows, [start]);
    }
    plan
}

/// What it takes to stop these services; all of them, and the supervisor with them, where none is named.
pub fn reconcile_down(services: &[String], observed: &Observed) -> Plan {
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
    let stops: Vec<usize> =
        chosen.iter().map(|s| plan.push(Action::Stop((*s).to_owned()), Cause::Requested, [])).collect();
    if running.iter().all(|s| chosen.contains(s)) {
        plan.push(Action::Shutdown, Cause::Follows, stops);
    }
    plan
}

/// Whether there is something to stop.
fn alive(status: &Status) -> bool {
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
    if running == wanted {
        return Vec::new();
    }
    let names: BTreeSet<&String> = running.labels.keys().chain(wanted.labels.keys()).collect();
    let mut changes: Vec<Change> = names
        .into_iter()
        .filter(|name| *name != RECIPE && running.labels.get(*name) != wanted.labels.get(*name))
        .map(|name| Change {
            path: name.clone(),
            was: running.labels.get(name).cloned(),
            now: wanted.labels.get(name).cloned(),
        })
        .collect();
    if changes.is_empty() {
        changes.push(Change {
            path: "how it is started".to_owned(),
            was: Some("as another build of this program does".to_owned()),
            now: Some("as this build does".to_owned()),
        });
    }
    changes
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
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Holder, Supervisor, obstacles_failure, render};
    use super::*;
    use crate::catalog::{Data, Kind};
    use crate::process::{RunAs, Signal, Stop};

    fn process(service: &str, name: &str, labels: &[(&str, &str)]) -> Process {
        Process {
            service: service.into(),
            name: name.into(),
            argv: vec![format!("/bin/{name}")],
            env: BTreeMap::default(),
            cwd: "/".into(),
            run_as: RunAs::Me,
            stop: Stop { signal: Signal::Term, grace_ms: 1 },
            log: "/log".into(),
            log_limit: 1,
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    fn launch(processes: Vec<Process>, port: u16) -> Launch {
        Launch {
            processes,
            gate: None,
            files: vec![],
            data: Data { folder: "/data".into(), fresh: Fresh::Empty, lock: None, version: None },
            endpoint: Endpoint {
                kind: Kind::Redis,
                host: "127.0.0.1".into(),
                ports: [("redis".to_owned(), port)].into(),
                user: None,
                secret: None,
                database: None,
                identity: "x".into(),
            },
            made_by: "redis 7".into(),
        }
    }

    fn status(phase: Phase) -> Status {
        let pid = matches!(phase, Phase::Running | Phase::Stopping).then_some(7);
        Status { phase, pid, incarnation: 1, uptime_ms: None, last_exit: Some("exit status 1".into()) }
    }

    fn observed(running: &[(&Process, Phase)]) -> Observed {
        Observed {
            supervisor: Some(Supervisor { pid: 1, voice: Voice::Ours }),
            processes: running.iter().map(|(p, phase)| (p.id(), ((*p).clone(), status(*phase)))).collect(),
            ..Observed::default()
        }
    }

    fn up(wanted: &Launch, observed: &Observed) -> String {
        render(&reconcile_up(&[("redis", wanted)], observed, false), &BTreeMap::default())
    }

    #[test]
    fn nothing_runs() {
        let wanted = launch(vec![process("redis", "redis", &[])], 1);
        insta::assert_snapshot!(up(&wanted, &Observed::default()), @"
        1  start redis  not there yet
        2  await redis  follows
        ");
    }

    #[test]
    fn everything_runs_as_wanted() {
        let redis = process("redis", "redis", &[]);
        insta::assert_snapshot!(up(&launch(vec![redis.clone()], 1), &observed(&[(&redis, Phase::Running)])), @"  1  verify redis  asked for");
    }

    #[test]
    fn a_changed_setting_is_named() {
        let old = process("redis", "redis", &[("settings.maxmemory", "1gb"), ("recipe", "a")]);
        let new = process("redis", "redis", &[("settings.maxmemory", "2gb"), ("recipe", "b")]);
        insta::assert_snapshot!(up(&launch(vec![new], 1), &observed(&[(&old, Phase::Running)])), @"
        1  stop redis   what runs is not what is wanted
             settings.maxmemory: 1gb → 2gb
        2  start redis  follows
        3  await redis  follows
        ");
    }

    #[test]
    fn another_recipe_with_the_same_settings_is_not_two_hashes() {
        let old = process("redis", "redis", &[("recipe", "a")]);
        let new = process("redis", "redis", &[("recipe", "b")]);
        insta::assert_snapshot!(up(&launch(vec![new], 1), &observed(&[(&old, Phase::Running)])), @"
        1  stop redis   what runs is not what is wanted
             how it is started: as another build of this program does → as this build does
        2  start redis  follows
        3  await redis  follows
        ");
    }

    #[test]
    fn one_of_two_processes_failed() {
        let (epmd, broker) = (process("redis", "epmd", &[]), process("redis", "redis", &[]));
        let seen = observed(&[(&epmd, Phase::Running), (&broker, Phase::Failed)]);
        insta::assert_snapshot!(up(&launch(vec![epmd, broker], 1), &seen), @"
        1  stop redis   it ended by itself: exit status 1
        2  start redis  follows
        3  await redis  follows
        ");
    }

    #[test]
    fn one_that_waits_for_its_next_attempt_is_started_at_once() {
        let redis = process("redis", "redis", &[]);
        let seen = observed(&[(&redis, Phase::Restarting)]);
        insta::assert_snapshot!(up(&launch(vec![redis], 1), &seen), @"
        1  stop redis   it ended by itself: exit status 1
        2  start redis  follows
        3  await redis  follows
        ");
    }

    #[test]
    fn a_supervisor_of_another_protocol_is_replaced_first() {
        let redis = process("redis", "redis", &[]);
        let mut seen = observed(&[]);
        seen.supervisor = Some(Supervisor { pid: 1, voice: Voice::Other { build: "0.0.9".into() } });
        insta::assert_snapshot!(up(&launch(vec![redis], 1), &seen), @"
        1  replace supervisor  it was started by build 0.0.9, which speaks another protocol
        2  start redis         not there yet
        3  await redis         follows
        ");
    }

    #[test]
    fn a_silent_supervisor_is_left_to_the_person_and_killed_by_down() {
        let redis = process("redis", "redis", &[]);
        let mut seen = observed(&[]);
        seen.supervisor = Some(Supervisor { pid: 12, voice: Voice::Silent { stopped: true } });
        let plan = reconcile_up(&[("redis", &launch(vec![redis], 1))], &seen, false);
        let failure = obstacles_failure(&plan.obstacles).unwrap();
        insta::assert_snapshot!(format!("{failure}\n{}", failure.hints.join("\n")), @"
        nothing was started
        the supervisor of this project (pid 12) does not answer: a signal has stopped it
        let it go on: kill -CONT 12
        end it and its servers, which keep what they have acknowledged: {program} down
        ");
        assert_eq!(reconcile_down(&["redis".into()], &seen).obstacles.len(), 1);
        insta::assert_snapshot!(render(&reconcile_down(&[], &seen), &BTreeMap::default()), @"  1  kill supervisor  it does not answer");
    }

    #[test]
    fn obstacles_arrive_together() {
        let mut seen = Observed::default();
        let holder =
            Holder { pid: 4711, command: "redis-server *:1".into(), cwd: Some("/srv".into()), place: None };
        seen.held.insert(1, Some(holder));
        seen.data.insert("redis".into(), Some("redis 6".into()));
        let plan = reconcile_up(&[("redis", &launch(vec![process("redis", "redis", &[])], 1))], &seen, false);
        assert_eq!(plan.obstacles.len(), 2);
        insta::assert_snapshot!(super::super::obstacles_failure(&plan.obstacles).unwrap(), @"
        nothing was started
        port 1 (redis) is held by pid 4711: redis-server *:1
          in /srv
        the data of redis was made by redis 6 and cannot be used by redis 7
          /data
        ");
    }

    #[test]
    fn a_held_port_does_not_matter_to_a_service_that_runs() {
        let redis = process("redis", "redis", &[]);
        let mut seen = observed(&[(&redis, Phase::Running)]);
        seen.held.insert(1, None);
        assert_eq!(reconcile_up(&[("redis", &launch(vec![redis], 1))], &seen, false).obstacles, []);
    }

    #[test]
    fn down_stops_everything_and_the_supervisor() {
        let redis = process("redis", "redis", &[]);
        let seen = observed(&[(&redis, Phase::Running)]);
        insta::assert_snapshot!(render(&reconcile_down(&[], &seen), &BTreeMap::default()), @"
        1  stop redis      asked for
        2  end supervisor  follows
        ");
        assert_eq!(reconcile_down(&[], &Observed::default()).steps, []);
    }

    #[test]
    fn down_of_one_service_keeps_the_supervisor_for_the_others() {
        let (redis, postgres) = (process("redis", "redis", &[]), process("postgresql", "postgresql", &[]));
        let seen = observed(&[(&redis, Phase::Running), (&postgres, Phase::Running)]);
        let plan = reconcile_down(&["redis".into()], &seen);
        insta::assert_snapshot!(render(&plan, &BTreeMap::default()), @"  1  stop redis  asked for");
    }
}
