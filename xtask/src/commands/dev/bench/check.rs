//! `dev bench check`: how long looking at this machine takes, and how long a peer takes for its own checks on the same PATH.
//!
//! Both have to find everything in order: what stops at the first fault would look fast.

use std::fmt::Write;
use std::time::{Duration, Instant};

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
    /// Median of the peer over the median of `check`, where there was one.
    peer_to_check: Option<f64>,
}

/// Measures.
pub(super) fn measure(global: &Global, rounds: usize, against: Option<&str>) -> anyhow::Result<()> {
    let ours = || run("check", Cmd::new(os::this_program()?).args(["check"]));
    let peer = |command: &str| run(command, Cmd::new("sh").args(["-c", command]));
    // Fills the page cache of both.
    ours()?;
    against.map(peer).transpose()?;
    let (mut check, mut other) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        check.push(ours()?);
        other.extend(against.map(peer).transpose()?);
    }
    let mut all = vec![figure("check".to_owned(), check)];
    if against.is_some() {
        all.push(figure("peer".to_owned(), other));
    }
    let peer_to_check = all.get(1).map(|peer| peer.median_ms / all[0].median_ms);
    output::report(&Figures { rounds, all, peer_to_check }, global.format)
}

/// How many milliseconds a command took, which must find nothing wrong.
fn run(name: &str, command: Cmd) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let output = command.limit(Duration::from_mins(2)).run()?;
    let took = ms(begin.elapsed());
    anyhow::ensure!(output.ok(), "{name} found something wrong: {}{}", output.stdout, output.stderr);
    Ok(took)
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        if let Some(ratio) = self.peer_to_check {
            let _ = writeln!(text, "the peer takes {ratio:.1} times as long");
        }
        text
    }
}
