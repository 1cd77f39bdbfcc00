//! Back to a pack: everything else goes, nothing is restarted, and whoever is killed meanwhile leaves something that is told and finished.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::clients::{Env, number, search, sql, try_sql};
use crate::json::fits;
use crate::support::{Place, eventually, kill};
use crate::tenants::{caches, declare, queues};

/// The way that each store was taken.
fn ways(report: &Value) -> Vec<String> {
    let rows = report["stores"].as_array().unwrap().iter();
    rows.map(|row| format!("{} {}", row["store"].as_str().unwrap(), row["way"].as_str().unwrap())).collect()
}

/// Does what an application does to the main instance.
fn spoil(env: &Env) {
    sql(env)
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS mine (id int); INSERT INTO mine VALUES (1); \
             UPDATE rdm_records_metadata SET version_id = 99; DELETE FROM pidstore_pid",
        )
        .unwrap();
    search(env, "PUT", "/invenio-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    search(env, "PUT", "/elsewhere/_doc/1?refresh=true", Some(&json!({"a": 1})));
    search(
        env,
        "POST",
        "/invenio-rdmrecords/_delete_by_query?refresh=true",
        Some(&json!({"query": {"match_all": {}}})),
    );
    let template = json!({"index_patterns": ["mine-*"]});
    search(env, "PUT", "/_index_template/mine", Some(&template));
    caches(env, "SET mine 1");
}

fn is_spoilt(env: &Env) -> bool {
    number(env, "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'") > 0
}

fn indices(env: &Env) -> Vec<String> {
    let all = search(env, "GET", "/_cat/indices?format=json&h=index&s=index", None);
    all.as_array().unwrap().iter().map(|row| row["index"].as_str().unwrap().to_owned()).collect()
}

const OURS: &str = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ecosystem\\_%'";

