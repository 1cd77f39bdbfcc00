//! Documents beside the pack. Most are what was sent, byte by byte; the others are brought into one form on both sides, with keys in order.

use std::collections::BTreeMap;

use anyhow::Context as _;
use ecosystem_core::capture;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::Index;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::document;
use super::super::opensearch::indices;
use super::super::pack::invalid;
use super::{Compared, Pack, VERSION};
use crate::client::opensearch::{Hit, Index as Found, Order, Search};
use crate::sys::interrupt;

/// So many documents that the pack did not bring are remembered by their ids. More are counted.
const MAX_ADDED: usize = 100_000;
/// About so much is asked for at once.
const PAGE: u64 = 2 * 1024 * 1024;

/// The documents of an index, by the digests of their ids.
pub(super) struct Held {
    pub(super) index: String,
    /// In the order of their ids.
    entries: Vec<Entry>,
    added: BTreeMap<u128, Added>,
}

/// A document that the pack did not bring.
struct Added {
    id: String,
    version: u32,
    met: bool,
}

/// A document of the pack.
struct Entry {
    id: u128,
    content: u64,
    /// What the document in the index says of its row's changes; 0 where it says nothing.
    version: u32,
    /// It is in the index.
    found: bool,
    /// A row stands for the same.
    met: bool,
}

impl Held {
    /// A row with this key: the version that its document shows, if there is one.
    pub(super) fn meet(&mut self, id: &str) -> Option<u64> {
        let hash = short(id.as_bytes());
        if let Ok(at) = self.entries.binary_search_by_key(&hash, |entry| entry.id) {
            let entry = &mut self.entries[at];
            entry.met = true;
            return entry.found.then_some(entry.version.into());
        }
        self.added.get_mut(&hash).map(|added| {
            added.met = true;
            added.version.into()
        })
    }

    /// The documents that no row stands for.
    pub(super) fn unmet(&self, pack: &Pack, index: &Index) -> anyhow::Result<super::Found> {
        let mut unmet = self.named(pack, index, |entry| entry.found && !entry.met)?;
        self.added.values().filter(|added| !added.met).for_each(|added| unmet.add(&added.id));
        Ok(unmet)
    }

    /// The ids of some documents of the pack, which is read once more where there are any.
    fn named(
        &self,
        pack: &Pack,
        index: &Index,
        wanted: impl Fn(&Entry) -> bool,
    ) -> anyhow::Result<super::Found> {
        let mut left = self.entries.iter().filter(|entry| wanted(entry)).count() as u64;
        let mut found = super::Found::default();
        let mut blocks = pack.blocks(&index.documents)?;
        while left > 0
            && let Some(block) = blocks.next()?
        {
            interrupt::check()?;
            for line in block.lines() {
                let id = hit_of(index, line)?.id;
                let at = self.entries.binary_search_by_key(&short(id.as_bytes()), |entry| entry.id);
                if at.is_ok_and(|at| wanted(&self.entries[at])) {
                    found.add(&id);
                    left -= 1;
                }
            }
        }
        Ok(found)
    }
}

pub(super) fn compare(
    pack: &Pack,
    endpoint: &Endpoint,
    progress: &dyn Fn(u64),
) -> anyhow::Result<(Vec<Compared>, Vec<Held>)> {
    let search = Search::open(endpoint)?;
    let existing = search.indices()?;
    let (mut all, mut held, mut before) = (Vec::new(), Vec::new(), 0);
    for index in indices(pack) {
        let known = pack.known(&index.documents)?;
        let (compared, documents) = one(pack, index, &existing, &search, &|done| progress(before + done))?;
        before += known.lines;
        all.push(compared);
        held.extend(documents);
    }
    Ok((all, held))
}

/// The index that stands for the one of the pack. Applications use the aliases: what is behind all of them counts, whoever made it.
fn behind(index: &Index, existing: &BTreeMap<String, Found>) -> Result<String, String> {
    if index.exact {
        let there = existing.contains_key(&index.name);
        return if there { Ok(index.name.clone()) } else { Err("the index is not there".to_owned()) };
    }
    if let Some(alias) =
        index.aliases.iter().find(|alias| !existing.values().any(|index| index.aliases.contains(*alias)))
    {
        return Err(format!("the alias {alias} is not there"));
    }
    let has_all = |found: &&Found| index.aliases.iter().all(|alias| found.aliases.contains(alias));
    let names: Vec<&str> =
        existing.iter().filter(|(_, found)| has_all(found)).map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(format!("no index has all of the aliases {}", index.aliases.join(", "))),
        several => Err(format!("its aliases lead to several: {}", several.join(", "))),
    }
}

