//! The OpenSearch part: fresh indices are filled beside whatever is served, marked, and switched to in one step.
//!
//! An index says from its beginning which pack it belongs to, in `_meta.ecosystem` of its mapping. It is whole once its aliases lead to it, which they
//! do all at once, at the end. One without aliases, or whose aliases a template gives it at once, gets the digest of the pack after the refresh
//! instead. Writing that into every index would cost as much as making it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ecosystem_core::capture::{RECEIPT, SUFFIX};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{self, Part, Templates};
use serde_json::{Value, json};

use super::pack::invalid;
use super::{Counts, Pack, State, document};
use crate::client::Halt;
use crate::client::opensearch::{Body, Hit, Index, Search};
use crate::sys::{interrupt, parallel};

/// From how many documents on an index gets other settings while it is loaded; changing them takes a moment, too.
const LARGE: u64 = 5_000;

/// So many indices are made and filled at once: a server makes several changes of its state in one step.
const AT_ONCE: usize = 4;

pub(super) type Existing = BTreeMap<String, Index>;

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let search = Search::open(endpoint)?;
    let existing = existing(pack, &search)?;
    let (wanted, present) = (pack.templates()?, search.templates()?);
    // Where an index of ours is there, so were its templates, of this version of the pack or an earlier one.
    let theirs = |(kind, name, _): &(&str, &str, &Value)| existing.is_empty() && has(&present, kind, name);
    let differing = differing(&wanted, &present);
    if let Some((_, name, _)) = differing.iter().find(|template| theirs(template)) {
        return Ok(State::Foreign(format!("OpenSearch has its own template {name}")));
    }
    match judge(pack, &existing) {
        Some(State::Missing(reason)) => return missing(reason, &existing, &search),
        Some(state) => return Ok(state),
        None => {}
    }
    if let Some((_, name, _)) = differing.first() {
        return missing(format!("the template {name} is gone, or another one"), &existing, &search);
    }
    let mut counts = Counts::new();
    for index in indices(pack) {
        let Some(name) = serving(pack, &existing, index) else { continue };
        counts.insert(index.name.clone(), search.count(&name)?);
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

/// The templates that are not there as they should be, by kind and name.
fn differing<'a>(wanted: &'a Templates, present: &Templates) -> Vec<(&'static str, &'a str, &'a Value)> {
    let all = wanted.kinds().into_iter().zip(present.kinds());
    all.flat_map(|((kind, wanted), (_, present))| {
        let differ = wanted.iter().filter(|(name, body)| present.get(*name) != Some(*body));
        differ.map(move |(name, body)| (kind, name.as_str(), body)).collect::<Vec<_>>()
    })
    .collect()
}

