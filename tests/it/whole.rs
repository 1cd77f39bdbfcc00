//! All four servers together: what is loaded, who listens, what leaks, and what is left after the worst ends.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::clients::{Env, manage, number, search, sql};
use crate::support::{Place, Run, eventually, kill, processes, repository, walk};

const SERVERS: [(&str, &str); 5] = [
    ("redis", "redis"),
    ("postgresql", "postgresql"),
    ("rabbitmq", "epmd"),
    ("rabbitmq", "rabbitmq"),
    ("opensearch", "opensearch"),
];

/// A place with the pack of this repository, and with nothing in PostgreSQL that writes by itself.
pub(crate) fn seeded() -> Place {
    let place = Place::heavy();
    let pack = repository().join("seeds");
    for path in walk(&pack) {
        let target = place.root.join("seeds").join(path.strip_prefix(&pack).unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
        } else {
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(&path, &target).unwrap();
        }
    }
    place.manifest("seed = \"demo\"\nservices.postgresql.settings.autovacuum = \"off\"\n");
    place
}

const INDICES: [(&str, &str); 2] =
    [("invenio-rdmrecords", "rdm_records_metadata"), ("invenio-vocabularies", "vocabularies_metadata")];

/// What stands for the same things in PostgreSQL and in OpenSearch is equally many, and not nothing.
#[track_caller]
fn counts_agree(env: &Env) {
    for (alias, table) in INDICES {
        let documents = search(env, "GET", &format!("/{alias}/_count"), None)["count"].as_i64().unwrap();
        let rows = number(env, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(documents, rows, "{alias}, {table}");
        assert!(rows > 0, "{table}");
    }
}

/// Numbers that every write moves.
fn traces(env: &Env) -> (i64, Value, Value) {
    let transactions = number(env, "SELECT txid_snapshot_xmax(txid_current_snapshot())");
    let cluster = search(env, "GET", "/_cluster/state/version", None)["version"].clone();
    let writes = search(env, "GET", "/_stats/indexing", None)["_all"]["total"]["indexing"].clone();
    (transactions, cluster, json!([writes["index_total"], writes["delete_total"]]))
}

fn index_behind(env: &Env, alias: &str) -> String {
    let found = search(env, "GET", &format!("/_alias/{alias}"), None);
    found.as_object().unwrap().keys().next().unwrap().clone()
}

#[test]
fn the_pack_is_loaded_once_and_again_where_it_was_lost_and_never_over_other_data() {
    let place = seeded();
    place.ok(&["up"]);
    let env = place.env();
    counts_agree(&env);
    let queue = || manage(&env, "GET", "/api/queues/%2F/celery").0;
    assert_eq!(queue(), 200);

    let before = traces(&env);
    let again = place.json(&["up"]);
    assert_eq!(again["unchanged"], true, "{again}");
    assert_eq!(traces(&env), before, "a run with nothing to do writes nothing");

    search(&env, "DELETE", &format!("/{}", index_behind(&env, "invenio-rdmrecords")), None);
    sql(&env).batch_execute("TRUNCATE rdm_records_metadata CASCADE").unwrap();
    assert_eq!(manage(&env, "DELETE", "/api/queues/%2F/celery").0, 204);
    let mended = place.json(&["up"]);
    assert_eq!(mended["unchanged"], false, "{mended}");
    counts_agree(&env);
    assert_eq!(queue(), 200);
    assert_eq!(place.json(&["up"])["unchanged"], true);

    // Somebody changes a row, and another table loses its rows: what was changed is not replaced.
    let mine = "UPDATE rdm_records_metadata SET version_id = 7; TRUNCATE vocabularies_types";
    sql(&env).batch_execute(mine).unwrap();
    let kept = place.run(&["up"]);
    assert_eq!(kept.status, 6, "{kept}");
    for part in ["error[data-foreign]", "rows of rdm_records_metadata were changed since it was loaded"] {
        assert!(kept.stderr.contains(part), "{part} is missing in\n{kept}");
    }
    assert!(number(&env, "SELECT count(*) FROM rdm_records_metadata WHERE version_id = 7") > 0);

    // Somebody makes tables of the same name: theirs.
    let theirs = "DROP TABLE vocabularies_types CASCADE; CREATE TABLE vocabularies_types (id text);
                  INSERT INTO vocabularies_types VALUES ('theirs')";
    sql(&env).batch_execute(theirs).unwrap();
    search(&env, "DELETE", &format!("/{}", index_behind(&env, "invenio-vocabularies")), None);
    let refused = place.run(&["up"]);
    assert_eq!(refused.status, 6, "{refused}");
    for part in ["error[data-foreign]", "PostgreSQL has its own vocabularies_types", "nothing was changed"] {
        assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
    }
    assert_eq!(number(&env, "SELECT count(*) FROM vocabularies_types WHERE id = 'theirs'"), 1);
    let names = search(&env, "GET", "/_cat/indices/invenio-vocabularies*?format=json", None);
    assert_eq!(names, json!([]), "nothing may be loaded where something stands in the way");
    place.ok(&["up", "--no-seed"]);
    place.ok(&["status"]);
}

#[test]
fn nothing_leaks_and_everything_mends() {
    let (place, beside) = (Place::heavy(), Place::new());
    place.ok(&["up"]);
    beside.ok(&["up", "redis", "postgresql"]);
    beside.ok(&["status"]);
    place.ok(&["status"]);
    let env = place.env();
    leave_traces(&place, &env);

    assert_eq!(every_listener_is_on_loopback(&place).len(), 8);
    no_secret_is_told(&place);
    let memory = std::fs::read_to_string(format!("/proc/{}/status", place.supervisor().unwrap())).unwrap();
    let line = memory.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kilobytes: u32 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 6 * 1024, "the supervisor takes {kilobytes} kB");

    // All servers at once, then the supervisor: the next `up` mends it, with the data.
    let pids = SERVERS.map(|(service, process)| place.pid(service, process));
    for pid in pids {
        kill(pid, Signal::KILL);
    }
    eventually("the supervisor has noticed", || {
        SERVERS.iter().zip(pids).all(|((service, process), pid)| place.pids(service)[*process] != Some(pid))
    });
    place.ok(&["up"]);
    place.ok(&["status"]);
    traces_are_there(&env);

    kill(place.supervisor().unwrap(), Signal::KILL);
    eventually("nothing listens", || place.listening().is_empty());
    eventually("nothing is left", || place.processes().is_empty());
    place.ok(&["up"]);
    traces_are_there(&env);
    no_secret_is_told(&place);

    place.ok(&["down"]);
    assert_eq!((place.listening(), place.processes()), (vec![], vec![]));
    assert!(!place.state().join("control").exists(), "`down` leaves no socket");
    beside.ok(&["status"]);
}

