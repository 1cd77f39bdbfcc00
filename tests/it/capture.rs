//! Capturing: what runs becomes a pack, and another stack that loads it becomes equal.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clients::{Env, manage, number, search, sql};
use crate::json::fits;
use crate::support::{Place, walk};

/// What an application may have made: types, keys, rules between tables, a table without a key, values that need escaping, a sequence in use.
pub(crate) const TABLES: &str = r"
    CREATE TYPE kind AS ENUM ('book', 'map');
    CREATE FUNCTION shout(x text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper(x) $$;
    CREATE TABLE owners (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE things_metadata (
        id uuid PRIMARY KEY, kind kind, json jsonb, version_id integer NOT NULL DEFAULT 1,
        owner integer REFERENCES owners, loud text GENERATED ALWAYS AS (shout('x')) STORED,
        at timestamptz NOT NULL DEFAULT '2026-01-02 03:04:05.678+02'
    );
    CREATE TABLE notes (text text, n numeric(10, 2));
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    INSERT INTO alembic_version VALUES ('b1'), ('a1');
    INSERT INTO owners (name) VALUES (E'tab\tnew\nline\\'), ('čeština'), (''), ('x');
    DELETE FROM owners WHERE name = 'x';
    INSERT INTO things_metadata SELECT md5(n::text)::uuid, 'map', jsonb_build_object('n', n), 1, 1 + n % 3
        FROM generate_series(1, 120) n;
    CREATE TABLE terms_metadata (id uuid PRIMARY KEY, json jsonb, version_id integer);
    INSERT INTO terms_metadata SELECT id, json, 2 FROM things_metadata WHERE owner = 2;
    INSERT INTO notes VALUES (NULL, 1.5), ('b', NULL), ('a', 2), ('a', 2);
    CREATE MATERIALIZED VIEW sums AS SELECT kind, count(*) AS n FROM things_metadata GROUP BY kind;
    CREATE INDEX by_kind ON things_metadata (kind) WHERE owner > 1;
";

/// What an application may have made in OpenSearch.
pub(crate) fn indices(env: &Env) {
    let text = json!({"type": "text"});
    let things = json!({
        "settings": {"number_of_replicas": 0, "analysis": {"analyzer": {"own": {"tokenizer": "keyword"}}}},
        "mappings": {"dynamic": "strict", "_meta": {"theirs": 1}, "properties": {
            "n": {"type": "integer"}, "title": text, "version_id": {"type": "integer"},
        }},
        "aliases": {"things-v1": {}, "things": {}, "some": {"filter": {"term": {"n": 1}}}},
    });
    search(env, "PUT", "/things-v1-1700000000", Some(&things));
    search(env, "PUT", "/drafts-v1-1700000000", Some(&json!({"aliases": {"drafts-v1": {}, "things": {}}})));
    // No alias: programs use its name.
    let queries =
        json!({"mappings": {"properties": {"query": {"type": "percolator"}, "n": {"type": "integer"}}}});
    search(env, "PUT", "/queries", Some(&queries));
    search(env, "PUT", "/terms-v1-1700000000", Some(&json!({"aliases": {"terms-v1": {}}})));
    // Four rows of the first have no document; the second has one for each.
    for (index, query) in [
        (
            "things-v1",
            "SELECT id::text, (json->>'n')::int FROM things_metadata WHERE (json->>'n')::int % 30 <> 0",
        ),
        ("terms-v1", "SELECT id::text, (json->>'n')::int FROM terms_metadata"),
    ] {
        for row in sql(env).query(query, &[]).unwrap() {
            let (id, n): (String, i32) = (row.get(0), row.get(1));
            let document = json!({"n": n, "title": "a\n\"b\" č", "version_id": 2});
            // Versions of the application, as Invenio gives them.
            let path = format!("/{index}/_doc/{id}?version={}&version_type=external_gte", n % 4);
            search(env, "PUT", &path, Some(&document));
        }
    }
    search(env, "PUT", "/queries/_doc/q%201?routing=r", Some(&json!({"query": {"term": {"n": 7}}})));
    let stats = json!({"index_patterns": ["stats-*"], "settings": {"refresh_interval": "5s"}});
    search(env, "PUT", "/_template/stats", Some(&stats));
    let logs = json!({"index_patterns": ["logs-*"], "template": {"mappings": {"dynamic": false}}});
    search(env, "PUT", "/_index_template/logs", Some(&logs));
    // It gives its alias to an index of the pack as soon as that is made: then the alias does not say that it is whole.
    let terms = json!({"index_patterns": ["terms-*"], "aliases": {"terms-v1": {}}});
    search(env, "PUT", "/_template/terms", Some(&terms));
}

pub(crate) fn files(place: &Place, pack: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = place.root.join("seeds").join(pack);
    let files = walk(&folder).into_iter().filter(|path| path.is_file());
    let read = |path: camino::Utf8PathBuf| {
        (path.strip_prefix(&folder).unwrap().to_string(), std::fs::read(&path).unwrap())
    };
    files.map(read).collect()
}

/// The manifest but for what tells of one capture only.
fn lasting(files: &BTreeMap<String, Vec<u8>>) -> toml::Table {
    let mut manifest: toml::Table = std::str::from_utf8(&files["pack.toml"]).unwrap().parse().unwrap();
    manifest.remove("name");
    let captured = manifest["captured"].as_table_mut().unwrap();
    assert_eq!(captured.remove("alembic"), Some(toml::Value::from(vec!["a1", "b1"])));
    captured.clear();
    manifest
}

#[test]
fn a_captured_pack_makes_an_equal_stack() {
    let (from, to) = (Place::heavy_at("from"), Place::heavy_at("to"));
    from.ok(&["up", "postgresql", "opensearch", "rabbitmq"]);
    let env = from.env();
    let nothing = from.run(&["pack", "capture", "app"]);
    assert!(nothing.status == 1 && nothing.stderr.contains("nothing-to-capture"), "{nothing}");
    let named = from.run(&["pack", "capture", "../app"]);
    assert!(named.status == 6 && named.stderr.contains("use a-z"), "{named}");
    sql(&env).batch_execute(TABLES).unwrap();
    indices(&env);
    let mut broker = crate::amqp::Broker::login(&env).unwrap();
    broker.declare("celery");
    drop(broker);

    let report = from.json(&["pack", "capture", "app", "--description", "an application", "--quiesce"]);
    fits("CapturedPack", &report);
    assert_eq!(report["parts"][0]["counts"]["things_metadata"], 120, "{report}");
    assert_eq!(report["parts"][2]["counts"], json!({"celery": 1}));
    let pair = |table: &str, index: &str, rows: u32| json!({"table": table, "index": index, "rows_without_document": rows, "documents_without_row": 0});
    let pairs = json!([pair("terms_metadata", "terms-v1", 0), pair("things_metadata", "things-v1", 4)]);
    assert_eq!(report["pairs"], pairs);
    let again = from.run(&["pack", "capture", "app"]);
    assert!(again.status == 2 && again.stderr.contains("pack-exists"), "{again}");
    let captured = files(&from, "app");
    for path in walk(&from.root.join("seeds/app")).into_iter().filter(|path| path.is_file()) {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777;
        assert!(mode == 0o600 || path.ends_with("pack.toml"), "{path} has the mode {mode:o}");
    }

    for (name, bytes) in &captured {
        let folder = to.root.join("seeds/app").join(name);
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        to.file(&format!("seeds/app/{name}"), std::str::from_utf8(bytes).unwrap());
    }
    to.ok(&["up", "--no-seed", "postgresql", "opensearch", "rabbitmq"]);
    to.ok(&["seed", "app"]);
    let equal = to.json(&["pack", "verify", "app"]);
    assert_eq!((&equal["equal"], &equal["stale"]), (&json!(true), &json!([])), "{equal}");
    // Only those that were one to one are held to be so.
    assert_eq!(equal["pairs"].as_array().unwrap().len(), 1, "{equal}");
    to.ok(&["pack", "capture", "again"]);
    let again = files(&to, "again");
    let content = |files: &BTreeMap<String, Vec<u8>>| {
        let mut files = files.clone();
        files.remove("pack.toml");
        files
    };
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&captured), names(&again));
    for (name, bytes) in content(&captured) {
        assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&again[&name]), "{name}");
    }
    let (mut one, mut two) = (lasting(&captured), lasting(&again));
    assert_ne!(one.remove("description"), two.remove("description"));
    assert_eq!(one, two);

    works(&to.env());
    // A second time nothing is done, and a lost index comes again under its own name.
    let kept = to.json(&["seed", "app"]);
    assert!(kept["parts"].as_array().unwrap().iter().all(|part| part["outcome"] == "kept"), "{kept}");
    search(&to.env(), "DELETE", "/queries", None);
    search(&to.env(), "DELETE", "/_template/stats", None);
    to.ok(&["seed", "app"]);
    assert_eq!(to.json(&["pack", "verify", "app"])["equal"], true);
    assert_eq!(search(&to.env(), "GET", "/_template/stats", None)["stats"]["order"], 0);
    // The application moves on: the pack is equal no more, and it is told why.
    sql(&to.env())
        .batch_execute("UPDATE alembic_version SET version_num = 'c1' WHERE version_num = 'b1'")
        .unwrap();
    sql(&to.env()).batch_execute("UPDATE terms_metadata SET version_id = 3 WHERE json->>'n' = '1'").unwrap();
    search(
        &to.env(),
        "PUT",
        "/terms-v1/_mapping",
        Some(&json!({"properties": {"new": {"type": "keyword"}}})),
    );
    let stale = to.run(&["pack", "verify", "app"]);
    assert_eq!(stale.status, 1, "{stale}");
    for part in [
        "at the migrations a1, c1, the pack at a1, b1",
        "the mapping of terms-v1-",
        "1 rows newer than their document",
    ] {
        assert!(stale.stdout.contains(part), "{part} is missing in\n{stale}");
    }
    // Where the pack came from, everything is somebody's own.
    let foreign = from.run(&["seed", "app"]);
    assert_eq!(foreign.status, 6, "{foreign}");
    for part in ["has its own", "things_metadata", "queries"] {
        assert!(foreign.stderr.contains(part), "{part} is missing in\n{foreign}");
    }
}

