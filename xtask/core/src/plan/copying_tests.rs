//! Plans that copy data, as a person reads them.

use super::super::{Supervisor, render};
use super::*;
use crate::process::{Rules, RunAs, Signal, Stop};
use crate::supervise::{Phase, Status};

fn process(service: &str, phase: Phase, after: &[&str]) -> (String, (Process, Status)) {
    let process = Process {
        service: service.into(),
        name: service.into(),
        argv: Vec::new(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        run_as: RunAs::Me,
        stop: Stop { signal: Signal::Term, grace_ms: 1 },
        log: "/dev/null".into(),
        log_limit: 1,
        labels: BTreeMap::new(),
        rules: Rules { after: after.iter().map(ToString::to_string).collect(), ..Rules::default() },
    };
    let pid = (phase == Phase::Running).then_some(7);
    (service.to_owned(), (process, Status { phase, pid, incarnation: 1, uptime_ms: None, last_exit: None }))
}

fn observed(processes: Vec<(String, (Process, Status))>) -> Observed {
    Observed {
        supervisor: Some(Supervisor { pid: 2, voice: Voice::Ours }),
        processes: processes.into_iter().collect(),
        ..Observed::default()
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn exactly_what_ran_is_started_again_in_its_order() {
    let observed = observed(vec![
        process("redis", Phase::Running, &[]),
        process("a-worker", Phase::Running, &["redis"]),
        process("gone", Phase::Running, &[]),
        process("postgresql", Phase::Ended, &[]),
    ]);
    let plan = reconcile_copying(Action::Save("a".into()), &observed, &names(&["redis", "a-worker"]));
    insta::assert_snapshot!(render(&plan, &BTreeMap::new()), @r"
      1  stop a-worker      nothing may write while data is copied
      2  stop gone          nothing may write while data is copied
      3  stop redis         nothing may write while data is copied
      4  end supervisor     follows
      5  save checkpoint a  asked for
      6  start gone         it ran before
      7  start redis        it ran before
      8  await redis        follows
      9  start a-worker     it ran before
     10  await a-worker     follows
    ");
    let (before, after) = plan.around_copying();
    assert_eq!((before.steps.len(), after.steps.len()), (4, 5));
    // Nothing of the second half waits for what is not in it.
    assert_eq!(
        after.steps.iter().map(|step| step.after.clone()).collect::<Vec<_>>(),
        [vec![], vec![], vec![6], vec![7], vec![8],]
    );
}

#[test]
fn where_nothing_runs_there_is_only_the_copying() {
    let plan = reconcile_copying(Action::Restore("a".into()), &Observed::default(), &names(&["redis"]));
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].action.copies());
}

#[test]
fn a_circle_of_several_manifests_ends() {
    let observed = observed(vec![process("a", Phase::Running, &["b"]), process("b", Phase::Running, &["a"])]);
    let plan = reconcile_copying(Action::Save("a".into()), &observed, &names(&["a", "b"]));
    assert_eq!(plan.steps.iter().filter(|step| matches!(step.action, Action::Start(_))).count(), 2);
}

#[test]
fn a_supervisor_that_cannot_be_asked_is_in_the_way() {
    for voice in [Voice::Silent { stopped: true }, Voice::Other { build: "x".into() }] {
        let supervisor = Some(Supervisor { pid: 2, voice });
        let observed = Observed { supervisor, ..Observed::default() };
        let plan = reconcile_copying(Action::Save("a".into()), &observed, &names(&[]));
        assert_eq!((plan.steps.len(), plan.obstacles.len()), (0, 1));
    }
}
