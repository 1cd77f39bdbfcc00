//! `dev bench seed`: a synthetic pack into both stores, beside what can be had by hand: `psql` with the same rows, schema and keys in one
//! transaction, a bare replay of prepared `_bulk` bodies into an index with the same settings, and the helpers of opensearch-py into another.

mod cost;
mod python;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use camino::Utf8Path;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::Manifest;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Bench, Figure, figure, ms, table, used};
use crate::cli::{Global, SeedBench};
use crate::client::opensearch;
use crate::context::Context;
use crate::output::{self, Format, Report};
use crate::stack::Stack;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::interrupt;
use python::Python;

/// Far from the ports that people use, and from those of the other benches.
const OFFSET: u16 = 6_426;
/// As many documents as the loader sends at once, over as many connections.
const BATCH: usize = 2_000;
const CONNECTIONS: usize = 2;
const DOCUMENTS: &str = "opensearch/records.ndjson";
/// The index that others fill.
const REPLAY: &str = "invenio-replay";
/// The helpers of opensearch-py, and what of them is measured.
const HELPERS: [[&str; 4]; 2] = [
    [
        "bulk",
        "2 documents: helpers.bulk, loading",
        "2 documents: helpers.bulk, the whole program",
        "2 documents: helpers.bulk, processor time",
    ],
    [
        "parallel_bulk",
        "2 documents: helpers.parallel_bulk, loading",
        "2 documents: helpers.parallel_bulk, the whole program",
        "2 documents: helpers.parallel_bulk, processor time",
    ],
];

#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    records: u32,
    /// In the order in which they are shown.
    all: Vec<Figure>,
    /// How many times as fast as `psql`, as the replay, and as the helpers of opensearch-py; medians.
    copy_ratio: f64,
    bulk_ratio: f64,
    helpers_bulk_ratio: Option<f64>,
    helpers_parallel_bulk_ratio: Option<f64>,
    /// The version of opensearch-py, or why it was left out.
    opensearch_py: String,
    /// Records a second into both stores at once, the whole command.
    records_per_s: f64,
}

