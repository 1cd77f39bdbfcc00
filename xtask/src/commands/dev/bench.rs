//! `dev bench`: figures, interleaved with peers. `up`: how long a cold and a repeated `up` take, how late a ready server is noticed, and what a bare script needs for the same.
//!
//! Rounds of the two sides alternate, so that a machine whose speed drifts drifts for both. Medians are what is quoted.

mod app;
mod check;
mod containers;
mod minio;
mod pack;
mod seed;
mod tools;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::model::Service;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Global, SeedBench};
use crate::client::{self, Effort};
use crate::context::Context;
use crate::output::{self, Report};
use crate::stack::Stack;
use crate::sys::cmd::Cmd;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::{interrupt, os};

/// Far from the ports that people use; a multiple of 17, as all such offsets here.
const OFFSET: u16 = 6_392;
/// How often the other process asks that detection is compared with.
const PROBE: Duration = Duration::from_millis(3);

/// Milliseconds, by what was measured: minimum, median and maximum.
#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    /// In the order in which they are shown.
    all: Vec<Figure>,
    /// Median of the cold `up` over the median of the bare script, where there was one.
    cold_to_bare: Option<f64>,
    supervisor_rss_anon_kb: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    min_ms: f64,
    median_ms: f64,
    max_ms: f64,
}

/// Measures `check`.
pub(super) fn check(global: &Global, rounds: usize, against: Option<&str>) -> anyhow::Result<()> {
    check::measure(global, rounds, against)
}

/// Measures `shell` and `provision --tools`.
pub(super) fn tools(global: &Global, rounds: usize, against: Option<&str>) -> anyhow::Result<()> {
    tools::measure(global, rounds, against)
}

/// Measures `up` with containers.
pub(super) fn containers(context: &Context, global: &Global, rounds: usize) -> anyhow::Result<()> {
    containers::measure(context, global, rounds)
}

/// Measures setting an application up.
pub(super) fn app(context: &Context, global: &Global, rounds: usize) -> anyhow::Result<()> {
    app::measure(context, global.format, rounds)
}

/// Measures the start of MinIO.
pub(super) fn minio(context: &Context, global: &Global, rounds: usize) -> anyhow::Result<()> {
    minio::measure(context, global, rounds)
}

/// Measures `seed`.
pub(super) fn seed(context: &Context, global: &Global, args: &SeedBench) -> anyhow::Result<()> {
    seed::measure(context, global, args)
}

/// Measures any pack.
pub(super) fn pack(
    context: &Context,
    global: &Global,
    rounds: usize,
    pack: &camino::Utf8Path,
) -> anyhow::Result<()> {
    pack::measure(context, global.format, rounds, pack)
}

/// Measures `up`.
pub(super) fn up(
    context: &Context,
    global: &Global,
    rounds: usize,
    against: Option<&str>,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = utf8(folder.path().canonicalize()?)?;
    write_atomic(&root.join("ecosystem.toml"), format!("port_offset = {OFFSET}\n").as_bytes(), 0o600)?;
    let bench = Bench { context, root: root.clone() };
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, ms: f64| samples.entry(name.to_owned()).or_default().push(ms);

    // Fills the store, and the page cache of both sides.
    bench.run(&["up"])?;
    bench.run(&["down", "--data", "--yes"])?;
    let mut rss = None;
    for round in 0..rounds.max(1) {
        interrupt::check()?;
        let (took, report) = bench.run(&["up"])?;
        add("up, cold", took);
        for (service, ms) in ready(&report) {
            add(&format!("up, cold: {service}"), ms);
        }
        for _ in 0..3 {
            add("up, nothing to do", bench.run(&["up"])?.0);
        }
        if round == 0 {
            rss = supervisor_memory(&root);
        }
        add("down", bench.run(&["down"])?.0);
        add("up, warm", bench.run(&["up"])?.0);
        bench.run(&["down", "--data", "--yes"])?;
        if let Some(command) = against {
            add("bare script, cold", bare(command)?);
        }
    }
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        for (service, ms) in bench.lag()? {
            add(&format!("detection lag: {service}"), ms);
        }
        bench.run(&["down", "--data", "--yes"])?;
    }
    let figures: Vec<Figure> = samples.into_iter().map(|(name, values)| figure(name, values)).collect();
    let median = |name: &str| figures.iter().find(|f| f.name == name).map(|f| f.median_ms);
    let cold_to_bare = median("up, cold").zip(median("bare script, cold")).map(|(ours, bare)| ours / bare);
    output::report(
        &Figures { rounds, all: figures, cold_to_bare, supervisor_rss_anon_kb: rss },
        global.format,
    )
}

struct Bench<'a> {
    context: &'a Context,
    root: Utf8PathBuf,
}

