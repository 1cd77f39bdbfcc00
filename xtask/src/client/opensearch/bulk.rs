//! Loading into OpenSearch: indices, documents by `_bulk`, the receipt in a mapping's `_meta`, and the switch of aliases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context;
use ecosystem_core::endpoint::{Endpoint, encoded};
use ecosystem_core::failure::{Failure, Kind};
use serde_json::{Value, json};

use super::super::halt::Halt;
use super::super::http::{Http, Reply};
use super::super::unusable;
use super::{Hit, ROLE, ours};

/// Documents and bytes of one request: 2,000 of 1 KB is the best trade, larger bodies bring the circuit breaker nearer.
const MAX_DOCUMENTS: usize = 2_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// No request is made smaller than this.
const MIN_DOCUMENTS: usize = 50;

/// How often a request is repeated that the server is too busy for, and how long the first wait is; it doubles up to 32 times that.
const RETRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// How many requests are on their way: while the server works on one, the next one is read.
const CONNECTIONS: usize = 2;

/// A cluster that is ours.
pub struct Search {
    pub(super) client: Http,
    /// How many documents a request has: fewer when the server was asked for too much at once.
    documents: AtomicUsize,
}

/// What is known of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub aliases: BTreeSet<String>,
    /// `_meta` of the mapping; null where there is none.
    pub meta: Value,
}

/// Documents of one request, as they are sent.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// Where each document begins.
    starts: Vec<usize>,
}

impl Body {
    /// Adds a document, whose source is one line of JSON. One with a version keeps it, whatever was there before of an earlier one.
    pub fn push(&mut self, hit: &Hit<'_>) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(b"{\"index\":{\"_id\":");
        self.quoted(&hit.id);
        if let Some(version) = hit.version {
            let text = format!(",\"version\":{version},\"version_type\":\"external_gte\"");
            self.bytes.extend_from_slice(text.as_bytes());
        }
        if let Some(routing) = &hit.routing {
            self.bytes.extend_from_slice(b",\"routing\":");
            self.quoted(routing);
        }
        self.bytes.extend_from_slice(b"}}\n");
        self.bytes.extend_from_slice(hit.source.as_bytes());
        self.bytes.push(b'\n');
    }

    /// An id may hold anything; most hold nothing that has to be escaped.
    fn quoted(&mut self, text: &str) {
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            self.bytes.extend_from_slice(Value::from(text).to_string().as_bytes());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn document(&self, at: usize) -> &[u8] {
        let end = self.starts.get(at + 1).copied().unwrap_or(self.bytes.len());
        &self.bytes[self.starts[at]..end]
    }

    /// The id of a document, for a message.
    fn id(&self, at: usize) -> String {
        let line = self.document(at).split(|byte| *byte == b'\n').next().unwrap_or_default();
        let action: Option<Value> = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        action.and_then(|a| Some(a.pointer("/index/_id")?.as_str()?.to_owned())).unwrap_or_default()
    }

    /// These documents of it.
    fn part(&self, of: impl Iterator<Item = usize>) -> Self {
        let mut part = Self::default();
        for at in of {
            part.starts.push(part.bytes.len());
            part.bytes.extend_from_slice(self.document(at));
        }
        part
    }
}

impl Search {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let client = Http::new(endpoint, ROLE, Duration::from_mins(1));
        ours(endpoint, &client).map_err(|attempt| unusable(endpoint, attempt))?;
        Ok(Self { client, documents: AtomicUsize::new(MAX_DOCUMENTS) })
    }

    /// All indices that are open and not hidden.
    pub fn indices(&self) -> anyhow::Result<BTreeMap<String, Index>> {
        // Names of all of them would make a longer path than the server takes. The setting is there so that none is left out.
        let path = "/*?expand_wildcards=open&filter_path=*.aliases,*.mappings._meta,*.settings.index.uuid";
        let found = self.json("read indices", self.client.get(path))?;
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
        let answer = self.json("count documents", self.client.get(&format!("/{}/_count", encoded(index))))?;
        if answer.pointer("/_shards/failed").and_then(Value::as_u64) != Some(0) {
            return Err(rejected("count documents", &format!("some shards of {index} did not answer")).into());
        }
        answer["count"].as_u64().context("OpenSearch's count is no number")
    }

    /// Makes an index from `settings` and `mappings`.
    pub fn create(&self, index: &str, body: &Value) -> anyhow::Result<()> {
        self.json(&format!("make the index {index}"), self.client.send("PUT", &format!("/{index}"), body))
            .map(drop)
    }

