//! A copy of the flake for one test: stand-ins for its inputs, a Nix store of its own, and `nix` run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use crate::faults::not_run;
use crate::support::{Run, repository};

/// The inputs of the flake, each with the versions at which its revision differs from the first one.
pub(super) fn inputs() -> [(&'static str, Value); 4] {
    [
        ("nixpkgs", json!({})),
        ("nixpkgs-node", json!({ "node": "14.19.3", "npm": "6.14.17" })),
        ("nixpkgs-git", json!({ "git": "2.37.1" })),
        ("nixpkgs-docker", json!({ "docker": "20.10.21", "docker-compose": "2.13.0" })),
    ]
}

/// What the first revision has; most of it differs from what the release wants, so that a wrong input is noticed.
fn base() -> BTreeMap<String, Value> {
    let versions = json!({
        "python39": "3.9.16", "python310": "3.10.10", "pipenv": "2023.2.4", "node": "14.21.3", "npm": "6.14.18",
        "docker": "20.10.23", "docker-compose": "2.16.0", "imagemagick": "7.1.0-62", "git": "2.39.2",
        "postgresql": "12.14", "redis": "7.0.8", "rabbitmq": "3.11.9", "opensearch": "2.6.0",
        "minio": "2023-02-22T18-23-45Z", "java": "17.0.6+10", "maven": "3.8.6", "rustup": "1.25.2", "gcc": "11.3.0",
        "nixpkgs-fmt": "1.3.0",
    });
    serde_json::from_value(versions).unwrap()
}

/// A copy of the flake with a Nix store of its own.
pub(super) struct Flake {
    folder: tempfile::TempDir,
    pub(super) root: Utf8PathBuf,
}

impl Flake {
    /// `None` where Nix is not installed, which a CI must not pass over.
    pub(super) fn new() -> Option<Self> {
        if which::which("nix").is_err() {
            #[expect(
                clippy::disallowed_methods,
                reason = "says whether this is the machine that has to run everything"
            )]
            let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
            let why = "nix is not on PATH; Debian's package is nix-bin";
            assert!(!must, "{why}");
            not_run(why);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
        let flake = Self { folder, root };
        // All that the flake reads; the whole checkout would be copied into the store.
        for path in ["flake.nix", "flake.lock", "nix", "xtask/core/src/release"] {
            copy(&repository().join(path), &flake.project().join(path));
        }
        for (input, _) in inputs() {
            copy(&repository().join("tests/it/nix/stub"), &flake.root.join(input));
            flake.versions(input, &json!({}));
        }
        for folder in ["home", "tmp"] {
            std::fs::create_dir(flake.root.join(folder)).unwrap();
        }
        Some(flake)
    }

    /// The copy of what the flake reads.
    fn project(&self) -> Utf8PathBuf {
        self.root.join("project")
    }

    /// Gives an input other versions than its revision has.
    pub(super) fn versions(&self, input: &str, others: &Value) {
        let own = inputs().into_iter().find(|(name, _)| *name == input).unwrap().1;
        let mut versions = base();
        for change in [&own, others] {
            versions.extend(change.as_object().unwrap().clone());
        }
        file(&self.root.join(input).join("versions.json"), &serde_json::to_string(&versions).unwrap());
    }

    /// Replaces text in a file of the copy.
    #[track_caller]
    pub(super) fn edit(&self, path: &str, old: &str, new: &str) {
        let path = self.project().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{path} has no {old}");
        file(&path, &text.replace(old, new));
    }

    /// The flake itself.
    pub(super) fn reference(&self) -> String {
        format!("path:{}", self.project())
    }

    /// The output `name` of the flake.
    pub(super) fn output(&self, name: &str) -> String {
        format!("{}#{name}", self.reference())
    }

    /// `nix` as it is, which neither asks the network nor touches what is outside of the test's folder.
    pub(super) fn nix(&self) -> Command {
        #[expect(clippy::disallowed_methods, reason = "a person types `nix`")]
        let mut nix = Command::new("nix");
        for (name, folder) in [
            ("NIX_STORE_DIR", "nix/store"),
            ("NIX_STATE_DIR", "nix/var"),
            ("NIX_LOG_DIR", "nix/log"),
            ("NIX_CONF_DIR", "nix/etc"),
            ("HOME", "home"),
            // The shell leaves an empty folder in it.
            ("TMPDIR", "tmp"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("XDG_CONFIG_HOME", "home/config"),
        ] {
            nix.env(name, self.root.join(folder));
        }
        let settings = ["build-users-group =", "sandbox = false", "substituters =", "flake-registry ="];
        let settings = format!("experimental-features = nix-command flakes\n{}\n", settings.join("\n"));
        nix.env("NIX_CONFIG", settings).arg("--offline").stdin(Stdio::null());
        nix.env_remove("NIX_REMOTE").env_remove("NIX_PATH").env_remove("NIX_USER_CONF_FILES");
        nix
    }

    /// A command of Nix on the flake with the stand-ins in place of its inputs.
    pub(super) fn with_stubs(&self, command: &[&str]) -> Command {
        let mut nix = self.nix();
        nix.args(command).arg("--no-write-lock-file");
        for (input, _) in inputs() {
            nix.args(["--override-input", input, &format!("path:{}", self.root.join(input))]);
        }
        nix
    }

    /// `nix flake check`.
    pub(super) fn check(&self) -> Run {
        Run::of(self.with_stubs(&["flake", "check"]).arg(self.reference()))
    }

    /// Runs a command in the shell of the release.
    pub(super) fn develop(&self, command: &[&str], surroundings: impl FnOnce(&mut Command)) -> Run {
        let mut nix = self.with_stubs(&["develop"]);
        nix.arg(self.output("documented")).arg("-c").args(command);
        surroundings(&mut nix);
        Run::of(&mut nix)
    }

    /// Where everything that was built lies.
    pub(super) fn store(&self) -> Utf8PathBuf {
        self.root.join("nix/store")
    }
}

impl Drop for Flake {
    fn drop(&mut self) {
        // What Nix has built is read-only, its folders as well.
        #[expect(clippy::disallowed_methods, reason = "a test tidies up as a person would")]
        let _status = Command::new("chmod").args(["-R", "u+w"]).arg(self.folder.path()).status();
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in from.read_dir_utf8().unwrap().flatten() {
            copy(entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

fn file(path: &Utf8Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
    std::fs::write(path, text).unwrap();
}

/// A program from the folder of a running one as a shell starts it, with the libraries that this one was started with.
pub(super) fn program(pid: u32, name: &str) -> String {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapped = maps.lines().filter_map(|line| Some(Utf8Path::new(&line[line.find('/')?..])));
    let own = mapped.filter(|file| !file.starts_with("/usr") && file.as_str().contains(".so"));
    let folders: BTreeSet<&str> = own.filter_map(|file| file.parent()).map(Utf8Path::as_str).collect();
    let folders = folders.into_iter().collect::<Vec<_>>().join(":");
    format!("env 'LD_LIBRARY_PATH={folders}' '{}'", path.with_file_name(name).display())
}
