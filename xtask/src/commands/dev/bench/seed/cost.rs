//! What a record costs, from small packs to large ones: whether loading a million takes a hundred times what ten thousand take.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use camino::Utf8Path;
use ecosystem_core::render::plot::{Curve, Plot};
use serde::Serialize;

use super::super::{Figure, figure};
use super::{lose, part, prepare};
use crate::context::Context;
use crate::output::Report;
use crate::sys::fs::write_atomic;
use crate::sys::interrupt;

/// What is measured, by the name that it has in the plot.
const ROWS: &str = "rows into PostgreSQL";
const DOCUMENTS: &str = "documents into OpenSearch";
const BOTH: &str = "both at once, the whole command";

#[derive(Debug, Serialize)]
pub(super) struct Costs {
    rounds: usize,
    sizes: Vec<Cost>,
}

/// Microseconds for each record of a pack of this size.
#[derive(Debug, Serialize)]
struct Cost {
    records: u32,
    rows_us: f64,
    documents_us: f64,
    both_us: f64,
}

/// Measures, and draws what came of it into a file. Every round goes through all sizes.
pub(super) fn measure(
    context: &Context,
    rounds: usize,
    sizes: &[u32],
    plot: Option<&Utf8Path>,
) -> anyhow::Result<Costs> {
    let folder = tempfile::tempdir()?;
    let (bench, search) = prepare(context, &folder, sizes)?;
    let mut samples: BTreeMap<(u32, &str), Vec<f64>> = BTreeMap::new();
    // The first round, of the smallest pack, warms the servers up; it does not count.
    let warm = std::iter::once(sizes.iter().min().map(std::slice::from_ref).unwrap_or_default());
    for (round, sizes) in warm.chain(std::iter::repeat_n(sizes, rounds.max(1))).enumerate() {
        for records in sizes {
            interrupt::check()?;
            let name = name(*records);
            let mut add = |what, ms: f64| {
                if round > 0 {
                    samples.entry((*records, what)).or_default().push(ms * 1e3 / f64::from(*records));
                }
            };
            lose(&bench, &search)?;
            add(ROWS, part(&bench.run(&["seed", &name, "--only", "postgresql"])?.1, "postgresql")?);
            add(DOCUMENTS, part(&bench.run(&["seed", &name, "--only", "opensearch"])?.1, "opensearch")?);
            lose(&bench, &search)?;
            add(BOTH, bench.run(&["seed", &name])?.0);
        }
    }
    bench.run(&["down", "--data", "--yes"])?;
    let median = |records: u32, what: &'static str| {
        let values = samples.get(&(records, what)).cloned().unwrap_or_default();
        let Figure { median_ms, .. } = figure(what.to_owned(), values);
        median_ms
    };
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let cost = |records| Cost {
        records,
        rows_us: median(records, ROWS),
        documents_us: median(records, DOCUMENTS),
        both_us: median(records, BOTH),
    };
    let costs = Costs { rounds, sizes: sizes.into_iter().map(cost).collect() };
    if let Some(path) = plot {
        write_atomic(path, costs.plot().svg().as_bytes(), 0o644).context("cannot draw")?;
    }
    Ok(costs)
}

/// The pack of a size.
pub(super) fn name(records: u32) -> String {
    format!("big-{records}")
}

impl Costs {
    fn plot(&self) -> Plot<'_> {
        let curve = |name, of: fn(&Cost) -> f64| Curve {
            name,
            points: self.sizes.iter().map(|cost| (f64::from(cost.records), of(cost))).collect(),
        };
        Plot {
            title: "What a record costs to load, by the size of its pack",
            x: "records in the pack",
            y: "microseconds a record",
            curves: vec![
                curve(BOTH, |cost| cost.both_us),
                curve(DOCUMENTS, |cost| cost.documents_us),
                curve(ROWS, |cost| cost.rows_us),
            ],
        }
    }
}

impl Report for Costs {
    fn human(&self) -> String {
        let mut text = format!(
            "{:>9} {:>9} {:>9} {:>9}   microseconds a record, medians of {} rounds\n",
            "records", "rows", "documents", "both", self.rounds
        );
        for Cost { records, rows_us, documents_us, both_us } in &self.sizes {
            let _ = writeln!(text, "{records:>9} {rows_us:>9.1} {documents_us:>9.1} {both_us:>9.1}");
        }
        text
    }
}