#[test]
fn everything_else_goes_the_pack_comes_back_and_nothing_is_restarted() {
    let place = crate::whole::seeded();
    place.ok(&["up"]);
    let env = place.env();
    let packed = (indices(&env), queues(&env));
    let services = ["postgresql", "opensearch", "rabbitmq", "redis"];
    let pids = || services.map(|service| place.pids(service));
    let before = pids();
    place.ok(&["tenant", "create", "review"]);
    let review: Env = serde_json::from_value(place.json(&["env", "--tenant", "review"])).unwrap();
    sql(&review).batch_execute("CREATE TABLE mine (id int)").unwrap();
    search(&env, "PUT", "/review-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    search(&env, "PUT", "/_index_template/review-mine", Some(&json!({"index_patterns": ["review-*"]})));
    let templates =
        || search(&env, "GET", "/_index_template", None)["index_templates"].as_array().unwrap().len();
    declare(&review, "mine");
    caches(&review, "SET mine 1");
    sql(&env).batch_execute("CREATE DATABASE theirs").unwrap();
    spoil(&env);
    declare(&env, "mine");

    let refused = place.run(&["reset"]);
    assert!(refused.status == 2 && refused.stderr.contains("error[needs-yes]"), "{refused}");
    assert!(
        refused.stderr.contains("checkpoint save") && refused.stderr.contains("invenio-mine"),
        "{refused}"
    );
    assert!(!refused.stderr.contains("review-mine"), "{refused}");
    let planned = place.json(&["reset", "--dry-run"]);
    fits("Reset", &planned);
    assert!(is_spoilt(&env) && planned["dry_run"] == true);

    for round in ["loaded", "baseline"] {
        // An application that is in the middle of something, and one that comes back again and again.
        let mut open = sql(&env);
        let mut open = open.transaction().unwrap();
        open.batch_execute("LOCK rdm_records_metadata").unwrap();
        let over = AtomicBool::new(false);
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // Refused or not, and sent away in the middle: both are right.
                    let _sent_away =
                        try_sql(&env).map(|mut client| client.batch_execute("SELECT pg_sleep(0.01)"));
                }
            });
            let done = place.run(&["reset", "--yes", "--format", "json"]);
            over.store(true, Ordering::SeqCst);
            done
        });
        assert_eq!(done.status, 0, "{done}");
        let done = done.report();
        fits("Reset", &done);
        let expected = [
            format!("opensearch {round}"),
            format!("postgresql {round}"),
            "rabbitmq loaded".to_owned(),
            "redis emptied".to_owned(),
        ];
        assert_eq!(ways(&done), expected, "{done}");
        assert!(open.batch_execute("SELECT 1").is_err(), "whoever was connected is sent away");
        assert_eq!(place.json(&["pack", "verify"])["equal"], true);
        assert!(!is_spoilt(&env));
        let tenants = (number(&review, "SELECT count(*) FROM mine"), queues(&review).len());
        assert_eq!(tenants, (0, 1));
        assert_eq!(caches(&env, "DBSIZE").matches(":0").count(), 5);
        assert_eq!(caches(&review, "GET mine").matches("$1\r\n1").count(), 5);
        search(&env, "DELETE", "/review-mine", None);
        assert_eq!((indices(&env), queues(&env)), packed);
        assert_eq!((pids(), number(&env, OURS), templates()), (before.clone(), 1, 1));
        search(&env, "PUT", "/review-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
        spoil(&env);
    }
    // What was kept is no part of the configuration, and no data that a pack would stumble over.
    place.ok(&["snapshot", "--accept"]);

    // A pack that has changed is loaded, and what was kept of the earlier one is forgotten.
    let schema = std::fs::read_to_string(place.root.join("seeds/demo/postgresql/schema.sql")).unwrap();
    place.file("seeds/demo/postgresql/schema.sql", &format!("{schema}\n-- changed\n"));
    assert_eq!(ways(&place.json(&["reset", "--yes"]))[..2], ["opensearch baseline", "postgresql loaded"]);
    assert_eq!(number(&env, OURS), 1);
    // What was kept and is damaged is not taken for good.
    let kept = place.state().join("opensearch/data/snapshots/ecosystem/indices");
    std::fs::remove_dir_all(kept).unwrap();
    let run = place.run(&["reset", "--yes", "--format", "json"]);
    assert!(run.status == 0 && run.stderr.contains("cannot be put back"), "{run}");
    assert_eq!(ways(&run.report())[..2], ["opensearch loaded", "postgresql baseline"]);
    assert_eq!(place.json(&["pack", "verify"])["equal"], true);
    // A damaged pack is found before anything is deleted.
    spoil(&env);
    place.file("seeds/demo/postgresql/rdm_records_metadata.tsv", "broken\n");
    let damaged = place.run(&["reset", "--yes"]);
    assert!(damaged.status == 6 && damaged.stderr.contains("error[pack-invalid]"), "{damaged}");
    assert!(is_spoilt(&env) && place.json(&["status"]).get("resetting").is_none());
}