fn one(
    pack: &Pack,
    index: &Index,
    existing: &BTreeMap<String, Found>,
    search: &Search,
    progress: &dyn Fn(u64),
) -> anyhow::Result<(Compared, Option<Held>)> {
    let known = pack.known(&index.documents)?;
    let problem = |text: String| Ok((Compared::problem(&index.name, known.lines, text), None));
    let real = &match behind(index, existing) {
        Ok(real) => real,
        Err(text) => return problem(text),
    };
    search.refresh(real)?;
    let (entries, sum_of_pack) = of_pack(pack, index)?;
    let mut held = Held { index: index.name.clone(), entries, added: BTreeMap::new() };
    let mut compared = Compared { name: index.name.clone(), in_pack: known.lines, ..Compared::default() };
    let page = PAGE / (known.bytes / known.lines.max(1)).max(1);
    let page = usize::try_from(page.clamp(20, 2_000)).unwrap_or(20);
    let versioned = super::super::postgresql::tables(pack)
        .iter()
        .any(|table| Some(&table.name) == index.table.as_ref() && table.columns.iter().any(|c| c == VERSION));
    let (mut sum, mut odd) = (0_u128, Vec::new());
    // Where the pack names a field for ids it knows of no versions.
    let known_version = |hit: &Hit<'_>| hit.version.filter(|_| index.id.is_none());
    search.read(real, page, Order::Disk, &mut |hit| {
        let (hash, content) = (short(hit.id.as_bytes()), digest(hit, known_version(hit)));
        let version = if versioned { version_of(hit) } else { 0 };
        compared.in_store += 1;
        if let Ok(at) = held.entries.binary_search_by_key(&hash, |entry| entry.id) {
            held.entries[at].found = true;
            held.entries[at].version = version;
            if held.entries[at].content == content {
                sum = sum.wrapping_add(content.into());
            } else {
                odd.push((hash, in_order(hit, known_version(hit))?));
            }
        } else {
            sum = sum.wrapping_add(content.into());
            compared.added.add(&hit.id);
            if held.added.len() < MAX_ADDED {
                held.added.insert(hash, Added { id: hit.id.clone().into_owned(), version, met: false });
            }
        }
        if compared.in_store.is_multiple_of(1_000) {
            interrupt::check()?;
            progress(compared.in_store.min(known.lines));
        }
        Ok(())
    })?;
    odd.sort_unstable();
    let changed = settle(pack, index, &odd, &mut sum)?;
    compared.changed = changed;
    compared.missing = held.named(pack, index, |entry| !entry.found)?;
    compared.checksum_of_pack = sum_of_pack.to_string();
    compared.checksum_of_store = sum.to_string();
    Ok((compared, Some(held)))
}

/// Which documents that are written in another way say something else, too. The pack is read once more for it.
fn settle(pack: &Pack, index: &Index, odd: &[(u128, u64)], sum: &mut u128) -> anyhow::Result<super::Found> {
    let mut changed = super::Found::default();
    let mut left = odd.len();
    let mut blocks = pack.blocks(&index.documents)?;
    while left > 0
        && let Some(block) = blocks.next()?
    {
        interrupt::check()?;
        for line in block.lines() {
            let hit = hit_of(index, line)?;
            let Ok(at) = odd.binary_search_by_key(&short(hit.id.as_bytes()), |(id, _)| *id) else { continue };
            left = left.saturating_sub(1);
            let (content, theirs) = (digest(&hit, hit.version), odd[at].1);
            if in_order(&hit, hit.version)? == theirs {
                *sum = sum.wrapping_add(content.into());
            } else {
                *sum = sum.wrapping_add(theirs.into());
                changed.add(&hit.id);
            }
        }
    }
    Ok(changed)
}

/// What the pack says, in the order of the ids, and the checksum of all.
fn of_pack(pack: &Pack, index: &Index) -> anyhow::Result<(Vec<Entry>, u128)> {
    let known = pack.known(&index.documents)?;
    let mut entries = Vec::with_capacity(usize::try_from(known.lines)?.min(MAX_ENTRIES));
    let mut sum = 0_u128;
    let mut blocks = pack.blocks(&index.documents)?;
    while let Some(block) = blocks.next()? {
        interrupt::check()?;
        for line in block.lines() {
            let hit = hit_of(index, line)?;
            let (id, content) = (short(hit.id.as_bytes()), digest(&hit, hit.version));
            sum = sum.wrapping_add(content.into());
            entries.push(Entry { id, content, version: 0, found: false, met: false });
        }
    }
    blocks.confirm(known)?;
    entries.sort_unstable_by_key(|entry| entry.id);
    Ok((entries, sum))
}

/// What a manifest says of a number of lines is believed so far.
const MAX_ENTRIES: usize = 1_000_000;

fn hit_of<'a>(index: &Index, line: &'a [u8]) -> anyhow::Result<Hit<'a>> {
    Ok(document::read(line, index).map_err(|reason| invalid(format!("{}: {reason}", index.documents)))?)
}

/// What a document says of the changes of its row; 0 where it says nothing.
fn version_of(hit: &Hit<'_>) -> u32 {
    let whole: Option<Value> = hit.source.parse().ok();
    let number =
        whole.and_then(|whole| whole[VERSION].as_u64()).and_then(|number| u32::try_from(number).ok());
    number.unwrap_or(0)
}

