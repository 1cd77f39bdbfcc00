//! `dev bench tools`: what `shell` adds to a command, and how long the toolchain takes into an empty store, beside bare package clients.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::{Figure, figure, ms, table};
use crate::cli::Global;
use crate::output::{self, Report};
use crate::sys::cmd::Cmd;
use crate::sys::{interrupt, os};

/// Milliseconds of both.
#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    all: Vec<Figure>,
    /// Median of `shell -- true` minus that of `true`.
    shell_adds_ms: f64,
    /// Median of `provision --tools` over the median of the peer, where there was one.
    provision_to_peer: Option<f64>,
}

/// Measures.
pub(super) fn measure(global: &Global, rounds: usize, against: Option<&str>) -> anyhow::Result<()> {
    let program = os::this_program()?;
    let shell = || time(Cmd::new(&program).args(["shell", "--", "true"]));
    // Fetches what is missing, and fills the page cache.
    shell()?;
    let (mut bare, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        bare.push(time(Cmd::new("true"))?);
        with.push(shell()?);
    }
    let mut all = vec![figure("true".to_owned(), bare), figure("shell -- true".to_owned(), with)];
    let shell_adds_ms = all[1].median_ms - all[0].median_ms;
    let mut provision_to_peer = None;
    if let Some(command) = against {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        // Downloads: a few rounds have to do.
        for _ in 0..rounds.div_ceil(7) {
            let folder = tempfile::tempdir()?;
            let store = folder.path().to_str().context("the folder for temporary files is not UTF-8")?;
            // What has to be installed by hand is told by the exit status, and is no matter here.
            ours.push(time_any(
                Cmd::new(&program).args(["provision", "--tools"]).env("ECOSYSTEM_STORE", store),
            )?);
            peer.push(time(Cmd::new("sh").args(["-c", command]))?);
        }
        all.extend([figure("provision --tools".to_owned(), ours), figure("peer".to_owned(), peer)]);
        provision_to_peer = Some(all[2].median_ms / all[3].median_ms);
    }
    output::report(&Figures { rounds, all, shell_adds_ms, provision_to_peer }, global.format)
}

/// How many milliseconds a command took, which must succeed.
fn time(command: Cmd) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let output = command.limit(Duration::from_mins(10)).run()?;
    let took = ms(begin.elapsed());
    anyhow::ensure!(output.ok(), "it failed: {}{}", output.stdout, output.stderr);
    Ok(took)
}

/// The same for a command that may end with a finding.
fn time_any(command: Cmd) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let output = command.limit(Duration::from_mins(10)).run()?;
    anyhow::ensure!(output.status <= 1, "it failed: {}{}", output.stdout, output.stderr);
    Ok(ms(begin.elapsed()))
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        let _ = writeln!(text, "`shell` adds {:.1} ms to a command", self.shell_adds_ms);
        if let Some(ratio) = self.provision_to_peer {
            let _ = writeln!(text, "`provision --tools` takes {ratio:.2} times as long as the peer");
        }
        text
    }
}
