//! Tables beside the pack: its rows are sent into tables of this session alone, which end with the transaction.

use ecosystem_core::endpoint::Endpoint;

use super::super::postgresql::{copy, tables};
use super::{Compared, Pack};
use crate::client::postgresql::{Database, Fresh, Loading};

pub(super) fn compare(
    pack: &Pack,
    endpoint: &Endpoint,
    progress: &dyn Fn(u64),
) -> anyhow::Result<Vec<Compared>> {
    let mut database = Database::open(endpoint)?;
    let (mut all, mut before) = (Vec::new(), 0);
    for table in tables(pack) {
        // One transaction a table: what was laid beside it is gone before the next one.
        let mut loading = database.begin()?;
        all.push(one(pack, table, &mut loading, &|done| progress(before + done))?);
        before += pack.known(&table.rows)?.lines;
    }
    Ok(all)
}

fn one(
    pack: &Pack,
    table: &ecosystem_core::pack::Table,
    loading: &mut Loading<'_>,
    progress: &dyn Fn(u64),
) -> anyhow::Result<Compared> {
    let (name, in_pack) = (&table.name, pack.known(&table.rows)?.lines);
    let there = loading.columns(name)?;
    if there.is_empty() {
        return Ok(Compared::problem(name, in_pack, "the table is not there".to_owned()));
    }
    if let Some(column) = table.columns.iter().find(|column| !there.contains(column)) {
        return Ok(Compared::problem(name, in_pack, format!("the table has no column {column}")));
    }
    loading.beside(name, &table.columns)?;
    copy(pack, table, Fresh::Beside, loading, progress)?;
    let (in_pack, checksum_of_pack) = loading.checksum("pg_temp", name, &table.columns)?;
    let (in_store, checksum_of_store) = loading.checksum("public", name, &table.columns)?;
    let mut compared = Compared {
        name: name.clone(),
        in_pack,
        in_store,
        checksum_of_pack,
        checksum_of_store,
        ..Compared::default()
    };
    if in_pack != in_store || compared.checksum_of_pack != compared.checksum_of_store {
        let key = loading.key(name)?;
        let [missing, added, changed] = loading.differences(name, &table.columns, &key)?;
        (compared.missing, compared.added, compared.changed) = (missing.into(), added.into(), changed.into());
    }
    Ok(compared)
}
