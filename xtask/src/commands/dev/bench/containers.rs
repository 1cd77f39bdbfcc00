//! `dev bench containers`: `up` with containers against `docker compose up --wait` on the file that `render` writes: the same images, the same
//! settings, the same ports, one after the other.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::{Bench, Figure, figure, ms, ready, table};
use crate::cli::Global;
use crate::context::Context;
use crate::output::{self, Report};
use crate::sys::cmd::Cmd;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::interrupt;

/// Far from the ports that people use, and from those of the other bench.
const OFFSET: u16 = 6_409;

#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    all: Vec<Figure>,
    /// Median of `up` over the median of `docker compose up --wait`.
    cold: Option<f64>,
    nothing_to_do: Option<f64>,
}

pub(super) fn measure(context: &Context, global: &Global, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = utf8(folder.path().canonicalize()?)?;
    let manifest = format!("port_offset = {OFFSET}\nbackend = \"compose\"\n");
    write_atomic(&root.join("ecosystem.toml"), manifest.as_bytes(), 0o600)?;
    let bench = Bench { context, root: root.clone() };
    let project = format!("ecosystem-bench-{}", std::process::id());
    let compose = |words: &[&str]| -> anyhow::Result<f64> {
        let begin = Instant::now();
        let file = ["compose", "--file", "docker/compose.yaml", "--project-name", &project];
        let command = Cmd::new("docker").args(file.into_iter().chain(words.iter().copied()));
        let output = command.cwd(&root).limit(Duration::from_mins(10)).run()?;
        anyhow::ensure!(output.ok(), "docker compose {words:?} failed: {}", output.stderr);
        Ok(ms(begin.elapsed()))
    };
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, ms: f64| samples.entry(name.to_owned()).or_default().push(ms);
    let forget = ["down", "--data", "--yes"];
    let up = ["up", "--detach", "--wait"];
    bench.run(&["render"]).context("cannot write docker/compose.yaml")?;
    // Fetches the images, and fills the page cache of both sides.
    bench.run(&["up"])?;
    bench.run(&forget)?;
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        let (took, report) = bench.run(&["up"])?;
        add("up, cold", took);
        for (service, ms) in ready(&report) {
            add(&format!("up, cold: {service}"), ms);
        }
        for _ in 0..3 {
            add("up, nothing to do", bench.run(&["up"])?.0);
        }
        add("down", bench.run(&["down"])?.0);
        bench.run(&forget)?;
        add("compose up --wait, cold", compose(&up)?);
        for _ in 0..3 {
            add("compose up --wait, nothing to do", compose(&up)?);
        }
        add("compose down", compose(&["down"])?);
        compose(&["down", "--volumes"])?;
    }
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        for (service, ms) in bench.lag()? {
            add(&format!("detection lag: {service}"), ms);
        }
        bench.run(&forget)?;
    }
    let all: Vec<Figure> = samples.into_iter().map(|(name, values)| figure(name, values)).collect();
    let median = |name: &str| all.iter().find(|f| f.name == name).map(|f| f.median_ms);
    let ratio =
        |ours: &str, theirs: &str| median(ours).zip(median(theirs)).map(|(ours, theirs)| ours / theirs);
    let cold = ratio("up, cold", "compose up --wait, cold");
    let nothing_to_do = ratio("up, nothing to do", "compose up --wait, nothing to do");
    output::report(&Figures { rounds, all, cold, nothing_to_do }, global.format)
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        for (what, ratio) in [("cold", self.cold), ("with nothing to do", self.nothing_to_do)] {
            if let Some(ratio) = ratio {
                let _ =
                    writeln!(text, "{what}, up takes {ratio:.2} times as long as docker compose up --wait");
            }
        }
        text
    }
}
