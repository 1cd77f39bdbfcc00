//! Tests of reading logs, over lines that the real servers wrote.

use super::*;

const POSTGRESQL: &str = "
PostgreSQL stand-alone backend 12.22
backend> backend> 2026-11-24 22:09:01.160 GMT [6350] LOG:  starting PostgreSQL 12.22 on x86_64-pc-linux-gnu
2026-11-24 22:09:01.183 GMT [6357] FATAL:  the database system is starting up
2026-11-24 22:09:03.001 GMT [6400] ERROR:  syntax error at or near \"selec\" at character 1
2026-11-24 22:09:03.001 GMT [6400] STATEMENT:  selec 1,
\t  'warning'
2026-11-24 22:09:04.000 GMT [6350] LOG:  database system is ready to accept connections
";

const REDIS: &str = "\
=== started redis, pid 6289, 2026-11-24T22:09:00Z
6289:C 24 Nov 2026 22:09:00.916 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo
6289:M 24 Nov 2026 22:09:00.921 # WARNING Memory overcommit must be enabled!
6289:M 24 Nov 2026 22:09:00.922 * Ready to accept connections
";

const RABBITMQ: &str = "\
2026-11-24 22:09:02.076054+00:00 [info] <0.223.0> Feature flags: list of feature flags found:
2026-11-24 22:09:02.263046+00:00 [notice] <0.44.0> Application syslog exited with reason: stopped
2026-11-24 22:09:16.129064+00:00 [error] <0.873.0> PLAIN login refused: user 'invenio' - invalid credentials
2026-11-24 22:09:16.129064+00:00 [warning] <0.873.0> closing AMQP connection <0.873.0>
epmd: Tue Nov 24 22:09:00 2026: got partial packet only on file descriptor 5 (0)
";

const OPENSEARCH: &str = "\
WARNING: A terminally deprecated method in java.lang.System has been called
[2026-11-24T22:09:01,831][WARN ][o.o.c.l.LogConfigurator  ] [node-1] Some logging configurations have %marker
  log4j2.properties
[2026-11-24T22:09:02,052][INFO ][o.o.n.Node               ] [node-1] error is a word here
[2026-11-24T22:09:05,801][ERROR][o.o.b.OpenSearchUncaughtExceptionHandler] [node-1] uncaught exception
org.opensearch.bootstrap.StartupException: java.lang.IllegalArgumentException: unknown setting
\tat org.opensearch.bootstrap.OpenSearch.init(OpenSearch.java:184)
";

#[test]
fn a_clock_that_is_set_back_neither_reorders_nor_hides_anything() {
    let text = "2026-11-24 22:09:01.160 GMT [1] LOG:  before\n2026-11-24 20:00:00.000 GMT [1] LOG:  after\n";
    let lines = Reader::default().lines(text);
    let words = |line: &Line| line.text.rsplit(' ').next().unwrap().to_owned();
    let log = lines.iter().map(|line| (line.at, words(line))).collect();
    let other = vec![(Some(Time::from_seconds(0)), "other".to_owned())];
    assert_eq!(interleave(vec![log, other]), ["other", "before", "after"]);
    // The last run is found by its place, whatever its time says.
    let (early, late) = (crate::marker::line("x", 1, 2_000_000_000), crate::marker::line("x", 2, 1));
    assert_eq!(crate::marker::last_run(&format!("{early}\nfirst\n{late}\nsecond\n")), "second\n");
}

