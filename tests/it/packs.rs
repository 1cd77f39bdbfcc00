//! Packs: made, loaded, compared, damaged, and cut short.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clients::{Env, number, search, sql};
use crate::json::fits;
use crate::support::{Place, eventually, kill, walk};

/// The digests of all files of a pack.
fn digests(place: &Place, pack: &str) -> BTreeMap<String, String> {
    let folder = place.root.join("seeds").join(pack);
    let files = walk(&folder).into_iter().filter(|path| path.is_file());
    files
        .map(|path| {
            let digest = ecosystem_core::artifact::hex(&Sha256::digest(std::fs::read(&path).unwrap()));
            (path.strip_prefix(&folder).unwrap().to_string(), digest)
        })
        .collect()
}

#[test]
fn the_same_words_make_the_same_pack_and_nothing_is_written_over() {
    let (one, other) = (Place::new(), Place::new());
    let made = one.json(&["pack", "new", "small", "--synthetic", "200"]);
    fits("NewPack", &made);
    assert_eq!(made["records"], 200);
    other.ok(&["pack", "new", "small", "--synthetic", "200", "--rng", "1"]);
    let before = digests(&one, "small");
    assert_eq!(before, digests(&other, "small"));
    // The bytes themselves are part of the promise.
    assert_eq!(
        before["opensearch/records.ndjson"],
        "a09efc4af513c9c5be677e55197b140e1268c919032cd9aba3a4177c7637b226"
    );
    other.ok(&["pack", "new", "another", "--synthetic", "200", "--rng", "2"]);
    assert_ne!(before["opensearch/records.ndjson"], digests(&other, "another")["opensearch/records.ndjson"]);

    let again = one.run(&["pack", "new", "small", "--synthetic", "50"]);
    assert!(again.status == 2 && again.stderr.contains("error[pack-exists]"), "{again}");
    assert_eq!(digests(&one, "small"), before);
    for (name, records, status) in [("../out", "50", 6), ("few", "9", 2), ("many", "1000001", 2)] {
        let refused = one.run(&["pack", "new", name, "--synthetic", records]);
        assert_eq!(refused.status, status, "{refused}");
    }
    let left: Vec<_> = one.root.join("seeds").read_dir_utf8().unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// A place in which PostgreSQL and OpenSearch run, with a synthetic pack that nobody has loaded.
fn with_pack(records: u32) -> (Place, Env) {
    let place = Place::heavy();
    place.manifest("seed = \"big\"\nservices.postgresql.settings.autovacuum = \"off\"\n");
    place.ok(&["pack", "new", "big", "--synthetic", &records.to_string()]);
    place.ok(&["up", "--no-seed", "postgresql", "opensearch"]);
    let env = place.env();
    (place, env)
}

const ALIAS: &str = "invenio-rdmrecords";

#[test]
fn what_differs_from_the_pack_is_named() {
    let (place, env) = with_pack(6_000);
    let missing = place.run(&["pack", "verify", "--format", "json"]);
    assert_eq!(missing.status, 1, "{missing}");
    fits("Verified", &missing.report());
    assert_eq!(missing.report()["parts"][0]["compared"][2]["problem"], "the table is not there");

    place.ok(&["seed"]);
    let equal = place.json(&["pack", "verify"]);
    fits("Verified", &equal);
    assert_eq!(equal["equal"], true, "{equal}");
    // What made loading cheap is taken back, and the sequence goes on behind the rows.
    let settings = search(&env, "GET", &format!("/{ALIAS}/_settings"), None);
    let settings = &settings.as_object().unwrap().values().next().unwrap()["settings"]["index"];
    assert_eq!((&settings["number_of_replicas"], &settings["refresh_interval"]), (&json!("0"), &Value::Null));
    assert_eq!(number(&env, "SELECT nextval('pidstore_pid_id_seq')"), 13_001);

    let ids = "SELECT id FROM rdm_records_metadata ORDER BY id";
    sql(&env)
        .batch_execute(&format!(
            "UPDATE rdm_records_metadata SET version_id = 9 WHERE id IN ({ids} LIMIT 25);
             UPDATE rdm_records_metadata SET json = '{{}}' WHERE id IN ({ids} OFFSET 5000 LIMIT 1);
             DELETE FROM rdm_records_metadata WHERE id IN ({ids} OFFSET 100 LIMIT 2);
             INSERT INTO rdm_records_metadata VALUES (now(), now(), '00000000-0000-0000-0000-000000000000', '{{}}', 1, 1)"
        ))
        .unwrap();
    search(&env, "PUT", &format!("/{ALIAS}/_doc/mine"), Some(&json!({"uuid": "mine"})));
    let id = |offset: u32| -> String {
        sql(&env)
            .query_one(&format!("SELECT id::text FROM ({ids} OFFSET {offset} LIMIT 1) x"), &[])
            .unwrap()
            .get(0)
    };
    let (changed, deleted) = (id(300), id(400));
    search(&env, "POST", &format!("/{ALIAS}/_update/{changed}"), Some(&json!({"doc": {"version_id": 9}})));
    search(&env, "DELETE", &format!("/{ALIAS}/_doc/{deleted}"), None);

    let run = place.run(&["pack", "verify", "--format", "json"]);
    assert!(run.status == 1 && run.stderr.contains("pack-differs"), "{run}");
    let report = run.report();
    fits("Verified", &report);
    let counts =
        |found: &Value| ["missing", "added", "changed"].map(|kind| found[kind]["count"].as_u64().unwrap());
    let (table, index) = (&report["parts"][0]["compared"][2], &report["parts"][1]["compared"][0]);
    assert_eq!((counts(table), counts(index)), ([2, 1, 26], [1, 1, 1]), "{report}");
    assert_eq!(table["changed"]["first"].as_array().unwrap().len(), 20);
    assert_eq!(index["missing"]["first"], json!([deleted]));
    assert_eq!(index["added"]["first"], json!(["mine"]));
    assert_eq!(index["changed"]["first"], json!([changed]));
    let pair = &report["pairs"][0];
    let without = |which: &str| pair[which]["first"].as_array().unwrap().len();
    assert_eq!((without("rows_without_document"), without("documents_without_row")), (2, 3), "{pair}");
    assert_eq!(pair["rows_newer_than_document"]["count"], 25, "{pair}");
    let told = place.run(&["pack", "verify"]);
    for part in ["26 changed", "and 6 more", "2 missing", "mine", "2 rows without a document"] {
        assert!(told.stdout.contains(part), "{part} is missing in\n{told}");
    }
}

#[test]
fn a_damaged_pack_is_refused_before_anything_is_written() {
    let (place, env) = with_pack(50);
    let folder = place.root.join("seeds/big");
    let manifest = std::fs::read_to_string(folder.join("pack.toml")).unwrap();
    let undeclared = manifest.split("[files.").next().unwrap().to_owned();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (rows, documents) = (read("postgresql/rdm_records_metadata.tsv"), read("opensearch/records.ndjson"));
    let last = documents.lines().last().unwrap();
    let cases: [(&str, String, &str, &str); 8] = [
        ("opensearch/records.ndjson", documents.replacen("open", "shut", 1), &manifest, "damaged"),
        (
            "opensearch/records.ndjson",
            documents[..documents.len() - 10].to_owned(),
            &manifest,
            "it is damaged",
        ),
        ("postgresql/schema.sql", "DROP TABLE x;".to_owned(), &manifest, "damaged"),
        (
            "opensearch/records.ndjson",
            format!("{documents}{{\"uuid\": 7}}\n"),
            &undeclared,
            "document 51: there is no text",
        ),
        (
            "opensearch/records.ndjson",
            format!("{documents}{}\n", &last[..100]),
            &undeclared,
            "document 51: EOF",
        ),
        (
            "postgresql/rdm_records_metadata.tsv",
            format!("{rows}\\.\n"),
            &undeclared,
            "row 51: it would end the rows",
        ),
        (
            "postgresql/rdm_records_metadata.tsv",
            format!("{rows}a\tb\n"),
            &undeclared,
            "row 51: 2 columns, not 6",
        ),
        ("pack.toml", manifest.replacen("sha256 = \"", "sha256 = \"x", 1), "", "is not 64 digits"),
    ];
    for (name, text, manifest, told) in cases {
        let good = std::fs::read(folder.join(name)).unwrap();
        if !manifest.is_empty() {
            place.file("seeds/big/pack.toml", manifest);
        }
        place.file(&format!("seeds/big/{name}"), &text);
        let refused = place.run(&["seed"]);
        assert_eq!(refused.status, 6, "{name}: {refused}");
        assert!(
            refused.stderr.contains("error[pack-invalid]") && refused.stderr.contains(told),
            "{told}: {refused}"
        );
        place.file(&format!("seeds/big/{name}"), std::str::from_utf8(&good).unwrap());
    }
    assert_eq!(number(&env, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'ecosystem')"), 0);
    assert_eq!(search(&env, "GET", "/_cat/indices/invenio-*?format=json", None), json!([]));
}

#[test]
fn a_load_that_is_killed_at_any_point_ends_the_same_the_next_time() {
    let (place, env) = with_pack(20_000);
    let documents = || {
        let stats = search(&env, "GET", "/invenio-rdmrecords*/_stats/indexing?filter_path=_all.total", None);
        stats.pointer("/_all/total/indexing/index_total").and_then(Value::as_u64).unwrap_or(0)
    };
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %'";
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE %'";
    // Where it is killed: while rows are sent, while keys are made, while documents are written.
    let moments: [&dyn Fn() -> bool; 4] =
        [&|| number(&env, copying) > 0, &|| number(&env, waiting) > 0, &|| documents() > 0, &|| {
            documents() > 10_000
        }];
    for moment in moments {
        let mut seed = place.command(&["seed"]);
        let mut seed =
            seed.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let ended = || std::fs::read_to_string(format!("/proc/{}/stat", seed.id())).unwrap().contains(") Z");
        eventually("the moment has come, or is over", || moment() || ended());
        kill(seed.id(), Signal::KILL);
        seed.wait().unwrap();

        place.ok(&["seed"]);
        let equal = place.json(&["pack", "verify"]);
        assert_eq!(equal["equal"], true, "{equal}");
        let indices = search(&env, "GET", "/_cat/indices/invenio-*?format=json", None);
        assert_eq!(
            indices.as_array().unwrap().len(),
            2,
            "nothing is left of the load that was killed: {indices}"
        );
        // Lost again, for the next round.
        sql(&env).batch_execute("TRUNCATE rdm_records_metadata, pidstore_pid").unwrap();
        let real = search(&env, "GET", &format!("/_alias/{ALIAS}"), None);
        search(&env, "DELETE", &format!("/{}", real.as_object().unwrap().keys().next().unwrap()), None);
    }
}

#[test]
fn indices_are_made_anew_from_the_tables() {
    let (place, env) = with_pack(6_000);
    place.ok(&["seed"]);
    let before = search(&env, "GET", &format!("/_alias/{ALIAS}"), None);
    let one = "SELECT id::text FROM rdm_records_metadata ORDER BY id LIMIT 1";
    let id: String = sql(&env).query_one(one, &[]).unwrap().get(0);
    let change = format!(
        "UPDATE rdm_records_metadata SET version_id = 9, json = json || '{{\"title\": \"a\\n\\t\\\"b\\\" č\"}}' WHERE id = '{id}';
         DELETE FROM rdm_records_metadata WHERE id > 'f0000000-0000-0000-0000-000000000000'"
    );
    sql(&env).batch_execute(&change).unwrap();
    let report = place.json(&["seed", "--from-database"]);
    fits("Seeded", &report);
    assert_eq!(report["parts"][0]["outcome"], "rebuilt", "{report}");
    let rows = number(&env, "SELECT count(*) FROM rdm_records_metadata");
    assert!((5_000..6_000).contains(&rows), "{rows}");
    assert_eq!(search(&env, "GET", &format!("/{ALIAS}/_count"), None)["count"], rows);
    let document = search(&env, "GET", &format!("/{ALIAS}/_doc/{id}"), None)["_source"].clone();
    assert_eq!((&document["version_id"], &document["title"]), (&json!(9), &json!("a\n\t\"b\" č")));
    // Another index is behind the alias, and the one before is gone.
    let after = search(&env, "GET", &format!("/_alias/{ALIAS}"), None);
    assert_ne!(before, after);
    assert_eq!(search(&env, "GET", "/_cat/indices/invenio-*?format=json", None).as_array().unwrap().len(), 2);
    // All other documents are what the pack has.
    let verified = place.run(&["pack", "verify", "--format", "json"]).report();
    let index = &verified["parts"][1]["compared"][0];
    assert_eq!((&index["changed"]["count"], &index["added"]["count"]), (&json!(1), &json!(0)), "{index}");
    assert_eq!(verified["pairs"][0]["rows_newer_than_document"]["count"], 0);
    assert_eq!(verified["pairs"][0]["rows_without_document"]["count"], 0);
    // It counts as loaded, and can be made again.
    place.ok(&["seed", "--only", "opensearch"]);
    assert_eq!(search(&env, "GET", &format!("/_alias/{ALIAS}"), None), after);
    place.ok(&["seed", "--from-database"]);
    assert_eq!(search(&env, "GET", &format!("/{ALIAS}/_count"), None)["count"], rows);

    let manifest = std::fs::read_to_string(place.root.join("seeds/big/pack.toml")).unwrap();
    let without: Vec<&str> = manifest.lines().filter(|line| !line.contains("jsonb_build_object")).collect();
    let without = without.join("\n").replace("[opensearch.indices.from_rows]", "");
    place.file("seeds/big/pack.toml", &without);
    let refused = place.run(&["seed", "--from-database"]);
    assert!(refused.status == 2 && refused.stderr.contains("no-row-mapping"), "{refused}");
}
