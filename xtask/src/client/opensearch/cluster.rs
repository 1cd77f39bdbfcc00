//! The indices of an OpenSearch as a whole: what there is, removing it, and snapshots in a repository on the server's own disk.

use std::collections::BTreeMap;

use anyhow::Context;
use ecosystem_core::endpoint::encoded;
use serde_json::{Value, json};

use super::bulk::{Search, rejected};

/// The name of our repository of snapshots, and its folder below `path.repo`.
const REPOSITORY: &str = "ecosystem";

/// What is asked for at once: a request line has at most 4 KB.
const MAX_NAMES: usize = 3_000;

/// Names in a path: one may hold a `%`.
fn encoded_all(names: &[String]) -> String {
    names.iter().map(|name| encoded(name)).collect::<Vec<_>>().join(",")
}

impl Search {
    /// All indices that are no system's own, theirs begin with a dot, with the number of documents of each as Lucene counts them.
    pub fn all(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let path = "/_cat/indices?format=json&h=index,docs.count&expand_wildcards=all";
        let answer = self.json("list indices", self.client.get(path))?;
        let rows = answer.as_array().context("OpenSearch's list of indices has an unknown form")?;
        let row = |row: &Value| {
            let name = row["index"].as_str()?.to_owned();
            // A closed index has none to tell.
            let count = row["docs.count"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0);
            (!name.starts_with('.')).then_some((name, count))
        };
        Ok(rows.iter().filter_map(row).collect())
    }

    /// Removes these indices, by their names and by no pattern.
    pub fn remove(&self, indices: &[String]) -> anyhow::Result<()> {
        let mut rest = indices;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = |name: &&String| {
                length += name.len() + 1;
                length < MAX_NAMES
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let answer = self.client.delete(&format!("/{}?ignore_unavailable=true", encoded_all(now)));
            self.json("remove indices", answer)?;
            rest = later;
        }
        Ok(())
    }

    /// Removes the templates of indices whose names begin so.
    pub fn remove_templates(&self, prefix: &str) -> anyhow::Result<()> {
        for kind in ["_index_template", "_template", "_component_template"] {
            let answer = self.client.delete(&format!("/{kind}/{prefix}*"));
            match answer.with_context(|| format!("OpenSearch cannot remove {kind}"))? {
                reply if reply.ok() || reply.status == 404 => {}
                reply => return Err(rejected("remove templates", &reply.reason()).into()),
            }
        }
        Ok(())
    }

    /// Removes a template of this kind.
    pub fn remove_template(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        let path = format!("/{kind}/{}", encoded(name));
        self.json(&format!("remove the template {name}"), self.client.delete(&path)).map(drop)
    }

    /// Makes sure that there is a place for snapshots; the reason where there cannot be.
    pub fn repository(&self) -> anyhow::Result<Result<(), String>> {
        let body = json!({"type": "fs", "settings": {"location": REPOSITORY, "compress": false}});
        let answer = self.client.send("PUT", &format!("/_snapshot/{REPOSITORY}"), &body);
        let answer = answer.context("OpenSearch does not take a repository of snapshots")?;
        if answer.ok() {
            return Ok(Ok(()));
        }
        let cause =
            answer.json().ok().and_then(|body| Some(body.pointer("/error/caused_by/reason")?.to_string()));
        let reason = cause.unwrap_or_else(|| answer.reason());
        let nowhere = "its server has no place for snapshots (path.repo); one that runs as a process gets it with its next restart";
        Ok(Err(if reason.contains("path.repo") { nowhere.to_owned() } else { reason }))
    }

    /// Forgets the place for snapshots; what lies there stays.
    pub fn forget_repository(&self) -> anyhow::Result<()> {
        let answer = self.client.delete(&format!("/_snapshot/{REPOSITORY}"));
        self.json("forget the place for snapshots", answer).map(drop)
    }

    /// The snapshots that are whole; none where there is no place for them.
    pub fn snapshots(&self) -> anyhow::Result<Vec<String>> {
        let path = format!("/_snapshot/{REPOSITORY}/_all?verbose=false");
        let answer = self.client.get(&path);
        if answer.as_ref().is_ok_and(|answer| answer.status == 404) {
            return Ok(Vec::new());
        }
        let answer = self.json("list snapshots", answer)?;
        let all = answer["snapshots"].as_array().into_iter().flatten();
        let whole = all.filter(|snapshot| snapshot["state"] == "SUCCESS");
        Ok(whole.filter_map(|snapshot| Some(snapshot["snapshot"].as_str()?.to_owned())).collect())
    }

    /// Keeps these indices as they are now.
    pub fn keep(&self, snapshot: &str, indices: &[String]) -> anyhow::Result<()> {
        let body = json!({"indices": indices.join(","), "include_global_state": false});
        let path = format!("/_snapshot/{REPOSITORY}/{snapshot}?wait_for_completion=true");
        // One that is not whole would keep the name taken; mostly there is none.
        let _forgotten = self.client.delete(&format!("/_snapshot/{REPOSITORY}/{snapshot}"));
        let answer = self.json("make a snapshot", self.client.send("PUT", &path, &body))?;
        match answer.pointer("/snapshot/state").and_then(Value::as_str) {
            Some("SUCCESS") => Ok(()),
            state => {
                let reason = format!("it ended as {}", state.unwrap_or("unknown"));
                Err(rejected("make a snapshot", &reason).into())
            }
        }
    }

    /// Puts the indices of a snapshot back; none of them may be there.
    pub fn bring_back(&self, snapshot: &str) -> anyhow::Result<()> {
        let body = json!({"indices": "*", "include_global_state": false});
        let path = format!("/_snapshot/{REPOSITORY}/{snapshot}/_restore?wait_for_completion=true");
        let answer = self.json("restore a snapshot", self.client.send("POST", &path, &body))?;
        match answer.pointer("/snapshot/shards/failed").and_then(Value::as_u64) {
            Some(0) => Ok(()),
            _ => Err(rejected("restore a snapshot", "some of its shards have failed").into()),
        }
    }

    /// Forgets a snapshot.
    pub fn forget(&self, snapshot: &str) -> anyhow::Result<()> {
        let answer = self.client.delete(&format!("/_snapshot/{REPOSITORY}/{snapshot}"));
        self.json("forget a snapshot", answer).map(drop)
    }
}
