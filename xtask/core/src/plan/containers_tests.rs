//! Plans with containers as a person reads them.

use super::super::{Holder, Retry, Wanted, obstacles_failure, reconcile_down, reconcile_up, render};
use super::*;
use crate::model::{Flags, Layer, resolve};
use crate::place::Place;
use crate::render::compose::of_place;

/// The containers of a manifest in a place.
fn wanted(manifest: &str) -> BTreeMap<String, Contained> {
    let text = format!("backend = \"compose\"\nprofiles.core = [\"redis\", \"postgresql\"]\n{manifest}");
    let ecosystem = resolve(&[Layer { name: "ecosystem.toml", text: &text }], &Flags::default()).unwrap();
    let place = Place {
        id: "a-1".into(),
        root: "/p".into(),
        state: "/p/.ecosystem".into(),
        store: "/s".into(),
        offset: 0,
    };
    let mut all = of_place(&ecosystem, &place, |_| crate::endpoint::Secret::new("secret")).1;
    all.retain(|name, _| ["redis", "postgresql"].contains(&name.as_str()));
    all
}

/// What the engine tells once these run.
fn running(wanted: &BTreeMap<String, Contained>) -> Observed {
    let mut observed = Observed::default();
    for (service, contained) in wanted {
        let seen = Seen {
            id: format!("id of {service}"),
            name: format!("ecosystem-a-1-{service}-1"),
            image: format!("sha256:{service}"),
            phase: Phase::Running,
            pid: Some(7),
            started: String::new(),
            restarts: 0,
            labels: contained.labels.clone(),
            ports: contained.endpoint.ports.values().map(|port| (*port, "127.0.0.1".to_owned())).collect(),
        };
        observed.images.insert(contained.image.clone(), seen.image.clone());
        observed.containers.insert(service.clone(), seen);
    }
    observed
}

fn up(wanted: &BTreeMap<String, Contained>, observed: &Observed, restart: bool) -> Plan {
    let wanted: Vec<(&str, &Contained)> = wanted.iter().map(|(name, c)| (name.as_str(), c)).collect();
    reconcile_up(Wanted { containers: &wanted, ..Wanted::default() }, observed, restart, &BTreeMap::new())
}

fn printed(plan: &Plan) -> String {
    render(plan, &BTreeMap::new())
}

