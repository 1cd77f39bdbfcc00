//! Comparing a table with rows that were sent beside it. The server judges what is equal: it knows its types, and how it writes a value.

use std::io::BufRead;

use super::bulk::{Loading, quoted, rejected};
use super::read::key_of;

/// How many differences are named.
const NAMED: i64 = 20;

/// What kinds of differences there are, with how many and the first keys of each: missing, added, changed.
pub type Differences = [(u64, Vec<String>); 3];

impl Loading<'_> {
    /// The columns of a table.
    pub fn columns(&mut self, table: &str) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) \
                   AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        self.texts(sql, table)
    }

    /// The columns of its primary key; none where it has none.
    pub fn key(&mut self, table: &str) -> anyhow::Result<Vec<String>> {
        self.texts(&key_of("to_regclass($1)"), table)
    }

    fn texts(&mut self, sql: &str, table: &str) -> anyhow::Result<Vec<String>> {
        let relation = format!("public.{}", quoted(table));
        let rows = self
            .transaction
            .query(sql, &[&relation])
            .map_err(|error| rejected("describe a table", &error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Makes an empty table of this session with these columns of `table`. It is gone when the transaction ends.
    pub fn beside(&mut self, table: &str, columns: &[String]) -> anyhow::Result<()> {
        let (name, columns) = (quoted(table), listed(columns));
        self.run(
            "make a table to compare with",
            &format!(
                "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM public.{name} WITH NO DATA"
            ),
        )
    }

    /// Rows and checksum of a table in a schema. The checksum does not depend on the order of the rows.
    pub fn checksum(
        &mut self,
        schema: &str,
        table: &str,
        columns: &[String],
    ) -> anyhow::Result<(u64, String)> {
        let (name, row) = (quoted(table), row(columns));
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended({row}, 0)::numeric), 0)::text FROM {schema}.{name}"
        );
        let row = self.transaction.query_one(&sql, &[]).map_err(|error| rejected("add up rows", &error))?;
        Ok((row.get::<_, i64>(0).unsigned_abs(), row.get(1)))
    }

    /// How a table differs from the rows that were sent beside it, by its key, else by whole rows.
    pub fn differences(
        &mut self,
        table: &str,
        columns: &[String],
        key: &[String],
    ) -> anyhow::Result<Differences> {
        let (name, row) = (quoted(table), row(columns));
        // Without a key equal rows are told apart by their number.
        let (keys, shown) = if key.is_empty() {
            (format!("{row}, row_number() OVER (PARTITION BY {row})"), format!("left({row}, 100)"))
        } else {
            let texts: Vec<String> = key.iter().map(|column| format!("{}::text", quoted(column))).collect();
            (
                format!("concat_ws(', ', {}), 1::bigint", texts.join(", ")),
                format!("concat_ws(', ', {})", texts.join(", ")),
            )
        };
        let side = |schema: &str| {
            format!("(SELECT {shown}, hashtextextended({row}, 0), {keys} FROM {schema}.{name})")
        };
        self.run(
            "compare rows",
            &format!(
                "CREATE TEMPORARY TABLE ecosystem_differences ON COMMIT DROP AS \
                 SELECT coalesce(a.id, b.id) AS id, \
                 CASE WHEN b.hash IS NULL THEN 0 WHEN a.hash IS NULL THEN 1 ELSE 2 END AS kind \
                 FROM {} AS a(id, hash, k, n) FULL JOIN {} AS b(id, hash, k, n) ON a.k = b.k AND a.n = b.n \
                 WHERE a.hash IS DISTINCT FROM b.hash",
                side("pg_temp"),
                side("public")
            ),
        )?;
        let mut found = Differences::default();
        for (kind, (count, first)) in (0..).zip(&mut found) {
            let sql = "SELECT id, count(*) OVER () FROM pg_temp.ecosystem_differences WHERE kind = $1 ORDER BY id LIMIT $2";
            let rows = self
                .transaction
                .query(sql, &[&kind as &(dyn postgres::types::ToSql + Sync), &NAMED])
                .map_err(|error| rejected("name differences", &error))?;
            *count = rows.first().map_or(0, |row| row.get::<_, i64>(1).unsigned_abs());
            *first = rows.iter().map(|row| row.get(0)).collect();
        }
        self.run("forget differences", "DROP TABLE pg_temp.ecosystem_differences")?;
        Ok(found)
    }

    /// Hands out the key of every row, as a text, and the number in a column where one is named.
    pub fn keys(
        &mut self,
        table: &str,
        key: &[String],
        number: Option<&str>,
        each: &mut dyn FnMut(&str, Option<u64>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let texts: Vec<String> = key.iter().map(|column| format!("{}::text", quoted(column))).collect();
        let sql = format!(
            "COPY (SELECT {}::text, concat_ws(', ', {}) FROM public.{}) TO STDOUT",
            number.map_or_else(|| "NULL".to_owned(), quoted),
            texts.join(", "),
            quoted(table)
        );
        let reader = self.transaction.copy_out(&sql).map_err(|error| rejected("read keys", &error))?;
        for line in reader.lines() {
            let line = line?;
            let (number, key) = line.split_once('\t').unwrap_or_default();
            each(key, number.parse().ok())?;
        }
        Ok(())
    }
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
}

/// A row as the server writes it. Null and the empty text differ there.
fn row(columns: &[String]) -> String {
    format!("ROW({})::text", listed(columns))
}
