//! OpenSearch: is it usable and ours, and what is set in it. Identity is the cluster name.
//!
//! Loading data is `bulk`. A single node with default replicas stays yellow for ever, so yellow is as good as green.

mod bulk;
mod cluster;
mod scroll;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ecosystem_core::endpoint::{Attempt, Endpoint};
use serde_json::{Value, json};

pub use bulk::{Body, Index, Search};
pub use scroll::{Hit, Order};

use super::http::{Http, Reply};
use super::{Effort, is_secret, portable, trouble, unusable};

const ROLE: &str = "http";

/// Hidden, so that no wildcard of an application finds it; deleted after each use.
const PROBE_INDEX: &str = ".ecosystem-probe";

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let client = Http::new(endpoint, ROLE, effort.limit());
    ours(endpoint, &client)?;
    let health = field(endpoint, client.get("/_cluster/health"), "/status")?;
    if !["yellow", "green"].contains(&health.as_str()) {
        return Err(Attempt::NotYet(format!("the cluster's health is {health}")));
    }
    if effort == Effort::Write { write(endpoint, &client) } else { Ok(()) }
}

/// What the server answered to a person's own question: the HTTP status and the body, as it is.
pub fn ask(endpoint: &Endpoint, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<(u16, Vec<u8>)> {
    // Both take one JSON object a line.
    let lines =
        ["_bulk", "_msearch"].iter().any(|end| path.split('?').next().is_some_and(|p| p.ends_with(end)));
    let kind = if lines { "application/x-ndjson" } else { "application/json" };
    let reply = Http::new(endpoint, ROLE, PATIENCE).call(method, path, body.map(|body| (kind, body)))?;
    Ok((reply.status, reply.body))
}

/// A question of a person may take long; Ctrl-C ends it.
const PATIENCE: Duration = Duration::from_mins(10);

/// Whether the server is an OpenSearch, and the one of this place.
fn ours(endpoint: &Endpoint, client: &Http) -> Result<Value, Attempt> {
    let root = json_of(endpoint, client.get("/"))?;
    let text = |path: &str| root.pointer(path).and_then(Value::as_str).unwrap_or("");
    let cluster = text("/cluster_name");
    if cluster.is_empty() {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it answers in HTTP without a cluster name");
        return Err(trouble(&error, "OpenSearch", &endpoint.address(ROLE)));
    }
    if !endpoint.identity.is_empty() && cluster != endpoint.identity {
        let product =
            if text("/version/distribution") == "opensearch" { "OpenSearch" } else { "Elasticsearch" };
        let version = text("/version/number");
        return Err(Attempt::Never(format!(
            "an {product} {version} of the cluster {cluster} answers, not ours"
        )));
    }
    Ok(root)
}

/// One document in, out, and away again.
fn write(endpoint: &Endpoint, client: &Http) -> Result<(), Attempt> {
    let index = format!("/{PROBE_INDEX}");
    let document = format!("{index}/_doc/{}", std::process::id());
    // Without a mapping to derive: each change of the cluster state costs a cold server 50 ms and more.
    let settings = json!({
        "settings": {"number_of_replicas": 0, "index.hidden": true},
        "mappings": {"dynamic": false},
    });
    let done = client
        .send("PUT", &index, &settings)
        // An index that an interrupted probe left behind is as good as a new one: its refusal does not matter.
        .and_then(|_| client.send("PUT", &document, &json!({"word": "ready"})))
        .map_err(|error| trouble(&error, "OpenSearch", &endpoint.address(ROLE)))?;
    if !done.ok() {
        return Err(Attempt::NotYet(format!("it refuses a write: {}", done.reason())));
    }
    let word = field(endpoint, client.get(&document), "/_source/word")?;
    let gone = client.delete(&index);
    if word != "ready" {
        return Err(Attempt::NotYet("a write could not be read back".to_owned()));
    }
    json_of(endpoint, gone).map(|_| ())
}

pub(super) fn describe(endpoint: &Endpoint) -> anyhow::Result<BTreeMap<String, String>> {
    let client = Http::new(endpoint, ROLE, Duration::from_secs(10));
    let read = || -> Result<BTreeMap<String, String>, Attempt> {
        let root = ours(endpoint, &client)?;
        let get = |path: &str| json_of(endpoint, client.get(path));
        let nodes = get("/_nodes/settings,plugins?flat_settings=true")?;
        let cluster = get("/_cluster/settings?flat_settings=true")?;
        let (new, old) = (get("/_index_template")?, get("/_template")?);

        let mut found = BTreeMap::new();
        if let Some(version) = root.pointer("/version/number") {
            found.insert("version".to_owned(), plain(version));
        }
        for node in nodes["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values()) {
            for (kind, key) in [("modules", "modules"), ("plugins", "plugins")] {
                let mut names: Vec<&str> = node[key]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|item| item["name"].as_str())
                    .collect();
                names.sort_unstable();
                found.insert(kind.to_owned(), names.join(", "));
            }
            for (name, value) in node["settings"].as_object().into_iter().flatten() {
                if is_set(name) && !is_secret(name) {
                    found.insert(format!("node.{name}"), portable(endpoint, &plain(value)));
                }
            }
        }
        for scope in ["persistent", "transient"] {
            for (name, value) in cluster[scope].as_object().into_iter().flatten() {
                if !is_secret(name) {
                    found.insert(format!("cluster.{scope}.{name}"), plain(value));
                }
            }
        }
        let new = new["index_templates"].as_array().into_iter().flatten().filter_map(|t| t["name"].as_str());
        let old = old.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        for name in new.chain(old) {
            found.insert(format!("template.{name}"), "present".to_owned());
        }
        Ok(found)
    };
    read().map_err(|attempt| unusable(endpoint, attempt).into())
}

