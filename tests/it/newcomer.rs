//! What somebody meets who does not know the program yet: misspelt settings, a command that is still at work, a manifest that is broken.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Run, Watched, eventually, kill};

/// Brings a service up with a setting on line 3 of the manifest that the server does not know.
fn misspelt(service: &str, setting: &str) -> (Place, Run) {
    let place = Place::new();
    place.manifest(&format!("[services.{service}]\nsettings = {{ \"{setting}\" = 100 }}\n"));
    let run = place.run(&["up", service, "--no-seed", "--format", "json"]);
    (place, run)
}

#[test]
fn a_misspelt_setting_is_named_by_its_line_in_the_manifest() {
    for (service, setting, said) in [
        ("redis", "max-memry", ">>> 'max-memry 100'"),
        ("postgresql", "max_conections", "unrecognized configuration parameter \\\"max_conections\\\""),
    ] {
        let (place, run) = misspelt(service, setting);
        assert_eq!(run.status, 5, "{run}");
        let hint = format!(
            "\"correct `{setting}` in ecosystem.toml:3: what the server reads is written from there\""
        );
        for part in ["\"service-ended\"", said, &hint] {
            assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
        }
        assert!(!run.stderr.contains("config_file="), "nobody reads a whole command line: {run}");
        // What stood in the log before is not blamed again.
        place.manifest(
            "services.redis.settings.save = \"often\"\nservices.postgresql.settings.work_mem = \"much\"\n",
        );
        let run = place.run(&["up", service, "--no-seed"]);
        let named =
            if service == "redis" { "`save` in ecosystem.toml:2" } else { "`work_mem` in ecosystem.toml:3" };
        assert!(run.stderr.contains(named) && !run.stderr.contains(setting), "{run}");
    }
}

#[test]
fn a_server_that_says_it_long_before_its_end_is_understood_too() {
    let place = Place::heavy();
    place.manifest("[services.opensearch]\nsettings = { \"indices.query.bool.max_claus\" = 100 }\n");
    let run = place.run(&["up", "opensearch", "--no-seed"]);
    for part in [
        "did you mean [indices.query.bool.max_clause_count]?",
        "correct `indices.query.bool.max_claus` in ecosystem.toml:3",
    ] {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
}

/// Starts `up` in the background. It is ended by the test.
fn up(place: &Place, services: &[&str]) -> Watched {
    let mut command = place.command(&[&["up"], services].concat());
    Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

/// The state of a service as `status` tells it; nothing where it is not told.
fn state(place: &Place, service: &str) -> String {
    let status = place.json(&["status"]);
    let found = status["services"].as_array().unwrap().iter().find(|s| s["name"] == service).cloned();
    found.map(|service| service["state"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn what_another_command_is_starting_is_starting() {
    let place = Place::new();
    let text = |late: &str| {
        format!(
            "[services.slow]\nkind = \"process\"\ncommand = [\"sleep\", \"1000\"]\nready = {{ log = \"never\" }}\n\
             [services.late]\nkind = \"process\"\ncommand = [\"{late}\"]\n"
        )
    };
    place.manifest(&text("false"));
    assert_eq!(place.run(&["up", "late"]).status, 5);
    assert_eq!(state(&place, "late"), "failed");
    place.manifest(&(text("false") + "after = [\"slow\"]\n"));
    let working = up(&place, &["late"]);
    eventually("the slow one is on its way", || state(&place, "slow") == "starting");
    let status = place.run(&["status"]);
    let at_work = format!("`ecosystem up` (pid {}) has been at work here for ", working.pid());
    assert!(status.stdout.starts_with(&at_work), "{status}");
    assert_eq!(state(&place, "late"), "starting", "{status}");
    assert!(status.status == 1 && status.stderr.contains("not ready: late, slow"), "{status}");
    assert!(
        status.stderr.contains("status --watch") && !status.stderr.contains("start it again"),
        "{status}"
    );
    kill(working.pid(), Signal::INT);
    assert_eq!(working.end(), Some(130));
    let status = place.json(&["status"]);
    assert!(status.get("at_work").is_none() && state(&place, "slow") != "starting", "{status}");
}

#[test]
fn a_broken_manifest_hides_nothing_that_runs() {
    let place = Place::new();
    place.manifest("[services.web]\nkind = \"process\"\ncommand = [\"sleep\", \"1000\"]\n");
    place.ok(&["up", "redis", "web"]);
    place.file("ecosystem.toml", "prots = 1\nbind = ");
    let status = place.run(&["status"]);
    assert_eq!(status.status, 4, "{status}");
    assert!(status.stdout.contains("redis        running") && status.stdout.contains("web          running"));
    assert!(status.stdout.contains(&format!("127.0.0.1:{}", place.port(6579))), "{status}");
    assert!(
        status.stderr.contains("unknown key `prots`") && status.stderr.contains("this is not TOML"),
        "{status}"
    );

    let logs = place.ok(&["logs", "redis"]);
    assert!(logs.stdout.contains("Ready to accept") && logs.stderr.contains("warning: 2 problems"), "{logs}");
    let report = place.ok(&["report"]);
    assert!(report.stdout.contains("redis        running"), "{report}");
    assert!(place.ok(&["list"]).stdout.contains(place.root.as_str()));

    let kept = place.run(&["down", "--data", "--yes"]);
    assert_eq!((kept.status, place.state().join("redis").exists()), (4, true), "{kept}");
    let down = place.ok(&["down"]);
    assert!(
        down.stdout.contains("Stopped redis, web.") && down.stderr.contains("warning: 2 problems"),
        "{down}"
    );
    assert_eq!((place.listening(), place.processes()), (vec![], vec![]));
}
