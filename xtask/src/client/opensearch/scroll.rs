//! Reading an index as a whole: page by page, in the order in which it lies on the disk.

use anyhow::Context;
use serde_json::{Value, json};

use super::bulk::{Search, rejected};

/// A page is bounded by its number of documents; this is for documents that are unusually large.
const MAX_PAGE: u64 = 96 * 1024 * 1024;
/// How long the server keeps its place between two pages.
const KEEP: &str = "2m";

impl Search {
    /// Hands out every document of an index or alias with its id, `page` of them at a time.
    pub fn read(
        &self,
        index: &str,
        page: usize,
        each: &mut dyn FnMut(&str, Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let what = format!("read {index}");
        let filter = "filter_path=_scroll_id,hits.hits._id,hits.hits._source";
        let mut path = format!("/{index}/_search?scroll={KEEP}&{filter}");
        let mut body = json!({"size": page, "sort": ["_doc"]});
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
            let text = std::str::from_utf8(&answer.body).context("OpenSearch answers in no UTF-8")?;
            let mut answer: Value =
                text.parse().with_context(|| format!("OpenSearch was asked to {what}: an unknown answer"))?;
            place = answer["_scroll_id"].as_str().map(ToOwned::to_owned).or(place);
            let hits = match answer.pointer_mut("/hits/hits").map(Value::take) {
                Some(Value::Array(hits)) if !hits.is_empty() => hits,
                _ => break,
            };
            result = hits.into_iter().try_for_each(|mut hit| {
                let source = hit["_source"].take();
                each(hit["_id"].as_str().unwrap_or_default(), source)
            });
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
