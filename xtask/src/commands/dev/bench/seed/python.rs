//! opensearch-py beside ours: what most who fill an index by a script use.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::endpoint::Endpoint;
use serde_json::Value;

use super::super::{ms, used};
use super::{BATCH, CONNECTIONS, DOCUMENTS};
use crate::sys::cmd::Cmd;
use crate::sys::fs::write_atomic;

const SCRIPT: &str = include_str!("bulk.py");
/// A Python that asks for the version of its opensearch-py.
const VERSION: &str = "import opensearchpy; print(opensearchpy.__versionstr__)";

/// A Python with opensearch-py.
pub(super) struct Python {
    program: String,
    script: Utf8PathBuf,
    pub(super) version: String,
}

/// What one of its helpers took, in milliseconds.
pub(super) struct Took {
    /// From the first document to the refresh, as our own loading is counted.
    pub(super) loading: f64,
    pub(super) whole: f64,
    pub(super) processor: f64,
}

impl Python {
    /// Looks whether the interpreter has what it takes; else why not.
    pub(super) fn find(program: &str, root: &Utf8Path) -> anyhow::Result<Result<Self, String>> {
        let output = match Cmd::new(program).args(["-c", VERSION]).run() {
            Ok(output) if output.ok() => output,
            Ok(output) => return Ok(Err(format!("{program} has no opensearch-py: {}", output.last_line()))),
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let script = root.join("bulk.py");
        write_atomic(&script, SCRIPT.as_bytes(), 0o600)?;
        Ok(Ok(Self { program: program.to_owned(), script, version: output.stdout.trim().to_owned() }))
    }

    /// Lets a helper, `bulk` or `parallel_bulk`, load the documents of the pack into an index that is there.
    pub(super) fn load(
        &self,
        how: &str,
        search: &Endpoint,
        index: &str,
        pack: &Utf8Path,
        records: u32,
    ) -> anyhow::Result<Took> {
        let port = search.ports.get("http").context("OpenSearch has a port")?;
        let address = format!("http://{}:{port}", search.host);
        let (batch, connections) = (BATCH.to_string(), CONNECTIONS.to_string());
        let documents = pack.join(DOCUMENTS);
        let words =
            [self.script.as_str(), how, &address, index, documents.as_str(), "uuid", &batch, &connections];
        let (begin, before) = (Instant::now(), used());
        let output = Cmd::new(&self.program).args(words).limit(Duration::from_mins(30)).run()?;
        let (whole, processor) = (ms(begin.elapsed()), used().children - before.children);
        anyhow::ensure!(output.ok(), "{how} failed: {}", output.stderr);
        let told: Value = serde_json::from_str(&output.stdout).context("it tells what it did")?;
        anyhow::ensure!(told["written"] == records, "{how} wrote {}, not {records}", told["written"]);
        let loading = told["loading_ms"].as_f64().context("it tells how long")?;
        Ok(Took { loading, whole, processor })
    }
}
