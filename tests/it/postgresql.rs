//! PostgreSQL: prepared from a template, protected by a password of its own, and careful with data.

use rustix::process::Signal;

use crate::clients::{Env, number, sql, try_sql};
use crate::support::{Place, eventually, kill};

/// A place with a running PostgreSQL that holds one row.
fn with_a_row() -> (Place, Env) {
    let place = Place::new();
    place.ok(&["up", "postgresql"]);
    let env = place.env();
    sql(&env).batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").unwrap();
    (place, env)
}

#[track_caller]
fn rows(env: &Env) -> i64 {
    number(env, "SELECT count(*) FROM kept")
}

#[test]
fn it_comes_from_the_template_and_wants_its_own_password() {
    let (place, other) = (Place::new(), Place::new());
    place.ok(&["up", "postgresql"]);
    other.ok(&["up", "postgresql"]);
    let env = place.env();
    let server = sql(&env).query_one("SELECT version(), current_setting('cluster_name')", &[]).unwrap();
    let (version, cluster): (String, String) = (server.get(0), server.get(1));
    assert!(version.starts_with("PostgreSQL 12.22"), "{version}");
    let id = place.json(&["status"])["place"].as_str().unwrap().to_owned();
    assert!(cluster.contains(&id), "{cluster} does not name {id}");
    assert_eq!(place.json(&["up", "postgresql"])["unchanged"], true);

    for password in [other.env()["PGPASSWORD"].as_str(), "", "invenio"] {
        let mut wrong = env.clone();
        wrong.insert("PGPASSWORD".into(), password.into());
        assert!(try_sql(&wrong).is_err(), "the password {password:?} must be refused");
    }
    // The superuser that the template may bring has no password that works.
    let mut superuser = env;
    superuser.insert("PGUSER".into(), "postgres".into());
    assert!(try_sql(&superuser).is_err());
}

#[test]
fn data_survives_down_and_the_sigkill_of_the_postmaster() {
    let (place, env) = with_a_row();
    place.ok(&["down"]);
    place.ok(&["up", "postgresql"]);
    assert_eq!(rows(&env), 1);

    // A session that works goes down with its server, and does not keep the next one from starting.
    let mut busy = sql(&env);
    let busy = std::thread::spawn(move || busy.batch_execute("SELECT pg_sleep(60)"));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    eventually("a session works", || number(&env, sleeping) == 1);
    place.kill("postgresql", "postgresql");
    place.ok(&["up", "postgresql"]);
    place.ok(&["status"]);
    assert_eq!(rows(&env), 1);
    assert!(busy.join().unwrap().is_err());
}

#[test]
fn data_survives_the_sigkill_of_the_supervisor() {
    let (place, env) = with_a_row();
    kill(place.supervisor().unwrap(), Signal::KILL);
    eventually("nothing listens", || place.listening().is_empty());
    place.ok(&["up", "postgresql"]);
    assert_eq!(rows(&env), 1);
}

#[test]
fn down_with_data_makes_a_fresh_one_with_the_same_password() {
    let (place, env) = with_a_row();
    place.ok(&["down", "--data", "--yes", "postgresql"]);
    assert!(!place.state().join("postgresql").exists());
    place.ok(&["up", "postgresql"]);
    assert_eq!(number(&env, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"), 0);
}

#[test]
fn an_interrupted_preparation_is_made_again() {
    let place = Place::new();
    place.ok(&["up", "postgresql"]);
    place.ok(&["down"]);
    let home = place.state().join("postgresql");
    // As it looks when the preparation was cut short.
    std::fs::remove_file(home.join("made-by")).unwrap();
    std::fs::rename(home.join("data"), home.join("data.new")).unwrap();
    std::fs::remove_file(home.join("data.new/PG_VERSION")).unwrap();
    place.ok(&["up", "postgresql"]);
    assert_eq!(number(&place.env(), "SELECT 1::bigint"), 1);
}

#[test]
fn data_of_another_major_version_is_refused_and_kept() {
    let (place, env) = with_a_row();
    place.ok(&["down"]);
    place.file(".ecosystem/postgresql/data/PG_VERSION", "11\n");
    let refused = place.run(&["up", "postgresql"]);
    assert_eq!(refused.status, 5, "{refused}");
    for part in [
        "error[data-other-version]: nothing was started",
        "the data of postgresql was made by postgresql 11 and cannot be used by postgresql 12",
        place.state().join("postgresql/data").as_str(),
        "down --data postgresql",
    ] {
        assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
    }
    assert_eq!((place.listening(), place.supervisor()), (vec![], None));

    place.file(".ecosystem/postgresql/data/PG_VERSION", "12\n");
    place.ok(&["up", "postgresql"]);
    assert_eq!(rows(&env), 1);
}

#[test]
fn settings_are_applied_and_a_change_is_named() {
    let place = Place::new();
    place.manifest("services.postgresql.settings.max_connections = 42\n");
    place.ok(&["up", "postgresql"]);
    let env = place.env();
    let setting = |name: &str| number(&env, &format!("SELECT current_setting('{name}')::bigint"));
    assert_eq!(setting("max_connections"), 42);

    place.manifest("services.postgresql.settings = { max_connections = 43, max_wal_senders = 3 }\n");
    let plan = place.ok(&["up", "postgresql", "--dry-run"]);
    for part in ["settings.max_connections: 42 → 43", "settings.max_wal_senders: not set → 3"] {
        assert!(plan.stdout.contains(part), "{part} is missing in\n{plan}");
    }
    assert_eq!(setting("max_connections"), 42, "--dry-run changes nothing");
    place.ok(&["up", "postgresql"]);
    assert_eq!((setting("max_connections"), setting("max_wal_senders")), (43, 3));
    assert_eq!(place.json(&["up", "postgresql"])["unchanged"], true);
}

#[test]
fn a_stale_pid_file_does_not_stop_a_start() {
    let (place, env) = with_a_row();
    let file = place.state().join("postgresql/data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    place.ok(&["down"]);
    assert!(!file.exists());
    let rest = text.split_once('\n').unwrap().1;
    // One process id that nobody has, and one that somebody else has by now: this test.
    for pid in [4_194_303, std::process::id()] {
        place.file(".ecosystem/postgresql/data/postmaster.pid", &format!("{pid}\n{rest}"));
        place.ok(&["up", "postgresql"]);
        assert_eq!(rows(&env), 1);
        place.ok(&["down"]);
    }
}

/// Found by killing at random: PostgreSQL writes over its environment, so this process carries no mark, and does not hear that its server is gone.
#[test]
#[cfg(target_os = "linux")]
fn a_stopped_process_of_a_killed_server_is_ended_by_the_next_command() {
    for command in [["up", "postgresql"].as_slice(), &["down"]] {
        let (place, env) = with_a_row();
        let launcher = "SELECT pid::int8 FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'";
        eventually("the launcher runs", || !sql(&env).query(launcher, &[]).unwrap().is_empty());
        let pid = u32::try_from(sql(&env).query_one(launcher, &[]).unwrap().get::<_, i64>(0)).unwrap();
        kill(pid, Signal::STOP);
        kill(place.supervisor().unwrap(), Signal::KILL);
        eventually("nothing listens", || place.listening().is_empty());
        // What has ended and was not fetched by its parent works nowhere.
        let lives = || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok();
        assert!(lives(), "it is stopped and stays");
        place.ok(command);
        assert!(!lives(), "{command:?} ends it");
        if command[0] == "up" {
            assert_eq!(rows(&env), 1);
        }
    }
}
