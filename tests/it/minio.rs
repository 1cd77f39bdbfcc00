//! MinIO: built from its source, ready with its buckets and an account for applications, and other servers in its place.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use ecosystem::client::s3::{Content, Store};
use ecosystem_core::artifact::hex;
use ecosystem_core::endpoint::{Endpoint, Secret};
use rustix::process::Signal;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::json::fits;
use crate::objects::{CONSOLE, S3, administrator};
use crate::support::{Place, eventually, kill, processes};

/// A place in which MinIO runs as the manifest says, beside its ports.
fn with(more: &str) -> Place {
    let place = Place::new();
    manifest(&place, more);
    place.ok(&["up", "minio"]);
    place
}

fn manifest(place: &Place, more: &str) {
    place.manifest(&format!("[services.minio]\nports = {{ s3 = {S3}, console = {CONSOLE} }}\n{more}\n"));
}

/// A client with the login that these settings have.
fn application(place: &Place, env: &BTreeMap<String, String>) -> Store {
    let address = format!("http://127.0.0.1:{}", place.port(S3));
    assert_eq!(env["INVENIO_S3_ENDPOINT_URL"], address);
    let endpoint = Endpoint {
        user: Some(env["INVENIO_S3_ACCESS_KEY_ID"].clone()),
        secret: Some(Secret::new(env["INVENIO_S3_SECRET_ACCESS_KEY"].clone())),
        ..administrator(place)
    };
    Store::open(&endpoint).unwrap()
}

fn put(store: &Store, bucket: &str, key: &str, text: &str) -> anyhow::Result<()> {
    let (sha256, metadata) = (hex(&Sha256::digest(text)), BTreeMap::new());
    let content =
        Content { key, bytes: text.len() as u64, sha256: &sha256, media_type: None, metadata: &metadata };
    store.put(bucket, &content, &mut text.as_bytes())
}

/// What `env` names can be written and read, and nothing else.
pub(crate) fn the_application_reaches_its_bucket_alone(place: &Place) {
    let env = place.env();
    let all = Store::open(&administrator(place)).unwrap();
    all.create("others").unwrap();
    put(&all, "others", "k", "v").unwrap();
    let own = application(place, &env);
    assert_eq!(own.buckets().unwrap(), [env["S3_BUCKET"].clone()]);
    put(&own, &env["S3_BUCKET"], "a b/č", "text").unwrap();
    assert_eq!(own.read(&env["S3_BUCKET"], "a b/č").unwrap().unwrap(), b"text");
    own.delete(&env["S3_BUCKET"], "a b/č").unwrap();
    for refused in [own.read("others", "k").unwrap_err(), own.create("new").unwrap_err()] {
        assert!(refused.to_string().contains("AccessDenied"), "{refused}");
    }
    // Its login is not the administrator's, and does not lead there.
    let secret = place.secrets().pop().unwrap();
    assert!(env.values().all(|value| !value.contains(&secret)));
}

