//! PostgreSQL: is it usable and ours, and what is set in it. Identity is `cluster_name`, asked after a login with our own password.
//!
//! Loading data is `bulk`. Everything about the connection is passed by hand: `PGHOST` and its siblings never matter.

mod admin;
pub mod application;
mod bulk;
mod compare;
mod read;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use ecosystem_core::endpoint::{Attempt, Endpoint};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

pub use admin::{Admin, held};
pub use bulk::{Brought, Database, Fresh, Loading, Receipt};
pub use compare::Differences;
pub use read::{Lines, Reading, Sequence, Table};

use super::wire::Wire;
use super::{CONNECT, Effort, is_secret, portable, trouble, unusable};

const ROLE: &str = "sql";

/// "Do you speak TLS?": the shortest question that every PostgreSQL, and nothing else, answers with one letter.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    speaks(endpoint, effort.limit())?;
    // The library bounds connecting only, not waiting for an answer: hence a thread that may be left behind.
    let (sender, receiver) = mpsc::channel();
    let theirs = endpoint.clone();
    let attempt = move || {
        // Nobody listens any more after the time is up.
        let _late = sender.send(attempt(&theirs, effort));
    };
    std::thread::Builder::new()
        .name("postgresql-probe".to_owned())
        .spawn(attempt)
        .map_err(|error| Attempt::NotYet(format!("cannot start a thread: {error}")))?;
    receiver.recv_timeout(effort.limit()).unwrap_or_else(|_| {
        Err(Attempt::NotYet(format!("no answer from {} in time", endpoint.address(ROLE))))
    })
}

fn attempt(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let mut client = login(endpoint, effort.limit())?;
    if effort == Effort::Write {
        // Catalog rows of a temporary table are written like any others, and nothing stays.
        let rows = client
            .simple_query(
                "BEGIN; CREATE TEMPORARY TABLE ecosystem_probe (word text) ON COMMIT DROP; \
                 INSERT INTO ecosystem_probe VALUES ('ready'); SELECT word FROM ecosystem_probe; COMMIT",
            )
            .map_err(|error| Attempt::NotYet(format!("it refuses a write: {}", message(&error))))?;
        if first(&rows, 0) != Some("ready") {
            return Err(Attempt::NotYet("a write could not be read back".to_owned()));
        }
    }
    // A failed goodbye takes nothing back.
    let _bye = client.close();
    Ok(())
}

pub(super) fn describe(endpoint: &Endpoint) -> anyhow::Result<BTreeMap<String, String>> {
    // Paths differ from place to place; they are compared as part of the launch, not here.
    const SETTINGS: &str = "SELECT name, current_setting(name) FROM pg_settings \
        WHERE source IN ('configuration file', 'command line') \
        AND name NOT IN ('config_file', 'data_directory', 'hba_file', 'ident_file', 'external_pid_file', 'log_directory') \
        UNION ALL SELECT 'version', current_setting('server_version') \
        UNION ALL SELECT 'database.' || datname, pg_encoding_to_char(encoding) || ' ' || datcollate \
            FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' \
            AND coalesce(shobj_description(oid, 'pg_database'), '') NOT LIKE 'ecosystem: %' \
        UNION ALL SELECT 'role.' || rolname, CASE WHEN rolsuper THEN 'superuser' ELSE 'login' END FROM pg_roles WHERE rolcanlogin";
    let mut client = open(endpoint)?;
    let rows = client.simple_query(SETTINGS)?;
    Ok(rows
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let name = row.get(0).filter(|name| {
                    !is_secret(name) || name.starts_with("database.") || name.starts_with("role.")
                })?;
                Some((name.to_owned(), portable(endpoint, row.get(1).unwrap_or(""))))
            }
            _ => None,
        })
        .collect())
}

