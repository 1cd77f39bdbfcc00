//! Reading an index as a whole, page by page, and what is set in it and in templates.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Context;
use ecosystem_core::capture;
use ecosystem_core::endpoint::encoded;
use ecosystem_core::pack::Templates;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::bulk::{Search, rejected};

/// A page is bounded by its number of documents; this is for documents that are unusually large.
const MAX_PAGE: u64 = 96 * 1024 * 1024;
/// Settings and mappings of all indices.
const MAX_SETTINGS: u64 = 64 * 1024 * 1024;
/// How long the server keeps its place between two pages.
const KEEP: &str = "2m";

/// A document of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<'a> {
    pub id: Cow<'a, str>,
    pub version: Option<u64>,
    pub routing: Option<Cow<'a, str>>,
    /// JSON, as it was sent.
    pub source: &'a str,
}

/// A document as a search tells of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    #[serde(rename = "_version")]
    version: Option<u64>,
    #[serde(borrow, rename = "_routing")]
    routing: Option<Cow<'a, str>>,
    /// It is not there where a mapping says that it is not kept.
    #[serde(borrow, rename = "_source")]
    source: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Hit<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Told { id, version, routing, source } = Told::deserialize(deserializer)?;
        Ok(Self { id, version, routing, source: source.get() })
    }
}

/// In which order documents are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they lie on the disk, which is cheapest.
    Disk,
    /// By their ids, byte by byte: the same documents come in the same order.
    Id,
}

/// An answer with hits.
#[derive(Deserialize)]
struct Page<'a> {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow, rename = "_scroll_id")]
    place: Option<Cow<'a, str>>,
    #[serde(borrow)]
    hits: Option<Hits<'a>>,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow, default)]
    hits: Vec<Hit<'a>>,
}

impl Search {
    /// All that is set in every index that is open and not hidden, as OpenSearch tells it.
    pub fn described(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let answer = self.client.call_within("GET", "/*?expand_wildcards=open", None, MAX_SETTINGS);
        Ok(serde_json::from_value(self.json("describe indices", answer)?)?)
    }

    /// The bytes that the documents of an index take on the disk.
    pub fn size(&self, index: &str) -> anyhow::Result<u64> {
        let index = encoded(index);
        let path = format!("/{index}/_stats/store?filter_path=_all.primaries.store.size_in_bytes");
        let answer = self.json("measure an index", self.client.get(&path))?;
        Ok(answer.pointer("/_all/primaries/store/size_in_bytes").and_then(Value::as_u64).unwrap_or(0))
    }

    /// The templates of applications.
    pub fn templates(&self) -> anyhow::Result<Templates> {
        let get = |path: &str| {
            self.json("read templates", self.client.call_within("GET", path, None, MAX_SETTINGS))
        };
        Ok(capture::templates(&get("/_index_template")?, &get("/_component_template")?, &get("/_template")?))
    }

    /// Makes a template, or replaces it.
    pub fn put_template(&self, kind: &str, name: &str, body: &Value) -> anyhow::Result<()> {
        let path = format!("/{kind}/{}", encoded(name));
        self.json(&format!("make the template {name}"), self.client.send("PUT", &path, body)).map(drop)
    }

    /// Hands out every document of an index or alias, `page` of them at a time.
    pub fn read(
        &self,
        index: &str,
        page: usize,
        order: Order,
        each: &mut dyn FnMut(&Hit<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let what = format!("read {index}");
        let filter = "filter_path=_scroll_id,timed_out,_shards.failed,hits.hits._id,hits.hits._version,hits.hits._routing,hits.hits._source";
        let index = encoded(index);
        let mut path = format!("/{index}/_search?scroll={KEEP}&allow_partial_search_results=false&{filter}");
        let sort = match order {
            Order::Disk => json!("_doc"),
            // An index without any mapping does not even know that documents have ids.
            Order::Id => json!({"_id": {"order": "asc", "unmapped_type": "keyword"}}),
        };
        let mut body = json!({"size": page, "sort": [sort], "version": true});
        let mut place = None;
        let mut result = Ok(());
        loop {
            let answer = self
                .client
                .call_within("POST", &path, Some(("application/json", body.to_string().as_bytes())), MAX_PAGE)
                .with_context(|| format!("OpenSearch cannot {what}"))?;
            if !answer.ok() {
                result = Err(rejected(&what, &answer.reason()).into());
                break;
            }
            let answer: Page<'_> = serde_json::from_slice(&answer.body)
                .with_context(|| format!("OpenSearch was asked to {what}: an unknown answer"))?;
            if answer.timed_out || answer.shards.failed > 0 {
                result = Err(rejected(&what, "some of its shards did not answer").into());
                break;
            }
            place = answer.place.map(Cow::into_owned).or(place);
            let hits = answer.hits.map(|hits| hits.hits).unwrap_or_default();
            if hits.is_empty() {
                break;
            }
            result = hits.iter().try_for_each(&mut *each);
            if result.is_err() {
                break;
            }
            path = format!("/_search/scroll?{filter}");
            body = json!({"scroll": KEEP, "scroll_id": place});
        }
        if let Some(place) = place {
            // It would forget by itself.
            let _forgotten = self.client.send("DELETE", "/_search/scroll", &json!({"scroll_id": [place]}));
        }
        result
    }
}