/// One thing in every store.
fn leave_traces(place: &Place, env: &Env) {
    sql(env).batch_execute("CREATE TABLE kept AS SELECT 1 AS id").unwrap();
    search(env, "PUT", "/kept/_doc/1?refresh=true", Some(&json!({"id": 1})));
    let mut broker = crate::amqp::Broker::login(env).unwrap();
    broker.declare("kept");
    broker.publish("kept", &["1".to_owned()]);
    // RabbitMQ confirms a queue before its definition is in a file, for up to two seconds; the message's own files do
    // not count. Definitions are in Mnesia's log, where one counts from the decision that follows it, and later in the
    // files of the table.
    let mnesia = place.state().join("rabbitmq/mnesia");
    let node = mnesia
        .read_dir_utf8()
        .unwrap()
        .flatten()
        .find(|entry| entry.path().join("LATEST.LOG").is_file())
        .unwrap();
    let last = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).rposition(|part| part == word);
    let names_it = |path: &Utf8Path| {
        let Ok(bytes) = std::fs::read(path) else { return false };
        let named = last(&bytes, b"kept");
        match path.file_name().unwrap() {
            "LATEST.LOG" => named.is_some() && last(&bytes, b"committed") > named,
            table => named.is_some() && table.starts_with("rabbit_durable_queue."),
        }
    };
    let files = || node.path().read_dir_utf8().unwrap().flatten();
    eventually("the definition of the queue is on the disk", || files().any(|file| names_it(file.path())));
}

