//! Documents beside the pack. Most are what was sent, byte by byte; the others are brought into one form on both sides, with keys in order.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::Index;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::opensearch::indices;
use super::super::pack::{id_of, invalid};
use super::{Compared, Found, Pack};
use crate::client::opensearch::Search;
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
    added: BTreeMap<u128, (String, bool)>,
}

/// A document of the pack.
struct Entry {
    id: u128,
    content: u64,
    /// It is in the index.
    found: bool,
    /// A row stands for the same.
    met: bool,
}

impl Held {
    /// A row with this key: whether there is a document for it.
    pub(super) fn meet(&mut self, id: &str) -> bool {
        let hash = short(id.as_bytes());
        if let Ok(at) = self.entries.binary_search_by_key(&hash, |entry| entry.id) {
            self.entries[at].met = true;
            return self.entries[at].found;
        }
        self.added.get_mut(&hash).is_some_and(|(_, met)| {
            *met = true;
            true
        })
    }

    /// The documents that no row stands for.
    pub(super) fn unmet(&self, pack: &Pack, index: &Index) -> anyhow::Result<Found> {
        let mut unmet = self.named(pack, index, |entry| entry.found && !entry.met)?;
        self.added.values().filter(|(_, met)| !met).for_each(|(id, _)| unmet.add(id));
        Ok(unmet)
    }

    /// The ids of some documents of the pack, which is read once more where there are any.
    fn named(&self, pack: &Pack, index: &Index, wanted: impl Fn(&Entry) -> bool) -> anyhow::Result<Found> {
        let mut left = self.entries.iter().filter(|entry| wanted(entry)).count() as u64;
        let mut found = Found::default();
        let mut blocks = pack.blocks(&index.documents)?;
        while left > 0
            && let Some(block) = blocks.next()?
        {
            interrupt::check()?;
            for line in block.lines() {
                let id = id_of(line, &index.id).map_err(invalid)?;
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
    let (mut all, mut held, mut before) = (Vec::new(), Vec::new(), 0);
    for index in indices(pack) {
        let known = pack.known(&index.documents)?;
        let (compared, documents) = one(pack, index, &search, &|done| progress(before + done))?;
        before += known.lines;
        all.push(compared);
        held.extend(documents);
    }
    Ok((all, held))
}

fn one(
    pack: &Pack,
    index: &Index,
    search: &Search,
    progress: &dyn Fn(u64),
) -> anyhow::Result<(Compared, Option<Held>)> {
    let known = pack.known(&index.documents)?;
    let problem = |text: String| Ok((Compared::problem(&index.name, known.lines, text), None));
    // Applications use the aliases: what is behind them counts, whoever made it.
    let mut behind = Vec::new();
    for alias in &index.aliases {
        let found: Vec<String> = search.indices(&[alias])?.into_keys().collect();
        match found.as_slice() {
            [one] => behind.push(one.clone()),
            [] => return problem(format!("the alias {alias} is not there")),
            several => {
                return problem(format!("the alias {alias} leads to several: {}", several.join(", ")));
            }
        }
    }
    behind.dedup();
    let [real] = behind.as_slice() else {
        return problem(format!("its aliases lead to different indices: {}", behind.join(", ")));
    };
    search.refresh(real)?;
    let (entries, sum_of_pack) = of_pack(pack, index)?;
    let mut held = Held { index: index.name.clone(), entries, added: BTreeMap::new() };
    let mut compared = Compared { name: index.name.clone(), in_pack: known.lines, ..Compared::default() };
    let page = PAGE / (known.bytes / known.lines.max(1)).max(1);
    let page = usize::try_from(page.clamp(20, 2_000)).unwrap_or(20);
    let (mut sum, mut odd) = (0_u128, Vec::new());
    search.read(real, page, &mut |id, source| {
        let (hash, content) = (short(id.as_bytes()), digest(&source));
        compared.in_store += 1;
        if let Ok(at) = held.entries.binary_search_by_key(&hash, |entry| entry.id) {
            held.entries[at].found = true;
            if held.entries[at].content == content {
                sum = sum.wrapping_add(content.into());
            } else {
                odd.push((hash, in_order(source)));
            }
        } else {
            sum = sum.wrapping_add(content.into());
            compared.added.add(id);
            if held.added.len() < MAX_ADDED {
                held.added.insert(hash, (id.to_owned(), false));
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
fn settle(pack: &Pack, index: &Index, odd: &[(u128, u64)], sum: &mut u128) -> anyhow::Result<Found> {
    let mut changed = Found::default();
    let mut left = odd.len();
    let mut blocks = pack.blocks(&index.documents)?;
    while left > 0
        && let Some(block) = blocks.next()?
    {
        interrupt::check()?;
        for line in block.lines() {
            let id = id_of(line, &index.id).map_err(invalid)?;
            let Ok(at) = odd.binary_search_by_key(&short(id.as_bytes()), |(id, _)| *id) else { continue };
            left = left.saturating_sub(1);
            let (content, theirs) = (short_content(line), odd[at].1);
            if in_order(parsed(index, line)?) == theirs {
                *sum = sum.wrapping_add(content.into());
            } else {
                *sum = sum.wrapping_add(theirs.into());
                changed.add(&id);
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
            let id =
                id_of(line, &index.id).map_err(|reason| invalid(format!("{}: {reason}", index.documents)))?;
            let (id, content) = (short(id.as_bytes()), short_content(line));
            sum = sum.wrapping_add(content.into());
            entries.push(Entry { id, content, found: false, met: false });
        }
    }
    blocks.confirm(known)?;
    entries.sort_unstable_by_key(|entry| entry.id);
    Ok((entries, sum))
}

/// What a manifest says of a number of lines is believed so far.
const MAX_ENTRIES: usize = 1_000_000;

fn parsed(index: &Index, line: &[u8]) -> anyhow::Result<Value> {
    let wrong = |reason: String| invalid(format!("{}: {reason}", index.documents));
    let text = std::str::from_utf8(line).map_err(|error| wrong(error.to_string()))?;
    Ok(text.parse().map_err(|error: serde_json::Error| wrong(error.to_string()))?)
}

/// The digest of a document as it would be written without space.
fn digest(value: &Value) -> u64 {
    short_content(value.to_string().as_bytes())
}

/// The same with all keys in order: it does not depend on who wrote it.
fn in_order(mut value: Value) -> u64 {
    value.sort_all_objects();
    digest(&value)
}

fn short_content(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(first(bytes))
}

fn short(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(first(bytes))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let hash = Sha256::digest(bytes);
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_of_keys_and_space_are_no_difference() {
        let one = r#"{"a": 1, "b": {"y": [1, 2], "x": null}}"#.parse().unwrap();
        assert_eq!(in_order(one), in_order(json!({"b": {"x": null, "y": [1, 2]}, "a": 1})));
        assert_ne!(in_order(json!([1, 2])), in_order(json!([2, 1])));
    }

    #[test]
    fn rows_meet_documents_by_their_ids() {
        let entry = |id: &str, found| Entry { id: short(id.as_bytes()), content: 0, found, met: false };
        let mut entries = vec![entry("a", true), entry("b", false)];
        entries.sort_unstable_by_key(|entry| entry.id);
        let added = BTreeMap::from([(short(b"c"), ("c".to_owned(), false))]);
        let mut held = Held { index: "i".to_owned(), entries, added };
        assert_eq!(["a", "b", "c", "d"].map(|id| held.meet(id)), [true, false, true, false]);
    }
}