fn has(templates: &Templates, kind: &str, name: &str) -> bool {
    templates.kinds().iter().any(|(of, templates)| *of == kind && templates.contains_key(name))
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

pub(super) fn existing(pack: &Pack, search: &Search) -> anyhow::Result<Existing> {
    let fresh: Vec<String> = indices(pack).iter().map(|index| real(pack, index)).collect();
    let aliases: BTreeSet<&String> = indices(pack).iter().flat_map(|index| &index.aliases).collect();
    let mut found = search.indices()?;
    // Older versions, and what is left of loads that were cut short, are ours wherever they are. Of the others only those matter whose names or
    // aliases are wanted.
    found.retain(|name, index| {
        let in_the_way = fresh.contains(name)
            || aliases.contains(name)
            || index.aliases.iter().any(|alias| aliases.contains(alias) || fresh.contains(alias));
        in_the_way || is_ours(pack, index)
    });
    Ok(found)
}

pub(super) fn is_ours(pack: &Pack, index: &Index) -> bool {
    receipt(index)["pack"] == pack.manifest.name
}

/// What indices and aliases say; `None`: all are there and ours, so their documents decide.
pub(super) fn judge(pack: &Pack, existing: &Existing) -> Option<State> {
    let foreign: Vec<&str> =
        existing.iter().filter(|(_, index)| !is_ours(pack, index)).map(|(name, _)| name.as_str()).collect();
    if !foreign.is_empty() {
        return Some(State::Foreign(format!("OpenSearch has its own {}", foreign.join(", "))));
    }
    if existing.is_empty() {
        return Some(State::Missing("it was never loaded".to_owned()));
    }
    let digest = pack.digest(Part::Opensearch);
    for index in indices(pack) {
        let Some(found) = serving(pack, existing, index).and_then(|name| existing.get(&name)) else {
            return Some(State::Missing(format!("the index {} is gone, or of another version", index.name)));
        };
        let loaded = &receipt(found)["digest"];
        if loaded.is_null() {
            return Some(State::Missing(format!("loading {} was cut short", index.name)));
        }
        if *loaded != digest {
            return Some(State::Missing("another version of it is loaded".to_owned()));
        }
        if let Some(alias) = index.aliases.iter().find(|alias| !found.aliases.contains(*alias)) {
            let name = &index.name;
            return Some(State::Missing(format!(
                "loading {name} was cut short, or its alias {alias} is gone"
            )));
        }
    }
    None
}

pub(super) fn load(
    pack: &Pack,
    endpoint: &Endpoint,
    halt: &Halt,
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Counts> {
    let search = Search::open(endpoint)?;
    let existing = existing(pack, &search)?;
    let late = search.templates()?.give_aliases();
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let one = |index: &pack::Index| -> anyhow::Result<u64> {
        let name = real(pack, index);
        // Cut short or emptied: made anew, because what is in it cannot be trusted.
        if existing.contains_key(&name) {
            search.delete(&name)?;
        }
        let before = AtomicU64::new(0);
        fill(pack, index, &name, (&search, late), halt, &|now| {
            let more = now - before.swap(now, Ordering::SeqCst);
            progress(done.fetch_add(more, Ordering::SeqCst) + more);
        })?;
        search.count(&name)
    };
    let results = parallel::map_few(AT_ONCE, indices(pack), |index| {
        // What another one has failed for need not be begun.
        if failed.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let result = one(index);
        failed.fetch_or(result.is_err(), Ordering::SeqCst);
        result
    });
    let (mut counts, mut actions) = (Counts::new(), Vec::new());
    for (index, count) in indices(pack).iter().zip(results) {
        counts.insert(index.name.clone(), count?);
        let name = real(pack, index);
        actions.extend(Fresh { pack, index, name: &name, documents: 0, late }.aliases()?);
    }
    // Older versions go in the same step in which the aliases change hands.
    let fresh: Vec<String> = indices(pack).iter().map(|index| real(pack, index)).collect();
    for old in existing.keys().filter(|name| !fresh.contains(name)) {
        actions.push(json!({"remove_index": {"index": old}}));
    }
    // There may be none: exact indices without aliases.
    if !actions.is_empty() {
        search.switch(&actions)?;
    }
    // Last, so that they do not change what was just made.
    let present = search.templates()?;
    for (kind, name, body) in differing(&pack.templates()?, &present) {
        search.put_template(kind, name, body)?;
    }
    Ok(counts)
}

/// Makes, fills and marks one index with the documents of the pack.
fn fill(
    pack: &Pack,
    index: &pack::Index,
    name: &str,
    (search, late): (&Search, bool),
    halt: &Halt,
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<()> {
    let known = pack.known(&index.documents)?.clone();
    let mut blocks = pack.blocks(&index.documents)?;
    let mut number = 0;
    let mut more = |add: &mut dyn FnMut(&Hit<'_>)| {
        let Some(block) = blocks.next()? else { return Ok(false) };
        for line in block.lines() {
            number += 1;
            let hit = document::read(line, index)
                .map_err(|reason| invalid(format!("{}, document {number}: {reason}", index.documents)))?;
            add(&hit);
        }
        Ok(true)
    };
    let making = Fresh { pack, index, name, documents: known.lines, late: late || index.aliases.is_empty() };
    making.write(&mut more, search, halt, progress)?;
    blocks.confirm(&known)?;
    making.confirm(search)
}

/// Hands out some more documents. False: those were all.
pub(super) type More<'a> = dyn FnMut(&mut dyn FnMut(&Hit<'_>)) -> anyhow::Result<bool> + 'a;

/// An index that is made.
pub(super) struct Fresh<'a> {
    pub(super) pack: &'a Pack,
    pub(super) index: &'a pack::Index,
    /// The real name.
    pub(super) name: &'a str,
    pub(super) documents: u64,
    /// Its aliases do not tell that it is whole: it has none, or gets them as soon as it is made.
    pub(super) late: bool,
}