    pub fn delete(&self, index: &str) -> anyhow::Result<()> {
        self.json(&format!("delete the index {index}"), self.client.delete(&format!("/{}", encoded(index))))
            .map(drop)
    }

    /// Changes settings of an index.
    pub fn set(&self, index: &str, settings: &Value) -> anyhow::Result<()> {
        let path = format!("/{index}/_settings");
        self.json(&format!("change {index}"), self.client.send("PUT", &path, settings)).map(drop)
    }

    /// Makes all documents visible.
    pub fn refresh(&self, index: &str) -> anyhow::Result<()> {
        let answer = self.client.call("POST", &format!("/{}/_refresh", encoded(index)), None);
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

    /// Whether a body is to be sent before anything is added to it.
    pub fn is_full(&self, body: &Body) -> bool {
        body.len() >= self.documents.load(Ordering::Relaxed) || body.bytes.len() >= MAX_BYTES
    }

    /// Writes documents; what is there under the same id is replaced. Waits and repeats what the server is too busy for.
    pub fn write(
        &self,
        index: &str,
        next: &mut dyn FnMut() -> anyhow::Result<Option<Body>>,
        halt: &Halt,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        let (sender, receiver) = mpsc::sync_channel::<Body>(1);
        let (receiver, failed, written) = (Mutex::new(receiver), AtomicBool::new(false), AtomicU64::new(0));
        let (receiver, failed, written) = (&receiver, &failed, &written);
        let receive = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let send = || {
            let mut result = Ok(());
            // After a failure the rest is taken and left aside, so that nobody waits for a place.
            while let Ok(body) = receive() {
                if result.is_ok() && !failed.load(Ordering::SeqCst) {
                    result = self.send(index, body, halt, &|count| {
                        progress(written.fetch_add(count, Ordering::SeqCst) + count);
                    });
                    failed.fetch_or(result.is_err(), Ordering::SeqCst);
                }
            }
            result
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send)).collect();
            let mut fed = Ok(());
            while !failed.load(Ordering::SeqCst) {
                match next() {
                    Ok(Some(body)) => {
                        let _taken = sender.send(body);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed.store(true, Ordering::SeqCst);
                        fed = Err(error);
                    }
                }
            }
            drop(sender);
            threads.into_iter().fold(fed, |result, thread| {
                result.and(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        })
    }

    /// Sends one body until all of it is written.
    fn send(&self, index: &str, body: Body, halt: &Halt, written: &dyn Fn(u64)) -> anyhow::Result<()> {
        let what = format!("index into {index}");
        // Without a filter the answer is a third as long as what was sent.
        let path = format!("/{index}/_bulk?filter_path=errors,items.index.status,items.index.error");
        let mut pending = body;
        let mut retry = 0;
        while !pending.is_empty() {
            let answer = self
                .client
                .call("POST", &path, Some(("application/x-ndjson", &pending.bytes)))
                .context("OpenSearch does not take documents")?;
            if answer.status == 413 && pending.len() > 1 {
                self.ask_for_less();
                let half = pending.len() / 2;
                self.send(index, pending.part(0..half), halt, written)?;
                pending = pending.part(half..pending.len());
                continue;
            }
            let again = busy(&answer, &pending).map_err(|reason| rejected(&what, &reason))?;
            written((pending.len() - again.len()) as u64);
            if again.is_empty() {
                break;
            }
            if again.len() == pending.len() {
                self.ask_for_less();
            }
            if retry == RETRIES || halt.pause(PAUSE * 2_u32.pow(retry.min(5))) {
                let reason = format!("it is too busy for {} documents ({})", again.len(), answer.reason());
                return Err(rejected(&what, &reason).into());
            }
            retry += 1;
            pending = pending.part(again.into_iter());
        }
        Ok(())
    }

    fn ask_for_less(&self) {
        let less = |documents: usize| Some((documents / 2).max(MIN_DOCUMENTS));
        let _before = self.documents.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    #[expect(clippy::unused_self, reason = "reads as a verb of the cluster, like its neighbours")]
    pub(super) fn json(&self, what: &str, answer: std::io::Result<Reply>) -> anyhow::Result<Value> {
        let answer = answer.with_context(|| format!("OpenSearch cannot {what}"))?;
        if !answer.ok() {
            return Err(rejected(what, &answer.reason()).into());
        }
        answer
            .json()
            .with_context(|| format!("OpenSearch was asked to {what} and answers in an unknown form"))
    }
}

pub(super) fn rejected(what: &str, reason: &str) -> Failure {
    Failure::new(Kind::Data, "data-rejected", format!("OpenSearch refuses to {what}: {reason}"))
}

/// Which documents have to be sent again. An error: some were refused for good.
fn busy(answer: &Reply, sent: &Body) -> Result<Vec<usize>, String> {
    // The circuit breaker refuses a request as a whole; that answer has no items, and no `errors` either.
    if [429, 503].contains(&answer.status) {
        return Ok((0..sent.len()).collect());
    }
    // By far the most frequent answer is not worth reading.
    if answer.ok() && answer.body.starts_with(b"{\"errors\":false") {
        return Ok(Vec::new());
    }
    let parsed = answer.json().ok().filter(|_| answer.ok());
    let items = parsed.as_ref().and_then(|answer| answer["items"].as_array());
    let Some(items) = items.filter(|items| items.len() == sent.len()) else { return Err(answer.reason()) };
    let (mut again, mut refused) = (Vec::new(), Vec::new());
    for (at, item) in items.iter().enumerate() {
        match item.pointer("/index/status").and_then(Value::as_u64) {
            Some(200..300) => {}
            Some(429 | 503) => again.push(at),
            _ => {
                let reason =
                    item.pointer("/index/error/reason").and_then(Value::as_str).unwrap_or("no reason given");
                refused.push(format!("{}: {reason}", sent.id(at)));
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

    fn documents(count: usize) -> Body {
        let mut body = Body::default();
        (0..count).for_each(|n| body.push(&hit(&n.to_string(), "{}")));
        body
    }

    fn hit<'a>(id: &'a str, source: &'a str) -> Hit<'a> {
        Hit { id: id.into(), version: None, routing: None, source }
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, body: body.to_string().into_bytes() }
    }

    #[test]
    fn a_refused_request_is_sent_again_as_a_whole() {
        let answer = reply(429, &json!({"error": {"reason": "data too large"}, "status": 429}));
        assert_eq!(busy(&answer, &documents(2)), Ok(vec![0, 1]));
    }

    #[test]
    fn of_a_mixed_answer_only_what_was_too_much_is_sent_again() {
        let items =
            json!([{"index": {"status": 201}}, {"index": {"status": 429}}, {"index": {"status": 200}}]);
        let answer = reply(200, &json!({"errors": true, "items": items}));
        assert_eq!(busy(&answer, &documents(3)), Ok(vec![1]));
        assert_eq!(busy(&reply(200, &json!({"errors": false})), &documents(3)), Ok(vec![]));
    }

    #[test]
    fn a_document_that_does_not_fit_is_named() {
        let bad = json!({"index": {"status": 400, "error": {"reason": "failed to parse field [x]"}}});
        let answer = reply(200, &json!({"errors": true, "items": vec![bad; 5]}));
        let reason = busy(&answer, &documents(5)).unwrap_err();
        assert!(
            reason.starts_with("0: failed to parse field [x]; 1:") && reason.ends_with("and 2 more"),
            "{reason}"
        );
        assert!(busy(&reply(200, &json!({"items": []})), &documents(1)).is_err());
        assert!(busy(&reply(404, &json!({"error": "no"})), &documents(1)).is_err());
    }

    #[test]
    fn a_body_can_be_taken_apart() {
        let mut body = documents(3);
        body.push(&hit("a \"b\"", "{\"x\":1}"));
        let part = body.part([0, 3].into_iter());
        let text = "{\"index\":{\"_id\":\"0\"}}\n{}\n{\"index\":{\"_id\":\"a \\\"b\\\"\"}}\n{\"x\":1}\n";
        assert_eq!(String::from_utf8(part.bytes.clone()).unwrap(), text);
        assert_eq!((part.len(), part.id(1)), (2, "a \"b\"".to_owned()));
    }

    #[test]
    fn a_version_and_a_route_go_along() {
        let mut body = Body::default();
        body.push(&Hit { version: Some(7), routing: Some("r".into()), ..hit("1", "{}") });
        let text = String::from_utf8(body.bytes).unwrap();
        let action = r#"{"index":{"_id":"1","version":7,"version_type":"external_gte","routing":"r"}}"#;
        assert_eq!(text, format!("{action}\n{{}}\n"));
    }
}
