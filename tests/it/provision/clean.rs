//! `provision --clean`: what goes, what stays, and when nothing is touched.

use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use serde_json::Value;

use super::lab::{Lab, file};

/// A store with a server that is needed and one that is not, an unfinished build, and caches.
struct Store {
    lab: Lab,
    needed: Utf8PathBuf,
    other: Utf8PathBuf,
}

impl Store {
    fn new() -> Self {
        let (lab, _mirror) = Lab::with_packages();
        lab.ok(&["provision", "redis"]);
        let needed = lab.entry("redis-");
        let other = lab.store.join("redis-6.0.0-0123456789abcdef");
        super::lab::copy(&needed, &other);
        std::fs::create_dir_all(lab.store.join("tmp/bdead")).unwrap();
        file(&lab.store.join("tmp/bdead/part"), &[0; 1000]);
        file(&lab.store.join("notes.txt"), b"not ours");
        Self { lab, needed, other }
    }

    fn clean(&self, more: &[&str]) -> Value {
        self.lab.json(&[&["provision", "--clean"], more].concat())
    }

    fn untouched(&self) -> bool {
        self.other.join("installed.json").exists() && self.lab.store.join("tmp/bdead").exists()
    }
}

fn paths(report: &Value) -> Vec<String> {
    let items = report["items"].as_array().unwrap().iter();
    items.map(|item| item["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn what_goes_is_shown_first_and_only_removed_after_a_yes() {
    let store = Store::new();
    let shown = store.clean(&["--dry-run"]);
    assert_eq!(paths(&shown), ["redis-6.0.0-0123456789abcdef", "bdead", "apt", "packages"]);
    assert!(shown["bytes"].as_u64().unwrap() > 380_000 && shown["removed"] == false);
    assert!(store.untouched());
    let message = store.lab.fails(&["provision", "--clean"], "needs-yes");
    assert!(message.contains("needs a yes"), "{message}");
    assert!(store.untouched());

    let removed = store.clean(&["--yes"]);
    assert_eq!((&removed["removed"], &removed["items"]), (&Value::Bool(true), &shown["items"]));
    assert!(!store.other.exists() && store.needed.join("installed.json").exists());
    assert!(!store.lab.store.join("tmp/bdead").exists() && store.lab.store.join("notes.txt").exists());
    assert_eq!(store.lab.json(&["provision", "redis"])["new"], 0);
    assert_eq!(store.clean(&["--yes"])["items"], Value::Array(vec![]));
}

#[test]
fn what_another_known_project_needs_stays() {
    let store = Store::new();
    // The other project's lock leads to another server; this project's own to none of the two.
    let other = Lab::new();
    let root = &other.place.root;
    let lock = std::fs::read_to_string(store.lab.place.root.join("ecosystem.lock")).unwrap();
    other.place.file("ecosystem.lock", &lock);
    store.lab.redis_lock(&["redis-server=5:8.0.0-1"]);
    std::fs::create_dir(store.lab.store.join("places")).unwrap();
    let place = |name: &str, text: String| file(&store.lab.store.join("places").join(name), text.as_bytes());
    place("a.toml", format!("root = {:?}\nstate = {:?}\n", root.as_str(), other.place.state().as_str()));
    place("b.toml", "root = \"/no/such/folder\"\nstate = \"/no/such/folder/.ecosystem\"\n".to_owned());
    let report = store.clean(&["--dry-run"]);
    assert_eq!(report["projects"].as_array().unwrap().len(), 2);
    assert!(paths(&report).contains(&"redis-6.0.0-0123456789abcdef".to_owned()));
    assert!(!paths(&report).contains(&store.needed.file_name().unwrap().to_owned()), "{report}");

    // As long as one of them cannot be understood, nothing goes that it could need.
    place("c.toml", "root = 1".to_owned());
    assert_eq!(paths(&store.clean(&["--dry-run"])), ["bdead", "apt", "packages"]);
    std::fs::remove_file(store.lab.store.join("places/c.toml")).unwrap();
    other.place.file("ecosystem.toml", "port_offset = \"x\"\n");
    let run = store.lab.ok(&["provision", "--clean", "--yes"]);
    assert!(run.stderr.contains(root.as_str()), "{run}");
    assert!(store.other.exists() && store.needed.exists());
    other.place.manifest("");
}

#[test]
fn what_runs_stays() {
    let store = Store::new();
    let program = store.other.join("usr/bin/sleep");
    std::fs::copy("/bin/sleep", &program).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a program of the store that runs")]
    let mut child = Command::new(&program).arg("600").stdout(Stdio::null()).spawn().unwrap();
    let report = store.clean(&["--yes"]);
    assert_eq!(paths(&report), ["bdead", "apt", "packages"]);
    assert!(program.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(paths(&store.clean(&["--yes"])).contains(&"redis-6.0.0-0123456789abcdef".to_owned()));
}

#[test]
fn nothing_is_touched_while_somebody_works_in_the_store() {
    let store = Store::new();
    for lock in ["apt", "maven", "store", "redis-9-x"] {
        let path = store.lab.store.join("locks").join(lock);
        let held = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        held.lock().unwrap();
        let message = store.lab.fails(&["provision", "--clean", "--yes"], "store-busy");
        assert!(message.contains(lock), "{message}");
        assert!(store.untouched());
    }
    store.clean(&["--yes"]);
    assert!(!store.untouched());
}