#[track_caller]
fn traces_are_there(env: &Env) {
    assert_eq!(number(env, "SELECT count(*) FROM kept"), 1, "rows in PostgreSQL");
    assert_eq!(search(env, "GET", "/kept/_count", None)["count"], 1, "documents in OpenSearch");
    assert_eq!(crate::amqp::Broker::login(env).unwrap().declare("kept"), 1, "messages in RabbitMQ");
}

/// Asked of the kernel, for every process that the supervisor started. Returns the ports.
#[track_caller]
pub(crate) fn every_listener_is_on_loopback(place: &Place) -> BTreeSet<u16> {
    let mut inodes = BTreeSet::new();
    for pid in place.processes() {
        let Ok(files) = procfs::process::Process::new(pid.cast_signed()).and_then(|p| p.fd()) else {
            continue;
        };
        for file in files.flatten() {
            if let procfs::process::FDTarget::Socket(inode) = file.target {
                inodes.insert(inode);
            }
        }
    }
    let sockets = procfs::net::tcp().unwrap().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let listening: Vec<_> = sockets
        .filter(|socket| socket.state == procfs::net::TcpState::Listen && inodes.contains(&socket.inode))
        .map(|socket| socket.local_address)
        .collect();
    assert!(listening.iter().all(|address| address.ip().to_canonical().is_loopback()), "{listening:?}");
    let ports: BTreeSet<u16> = listening.iter().map(std::net::SocketAddr::port).collect();
    assert_eq!(ports, place.listening().into_iter().collect(), "every port is one of the manifest's");
    ports
}

#[track_caller]
fn no_secret_is_told(place: &Place) {
    let secrets = place.secrets();
    assert_eq!(secrets.len(), 4);
    let told = |text: &str| secrets.iter().any(|secret| text.contains(secret));
    for (pid, words) in processes() {
        assert!(!told(&words.join(" ")), "the command line of {pid} tells a secret");
    }
    let logs = walk(&place.state().join("logs"));
    assert!(logs.len() >= 6, "{logs:?}");
    for log in logs {
        assert!(!told(&String::from_utf8_lossy(&std::fs::read(&log).unwrap())), "{log} tells a secret");
    }
}

#[test]
fn ctrl_c_stops_what_it_started_and_leaves_what_ran_before() {
    let place = Place::heavy();
    interrupt_mid_start(&place);
    eventually("nothing is left", || place.processes().is_empty());
    assert_eq!((place.listening(), place.supervisor()), (vec![], None));

    place.ok(&["up", "redis"]);
    let redis = place.pid("redis", "redis");
    interrupt_mid_start(&place);
    assert_eq!(place.pid("redis", "redis"), redis);
    assert_eq!(place.listening(), [place.port(6579)]);
    let status = place.json(&["status"]);
    let states: BTreeMap<&str, &str> = status["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| (service["name"].as_str().unwrap(), service["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states["redis"], "ready");
    assert!(states.iter().all(|(name, state)| *name == "redis" || *state == "stopped"), "{states:?}");
}

/// Starts everything and presses Ctrl-C as soon as OpenSearch, the slowest, has begun to start.
#[track_caller]
fn interrupt_mid_start(place: &Place) {
    let mut command = place.command(&["up"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().starts_with(" Z")
    };
    let starting = || {
        place.processes().into_iter().any(|pid| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.ends_with("java"))
        })
    };
    eventually("OpenSearch starts", || starting() || ended());
    kill(child.id(), Signal::INT);
    let output = child.wait_with_output().unwrap();
    let run = Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(run.status, 130, "{run}");
    assert!(run.stderr.contains("interrupted"), "{run}");
}
