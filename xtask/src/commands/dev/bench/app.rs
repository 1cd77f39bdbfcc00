//! `dev bench app`: an application set up in empty stores, by `app setup`, by the commands that its documentation names, and from the pack that the program brings along
//! until the first search is answered over https.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::{Bench, Figure, figure, ms, table};
use crate::context::Context;
use crate::output::{self, Format, Report};
use crate::sys::cmd::Cmd;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::interrupt;

/// Far from the ports that people use, and from those of the other benches.
const OFFSET: u16 = 6_443;

/// What the application works with.
const SERVERS: [&str; 5] = ["postgresql", "redis", "rabbitmq", "opensearch", "minio"];

/// What `invenio-cli services setup` of version 1.13.1 runs for InvenioRDM 12, in its order, without demo records.
const DOCUMENTED: [&[&str]; 10] = [
    &["db", "init", "create"],
    &["files", "location", "create", "--default", "default-location", "s3://default"],
    &["roles", "create", "admin"],
    &["access", "allow", "superuser-access", "role", "admin"],
    &["index", "init"],
    &["rdm-records", "custom-fields", "init"],
    &["communities", "custom-fields", "init"],
    &["rdm", "fixtures"],
    &["queues", "declare"],
    &["rdm-records", "fixtures"],
];

#[derive(Debug, Serialize)]
struct Figures {
    rounds: usize,
    all: Vec<Figure>,
    /// `app setup` in parts of the documented commands; medians.
    setup_ratio: f64,
}

pub(super) fn measure(context: &Context, format: Format, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = utf8(folder.path().canonicalize()?)?;
    write_atomic(&root.join("ecosystem.toml"), format!("port_offset = {OFFSET}\n").as_bytes(), 0o600)?;
    let bench = Bench { context, root };
    let up = [&["up"][..], &SERVERS, &["--no-seed"]].concat();
    // Once for nothing: what Python compiles and the system reads is there afterwards, for all sides.
    bench.run(&up)?;
    bench.run(&["app", "setup", "--no-fixtures"])?;

    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds.max(1) {
        interrupt::check()?;
        let empty = || bench.run(&["down", "--data", "--yes"]).and_then(|_| bench.run(&up));
        empty()?;
        samples.entry("the documented commands").or_default().push(documented(&bench)?);
        empty()?;
        samples.entry("`app setup`").or_default().push(bench.run(&["app", "setup"])?.0);
        empty()?;
        let first = "`up invenio` from its pack, until the first search over https";
        samples.entry(first).or_default().push(bench.run(&["up", "invenio"])?.0);
    }
    bench.run(&["down", "--data", "--yes"])?;
    let all: Vec<Figure> =
        samples.into_iter().map(|(name, values)| figure(name.to_owned(), values)).collect();
    let median = |name: &str| all.iter().find(|f| f.name == name).map_or(f64::NAN, |f| f.median_ms);
    let setup_ratio = median("`app setup`") / median("the documented commands");
    output::report(&Figures { rounds, all, setup_ratio }, format)
}

/// The commands one after the other, each a program of its own, in milliseconds.
fn documented(bench: &Bench<'_>) -> anyhow::Result<f64> {
    let (_, installed) = bench.run(&["app", "install"])?;
    let bin = installed["bin"].as_str().context("`app install` names no folder")?;
    let (_, settings) = bench.run(&["env"])?;
    let settings: BTreeMap<String, String> = serde_json::from_value(settings)?;
    let begin = Instant::now();
    for words in DOCUMENTED {
        let command = Cmd::new(format!("{bin}/invenio")).args(words.iter().copied());
        let command =
            settings.iter().fold(command, |command, (name, value)| command.env(name, value.as_str()));
        let output = command.cwd(&bench.root).limit(Duration::from_mins(30)).run()?;
        anyhow::ensure!(output.ok(), "invenio {words:?} failed: {}{}", output.stdout, output.stderr);
    }
    Ok(ms(begin.elapsed()))
}

impl Report for Figures {
    fn human(&self) -> String {
        let mut text = table(&self.all, self.rounds);
        let _ = writeln!(
            text,
            "`app setup` takes {:.2} of the time of the documented commands",
            self.setup_ratio
        );
        text
    }
}
