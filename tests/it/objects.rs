//! Objects of packs in a real MinIO: loaded, compared, captured, killed halfway, and what is somebody else's.

use std::collections::BTreeMap;

use ecosystem::client::s3::{Content, Store};
use ecosystem_core::artifact::hex;
use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::{Endpoint, Secret};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::checkpoint::killed_when;
use crate::json::fits;
use crate::support::{Place, walk};

/// Ports that no two places share, whatever their offsets.
pub(crate) const S3: u16 = 9003;
pub(crate) const CONSOLE: u16 = 9002;
const BUCKET: &str = "default";

/// A place in which MinIO runs without a bucket, and its administrator's client for it.
fn with_minio() -> (Place, Store) {
    let place = Place::new();
    place
        .manifest(&format!("[services.minio]\nports = {{ s3 = {S3}, console = {CONSOLE} }}\nbuckets = []\n"));
    place.ok(&["up", "minio"]);
    let store = Store::open(&administrator(&place)).unwrap();
    (place, store)
}

/// How to reach the MinIO of a place with all rights.
pub(crate) fn administrator(place: &Place) -> Endpoint {
    Endpoint {
        kind: Kind::Minio,
        host: "127.0.0.1".into(),
        ports: [("s3".to_owned(), place.port(S3))].into(),
        user: Some("invenio".into()),
        secret: place.secrets().pop().map(Secret::new),
        database: None,
        identity: String::new(),
        watched: None,
        storage: ecosystem_core::endpoint::Storage::default(),
    }
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Writes a pack of one bucket, or of two where the second is empty.
fn pack(place: &Place, name: &str, objects: &BTreeMap<String, Vec<u8>>) {
    let folder = place.root.join("seeds").join(name);
    std::fs::create_dir_all(folder.join("objects/default")).unwrap();
    let mut list = String::new();
    for (key, bytes) in objects {
        let file = format!("objects/default/{}", sum(bytes));
        #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
        std::fs::write(folder.join(&file), bytes).unwrap();
        let mut line = json!({"key": key, "file": file, "bytes": bytes.len()});
        if key.starts_with("with type") {
            line["type"] = json!("text/plain; charset=utf-8");
            line["metadata"] = json!({"origin": "a  b"});
        }
        list.push_str(&line.to_string());
        list.push('\n');
    }
    place.file(&format!("seeds/{name}/objects/default.ndjson"), &list);
    place.file(&format!("seeds/{name}/objects/empty.ndjson"), "");
    let bucket =
        |name: &str| format!("[[objects.buckets]]\nname = \"{name}\"\nlist = \"objects/{name}.ndjson\"\n");
    let head = format!("format = 1\nname = \"{name}\"\ndescription = \"\"\n");
    place.file(&format!("seeds/{name}/pack.toml"), &(head + &bucket(BUCKET) + &bucket("empty")));
}

/// Every kind of key and content, and so many that a list has several pages.
fn objects() -> BTreeMap<String, Vec<u8>> {
    let large: Vec<u8> = (0..20_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let mut all: BTreeMap<String, Vec<u8>> = [
        ("a large one", large.as_slice()),
        ("čeština/ž š + %41?&=#~*'\"<>;:@.txt", "háček".as_bytes()),
        ("日本語/🎉", b"p"),
        ("tab\tand\nnew line", b"q"),
        ("with type/data", b"same"),
        ("without type/data", b"same"),
        ("empty", b""),
    ]
    .into_iter()
    .map(|(key, bytes)| (key.to_owned(), bytes.to_vec()))
    .collect();
    all.extend((0..1_200).map(|n| (format!("many/{n:04}"), format!("n {}", n % 7).into_bytes())));
    all
}

/// Every key of a bucket, receipts among them.
fn keys(store: &Store, bucket: &str) -> Vec<String> {
    let (mut keys, mut from) = (Vec::new(), None);
    while let Some(page) = store.list(bucket, from.as_deref()).unwrap() {
        keys.extend(page.objects.into_iter().map(|object| object.key));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    keys
}

fn empty(store: &Store) {
    for bucket in [BUCKET, "empty"] {
        for key in keys(store, bucket) {
            store.delete(bucket, &key).unwrap();
        }
    }
}

fn put(store: &Store, key: &str, bytes: &[u8]) {
    let metadata = BTreeMap::new();
    let (sha256, bytes_there) = (sum(bytes), bytes.len() as u64);
    let content = Content { key, bytes: bytes_there, sha256: &sha256, media_type: None, metadata: &metadata };
    store.put(BUCKET, &content, &mut &*bytes).unwrap();
}

fn get(store: &Store, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.get(BUCKET, key, &mut bytes).unwrap().unwrap_or_else(|| panic!("{key} is not there"));
    bytes
}

#[test]
fn objects_are_loaded_once_compared_and_captured() {
    let (place, store) = with_minio();
    let place = &place;
    let objects = objects();
    pack(place, "o", &objects);
    let seeded = place.json(&["seed", "o"]);
    fits("Seeded", &seeded);
    let part = &seeded["parts"][0];
    assert_eq!((&part["part"], &part["outcome"]), (&json!("objects"), &json!("loaded")), "{seeded}");
    assert_eq!(part["counts"], json!({"default": objects.len(), "empty": 0}), "{seeded}");
    for (key, bytes) in objects.iter().filter(|(key, _)| !key.starts_with("many/")) {
        assert!(get(&store, key) == *bytes, "{key}");
    }
    let head = store.head(BUCKET, "with type/data").unwrap().unwrap();
    assert_eq!(head.media_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(head.metadata["origin"], "a  b");
    assert_eq!(place.json(&["seed", "o"])["parts"][0]["outcome"], "kept");
    let equal = place.json(&["pack", "verify", "o"]);
    fits("Verified", &equal);
    assert_eq!(equal["equal"], true, "{equal}");

    let captured = place.json(&["pack", "capture", "one"]);
    fits("CapturedPack", &captured);
    empty(&store);
    place.ok(&["seed", "one"]);
    assert_eq!(place.json(&["pack", "verify", "one"])["equal"], true);
    place.ok(&["pack", "capture", "two"]);
    let files = |name: &str| -> BTreeMap<String, Vec<u8>> {
        let root = place.root.join("seeds").join(name);
        let files = walk(&root).into_iter().filter(|path| path.is_file() && !path.ends_with("pack.toml"));
        files
            .map(|path| (path.strip_prefix(&root).unwrap().to_string(), std::fs::read(&path).unwrap()))
            .collect()
    };
    assert!(files("one") == files("two"), "{:?}", files("two").keys());

    // What was changed since stays, what is gone comes again, and all of it is told.
    put(&store, "mine", b"mine");
    put(&store, "empty", b"no more");
    store.delete(BUCKET, "many/0003").unwrap();
    let differs = place.run(&["pack", "verify", "one", "--format", "json"]);
    assert_eq!(differs.status, 1, "{differs}");
    let report = differs.report();
    let compared = &report["parts"][0]["compared"][0];
    let first = |what: &str| &compared[what]["first"];
    assert_eq!(
        (first("missing"), first("added"), first("changed")),
        (&json!(["many/0003"]), &json!(["mine"]), &json!(["empty"])),
        "{compared}"
    );
    let again = place.json(&["seed", "one"]);
    assert_eq!(again["parts"][0]["cause"], "1 objects of the bucket default are gone", "{again}");
    assert_eq!((get(&store, "mine"), get(&store, "empty")), (b"mine".to_vec(), b"no more".to_vec()));
    assert_eq!(get(&store, "many/0003"), b"n 3");
    // But `reset` takes away what was changed and added, and brings the pack's own again.
    let told = place.run(&["reset", "one"]);
    assert!(
        told.status == 2 && told.stderr.contains("minio        2 objects that the pack did not bring"),
        "{told}"
    );
    let reset = place.json(&["reset", "one", "--yes"]);
    fits("Reset", &reset);
    assert_eq!(place.json(&["pack", "verify", "one"])["equal"], true);
    assert!(store.head(BUCKET, "mine").unwrap().is_none() && get(&store, "empty").is_empty());
    put(&store, "mine", b"mine");

    // The next version of the pack takes away what it no longer has, and nothing else.
    store.delete(BUCKET, "empty").unwrap();
    let mut next = objects.clone();
    next.retain(|key, _| !key.starts_with("many/00"));
    next.insert("many/0100".into(), b"new".to_vec());
    pack(place, "one", &next);
    place.ok(&["seed", "one"]);
    let there = keys(&store, BUCKET);
    assert_eq!(there.len(), next.len() + 2, "mine and a receipt");
    assert_eq!((get(&store, "many/0100"), get(&store, "mine")), (b"new".to_vec(), b"mine".to_vec()));
}

#[test]
fn a_load_of_objects_that_is_killed_ends_the_same_the_next_time() {
    let (place, store) = with_minio();
    let place = &place;
    pack(place, "o", &objects());
    store.create(BUCKET).unwrap();
    let mut killed = 0;
    for count in [1, 300, 1_100] {
        killed += usize::from(killed_when(place, &["seed", "o"], |_| keys(&store, BUCKET).len() >= count));
        place.ok(&["seed", "o"]);
        assert_eq!(place.json(&["pack", "verify", "o"])["equal"], true);
        empty(&store);
    }
    assert!(killed > 0, "it takes seconds, and is seen within them");
}

#[test]
fn a_minio_of_somebody_else_is_filled_by_its_url_and_has_to_know_the_password() {
    let (lender, store) = with_minio();
    let borrower = Place::named("borrower");
    let (password, port) = (lender.secrets().pop().unwrap(), lender.port(S3));
    let url = |password: &str| {
        format!("services.minio.external = \"http://invenio:{password}@127.0.0.1:{port}\"\n")
    };
    borrower.manifest(&url("another-word"));
    let refused = borrower.run(&["up", "minio"]);
    assert!(refused.status == 5 && refused.stderr.contains("error[service-not-ours]"), "{refused}");
    assert!(refused.stderr.contains("it does not know this project's password"), "{refused}");
    borrower.manifest(&url(&password));
    let up = borrower.ok(&["up", "minio"]);
    assert!(up.stdout.contains(&format!("127.0.0.1:{port}")) && !up.stdout.contains("console"), "{up}");
    pack(&borrower, "o", &BTreeMap::from([("a".to_owned(), b"b".to_vec())]));
    borrower.ok(&["seed", "o"]);
    assert_eq!(get(&store, "a"), b"b");
}

#[test]
fn objects_of_others_and_damaged_packs_are_told_before_anything_is_written() {
    let (place, store) = with_minio();
    let place = &place;
    let objects = objects();
    pack(place, "o", &objects);
    let file = place.root.join("seeds/o/objects/default").join(sum(b"same"));
    let damage = |bytes: &[u8]| {
        #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
        std::fs::write(&file, bytes).unwrap();
    };
    damage(b"sane");
    let refused = place.run(&["seed", "o"]);
    assert!(refused.status == 6 && refused.stderr.contains("error[pack-invalid]"), "{refused}");
    assert!(refused.stderr.contains("is damaged: its digest is another one"), "{refused}");
    assert!(store.list(BUCKET, None).unwrap().is_none(), "no bucket was made");
    damage(b"same");

    store.create(BUCKET).unwrap();
    put(&store, "many/0001", b"n 1");
    put(&store, "many/0002", b"n 9");
    let refused = place.run(&["seed", "o"]);
    assert!(refused.status == 6 && refused.stderr.contains("error[data-foreign]"), "{refused}");
    assert!(refused.stderr.contains("MinIO has its own default/many/0002"), "{refused}");
    assert_eq!(keys(&store, BUCKET), ["many/0001", "many/0002"], "nothing was changed");
    // The same content is as good as ours.
    store.delete(BUCKET, "many/0002").unwrap();
    place.ok(&["seed", "o"]);
    let equal: Value = place.json(&["pack", "verify", "o"]);
    assert_eq!(equal["equal"], true, "{equal}");
}
