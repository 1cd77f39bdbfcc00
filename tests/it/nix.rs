//! The flake, with a real Nix: lock, evaluation, checks and shell, without a network and in a store of the test's own.
//!
//! Instead of nixpkgs the flake gets stand-ins for it (`nix/stub`), one for each input, with the versions that the revision
//! of that input has. That proves the wiring: the right attribute of the right input under the right name. It cannot prove
//! that the real revisions have these versions; `nix flake check` does, with a network.

mod lab;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde_json::{Value, json};

use self::lab::{Flake, inputs, program};
use crate::support::{Place, Run, repository};

/// The revision of each input as `flake.nix` names it.
fn revisions() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(repository().join("flake.nix")).unwrap();
    let input = |line: &str| {
        let (name, revision) = line.trim().split_once(".url = \"github:NixOS/nixpkgs/")?;
        Some((name.to_owned(), revision.strip_suffix("\";")?.to_owned()))
    };
    text.lines().filter_map(input).collect()
}

#[test]
fn every_input_is_locked_to_the_revision_that_the_flake_and_its_page_name() {
    let lock = std::fs::read_to_string(repository().join("flake.lock")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let page = std::fs::read_to_string(repository().join("docs/nix.md")).unwrap();
    let revisions = revisions();
    let names: BTreeSet<&str> = revisions.keys().map(String::as_str).collect();
    assert_eq!(names, inputs().into_iter().map(|(name, _)| name).collect());
    for (name, revision) in &revisions {
        assert!(page.contains(revision), "docs/nix.md does not name {revision} of {name}");
        let node = &lock["nodes"][lock["nodes"]["root"]["inputs"][name].as_str().unwrap()];
        let source = json!({ "owner": "NixOS", "repo": "nixpkgs", "rev": revision, "type": "github" });
        assert_eq!(node["original"], source, "{name}");
        let mut locked = node["locked"].as_object().unwrap().clone();
        let hash = locked.remove("narHash").unwrap();
        assert!(hash.as_str().is_some_and(|hash| hash.starts_with("sha256-") && hash.len() == 51), "{hash}");
        assert!(locked.remove("lastModified").unwrap().is_u64());
        assert_eq!(Value::Object(locked), source, "{name}");
    }
    assert_eq!(lock["nodes"].as_object().unwrap().len(), 1 + revisions.len());
}

#[test]
fn the_lock_fits_the_flake_and_another_revision_is_noticed() {
    let Some(flake) = Flake::new() else { return };
    let metadata = || {
        let mut nix = flake.nix();
        nix.args(["flake", "metadata", "--no-update-lock-file", &flake.reference()]);
        Run::of(&mut nix)
    };
    let run = metadata();
    assert_eq!(run.status, 0, "{run}");
    let revision = &revisions()["nixpkgs-git"];
    assert!(run.stdout.contains(revision), "{run}");
    let other = revision.replace('c', "d");
    flake.edit("flake.nix", revision, &other);
    let run = metadata();
    assert_ne!(run.status, 0, "{run}");
    assert!(run.stderr.contains(&other), "{run}");
}

#[test]
fn every_attribute_evaluates_on_every_system() {
    let Some(flake) = Flake::new() else { return };
    let mut all = Vec::new();
    for kind in ["packages", "devShells", "checks", "formatter"] {
        // A derivation is forced by its path.
        let apply = "outputs: let each = f: builtins.mapAttrs (_: f); drv = d: builtins.seq d.drvPath d.name; \
                     in each (s: if s ? drvPath then drv s else each drv s) outputs";
        let run = Run::of(flake.with_stubs(&["eval", "--json", "--apply", apply]).arg(flake.output(kind)));
        assert_eq!(run.status, 0, "{kind}\n{run}");
        let systems: BTreeMap<String, Value> = serde_json::from_str(&run.stdout).unwrap();
        let names: Vec<&str> = systems.keys().map(String::as_str).collect();
        assert_eq!(names, ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"], "{kind}");
        let first = &systems["x86_64-linux"];
        assert!(systems.values().all(|system| system == first), "{kind} differs between systems\n{run}");
        all.push(format!("{kind} {first:#}"));
    }
    insta::assert_snapshot!(all.join("\n"), @r#"
    packages {
      "default": "invenio-documented-tools",
      "docker": "docker-20.10.21",
      "docker-compose": "docker-compose-2.13.0",
      "git": "git-2.37.1",
      "imagemagick": "imagemagick-7.1.0-62",
      "java": "openjdk-headless-17.0.6+10",
      "minio": "minio-2023-02-22T18-23-45Z",
      "node": "nodejs-14.19.3",
      "opensearch": "opensearch-2.6.0",
      "pipenv": "pipenv-2022.9.24",
      "postgresql": "postgresql-12.14",
      "python": "python3-3.9.16",
      "rabbitmq": "rabbitmq-server-3.11.9",
      "redis": "redis-7.0.8",
      "tools": "invenio-documented-tools",
      "versions": "invenio-documented-versions"
    }
    devShells {
      "default": "invenio-documented",
      "documented": "invenio-documented"
    }
    checks {
      "programs": "invenio-documented-programs",
      "versions": "invenio-documented-versions"
    }
    formatter "nixpkgs-fmt-1.3.0"
    "#);
}

#[test]
fn the_versions_of_the_packages_are_told_beside_those_that_the_release_wants() {
    let Some(flake) = Flake::new() else { return };
    let run = Run::of(flake.with_stubs(&["eval", "--raw"]).arg(flake.output("versions.text")));
    assert_eq!(run.status, 0, "{run}");
    insta::assert_snapshot!(run.stdout, @"
                     wanted        got                    from
    python           3.9.16        3.9.16                 nixpkgs (not by revision)
    pipenv           2022.9.24     2022.9.24              nixpkgs (not by revision)
    docker           20.10.21      20.10.21               nixpkgs-docker (not by revision)
    docker-compose   2.13.0        2.13.0                 nixpkgs-docker (not by revision)
    node             14.19.3       14.19.3                nixpkgs-node (not by revision)
    npm              6.14.17       not evaluated          within node; the check `programs` asks it
    imagemagick      7.1.0         7.1.0-62               nixpkgs (not by revision)
    git              2.37.1        2.37.1                 nixpkgs-git (not by revision)
    java             >=17, <24     17.0.6+10              nixpkgs (not by revision)
    minio            any           2023-02-22T18-23-45Z   nixpkgs (not by revision)
    opensearch       2             2.6.0                  nixpkgs (not by revision)
    postgresql       12            12.14                  nixpkgs (not by revision)
    rabbitmq         3             3.11.9                 nixpkgs (not by revision)
    redis            7             7.0.8                  nixpkgs (not by revision)
    ");
}

#[test]
fn flake_check_asks_every_program() {
    let Some(flake) = Flake::new() else { return };
    let run = flake.check();
    assert_eq!(run.status, 0, "{run}");
    let told = walk_for(&flake.store(), "invenio-documented-programs");
    insta::assert_snapshot!(told, @"
    python 3.9.16
    pipenv 2022.9.24
    docker 20.10.21
    docker-compose 2.13.0
    node 14.19.3
    npm 6.14.17
    imagemagick 7.1.0
    git 2.37.1
    ");
}

/// The text of the one file in a store whose name ends so.
#[track_caller]
fn walk_for(store: &Utf8Path, name: &str) -> String {
    let mut found =
        store.read_dir_utf8().unwrap().flatten().filter(|entry| entry.file_name().ends_with(name));
    let path = found.next().unwrap_or_else(|| panic!("nothing in {store} is named {name}"));
    std::fs::read_to_string(path.path()).unwrap()
}

#[test]
fn a_misspelt_attribute_fails_and_is_named() {
    let Some(flake) = Flake::new() else { return };
    for (right, wrong) in [("nodejs-14_x", "nodejs_14_x"), ("jdk17_headless", "jdk17-headless")] {
        flake.edit("nix/releases/documented.nix", right, wrong);
        let run = flake.check();
        assert_ne!(run.status, 0, "{run}");
        assert!(run.stderr.contains(&format!("attribute '{wrong}' missing")), "{run}");
        flake.edit("nix/releases/documented.nix", wrong, right);
    }
}

#[test]
fn wrong_versions_are_all_named_before_anything_is_built() {
    let Some(flake) = Flake::new() else { return };
    flake.versions("nixpkgs-git", &json!({ "git": "2.37.2" }));
    flake.versions("nixpkgs", &json!({ "imagemagick": "7.1.1-0", "redis": "6.2.11", "postgresql": "13.1" }));
    let run = flake.check();
    assert_ne!(run.status, 0, "{run}");
    let line = run.stderr.lines().find(|line| line.contains("release documented")).unwrap();
    let line = line.trim().trim_start_matches("error: ");
    insta::assert_snapshot!(line.replace("; ", "\n"), @"
    release documented: imagemagick: wanted 7.1.0, got 7.1.1-0 from nixpkgs (not by revision)
    git: wanted 2.37.1, got 2.37.2 from nixpkgs-git (not by revision)
    postgresql: wanted 12, got 13.1 from nixpkgs (not by revision)
    redis: wanted 7, got 6.2.11 from nixpkgs (not by revision)
    ");
    assert!(!run.stderr.contains("building"), "{run}");
}

#[test]
fn a_program_that_tells_another_version_is_named() {
    let Some(flake) = Flake::new() else { return };
    flake.versions("nixpkgs-node", &json!({ "npm": "6.14.16" }));
    let run = flake.check();
    assert_ne!(run.status, 0, "{run}");
    assert!(run.stderr.contains("npm: wanted 6.14.17, got 6.14.16 from `npm --version`: 6.14.16"), "{run}");
}

#[test]
fn a_tool_of_the_release_that_the_flake_lacks_is_named() {
    let Some(flake) = Flake::new() else { return };
    flake.edit("nix/releases/documented.nix", "    git = ", "    gti = ");
    let run = flake.check();
    assert_ne!(run.status, 0, "{run}");
    assert!(run.stderr.contains("git: wanted 2.37.1, got nothing"), "{run}");
    assert!(run.stderr.contains("gti: provided, but not wanted by the release"), "{run}");
}

#[test]
fn check_accepts_the_tools_of_the_shell_and_the_shell_says_nothing() {
    let Some(flake) = Flake::new() else { return };
    let ecosystem = env!("CARGO_BIN_EXE_ecosystem");
    let place = Place::new();
    let run = flake.develop(&[ecosystem, "check", "--format", "json", "-C", place.root.as_str()], |_| {});
    assert_eq!(run.status, 0, "{run}");
    // Nothing but the report on standard output, and all of it from the store: nothing of the machine was taken instead.
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
    let tools = report["tools"].as_array().unwrap();
    let from_store =
        |tool: &&Value| tool["path"].as_str().is_some_and(|path| path.starts_with(flake.store().as_str()));
    assert_eq!(tools.iter().filter(from_store).count(), 8, "{run}");
    // What Nix says of stand-ins and builds is not the shell's.
    let nix = [
        "building ",
        "warning: not writing modified lock file",
        "• Updated input",
        "    'github:",
        "  → 'path:",
    ];
    let said: Vec<_> =
        run.stderr.lines().filter(|line| !nix.iter().any(|own| line.starts_with(own))).collect();
    assert!(said.is_empty(), "{said:?}\n{run}");
    let script = "for name in python3 pipenv docker node npm magick git postgres initdb psql redis-server \
                  rabbitmq-server opensearch minio java mvn; do command -v $name || exit; done";
    let run = flake.develop(&["bash", "-c", script], |_| {});
    assert_eq!(run.status, 0, "{run}");
    let outside: Vec<_> =
        run.stdout.lines().filter(|path| !path.starts_with(flake.store().as_str())).collect();
    assert!(outside.is_empty() && run.stdout.lines().count() == 16, "{run}");
}

#[test]
fn rust_and_the_compiler_are_those_of_the_machine_where_it_has_them() {
    let Some(flake) = Flake::new() else { return };
    let machine = flake.root.join("machine");
    std::fs::create_dir(&machine).unwrap();
    for name in ["sh", "bash", "nix", "mktemp", "rm", "cat", "sed"] {
        let program = which::which(name).unwrap();
        std::os::unix::fs::symlink(program, machine.join(name)).unwrap();
    }
    let which = || {
        let run = flake.develop(&["sh", "-c", "command -v cargo; command -v cc"], |nix| {
            nix.env("PATH", &machine);
        });
        assert_eq!(run.status, 0, "{run}");
        run.stdout
    };
    let found = which();
    let found: Vec<_> =
        found.lines().map(|path| path.strip_prefix(flake.store().as_str()).unwrap()).collect();
    assert!(found[0].ends_with("rustup-1.25.2/bin/cargo") && found[1].ends_with("gcc-wrapper-11.3.0/bin/cc"));
    for name in ["cargo", "cc"] {
        std::os::unix::fs::symlink("/bin/true", machine.join(name)).unwrap();
    }
    assert_eq!(which(), format!("{machine}/cargo\n{machine}/cc\n"));
}

#[test]
fn the_servers_of_the_shell_are_found_with_from_path() {
    let Some(flake) = Flake::new() else { return };
    let place = Place::heavy();
    // The programs of the shell are real ones: those that the user's store has.
    let other = Place::new();
    other.ok(&["up", "redis", "postgresql"]);
    let redis = program(other.pid("redis", "redis"), "redis-server");
    let pid = other.pid("postgresql", "postgresql");
    let (postgres, initdb) = (program(pid, "postgres"), program(pid, "initdb"));
    let real = json!({ "real redis-server": redis, "real postgres": postgres, "real initdb": initdb });
    flake.versions("nixpkgs", &real);

    place.manifest("[services.redis]\nfrom = \"path\"\n[services.postgresql]\nfrom = \"path\"\n");
    let store = flake.root.join("servers");
    let run = flake.develop(&[env!("CARGO_BIN_EXE_ecosystem"), "up", "redis", "postgresql"], |nix| {
        nix.current_dir(&place.root)
            .env("CI", "1")
            .env("ECOSYSTEM_STORE", &store)
            .env_remove("ECOSYSTEM_STATE");
    });
    assert_eq!(run.status, 0, "{run}");
    let installed = |name: &str| {
        let mut found = store.read_dir_utf8().unwrap().flatten();
        let folder = found.find(|entry| entry.file_name().starts_with(&format!("{name}-host-"))).unwrap();
        let text = std::fs::read_to_string(folder.path().join("installed.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["installed"]["facts"]["paths"]["server"].clone()
    };
    for (name, end) in
        [("redis", "-redis-7.0.8/bin/redis-server"), ("postgresql", "-postgresql-12.14/bin/postgres")]
    {
        let server = installed(name);
        let server = server.as_str().unwrap();
        assert!(server.starts_with(flake.store().as_str()) && server.ends_with(end), "{server}");
    }
    let states = place.json(&["status"]);
    assert_eq!(
        states["services"].as_array().unwrap().iter().filter(|s| s["state"] == "ready").count(),
        2,
        "{states}"
    );
}
