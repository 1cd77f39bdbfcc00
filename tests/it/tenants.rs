//! Tenants: made, listed and deleted; and commands on tenants of their own, whatever those do and however they end.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::clients::{Env, http, manage, number, search, sql, try_sql};
use crate::json::fits;
use crate::redis::redis;
use crate::support::{Place, Run, eventually, kill};

/// Commands on each of the five databases of Redis that these settings name; returns what came back.
pub(crate) fn caches(env: &Env, command: &str) -> String {
    let names = [
        "INVENIO_CACHE_REDIS_URL",
        "INVENIO_ACCOUNTS_SESSION_REDIS_URL",
        "INVENIO_CELERY_RESULT_BACKEND",
        "INVENIO_RATELIMIT_STORAGE_URI",
        "INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL",
    ];
    let (address, _) = env[names[0]].rsplit_once('/').unwrap();
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let select = |name: &&str| format!("SELECT {}\r\n{command}\r\n", env[*name].rsplit_once('/').unwrap().1);
    let all: String = names.iter().map(select).collect();
    redis(port, &format!("AUTH {}\r\n{all}", env["REDISCLI_AUTH"]))
}

/// The virtual host of these settings, as a part of a path.
fn vhost(env: &Env) -> &str {
    env["INVENIO_BROKER_URL"].rsplit_once('/').unwrap().1
}

