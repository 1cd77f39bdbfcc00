//! What makes the command line pleasant every day: watching, clients, consoles, and words about errors.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Run, Watched, eventually, kill};

/// A report with what differs from run to run replaced.
fn plain(place: &Place, text: &str) -> String {
    text.replace(place.root.as_str(), "<root>")
}

#[test]
fn watching_tells_changes_and_ends_with_ctrl_c() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let mut command = place.command(&["status", "--watch"]);
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the table comes first", || watched.seen().contains("service"));
    place.ok(&["down", "redis"]);
    eventually("a change is a line", || watched.seen().contains("ready → gone\n"));
    place.ok(&["up", "redis"]);
    eventually("a new service is a line", || watched.seen().contains("redis        not there → ready, pid "));
    kill(watched.pid(), Signal::INT);
    let seen = watched.seen();
    assert!(!seen.contains('\u{1b}'), "nothing but text where nobody watches: {seen:?}");
    assert_eq!(watched.end(), Some(0));
}

#[test]
fn a_terminal_gets_a_table_in_its_place() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let mut command = place.on_terminal(&["status", "--watch"]);
    command.env_remove("CI").env("TERM", "xterm").env("NO_COLOR", "1");
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    eventually("it is drawn again in its place", || watched.seen().contains("\u{1b}[2A\r"));
    let seen = watched.seen();
    assert!(!seen.contains("\u{1b}[32m") && seen.contains("redis        ready"), "{seen:?}");
}

#[test]
fn a_service_that_the_manifest_does_not_name_any_more_is_seen_and_can_be_stopped() {
    let place = Place::new();
    place.manifest("[services.cache]\nkind = \"redis\"\nports = { redis = 7001 }\n");
    place.ok(&["up", "cache"]);
    place.manifest("");
    let status = place.json(&["status"]);
    let service = &status["services"][0];
    assert_eq!((&service["name"], &service["state"]), (&"cache".into(), &"orphaned".into()), "{status}");
    assert_eq!(service["ports"]["redis"], 7001 + place.offset);
    let text = place.ok(&["status"]).stdout;
    assert!(text.contains("to stop it: ecosystem down cache"), "{text}");
    place.ok(&["down", "cache"]);
    assert_eq!(plain(&place, &place.ok(&["status"]).stdout), "Nothing runs for <root>.\n");
}

#[test]
fn a_service_that_is_not_ready_is_shown_with_the_first_error_of_its_log() {
    let place = Place::new();
    place.manifest("services.redis.settings.maxmemory = \"64zb\"\n");
    assert_eq!(place.run(&["up", "redis"]).status, 5);
    let run = place.run(&["status"]);
    assert_eq!(run.status, 1, "{run}");
    assert!(run.stdout.contains("log: *** FATAL CONFIG FILE ERROR"), "{run}");
}

