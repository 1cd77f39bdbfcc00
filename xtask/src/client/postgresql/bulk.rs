//! Loading into PostgreSQL: one transaction for the tables, their rows and the receipt that says so.

use std::collections::BTreeMap;
use std::io::Write;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use serde::{Deserialize, Serialize};

use super::open;

/// A database that is ours.
pub struct Database(pub(super) Client);

/// A transaction. Dropped without `confirm`, nothing has happened.
pub struct Loading<'a> {
    pub(super) transaction: Transaction<'a>,
    /// When it began, in microseconds: another time later on means that a script has ended it.
    began: i64,
}

/// What a database says was loaded into it. It lies in the database itself, so it cannot outlive its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub digest: String,
    pub tables: BTreeMap<String, Brought>,
}

/// A table as it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// Its object identifier: a table that was dropped and made again by somebody else has another one.
    pub oid: u32,
    /// How many rows it was given. More than these are somebody's own.
    pub rows: u64,
}

/// What a table is that rows are sent into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// Made in this transaction.
    Yes,
    /// Made by [`Loading::beside`], to compare with.
    Beside,
}

impl Database {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        Ok(Self(open(endpoint)?))
    }

    /// Begins to look or to load.
    pub fn begin(&mut self) -> anyhow::Result<Loading<'_>> {
        let mut transaction = self.0.transaction().map_err(|error| rejected("begin", &error))?;
        transaction
            .batch_execute("SET LOCAL search_path = public")
            .map_err(|error| rejected("use the schema public", &error))?;
        let began = began(&mut transaction)?;
        Ok(Loading { transaction, began })
    }
}

