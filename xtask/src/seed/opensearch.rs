//! The OpenSearch part: fresh indices are filled beside whatever is served, marked, and switched to in one step.
//!
//! An index says from its beginning which pack it belongs to, in `_meta.ecosystem` of its mapping. The digest, which is the receipt,
//! is put there after the refresh: an index without it was cut short.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{self, Part};
use serde_json::{Map, Value, json};

use super::{Counts, Pack, State};
use crate::client::Halt;
use crate::client::opensearch::{Document, Index, Search};

/// The key of the receipt in `_meta`. The rest of `_meta` belongs to the application.
const RECEIPT: &str = "ecosystem";

type Existing = BTreeMap<String, Index>;

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let search = Search::open(endpoint)?;
    let existing = existing(pack, &search)?;
    match judge(pack, &existing) {
        Some(State::Missing(reason)) => return missing(reason, &existing, &search),
        Some(state) => return Ok(state),
        None => {}
    }
    let mut counts = Counts::new();
    for index in indices(pack) {
        counts.insert(index.name.clone(), search.count(&real(pack, index))?);
    }
    let emptied = pack
        .expected(Part::Opensearch)
        .into_iter()
        .find(|(name, all)| *all > 0 && counts.get(name) == Some(&0));
    match emptied {
        Some((name, _)) => missing(format!("the index {name} is empty"), &existing, &search),
        None => Ok(State::Loaded(counts)),
    }
}

/// Missing, unless one of our indices holds more documents than it was given: loading again would lose somebody's own.
fn missing(reason: String, existing: &Existing, search: &Search) -> anyhow::Result<State> {
    for (name, index) in existing {
        let Some(brought) = receipt(index)["documents"].as_u64() else { continue };
        let documents = search.count(name)?;
        if documents > brought {
            let own = documents - brought;
            return Ok(State::Foreign(format!(
                "{reason}, but {name} holds {own} documents that the pack did not bring"
            )));
        }
    }
    Ok(State::Missing(reason))
}

fn existing(pack: &Pack, search: &Search) -> anyhow::Result<Existing> {
    let fresh: Vec<String> = indices(pack).iter().map(|index| real(pack, index)).collect();
    // Older versions, and what is left of loads that were cut short. Others may use such names too; they are none of our business.
    let versions: Vec<String> = indices(pack).iter().map(|index| format!("{}-*", index.name)).collect();
    let aliases: Vec<&String> = indices(pack).iter().flat_map(|index| &index.aliases).collect();
    let names: Vec<&str> =
        fresh.iter().chain(&versions).chain(aliases.iter().copied()).map(String::as_str).collect();
    let mut found = search.indices(&names)?;
    found.retain(|name, index| {
        let in_the_way = fresh.contains(name)
            || aliases.iter().any(|alias| *alias == name || index.aliases.contains(*alias));
        in_the_way || is_ours(pack, index)
    });
    Ok(found)
}

fn is_ours(pack: &Pack, index: &Index) -> bool {
    receipt(index)["pack"] == pack.manifest.name
}

/// What indices and aliases say; `None`: all are there and ours, so their documents decide.
fn judge(pack: &Pack, existing: &Existing) -> Option<State> {
    let fresh: Vec<String> = indices(pack).iter().map(|index| real(pack, index)).collect();
    let foreign: Vec<&str> =
        existing.iter().filter(|(_, index)| !is_ours(pack, index)).map(|(name, _)| name.as_str()).collect();
    if !foreign.is_empty() {
        return Some(State::Foreign(format!("OpenSearch has its own {}", foreign.join(", "))));
    }
    if existing.is_empty() {
        return Some(State::Missing("it was never loaded".to_owned()));
    }
    let digest = pack.digest(Part::Opensearch);
    for (index, name) in indices(pack).iter().zip(&fresh) {
        let Some(found) = existing.get(name) else {
            return Some(State::Missing(format!("the index {} is gone, or of another version", index.name)));
        };
        if receipt(found)["digest"] != digest {
            return Some(State::Missing(format!("loading {} was cut short", index.name)));
        }
        if let Some(alias) = index.aliases.iter().find(|alias| !found.aliases.contains(*alias)) {
            return Some(State::Missing(format!("the alias {alias} is gone")));
        }
    }
    None
}

pub(super) fn load(
    pack: &Pack,
    endpoint: &Endpoint,
    halt: &Halt,
    progress: &dyn Fn(u64),
) -> anyhow::Result<Counts> {
    let search = Search::open(endpoint)?;
    let existing = existing(pack, &search)?;
    let (mut counts, mut before, mut actions) = (Counts::new(), 0, Vec::new());
    for index in indices(pack) {
        let name = real(pack, index);
        // Cut short or emptied: made anew, because what is in it cannot be trusted.
        if existing.contains_key(&name) {
            search.delete(&name)?;
        }
        fill(pack, index, &name, &search, halt, &mut |done| progress(before + done))?;
        let count = search.count(&name)?;
        before += count;
        counts.insert(index.name.clone(), count);
        actions.extend(index.aliases.iter().map(|alias| json!({"add": {"index": name, "alias": alias}})));
    }
    // Older versions go in the same step in which the aliases change hands.
    let fresh: Vec<String> = indices(pack).iter().map(|index| real(pack, index)).collect();
    for old in existing.keys().filter(|name| !fresh.contains(name)) {
        actions.push(json!({"remove_index": {"index": old}}));
    }
    search.switch(&actions)?;
    Ok(counts)
}

