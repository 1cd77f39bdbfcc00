//! Loading into OpenSearch: indices, documents by `_bulk`, the receipt in a mapping's `_meta`, and the switch of aliases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use serde_json::{Value, json};

use super::super::halt::Halt;
use super::super::http::{Http, Reply};
use super::super::unusable;
use super::{ROLE, ours};

/// Documents and bytes of one request: 2,000 of 1 KB is the best trade, larger bodies bring the circuit breaker nearer.
const MAX_DOCUMENTS: usize = 2_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How often a request is repeated that the server is too busy for, and how long the first wait is; it doubles up to 32 times that.
const RETRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// A cluster that is ours.
pub struct Search {
    client: Http,
}

/// What is known of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub aliases: BTreeSet<String>,
    /// `_meta` of the mapping; null where there is none.
    pub meta: Value,
}

/// A document with its id: one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    pub id: String,
    pub source: &'a str,
}

impl Search {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let client = Http::new(endpoint, ROLE, Duration::from_mins(1));
        ours(endpoint, &client).map_err(|attempt| unusable(endpoint, attempt))?;
        Ok(Self { client })
    }

    /// The real indices behind these names, which may be aliases or not exist.
    pub fn indices(&self, names: &[&str]) -> anyhow::Result<BTreeMap<String, Index>> {
        let path = format!("/{}?ignore_unavailable=true&allow_no_indices=true", names.join(","));
        let found = self.json("read indices", self.client.get(&path))?;
        let index = |index: &Value| Index {
            aliases: index["aliases"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
            meta: index.pointer("/mappings/_meta").cloned().unwrap_or(Value::Null),
        };
        Ok(found
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), index(value)))
            .collect())
    }

    /// The number of documents of an index.
    pub fn count(&self, index: &str) -> anyhow::Result<u64> {
        let answer = self.json("count documents", self.client.get(&format!("/{index}/_count")))?;
        answer["count"].as_u64().context("OpenSearch's count is no number")
    }

    /// Makes an index from `settings` and `mappings`.
    pub fn create(&self, index: &str, body: &Value) -> anyhow::Result<()> {
        self.json(&format!("make the index {index}"), self.client.send("PUT", &format!("/{index}"), body))
            .map(drop)
    }

    pub fn delete(&self, index: &str) -> anyhow::Result<()> {
        self.json(&format!("delete the index {index}"), self.client.delete(&format!("/{index}"))).map(drop)
    }

    /// Changes settings of an index.
    pub fn set(&self, index: &str, settings: &Value) -> anyhow::Result<()> {
        let path = format!("/{index}/_settings");
        self.json(&format!("change {index}"), self.client.send("PUT", &path, settings)).map(drop)
    }

    /// Makes all documents visible.
    pub fn refresh(&self, index: &str) -> anyhow::Result<()> {
        let answer = self.client.call("POST", &format!("/{index}/_refresh"), None);
        self.json(&format!("refresh {index}"), answer).map(drop)
    }

    /// Writes `_meta` of the mapping, as a whole.
    pub fn confirm(&self, index: &str, meta: &Value) -> anyhow::Result<()> {
        let path = format!("/{index}/_mapping");
        self.json(&format!("mark {index}"), self.client.send("PUT", &path, &json!({"_meta": meta}))).map(drop)
    }

    /// Changes aliases and removes indices, all in one step.
    pub fn switch(&self, actions: &[Value]) -> anyhow::Result<()> {
        let answer = self.client.send("POST", "/_aliases", &json!({"actions": actions}));
        self.json("switch aliases", answer).map(drop)
    }

    /// Writes documents; what is there under the same id is replaced. Waits and repeats what the server is too busy for.
    pub fn write(
        &self,
        index: &str,
        documents: &[Document<'_>],
        halt: &Halt,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<()> {
        let mut written = 0;
        for batch in batches(documents) {
            let mut pending: Vec<&Document<'_>> = batch.iter().collect();
            let mut retry = 0;
            while !pending.is_empty() {
                let answer = self
                    .client
                    .call(
                        "POST",
                        &format!("/{index}/_bulk"),
                        Some(("application/x-ndjson", body(&pending).as_bytes())),
                    )
                    .context("OpenSearch does not take documents")?;
                let before = pending.len();
                pending = busy(&answer, pending)
                    .map_err(|reason| rejected(&format!("index into {index}"), &reason))?;
                written += (before - pending.len()) as u64;
                progress(written);
                if pending.is_empty() {
                    break;
                }
                if retry == RETRIES || halt.pause(PAUSE * 2_u32.pow(retry.min(5))) {
                    let reason =
                        format!("it is too busy for {} documents ({})", pending.len(), answer.reason());
                    return Err(rejected(&format!("index into {index}"), &reason).into());
                }
                retry += 1;
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as a verb of the cluster, like its neighbours")]
    fn json(&self, what: &str, answer: std::io::Result<Reply>) -> anyhow::Result<Value> {
        let answer = answer.with_context(|| format!("OpenSearch cannot {what}"))?;
        if !answer.ok() {
            return Err(rejected(what, &answer.reason()).into());
        }
        answer
            .json()
            .with_context(|| format!("OpenSearch was asked to {what} and answers in an unknown form"))
    }
}

fn rejected(what: &str, reason: &str) -> Failure {
    Failure::new(Kind::Data, "data-rejected", format!("OpenSearch refuses to {what}: {reason}"))
}

/// Splits by number and by size. A single document larger than the limit goes alone.
fn batches<'d, 's>(documents: &'d [Document<'s>]) -> Vec<&'d [Document<'s>]> {
    let (mut all, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, document) in documents.iter().enumerate() {
        let full = at - from == MAX_DOCUMENTS || bytes + document.source.len() > MAX_BYTES;
        if full && at > from {
            all.push(&documents[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += document.source.len();
    }
    all.push(&documents[from..]);
    all
}

fn body(documents: &[&Document<'_>]) -> String {
    let mut body = String::with_capacity(documents.iter().map(|d| d.source.len() + 64).sum());
    for document in documents {
        body.push_str(&json!({"index": {"_id": document.id}}).to_string());
        body.push('\n');
        body.push_str(document.source);
        body.push('\n');
    }
    body
}

/// The documents that have to be sent again. An error: some were refused for good.
fn busy<'d, 's>(answer: &Reply, sent: Vec<&'d Document<'s>>) -> Result<Vec<&'d Document<'s>>, String> {
    // The circuit breaker refuses a request as a whole; that answer has no items, and no `errors` either.
    if [429, 503].contains(&answer.status) {
        return Ok(sent);
    }
    let parsed = answer.json().ok().filter(|_| answer.ok());
    let items = parsed.as_ref().and_then(|answer| answer["items"].as_array());
    let Some(items) = items.filter(|items| items.len() == sent.len()) else { return Err(answer.reason()) };
    let (mut again, mut refused) = (Vec::new(), Vec::new());
    for (document, item) in sent.into_iter().zip(items) {
        match item.pointer("/index/status").and_then(Value::as_u64) {
            Some(200..300) => {}
            Some(429 | 503) => again.push(document),
            _ => {
                let reason =
                    item.pointer("/index/error/reason").and_then(Value::as_str).unwrap_or("no reason given");
                refused.push(format!("{}: {reason}", document.id));
            }
        }
    }
    if refused.is_empty() {
        return Ok(again);
    }
    let more = refused.len().saturating_sub(3);
    refused.truncate(3);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Err(format!("{}{more}", refused.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(count: usize) -> Vec<Document<'static>> {
        (0..count).map(|n| Document { id: n.to_string(), source: "{}" }).collect()
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, body: body.to_string().into_bytes() }
    }

    fn again(answer: &Reply, documents: &[Document<'_>]) -> Result<Vec<String>, String> {
        busy(answer, documents.iter().collect()).map(|left| left.iter().map(|d| d.id.clone()).collect())
    }

    #[test]
    fn a_refused_request_is_sent_again_as_a_whole() {
        let answer = reply(429, &json!({"error": {"reason": "data too large"}, "status": 429}));
        assert_eq!(again(&answer, &documents(2)), Ok(vec!["0".into(), "1".into()]));
    }

    #[test]
    fn of_a_mixed_answer_only_what_was_too_much_is_sent_again() {
        let items =
            json!([{"index": {"status": 201}}, {"index": {"status": 429}}, {"index": {"status": 200}}]);
        let answer = reply(200, &json!({"errors": true, "items": items}));
        assert_eq!(again(&answer, &documents(3)), Ok(vec!["1".into()]));
    }

    #[test]
    fn a_document_that_does_not_fit_is_named() {
        let bad = json!({"index": {"status": 400, "error": {"reason": "failed to parse field [x]"}}});
        let answer = reply(200, &json!({"errors": true, "items": vec![bad; 5]}));
        let reason = again(&answer, &documents(5)).unwrap_err();
        assert!(
            reason.starts_with("0: failed to parse field [x]; 1:") && reason.ends_with("and 2 more"),
            "{reason}"
        );
        assert!(again(&reply(200, &json!({"items": []})), &documents(1)).is_err());
        assert!(again(&reply(404, &json!({"error": "no"})), &documents(1)).is_err());
    }

    #[test]
    fn batches_keep_order_and_limits() {
        let many = documents(4_500);
        let sizes: Vec<usize> = batches(&many).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2_000, 2_000, 500]);
        let large = "x".repeat(3 * 1024 * 1024);
        let three: Vec<Document<'_>> =
            (0..3).map(|n| Document { id: n.to_string(), source: &large }).collect();
        assert_eq!(batches(&three).len(), 3);
        assert_eq!(body(&[&documents(1)[0]]), "{\"index\":{\"_id\":\"0\"}}\n{}\n");
    }
}
