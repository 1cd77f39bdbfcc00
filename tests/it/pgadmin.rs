//! pgAdmin: ready with the database registered, closed to whoever has no key, behind its front, and waited for by those alone who asked for it.

use std::net::TcpListener;
use std::time::Duration;

use ecosystem::client::https::Https;
use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::{Endpoint, Storage};
use serde_json::{Value, json};

use crate::json::fits;
use crate::support::{Place, Run, eventually, repository};
use crate::whole::every_listener_is_on_loopback;

const HTTP: u16 = 5250;
const HTTPS: u16 = 5251;

/// Both are asked: a front that is ours, and the server behind it.
fn statuses(place: &Place, path: &str) -> [u16; 2] {
    let endpoint = Endpoint {
        kind: Kind::Pgadmin,
        host: "127.0.0.1".into(),
        ports: [("https".to_owned(), place.port(HTTPS))].into(),
        user: None,
        secret: None,
        database: None,
        identity: place.state().join("tls/cert.pem").into_string(),
        storage: Storage::default(),
        watched: None,
    };
    let front = Https::new(&endpoint, "https", Duration::from_secs(5)).unwrap();
    let plain = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let plain = plain.get(format!("http://127.0.0.1:{}{path}", place.port(HTTP))).call().unwrap();
    [front.get(path).unwrap().status, plain.status().as_u16()]
}

/// What a browser sees that opens the page of `open` and clicks on the database.
fn seen(place: &Place) -> Value {
    let page = place.json(&["open", "pgadmin"]);
    fits("Console", &page);
    let script = repository().join("tests/it/pgadmin/browser.py");
    #[expect(clippy::disallowed_methods, reason = "the client of a person, not of the product")]
    let mut command = std::process::Command::new("python3");
    let args = [script.as_str(), page["page"].as_str().unwrap(), place.root.as_str()];
    Run::of(command.args(args)).succeeded(&args).report()
}

#[test]
fn the_database_opens_without_a_password_for_whoever_has_the_key() {
    let place = Place::heavy();
    let up = place.json(&["up", "pgadmin"]);
    fits("Running", &up);
    // It is of no use without the database, which comes along.
    assert_eq!(up["services"][1]["name"], "postgresql");
    assert_eq!(
        (&up["services"][0]["starting"], up["services"].as_array().unwrap().len()),
        (&json!(false), 2)
    );
    assert_eq!(every_listener_is_on_loopback(&place).len(), 3);
    assert_eq!(place.json(&["up", "pgadmin"])["unchanged"], true);

    // Who has no key gets an answer, and nothing else.
    assert_eq!(statuses(&place, "/misc/ping"), [200, 200]);
    for path in ["/", "/browser/", "/browser/server/nodes/1/", "/static/js/x", "/?key=no", "/misc/ping/"] {
        assert_eq!(statuses(&place, path), [401, 401], "{path}");
    }
    let seen = seen(&place);
    assert_eq!(seen["servers"], json!(["postgresql"]));
    assert_eq!(
        (&seen["connected"], &seen["user"], &seen["database"]),
        (&json!(true), &json!("invenio"), &json!("invenio")),
        "{seen}"
    );
    assert_eq!((&seen["address"], &seen["elsewhere"]), (&json!("/browser/"), &json!(403)), "{seen}");

    let secrets = place.secrets();
    for quiet in [&["status"][..], &["logs", "pgadmin"], &["report"], &["open", "pgadmin"], &["env"]] {
        let run = place.run(quiet);
        let key = &secrets[0];
        assert!(!run.stdout.contains(key) && !run.stderr.contains(key), "{quiet:?} tells the key");
    }
    assert_eq!(place.run(&["up", "pgadmin", "--dry-run"]).stdout.lines().count(), 1);
}

#[test]
fn only_those_who_ask_for_it_by_name_wait_and_what_it_shows_follows_the_manifest() {
    let place = Place::heavy();
    place.manifest("profiles.core = [\"postgresql\", \"pgadmin\"]\n");
    let plan = place.ok(&["up", "--dry-run"]).stdout;
    assert!(plan.contains("start pgadmin") && !plan.contains("await pgadmin"), "{plan}");
    let up = place.ok(&["up"]);
    assert!(up.stderr.contains("starting"), "{up}");
    assert_eq!(place.ok(&["up", "pgadmin"]).stderr.matches("pgadmin").count(), 1);
    assert_eq!(seen(&place)["servers"], json!(["postgresql"]));

    // A port that the database had taken from nobody: pgAdmin is told, and has it once.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() - place.offset;
    place.manifest(&format!("services.postgresql.ports = {{ sql = {port} }}\n"));
    let plan = place.ok(&["up", "pgadmin", "--dry-run"]).stdout;
    assert!(plan.contains("shows.postgresql: invenio at 127.0.0.1:"), "{plan}");
    place.ok(&["up", "pgadmin"]);
    let again = seen(&place);
    assert_eq!((&again["servers"], &again["connected"]), (&json!(["postgresql"]), &json!(true)), "{again}");

    // One that is killed comes back, and both of its processes are one service.
    place.kill("pgadmin", "pgadmin");
    eventually("it is back", || place.json(&["up", "pgadmin"])["unchanged"] == true);
    place.ok(&["down", "pgadmin"]);
    let stranger = TcpListener::bind(("127.0.0.1", place.port(HTTPS))).unwrap();
    let refused = place.run(&["up", "pgadmin"]);
    assert!(refused.status == 5 && refused.stderr.contains("(pgadmin https) is held by"), "{refused}");
    drop(stranger);
}
