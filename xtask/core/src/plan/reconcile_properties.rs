//! What holds for every plan, whatever is wanted and whatever runs: plans are carried out on a modelled world, in every order they allow.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::super::{Step, Supervisor, render};
use super::*;
use crate::catalog::{Data, Kind};
use crate::endpoint::Secret;
use crate::process::{Rules, RunAs, Signal, Stop};

const SERVICES: [&str; 4] = ["broker", "cache", "database", "search"];

/// What each of them starts after.
fn after(service: &str) -> &'static [&'static str] {
    match service {
        "cache" => &["broker"],
        "search" => &["cache", "database"],
        _ => &[],
    }
}

/// The same cases on every machine: what fails here fails there.
fn fixed() -> Config {
    Config { cases: 300, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Config::default() }
}

fn process(service: &str, name: &str, setting: u8, recipe: u8) -> Process {
    let labels = [("settings.x", setting), ("recipe", recipe)];
    Process {
        service: service.to_owned(),
        name: name.to_owned(),
        argv: vec![format!("/bin/{name}"), recipe.to_string()],
        env: BTreeMap::new(),
        cwd: "/".into(),
        run_as: RunAs::Me,
        stop: Stop { signal: Signal::Term, grace_ms: 1 },
        log: "/log".into(),
        log_limit: 1,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect(),
        rules: Rules { after: after(service).iter().map(ToString::to_string).collect(), ..Rules::default() },
    }
}

/// How a service is to be launched; `helper` stands for a second process such as a port mapper.
fn launch(service: &str, (setting, recipe, helper, template, major): (u8, u8, bool, bool, u8)) -> Launch {
    let main = process(service, service, setting, recipe);
    let mut processes = vec![main.clone()];
    if helper {
        processes.insert(0, process(service, "helper", setting, recipe));
    }
    let port = 1 + SERVICES.iter().position(|name| *name == service).unwrap();
    let fresh = if template {
        let input = Secret::new("");
        let command = Box::new(main);
        crate::catalog::Fresh::Template { archive: "/t".into(), folder: "/data.new".into(), command, input }
    } else {
        crate::catalog::Fresh::Empty
    };
    Launch {
        processes,
        gate: None,
        files: vec![],
        data: Data { folder: "/data".into(), fresh, lock: None, version: None },
        endpoint: Endpoint {
            kind: Kind::Redis,
            host: "127.0.0.1".into(),
            ports: [(service.to_owned(), u16::try_from(port).unwrap())].into(),
            user: None,
            secret: None,
            database: None,
            identity: "x".into(),
            watched: None,
            storage: crate::endpoint::Storage::default(),
        },
        made_by: format!("{service} {major}"),
        settings: std::collections::BTreeMap::new(),
    }
}

/// Mostly the same: what runs as wanted, and what differs in one thing, are the interesting cases.
fn mostly_0() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), 1 => Just(1)]
}

fn service() -> impl Strategy<Value = String> {
    prop::sample::select(SERVICES.to_vec()).prop_map(ToOwned::to_owned)
}

fn wanted() -> impl Strategy<Value = BTreeMap<String, Launch>> {
    let launched = (service(), (mostly_0(), mostly_0(), any::<bool>(), any::<bool>(), 1..3_u8));
    vec(launched.prop_map(|(name, how)| (name.clone(), launch(&name, how))), 0..5)
        .prop_map(|all| all.into_iter().collect())
}

/// Services that nobody asked for, each with one that needs it.
fn needed_by() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(service(), service(), 0..3)
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        8 => Just(Phase::Running),
        1 => Just(Phase::Restarting),
        1 => Just(Phase::Stopping),
        1 => Just(Phase::Ended),
        1 => Just(Phase::Failed),
    ]
}

fn status(phase: Phase) -> Status {
    let pid = matches!(phase, Phase::Running | Phase::Stopping).then_some(7);
    Status { phase, pid, incarnation: 1, uptime_ms: None, last_exit: None }
}

fn voice() -> impl Strategy<Value = Option<Voice>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Voice::Other { build: "0".into() })),
        1 => any::<bool>().prop_map(|stopped| Some(Voice::Silent { stopped })),
        6 => Just(Some(Voice::Ours)),
    ]
}

