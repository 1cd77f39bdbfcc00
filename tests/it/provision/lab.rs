//! A store, a project and package sources that exist for one test. Nothing of it touches the person's own store, which is only read.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::mirror::Mirror;
use crate::support::{Place, Run, processes, walk};

/// A project with a store of its own.
pub(crate) struct Lab {
    pub(crate) place: Place,
    _folders: [tempfile::TempDir; 2],
    /// The person's home. Maven's own script cannot take a path with spaces.
    pub(crate) home: Utf8PathBuf,
    pub(crate) folder: Utf8PathBuf,
    pub(crate) store: Utf8PathBuf,
    pub(crate) env: Vec<(String, String)>,
}

impl Lab {
    /// An empty store.
    pub(crate) fn new() -> Self {
        let held = tempfile::Builder::new().prefix("a lab ").tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(held.path().canonicalize().unwrap()).unwrap();
        let store = folder.join("store");
        let env = vec![("ECOSYSTEM_STORE".to_owned(), store.to_string())];
        let home = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(home.path().canonicalize().unwrap()).unwrap();
        Self { place: Place::new(), _folders: [held, home], home: path, folder, store, env }
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.env.push((key.to_owned(), value.into()));
    }

    /// The program in this lab.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        // The machine's own proxies do not know the mirror.
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "MAVEN_ARGS", "APT_CONFIG"] {
            command.env_remove(proxy);
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Run {
        self.run(args).succeeded(args)
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.ok(&[args, &["--format", "json"]].concat()).report()
    }

    /// Runs it, insists that it fails with this code and one next step, and returns the message.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: &str) -> String {
        failed(&self.run(&[args, &["--format", "json"]].concat()), code)
    }

    /// Folders of finished things in the store.
    pub(crate) fn entries(&self) -> Vec<String> {
        let Ok(found) = self.store.read_dir_utf8() else { return Vec::new() };
        let names = found.flatten().map(|entry| entry.file_name().to_owned());
        let mut names: Vec<_> = names.filter(|name| name.contains('-')).collect();
        names.sort();
        names
    }

    /// The folder of the only thing with this name.
    #[track_caller]
    pub(crate) fn entry(&self, name: &str) -> Utf8PathBuf {
        let found: Vec<_> = self.entries().into_iter().filter(|entry| entry.starts_with(name)).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        self.store.join(&found[0])
    }

    /// Nothing half-made can be used, nothing runs on, and no lock is held.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        crate::support::eventually("no process works with the store", || self.processes().is_empty());
        for name in self.entries() {
            assert!(self.store.join(&name).join("installed.json").exists(), "{name} is half-made");
        }
        if self.store.join("locks").is_dir() {
            for lock in walk(&self.store.join("locks")) {
                let file = std::fs::File::open(&lock).unwrap();
                assert!(file.try_lock().is_ok(), "{lock} is still held");
            }
        }
    }

    /// Processes that have the store on their command line, or work in it.
    pub(crate) fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let here = |(pid, words): &(u32, Vec<String>)| {
            words.iter().any(|word| word.contains(self.store.as_str()))
                || std::fs::read_link(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|cwd| cwd.starts_with(&self.store))
        };
        processes().into_iter().filter(here).collect()
    }
}

/// Insists that a run failed with this code, that there is one next step, and returns the message.
#[track_caller]
pub(crate) fn failed(run: &Run, code: &str) -> String {
    // Warnings and progress come before it.
    let at = run.stderr.find("{\n  \"errors\"").unwrap_or_else(|| panic!("no error\n{run}"));
    let errors: Value =
        serde_json::from_str(&run.stderr[at..]).unwrap_or_else(|error| panic!("{error}\n{run}"));
    let error = &errors["errors"][0];
    assert_eq!(error["code"], code, "{run}");
    if code != "interrupted" {
        assert_eq!(error["hints"].as_array().unwrap().len(), 1, "one next step\n{run}");
    }
    error["message"].as_str().unwrap().to_owned()
}

