//! The PostgreSQL part: tables, rows and receipt in one transaction. Interrupted at any point, nothing has happened.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Part, Table, Tables};

use super::{Counts, Pack, State};
use crate::client::postgresql::{Brought, Database, Fresh, Loading, Receipt};
use crate::sys::interrupt;

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let mut database = Database::open(endpoint)?;
    look(pack, &mut database.begin()?)
}

fn look(pack: &Pack, loading: &mut Loading<'_>) -> anyhow::Result<State> {
    let receipt = loading.receipt(&pack.manifest.name)?;
    let names: Vec<&str> = tables(pack).iter().map(|table| table.name.as_str()).collect();
    let existing = loading.tables(&names)?;
    let judged = judge(&pack.digest(Part::Postgresql), receipt.as_ref(), &existing, &names);
    let missing = match judged {
        Some(State::Missing(reason)) => Some(reason),
        Some(state) => return Ok(state),
        None => None,
    };
    if let Some(reason) = missing {
        return Ok(match added(&pack.manifest.name, receipt.as_ref(), loading)? {
            Some(added) => State::Foreign(format!("{reason}, but {added}")),
            None => State::Missing(reason),
        });
    }
    let counts: Counts = names
        .iter()
        .map(|name| Ok(((*name).to_owned(), loading.count(name)?)))
        .collect::<anyhow::Result<_>>()?;
    let emptied = pack
        .expected(Part::Postgresql)
        .into_iter()
        .find(|(name, rows)| *rows > 0 && counts.get(name) == Some(&0));
    let Some((name, _)) = emptied else { return Ok(State::Loaded(counts)) };
    let reason = format!("the table {name} is empty");
    Ok(match added(&pack.manifest.name, receipt.as_ref(), loading)? {
        Some(added) => State::Foreign(format!("{reason}, but {added}")),
        None => State::Missing(reason),
    })
}

/// The first of our tables that holds more rows than it was given, or rows that were changed since: loading it again would lose
/// somebody's own.
fn added(pack: &str, receipt: Option<&Receipt>, loading: &mut Loading<'_>) -> anyhow::Result<Option<String>> {
    let Some(receipt) = receipt else { return Ok(None) };
    let names: Vec<&str> = receipt.tables.keys().map(String::as_str).collect();
    for (name, oid) in loading.tables(&names)? {
        let Some(brought) = receipt.tables.get(&name).filter(|brought| brought.oid == oid) else { continue };
        let rows = loading.count(&name)?;
        if rows > brought.rows {
            return Ok(Some(format!(
                "{name} holds {} rows that the pack did not bring",
                rows - brought.rows
            )));
        }
        let changed = loading.changed(&name, pack)?;
        if changed > 0 {
            return Ok(Some(format!("{changed} rows of {name} were changed since it was loaded")));
        }
    }
    Ok(None)
}

