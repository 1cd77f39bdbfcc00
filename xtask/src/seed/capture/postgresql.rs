//! The PostgreSQL part of a new pack: tables as pg_dump tells them, and their rows, all as of one moment.

use std::collections::BTreeMap;
use std::fmt::Write;

use ecosystem_core::capture::sql;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{self, Content, FilePath, Tables};

use super::super::Counts;
use super::super::making::Making;
use super::opensearch::Ids;
use super::{Dump, Pair};
use crate::client::postgresql::{Database, Reading, Table};
use crate::event::{Task, Unit};
use crate::sys::interrupt;

const SCHEMA: &str = "postgresql/schema.sql";
const FINISH: &str = "postgresql/finish.sql";

/// What was taken out of a database.
pub(super) struct Taken {
    pub(super) part: Tables,
    pub(super) counts: Counts,
    pub(super) alembic: Vec<String>,
    pub(super) known: Vec<Table>,
    /// What a person should know.
    pub(super) left_out: Vec<String>,
}

pub(super) fn take(
    endpoint: &Endpoint,
    dump: &Dump<'_>,
    making: &Making,
    files: &mut BTreeMap<FilePath, Content>,
    task: &Task<'_>,
) -> anyhow::Result<Taken> {
    let mut database = Database::open(endpoint)?;
    let mut reading = database.read()?;
    let snapshot = reading.snapshot()?;
    let known = reading.tables()?;
    let section = |section: &str| {
        let words =
            ["--schema-only", "--no-owner", "--no-privileges", "--schema=public"].map(ToOwned::to_owned);
        let more = [format!("--section={section}"), format!("--snapshot={snapshot}")];
        Ok::<_, anyhow::Error>(sql(&dump(&words.into_iter().chain(more).collect::<Vec<_>>())?))
    };
    let mut schema = String::new();
    for extension in reading.extensions()? {
        let _ = writeln!(
            schema,
            "CREATE EXTENSION IF NOT EXISTS \"{}\" SCHEMA public;",
            extension.replace('"', "\"\"")
        );
    }
    schema.push_str(&section("pre-data")?);
    let mut finish = section("post-data")?;
    finish.push_str(&sequences(&mut reading)?);
    for view in reading.materialized_views()? {
        let _ = writeln!(finish, "REFRESH MATERIALIZED VIEW public.\"{}\";", view.replace('"', "\"\""));
    }
    let (schema, finish) = (making.whole(SCHEMA, &schema, files)?, making.whole(FINISH, &finish, files)?);

    let mut total = 0;
    for table in &known {
        total += reading.count(&table.name)?;
    }
    let (mut tables, mut counts, mut before) = (Vec::new(), Counts::new(), 0);
    for table in &known {
        let mut file = making.file(&format!("postgresql/{}.tsv", table.name))?;
        reading.rows(table, &mut |lines| {
            interrupt::check()?;
            file.add(lines)?;
            task.progress(before + file.lines(), Some(total), Unit::Items);
            Ok(())
        })?;
        before += file.lines();
        counts.insert(table.name.clone(), file.lines());
        let rows = file.close(files)?;
        tables.push(pack::Table { name: table.name.clone(), columns: table.columns.clone(), rows });
    }
    let left_out = reading.other_schemas()?;
    let left_out = (!left_out.is_empty())
        .then(|| format!("PostgreSQL: only the schema public is in the pack, not {}", left_out.join(", ")));
    Ok(Taken {
        part: Tables { schema, finish: Some(finish), tables },
        counts,
        alembic: reading.alembic()?,
        known,
        left_out: left_out.into_iter().collect(),
    })
}

/// SQL that brings sequences to where they stand.
fn sequences(reading: &mut Reading<'_>) -> anyhow::Result<String> {
    let mut text = String::new();
    for sequence in reading.sequences()? {
        let name = format!("public.\"{}\"", sequence.name.replace('"', "\"\"")).replace('\'', "''");
        let _ = writeln!(text, "SELECT pg_catalog.setval('{name}', {}, {});", sequence.value, sequence.used);
    }
    Ok(text)
}

/// Which table holds the same things as each index: the one whose key is the id of its first document. Read after the capture, which may be a
/// little later.
pub(super) fn pairs(
    endpoint: &Endpoint,
    tables: &[Table],
    indices: &BTreeMap<String, Ids>,
) -> anyhow::Result<Vec<Pair>> {
    let mut database = Database::open(endpoint)?;
    let mut reading = database.read()?;
    let mut pairs = Vec::new();
    for table in tables.iter().filter(|table| table.key.len() == 1) {
        let candidates: Vec<(&String, &Ids)> = indices.iter().filter(|(_, ids)| !ids.is_empty()).collect();
        let mut meets: Vec<u64> = vec![0; candidates.len()];
        let mut rows = 0;
        reading.keys(table, &mut |key| {
            rows += 1;
            for ((_, ids), meet) in candidates.iter().zip(&mut meets) {
                *meet += u64::from(ids.contains(key));
            }
        })?;
        // By far most of either: a number that happens to be a key here and an id there makes no pair.
        let found = candidates.iter().zip(&meets).filter(|((_, ids), meet)| **meet * 2 > ids.len().max(rows));
        pairs.extend(found.map(|((index, ids), meet)| Pair {
            table: table.name.clone(),
            index: (*index).clone(),
            rows_without_document: rows - meet,
            documents_without_row: ids.len() - meet,
        }));
    }
    Ok(pairs)
}