pub(crate) fn queues(env: &Env) -> BTreeSet<String> {
    let (status, all) = manage(env, "GET", &format!("/api/queues/{}?columns=name", vhost(env)));
    assert_eq!(status, 200, "{all}");
    all.as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn declare(env: &Env, queue: &str) {
    let path = format!("/api/queues/{}/{queue}", vhost(env));
    let (status, answer) =
        http("PUT", &env["RABBITMQ_MANAGEMENT_URL"], &path, Some(&json!({"durable": true})));
    assert!(status < 300, "{answer}");
}

pub(crate) fn databases(env: &Env) -> i64 {
    number(env, "SELECT count(*) FROM pg_database")
}

fn tenants(place: &Place) -> Vec<String> {
    let listed = place.json(&["tenant", "list"]);
    fits("Tenants", &listed);
    let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
    listed["tenants"].as_array().unwrap().iter().map(name).collect()
}

/// Not a test by itself: what `test` runs below, with nothing but the variables that it was given.
#[test]
#[ignore = "it destroys what its environment names; another test runs it"]
fn vandal() {
    #[expect(clippy::disallowed_methods, reason = "what it was given is what it is about")]
    let env: Env = std::env::vars().collect();
    assert!(env["ECOSYSTEM_TENANT"].starts_with("test-"), "only on a tenant");
    assert_eq!(number(&env, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0);
    assert_eq!((queues(&env), caches(&env, "DBSIZE").matches(":0").count()), (BTreeSet::new(), 5));
    for name in ["SQLALCHEMY_DATABASE_URI", "BROKER_URL", "SEARCH_HOSTS", "CACHE_REDIS_URL"] {
        assert_eq!(env[name], env[&format!("INVENIO_{name}")]);
    }
    assert_eq!(env["CELERY_BROKER_URL"], env["BROKER_URL"]);
    assert!(env["SQLALCHEMY_DATABASE_URI"].ends_with(&format!("/{}", env["PGDATABASE"])));

    sql(&env).batch_execute("CREATE TABLE rdm_records_metadata (id int)").unwrap();
    let prefix = &env["INVENIO_SEARCH_INDEX_PREFIX"];
    search(&env, "PUT", &format!("/{prefix}records/_doc/1?refresh=true"), Some(&json!({"a": 1})));
    let template = json!({"index_patterns": [format!("{prefix}*")]});
    search(&env, "PUT", &format!("/_index_template/{prefix}stats"), Some(&template));
    declare(&env, "celery");
    caches(&env, "SET here 1");

    sql(&env).batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    search(&env, "DELETE", &format!("/{prefix}records"), None);
    for queue in queues(&env) {
        manage(&env, "DELETE", &format!("/api/queues/{}/{queue}", vhost(&env)));
    }
    caches(&env, "FLUSHDB");
    // What it does not clear away is cleared away.
    search(&env, "PUT", &format!("/{prefix}left"), None);
    declare(&env, "left");
    caches(&env, "SET left 1");
    let mut left = sql(&env);
    left.batch_execute("CREATE TABLE left_over (id int); BEGIN; LOCK left_over").unwrap();
    std::mem::forget(left);
}

#[test]
fn a_command_that_drops_everything_leaves_the_main_instance_untouched() {
    let place = crate::whole::seeded();
    place.ok(&["up"]);
    let env = place.env();
    caches(&env, "SET mine 1");
    search(&env, "PUT", "/invenio-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    search(&env, "PUT", "/mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    declare(&env, "mine");
    let created = place.json(&["tenant", "create", "review"]);
    fits("CreatedTenant", &created);
    assert_eq!(created["left_out"]["minio"], "it does not run", "{created}");
    let review: Env = serde_json::from_value(place.json(&["env", "--tenant", "review"])).unwrap();
    sql(&review).batch_execute("CREATE TABLE mine (id int)").unwrap();
    declare(&review, "mine");
    caches(&review, "SET mine 1");
    search(&review, "PUT", "/review-mine/_doc/1?refresh=true", Some(&json!({"a": 1})));
    let seen = || {
        let indices = search(&env, "GET", "/_cat/indices?format=json&h=index,docs.count&s=index", None);
        let templates = search(&env, "GET", "/_index_template", None)["index_templates"].clone();
        let counts = ["rdm_records_metadata", "pidstore_pid"]
            .map(|t| number(&env, &format!("SELECT count(*) FROM {t}")));
        let vhosts = manage(&env, "GET", "/api/vhosts?columns=name").1;
        let keys = [caches(&env, "KEYS *"), caches(&review, "KEYS *")];
        (indices, templates, counts, vhosts, databases(&env), queues(&env), queues(&review), keys)
    };
    let before = seen();
    let binary = std::env::current_exe().unwrap();
    let vandal =
        ["test", "--", binary.to_str().unwrap(), "--ignored", "--exact", "tenants::vandal", "--nocapture"];
    let run = place.run(&vandal);
    assert_eq!(run.status, 0, "{run}");
    assert_eq!(seen(), before);
    assert_eq!(number(&review, "SELECT count(*) FROM mine"), 0);
    assert_eq!(tenants(&place), ["review"]);
    assert_eq!(place.json(&["pack", "verify"])["equal"], true);
    // What only begins with its name is not a tenant's that never had a part of the search engine.
    place.ok(&["down", "opensearch"]);
    place.ok(&["tenant", "create", "early"]);
    place.ok(&["up", "opensearch"]);
    search(&env, "PUT", "/early-theirs", None);
    place.ok(&["tenant", "delete", "early", "--yes"]);
    search(&env, "GET", "/early-theirs", None);
    let refused = place.run(&["tenant", "create", "early"]);
    assert!(
        refused.status == 6 && refused.stderr.contains("OpenSearch has an index early-theirs"),
        "{refused}"
    );
    // What tenants make is no change of the configuration.
    place.ok(&["snapshot", "--accept"]);
    place.ok(&["tenant", "create", "another"]);
    place.ok(&["snapshot", "--check"]);
}

/// A place in which the two cheapest servers run.
fn light() -> Place {
    let place = Place::new();
    place.ok(&["up", "postgresql", "redis"]);
    place
}

#[test]
fn exit_status_streams_and_signals_are_the_commands_own() {
    let place = light();
    let before = databases(&place.env());
    let sh = |script: &str| place.run(&["test", "postgresql", "--", "sh", "-c", script]);
    assert_eq!(sh("exit 7").status, 7);
    assert_eq!(sh("kill -9 $$").status, 137);
    let run =
        sh("echo out; echo err >&2; echo \"$ECOSYSTEM_TENANT ${INVENIO_CACHE_REDIS_URL-none} $PGDATABASE\"");
    assert!(run.stdout.starts_with("out\ntest-") && run.stderr.contains("err"), "{run}");
    assert!(run.stdout.contains(" none invenio_test_"), "{run}");
    let mut command =
        place.command(&["test", "--", "sh", "-c", "echo ${INVENIO_BROKER_URL-none} $PGDATABASE"]);
    let run = Run::of(command.env("INVENIO_BROKER_URL", "amqp://of-development"));
    assert!(
        run.stdout.starts_with("none invenio_test_"),
        "a setting that leads to no tenant is taken away: {run}"
    );
    for (args, status, code) in [
        (&["test", "--", "no-such-program-here"][..], 3, "program-missing"),
        (&["test", "rabbitmq", "--", "true"], 5, "service-unusable"),
        (&["test", "reddis", "--", "true"], 2, "unknown-service"),
    ] {
        let refused = place.run(args);
        assert!(refused.status == status && refused.stderr.contains(code), "{refused}");
    }
    // A signal goes to the command, which does what it likes with it, and the tenant goes afterwards.
    for (signal, status) in [(Signal::TERM, 41), (Signal::INT, 42), (Signal::HUP, 43)] {
        let script = "trap 'exit 41' TERM; trap 'exit 42' INT; trap 'exit 43' HUP; touch ready; while :; do sleep 0.01; done";
        let mut child = place.command(&["test", "--", "sh", "-c", script]).spawn().unwrap();
        let ready = place.root.join("ready");
        eventually("the command runs", || ready.exists());
        kill(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        std::fs::remove_file(ready).unwrap();
    }
    assert_eq!((tenants(&place).len(), databases(&place.env())), (0, before));

    let kept = place.ok(&["test", "--keep", "--", "true"]);
    let names = tenants(&place);
    assert!(names.len() == 1 && kept.stderr.contains(&names[0]), "{kept}");
    place.ok(&["test", "--", "true"]);
    assert_eq!(tenants(&place), names, "what was kept is nobody's to delete");
    place.ok(&["tenant", "delete", &names[0], "--yes"]);
    assert_eq!(databases(&place.env()), before);
}

#[test]
fn ctrl_c_reaches_the_command_once_and_the_tenant_goes() {
    let place = light();
    place.file(
        "work.sh",
        "trap 'echo once >> caught; sleep 0.1; exit 44' INT; touch ready; while :; do sleep 0.01; done\n",
    );
    let mut command = place.on_terminal(&["test", "--", "sh", "work.sh"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    eventually("the command runs", || place.root.join("ready").exists());
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(44));
    assert_eq!(std::fs::read_to_string(place.root.join("caught")).unwrap(), "once\n");
    assert_eq!(tenants(&place), [""; 0]);
}

#[test]
fn several_at_once_have_nothing_in_common() {
    let place = light();
    let before = databases(&place.env());
    let script = "echo \"$PGDATABASE $REDIS_URL\"; touch $ECOSYSTEM_TENANT; while [ $(ls -d test-* | wc -l) -lt 3 ]; do sleep 0.01; done";
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let run = || place.run(&["test", "--", "sh", "-c", script]);
        let all: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let words: BTreeSet<&str> = runs.iter().flat_map(|run| run.stdout.split_whitespace()).collect();
    assert_eq!(words.len(), 6, "{words:?}");
    assert!(runs.iter().all(|run| run.status == 0));
    assert_eq!((tenants(&place).len(), databases(&place.env())), (0, before));
}

#[test]
fn what_a_killed_test_leaves_is_removed_by_the_next_one_and_by_nobody_earlier() {
    let place = light();
    let before = databases(&place.env());
    let mut child =
        place.command(&["test", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"]).spawn().unwrap();
    let pid = || std::fs::read_to_string(place.root.join("pid")).ok()?.trim().parse::<u32>().ok();
    eventually("the command runs", || pid().is_some());
    kill(child.id(), Signal::KILL);
    child.wait().unwrap();
    // The command goes on: what it works on stays.
    place.ok(&["test", "--", "true"]);
    assert_eq!(tenants(&place).len(), 1);
    // Checkpoints stop the servers: not while somebody works on a tenant.
    let refused = place.run(&["checkpoint", "save", "now"]);
    assert!(refused.status == 6 && refused.stderr.contains("error[tenant-in-use]"), "{refused}");
    assert!(refused.stderr.contains(&format!("{}: a command runs on it", tenants(&place)[0])), "{refused}");
    kill(pid().unwrap(), Signal::KILL);
    eventually("it is gone", || !std::path::Path::new(&format!("/proc/{}", pid().unwrap())).exists());
    let next = place.ok(&["test", "--", "true"]);
    assert!(next.stderr.contains("which a command that was killed had left"), "{next}");
    assert_eq!((tenants(&place).len(), databases(&place.env())), (0, before));
    let left: Vec<_> = place.state().join("tenants").read_dir_utf8().unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_tenant_that_somebody_is_connected_to_keeps_checkpoints_away() {
    let place = light();
    place.ok(&["tenant", "create", "review"]);
    place.ok(&["checkpoint", "save", "before"]);
    let own: Env = serde_json::from_value(place.json(&["env", "--tenant", "review"])).unwrap();
    let connection = sql(&own);
    let refused = place.run(&["checkpoint", "restore", "before", "--yes"]);
    assert!(
        refused.status == 6 && refused.stderr.contains("review: 1 connections to its database"),
        "{refused}"
    );
    drop(connection);
    eventually("the connection is gone", || {
        place.run(&["checkpoint", "restore", "before", "--yes"]).status == 0
    });
}

#[test]
fn names_and_what_is_somebody_elses_are_respected() {
    let place = light();
    let env = place.env();
    let refused = |args: &[&str], status: i32, code: &str| {
        let run = place.run(args);
        assert!(run.status == status && run.stderr.contains(code), "{code}: {run}");
    };
    for name in ["invenio", "invenio-x", "test", "test-1", "A", "a_b", "a*"] {
        refused(&["tenant", "create", name], 2, "error[tenant-name]");
    }
    sql(&env).batch_execute("CREATE DATABASE invenio_theirs").unwrap();
    refused(&["tenant", "create", "theirs"], 6, "PostgreSQL has a database invenio_theirs already");
    assert_eq!(tenants(&place), [""; 0]);

    place.ok(&["tenant", "create", "a-b"]);
    refused(&["tenant", "create", "a"], 2, "error[tenant-overlaps]");
    refused(&["tenant", "create", "a-b-c"], 2, "error[tenant-overlaps]");
    refused(&["tenant", "delete", "a-b"], 2, "error[needs-yes]");
    refused(&["tenant", "delete", "theirs", "--yes"], 2, "error[no-such-tenant]");
    refused(&["env", "--tenant", "b"], 2, "error[no-such-tenant]");
    let own: Env = serde_json::from_value(place.json(&["env", "--tenant", "a-b"])).unwrap();
    assert_eq!((own["PGDATABASE"].as_str(), own.get("INVENIO_BROKER_URL")), ("invenio_a_b", None));
    // The first five are the main instance's; what holds anything is given to nobody.
    assert!(own["REDIS_URL"].ends_with("/5"), "{}", own["REDIS_URL"]);
    redis(place.port(6579), &format!("AUTH {}\r\nSELECT 12\r\nSET theirs 1\r\n", env["REDISCLI_AUTH"]));
    place.ok(&["tenant", "create", "b"]);
    let other: Env = serde_json::from_value(place.json(&["env", "--tenant", "b"])).unwrap();
    assert!(other["REDIS_URL"].ends_with("/15"), "{}", other["REDIS_URL"]);

    // What is there stays as it is.
    sql(&own).batch_execute("CREATE TABLE mine (id int)").unwrap();
    caches(&own, "SET mine 1");
    place.ok(&["tenant", "create", "a-b"]);
    assert_eq!(number(&own, "SELECT count(*) FROM mine"), 0);
    assert_eq!(caches(&own, "GET mine").matches("$1\r\n1").count(), 5);
    fits("DeletedTenant", &place.json(&["tenant", "delete", "a-b", "--yes"]));
    assert!(try_sql(&own).is_err());
    assert_eq!(caches(&own, "DBSIZE").matches(":0").count(), 5);
    assert_eq!(tenants(&place), ["b"]);
    place.ok(&["down", "--data", "--yes"]);
    assert_eq!(tenants(&place), [""; 0]);
}

#[test]
fn what_is_half_made_or_half_deleted_is_finished_by_the_next_call() {
    let place = light();
    place.ok(&["tenant", "create", "review"]);
    let own: Env = serde_json::from_value(place.json(&["env", "--tenant", "review"])).unwrap();
    let file = place.state().join("tenants/review.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let step = |step: &str| {
        place.file(".ecosystem/tenants/review.toml", &text.replace("\"ready\"", &format!("\"{step}\"")));
    };
    let state = || place.json(&["tenant", "list"])["tenants"][0]["state"].clone();
    // Killed when its database was there and had no mark yet.
    step("making");
    sql(&place.env()).batch_execute("COMMENT ON DATABASE invenio_review IS NULL").unwrap();
    let unfinished = place.run(&["env", "--tenant", "review"]);
    assert!(unfinished.status == 6 && unfinished.stderr.contains("tenant-unfinished"), "{unfinished}");
    assert_eq!(state(), "making");
    place.ok(&["tenant", "create", "review"]);
    assert_eq!(state(), "ready");
    // Killed while it was deleted: made again it begins empty.
    sql(&own).batch_execute("CREATE TABLE mine (id int)").unwrap();
    step("deleting");
    assert_eq!(state(), "deleting");
    place.ok(&["tenant", "create", "review"]);
    assert_eq!(number(&own, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), 0);

    // A server that does not run keeps its part until it does.
    place.ok(&["down", "redis"]);
    let left = place.run(&["tenant", "delete", "review", "--yes"]);
    assert!(left.status == 5 && left.stderr.contains("error[tenant-left]"), "{left}");
    assert_eq!(state(), "deleting");
    place.ok(&["up", "redis"]);
    place.ok(&["tenant", "delete", "review", "--yes"]);
    assert_eq!(tenants(&place), [""; 0]);

    // Servers that come back from an older time bring back what was deleted since, and lose what was made.
    place.ok(&["tenant", "create", "old"]);
    place.ok(&["checkpoint", "save", "before"]);
    place.ok(&["tenant", "delete", "old", "--yes"]);
    place.ok(&["tenant", "create", "new"]);
    place.ok(&["checkpoint", "restore", "before", "--yes"]);
    let listed = place.json(&["tenant", "list"]);
    assert_eq!(listed["tenants"][0]["services"]["postgresql"]["part"], "missing", "{listed}");
    assert_eq!(listed["tenants"][1]["state"], "unknown", "{listed}");
    place.ok(&["tenant", "create", "new"]);
    place.ok(&["tenant", "delete", "old", "--yes"]);
    assert_eq!(tenants(&place), ["new"]);
}

#[test]
fn a_server_of_somebody_else_holds_tenants_of_several_projects() {
    let lender = light();
    let env = lender.env();
    let (database, cache) = (env["INVENIO_SQLALCHEMY_DATABASE_URI"].as_str(), env["REDIS_URL"].as_str());
    let borrow = |name: &str| {
        let place = Place::named(name);
        place.manifest(&format!(
            "[services.postgresql]\nexternal = \"{database}\"\n[services.redis]\nexternal = \"{cache}\"\n"
        ));
        place.ok(&["up", "postgresql", "redis"]);
        place
    };
    let (one, other) = (borrow("one"), borrow("other"));
    one.ok(&["tenant", "create", "review"]);
    let own: Env = serde_json::from_value(one.json(&["env", "--tenant", "review"])).unwrap();
    caches(&own, "SET mine 1");
    let refused = other.run(&["tenant", "create", "review"]);
    assert!(refused.status == 6 && refused.stderr.contains("error[tenant-foreign]"), "{refused}");
    other.ok(&["test", "--", "true"]);
    other.ok(&["tenant", "create", "another"]);
    other.ok(&["tenant", "delete", "another", "--yes"]);
    assert_eq!(caches(&own, "GET mine").matches("$1\r\n1").count(), 5);
    assert_eq!((tenants(&one), tenants(&other)), (vec!["review".to_owned()], vec![]));

    // Going back swaps the database that the manifest names; whoever is on the server beside it stays.
    std::fs::create_dir_all(one.root.join("seeds/small")).unwrap();
    one.file("seeds/small/schema.sql", "CREATE TABLE small (id int);");
    one.file("seeds/small/rows.tsv", "1\n2\n");
    one.file(
        "seeds/small/pack.toml",
        "format = 1\nname = \"small\"\ndescription = \"\"\n[postgresql]\nschema = \"schema.sql\"\n\
         tables = [{ name = \"small\", columns = [\"id\"], rows = \"rows.tsv\" }]\n",
    );
    sql(&env).batch_execute("CREATE TABLE theirs (id int)").unwrap();
    for way in ["loaded", "baseline"] {
        let done = one.json(&["reset", "small", "--yes"]);
        assert_eq!(done["stores"][0]["way"], way, "{done}");
        assert_eq!(number(&env, "SELECT count(*) FROM pg_tables WHERE tablename IN ('small', 'theirs')"), 1);
        assert_eq!(caches(&own, "GET mine").matches("$1\r\n1").count(), 5);
    }
    // What a person has made of the database since, and dropped, is no reason to stop.
    let beside = [("PGDATABASE".to_owned(), "postgres".to_owned())];
    let server: Env = env.clone().into_iter().chain(beside).collect();
    sql(&server).batch_execute("DROP DATABASE invenio").unwrap();
    one.ok(&["reset", "small", "--yes"]);
    assert_eq!(number(&env, "SELECT count(*) FROM small"), 2);
}
