//! `dev prove`: what this project promises, tried in many random rounds against the real servers. A failed round names its seed.
//!
//! The rounds run this very program from outside, as a person would, and judge it by what the kernel says.

mod arena;
mod imposter;
mod kill;
mod manifests;
mod seed;
mod starts;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use ecosystem_core::failure::{Failure, Kind};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::{Global, Proof, Prove};
use crate::context::Context;
use crate::event::{Event, Events, Section, Task, Unit};
use crate::output::{self, Report};
use crate::sys::interrupt;

/// A proof that has failed so often is not going to tell more.
const ENOUGH: usize = 10;

#[derive(Debug, Serialize)]
struct Proven {
    proofs: Vec<Outcome>,
}

/// What came of one proof.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    rounds: usize,
    took_ms: u64,
    /// What happened, counted.
    counts: BTreeMap<String, usize>,
    /// One text a round that broke a promise.
    failures: Vec<String>,
}

/// One way to try a promise.
trait Trial {
    const NAME: &'static str;
    /// As many rounds as the documentation speaks of.
    const ROUNDS: usize;

    /// Tries it once. An error is a broken promise, and says which.
    fn round(&mut self, random: &mut fastrand::Rng, counts: &mut Counts) -> anyhow::Result<()>;

    /// Puts everything back after a round that failed.
    fn recover(&mut self) -> anyhow::Result<()>;
}

/// Counts by name.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// Keeps the highest of some figures.
    fn highest(&mut self, name: &str, figure: usize) {
        let highest = self.0.entry(name.to_owned()).or_default();
        *highest = figure.max(*highest);
    }
}

/// Proves, and fails with a finding where a promise was broken.
pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &Prove,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let wanted = |proof| args.proofs.is_empty() || args.proofs.contains(&proof);
    let mut proven = Proven { proofs: Vec::new() };
    if wanted(Proof::Kill) {
        proven.proofs.push(carry_out(&mut kill::Kill::new(context)?, args, events)?);
    }
    if wanted(Proof::Starts) {
        proven.proofs.push(carry_out(&mut starts::Starts::new(context)?, args, events)?);
    }
    if wanted(Proof::Manifests) {
        proven.proofs.push(carry_out(&mut manifests::Manifests::new(context)?, args, events)?);
    }
    if wanted(Proof::Seed) {
        proven.proofs.push(carry_out(&mut seed::Seed::new(context)?, args, events)?);
    }
    output::report(&proven, global.format)?;
    interrupt::check()?;
    match proven.proofs.iter().map(|proof| proof.failures.len()).sum::<usize>() {
        0 => Ok(()),
        broken => {
            Err(Failure::new(Kind::Finding, "promise-broken", format!("{broken} rounds broke a promise"))
                .into())
        }
    }
}

fn carry_out<T: Trial>(trial: &mut T, args: &Prove, events: &dyn Events) -> anyhow::Result<Outcome> {
    let rounds = args.rounds.unwrap_or(T::ROUNDS);
    let (begin, mut counts, mut failures) = (Instant::now(), Counts::default(), Vec::new());
    let task = Task::start(events, Section::Prove, T::NAME);
    let mut tried = 0;
    for round in 0..rounds {
        // What was found so far is worth telling.
        if interrupt::check().is_err() {
            break;
        }
        if round > 0 && round % (rounds / 10).max(100) == 0 {
            let text =
                format!("{round} of {rounds} rounds of {}, {} broke a promise", T::NAME, failures.len());
            events.emit(Event::Fact { title: "So far", text });
        }
        task.progress(round as u64, Some(rounds as u64), Unit::Items);
        let seed = args.seed.wrapping_add(round as u64);
        let result = trial.round(&mut fastrand::Rng::with_seed(seed), &mut counts);
        if interrupt::check().is_err() {
            break;
        }
        tried += 1;
        if let Err(error) = result {
            let failure = format!("seed {seed}: {error:#}");
            events.emit(Event::Warning(failure.clone()));
            failures.push(failure);
            trial.recover()?;
            if failures.len() == ENOUGH {
                break;
            }
        }
    }
    task.finish(format!("{tried} rounds, {} broke a promise", failures.len()));
    let took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Outcome { name: T::NAME, rounds: tried, took_ms, counts: counts.0, failures })
}

impl Report for Proven {
    fn human(&self) -> String {
        let mut text = String::new();
        for proof in &self.proofs {
            let verdict = match proof.failures.len() {
                0 => "holds".green().to_string(),
                broken => format!("broken in {broken}").red().to_string(),
            };
            let took = output::seconds(proof.took_ms);
            let _ = writeln!(text, "{}: {verdict}, {} rounds in {took}", proof.name.bold(), proof.rounds);
            for (name, count) in &proof.counts {
                let _ = writeln!(text, "  {count:>6}  {name}");
            }
            for failure in &proof.failures {
                let _ = writeln!(text, "  {} {failure}", "✗".red());
            }
        }
        text
    }
}
