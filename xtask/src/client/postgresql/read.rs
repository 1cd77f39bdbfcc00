//! Reading a database as a whole, at one moment: which tables there are, their rows in the text format of COPY, and where sequences stand.

use std::io::BufRead;

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::FromRows;
use postgres::{CopyOutReader, IsolationLevel, Transaction};

use super::bulk::{Database, quoted, rejected};

/// A database as it was at one moment, however long reading takes.
pub struct Reading<'a>(Transaction<'a>);

/// A table that rows lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// Those that can be written.
    pub columns: Vec<String>,
    /// The columns of its primary key.
    pub key: Vec<String>,
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub name: String,
    pub value: i64,
    /// The value was given out already.
    pub used: bool,
}

/// How values are written must not depend on the server's settings.
const PLAIN: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; \
                     SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL search_path = public";

/// What an extension has brought comes with it.
const NOT_OF_EXTENSIONS: &str = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

impl Database {
    /// Begins to read.
    pub fn read(&mut self) -> anyhow::Result<Reading<'_>> {
        let builder =
            self.0.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let mut transaction = builder.start().map_err(|error| rejected("begin", &error))?;
        transaction.batch_execute(PLAIN).map_err(|error| rejected("begin", &error))?;
        Ok(Reading(transaction))
    }
}