fn read(text: &str) -> String {
    let lines = Reader::default().lines(text);
    let row = |line: &Line| {
        let at = line.at.map_or_else(|| "-".to_owned(), |at| at.to_string()[11..23].to_owned());
        let level = line.level.map_or_else(|| "-".to_owned(), |level| format!("{level:?}"));
        let text: String = line.text.chars().take(60).collect();
        format!("{at} {level:<8}{} {text}", if line.head { '*' } else { ' ' }).trim_end().to_owned()
    };
    lines.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn postgresql() {
    insta::assert_snapshot!(read(POSTGRESQL), @"
    22:09:01.160 -
    22:09:01.160 -         PostgreSQL stand-alone backend 12.22
    22:09:01.160 Info    * backend> backend> 2026-11-24 22:09:01.160 GMT [6350] LOG:  s
    22:09:01.183 Notice  * 2026-11-24 22:09:01.183 GMT [6357] FATAL:  the database syst
    22:09:03.001 Error   * 2026-11-24 22:09:03.001 GMT [6400] ERROR:  syntax error at o
    22:09:03.001 Error     2026-11-24 22:09:03.001 GMT [6400] STATEMENT:  selec 1,
    22:09:03.001 Error     	  'warning'
    22:09:04.000 Info    * 2026-11-24 22:09:04.000 GMT [6350] LOG:  database system is
    ");
}

#[test]
fn redis_calls_warnings_what_is_none() {
    insta::assert_snapshot!(read(REDIS), @"
    22:09:00.000 Notice  * === started redis, pid 6289, 2026-11-24T22:09:00Z
    22:09:00.916 Notice  * 6289:C 24 Nov 2026 22:09:00.916 # oO0OoO0OoO0Oo Redis is sta
    22:09:00.921 Warning * 6289:M 24 Nov 2026 22:09:00.921 # WARNING Memory overcommit
    22:09:00.922 Notice  * 6289:M 24 Nov 2026 22:09:00.922 * Ready to accept connection
    ");
}

#[test]
fn what_a_server_says_before_it_has_a_log_is_an_error() {
    let text = "=== started redis, pid 7, 2026-11-24T22:09:00Z\n\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\n\
                Reading the configuration file, at line 9\n>>> 'maxmemory 64zb'\n";
    insta::assert_snapshot!(read(text), @"
    22:09:00.000 Notice  * === started redis, pid 7, 2026-11-24T22:09:00Z
    22:09:00.000 Notice
    22:09:00.000 Error   * *** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***
    22:09:00.000 Error     Reading the configuration file, at line 9
    22:09:00.000 Error     >>> 'maxmemory 64zb'
    ");
}

#[test]
fn rabbitmq_and_its_port_mapper() {
    insta::assert_snapshot!(read(RABBITMQ), @"
    22:09:02.076 Info    * 2026-11-24 22:09:02.076054+00:00 [info] <0.223.0> Feature fl
    22:09:02.263 Notice  * 2026-11-24 22:09:02.263046+00:00 [notice] <0.44.0> Applicati
    22:09:16.129 Error   * 2026-11-24 22:09:16.129064+00:00 [error] <0.873.0> PLAIN log
    22:09:16.129 Warning * 2026-11-24 22:09:16.129064+00:00 [warning] <0.873.0> closing
    22:09:00.000 -       * epmd: Tue Nov 24 22:09:00 2026: got partial packet only on f
    ");
}

#[test]
fn opensearch_with_traces() {
    insta::assert_snapshot!(read(OPENSEARCH), @"
    22:09:01.831 -         WARNING: A terminally deprecated method in java.lang.System
    22:09:01.831 Warning * [2026-11-24T22:09:01,831][WARN ][o.o.c.l.LogConfigurator  ]
    22:09:01.831 Warning     log4j2.properties
    22:09:02.052 Info    * [2026-11-24T22:09:02,052][INFO ][o.o.n.Node               ]
    22:09:05.801 Error   * [2026-11-24T22:09:05,801][ERROR][o.o.b.OpenSearchUncaughtExc
    22:09:05.801 Error     org.opensearch.bootstrap.StartupException: java.lang.Illegal
    22:09:05.801 Error     	at org.opensearch.bootstrap.OpenSearch.init(OpenSearch.java
    ");
}

#[test]
fn marks_of_the_supervisor() {
    let mark = started("=== started rabbitmq/epmd, pid 12, 2026-11-24T22:05:00Z").unwrap();
    assert_eq!(
        (mark.name, mark.pid, mark.at.to_string().as_str()),
        ("rabbitmq/epmd", 12, "2026-11-24T22:05:00.000000Z")
    );
    for other in
        ["", "=== started", "=== started a, pid x, 2026-11-24T22:05:00Z", "=== started a, pid 1, today"]
    {
        assert_eq!(started(other), None, "{other}");
    }
}

#[test]
fn logs_are_laid_between_each_other_and_keep_their_own_order() {
    let at = |second: i64| Some(Time::from_seconds(second));
    let first = vec![(None, "a?"), (at(1), "a1"), (at(5), "a5"), (at(3), "a3, late"), (at(7), "a7")];
    let second = vec![(at(1), "b1"), (at(4), "b4"), (at(6), "b6")];
    let merged = interleave(vec![first, second]);
    assert_eq!(merged, ["a?", "a1", "b1", "b4", "a5", "a3, late", "b6", "a7"]);
}

#[test]
fn capitals_count_only_where_some_were_typed() {
    assert!(matches("Ready to ACCEPT", "accept"));
    assert!(matches("Ready to ACCEPT", "ACCEPT") && !matches("Ready to accept", "ACCEPT"));
}

#[test]
fn periods() {
    assert_eq!(["30s", "10m", "2h", "1d"].map(|text| period(text).unwrap()), [30, 600, 7_200, 86_400]);
    for wrong in ["", "10", "m", "-1m", "1w", "1.5h", "99999999999999999999d", "9999999999999999d", "1ž"] {
        assert!(period(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_answers_of_a_postgresql_that_starts_are_no_errors() {
    let level = |text: &str| Reader::default().lines(text)[0].level;
    let line = |words: &str| format!("2026-11-24 22:09:00.950 UTC [6353] FATAL:  {words}");
    assert_eq!(level(&line("the database system is starting up")), Some(Level::Notice));
    assert_eq!(level(&line("password authentication failed for user \"x\"")), Some(Level::Fatal));
}

#[test]
fn the_engine_knows_when_a_line_came_and_the_server_how_bad_it_is() {
    let lines = stamped([
        "2026-11-24T22:09:01.000000001Z 1:M 24 Nov 2026 21:09:00.922 * Ready to accept connections",
        "2026-11-24T22:09:02.500000000Z *** FATAL CONFIG FILE ERROR ***",
        "2026-11-24T22:09:03.000000000Z",
        "2026-11-24T22:09:04.000000000Z \x1b[38;5;87m2026-11-24 22:09:04.1+00:00 [warning] <0.1.0> hot\x1b[0m",
    ]);
    let told: Vec<String> =
        lines.iter().map(|line| format!("{} {:?} {}", line.at.unwrap(), line.level, line.text)).collect();
    assert_eq!(
        told,
        [
            "2026-11-24T22:09:01.000000Z Some(Notice) 1:M 24 Nov 2026 21:09:00.922 * Ready to accept connections",
            "2026-11-24T22:09:02.500000Z Some(Error) *** FATAL CONFIG FILE ERROR ***",
            "2026-11-24T22:09:03.000000Z Some(Error) ",
            "2026-11-24T22:09:04.000000Z Some(Warning) 2026-11-24 22:09:04.1+00:00 [warning] <0.1.0> hot",
        ]
    );
    assert_eq!(lines[0].at.unwrap().milliseconds_until(lines[1].at.unwrap()), 1_500);
}
