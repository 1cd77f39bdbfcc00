//! Indices made from the tables of the database, as the pack says how a row becomes a document.

use ecosystem_core::artifact::Key;
use ecosystem_core::capture::SUFFIX;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{FromRows, Index};
use serde_json::json;

use super::opensearch::{Existing, Fresh, existing, indices, is_ours, judge, real, receipt};
use super::{Counts, Pack, State};
use crate::client::Halt;
use crate::client::opensearch::{Hit, Search};
use crate::client::postgresql::Database;

/// Makes every index that the pack has a mapping for, beside the one that is served; the aliases change hands in one step at the end.
pub(super) fn rebuild(
    pack: &Pack,
    from: &Endpoint,
    to: &Endpoint,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<Counts> {
    let search = Search::open(to)?;
    let existing = existing(pack, &search)?;
    if let Some(State::Foreign(reason)) = judge(pack, &existing) {
        return Err(Failure::new(Kind::Data, "data-foreign", reason)
            .hint("let the application write its index anew: invenio index reindex")
            .into());
    }
    let late = search.templates()?.give_aliases();
    let mut database = Database::open(from)?;
    let mut reading = database.read()?;
    let (mut counts, mut actions, mut before) = (Counts::new(), Vec::new(), 0);
    for (index, table, from) in mapped(pack) {
        let name = if index.exact { index.name.clone() } else { new_name(pack, index, &existing) };
        let theirs = |found: &crate::client::opensearch::Index| {
            is_ours(pack, found) && receipt(found)["index"] == index.name
        };
        let older = existing.iter().filter(|(old, found)| **old == real(pack, index) || theirs(found));
        let older: Vec<&String> = older.map(|(old, _)| old).collect();
        if older.contains(&&name) {
            // Nothing stands beside it: what can be wrong with the rows is found while it is there yet.
            let (_, mut lines) = reading.documents(table, from)?;
            while let Some(block) = lines.more()? {
                for line in std::str::from_utf8(block)?.lines() {
                    columns(line).ok_or_else(|| no_document(index, table))?;
                }
            }
            drop(lines);
            refuse_added(&search, &name, &existing[&name])?;
            search.delete(&name)?;
        }
        let (documents, mut lines) = reading.documents(table, from)?;
        let mut more = |add: &mut dyn FnMut(&Hit<'_>)| {
            let Some(block) = lines.more()? else { return Ok(false) };
            for line in std::str::from_utf8(block)?.lines() {
                let (id, version, source) = columns(line).ok_or_else(|| no_document(index, table))?;
                add(&Hit { id: id.into(), version, routing: None, source: &source });
            }
            Ok(true)
        };
        let fresh = Fresh { pack, index, name: &name, documents, late: late || index.aliases.is_empty() };
        fresh.write(&mut more, &search, &Halt::default(), &|done| {
            progress(before + done, before + documents);
        })?;
        let count = search.count(&name)?;
        if count != documents {
            return Err(unfit(index, &format!("{documents} rows of {table} make {count} documents")).into());
        }
        fresh.confirm(&search)?;
        before += count;
        counts.insert(index.name.clone(), count);
        actions.extend(fresh.aliases()?);
        let remove = older.into_iter().filter(|old| **old != name);
        actions.extend(remove.map(|old| json!({"remove_index": {"index": old}})));
    }
    if counts.is_empty() {
        let text = format!("the pack {} does not say how rows become documents", pack.manifest.name);
        return Err(Failure::new(Kind::Usage, "no-row-mapping", text)
            .hint("give indices a table and from_rows in pack.toml; docs/data.md tells how")
            .into());
    }
    if !actions.is_empty() {
        search.switch(&actions)?;
    }
    Ok(counts)
}

fn mapped(pack: &Pack) -> impl Iterator<Item = (&Index, &str, &FromRows)> {
    indices(pack).iter().filter_map(|index| Some((index, index.table.as_deref()?, index.from_rows.as_ref()?)))
}

/// A name in the form of those that the pack gives, and taken by none.
fn new_name(pack: &Pack, index: &Index, existing: &Existing) -> String {
    let mut key = real(pack, index);
    loop {
        key = Key::of([key.as_str()]).to_string();
        let name = format!("{}-{}", index.name, &key[..SUFFIX]);
        if !existing.contains_key(&name) {
            return name;
        }
    }
}

fn no_document(index: &Index, table: &str) -> Failure {
    unfit(index, &format!("a row of {table} makes no document with an id"))
}

/// What somebody has added to an index that is made in its own place would be lost.
fn refuse_added(search: &Search, name: &str, found: &crate::client::opensearch::Index) -> anyhow::Result<()> {
    let (documents, brought) = (search.count(name)?, receipt(found)["documents"].as_u64());
    match brought {
        Some(brought) if documents > brought => {
            let text = format!("{name} holds {} documents that the pack did not bring", documents - brought);
            Err(Failure::new(Kind::Data, "data-foreign", text).into())
        }
        _ => Ok(()),
    }
}

fn unfit(index: &Index, reason: &str) -> Failure {
    let text = format!("the index {} cannot be made from the database: {reason}", index.name);
    Failure::new(Kind::Data, "data-rejected", text).hint("correct its from_rows in pack.toml")
}

/// Id, version and document of a row in the text format of COPY.
fn columns(line: &str) -> Option<(String, Option<u64>, String)> {
    let mut columns = line.splitn(3, '\t');
    let (id, version, document) = (columns.next()?, columns.next()?, columns.next()?);
    if id.is_empty() || [id, document].contains(&"\\N") {
        return None;
    }
    Some((plain(id), version.parse().ok(), plain(document)))
}

/// A text without the backslashes of COPY. New lines between the parts of a JSON text become spaces, since a document is one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        plain.push(match next {
            '\\' => match rest.next() {
                Some('n' | 'r' | 't' | 'b' | 'f' | 'v') => ' ',
                Some(other) => other,
                None => break,
            },
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_a_document() {
        let row = columns("1, a\t3\t{\"a\": \"say \\\\\"yes\\\\\" \\\\n\"}").unwrap();
        assert_eq!(row, ("1, a".to_owned(), Some(3), r#"{"a": "say \"yes\" \n"}"#.to_owned()));
        let pretty = columns("1\t\\N\t{\\n\\t\"a\": 1\\n}").unwrap();
        assert_eq!(pretty, ("1".to_owned(), None, "{  \"a\": 1 }".to_owned()));
        assert_eq!(columns("1\t2\t\\N"), None);
        assert_eq!(columns("\t2\t{}"), None);
    }
}
