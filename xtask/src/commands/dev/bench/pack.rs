//! `dev bench pack`: any pack, such as a captured one, into running empty servers, compared, and gone back to. Beside it what can be had by hand
//! without this program: its indices deleted and restored from a snapshot on the server's disk, its database made from a template.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use camino::Utf8Path;
use ecosystem_core::endpoint::Endpoint;
use serde::Serialize;
use serde_json::Value;

use super::seed::{ask, endpoint, psql};
use super::{Bench, Figure, figure, ms, table};
use crate::client::opensearch;
use crate::context::Context;
use crate::output::{self, Format, Report};
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::interrupt;

/// Far from the ports that people use, and from those of the other benches.
const OFFSET: u16 = 6_392;
const HAND: &str = "hand";

#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    pack: String,
    /// By table, index or queue of each part.
    counts: BTreeMap<String, u64>,
    all: Vec<Figure>,
    /// How many times as long as by hand; medians.
    reset_ratio: f64,
}

pub(super) fn measure(
    context: &Context,
    format: Format,
    rounds: usize,
    pack: &Utf8Path,
) -> anyhow::Result<()> {
    let pack = context.cwd.join(pack).canonicalize_utf8().with_context(|| format!("there is no {pack}"))?;
    let name = pack.file_name().context("a pack has a name")?.to_owned();
    let folder = tempfile::tempdir()?;
    let root = utf8(folder.path().canonicalize()?)?;
    let manifest = format!("port_offset = {OFFSET}\nservices.opensearch.heap = \"1g\"\n");
    write_atomic(&root.join("ecosystem.toml"), manifest.as_bytes(), 0o600)?;
    std::fs::create_dir(root.join("seeds"))?;
    std::os::unix::fs::symlink(&pack, root.join("seeds").join(&name))?;
    let bench = Bench { context, root };
    bench.run(&["up", "--no-seed"])?;
    let search = endpoint(context, &bench.root)?;

    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    // The first round warms the servers up; it does not count.
    for round in 0..=rounds.max(1) {
        interrupt::check()?;
        let mut add = |name, ms| {
            if round > 0 {
                samples.entry(name).or_default().push(ms);
            }
        };
        empty(&bench, &search)?;
        let (load, report) = bench.run(&["seed", &name])?;
        let (verify, verified) = bench.run(&["pack", "verify", &name])?;
        anyhow::ensure!(verified["equal"] == true, "what was loaded is not the pack: {verified}");
        add("1 seed into empty servers", load);
        add("1 seed, and pack verify", load + verify);
        for part in report["parts"].as_array().into_iter().flatten() {
            let total =
                part["counts"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
            counts.insert(part["part"].as_str().unwrap_or_default().to_owned(), total);
        }
        add("2 seed again, nothing to do", bench.run(&["seed", &name])?.0);
        // Keeps what it has loaded.
        bench.run(&["reset", &name, "--yes"])?;
        for _ in 0..3 {
            add("3 reset", bench.run(&["reset", &name, "--yes"])?.0);
        }
        let (indices, database) = by_hand(&bench, &search)?;
        add("4 by hand: indices deleted and restored", indices);
        add("4 by hand: database from a template", database);
        add("4 by hand: one after the other", indices + database);
    }
    bench.run(&["down", "--data", "--yes"])?;
    let all: Vec<Figure> =
        samples.into_iter().map(|(name, values)| figure(name.to_owned(), values)).collect();
    let median = |name: &str| all.iter().find(|f| f.name.ends_with(name)).map_or(f64::NAN, |f| f.median_ms);
    let reset_ratio = median("3 reset") / median("one after the other");
    output::report(&Figures { rounds, pack: name, counts, all, reset_ratio }, format)
}

/// Takes away everything, and what a reset has kept.
fn empty(bench: &Bench<'_>, search: &Endpoint) -> anyhow::Result<()> {
    let drop = "SELECT format('DROP DATABASE IF EXISTS %I', datname) FROM pg_database WHERE datname LIKE 'ecosystem\\_%' \\gexec";
    write_atomic(&bench.root.join("empty.sql"), format!("{drop}\nDROP SCHEMA IF EXISTS ecosystem CASCADE;\nDROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\nCHECKPOINT;\n").as_bytes(), 0o600)?;
    psql(bench, &["-q", "-f", "empty.sql"])?;
    for path in ["/_all", "/_template/*", "/_index_template/*"] {
        ask(search, "DELETE", path, None)?;
    }
    let (_, answer) = opensearch::ask(search, "DELETE", "/_snapshot/ecosystem/*", None)?;
    // Before the first reset there is no place for snapshots.
    anyhow::ensure!(!answer.is_empty(), "OpenSearch says nothing");
    Ok(())
}

/// What the kept copies take without this program: milliseconds for the indices and for the database.
fn by_hand(bench: &Bench<'_>, search: &Endpoint) -> anyhow::Result<(f64, f64)> {
    let (_, answer) = opensearch::ask(search, "GET", "/_snapshot/ecosystem/_all?verbose=false", None)?;
    let kept: Value = serde_json::from_slice(&answer)?;
    let kept = kept.pointer("/snapshots/0/snapshot").and_then(Value::as_str).context("nothing was kept")?;
    let begin = std::time::Instant::now();
    ask(search, "DELETE", "/_all", None)?;
    let path = format!("/_snapshot/ecosystem/{kept}/_restore?wait_for_completion=true");
    ask(search, "POST", &path, Some(br#"{"indices": "*", "include_global_state": false}"#))?;
    let indices = ms(begin.elapsed());
    let sql = format!(
        "DROP DATABASE IF EXISTS {HAND};\n\
         SELECT format('CREATE DATABASE {HAND} TEMPLATE %I', datname) FROM pg_database WHERE datname LIKE 'ecosystem\\_baseline%' \\gexec\n"
    );
    write_atomic(&bench.root.join("hand.sql"), sql.as_bytes(), 0o600)?;
    let database = psql(bench, &["-q", "-f", "hand.sql"])?;
    Ok((indices, database))
}

impl Report for Figures {
    fn human(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(part, count)| format!("{part} {count}")).collect();
        let mut text = table(&self.all, self.rounds);
        let _ =
            writeln!(text, "{}: {}; reset: {:.2} × by hand", self.pack, counts.join(", "), self.reset_ratio);
        text
    }
}