/// The addresses on which a process listens, as the kernel writes them.
fn listens(pid: u32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let sockets: Vec<String> = links
        .filter_map(|link| Some(std::fs::read_link(link.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let words = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|row| row[3] == "0A" && sockets.contains(&row[9].to_owned()))
        .map(|row| row[1].split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn it_is_ready_with_its_bucket_and_an_account_and_keeps_what_it_was_given() {
    let place = with("");
    the_application_reaches_its_bucket_alone(&place);
    assert_eq!(place.json(&["up", "minio"])["unchanged"], true);
    let env = place.env();
    put(&application(&place, &env), "default", "kept", "kept").unwrap();
    let pid = place.pid("minio", "minio");
    let loopback = ["0100007F", "00000000000000000000000001000000"];
    let listening = listens(pid);
    assert!(listening.len() >= 2, "{listening:?}");
    assert!(listening.iter().all(|address| loopback.contains(&address.as_str())), "{listening:?}");
    let secret = place.secrets().pop().unwrap();
    let own = &env["INVENIO_S3_SECRET_ACCESS_KEY"];
    let told = |text: &str| text.contains(&secret) || text.contains(own);
    assert!(!processes().iter().any(|(_, words)| words.iter().any(|word| told(word))));
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!told(&String::from_utf8_lossy(&environ)));
    for quiet in [&["logs", "minio"][..], &["report"], &["status"]] {
        let run = place.run(quiet);
        assert!(!told(&run.stdout) && !told(&run.stderr), "{quiet:?}");
    }
    // Whatever ends it.
    let ends: [&dyn Fn(); 2] = [&|| drop(place.ok(&["down"])), &|| place.kill("minio", "minio")];
    for end in ends {
        end();
        place.ok(&["up", "minio"]);
        assert_eq!(application(&place, &env).read("default", "kept").unwrap().unwrap(), b"kept");
    }
    kill(place.supervisor().unwrap(), Signal::KILL);
    eventually("nothing is left", || place.processes().is_empty());
}

#[test]
fn buckets_that_the_manifest_gains_are_made_and_those_it_loses_stay() {
    let place = with("");
    put(&application(&place, &place.env()), "default", "k", "v").unwrap();
    manifest(&place, "buckets = [\"media\", \"more.of-it\"]");
    let plan = place.ok(&["up", "minio", "--dry-run"]).stdout;
    assert!(plan.contains("buckets: default → media, more.of-it"), "{plan}");
    place.ok(&["up", "minio"]);
    assert_eq!(place.env()["S3_BUCKET"], "media");
    let all = Store::open(&administrator(&place)).unwrap();
    assert_eq!(all.buckets().unwrap(), ["default", "media", "more.of-it"]);
    assert_eq!(all.read("default", "k").unwrap().unwrap(), b"v");
    // What is not named is no application's.
    assert_eq!(application(&place, &place.env()).buckets().unwrap(), ["media", "more.of-it"]);
    manifest(&place, "buckets = [\"No\"]");
    let refused = place.run(&["up", "minio"]);
    assert!(refused.status == 4 && refused.stderr.contains("3 to 63 of a-z"), "{refused}");
}

#[test]
fn a_tenant_has_a_bucket_beside_that_of_the_main_instance() {
    let place = with("");
    let main = place.env();
    put(&application(&place, &main), "default", "k", "main").unwrap();
    let created = place.json(&["tenant", "create", "review"]);
    fits("CreatedTenant", &created);
    assert_eq!(created["services"]["minio"], "bucket default-review", "{created}");
    let own: BTreeMap<String, String> =
        serde_json::from_value(place.json(&["env", "--tenant", "review"])).unwrap();
    assert_eq!(own["S3_BUCKET"], "default-review");
    put(&application(&place, &own), "default-review", "k", "review").unwrap();
    assert_eq!(application(&place, &main).read("default", "k").unwrap().unwrap(), b"main");
    // It is no part of a pack of the main instance.
    let captured = place.json(&["pack", "capture", "one"]);
    assert_eq!(captured["parts"][0]["counts"], json!({"default": 1}), "{captured}");
    // What is there already is somebody's.
    let all = Store::open(&administrator(&place)).unwrap();
    all.create("default-mine").unwrap();
    let refused = place.run(&["tenant", "create", "mine"]);
    assert!(refused.stderr.contains("MinIO has a bucket default-mine already"), "{refused}");
    // A command that empties what it was given.
    let script =
        "test \"$S3_BUCKET\" != default && test \"$S3_ACCESS_KEY_ID\" = invenio-app && echo \"$S3_BUCKET\"";
    let test = place.ok(&["test", "--", "sh", "-c", script]);
    let of_test = test.stdout.trim();
    assert!(of_test.starts_with("default-test-"), "{test}");
    place.ok(&["tenant", "delete", "review", "--yes"]);
    assert_eq!(all.buckets().unwrap(), ["default", "default-mine"]);
    assert_eq!(place.json(&["tenant", "list"])["tenants"], json!([]));
}

#[test]
fn another_server_takes_its_place_by_its_command_and_data_of_one_is_not_given_to_the_other() {
    let place = with("");
    let server: Utf8PathBuf =
        std::fs::read_link(format!("/proc/{}/exe", place.pid("minio", "minio"))).unwrap().try_into().unwrap();
    place.ok(&["down"]);
    // The same program plays the part of another one: it is started and reached as any would be.
    let other = place.root.join("other-server");
    std::os::unix::fs::symlink(server, &other).unwrap();
    manifest(
        &place,
        "command = [\"./other-server\", \"server\", \"--address\", \"127.0.0.1:{port.s3}\", \"--console-address\", \"127.0.0.1:{port.console}\", \"{data}\"]\n\
         env = { MINIO_ROOT_USER = \"{user}\", MINIO_ROOT_PASSWORD = \"{secret}\" }\nbuckets = [\"theirs\"]",
    );
    let refused = place.run(&["up", "minio"]);
    assert!(refused.stderr.contains("error[data-other-version]"), "{refused}");
    assert!(refused.stderr.contains("made by minio 1 and cannot be used by minio other-server"), "{refused}");
    place.ok(&["down", "--data", "--yes"]);
    let plan = place.ok(&["up", "minio", "--dry-run"]).stdout;
    assert!(plan.contains("./other-server server --address"), "what a manifest runs is shown\n{plan}");
    place.ok(&["up", "minio"]);
    let env = place.env();
    assert_eq!((env["S3_BUCKET"].as_str(), env["INVENIO_S3_ACCESS_KEY_ID"].as_str()), ("theirs", "invenio"));
    put(&application(&place, &env), "theirs", "k", "v").unwrap();
    let secret = place.secrets().pop().unwrap();
    assert!(!processes().iter().any(|(_, words)| words.iter().any(|word| word.contains(&secret))));
    // Somebody else's, where a project asks for a bucket.
    let borrower = Place::named("borrower");
    borrower.manifest(&format!(
        "services.minio = {{ external = \"http://invenio:{secret}@127.0.0.1:{}\", buckets = [\"lent\"] }}\n",
        place.port(S3)
    ));
    borrower.ok(&["up", "minio"]);
    assert_eq!(application(&place, &env).buckets().unwrap(), ["lent", "theirs"]);
    assert_eq!(borrower.env()["S3_BUCKET"], "lent");

    manifest(&place, "command = [\"x\", \"{secret}\"]\nready = { log = \"up\" }\nimage = \"x\"");
    let refused = place.run(&["status"]);
    for part in [
        "everybody on this machine could read {secret} there",
        "asked in its own protocol",
        "no effect beside `command`",
    ] {
        assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
    }
}

#[test]
fn check_says_that_nobody_maintains_it_where_it_is_used() {
    let place = Place::new();
    let said = || place.run(&["check"]).stdout.contains("nobody maintains this server any more");
    assert!(!said(), "it is no part of what is used here");
    place.manifest("profiles.core = [\"redis\", \"minio\"]\n");
    assert!(said());
    place.manifest(
        "profiles.core = [\"redis\", \"minio\"]\nservices.minio.external = \"http://a:b@127.0.0.1:1\"\n",
    );
    assert!(!said());
}
