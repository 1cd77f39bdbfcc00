//! What is printed for words that are wrong, and for people who only look.

use crate::support::Place;

#[test]
fn every_problem_of_a_manifest_arrives_in_one_run() {
    let place = Place::new();
    place.file("ecosystem.toml", "relase = \"documented\"\nbind = \"example.org\"\n[services.reddis]\n");
    let run = place.run(&["up"]);
    insta::assert_snapshot!(run, @r#"

    error[manifest-invalid]: 3 problems in the manifest
      ecosystem.toml:1: unknown key `relase`
          did you mean `release`?
      ecosystem.toml:2: bind = "example.org" is not an IP address
          write "127.0.0.1"
      ecosystem.toml:3: services.reddis has no kind, and its name is none
          did you mean services.redis? Else say what it is: kind = "…"
    [exit status: 4]
    "#);
    place.manifest("");
}

#[test]
fn a_service_that_cannot_run_as_asked_says_so() {
    let place = Place::new();
    place.manifest("services.invenio.via = \"compose\"\n");
    let run = place.run(&["up", "invenio"]);
    insta::assert_snapshot!(run, @"

    error[service-not-yet]: this version cannot start invenio (the Invenio application) yet
      → what it can start: postgresql, redis, rabbitmq, opensearch, dashboards, pgadmin, minio
    [exit status: 3]
    ");
}

#[test]
fn looking_changes_nothing() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["status"]).to_string().replace(place.root.as_str(), "<root>"), @"
    Nothing runs for <root>.
    [exit status: 0]
    ");
    insta::assert_snapshot!(place.run(&["env"]).to_string().replace(place.root.as_str(), "<root>"), @"

    error[not-set-up]: nothing was set up in <root> yet, so there are no passwords to print
      → ecosystem up
    [exit status: 1]
    ");
    assert_eq!(place.run(&["logs"]).status, 1);
    assert!(!place.state().exists());
}

#[test]
fn it_works_from_below_the_project_and_by_flag() {
    let place = Place::new();
    let below = place.root.join("docs/deep");
    std::fs::create_dir_all(&below).unwrap();
    place.ok(&["up", "redis"]);
    let from_below = crate::support::Run::of(place.command(&["status"]).current_dir(&below));
    assert_eq!(from_below.status, 0, "{from_below}");
    let by_flag =
        crate::support::Run::of(place.command(&["status", "-C", place.root.as_str()]).current_dir("/"));
    assert_eq!(by_flag.status, 0, "{by_flag}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command(&["completions", "bash"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
