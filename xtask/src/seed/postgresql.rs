//! The PostgreSQL part: tables, rows and receipt in one transaction. Interrupted at any point, nothing has happened.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Part, Tables};

use super::{Counts, Pack, State};
use crate::client::postgresql::{Database, Loading, Receipt};

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let mut database = Database::open(endpoint)?;
    look(pack, &mut database.begin()?)
}

fn look(pack: &Pack, loading: &mut Loading<'_>) -> anyhow::Result<State> {
    let receipt = loading.receipt(&pack.manifest.name)?;
    let names: Vec<&str> = tables(pack).iter().map(|table| table.name.as_str()).collect();
    let existing = loading.tables(&names)?;
    if let Some(state) = judge(&pack.digest(Part::Postgresql), receipt.as_ref(), &existing, &names) {
        return Ok(state);
    }
    let counts: Counts = names
        .iter()
        .map(|name| Ok(((*name).to_owned(), loading.count(name)?)))
        .collect::<anyhow::Result<_>>()?;
    let emptied = pack
        .expected(Part::Postgresql)
        .into_iter()
        .find(|(name, rows)| *rows > 0 && counts.get(name) == Some(&0));
    Ok(match emptied {
        Some((name, _)) => State::Missing(format!("the table {name} is empty")),
        None => State::Loaded(counts),
    })
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
        .filter(|(name, oid)| receipt.and_then(|receipt| receipt.tables.get(*name)) != Some(oid))
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
    let mine: Vec<&str> = mine.into_iter().filter(|name| existing.get(*name) == old.get(*name)).collect();
    loading.remove(&mine)?;
    loading.run("run the pack's schema", pack.schema()?)?;

    let (mut counts, mut before) = (Counts::new(), 0);
    for table in tables(pack) {
        let rows = pack.content(&table.rows);
        loading.copy(&table.name, &table.columns, rows, &mut |done| progress(before + done))?;
        let count = loading.count(&table.name)?;
        before += count;
        counts.insert(table.name.clone(), count);
    }
    let names: Vec<&str> = counts.keys().map(String::as_str).collect();
    let receipt = Receipt { digest: pack.digest(Part::Postgresql), tables: loading.tables(&names)? };
    loading.confirm(&pack.manifest.name, &receipt)?;
    Ok(counts)
}

fn tables(pack: &Pack) -> &[ecosystem_core::pack::Table] {
    pack.manifest.postgresql.as_ref().map_or(&[], |part: &Tables| part.tables.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oids(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
        pairs.iter().map(|(name, oid)| ((*name).to_owned(), *oid)).collect()
    }

    fn judged(receipt: Option<(&str, &[(&str, u32)])>, existing: &[(&str, u32)]) -> Option<State> {
        let receipt = receipt.map(|(digest, tables)| Receipt { digest: digest.into(), tables: oids(tables) });
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