/// A client of a server that is ours, for work that may take its time.
fn open(endpoint: &Endpoint) -> anyhow::Result<Client> {
    let limit = Duration::from_secs(5);
    speaks(endpoint, limit)
        .and_then(|()| login(endpoint, limit))
        .and_then(|mut client| {
            let unlimited = client.simple_query("SET statement_timeout = 0");
            unlimited.map_err(|error| Attempt::NotYet(message(&error)))?;
            Ok(client)
        })
        .map_err(|attempt| unusable(endpoint, attempt).into())
}

/// Whether a PostgreSQL answers at all. Cheap, and bounded where the library is not.
fn speaks(endpoint: &Endpoint, limit: Duration) -> Result<(), Attempt> {
    let ask = || -> io::Result<()> {
        let mut wire = Wire::open(endpoint, ROLE, limit)?;
        wire.write_all(&TLS_REQUEST)?;
        let mut answer = [0];
        wire.read_exact(&mut answer)?;
        // E: an error already, which the login will show in words.
        if b"NSE".contains(&answer[0]) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "it begins with something else"))
    };
    ask().map_err(|error| trouble(&error, "PostgreSQL", &endpoint.address(ROLE)))
}

fn login(endpoint: &Endpoint, limit: Duration) -> Result<Client, Attempt> {
    let user = endpoint.user.as_deref().unwrap_or("postgres");
    let mut config = Config::new();
    config
        .host(&endpoint.host)
        .port(endpoint.port(ROLE))
        .user(user)
        .password(endpoint.password())
        .dbname(endpoint.database.as_deref().unwrap_or(user))
        .application_name("ecosystem")
        .options(&format!("-c statement_timeout={}", limit.as_millis()))
        .connect_timeout(CONNECT);
    let mut client = config.connect(NoTls).map_err(|error| refused(&error, endpoint))?;
    let rows = client
        .simple_query("SELECT current_setting('cluster_name'), current_setting('server_version')")
        .map_err(|error| refused(&error, endpoint))?;
    let cluster = first(&rows, 0).unwrap_or("");
    if !endpoint.identity.is_empty() && cluster != endpoint.identity {
        let version = first(&rows, 1).unwrap_or("");
        let called =
            if cluster.is_empty() { "without a name".to_owned() } else { format!("named {cluster}") };
        return Err(Attempt::Never(format!("a PostgreSQL {version} {called} answers, not ours")));
    }
    Ok(client)
}

fn first(rows: &[SimpleQueryMessage], column: usize) -> Option<&str> {
    rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(column),
        _ => None,
    })
}

/// What a refused login says about the server.
fn refused(error: &postgres::Error, endpoint: &Endpoint) -> Attempt {
    if let Some(db) = error.as_db_error() {
        let code = db.code();
        return if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        {
            Attempt::Never(format!(
                "a PostgreSQL that does not accept our password answers, not ours ({})",
                db.message()
            ))
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            Attempt::Never(format!("it lacks our database: {}", db.message()))
        } else {
            Attempt::NotYet(db.message().to_owned())
        };
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(io) => trouble(io, "PostgreSQL", &endpoint.address(ROLE)),
        None => Attempt::NotYet(message(error)),
    }
}

/// An error with its cause: the library's own text says only "db error".
fn message(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => {
            let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{detail}", db.message())
        }
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::{endpoint, server};
    use super::*;

    /// An ErrorResponse with this SQLSTATE.
    fn error(code: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0Mthe server's own words\0\0");
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [b"E".as_slice(), &length, body.as_bytes()].concat()
    }

    fn look(code: &str) -> Attempt {
        let (port, _thread) = server(vec![b"N".to_vec(), error(code)]);
        super::super::probe(&endpoint(Kind::Postgresql, port), Effort::Look)
    }

    #[test]
    fn starting_up_is_worth_asking_again() {
        for code in ["57P03", "53300"] {
            assert_eq!(look(code), Attempt::NotYet("the server's own words".into()), "{code}");
        }
    }

    #[test]
    fn a_wrong_password_or_a_missing_role_is_never_ours() {
        for code in ["28P01", "28000", "3D000"] {
            assert!(matches!(look(code), Attempt::Never(reason) if reason.contains("own words")), "{code}");
        }
    }
}