impl Fresh<'_> {
    /// Makes the index and fills it.
    pub(super) fn write(
        &self,
        more: &mut More<'_>,
        search: &Search,
        halt: &Halt,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        let mut body = self.pack.json(&self.index.settings)?;
        // They change hands when all is there.
        if let Some(body) = body.as_object_mut() {
            body.shift_remove("aliases");
        }
        let receipt = if self.late { json!({"pack": self.pack.manifest.name}) } else { self.receipt() };
        body["mappings"]["_meta"] = self.meta(receipt)?;
        // Nothing searches it yet: refreshing every second would only cost, and so would a second copy.
        let after = (self.documents > LARGE).then(|| while_loading(&mut body["settings"]));
        search.create(self.name, &body)?;
        let (mut queue, mut ended) = (VecDeque::new(), false);
        let mut next = || {
            while queue.len() < 2 && !ended {
                interrupt::check()?;
                ended = !more(&mut |hit| {
                    if queue.back().is_none_or(|body: &Body| search.is_full(body)) {
                        queue.push_back(Body::default());
                    }
                    if let Some(body) = queue.back_mut() {
                        body.push(hit);
                    }
                })?;
            }
            Ok(queue.pop_front())
        };
        search.write(self.name, &mut next, halt, progress)?;
        if let Some(after) = after {
            search.set(self.name, &after)?;
        }
        search.refresh(self.name)
    }

    /// Writes the receipt, where no alias says that it is whole.
    pub(super) fn confirm(&self, search: &Search) -> anyhow::Result<()> {
        if !self.late {
            return Ok(());
        }
        search.confirm(self.name, &self.meta(self.receipt())?)
    }

    fn receipt(&self) -> Value {
        json!({
            "pack": self.pack.manifest.name,
            "index": self.index.name,
            "digest": self.pack.digest(Part::Opensearch),
            "documents": self.documents,
        })
    }

    /// `_meta` of the mapping: the application's own, and our receipt.
    fn meta(&self, receipt: Value) -> anyhow::Result<Value> {
        let body = self.pack.json(&self.index.settings)?;
        let mut meta =
            body.pointer("/mappings/_meta").and_then(Value::as_object).cloned().unwrap_or_default();
        meta.insert(RECEIPT.to_owned(), receipt);
        Ok(Value::Object(meta))
    }

    /// What makes its aliases lead to it.
    pub(super) fn aliases(&self) -> anyhow::Result<Vec<Value>> {
        let settings = self.pack.json(&self.index.settings)?;
        let add = |alias: &String| {
            let mut add = settings["aliases"][alias].as_object().cloned().unwrap_or_default();
            let names = [("index", self.name), ("alias", alias)];
            add.extend(names.map(|(key, of)| (key.to_owned(), of.into())));
            json!({"add": add})
        };
        Ok(self.index.aliases.iter().map(add).collect())
    }
}

/// Sets what makes loading cheap, and tells what the settings were.
fn while_loading(settings: &mut Value) -> Value {
    let mut after = json!({});
    for (name, loading) in [("refresh_interval", "-1"), ("number_of_replicas", "0")] {
        // Servers take a setting under each of these names.
        let mut wanted = Value::Null;
        if let Some(settings) = settings.as_object_mut() {
            for key in [name.to_owned(), format!("index.{name}")] {
                wanted = settings.shift_remove(&key).unwrap_or(wanted);
            }
            if let Some(nested) = settings.get_mut("index").and_then(Value::as_object_mut) {
                wanted = nested.shift_remove(name).unwrap_or(wanted);
            }
        }
        settings[name] = Value::from(loading);
        after[format!("index.{name}")] = wanted;
    }
    after
}

/// The index behind the aliases: its name tells the content, unless programs use that name itself.
pub(super) fn real(pack: &Pack, index: &pack::Index) -> String {
    if index.exact {
        return index.name.clone();
    }
    format!("{}-{}", index.name, &pack.digest(Part::Opensearch)[..SUFFIX])
}

/// The index that stands for the one of the pack: one that was made from the database has a name of its own. What is left of a load that was
/// cut short has no aliases, and is one only where there is no other.
fn serving(pack: &Pack, existing: &Existing, index: &pack::Index) -> Option<String> {
    let name = real(pack, index);
    let stands = |(found, of): &(&String, &Index)| {
        **found == name || (is_ours(pack, of) && receipt(of)["index"] == index.name)
    };
    let served = |(_, of): &(&String, &Index)| index.aliases.iter().all(|alias| of.aliases.contains(alias));
    let all: Vec<(&String, &Index)> = existing.iter().filter(stands).collect();
    let best = all.iter().find(|one| served(one)).or(all.first());
    best.map(|(name, _)| (*name).clone())
}

pub(super) fn receipt(index: &Index) -> &Value {
    &index.meta[RECEIPT]
}

pub(super) fn indices(pack: &Pack) -> &[pack::Index] {
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
    fn settings_come_back_after_loading() {
        let mut settings = json!({"number_of_shards": 1, "index": {"number_of_replicas": 2}});
        let after = while_loading(&mut settings);
        assert_eq!(after, json!({"index.refresh_interval": null, "index.number_of_replicas": 2}));
        let while_loaded =
            json!({"number_of_shards": 1, "index": {}, "refresh_interval": "-1", "number_of_replicas": "0"});
        assert_eq!(settings, while_loaded);
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
    fn what_is_left_of_a_load_does_not_stand_for_what_is_served() {
        let pack = pack();
        let first = &indices(&pack)[0];
        let aliases: Vec<&str> = first.aliases.iter().map(String::as_str).collect();
        let meta = json!({"ecosystem": {"pack": "demo", "index": first.name, "digest": "x"}});
        let mut existing = Existing::from([(format!("{}-00000000", first.name), index(&[], meta.clone()))]);
        assert_eq!(serving(&pack, &existing, first), Some(format!("{}-00000000", first.name)));
        existing.insert(format!("{}-ffffffff", first.name), index(&aliases, meta));
        assert_eq!(serving(&pack, &existing, first), Some(format!("{}-ffffffff", first.name)));
        existing.insert(real(&pack, first), index(&[], Value::Null));
        assert_eq!(serving(&pack, &existing, first), Some(format!("{}-ffffffff", first.name)));
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