#[test]
fn psql_is_the_real_one_with_its_status_its_input_and_its_signals() {
    let place = Place::new();
    assert_eq!(place.run(&["psql"]).status, 1, "nothing was set up");
    place.ok(&["up", "postgresql"]);
    for args in [&["psql", "-Atc", "select 6 * 7"][..], &["psql", "--", "-Atc", "select 6 * 7"]] {
        assert_eq!(place.ok(args).stdout, "42\n");
    }
    let elsewhere = place.command(&["psql", "-Atc", "select 1"]).env("PGSERVICE", "x").status().unwrap();
    assert!(elsewhere.success());
    let mask = duct::cmd!("sh", "-c", "umask").stdout_capture().run().unwrap().stdout;
    assert_eq!(
        place.ok(&["psql", "-c", "\\! umask"]).stdout.as_bytes(),
        mask,
        "its files are as the person wants them"
    );
    let refused = place.run(&["psql", "-c", "selec"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("ERROR:  syntax error"), "{refused}");
    // psql itself ends with 3 where a script fails, which no status of ours is for.
    place.file("script.sql", "selec;");
    assert_eq!(place.run(&["psql", "-v", "ON_ERROR_STOP=1", "-f", "script.sql"]).status, 3);

    let mut command = place.command(&["psql", "-c", "select pg_sleep(600)"]);
    let watched = Watched::new(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let proc = |file: &str| format!("/proc/{}/{file}", watched.pid());
    let line = || std::fs::read_to_string(proc("cmdline")).unwrap();
    // While one program becomes another, its command line is empty for a moment.
    eventually("this process is psql", || {
        std::fs::read_link(proc("exe")).is_ok_and(|exe| exe.ends_with("psql")) && line().contains("pg_sleep")
    });
    assert!(!line().contains(&place.secrets()[0]), "{}", line());
    let sleeping =
        "select 'it sleeps' from pg_stat_activity where query like '%sleep(600)' and state = 'active'";
    eventually("it asks", || place.ok(&["psql", "-Atc", sleeping]).stdout.contains("it sleeps"));
    kill(watched.pid(), Signal::INT);
    assert_eq!(watched.end(), Some(1), "psql cancels its question and says so");
}

#[test]
fn redis_cli_is_logged_in_and_told_apart_by_name() {
    let place = Place::new();
    place.manifest("[services.cache]\nkind = \"redis\"\nports = { redis = 7001 }\n");
    place.ok(&["up", "redis"]);
    assert_eq!(place.ok(&["redis-cli", "ping"]).stdout, "PONG\n");
    assert_eq!(place.ok(&["redis-cli", "-n", "1", "set", "a", "b"]).stdout, "OK\n");
    let run = place.run(&["redis-cli", "--service", "cache", "ping"]);
    insta::assert_snapshot!(run.to_string().replace(&place.port(7001).to_string(), "<port>"), @"

    error[service-unusable]: redis cannot be used: nothing listens on 127.0.0.1:<port>
      → ecosystem up
    [exit status: 5]
    ");
    insta::assert_snapshot!(place.run(&["redis-cli", "--service", "casche"]), @"

    error[unknown-service]: there is no redis called `casche`
      → services of this kind: cache, redis
    [exit status: 2]
    ");
}

#[test]
fn search_asks_what_a_person_types() {
    let place = Place::heavy();
    place.ok(&["up", "opensearch"]);
    place.ok(&["search", "PUT", "/books/_doc/1?refresh=true", "{\"title\": \"Ž\"}"]);
    let mut bulk = place.command(&["search", "POST", "/_bulk?refresh=true", "-"]);
    let lines = place.root.join("lines");
    place.file("lines", "{\"index\":{\"_index\":\"books\"}}\n{\"title\":\"2\"}\n");
    assert!(
        bulk.stdin(std::fs::File::open(lines).unwrap()).stdout(Stdio::null()).status().unwrap().success()
    );
    insta::assert_snapshot!(place.ok(&["search", "GET", "/books/_search?filter_path=hits.hits._source", "{\"size\": 1}"]), @r#"
    {
      "hits": {
        "hits": [
          {
            "_source": {
              "title": "Ž"
            }
          }
        ]
      }
    }
    [exit status: 0]
    "#);
    insta::assert_snapshot!(place.ok(&["search", "_cat/count/books?h=count"]), @"
    2
    [exit status: 0]
    ");
    let refused = place.run(&["search", "/nowhere"]);
    assert!(refused.stdout.contains("\"type\": \"index_not_found_exception\""), "{refused}");
    insta::assert_snapshot!(format!("{}[{}]", refused.stderr, refused.status), @"

    error[search-refused]: OpenSearch answered GET /nowhere with 404
    [1]
    ");
}

#[test]
fn a_console_is_opened_without_its_password() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::heavy();
    let open = |args: &[&str]| place.run(args).to_string().replace(&place.port(15872).to_string(), "<port>");
    insta::assert_snapshot!(open(&["open", "redis"]).replace(place.root.as_str(), "<root>"), @"

    error[not-set-up]: nothing was set up in <root> yet
      → ecosystem up
    [exit status: 1]
    ");
    place.ok(&["up", "rabbitmq"]);
    insta::assert_snapshot!(open(&["open", "--print"]), @"
    http://127.0.0.1:<port>
    Log in as invenio; the password is in what `ecosystem env rabbitmq` prints.
    [exit status: 0]
    ");
    insta::assert_snapshot!(open(&["open", "rabbitmq", "--format", "json"]), @r#"
    {
      "service": "rabbitmq",
      "address": "http://127.0.0.1:<port>",
      "user": "invenio",
      "page": null
    }
    [exit status: 0]
    "#);
    insta::assert_snapshot!(open(&["open", "redis"]), @"

    error[no-console]: redis has no web console
      → ecosystem open rabbitmq
    [exit status: 1]
    ");

    // The real opener needs a display; this one tells what it was given.
    place.file("xdg-open", "#!/bin/sh\necho \"opener: $*\"\n");
    std::fs::set_permissions(place.root.join("xdg-open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", place.root);
    let run = Run::of(place.command(&["open"]).env("DISPLAY", ":0").env("PATH", path));
    insta::assert_snapshot!(run.to_string().replace(&place.port(15872).to_string(), "<port>"), @"
    Opening http://127.0.0.1:<port>
    Log in as invenio; the password is in what `ecosystem env rabbitmq` prints.
    opener: http://127.0.0.1:<port>
    [exit status: 0]
    ");
}

#[test]
fn an_error_code_is_explained_where_the_person_is() {
    let place = Place::new();
    insta::assert_snapshot!(place.ok(&["explain", "port-taken"]), @"
    port-taken  exit status 5: a server

    Another process listens where a service is to listen. Nothing was started. The message names the
    process, its folder, and the project if it is another stack of this program. Stop that process, or
    use other ports: `ecosystem up --port-offset 100` adds 100 to all of them and is remembered. A
    process of another user cannot be named without root; the message then gives the command that can.

    A port that was free when all ports were looked at, and that somebody took before the server could
    have it, is reported the same way.
    [exit status: 0]
    ");
    insta::assert_snapshot!(place.run(&["explain", "port-takn"]), @"

    error[unknown-code]: there is no error code `port-takn`
      → did you mean `port-taken`?
    [exit status: 2]
    ");
    let all = place.ok(&["explain"]).stdout;
    assert!(all.starts_with("exit status 1: a finding\n  ") && all.contains("\n  tools-missing\n"), "{all}");
    assert!(all.ends_with("\nWhat one of them means: ecosystem explain CODE\n"), "{all}");
}

#[test]
fn completions_and_manual_pages_are_what_their_readers_understand() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completions", shell]).stdout;
        assert!(script.contains("redis-cli") && script.contains("since"), "{shell}");
    }
    place.file("script", &place.ok(&["completions", "bash"]).stdout);
    #[expect(clippy::disallowed_methods, reason = "the shell is what is asked")]
    let read = std::process::Command::new("bash").arg("-n").arg(place.root.join("script")).status();
    assert!(read.unwrap().success(), "bash cannot read its script");
    assert!(place.ok(&["man"]).stdout.contains(".TH ecosystem 1"));
    place.ok(&["man", "--output", "pages"]);
    let page = std::fs::read_to_string(place.root.join("pages/ecosystem-logs.1")).unwrap();
    assert!(page.contains("\\-\\-since"), "{page}");
}

/// A report with colours, one that is asked for them, and what `NO_COLOR`, a pipe and a dumb terminal do to it.
#[test]
fn colours_and_bars_are_only_for_terminals_that_want_them() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let coloured = |command: &mut std::process::Command| Run::of(command).stdout.contains("\u{1b}[");
    let unset = |command: &mut std::process::Command| {
        for name in ["CI", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"] {
            command.env_remove(name);
        }
    };
    let on = |terminal: bool, variables: &[(&str, &str)]| {
        let mut command = if terminal { place.on_terminal(&["status"]) } else { place.command(&["status"]) };
        unset(&mut command);
        coloured(command.env("TERM", "xterm").envs(variables.iter().copied()))
    };
    assert!(on(true, &[]));
    assert!(!on(false, &[]));
    assert!(!on(true, &[("NO_COLOR", "1")]));
    assert!(!on(true, &[("TERM", "dumb")]));
    assert!(on(false, &[("CLICOLOR_FORCE", "1")]));
    assert!(!on(false, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "")]));

    // Bars move the cursor; on a pipe and on a dumb terminal progress is lines.
    let bars = |terminal: &str| {
        place.ok(&["down"]);
        let mut command = place.on_terminal(&["up", "redis"]);
        unset(&mut command);
        Run::of(command.env("TERM", terminal)).stdout
    };
    assert!(bars("xterm").contains("\u{1b}["));
    let plain = bars("dumb");
    assert!(plain.contains("✓ redis") && !plain.contains('\u{1b}'), "{plain:?}");
    place.ok(&["down"]);
    let piped = place.run(&["up", "redis"]);
    assert!(piped.stderr.contains("✓ redis") && !piped.to_string().contains('\u{1b}'), "{piped}");
}