#[test]
fn a_captured_pack_has_nothing_of_tenants_and_comes_back_with_its_templates() {
    let place = Place::heavy();
    place.ok(&["up", "postgresql", "opensearch"]);
    let env = place.env();
    sql(&env).batch_execute(crate::capture::TABLES).unwrap();
    crate::capture::indices(&env);
    place.ok(&["tenant", "create", "review"]);
    search(&env, "PUT", "/review-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    search(&env, "PUT", "/_index_template/review-mine", Some(&json!({"index_patterns": ["review-*"]})));
    place.ok(&["pack", "capture", "app"]);
    for (name, bytes) in crate::capture::files(&place, "app") {
        assert!(!name.contains("review") && !String::from_utf8(bytes).unwrap().contains("review-"), "{name}");
    }
    let templates = || {
        let all = ["_index_template", "_component_template", "_template"];
        all.map(|kind| search(&env, "GET", &format!("/{kind}"), None))
    };
    let before = templates();
    for way in ["loaded", "baseline"] {
        search(&env, "PUT", "/_template/mine", Some(&json!({"index_patterns": ["mine-*"]})));
        let done = place.json(&["reset", "app", "--yes"]);
        assert_eq!(ways(&done), [format!("opensearch {way}"), format!("postgresql {way}")], "{done}");
        let equal = place.json(&["pack", "verify", "app"]);
        assert_eq!(equal["equal"], true, "{equal}");
        assert_eq!(templates(), before);
    }
    search(&env, "GET", "/review-mine", None);
}

#[test]
fn whoever_is_killed_at_whatever_moment_leaves_the_old_database_or_the_new_one_and_the_next_finishes() {
    let place = Place::heavy();
    // It is this program that is killed, not the server: that need not wait for the disk.
    place.manifest(
        "seed = \"big\"\nservices.postgresql.settings = { autovacuum = \"off\", fsync = \"off\" }\n",
    );
    place.ok(&["pack", "new", "big", "--synthetic", "1000"]);
    // A pack that may be changed: without digests.
    let manifest = std::fs::read_to_string(place.root.join("seeds/big/pack.toml")).unwrap();
    place.file("seeds/big/pack.toml", manifest.split("[files.").next().unwrap());
    place.ok(&["up", "--no-seed", "postgresql", "opensearch", "redis"]);
    let env = place.env();
    place.ok(&["seed"]);
    let beside = [("PGDATABASE".to_owned(), "postgres".to_owned())];
    let server: Env = env.clone().into_iter().chain(beside).collect();
    let ours = |what: &str| {
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname LIKE 'ecosystem\\_{what}%'");
        number(&server, &sql)
    };
    let gone = || !indices(&env).contains(&"invenio-mine".to_owned());
    let back = || gone() && indices(&env).len() == 2;
    // While the new database is made, when indices are gone, when they are back, while it is kept, when the names have changed.
    let moments: [&dyn Fn() -> bool; 5] =
        [&|| ours("new") > 0, &gone, &back, &|| ours("baseline") > 1, &|| ours("old") > 0];
    for (round, moment) in moments.iter().chain(&moments[..3]).enumerate() {
        spoil(&env);
        if round < moments.len() {
            // Each of these moments of a first time as well.
            append(&place, "postgresql/finish.sql", &format!("-- {round}\n"));
            append(&place, "opensearch/records.json", "\n");
        }
        let mut reset = place.command(&["reset", "--yes"]);
        let mut reset =
            reset.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let ended = || std::fs::read_to_string(format!("/proc/{}/stat", reset.id())).unwrap().contains(") Z");
        eventually("the moment has come, or is over", || moment() || ended());
        kill(reset.id(), Signal::KILL);
        reset.wait().unwrap();

        // A statement that was on its way when its sender was killed is finished by the server.
        eventually("the database can be used", || try_sql(&env).is_ok());
        let rows = number(&env, "SELECT count(*) FROM rdm_records_metadata");
        assert_eq!(rows, 1_000, "the old database or the new one, never another");
        if let Some(pack) = place.json(&["status"]).get("resetting") {
            assert_eq!(pack, "big");
            let told = place.run(&["tenant", "create", "any"]);
            assert!(told.stderr.contains("going back to the pack big was interrupted"), "{told}");
            place.ok(&["tenant", "delete", "any", "--yes"]);
        } else {
            assert!(!is_spoilt(&env) || !place.state().join("reset.toml").exists());
        }
        place.ok(&["reset", "--yes"]);
        assert_eq!(place.json(&["pack", "verify"])["equal"], true);
        assert!(!is_spoilt(&env) && back());
        assert_eq!((number(&env, OURS), caches(&env, "DBSIZE").matches(":0").count()), (1, 5));
        assert!(place.json(&["status"]).get("resetting").is_none());
    }
}

/// Adds to a file of the pack.
fn append(place: &Place, file: &str, text: &str) {
    let file = format!("seeds/big/{file}");
    let before = std::fs::read_to_string(place.root.join(&file)).unwrap();
    place.file(&file, &(before + text));
}
