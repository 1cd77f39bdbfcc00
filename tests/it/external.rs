//! Servers that somebody else runs: here another place plays that part.

use crate::clients::sql;
use crate::support::Place;

/// A place with two servers, and a project that uses them by their URLs.
fn lender_and_borrower() -> (Place, Place) {
    let (lender, borrower) = (Place::new(), Place::named("borrower"));
    lender.ok(&["up", "postgresql", "redis"]);
    let env = lender.env();
    let database = env["INVENIO_SQLALCHEMY_DATABASE_URI"].as_str();
    let cache = env["REDIS_URL"].as_str();
    borrower.manifest(&format!(
        "[services.postgresql]\nexternal = \"{database}\"\n[services.redis]\nexternal = \"{cache}\"\n\
         [services.web]\nkind = \"process\"\nafter = [\"postgresql\"]\n\
         command = [\"sh\", \"-c\", \"echo $PGHOST:$PGPORT; exec sleep 1000\"]\n"
    ));
    (lender, borrower)
}

#[test]
fn they_are_looked_at_used_and_left_alone() {
    let (lender, borrower) = lender_and_borrower();
    let plan = borrower.ok(&["up", "postgresql", "redis", "web", "--dry-run"]).stdout;
    assert!(plan.contains("verify postgresql") && !plan.contains("start postgresql"), "{plan}");
    borrower.ok(&["up", "postgresql", "redis", "web"]);
    let log = borrower.ok(&["logs", "web"]).stdout;
    assert!(log.contains(&format!("127.0.0.1:{}", lender.port(5632))), "{log}");
    let status = borrower.ok(&["status"]).stdout;
    let lines: Vec<&str> =
        status.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(lines, ["postgresql", "redis", "web"], "{status}");
    assert_eq!(borrower.json(&["up", "postgresql", "redis", "web"])["unchanged"], true);
    sql(&borrower.env()).batch_execute("CREATE TABLE borrowed (id int)").unwrap();
    assert_eq!(borrower.json(&["down"])["stopped"], serde_json::json!(["web"]));
    borrower.ok(&["down", "--data", "--yes"]);
    // Nothing of theirs was stopped or deleted, and none of their passwords became ours.
    sql(&lender.env()).batch_execute("SELECT * FROM borrowed").unwrap();
    assert!(!borrower.state().join("secrets.toml").exists());
}

#[test]
fn one_that_does_not_answer_or_does_not_know_us_is_told_without_its_password() {
    let (lender, borrower) = lender_and_borrower();
    let password = lender.env()["PGPASSWORD"].clone();
    let text = std::fs::read_to_string(borrower.root.join("ecosystem.toml")).unwrap();
    borrower.file("ecosystem.toml", &text.replace(&password, "another-word"));
    let refused = borrower.run(&["up", "postgresql"]);
    assert_eq!(refused.status, 5, "{refused}");
    assert!(
        refused
            .stderr
            .contains("error[service-not-ours]: what answers for postgresql is not what `external` says"),
        "{refused}"
    );
    let report = borrower.ok(&["report"]).stdout;
    assert!(!refused.stderr.contains("another-word") && !report.contains("another-word"), "{report}");
    for misspelt in [
        format!("invenio:{password}@db:5432/x"),
        format!("postgresql//me:{password}@db"),
        format!("a:{password}@b://x"),
    ] {
        borrower.manifest(&format!("services.postgresql.external = \"{misspelt}\"\n"));
        let (up, report) = (borrower.run(&["up"]), borrower.ok(&["report"]));
        assert_eq!(up.status, 4, "{up}");
        assert!(!up.stderr.contains(&password) && !report.stdout.contains(&password), "{up}\n{report}");
    }
    borrower.file("ecosystem.toml", &text);
    lender.ok(&["down"]);
    let absent = borrower.run(&["up", "redis", "--timeout", "1"]);
    assert_eq!(absent.status, 5, "{absent}");
    assert!(
        absent.stderr.contains(
            "redis, which somebody else runs, was not ready after 1 s; last answer: nothing listens"
        ),
        "{absent}"
    );
    let status = borrower.run(&["status"]);
    assert_eq!(status.status, 1, "{status}");
    assert!(!status.stderr.contains("up redis"), "nothing here starts it\n{status}");
}

#[test]
fn a_url_that_is_none_is_a_problem_of_the_manifest() {
    let place = Place::new();
    place.manifest("services.redis.external = \"rediss://:s3cr3t@cache\"\nservices.web = { kind = \"process\", command = [\"w\"], external = \"http://x\" }\n");
    let run = place.run(&["up"]);
    assert_eq!(run.status, 4, "{run}");
    assert!(run.stderr.contains("this version speaks no TLS") && !run.stderr.contains("s3cr3t"), "{run}");
    assert!(run.stderr.contains("process cannot be external"), "{run}");
}
