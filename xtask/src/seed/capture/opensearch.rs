//! The OpenSearch part of a new pack: every index with its settings, mappings, aliases and documents, and the templates.

use std::collections::{BTreeMap, BTreeSet};

use ecosystem_core::capture;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{Content, FilePath, Index, Indices};
use ecosystem_core::tenant::is_of_any;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::making::Making;
use super::super::{Counts, document};
use crate::client::opensearch::{Order, Search};
use crate::event::{Task, Unit};
use crate::sys::interrupt;

/// About so many bytes of the disk are asked for at once; they are compressed there. And never more than so many documents.
const PAGE: u64 = 2 * 1024 * 1024;
const MAX_PAGE: u64 = 1_000;

/// What was taken out of a cluster.
pub(super) struct Taken {
    pub(super) part: Indices,
    pub(super) counts: Counts,
    pub(super) ids: BTreeMap<String, Ids>,
}

/// The ids of the documents of an index, by their digests: 8 bytes each.
#[derive(Debug, Default)]
pub(super) struct Ids(Vec<u64>);

impl Ids {
    fn add(&mut self, id: &str) {
        self.0.push(short(id));
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only after the last was added.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.binary_search(&short(id)).is_ok()
    }
}

pub(super) fn take(
    endpoint: &Endpoint,
    tenants: &BTreeSet<String>,
    making: &Making,
    files: &mut BTreeMap<FilePath, Content>,
    task: &Task<'_>,
) -> anyhow::Result<Taken> {
    let search = Search::open(endpoint)?;
    let (mut described, mut templates) = (search.described()?, search.templates()?);
    described.retain(|name, _| !is_of_any(name, tenants));
    let kinds =
        [&mut templates.component_templates, &mut templates.index_templates, &mut templates.templates];
    for kind in kinds {
        kind.retain(|name, _| !is_of_any(name, tenants));
    }
    // What is left of a load that was cut short is no index of the application.
    described.retain(|name, told| !is_left_over(name, told));
    let mut held = BTreeMap::new();
    for real in described.keys() {
        // What was written a moment ago is to be found, too.
        search.refresh(real)?;
        held.insert(real, search.count(real)?);
    }
    let total = held.values().sum();
    let (mut indices, mut counts, mut ids, mut before) = (Vec::new(), Counts::new(), BTreeMap::new(), 0);
    for (real, told) in &described {
        let found = capture::index(real, told);
        let path = |end: &str| format!("opensearch/{}.{end}", found.name);
        let settings = serde_json::to_string_pretty(&found.settings)? + "\n";
        let settings = making.whole(&path("json"), &settings, files)?;
        let mut file = making.file(&path("ndjson"))?;
        let (mut of_index, mut line) = (Ids::default(), Vec::new());
        let each = search.size(real)? / held[real].max(1);
        let page = usize::try_from((PAGE / each.max(1)).clamp(10, MAX_PAGE))?;
        search.read(real, page, Order::Id, &mut |hit| {
            line.clear();
            document::write(hit, &mut line);
            file.add(&line)?;
            of_index.add(&hit.id);
            if file.lines().is_multiple_of(500) {
                interrupt::check()?;
                task.progress(before + file.lines(), Some(total), Unit::Items);
            }
            Ok(())
        })?;
        before += file.lines();
        counts.insert(found.name.clone(), file.lines());
        of_index.0.sort_unstable();
        ids.insert(found.name.clone(), of_index);
        indices.push(Index {
            name: found.name,
            exact: found.exact,
            aliases: found.aliases.into_iter().collect(),
            settings,
            documents: file.close(files)?,
            id: None,
            table: None,
            from_rows: None,
        });
    }
    indices.sort_by(|a, b| a.name.cmp(&b.name));
    let templates = if templates.is_empty() {
        None
    } else {
        let text = serde_json::to_string_pretty(&templates)? + "\n";
        Some(making.whole("opensearch/templates.json", &text, files)?)
    };
    Ok(Taken { part: Indices { indices, templates }, counts, ids })
}

/// Whether an index was made for another name, and never got its aliases.
fn is_left_over(name: &str, told: &Value) -> bool {
    let made_for = told.pointer("/mappings/_meta/ecosystem/index").and_then(Value::as_str);
    let aliases = told["aliases"].as_object().is_some_and(|aliases| !aliases.is_empty());
    !aliases && made_for.is_some_and(|made_for| made_for != name)
}

fn short(id: &str) -> u64 {
    let hash = Sha256::digest(id);
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}
