//! The real InvenioRDM, served over HTTPS from a captured pack: what a person does with it, what it is told, and setting it up by its own commands.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clients::search;
use crate::json::fits;
use crate::objects::{CONSOLE, S3};
use crate::support::{Place, Run, Watched, kill, repository};
use crate::whole::every_listener_is_on_loopback;

/// A place in which the application runs, beside the blocks of ports of other tests.
fn place(more: &str) -> Place {
    let place = Place::heavy();
    manifest(&place, more);
    place
}

fn manifest(place: &Place, more: &str) {
    place.manifest(&format!("{more}[services.minio]\nports = {{ s3 = {S3}, console = {CONSOLE} }}\n"));
}

/// Runs a script of this folder with the application's Python and settings.
fn python(place: &Place, script: &str, args: &[&str], env: &BTreeMap<String, String>) -> Value {
    let bin = place.json(&["app", "install"])["bin"].as_str().unwrap().to_owned();
    let path = repository().join("tests/it/application").join(script);
    #[expect(clippy::disallowed_methods, reason = "the client of a person, not of the product")]
    let mut command = std::process::Command::new(format!("{bin}/python"));
    command.arg(path).args(args).envs(env).current_dir(&place.root);
    Run::of(&mut command).succeeded(args).report()
}

#[test]
fn the_application_answers_over_https_and_keeps_its_files_in_the_bucket() {
    let place = place("");
    let up = place.json(&["up", "--profile", "app"]);
    fits("Running", &up);
    let base = format!("https://127.0.0.1:{}", place.port(5000));
    // Eight of the core, two of MinIO, two of the application.
    assert_eq!(every_listener_is_on_loopback(&place).len(), 12);

    // An index that was lost while the pack was laid in comes back, whatever is asked for by then.
    let indices = || place.ok(&["search", "/_cat/indices/invenio-subjects*?h=index"]).stdout;
    place.ok(&["psql", "--", "-c", "UPDATE ecosystem.step SET done = false WHERE name = 'pack'"]);
    let before = indices();
    place.ok(&["search", "DELETE", &format!("/{}", before.trim())]);
    place.ok(&["up", "invenio", "--no-seed"]);
    assert_eq!(indices(), before);

    let user = place.json(&["app", "user", "me@example.org", "--admin", "--token"]);
    fits("User", &user);
    assert_eq!((&user["created"], &user["admin"]), (&json!(true), &json!(true)));
    let authority = place.state().join("tls/cert.pem");
    let token = user["token"].as_str().unwrap();
    let none = BTreeMap::new();
    let seen = python(&place, "client.py", &[&base, authority.as_str(), token], &none);
    let bucket = &place.env()["S3_BUCKET"];
    assert_eq!(seen, json!({"seeded": 100, "found": 1, "bucket": bucket, "same": true}));

    // What was published is indexed by background tasks: a worker does them, those of bulk queues once beat has handed them out.
    let drained = place.ok(&["up", "invenio", "--wait", "tasks"]);
    assert!(drained.stderr.contains("background tasks"), "{drained}");
    let status = place.json(&["status"]);
    fits("Status", &status);
    assert_eq!(status["tasks"]["left"], 0, "{status}");

    // Nothing to do is nothing to do, and who is there already keeps the password.
    assert_eq!(place.json(&["up", "--profile", "app"])["unchanged"], true);
    let again = place.json(&["app", "user", "me@example.org"]);
    assert_eq!((&again["created"], again.get("password")), (&json!(false), None));

    let told = place.env();
    let settings = python(&place, "settings.py", &[], &told);
    assert_eq!(settings, json!({"missed": {}, "elsewhere": {}}));
    assert!(!told["INVENIO_SECRET_KEY"].is_empty());

    // Where an application lives, the pack of the manifest has no place.
    manifest(&place, "seed = \"demo\"\n");
    place.ok(&["up"]);
}

#[test]
fn setting_up_is_finished_after_it_was_killed_and_does_nothing_twice() {
    let place = place("");
    place.ok(&["up", "postgresql", "redis", "rabbitmq", "opensearch", "minio", "--no-seed"]);
    let mut command = place.command(&["app", "setup", "--no-fixtures"]);
    let child = Watched::new(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
    // Its tables are there, and its indices are about to be made.
    let tables = || place.run(&["psql", "--", "-Atc", "SELECT to_regclass('public.alembic_version')"]).stdout;
    let begin = std::time::Instant::now();
    while tables().trim().is_empty() {
        assert!(begin.elapsed().as_secs() < 120, "it made no tables");
    }
    kill(child.pid(), rustix::process::Signal::KILL);
    child.end();

    let finished = place.json(&["app", "setup", "--no-fixtures"]);
    fits("SetUp", &finished);
    let state = |report: &Value, name: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).map(|step| step["state"].clone()).unwrap()
    };
    assert_eq!(state(&finished, "database"), "kept", "{finished}");
    // Something was left to do.
    assert_eq!(state(&finished, "indices"), "done", "{finished}");
    let again = place.json(&["app", "setup", "--no-fixtures"]);
    for name in ["database", "roles", "indices"] {
        assert_eq!(state(&again, name), "kept", "{again}");
    }
    // One index behind every alias that is written to.
    let aliases = search(&place.env(), "GET", "/_cat/aliases?format=json&h=alias,index", None);
    let records = aliases.as_array().unwrap().iter();
    let records = records.filter(|row| row["alias"] == "invenio-rdmrecords-records-record-v6.0.0");
    assert_eq!(records.count(), 1, "{aliases}");

    // A search engine that was emptied is noticed, and its indices come back.
    place.ok(&["down", "opensearch", "--data", "--yes"]);
    place.ok(&["up", "opensearch", "--no-seed"]);
    let again = place.ok(&["up", "invenio"]);
    assert!(again.stderr.contains("the search engine has none of its indices"), "{again}");
    assert!(place.json(&["up", "invenio"])["unchanged"].as_bool().unwrap());

    // A worker that ends is not hidden behind a web server that answers.
    manifest(&place, "[services.invenio]\nsettings = { CELERY_WORKER_POOL = \"nosuch\" }\n");
    let dead = place.run(&["up", "invenio", "--timeout", "25"]);
    assert_eq!(dead.status, 5, "{dead}");
    assert!(dead.stderr.contains("its worker"), "{dead}");

    let refused = place.run(&["app", "user", "nobody"]);
    assert_eq!(refused.status, 2, "{refused}");
}

#[test]
fn a_database_with_other_tables_is_left_alone() {
    let place = place("");
    place.ok(&["up", "postgresql", "--no-seed"]);
    place.ok(&["psql", "--", "-c", "CREATE TABLE mine (n int)"]);
    let run = place.run(&["up", "invenio"]);
    assert_eq!(run.status, 6, "{run}");
    assert!(run.stderr.contains("application-foreign") && run.stderr.contains("mine"), "{run}");
}