fn world() -> impl Strategy<Value = Observed> {
    let running = (service(), prop::sample::select(vec!["", "helper"]), mostly_0(), mostly_0(), phase());
    (voice(), vec(running, 0..8), vec(1..5_u16, 0..2), btree_map(service(), 0..3_u8, 0..3)).prop_map(
        |(voice, running, held, data)| {
            // Of a supervisor that speaks another language, or not at all, nothing can be read.
            let readable = voice == Some(Voice::Ours);
            let supervisor = voice.map(|voice| Supervisor { pid: 1, voice });
            let processes =
                running.into_iter().filter(|_| readable).map(|(service, name, setting, recipe, phase)| {
                    let name = if name.is_empty() { service.as_str() } else { name };
                    let process = process(&service, name, setting, recipe);
                    (process.id(), (process, status(phase)))
                });
            Observed {
                processes: processes.collect(),
                held: held.into_iter().map(|port| (port, None)).collect(),
                data: data.into_iter().map(|(s, major)| (s.clone(), made_by(&s, major))).collect(),
                supervisor,
                ..Observed::default()
            }
        },
    )
}

/// Nothing tells of data that was made by major version 0.
fn made_by(service: &str, major: u8) -> Option<String> {
    (major > 0).then(|| format!("{service} {major}"))
}

/// What `supervise::Loop` and `backend::native` do, on values.
fn perform(action: &Action, wanted: &BTreeMap<String, Launch>, world: &mut Observed) {
    match action {
        Action::Pull(_)
        | Action::Apply(_)
        | Action::Halt(_)
        | Action::Remove { .. }
        | Action::Resume(_)
        | Action::Save(_)
        | Action::Restore(_) => panic!("there are no containers, and nothing is copied"),
        Action::Replace | Action::Kill | Action::Shutdown => {
            world.supervisor = None;
            world.processes.clear();
        }
        Action::Stop(service) => {
            for (process, status) in world.processes.values_mut() {
                if process.service == *service {
                    *status = self::status(Phase::Ended);
                }
            }
        }
        Action::Prepare(service) => {
            let alive = world.processes.values().any(|(p, s)| p.service == *service && s.pid.is_some());
            assert!(!alive, "{service} runs while its data folder is made");
        }
        Action::Start(service) => {
            let launch = &wanted[service];
            assert!(
                world.supervisor.as_ref().is_none_or(|s| s.voice == Voice::Ours),
                "nobody to start {service}"
            );
            world.supervisor = Some(Supervisor { pid: 2, voice: Voice::Ours });
            world.data.insert(service.clone(), Some(launch.made_by.clone()));
            for process in &launch.processes {
                let there = world.processes.get(&process.id());
                // One that runs already is left alone.
                if there.is_none_or(|(_, status)| status.pid.is_none()) {
                    world.processes.insert(process.id(), (process.clone(), status(Phase::Running)));
                }
            }
        }
        Action::Await(service) | Action::Verify(service) => {
            for process in &wanted[service].processes {
                let (running, status) = &world.processes[&process.id()];
                assert_eq!((running, status.phase), (process, Phase::Running), "{service}");
            }
        }
        Action::Provide(_) | Action::Seed(_) | Action::SetUp(_) => {}
    }
}

/// Carries a plan out in one of the orders that it allows.
fn carry_out(plan: &Plan, wanted: &BTreeMap<String, Launch>, world: &mut Observed, order: &[u8]) {
    let (mut done, mut order) = (BTreeSet::new(), order.iter().cycle());
    while done.len() < plan.steps.len() {
        let ready: Vec<&Step> = plan
            .steps
            .iter()
            .filter(|step| !done.contains(&step.id) && step.after.iter().all(|id| done.contains(id)))
            .collect();
        assert!(!ready.is_empty(), "steps wait for each other: {plan:?}");
        let step = ready[usize::from(*order.next().unwrap()) % ready.len()];
        in_turn(plan, step, &done);
        perform(&step.action, wanted, world);
        done.insert(step.id);
    }
}