impl Bench<'_> {
    /// Runs this program and returns how many milliseconds it took, from outside, and its report.
    fn run(&self, args: &[&str]) -> anyhow::Result<(f64, Value)> {
        let begin = Instant::now();
        let output = Cmd::new(os::this_program()?)
            .args(args.iter().copied().chain(["--format", "json"]))
            .cwd(&self.root)
            .limit(Duration::from_mins(30))
            .run()?;
        let took = ms(begin.elapsed());
        anyhow::ensure!(output.ok(), "{args:?} failed: {}{}", output.stdout, output.stderr);
        Ok((took, serde_json::from_str(&output.stdout).context("the report is no JSON")?))
    }

    /// How much later than another process, which asks every 3 ms, an `up` notices that a server is usable.
    fn lag(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let global =
            Global { directory: Some(self.root.clone()), release: None, format: output::Format::Json };
        let stack = Stack::open(self.context, &global)?;
        let services: Vec<&Service> = stack.site.ecosystem.select(None, &[])?;
        let place = stack.place().context("the place is set up")?;
        let endpoints = stack.endpoints(&services, &place, &stack.state.secrets()?);
        let over = AtomicBool::new(false);
        let begin = Instant::now();
        let (run, others) = std::thread::scope(|scope| {
            let over = &over;
            let others: Vec<_> = endpoints
                .iter()
                .map(|(name, endpoint)| (name, scope.spawn(move || first_success(endpoint, over, begin))))
                .collect();
            let run = self.run(&["up"]);
            over.store(true, Ordering::SeqCst);
            interrupt::wake();
            let others: Vec<_> = others.into_iter().filter_map(|(n, t)| Some((n, t.join().ok()??))).collect();
            (run, others)
        });
        let (took, report) = run?;
        let inner = report["took_ms"].as_f64().unwrap_or(took);
        Ok(others
            .into_iter()
            .filter_map(|(name, other)| {
                let detected = service(&report, name)?["detected_ms"].as_f64()?;
                // The report counts from inside the process; starting and ending it is the difference.
                Some((name.clone(), detected + (took - inner) - other))
            })
            .collect())
    }
}

fn first_success(endpoint: &Endpoint, over: &AtomicBool, begin: Instant) -> Option<f64> {
    while !over.load(Ordering::SeqCst) {
        if client::probe(endpoint, Effort::Look) == Attempt::Ready {
            return Some(ms(begin.elapsed()));
        }
        interrupt::pause(PROBE, || over.load(Ordering::SeqCst)).ok()?;
    }
    None
}

/// Milliseconds of processors that this program has taken so far, and the programs that it has run to their end.
#[derive(Debug, Clone, Copy)]
struct Used {
    own: f64,
    children: f64,
}

fn used() -> Used {
    // Where nobody counts, all is zero, and so is what is reported.
    let (own, children) = os::processor_time().unwrap_or_default();
    Used { own: ms(own), children: ms(children) }
}

/// Milliseconds that a bare script needed: it prints `… all SECONDS` a round.
fn bare(command: &str) -> anyhow::Result<f64> {
    let output = Cmd::new("sh").args(["-c", command]).limit(Duration::from_mins(10)).run()?;
    let seconds = output.stdout.split_whitespace().skip_while(|word| *word != "all").nth(1);
    let seconds: Option<f64> = seconds.and_then(|text| text.parse().ok());
    seconds
        .map(|s| s * 1e3)
        .with_context(|| format!("`{command}` printed no `all SECONDS`: {}", output.stderr))
}

fn supervisor_memory(root: &camino::Utf8Path) -> Option<u64> {
    let mut control = crate::sys::control::Control::connect(&root.join(crate::site::STATE)).ok()??;
    os::anonymous_memory(control.peer()?)
}

fn service<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["services"].as_array()?.iter().find(|s| s["name"] == name)
}

fn ready(report: &Value) -> Vec<(String, f64)> {
    let services = report["services"].as_array().into_iter().flatten();
    services.filter_map(|s| Some((s["name"].as_str()?.to_owned(), s["took_ms"].as_f64()?))).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn figure(name: String, mut values: Vec<f64>) -> Figure {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Figure {
        name,
        min_ms: at(0),
        median_ms: at(values.len() / 2),
        max_ms: at(values.len().saturating_sub(1)),
    }
}

fn table(figures: &[Figure], rounds: usize) -> String {
    let mut text = format!("{:<54} {:>9} {:>9} {:>9}   ms, {rounds} rounds\n", "", "min", "median", "max");
    for Figure { name, min_ms, median_ms, max_ms } in figures {
        let _ = writeln!(text, "{name:<54} {min_ms:>9.1} {median_ms:>9.1} {max_ms:>9.1}");
    }
    text
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        if let Some(ratio) = self.cold_to_bare {
            let _ = writeln!(text, "a cold up takes {ratio:.2} times as long as the bare script");
        }
        if let Some(kb) = self.supervisor_rss_anon_kb {
            let _ = writeln!(text, "the supervisor holds {kb} kB of memory of its own");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_odd_number_of_rounds_is_the_median() {
        let figure = figure("x".into(), vec![3.0, 1.0, 2.0]);
        assert_eq!((figure.min_ms, figure.median_ms, figure.max_ms), (1.0, 2.0, 3.0));
    }
}