pub(super) fn measure(context: &Context, global: &Global, args: &SeedBench) -> anyhow::Result<()> {
    let rounds = args.rounds;
    if !args.sizes.is_empty() {
        let plot = args.plot.as_ref().map(|path| context.cwd.join(path));
        return output::report(&cost::measure(context, rounds, &args.sizes, plot.as_deref())?, global.format);
    }
    let folder = tempfile::tempdir()?;
    let (bench, search) = prepare(context, &folder, &[args.records])?;
    let big = cost::name(args.records);
    let pack = bench.root.join("seeds").join(&big);
    write_atomic(&bench.root.join("load.sql"), script(&pack)?.as_bytes(), 0o600)?;
    let bodies = bodies(&pack.join(DOCUMENTS))?;
    let python = Python::find(&args.python, &bench.root)?;
    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut add = |name, ms: f64| samples.entry(name).or_default().push(ms);
    // The first round fills the page cache and warms the servers up; it does not count.
    for round in 0..=rounds.max(1) {
        interrupt::check()?;
        let mut add = |name, ms| {
            if round > 0 {
                add(name, ms);
            }
        };
        lose(&bench, &search)?;
        let before = used();
        let (took, report) = bench.run(&["seed", &big, "--only", "postgresql"])?;
        add("1 rows: seed, processor time", used().children - before.children);
        add("1 rows: seed, the whole command", took);
        add("1 rows: seed, loading", part(&report, "postgresql")?);
        lose(&bench, &search)?;
        let before = used();
        add("1 rows: psql, the same in one transaction", psql(&bench, &["-q", "-f", "load.sql"])?);
        add("1 rows: psql, processor time", used().children - before.children);

        lose(&bench, &search)?;
        let before = used();
        let (took, report) = bench.run(&["seed", &big, "--only", "opensearch"])?;
        add("2 documents: seed, processor time", used().children - before.children);
        add("2 documents: seed, the whole command", took);
        add("2 documents: seed, loading", part(&report, "opensearch")?);
        lose(&bench, &search)?;
        create(&search, &pack)?;
        let before = used();
        add("2 documents: replay of prepared bodies", replay(&search, &bodies)?);
        add("2 documents: replay, processor time", used().own - before.own);
        if let Ok(python) = &python {
            for [how, loading, whole, cpu] in HELPERS {
                lose(&bench, &search)?;
                create(&search, &pack)?;
                let took = python.load(how, &search, REPLAY, &pack, args.records)?;
                add(loading, took.loading);
                add(whole, took.whole);
                add(cpu, took.processor);
            }
        }

        lose(&bench, &search)?;
        add("3 both at once: seed", bench.run(&["seed", &big])?.0);
        add("3 both at once: seed again, nothing to do", bench.run(&["seed", &big])?.0);
        add("3 both at once: pack verify", bench.run(&["pack", "verify", &big])?.0);
    }
    bench.run(&["down", "--data", "--yes"])?;
    let all: Vec<Figure> =
        samples.into_iter().map(|(name, values)| figure(name.to_owned(), values)).collect();
    let known = |name: &str| all.iter().find(|f| f.name.ends_with(name)).map(|f| f.median_ms);
    let median = |name: &str| known(name).unwrap_or(f64::NAN);
    let documents = median("documents: seed, loading");
    let [bulk, parallel] = HELPERS.map(|[_, loading, ..]| known(loading).map(|ms| ms / documents));
    let figures = Figures {
        rounds,
        records: args.records,
        copy_ratio: median("psql, the same in one transaction") / median("rows: seed, loading"),
        bulk_ratio: median("replay of prepared bodies") / documents,
        helpers_bulk_ratio: bulk,
        helpers_parallel_bulk_ratio: parallel,
        opensearch_py: python.map_or_else(|why| format!("left out: {why}"), |python| python.version),
        records_per_s: f64::from(args.records) * 1e3 / median("both at once: seed"),
        all,
    };
    output::report(&figures, global.format)
}

/// A place of its own with both servers, and a pack for each size.
fn prepare<'a>(
    context: &'a Context,
    folder: &tempfile::TempDir,
    sizes: &[u32],
) -> anyhow::Result<(Bench<'a>, Endpoint)> {
    let root = utf8(folder.path().canonicalize()?)?;
    write_atomic(&root.join("ecosystem.toml"), format!("port_offset = {OFFSET}\n").as_bytes(), 0o600)?;
    let bench = Bench { context, root };
    for records in sizes {
        bench.run(&["pack", "new", &cost::name(*records), "--synthetic", &records.to_string()])?;
    }
    bench.run(&["up", "--no-seed", "postgresql", "opensearch"])?;
    let search = endpoint(context, &bench.root)?;
    Ok((bench, search))
}

/// What `psql` is told: the same SQL, rows and order as the loader's.
fn script(pack: &Utf8Path) -> anyhow::Result<String> {
    let read =
        |name: &str| std::fs::read_to_string(pack.join(name)).with_context(|| format!("cannot read {name}"));
    let manifest = Manifest::parse(&read("pack.toml")?)?;
    let part = manifest.postgresql.context("the pack has tables")?;
    let mut script = format!("\\set ON_ERROR_STOP on\nBEGIN;\n{}\n", read(part.schema.as_str())?);
    for table in &part.tables {
        let (columns, rows) = (table.columns.join(", "), pack.join(table.rows.as_str()));
        writeln!(script, "\\copy {} ({columns}) FROM '{rows}'", table.name)?;
    }
    if let Some(finish) = &part.finish {
        script += &read(finish.as_str())?;
    }
    Ok(script + "COMMIT;\n")
}

/// All documents as requests, in memory.
fn bodies(documents: &Utf8Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for (number, line) in BufReader::new(std::fs::File::open(documents)?).lines().enumerate() {
        let line = line?;
        if number % BATCH == 0 {
            bodies.push(Vec::new());
        }
        let id = line.split('"').nth(3).context("a document begins with its id")?;
        if let Some(body) = bodies.last_mut() {
            body.extend_from_slice(format!("{{\"index\":{{\"_id\":\"{id}\"}}}}\n{line}\n").as_bytes());
        }
    }
    Ok(bodies)
}