#[test]
fn what_is_not_there_is_fetched_and_made_in_one_call() {
    insta::assert_snapshot!(printed(&up(&wanted(""), &Observed::default(), false)), @"
      1  pull postgres:12.4                  not there yet
      2  pull redis:7                        not there yet
      3  start containers postgresql, redis  in one call of Docker Compose
           postgresql: not there yet
           redis: not there yet
      4  await postgresql                    follows
      5  await redis                         follows
    ");
}

#[test]
fn what_runs_as_wanted_is_only_looked_at() {
    let wanted = wanted("");
    let plan = up(&wanted, &running(&wanted), false);
    assert!(plan.steps.iter().all(|step| step.action.only_looks()) && plan.steps.len() == 2, "{plan:?}");
}

#[test]
fn what_differs_is_told_by_its_name() {
    let mut seen = running(&wanted(""));
    let now = wanted("services.redis = { settings = { maxmemory = \"64mb\" }, ports = { redis = 7000 } }\n");
    seen.images.insert("postgres:12.4".into(), "sha256:another".into());
    insta::assert_snapshot!(printed(&up(&now, &seen, false)), @"
      1  start containers postgresql, redis  in one call of Docker Compose
           postgresql: what runs is not what is wanted
           image: postgres:12.4 as it was → postgres:12.4 as it was fetched since
           redis: what runs is not what is wanted
           ports.redis: 6579 → 7000
           settings.maxmemory: not set → 64mb
      2  await postgresql                    follows
      3  await redis                         follows
    ");
}

#[test]
fn what_ended_is_started_with_how_it_ended_and_the_rest_is_left_alone() {
    let wanted = wanted("");
    let mut seen = running(&wanted);
    for (phase, how) in [
        (Phase::Ended { how: "ended by signal 9".into() }, "it ended by itself: ended by signal 9"),
        (
            Phase::Restarting { how: "ended with exit status 1".into() },
            "it ended by itself: ended with exit status 1",
        ),
        (Phase::Created, "not there yet"),
    ] {
        seen.containers.get_mut("redis").unwrap().phase = phase;
        let plan = up(&wanted, &seen, false);
        assert_eq!(plan.steps[1].action, Action::Apply(vec!["redis".into()]));
        assert!(printed(&plan).contains(&format!("redis: {how}")), "{}", printed(&plan));
        assert_eq!(plan.steps[0].action, Action::Verify("postgresql".into()));
    }
    // Whoever has paused it knows why: that is told, not undone.
    seen.containers.get_mut("redis").unwrap().phase = Phase::Paused;
    assert_eq!(up(&wanted, &seen, false).steps[1].action, Action::Verify("redis".into()));
}

#[test]
fn a_restart_stops_first_and_keeps_the_containers() {
    let wanted = wanted("");
    insta::assert_snapshot!(printed(&up(&wanted, &running(&wanted), true)), @"
      1  stop containers postgresql, redis   asked for
      2  start containers postgresql, redis  in one call of Docker Compose
           postgresql: asked for
           redis: asked for
      3  await postgresql                    follows
      4  await redis                         follows
    ");
}

#[test]
fn all_obstacles_are_told_at_once() {
    let wanted = wanted("");
    let mut seen = Observed::default();
    let container = crate::host::ports::Container {
        name: "site-db-1".into(),
        project: Some("site".into()),
        folder: Some("/p/docker".into()),
        place: None,
        port: 5632,
    };
    let holder =
        Holder { pid: 1, command: String::new(), cwd: None, place: None, container: Some(container) };
    seen.held.insert(5632, Some(holder));
    seen.data.insert("postgresql".into(), Some("postgresql 11".into()));
    seen.data.insert("redis".into(), None);
    let retry = Retry { words: "up".into(), offset: 100, root: "/p".into() };
    let failure = obstacles_failure(&up(&wanted, &seen, false).obstacles, &retry).unwrap();
    insta::assert_snapshot!(format!("{failure}\n{}", failure.hints.join("\n")), @r#"
    nothing was started
    port 5632 (postgresql sql) is held by the container site-db-1 of the Compose project site
    the data of postgresql was made by postgresql 11 and cannot be used by postgresql 12
      in the volume of postgresql
    stop the container: docker stop site-db-1
    or use it as it is: `external = "postgresql://USER:PASSWORD@127.0.0.1:5632/DATABASE"` in [services.postgresql] of ecosystem.toml
    start postgresql afresh, losing its data: {program} down --data postgresql
    run all of it on other ports from now on: {program} up --port-offset 100
    "#);
}

#[test]
fn the_backend_does_not_change_below_what_runs() {
    let wanted = wanted("");
    let seen = running(&wanted);
    assert_eq!(backend_obstacles(&[], &["redis"], &[], &seen), None);
    assert_eq!(backend_obstacles(&["postgresql"], &["redis"], &["minio"], &Observed::default()), None);
    assert!(backend_obstacles(&[], &[], &["redis"], &seen).is_some());
    let obstacle = backend_obstacles(&["redis", "postgresql"], &[], &[], &seen).unwrap();
    let failure =
        obstacles_failure(&[obstacle], &Retry { words: "up".into(), offset: 0, root: "/p".into() }).unwrap();
    insta::assert_snapshot!(format!("{} {failure}\n{}", failure.code, failure.hints.join("\n")), @"
    backend-differs nothing was started
    what runs as containers shall run as processes of yours: redis, postgresql
    stop what runs, then try again: {program} down
    data does not come along: it stays where it is, for when you go back
    ");
}

#[test]
fn down_removes_what_is_there_and_the_network_with_the_last() {
    let wanted = wanted("");
    let seen = running(&wanted);
    let down = |services: &[&str]| {
        let services: Vec<String> = services.iter().map(ToString::to_string).collect();
        reconcile_down(&services, &seen).steps.remove(0).action
    };
    let removed = |services: &[&str], all| Action::Remove {
        services: services.iter().map(ToString::to_string).collect(),
        all,
    };
    assert_eq!(down(&[]), removed(&["postgresql", "redis"], true));
    assert_eq!(down(&["redis"]), removed(&["redis"], false));
    assert!(reconcile_down(&[], &Observed::default()).steps.is_empty());
    // Somebody has removed the containers by hand, and left the network.
    let left = Observed { leftovers: true, ..Observed::default() };
    assert_eq!(reconcile_down(&[], &left).steps[0].action, removed(&[], true));
    assert!(reconcile_down(&["redis".into()], &left).steps.is_empty());
}

#[test]
fn ports_that_lead_to_our_own_containers_are_held_by_nobody_else() {
    let wanted = wanted("");
    let mut seen = running(&wanted);
    assert_eq!(own_ports(&seen).collect::<Vec<_>>(), [5632, 6579]);
    seen.containers.get_mut("redis").unwrap().phase = Phase::Ended { how: String::new() };
    assert_eq!(own_ports(&seen).collect::<Vec<_>>(), [5632]);
}

#[test]
fn what_somebody_else_runs_is_only_looked_at() {
    let wanted = Wanted { elsewhere: &["postgresql"], ..Wanted::default() };
    let plan = reconcile_up(wanted, &Observed::default(), true, &BTreeMap::new());
    insta::assert_snapshot!(printed(&plan), @"  1  verify postgresql  asked for");
}