/// Makes, fills and marks one index.
fn fill(
    pack: &Pack,
    index: &pack::Index,
    name: &str,
    search: &Search,
    halt: &Halt,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<()> {
    let mut body = pack.json(&index.settings)?;
    let mut meta = body.pointer("/mappings/_meta").and_then(Value::as_object).cloned().unwrap_or_default();
    meta.insert(RECEIPT.to_owned(), json!({"pack": pack.manifest.name}));
    body["mappings"]["_meta"] = Value::Object(meta.clone());
    let documents = documents(pack, index)?;
    // Nothing searches it yet: refreshing every second would only cost.
    let large = documents.len() > 5_000;
    if large {
        body["settings"]["refresh_interval"] = Value::from("-1");
    }
    search.create(name, &body)?;
    search.write(name, &documents, halt, progress)?;
    if large {
        search.set(name, &json!({"index.refresh_interval": null}))?;
    }
    search.refresh(name)?;
    meta.insert(
        RECEIPT.to_owned(),
        json!({
            "pack": pack.manifest.name,
            "digest": pack.digest(Part::Opensearch),
            "documents": documents.len(),
        }),
    );
    search.confirm(name, &Value::Object(meta))
}

fn documents<'a>(pack: &'a Pack, index: &pack::Index) -> Result<Vec<Document<'a>>, Failure> {
    let lines = pack.text(&index.documents)?.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, source)| {
            let wrong = |reason: String| {
                let place = format!("{}, line {}", index.documents, number + 1);
                Failure::new(Kind::Data, "pack-invalid", format!("{place}: {reason}"))
            };
            let document: Map<String, Value> =
                serde_json::from_str(source).map_err(|e| wrong(e.to_string()))?;
            match document.get(&index.id).and_then(Value::as_str) {
                Some(id) => Ok(Document { id: id.to_owned(), source }),
                None => Err(wrong(format!("there is no text called {:?}", index.id))),
            }
        })
        .collect()
}

/// The index behind the aliases: its name tells the content.
fn real(pack: &Pack, index: &pack::Index) -> String {
    format!("{}-{}", index.name, &pack.digest(Part::Opensearch)[..8])
}

fn receipt(index: &Index) -> &Value {
    &index.meta[RECEIPT]
}

fn indices(pack: &Pack) -> &[pack::Index] {
    pack.manifest.opensearch.as_ref().map_or(&[], |part| part.indices.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack() -> Pack {
        Pack::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds/demo").into()).unwrap()
    }

    fn index(aliases: &[&str], meta: Value) -> Index {
        Index { aliases: aliases.iter().map(ToString::to_string).collect(), meta }
    }

    fn loaded(pack: &Pack) -> Existing {
        let meta =
            json!({"ecosystem": {"pack": "demo", "digest": pack.digest(Part::Opensearch)}, "theirs": 1});
        let one =
            |i: &pack::Index| Index { aliases: i.aliases.iter().cloned().collect(), meta: meta.clone() };
        indices(pack).iter().map(|i| (real(pack, i), one(i))).collect()
    }

    #[test]
    fn marked_indices_with_all_aliases_are_loaded() {
        let pack = pack();
        assert_eq!(judge(&pack, &loaded(&pack)), None);
        assert_eq!(judge(&pack, &Existing::new()), Some(State::Missing("it was never loaded".into())));
    }

    #[test]
    fn an_alias_that_leads_elsewhere_is_foreign() {
        let pack = pack();
        let mut existing = loaded(&pack);
        existing.insert("invenio-rdmrecords-v5-1699".into(), index(&["invenio-rdmrecords"], Value::Null));
        let foreign = State::Foreign("OpenSearch has its own invenio-rdmrecords-v5-1699".into());
        assert_eq!(judge(&pack, &existing), Some(foreign));
    }

    #[test]
    fn an_index_without_its_receipt_or_alias_was_cut_short() {
        let pack = pack();
        let name = real(&pack, &indices(&pack)[0]);
        let state = |change: &dyn Fn(&mut Index)| {
            let mut existing = loaded(&pack);
            change(existing.get_mut(&name).unwrap());
            match judge(&pack, &existing) {
                Some(State::Missing(reason)) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert!(state(&|index| index.meta = json!({"ecosystem": {"pack": "demo"}})).contains("cut short"));
        assert!(state(&|index| index.aliases.clear()).contains("alias"));
    }
}