/// Makes the index that others fill, with the settings that ours has while it is loaded.
fn create(search: &Endpoint, pack: &Utf8Path) -> anyhow::Result<()> {
    let settings = std::fs::read_to_string(pack.join("opensearch/records.json"))?;
    let mut settings: Value = serde_json::from_str(&settings)?;
    settings["settings"] = json!({"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"});
    ask(search, "PUT", &format!("/{REPLAY}"), Some(settings.to_string().as_bytes()))
}

/// Sends them, as fast as the server takes them.
fn replay(search: &Endpoint, bodies: &[Vec<u8>]) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let send = || -> anyhow::Result<()> {
        while let Some(body) = bodies.get(next.fetch_add(1, Ordering::SeqCst)) {
            interrupt::check()?;
            ask(search, "POST", &format!("/{REPLAY}/_bulk"), Some(body))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(send)).collect();
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    ask(search, "POST", &format!("/{REPLAY}/_refresh"), None)?;
    Ok(ms(begin.elapsed()))
}

pub(super) fn ask(search: &Endpoint, method: &str, path: &str, body: Option<&[u8]>) -> anyhow::Result<()> {
    let (status, answer) = opensearch::ask(search, method, path, body)?;
    let told = String::from_utf8_lossy(&answer);
    anyhow::ensure!((200..300).contains(&status), "{method} {path}: {status} {told}");
    anyhow::ensure!(!told.contains("\"errors\":true"), "{path} refuses documents");
    Ok(())
}

/// Takes away what was loaded; nothing of it is written to the disk any more while the next one is measured.
fn lose(bench: &Bench<'_>, search: &Endpoint) -> anyhow::Result<()> {
    let sql = "DROP TABLE IF EXISTS pidstore_pid, rdm_records_metadata, vocabularies_metadata, vocabularies_types; \
               DROP SCHEMA IF EXISTS ecosystem CASCADE";
    psql(bench, &["-q", "-c", sql, "-c", "CHECKPOINT"])?;
    ask(search, "DELETE", "/invenio-*", None)
}

pub(super) fn psql(bench: &Bench<'_>, args: &[&str]) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let output = crate::sys::cmd::Cmd::new(crate::sys::os::this_program()?)
        .args(std::iter::once("psql").chain(args.iter().copied()))
        .cwd(&bench.root)
        .limit(std::time::Duration::from_mins(10))
        .run()?;
    anyhow::ensure!(output.ok(), "psql failed: {}", output.stderr);
    Ok(ms(begin.elapsed()))
}

pub(super) fn endpoint(context: &Context, root: &Utf8Path) -> anyhow::Result<Endpoint> {
    let global = Global { directory: Some(root.to_owned()), release: None, format: Format::Json };
    let stack = Stack::open(context, &global)?;
    Ok(stack.one(ecosystem_core::catalog::Kind::Opensearch, None)?.1)
}

fn part(report: &Value, part: &str) -> anyhow::Result<f64> {
    let mut parts = report["parts"].as_array().into_iter().flatten();
    parts
        .find(|p| p["part"] == part)
        .and_then(|p| p["took_ms"].as_f64())
        .context("the report has no such part")
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        let _ = writeln!(
            text,
            "{} records; loading rows: {:.2} × psql; loading documents: {:.2} × a replay; both at once: {:.0} records a second",
            self.records, self.copy_ratio, self.bulk_ratio, self.records_per_s
        );
        for (name, ratio) in
            [("bulk", self.helpers_bulk_ratio), ("parallel_bulk", self.helpers_parallel_bulk_ratio)]
        {
            if let Some(ratio) = ratio {
                let _ = writeln!(text, "loading documents: {ratio:.2} × helpers.{name}");
            }
        }
        let _ = writeln!(text, "opensearch-py: {}", self.opensearch_py);
        text
    }
}