/// What was loaded is whole: rules hold, sequences go on, aliases filter, versions count on.
#[track_caller]
fn works(env: &Env) {
    let refused = sql(env).batch_execute("UPDATE things_metadata SET owner = 99").unwrap_err();
    assert_eq!(refused.code(), Some(&postgres::error::SqlState::FOREIGN_KEY_VIOLATION), "{refused}");
    assert_eq!(number(env, "SELECT n FROM sums"), 120);
    assert_eq!(number(env, "INSERT INTO owners (name) VALUES ('next') RETURNING id::bigint"), 5);
    sql(env).batch_execute("DELETE FROM owners WHERE name = 'next'").unwrap();
    assert_eq!(search(env, "GET", "/some/_count", None)["count"], 1);
    let hit = search(env, "GET", "/queries/_doc/q%201?routing=r", None);
    assert_eq!((&hit["_routing"], &hit["found"]), (&json!("r"), &json!(true)));
    let percolate = json!({"query": {"percolate": {"field": "query", "document": {"n": 7}}}});
    assert_eq!(search(env, "POST", "/queries/_search", Some(&percolate))["hits"]["total"]["value"], 1);
    let versions = json!({"version": true, "size": 100, "sort": ["_id"]});
    let hits = search(env, "POST", "/things-v1/_search", Some(&versions));
    let found: Vec<&Value> =
        hits["hits"]["hits"].as_array().unwrap().iter().map(|hit| &hit["_version"]).collect();
    assert!([0, 1, 2, 3].iter().all(|version| found.contains(&&json!(version))), "{found:?}");
    assert_eq!(manage(env, "GET", "/api/queues/%2F/celery").0, 200);
}