/// A service starts behind those that it needs, and is stopped before them.
fn in_turn(plan: &Plan, step: &Step, done: &BTreeSet<usize>) {
    let to_do = |actions: &[Action]| {
        plan.steps.iter().find(|other| actions.contains(&other.action) && !done.contains(&other.id)).cloned()
    };
    match &step.action {
        Action::Start(service) => {
            for needed in after(service) {
                let name = (*needed).to_owned();
                assert_eq!(to_do(&[Action::Await(name.clone()), Action::Verify(name)]), None, "{service}");
            }
        }
        Action::Stop(service) => {
            for dependent in SERVICES.iter().filter(|other| after(other).contains(&service.as_str())) {
                assert_eq!(to_do(&[Action::Stop((*dependent).to_owned())]), None, "{service}");
            }
        }
        _ => {}
    }
}

fn up(
    wanted: &BTreeMap<String, Launch>,
    world: &Observed,
    restart: bool,
    needed_by: &BTreeMap<String, String>,
) -> Plan {
    let list: Vec<(&str, &Launch)> = wanted.iter().map(|(name, launch)| (name.as_str(), launch)).collect();
    reconcile_up(Wanted { processes: &list, ..Wanted::default() }, world, restart, needed_by)
}

fn service_of(action: &Action) -> Option<&str> {
    match action {
        Action::Stop(s) | Action::Prepare(s) | Action::Start(s) | Action::Await(s) | Action::Verify(s) => {
            Some(s)
        }
        _ => None,
    }
}

#[track_caller]
fn well_formed(plan: &Plan) {
    for (index, step) in plan.steps.iter().enumerate() {
        assert_eq!(step.id, index);
        assert!(step.after.iter().all(|before| *before < index), "a step before its predecessor: {plan:?}");
        let same = plan.steps.iter().filter(|other| other.action == step.action).count();
        assert_eq!(same, 1, "twice: {:?}", step.action);
    }
}

fn runs_as_wanted(launch: &Launch, world: &Observed) -> bool {
    launch.processes.iter().all(|process| {
        let there = world.processes.get(&process.id());
        there.is_some_and(|(running, status)| running == process && status.phase == Phase::Running)
    })
}