/// A repository of Debian packages with servers that are scripts: real for apt and dpkg, and small.
pub(crate) struct Packages {
    pub(crate) folder: Utf8PathBuf,
}

/// The version that the repository has.
pub(crate) const REDIS: &str = "5:7.0.15-1~lab1";

impl Packages {
    pub(crate) fn new(lab: &Lab) -> Self {
        let packages = Self { folder: lab.folder.join("debian") };
        std::fs::create_dir_all(&packages.folder).unwrap();
        // The base system, whose packages are never unpacked.
        packages.add("apt", "2.6", "", "");
        packages.add("base-files", "12", "Essential: yes\n", "");
        packages.add("liblab", "1.0-1", "", "library");
        let server = "#!/bin/sh\necho 'Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64'\n";
        packages.add("redis-server", REDIS, "Depends: liblab\n", server);
        packages.index();
        packages
    }

    /// Adds a package whose program has this text, and enough that does not compress to be fetched in pieces.
    fn add(&self, name: &str, version: &str, more: &str, program: &str) {
        let tree = self.folder.join("tree").join(name);
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(tree.join("usr/bin")).unwrap();
        std::fs::create_dir_all(tree.join("usr/share").join(name)).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A Lab <lab@example.org>\n{more}Description: for a test\n"
        );
        file(&tree.join("DEBIAN/control"), control.as_bytes());
        let noise: Vec<u8> = (0..6_000_u32).flat_map(|i| Sha256::digest(format!("{name}{i}"))).collect();
        file(&tree.join("usr/share").join(name).join("noise"), &noise);
        let path = tree.join("usr/bin").join(name);
        file(&path, program.as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let deb = self.folder.join(format!("{name}_{}_all.deb", version.replace(':', "%3a")));
        run("dpkg-deb", &["--root-owner-group", "-Zgzip", "--build", tree.as_str(), deb.as_str()]);
    }

    /// Writes the index over the packages that are there.
    pub(crate) fn index(&self) {
        let mut text = String::new();
        for deb in self.folder.read_dir_utf8().unwrap().flatten() {
            if deb.path().extension() != Some("deb") {
                continue;
            }
            let bytes = std::fs::read(deb.path()).unwrap();
            let sum: String = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            text += &run("dpkg-deb", &["-f", deb.path().as_str()]);
            // As Debian does it: the colon of an epoch is not in the name of a file.
            let name = deb.file_name().replace("5%3a", "");
            std::fs::hard_link(deb.path(), self.folder.join("pool").join(&name)).ok();
            let _ = write!(text, "Filename: ./pool/{name}\nSize: {}\nSHA256: {sum}\n\n", bytes.len());
        }
        file(&self.folder.join("Packages"), text.as_bytes());
    }
}

impl Lab {
    /// A lab whose apt knows one source only: a mirror of these packages.
    pub(crate) fn with_packages() -> (Self, Mirror) {
        let mut lab = Self::new();
        std::fs::create_dir_all(lab.folder.join("debian/pool")).unwrap();
        let packages = Packages::new(&lab);
        let mirror = Mirror::of(&[&packages.folder]);
        lab.source(&mirror.url());
        lab.redis_lock(&["liblab=1.0-1", &format!("redis-server={REDIS}")]);
        (lab, mirror)
    }

    /// Points apt at this address, the way a person's own configuration does.
    pub(crate) fn source(&mut self, url: &str) {
        let list = self.folder.join("sources.list");
        file(&list, format!("deb [trusted=yes] {url} ./\n").as_bytes());
        let conf = self.folder.join("apt.conf");
        let text = format!(
            "Dir::Etc::sourcelist \"{list}\";\nDir::Etc::sourceparts \"/dev/null\";\nAcquire::Retries \"0\";\n"
        );
        file(&conf, text.as_bytes());
        self.set("APT_CONFIG", conf.as_str());
    }