/// Whether a node setting was set by us, rather than by the server itself, and is the same in every place.
fn is_set(name: &str) -> bool {
    ![
        "path.",
        "client.type",
        "http.type",
        "transport.type",
        "pidfile",
        "node.processors",
        "node.attr.shard_indexing",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// The JSON of a good answer; otherwise what the answer says about the server.
fn json_of(endpoint: &Endpoint, answer: io::Result<Reply>) -> Result<Value, Attempt> {
    let address = endpoint.address(ROLE);
    let answer = answer.map_err(|error| trouble(&error, "OpenSearch", &address))?;
    match answer.status {
        200..300 => answer.json().map_err(|error| trouble(&error, "OpenSearch", &address)),
        401 | 403 => Err(Attempt::Never(format!(
            "a server that wants another login answers, not ours ({})",
            answer.reason()
        ))),
        _ => Err(Attempt::NotYet(answer.reason())),
    }
}

fn field(endpoint: &Endpoint, answer: io::Result<Reply>, path: &str) -> Result<String, Attempt> {
    Ok(json_of(endpoint, answer)?.pointer(path).map(plain).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::look;
    use super::*;

    fn answer(status: &str, body: &str) -> Attempt {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        look(Kind::Opensearch, format!("{head}{body}").as_bytes())
    }

    #[test]
    fn starting_up_is_worth_asking_again() {
        let body = r#"{"error":{"reason":"state not recovered / initialized"}}"#;
        let attempt = answer("503 Service Unavailable", body);
        assert_eq!(attempt, Attempt::NotYet("503 state not recovered / initialized".into()));
    }

    #[test]
    fn another_cluster_and_another_login_are_never_ours() {
        let other = r#"{"cluster_name":"docker-cluster","version":{"number":"7.10.2"}}"#;
        let Attempt::Never(reason) = answer("200 OK", other) else { panic!() };
        assert_eq!(reason, "an Elasticsearch 7.10.2 of the cluster docker-cluster answers, not ours");
        assert!(matches!(answer("401 Unauthorized", "Unauthorized"), Attempt::Never(_)));
        assert!(matches!(answer("200 OK", "[1, 2]"), Attempt::Never(_)));
    }
}