/// What receipt and tables say; `None`: all tables are there and ours, so their rows decide.
fn judge(
    digest: &str,
    receipt: Option<&Receipt>,
    existing: &BTreeMap<String, u32>,
    names: &[&str],
) -> Option<State> {
    // Same name, other object: dropped and made anew by somebody else, for whom this name is as natural as for us.
    let foreign: Vec<&str> = existing
        .iter()
        .filter(|(name, oid)| {
            receipt.and_then(|receipt| receipt.tables.get(*name)).map(|brought| &brought.oid) != Some(oid)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if !foreign.is_empty() {
        return Some(State::Foreign(format!("PostgreSQL has its own {}", foreign.join(", "))));
    }
    let Some(receipt) = receipt else { return Some(State::Missing("it was never loaded".to_owned())) };
    if receipt.digest != digest {
        return Some(State::Missing("another version of it is loaded".to_owned()));
    }
    let gone = names.iter().find(|name| !existing.contains_key(**name))?;
    Some(State::Missing(format!("the table {gone} is gone")))
}

pub(super) fn load(pack: &Pack, endpoint: &Endpoint, progress: &dyn Fn(u64)) -> anyhow::Result<Counts> {
    let mut database = Database::open(endpoint)?;
    let mut loading = database.begin()?;
    loading.lock()?;
    // Looked at again under the lock: another run may have been faster, or the tables may have changed hands.
    match look(pack, &mut loading)? {
        State::Loaded(counts) => return Ok(counts),
        State::Foreign(reason) => return Err(Failure::new(Kind::Data, "data-foreign", reason).into()),
        State::Missing(_) => {}
    }
    // The tables of the version that was loaded before, which may be others than those of this one.
    let old = loading.receipt(&pack.manifest.name)?.map(|receipt| receipt.tables).unwrap_or_default();
    let mine: Vec<&str> = old.keys().map(String::as_str).collect();
    let existing = loading.tables(&mine)?;
    let mine: Vec<&str> = mine
        .into_iter()
        .filter(|name| existing.get(*name) == old.get(*name).map(|brought| &brought.oid))
        .collect();
    loading.remove(&mine)?;
    loading.run("run the pack's schema", pack.schema()?)?;

    let (mut counts, mut before) = (Counts::new(), 0);
    for table in tables(pack) {
        let count = copy(pack, table, Fresh::Yes, &mut loading, &|done| progress(before + done))?;
        before += count;
        counts.insert(table.name.clone(), count);
    }
    loading.run("run what finishes the pack's tables", pack.finish()?)?;
    let names: Vec<&str> = counts.keys().map(String::as_str).collect();
    let brought = |(name, oid): (String, u32)| {
        let rows = counts.get(&name).copied().unwrap_or(0);
        (name, Brought { oid, rows })
    };
    let tables = loading.tables(&names)?.into_iter().map(brought).collect();
    let receipt = Receipt { digest: pack.digest(Part::Postgresql), tables };
    loading.confirm(&pack.manifest.name, &receipt)?;
    Ok(counts)
}

/// Sends the rows of a table into the one of its name.
pub(super) fn copy(
    pack: &Pack,
    table: &Table,
    fresh: Fresh,
    loading: &mut Loading<'_>,
    progress: &dyn Fn(u64),
) -> anyhow::Result<u64> {
    let mut blocks = pack.blocks(&table.rows)?;
    let rows = loading.copy(fresh, &table.name, &table.columns, &mut |writer| {
        while let Some(block) = blocks.next()? {
            interrupt::check()?;
            writer.write_all(block.bytes)?;
            progress(block.lines);
        }
        Ok(())
    })?;
    blocks.confirm(pack.known(&table.rows)?)?;
    Ok(rows)
}

pub(super) fn tables(pack: &Pack) -> &[ecosystem_core::pack::Table] {
    pack.manifest.postgresql.as_ref().map_or(&[], |part: &Tables| part.tables.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oids(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
        pairs.iter().map(|(name, oid)| ((*name).to_owned(), *oid)).collect()
    }

    fn judged(receipt: Option<(&str, &[(&str, u32)])>, existing: &[(&str, u32)]) -> Option<State> {
        let brought = |(name, oid): &(&str, u32)| ((*name).to_owned(), Brought { oid: *oid, rows: 0 });
        let receipt = receipt.map(|(digest, tables)| Receipt {
            digest: digest.into(),
            tables: tables.iter().map(brought).collect(),
        });
        judge("new", receipt.as_ref(), &oids(existing), &["a", "b"])
    }

    #[test]
    fn tables_without_our_receipt_are_foreign() {
        let foreign = Some(State::Foreign("PostgreSQL has its own a".into()));
        assert_eq!(judged(None, &[("a", 1)]), foreign);
        // `invenio db destroy` and `db init create` leave our receipt behind and make tables of the same names.
        assert_eq!(judged(Some(("new", &[("a", 1), ("b", 2)])), &[("a", 7), ("b", 2)]), foreign);
        assert_eq!(judged(Some(("old", &[("b", 2)])), &[("a", 1), ("b", 2)]), foreign);
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        let reason = |state| match state {
            Some(State::Missing(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(judged(None, &[])), "it was never loaded");
        assert_eq!(
            reason(judged(Some(("old", &[("a", 1)])), &[("a", 1)])),
            "another version of it is loaded"
        );
        assert_eq!(reason(judged(Some(("new", &[("a", 1), ("b", 2)])), &[("a", 1)])), "the table b is gone");
        assert_eq!(judged(Some(("new", &[("a", 1), ("b", 2)])), &[("a", 1), ("b", 2)]), None);
    }
}