    /// Locks Redis to these packages, and nothing else.
    pub(crate) fn redis_lock(&self, pins: &[&str]) {
        let (suite, machine) = suite();
        let pins: Vec<String> = pins.iter().map(|pin| format!("{pin:?}")).collect();
        let text = format!("[maven]\n\n[debian.\"{suite}\".\"{machine}\"]\nredis = [{}]\n", pins.join(", "));
        self.place.file("ecosystem.lock", &text);
    }

    /// A lab whose Maven knows one mirror only. Its plugins and PostgreSQL's client programs are there; PostgreSQL itself is not.
    pub(crate) fn with_maven() -> (Self, Mirror) {
        let mut lab = Self::new();
        let real = real_store();
        let repository = lab.store.join("cache/maven");
        copy(&real.join("cache/maven"), &repository);
        std::fs::remove_dir_all(repository.join("io/zonky")).unwrap();
        let client = real.read_dir_utf8().unwrap().flatten();
        for entry in client.filter(|entry| entry.file_name().starts_with("postgresql-client-")) {
            copy(entry.path(), &lab.store.join(entry.file_name()));
        }
        let mirror = Mirror::of(&[&real.join("cache/maven")]);
        lab.maven_mirror(&mirror.url());
        (lab, mirror)
    }

    /// Points Maven at this address, the way a person's own settings do.
    pub(crate) fn maven_mirror(&mut self, url: &str) {
        let home = self.home.clone();
        std::fs::create_dir_all(home.join(".m2")).unwrap();
        let settings = format!(
            "<settings><mirrors><mirror><id>central</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror></mirrors></settings>"
        );
        file(&home.join(".m2/settings.xml"), settings.as_bytes());
        self.set("HOME", home.as_str());
        // Java asks the user database for the home folder, not the environment.
        self.set("MAVEN_OPTS", format!("-Duser.home={home}"));
    }
}

/// The person's own store, with PostgreSQL and Maven's part of its cache in it. Fetched once where it was cleaned.
pub(crate) fn real_store() -> Utf8PathBuf {
    static STORE: OnceLock<(Option<tempfile::TempDir>, Utf8PathBuf)> = OnceLock::new();
    let find = || {
        let place = Place::new();
        let whole = |store: &Utf8Path| store.join("cache/maven/io/zonky").is_dir();
        let store = Utf8PathBuf::from(place.json(&["provision", "postgresql"])["store"].as_str().unwrap());
        if whole(&store) {
            return (None, store);
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let run = Run::of(place.command(&["provision", "postgresql"]).env("ECOSYSTEM_STORE", &store));
        assert!(run.status == 0 && whole(&store), "{run}");
        (Some(folder), store)
    };
    STORE.get_or_init(find).1.clone()
}

/// The suite and the architecture in Debian's words.
pub(crate) fn suite() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap();
    let suite = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap();
    (suite.trim_matches('"').to_owned(), run("dpkg", &["--print-architecture"]).trim().to_owned())
}

/// Runs a command line in namespaces of its own, where this user is root. A machine that forbids this cannot run the test.
pub(crate) fn unshared(lab: &Lab, flags: &str, script: &str, args: &[&str]) -> Run {
    let program = lab.command(args);
    #[expect(clippy::disallowed_methods, reason = "the program under test is started as a person would")]
    let mut command = Command::new("unshare");
    command.args([
        flags,
        "sh",
        "-c",
        &format!("{script} || {{ echo 'namespaces are forbidden here'; exit 99; }}; exec \"$@\""),
    ]);
    command.arg("sh").arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap());
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let run = Run::of(&mut command);
    assert_ne!(run.status, 99, "this test needs unprivileged user namespaces: {run}");
    assert!(!run.stderr.starts_with("unshare:"), "this test needs unprivileged user namespaces: {run}");
    run
}

pub(crate) fn file(path: &Utf8Path, content: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
    std::fs::write(path, content).unwrap();
}

/// Copies a tree with its links and modes.
pub(crate) fn copy(from: &Utf8Path, to: &Utf8Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    run("cp", &["-a", from.as_str(), to.as_str()]);
}

fn run(program: &str, args: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test prepares its own surroundings")]
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