impl Reading<'_> {
    /// The name under which other connections can see the same moment, as long as this one lasts.
    pub fn snapshot(&mut self) -> anyhow::Result<String> {
        self.texts("SELECT pg_export_snapshot()")?.pop().context("PostgreSQL exports no snapshot")
    }

    /// The tables of the schema `public`, by name.
    pub fn tables(&mut self) -> anyhow::Result<Vec<Table>> {
        let names = self.relations('r')?;
        let table = |name: String| {
            let of = format!("{}::regclass", literal(&format!("public.{}", quoted(&name))));
            let columns = format!(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = {of} AND attnum > 0 \
                 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
            );
            Ok(Table { columns: self.texts(&columns)?, key: self.texts(&key_of(&of))?, name })
        };
        names.into_iter().map(table).collect()
    }

    /// Schemas other than `public` that hold tables of somebody else.
    pub fn other_schemas(&mut self) -> anyhow::Result<Vec<String>> {
        self.texts(&format!(
            "SELECT DISTINCT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
             WHERE relkind IN ('r', 'p') AND nspname NOT IN ('public', 'ecosystem', 'information_schema') \
             AND nspname !~ '^pg_' AND {NOT_OF_EXTENSIONS} ORDER BY 1"
        ))
    }

    /// Extensions whose objects lie in `public`.
    pub fn extensions(&mut self) -> anyhow::Result<Vec<String>> {
        self.texts(
            "SELECT extname::text FROM pg_extension WHERE extnamespace = 'public'::regnamespace ORDER BY 1",
        )
    }

    /// The sequences of the schema `public`, by name.
    pub fn sequences(&mut self) -> anyhow::Result<Vec<Sequence>> {
        let names = self.relations('S')?;
        let sequence = |name: String| {
            let sql = format!("SELECT last_value, is_called FROM public.{}", quoted(&name));
            let row = self.0.query_one(&sql, &[]).map_err(|error| rejected("read a sequence", &error))?;
            Ok(Sequence { value: row.get(0), used: row.get(1), name })
        };
        names.into_iter().map(sequence).collect()
    }

    /// The materialized views of the schema `public` that hold rows, in an order in which they can be filled.
    pub fn materialized_views(&mut self) -> anyhow::Result<Vec<String>> {
        self.texts(&format!(
            "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'm' \
             AND relispopulated AND {NOT_OF_EXTENSIONS} ORDER BY oid"
        ))
    }

    /// The versions that Alembic has noted; none where there is no such table.
    pub fn alembic(&mut self) -> anyhow::Result<Vec<String>> {
        let there = "SELECT 'x' WHERE to_regclass('public.alembic_version') IS NOT NULL";
        if self.texts(there)?.is_empty() {
            return Ok(Vec::new());
        }
        self.texts("SELECT version_num::text FROM public.alembic_version ORDER BY 1")
    }

    /// The number of rows of a table.
    pub fn count(&mut self, table: &str) -> anyhow::Result<u64> {
        let sql = format!("SELECT count(*) FROM public.{}", quoted(table));
        let row = self.0.query_one(&sql, &[]).map_err(|error| rejected("count rows", &error))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Hands out the rows of a table in the text format of COPY, some whole lines at a time. The same rows come in the same order.
    pub fn rows(
        &mut self,
        table: &Table,
        each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let order = match table.key.as_slice() {
            [] => "x::text COLLATE \"C\"".to_owned(),
            key => key.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", "),
        };
        let sql = format!(
            "COPY (SELECT {} FROM ONLY public.{} AS x ORDER BY {order}) TO STDOUT",
            columns.join(", "),
            quoted(&table.name)
        );
        self.copy(&format!("read {}", table.name), &sql, each)
    }

    /// Hands out the key of every row, in the order of their bytes.
    pub fn keys(&mut self, table: &Table, each: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        let key: Vec<String> = table.key.iter().map(|column| format!("{}::text", quoted(column))).collect();
        let sql = format!(
            "COPY (SELECT concat_ws(', ', {}) FROM public.{}) TO STDOUT",
            key.join(", "),
            quoted(&table.name)
        );
        self.copy(&format!("read keys of {}", table.name), &sql, &mut |lines| {
            std::str::from_utf8(lines)?.lines().for_each(&mut *each);
            Ok(())
        })
    }

    fn copy(
        &mut self,
        what: &str,
        sql: &str,
        each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut lines = self.lines(what, sql)?;
        while let Some(block) = lines.more()? {
            each(block)?;
        }
        Ok(())
    }

    fn lines(&mut self, what: &str, sql: &str) -> anyhow::Result<Lines<'_>> {
        let reader = self.0.copy_out(sql).map_err(|error| rejected(what, &error))?;
        Ok(Lines { reader, what: what.to_owned(), buffer: Vec::with_capacity(2 * BLOCK), ended: false })
    }

    /// The rows that become documents: id, version or `\N`, and document, in the text format of COPY. With their number.
    pub fn documents(&mut self, table: &str, from: &FromRows) -> anyhow::Result<(u64, Lines<'_>)> {
        let what = format!("make documents of {table}");
        let relation = format!("{}::regclass", literal(&format!("public.{}", quoted(table))));
        let key = self.texts(&key_of(&relation))?;
        if key.is_empty() {
            return Err(Failure::new(
                Kind::Data,
                "data-rejected",
                format!("PostgreSQL cannot {what}: it has no primary key"),
            )
            .into());
        }
        let key: Vec<String> = key.iter().map(|column| format!("{}::text", quoted(column))).collect();
        let (document, version) = (&from.document, from.version.as_deref().unwrap_or("NULL"));
        // Lines end them, so that a comment in an expression ends with it.
        let rows =
            format!("FROM public.{} WHERE (\n{}\n)", quoted(table), from.only.as_deref().unwrap_or("true"));
        let count = self.0.query_one(&format!("SELECT count(*) {rows}"), &[]);
        let count: i64 = count.map_err(|error| rejected(&what, &error))?.get(0);
        let sql = format!(
            "COPY (SELECT concat_ws(', ', {}), (\n{version}\n)::bigint, (\n{document}\n)::text {rows}) TO STDOUT",
            key.join(", ")
        );
        Ok((count.unsigned_abs(), self.lines(&what, &sql)?))
    }

    /// What of this kind lies in the schema `public`, by name.
    fn relations(&mut self, kind: char) -> anyhow::Result<Vec<String>> {
        self.texts(&format!(
            "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = '{kind}' \
             AND {NOT_OF_EXTENSIONS} ORDER BY relname::text COLLATE \"C\""
        ))
    }

    fn texts(&mut self, sql: &str) -> anyhow::Result<Vec<String>> {
        let rows = self.0.query(sql, &[]).map_err(|error| rejected("describe the database", &error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Rows on their way from the server.
pub struct Lines<'a> {
    reader: CopyOutReader<'a>,
    what: String,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines<'_> {
    /// The next whole lines. `None`: that was all.
    pub fn more(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.buffer.clear();
        // The server sends a row at a time, and says once that it is at the end.
        while !self.ended && self.buffer.len() < BLOCK {
            let row = self.reader.fill_buf().map_err(|error| {
                let text = format!("PostgreSQL cannot {}: {error}", self.what);
                Failure::new(Kind::Data, "data-rejected", text)
            })?;
            let length = row.len();
            self.buffer.extend_from_slice(row);
            self.reader.consume(length);
            self.ended = length == 0;
        }
        Ok((!self.buffer.is_empty()).then_some(&self.buffer))
    }
}

/// Asks for the columns of a primary key, by an expression for the table.
pub(super) fn key_of(relation: &str) -> String {
    format!(
        "SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) \
         WHERE indrelid = {relation} AND indisprimary ORDER BY array_position(indkey::int2[], attnum)"
    )
}

/// About so much is handed out at a time.
const BLOCK: usize = 256 * 1024;

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