/// The indices whose mapping is another one than when the pack was captured: its documents may not fit the application any more.
pub(super) fn other_mappings(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<Vec<String>> {
    let search = Search::open(endpoint)?;
    let (existing, described) = (search.indices()?, search.described()?);
    let mut other = Vec::new();
    for index in indices(pack) {
        let Ok(real) = behind(index, &existing) else { continue };
        let now = described.get(&real).map(|told| capture::index(&real, told).settings);
        let then = pack.json(&index.settings)?;
        if now.is_some_and(|now| now["mappings"] != then["mappings"]) {
            other.push(format!("the mapping of {real} is not the one of the pack"));
        }
    }
    Ok(other)
}

/// The digest of a document and, where the pack knows it, of its version.
fn digest(hit: &Hit<'_>, version: Option<u64>) -> u64 {
    mixed(hit.source.as_bytes(), version)
}

/// The same with all keys in order and without space: it does not depend on who wrote it.
fn in_order(hit: &Hit<'_>, version: Option<u64>) -> anyhow::Result<u64> {
    let mut value: Value =
        hit.source.parse().with_context(|| format!("the document {} is no JSON", hit.id))?;
    value.sort_all_objects();
    Ok(mixed(value.to_string().as_bytes(), version))
}

fn mixed(bytes: &[u8], version: Option<u64>) -> u64 {
    u64::from_be_bytes(first(bytes)).wrapping_add(version.map_or(0, |version| version.wrapping_mul(ODD)))
}

/// Any odd number: two versions never make the same difference.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

fn short(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(first(bytes))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let hash = Sha256::digest(bytes);
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(source: &str) -> Hit<'_> {
        Hit { id: "x".into(), version: None, routing: None, source }
    }

    #[test]
    fn order_of_keys_and_space_are_no_difference() {
        let digest = |source, version| in_order(&hit(source), version).unwrap();
        let one = digest(r#"{"a": 1, "b": {"y": [1, 2], "x": null}}"#, None);
        assert_eq!(one, digest(r#"{"b":{"x":null,"y":[1,2]},"a":1}"#, None));
        assert_ne!(one, digest(r#"{"b":{"x":null,"y":[2,1]},"a":1}"#, None));
        assert_ne!(digest("{}", Some(1)), digest("{}", Some(2)));
        assert!(in_order(&hit("{"), None).is_err());
    }

    #[test]
    fn the_version_of_a_row_is_the_one_of_its_own_document() {
        let version = |source| version_of(&hit(source));
        assert_eq!(version(r#"{"a":1,"version_id":3}"#), 3);
        assert_eq!(version(r#"{"parent":{"version_id":5},"version_id":4}"#), 4);
        assert_eq!(version(r#"{"parent":{"version_id":5}}"#), 0);
        assert_eq!(version(r#"{"version_id":"x"}"#), 0);
    }

    #[test]
    fn an_index_is_the_one_behind_all_of_its_aliases() {
        let index = |name: &str, exact, aliases: &[&str]| Index {
            name: name.to_owned(),
            exact,
            aliases: aliases.iter().map(ToString::to_string).collect(),
            settings: "s".to_owned().try_into().unwrap(),
            documents: "d".to_owned().try_into().unwrap(),
            id: None,
            table: None,
            from_rows: None,
        };
        let found = |aliases: &[&str]| Found {
            aliases: aliases.iter().map(ToString::to_string).collect(),
            meta: Value::Null,
        };
        let existing = BTreeMap::from([
            ("records-1".to_owned(), found(&["all", "records"])),
            ("drafts-1".to_owned(), found(&["all", "drafts"])),
            ("odd".to_owned(), found(&[])),
        ]);
        let behind = |name, exact, aliases: &[&str]| behind(&index(name, exact, aliases), &existing);
        assert_eq!(behind("records", false, &["all", "records"]), Ok("records-1".into()));
        assert_eq!(behind("odd", true, &[]), Ok("odd".into()));
        let told = |result: Result<String, String>| result.unwrap_err();
        assert_eq!(told(behind("records", true, &[])), "the index is not there");
        assert_eq!(told(behind("x", false, &["all", "gone"])), "the alias gone is not there");
        assert_eq!(
            told(behind("x", false, &["drafts", "records"])),
            "no index has all of the aliases drafts, records"
        );
        assert_eq!(told(behind("x", false, &["all"])), "its aliases lead to several: drafts-1, records-1");
    }

    #[test]
    fn rows_meet_documents_by_their_ids() {
        let entry =
            |id: &str, found| Entry { id: short(id.as_bytes()), content: 0, version: 7, found, met: false };
        let mut entries = vec![entry("a", true), entry("b", false)];
        entries.sort_unstable_by_key(|entry| entry.id);
        let added = BTreeMap::from([(short(b"c"), Added { id: "c".to_owned(), version: 0, met: false })]);
        let mut held = Held { index: "i".to_owned(), entries, added };
        assert_eq!(["a", "b", "c", "d"].map(|id| held.meet(id)), [Some(7), None, Some(0), None]);
    }
}
