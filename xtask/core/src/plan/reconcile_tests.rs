//! Plans as a person reads them, for everything that can be wanted and everything that can be found.

use super::super::{Holder, Retry, Supervisor, obstacles_failure, render};
use super::*;
use crate::catalog::{Data, Kind};
use crate::process::{Rules, RunAs, Signal, Stop};

fn processes<'a>(processes: &'a [(&'a str, &'a Launch)]) -> Wanted<'a> {
    Wanted { processes, ..Wanted::default() }
}

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
        rules: Rules::default(),
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
            watched: None,
            storage: crate::endpoint::Storage::default(),
        },
        made_by: "redis 7".into(),
        settings: BTreeMap::new(),
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
    render(
        &reconcile_up(processes(&[("redis", wanted)]), observed, false, &BTreeMap::new()),
        &BTreeMap::default(),
    )
}

fn again() -> Retry {
    Retry { words: "up".into(), offset: 100, root: "/p".into() }
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
    let plan = reconcile_up(processes(&[("redis", &launch(vec![redis], 1))]), &seen, false, &BTreeMap::new());
    let failure = obstacles_failure(&plan.obstacles, &again()).unwrap();
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
    let holder = Holder {
        pid: 4711,
        command: "redis-server *:1".into(),
        cwd: Some("/srv".into()),
        place: None,
        container: None,
    };
    seen.held.insert(1, Some(holder));
    seen.data.insert("redis".into(), Some("redis 6".into()));
    let plan = reconcile_up(
        processes(&[("redis", &launch(vec![process("redis", "redis", &[])], 1))]),
        &seen,
        false,
        &BTreeMap::new(),
    );
    assert_eq!(plan.obstacles.len(), 2);
    insta::assert_snapshot!(obstacles_failure(&plan.obstacles, &again()).unwrap(), @"
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
    assert_eq!(
        reconcile_up(processes(&[("redis", &launch(vec![redis], 1))]), &seen, false, &BTreeMap::new())
            .obstacles,
        []
    );
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

/// A process of the manifest that starts after these.
fn program(service: &str, after: &[&str]) -> Launch {
    let mut process = process(service, service, &[]);
    process.argv = vec!["run".into(), service.into(), "with words".into()];
    process.rules.after = after.iter().map(ToString::to_string).collect();
    let mut launch = launch(vec![process], 1);
    launch.endpoint.kind = Kind::Process;
    launch
}

fn plan(wanted: &[(&str, &Launch)], seen: &Observed, restart: bool, needed_by: &[(&str, &str)]) -> String {
    let needed_by = needed_by.iter().map(|(name, by)| ((*name).to_owned(), (*by).to_owned())).collect();
    let plan = reconcile_up(processes(wanted), seen, restart, &needed_by);
    let after = |step: &super::super::Step| {
        let steps: Vec<String> = step.after.iter().map(|id| (id + 1).to_string()).collect();
        format!("{} waits for {}\n", step.id + 1, steps.join(", "))
    };
    let order: String = plan.steps.iter().filter(|step| !step.after.is_empty()).map(after).collect();
    format!("{}{order}", render(&plan, &BTreeMap::default()))
}

#[test]
fn a_process_starts_when_what_it_starts_after_is_ready() {
    let (redis, web, worker) = (
        launch(vec![process("redis", "redis", &[])], 1),
        program("web", &["redis"]),
        program("worker", &["web"]),
    );
    let wanted = [("worker", &worker), ("web", &web), ("redis", &redis)];
    insta::assert_snapshot!(plan(&wanted, &Observed::default(), false, &[("redis", "web")]), @"
      1  start redis   web starts after it
      2  await redis   follows
      3  start web     not there yet
           runs: run web 'with words'
           in:   /
      4  await web     follows
      5  start worker  not there yet
           runs: run worker 'with words'
           in:   /
      6  await worker  follows
    2 waits for 1
    3 waits for 2
    4 waits for 3
    5 waits for 4
    6 waits for 5
    ");
}

#[test]
fn what_runs_already_is_looked_at_before_what_starts_after_it() {
    let redis = process("redis", "redis", &[]);
    let (seen, web) = (observed(&[(&redis, Phase::Running)]), program("web", &["redis"]));
    let redis = launch(vec![redis], 1);
    insta::assert_snapshot!(plan(&[("redis", &redis), ("web", &web)], &seen, false, &[("redis", "web")]), @"
      1  verify redis  web starts after it
      2  start web     not there yet
           runs: run web 'with words'
           in:   /
      3  await web     follows
    2 waits for 1
    3 waits for 2
    ");
}

#[test]
fn a_restart_stops_in_the_other_order_and_leaves_alone_what_was_only_brought_along() {
    let redis = launch(vec![process("redis", "redis", &[])], 1);
    let (web, worker) = (program("web", &["redis"]), program("worker", &["web", "redis"]));
    let all = [&redis.processes[0], &web.processes[0], &worker.processes[0]];
    let seen = observed(&all.map(|process| (process, Phase::Running)));
    let wanted = [("redis", &redis), ("web", &web), ("worker", &worker)];
    insta::assert_snapshot!(plan(&wanted, &seen, true, &[]), @"
      1  stop worker   asked for
      2  stop web      asked for
      3  stop redis    asked for
      4  start redis   follows
      5  await redis   follows
      6  start web     follows
           runs: run web 'with words'
           in:   /
      7  await web     follows
      8  start worker  follows
           runs: run worker 'with words'
           in:   /
      9  await worker  follows
    2 waits for 1
    3 waits for 2, 1
    4 waits for 3
    5 waits for 4
    6 waits for 2, 5
    7 waits for 6
    8 waits for 1, 7, 5
    9 waits for 8
    ");
    insta::assert_snapshot!(plan(&wanted, &seen, true, &[("redis", "web")]), @"
      1  verify redis  web starts after it
      2  stop worker   asked for
      3  stop web      asked for
      4  start web     follows
           runs: run web 'with words'
           in:   /
      5  await web     follows
      6  start worker  follows
           runs: run worker 'with words'
           in:   /
      7  await worker  follows
    3 waits for 2
    4 waits for 3, 1
    5 waits for 4
    6 waits for 2, 5, 1
    7 waits for 6
    ");
}

#[test]
fn down_stops_first_what_starts_after_others() {
    let redis = process("redis", "redis", &[]);
    let (web, worker) = (program("web", &["redis"]), program("a-worker", &["web", "redis"]));
    let seen = observed(&[
        (&redis, Phase::Running),
        (&web.processes[0], Phase::Running),
        (&worker.processes[0], Phase::Running),
    ]);
    insta::assert_snapshot!(render(&reconcile_down(&[], &seen), &BTreeMap::default()), @"
    1  stop a-worker   asked for
    2  stop web        asked for
    3  stop redis      asked for
    4  end supervisor  follows
    ");
    let some = reconcile_down(&["redis".into(), "a-worker".into()], &seen);
    insta::assert_snapshot!(render(&some, &BTreeMap::default()), @"
    1  stop a-worker  asked for
    2  stop redis     asked for
    ");
}

#[test]
fn what_waits_for_itself_is_stopped_all_the_same() {
    let (one, other) = (program("one", &["other"]), program("other", &["one"]));
    let seen = observed(&[(&one.processes[0], Phase::Running), (&other.processes[0], Phase::Running)]);
    assert_eq!(reconcile_down(&[], &seen).steps.len(), 3);
}

#[test]
fn another_path_of_the_person_is_no_drift_and_a_path_of_the_manifest_is() {
    let with = |path: &str, inherited: bool| {
        let mut launch = program("web", &[]);
        launch.processes[0].env.insert("PATH".into(), path.into());
        launch.processes[0].rules.inherited = if inherited { vec!["PATH".into()] } else { vec![] };
        launch
    };
    let running = with("/venv/bin", true);
    let seen = observed(&[(&running.processes[0], Phase::Running)]);
    let verify = "  1  verify web  asked for\n";
    assert_eq!(plan(&[("web", &with("/usr/bin", true))], &seen, false, &[]), verify);
    assert_ne!(plan(&[("web", &with("/usr/bin", false))], &seen, false, &[]), verify);
}

/// A plan for two services of which nobody waits for the first one.
fn up_lazily(observed: &Observed) -> String {
    let (console, redis) = (
        launch(vec![process("console", "console", &[])], 2),
        launch(vec![process("redis", "redis", &[])], 1),
    );
    let both = [("console", &console), ("redis", &redis)];
    let wanted = Wanted { lazy: &["console"], ..processes(&both) };
    render(&reconcile_up(wanted, observed, false, &BTreeMap::new()), &BTreeMap::default())
}

#[test]
fn one_that_nobody_waits_for_starts_when_all_others_are_ready() {
    insta::assert_snapshot!(up_lazily(&Observed::default()), @"
    1  start redis    not there yet
    2  await redis    follows
    3  start console  not there yet
    ");
}

#[test]
fn one_that_nobody_waits_for_and_that_runs_is_left_alone() {
    let (console, redis) = (process("console", "console", &[]), process("redis", "redis", &[]));
    let seen = observed(&[(&console, Phase::Running), (&redis, Phase::Running)]);
    insta::assert_snapshot!(up_lazily(&seen), @"  1  verify redis  asked for");
    let ended = observed(&[(&console, Phase::Failed), (&redis, Phase::Running)]);
    insta::assert_snapshot!(up_lazily(&ended), @"
    1  verify redis   asked for
    2  start console  it ended by itself: exit status 1
    ");
}