/// Processes of a service that its launch no longer has, and that are still there.
fn left_over(service: &str, launch: &Launch, world: &Observed) -> bool {
    world.processes.values().any(|(process, status)| {
        let known = launch.processes.iter().any(|wanted| wanted.id() == process.id());
        process.service == service && !known && (status.pid.is_some() || status.phase == Phase::Restarting)
    })
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(
        wanted in wanted(), world in world(), restart: bool, needed_by in needed_by(), order in vec(any::<u8>(), 1..20)
    ) {
        let plan = up(&wanted, &world, restart, &needed_by);
        well_formed(&plan);
        if plan.obstacles.is_empty() {
            let mut after = world.clone();
            carry_out(&plan, &wanted, &mut after, &order);
            let again = up(&wanted, &after, false, &needed_by);
            prop_assert!(again.steps.iter().all(|step| matches!(step.action, Action::Verify(_))), "{:?}", again);
            prop_assert_eq!(again.obstacles.len(), 0);
            for (service, launch) in &wanted {
                prop_assert!(!left_over(service, launch, &after), "{} keeps a process that it no longer has", service);
            }
        }
    }

    #[test]
    fn what_is_right_is_left_alone_and_what_was_not_asked_for_too(
        wanted in wanted(), world in world(), restart: bool, needed_by in needed_by()
    ) {
        let plan = up(&wanted, &world, restart, &needed_by);
        let touched: BTreeSet<&str> = plan.steps.iter().filter(|step| !step.action.only_looks())
            .filter_map(|step| service_of(&step.action)).collect();
        prop_assert!(touched.iter().all(|service| wanted.contains_key(*service)));
        for (service, launch) in &wanted {
            let right = runs_as_wanted(launch, &world) && !left_over(service, launch, &world);
            let asked = restart && !needed_by.contains_key(service);
            prop_assert_eq!(touched.contains(service.as_str()), asked || !right, "{}", service);
        }
        // Everything is replaced only where the supervisor cannot be talked to.
        let replaces = plan.steps.iter().any(|step| step.action == Action::Replace);
        prop_assert_eq!(replaces, world.supervisor.is_some_and(|s| matches!(s.voice, Voice::Other { .. })));
    }

    #[test]
    fn nothing_starts_without_its_obstacles_being_told(wanted in wanted(), world in world(), restart: bool, needed_by in needed_by()) {
        let plan = up(&wanted, &world, restart, &needed_by);
        let mut told = plan.obstacles.len();
        if let Some(Supervisor { voice: Voice::Silent { stopped }, pid }) = world.supervisor {
            let is_told = Obstacle::SilentSupervisor { pid, stopped };
            prop_assert!(plan.obstacles.contains(&is_told));
            told -= 1;
        }
        for step in &plan.steps {
            let Action::Start(service) = &step.action else { continue };
            let launch = &wanted[service];
            for port in launch.endpoint.ports.values().filter(|port| world.held.contains_key(port)) {
                let is_told = |o: &Obstacle| matches!(o, Obstacle::PortTaken { port: p, .. } if p == port);
                prop_assert!(plan.obstacles.iter().any(is_told), "port {} of {}", port, service);
                told -= 1;
            }
            if world.data.get(service).is_some_and(|made_by| made_by.as_ref().is_some_and(|m| *m != launch.made_by)) {
                let is_told = |o: &Obstacle| matches!(o, Obstacle::OtherData { service: s, .. } if s == service);
                prop_assert!(plan.obstacles.iter().any(is_told), "data of {}", service);
                told -= 1;
            }
        }
        prop_assert_eq!(told, 0, "obstacles for services that are not started: {:?}", plan.obstacles);
        let again = super::super::Retry { words: "up".into(), offset: 100, root: "/p".into() };
        prop_assert_eq!(plan.obstacles.is_empty(), super::super::obstacles_failure(&plan.obstacles, &again).is_none());
    }

    #[test]
    fn a_start_follows_the_stop_of_what_ran_and_is_awaited(wanted in wanted(), world in world(), restart: bool, needed_by in needed_by()) {
        let plan = up(&wanted, &world, restart, &needed_by);
        for step in &plan.steps {
            if let Action::Start(service) = &step.action {
                let awaited = plan.steps.iter().find(|s| s.action == Action::Await(service.clone()));
                prop_assert!(awaited.is_some_and(|s| s.after.contains(&step.id)), "{} is not awaited", service);
            }
        }
    }

    #[test]
    fn down_leaves_nothing_alive_of_what_it_was_asked_for(
        world in world(), some in vec(service(), 0..3), order in vec(any::<u8>(), 1..20)
    ) {
        let plan = reconcile_down(&some, &world);
        well_formed(&plan);
        let mut after = world.clone();
        carry_out(&plan, &BTreeMap::new(), &mut after, &order);
        let alive: BTreeSet<&str> = after.processes.values().filter(|(_, status)| status.pid.is_some())
            .map(|(process, _)| process.service.as_str()).collect();
        if some.is_empty() {
            prop_assert_eq!(alive.len(), 0);
            prop_assert_eq!(&after.supervisor, &None);
        }
        prop_assert!(some.iter().all(|service| !alive.contains(service.as_str())));
        // The others are as they were.
        let ends = plan.steps.iter().any(|step| step.action == Action::Shutdown);
        for (id, (process, status)) in &world.processes {
            if !some.is_empty() && !some.contains(&process.service) && status.pid.is_some() {
                prop_assert!(!ends);
                prop_assert_eq!(&after.processes[id].1, status);
            }
        }
        prop_assert_eq!(reconcile_down(&some, &after).steps.len(), 0);
        prop_assert!(plan.obstacles.is_empty() || plan.steps.is_empty());
        let other = matches!(world.supervisor, Some(Supervisor { voice: Voice::Other { .. }, .. }));
        prop_assert!(!other || some.is_empty() || plan.steps.is_empty(), "a named service ends the others");
    }

    #[test]
    fn every_plan_prints_a_line_for_each_step_and_each_change(
        wanted in wanted(), world in world(), restart: bool, needed_by in needed_by(), took in any::<u64>()
    ) {
        let plan = up(&wanted, &world, restart, &needed_by);
        let last: BTreeMap<String, u64> = plan.steps.iter().map(|step| (step.action.title(), took)).collect();
        let text = render(&plan, &last);
        let changes: usize = plan.steps.iter().map(|step| match &step.cause {
            Cause::Drifted { changes } => changes.len(),
            _ => 0,
        }).sum();
        prop_assert_eq!(text.lines().count(), plan.steps.len() + changes);
        prop_assert!(plan.steps.iter().all(|step| text.contains(&step.action.title())));
        // A difference is told in words; one that has none is told as a sentence, never as two hashes.
        prop_assert!(!text.contains("recipe:"), "{}", text);
    }
}
