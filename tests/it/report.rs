//! `report`: complete enough to help, and without anything that must not be told.

use std::io::Write;

use crate::support::{Place, Run};

#[test]
fn it_tells_what_is_wrong_and_no_secret() {
    let place = Place::named("repository");
    place.manifest(
        "[services.mail]\nkind = \"process\"\ncommand = [\"true\"]\nenv = { MAIL_TOKEN = \"my-own-word\" }\n",
    );
    place.ok(&["up", "redis"]);
    let mut secrets = place.secrets();
    secrets.push("my-own-word".to_owned());
    let log = place.state().join("logs/redis.log");
    let mut log = std::fs::File::options().append(true).open(log).unwrap();
    for secret in &secrets {
        writeln!(log, "7:M 24 Nov 2026 22:09:00.922 # somebody logged {secret} ```").unwrap();
    }
    writeln!(log, "7:M 24 Nov 2026 22:09:00.922 # amqp://eva:hers@localhost {}", "x".repeat(50_000)).unwrap();

    // The project lies in the person's home folder.
    let home = place.root.parent().unwrap().to_owned();
    let store = place.json(&["list"])["store"].as_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        Run::of(place.command(args).env("HOME", &home).env("ECOSYSTEM_STORE", &store).env_remove("CI"))
    };
    let report = run(&["report"]);
    assert_eq!(report.status, 0, "{report}");
    let text = &report.stdout;
    for part in [
        "## System",
        "folder  ~/repository",
        "MAIL_TOKEN = \"<redacted>\"",
        "## status",
        "redis        ready",
        "## up --dry-run",
        "## check",
        "127.0.0.1 pid",
        "## Log of redis",
        "somebody logged <redacted> '''",
        "amqp://<redacted>@localhost",
        "## Log of supervisor",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    for secret in secrets.iter().map(String::as_str).chain([home.as_str(), "eva:hers"]) {
        assert!(!text.contains(secret), "{secret} is told in\n{text}");
    }
    assert!(text.len() < 65_536, "{} bytes do not fit into an issue", text.len());

    let written = run(&["report", "--output", "report.md"]);
    assert_eq!(written.stdout, format!("Written to {}/report.md.\n", place.root));
    let file = std::fs::read_to_string(place.root.join("report.md")).unwrap();
    assert_eq!(file.lines().next(), Some("# Report of ecosystem"));
}

#[test]
fn it_works_where_nothing_else_does() {
    let place = Place::new();
    place.file(
        "ecosystem.toml",
        "relase = \"documented\"\nservices.redis.settings.requirepass = \"hidden\"\n",
    );
    let text = place.ok(&["report"]).stdout;
    assert!(text.contains("unknown key `relase`") && !text.contains("hidden"), "{text}");
    place.file("ecosystem.toml", "bind = \"hidden\nx");
    let text = place.ok(&["report", "--format", "json"]).stdout;
    assert!(text.contains("it is not TOML") && !text.contains("hidden"), "{text}");
    place.manifest("");
}
