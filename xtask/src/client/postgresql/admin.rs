//! Databases of a PostgreSQL: made, copied, renamed and dropped, whoever is connected to them.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::Failure;
use postgres::Client;
use postgres::error::SqlState;

use super::bulk::{quoted, rejected};
use super::open;

/// The database that every server has for such work.
const MAINTENANCE: &str = "postgres";

/// How often whoever has come back is sent away while databases change their names.
const AGAIN: Duration = Duration::from_millis(20);

/// A server that is ours, at work on its databases.
pub struct Admin(Client);

/// How many tables a database has, and its size in bytes.
pub fn held(endpoint: &Endpoint) -> anyhow::Result<(u64, u64)> {
    let sql = "SELECT (SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')), \
               pg_database_size(current_database())";
    let row = open(endpoint)?.query_one(sql, &[]).map_err(|error| rejected("count tables", &error))?;
    Ok((row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs()))
}

impl Admin {
    /// Connects and proves identity; not to the database of the endpoint where that can be avoided.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let beside = Endpoint { database: Some(MAINTENANCE.to_owned()), ..endpoint.clone() };
        // A server of somebody else may not let us in there.
        open(&beside).or_else(|_| open(endpoint)).map(Self)
    }

    /// All databases, with the comment that stands at each.
    pub fn databases(&mut self) -> anyhow::Result<BTreeMap<String, String>> {
        let sql =
            "SELECT datname::text, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database";
        let rows = self.0.query(sql, &[]).map_err(|error| rejected("list its databases", &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Makes a database, empty or as a copy of another one, with a comment.
    pub fn create(&mut self, name: &str, template: Option<&str>, comment: &str) -> anyhow::Result<()> {
        let template = template.map(|from| format!(" TEMPLATE {}", quoted(from))).unwrap_or_default();
        self.run(
            &format!("make the database {name}"),
            &format!("CREATE DATABASE {}{template}", quoted(name)),
        )?;
        if comment.is_empty() { Ok(()) } else { self.comment(name, comment) }
    }

    /// Keeps everybody out of a database, which can be copied all the same.
    pub fn seal(&mut self, name: &str) -> anyhow::Result<()> {
        self.run(
            &format!("keep others out of the database {name}"),
            &format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", quoted(name)),
        )
    }

    /// Says whose a database is.
    pub fn comment(&mut self, name: &str, comment: &str) -> anyhow::Result<()> {
        let comment = comment.replace('\'', "''");
        self.run(
            &format!("mark the database {name}"),
            &format!("COMMENT ON DATABASE {} IS '{comment}'", quoted(name)),
        )
    }

    /// Drops a database with everybody who is connected to it; one that is not there is as good.
    pub fn drop(&mut self, name: &str) -> anyhow::Result<()> {
        let exists = self.0.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]);
        if exists.map_err(|error| rejected("list its databases", &error))?.is_none() {
            return Ok(());
        }
        self.seal(name)?;
        self.send_away(name)?;
        self.run(&format!("drop the database {name}"), &format!("DROP DATABASE IF EXISTS {}", quoted(name)))
    }

    /// Why this login cannot put another database in the place of this one, where that is known before.
    pub fn hindered(&mut self, name: &str) -> anyhow::Result<Option<&'static str>> {
        let sql = "SELECT coalesce((SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user), false), \
                   coalesce((SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = $1), true), \
                   current_database() = $1";
        let row = self.0.query_one(sql, &[&name]).map_err(|error| rejected("tell its rights", &error))?;
        let (makes, owns, inside): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
        Ok(match (makes, owns, inside) {
            (false, ..) => Some("its login may not make databases"),
            (_, false, _) => Some("the database belongs to somebody else"),
            (.., true) => Some("its login gets into no other database than the one to be replaced"),
            _ => None,
        })
    }

    /// How many others are connected to a database.
    pub fn connected(&mut self, name: &str) -> anyhow::Result<u64> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        let row = self.0.query_one(sql, &[&name]).map_err(|error| rejected("count connections", &error))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Ends all other connections to a database.
    pub fn send_away(&mut self, name: &str) -> anyhow::Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = $1 AND pid <> pg_backend_pid()";
        self.0.query(sql, &[&name]).map_err(|error| rejected("end connections", &error))?;
        Ok(())
    }

    /// Puts the database `new` in the place of `name`, which is called `old` afterwards: both names change in one transaction, and at every
    /// moment one of the two can be connected to. `new` and `old` must be nobody's; `name` need not be there.
    pub fn swap(&mut self, endpoint: &Endpoint, name: &str, new: &str, old: &str) -> anyhow::Result<()> {
        if !self.databases()?.contains_key(name) {
            return self.rename(&[(new, name)]).map_err(Into::into);
        }
        let mut other = Self::open(endpoint)?;
        other.send_away(name)?;
        let (sender, receiver) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            // Renaming waits for those who are connected, and keeps new ones out meanwhile: who had come back before is sent away.
            let away = scope.spawn(move || {
                while receiver.recv_timeout(AGAIN) == Err(mpsc::RecvTimeoutError::Timeout) {
                    other.send_away(name)?;
                }
                anyhow::Ok(())
            });
            let renamed = self.rename(&[(name, old), (new, name)]);
            drop(sender);
            let away = away.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            renamed.map_err(anyhow::Error::from).and(away)
        })
    }

    fn rename(&mut self, pairs: &[(&str, &str)]) -> Result<(), Failure> {
        let what = || format!("rename the database {}", pairs[0].0);
        let rename = |pairs: &[(&str, &str)], client: &mut Client| -> Result<(), postgres::Error> {
            let mut transaction = client.transaction()?;
            for (from, to) in pairs {
                let sql = format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to));
                transaction.batch_execute(&sql)?;
            }
            transaction.commit()
        };
        let mut result = rename(pairs, &mut self.0);
        // Whoever was sent away may take longer to go than the server waits.
        if result.as_ref().is_err_and(|error| error.code() == Some(&SqlState::OBJECT_IN_USE)) {
            result = rename(pairs, &mut self.0);
        }
        result.map_err(|error| rejected(&what(), &error))
    }

    fn run(&mut self, what: &str, sql: &str) -> anyhow::Result<()> {
        self.0.batch_execute(sql).map_err(|error| rejected(what, &error).into())
    }
}