impl Loading<'_> {
    /// Waits until no other load is under way, and makes the place for receipts.
    pub fn lock(&mut self) -> anyhow::Result<()> {
        self.run(
            "write receipts",
            "SELECT pg_advisory_xact_lock(hashtext('ecosystem seed')); \
             CREATE SCHEMA IF NOT EXISTS ecosystem; \
             CREATE TABLE IF NOT EXISTS ecosystem.receipt (pack text PRIMARY KEY, digest text NOT NULL, \
             tables jsonb NOT NULL, loaded timestamptz NOT NULL DEFAULT now())",
        )
    }

    /// The receipt of a pack.
    pub fn receipt(&mut self, pack: &str) -> anyhow::Result<Option<Receipt>> {
        let mut read = || -> Result<_, postgres::Error> {
            let known = "SELECT to_regclass('ecosystem.receipt') IS NOT NULL";
            if !self.transaction.query_one(known, &[])?.get::<_, bool>(0) {
                return Ok(None);
            }
            let row = "SELECT digest, tables::text FROM ecosystem.receipt WHERE pack = $1";
            self.transaction.query_opt(row, &[&pack])
        };
        let Some(row) = read().map_err(|error| rejected("read the receipt", &error))? else {
            return Ok(None);
        };
        // A receipt in a form that we do not know counts as none: its tables are then foreign, and left alone.
        let tables = serde_json::from_str(row.get(1));
        Ok(tables.ok().map(|tables| Receipt { digest: row.get(0), tables }))
    }

    /// Which of these relations exist, with their object identifiers.
    pub fn tables(&mut self, names: &[&str]) -> anyhow::Result<BTreeMap<String, u32>> {
        let existing = "SELECT relname::text, oid FROM pg_class \
                        WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1)";
        let rows =
            self.transaction.query(existing, &[&names]).map_err(|error| rejected("list tables", &error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The number of rows of a table.
    pub fn count(&mut self, table: &str) -> anyhow::Result<u64> {
        let sql = format!("SELECT count(*) FROM public.{}", quoted(table));
        let row = self.transaction.query_one(&sql, &[]).map_err(|error| rejected("count rows", &error))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// The number of rows of a table that somebody has written since the pack was loaded. A row remembers the transaction that wrote it, and
    /// rows and receipt of a pack are written in one.
    pub fn changed(&mut self, table: &str, pack: &str) -> anyhow::Result<u64> {
        let sql = format!(
            "SELECT count(*) FROM public.{} WHERE xmin::text <> \
             (SELECT xmin::text FROM ecosystem.receipt WHERE pack = $1)",
            quoted(table)
        );
        let row = self
            .transaction
            .query_one(&sql, &[&pack])
            .map_err(|error| rejected("count changed rows", &error))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Removes tables, all of them in one statement. Whatever else depends on them prevents it: there is no CASCADE here.
    pub fn remove(&mut self, tables: &[&str]) -> anyhow::Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = tables.iter().map(|table| format!("public.{}", quoted(table))).collect();
        self.run(&format!("replace {}", tables.join(", ")), &format!("DROP TABLE {}", names.join(", ")))
    }

    /// Runs a script; `what` is named when it fails.
    pub fn run(&mut self, what: &str, sql: &str) -> anyhow::Result<()> {
        self.transaction.batch_execute(sql).map_err(|error| rejected(what, &error).into())
    }

    /// Whether it is a table that rows lie in, rather than a view or one made of partitions.
    fn is_ordinary(&mut self, table: &str) -> anyhow::Result<bool> {
        let sql = "SELECT coalesce((SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass($1)), false)";
        let relation = format!("public.{}", quoted(table));
        let row = self
            .transaction
            .query_one(sql, &[&relation])
            .map_err(|error| rejected("describe a table", &error))?;
        Ok(row.get(0))
    }

    /// Sends rows in the text format of COPY, which `feed` writes, into a table; returns how many the server has taken.
    pub fn copy(
        &mut self,
        fresh: Fresh,
        table: &str,
        columns: &[String],
        feed: &mut dyn FnMut(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        // Nobody else can see a table of this transaction: its rows need not be looked at again to know that they are valid.
        let (schema, freeze) = match fresh {
            Fresh::Yes if self.is_ordinary(table)? => ("public", " (FREEZE)"),
            Fresh::Yes => ("public", ""),
            Fresh::Beside => ("pg_temp", ""),
        };
        let sql = format!("COPY {schema}.{} ({}) FROM STDIN{freeze}", quoted(table), columns.join(", "));
        let what = format!("take rows for {table}");
        let mut writer = self.transaction.copy_in(&sql).map_err(|error| rejected(&what, &error))?;
        let fed = feed(&mut writer);
        // The server's own reason comes with `finish`; a broken pipe alone would say nothing. Without it nothing was copied.
        match fed {
            Err(error) if error.downcast_ref::<std::io::Error>().is_none() => Err(error),
            fed => {
                let rows = writer.finish().map_err(|error| rejected(&what, &error))?;
                fed.map(|()| rows)
            }
        }
    }

    /// Writes the receipt and commits: from now on everything is there, or nothing.
    pub fn confirm(mut self, pack: &str, receipt: &Receipt) -> anyhow::Result<()> {
        if began(&mut self.transaction)? != self.began {
            return Err(Failure::new(
                Kind::Data,
                "data-rejected",
                "the pack's SQL ends the transaction that it runs in; remove its COMMIT or ROLLBACK",
            )
            .into());
        }
        let sql = "INSERT INTO ecosystem.receipt (pack, digest, tables) VALUES ($1, $2, $3::text::jsonb) \
                   ON CONFLICT (pack) DO UPDATE SET digest = excluded.digest, tables = excluded.tables, loaded = now()";
        let tables = serde_json::to_string(&receipt.tables)?;
        self.transaction
            .execute(sql, &[&pack, &receipt.digest, &tables])
            .map_err(|error| rejected("write the receipt", &error))?;
        self.transaction.commit().map_err(|error| rejected("commit", &error).into())
    }
}

fn began(transaction: &mut Transaction<'_>) -> anyhow::Result<i64> {
    let row = transaction.query_one("SELECT (extract(epoch FROM now()) * 1000000)::bigint", &[]);
    Ok(row.map_err(|error| rejected("tell its transaction", &error))?.get(0))
}

/// A name as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn rejected(what: &str, error: &postgres::Error) -> Failure {
    let mut text = super::message(error);
    // COPY tells table, line and column here.
    if let Some(place) = error.as_db_error().and_then(|db| db.where_()) {
        text = format!("{text}; {}", place.lines().next().unwrap_or(""));
    }
    let failure = Failure::new(Kind::Data, "data-rejected", format!("PostgreSQL refuses to {what}: {text}"));
    match error.code() {
        Some(code) if *code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => failure
            .hint("something outside the pack uses these tables; remove it first, or keep the data as it is"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_end_their_quotes() {
        assert_eq!(quoted(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
    }
}
