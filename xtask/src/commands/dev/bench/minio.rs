//! `dev bench minio`: how long MinIO takes until it is ready with its bucket and account, beside the same program started by bare hands.
//!
//! By hand it is ready when it lists its buckets for its administrator, asked every few milliseconds; nobody makes a bucket or an account there, and
//! nothing is written to try it.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::process::Process;
use serde::Serialize;

use super::{Bench, Figure, OFFSET, figure, first_success, table};
use crate::backend::native;
use crate::cli::Global;
use crate::context::Context;
use crate::output::{self, Format, Report};
use crate::stack::Stack;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::{interrupt, launch, os};

/// Milliseconds of both.
#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    all: Vec<Figure>,
    /// Median of `up` over the median by hand.
    cold_to_hand: f64,
    warm_to_hand: f64,
}

/// Measures.
pub(super) fn measure(context: &Context, global: &Global, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = utf8(folder.path().canonicalize()?)?;
    write_atomic(&root.join("ecosystem.toml"), format!("port_offset = {OFFSET}\n").as_bytes(), 0o600)?;
    let bench = Bench { context, root: root.clone() };
    // Builds it, fills the page cache, and shows what is run.
    bench.run(&["up", "minio"])?;
    let stack = Stack::open(context, &Global { directory: Some(root), release: None, format: Format::Json })?;
    let place = stack.set_up()?;
    let mut server = native::list(&place)?.pop().context("it runs")?.process;
    let (_, mut endpoint) = stack.one(ecosystem_core::catalog::Kind::Minio, None)?;
    bench.run(&["down", "--data", "--yes"])?;
    let hand = tempfile::tempdir()?;
    let hand = utf8(hand.path().canonicalize()?)?;
    let data = hand.join("data");
    server.argv.pop();
    server.argv.push(data.to_string());
    (server.cwd, server.log) = (hand.clone(), hand.join("log"));
    // The file of its password goes with the data of the place.
    server.env.remove("MINIO_ROOT_PASSWORD_FILE");
    server.env.insert("MINIO_ROOT_PASSWORD".to_owned(), endpoint.password().to_owned());
    // Whose it is is known, and its data is elsewhere.
    endpoint.identity.clear();

    let mut samples = [const { Vec::new() }; 4];
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        samples[0].push(bench.run(&["up", "minio"])?.0);
        bench.run(&["down"])?;
        samples[1].push(bench.run(&["up", "minio"])?.0);
        bench.run(&["down", "--data", "--yes"])?;
        samples[2].push(by_hand(&server, &endpoint)?);
        samples[3].push(by_hand(&server, &endpoint)?);
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {data}"))?;
    }
    let names = ["up minio, cold", "up minio, warm", "by hand, cold", "by hand, warm"];
    let all: Vec<Figure> =
        names.into_iter().zip(samples).map(|(name, values)| figure(name.to_owned(), values)).collect();
    let (cold_to_hand, warm_to_hand) =
        (all[0].median_ms / all[2].median_ms, all[1].median_ms / all[3].median_ms);
    output::report(&Figures { rounds, all, cold_to_hand, warm_to_hand }, global.format)
}

/// Milliseconds from its start to its first answer.
fn by_hand(server: &Process, endpoint: &Endpoint) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut child = launch::spawn(server, "")?;
    let over = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        let asking = scope.spawn(|| first_success(endpoint, &over, begin));
        while !asking.is_finished() && matches!(child.try_wait(), Ok(None)) {
            if interrupt::pause(Duration::from_millis(20), || false).is_err() {
                break;
            }
        }
        // One that has ended is not asked for ever.
        over.store(!asking.is_finished(), Ordering::SeqCst);
        asking.join().ok().flatten()
    });
    let pid = child.id();
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    child.wait()?;
    os::wait_for_end(pid, Duration::from_secs(5))?;
    took.context("it ended before it was ready")
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        let _ = writeln!(
            text,
            "`up` takes {:.2} times as long as by hand where there is no data, and {:.2} times where there is",
            self.cold_to_hand, self.warm_to_hand
        );
        text
    }
}
