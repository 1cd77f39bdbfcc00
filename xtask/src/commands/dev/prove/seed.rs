//! `seed` or a server that it loads into, killed at random moments, and `seed` run again. In the end the stores hold the pack, all of it and
//! nothing else.

use std::time::Duration;

use anyhow::Context as _;
use ecosystem_core::endpoint::Endpoint;
use rustix::process::{Pid, Signal};

use super::arena::Arena;
use super::{Counts, Trial};
use crate::client::opensearch;
use crate::context::Context;
use crate::sys::{interrupt, supervisor};

const RECORDS: &str = "20000";
/// A load takes about so long; later moments find it finished.
const LOAD: Duration = Duration::from_secs(3);
/// Both indices of the pack, and whatever was left of others.
const INDICES: &str = "/invenio-*";

/// The proof, with what it knows of its stack.
pub(super) struct Seed<'a> {
    arena: Arena<'a>,
}

impl<'a> Seed<'a> {
    pub(super) fn new(context: &'a Context) -> anyhow::Result<Self> {
        let arena = Arena::new(context)?;
        arena.ok(&["pack", "new", "big", "--synthetic", RECORDS])?;
        arena.ok(&["up", "--no-seed", "postgresql", "opensearch"])?;
        Ok(Self { arena })
    }

    fn endpoint(&self, service: &str) -> anyhow::Result<Endpoint> {
        self.arena.endpoints(&[service])?.remove(service).context("it was set up")
    }

    /// Takes away what was loaded: from both stores, or from one.
    fn lose(&self, rows: bool, documents: bool) -> anyhow::Result<()> {
        if rows {
            let sql = "DROP TABLE IF EXISTS pidstore_pid, rdm_records_metadata, vocabularies_metadata, vocabularies_types; \
                       DROP SCHEMA IF EXISTS ecosystem CASCADE";
            self.arena.ok(&["psql", "-q", "-c", sql])?;
        }
        if documents {
            let (status, answer) = opensearch::ask(&self.endpoint("opensearch")?, "DELETE", INDICES, None)?;
            anyhow::ensure!(status == 200, "indices cannot be deleted: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// Starts a load and kills it, or one of its servers.
    fn cut_short(
        &self,
        after: Duration,
        random: &mut fastrand::Rng,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let mut program = self.arena.begin(&["seed", "big"])?;
        interrupt::pause(after, || false)?;
        if program.try_wait()?.is_some() {
            counts.add("was finished already");
            return Ok(());
        }
        let (victim, what) = if random.u8(..) < 170 {
            (Some(program.id()), "killed")
        } else {
            let supervisor = supervisor::holder(&self.arena.state())?;
            let servers = self.arena.family()?.into_iter().filter(|pid| Some(*pid) != supervisor);
            (random.choice(servers.collect::<Vec<_>>()), "a server was killed")
        };
        let victim = victim.and_then(|pid| Pid::from_raw(pid.cast_signed())).context("something runs")?;
        // It may have ended in this moment.
        let _gone = rustix::process::kill_process(victim, Signal::KILL);
        program.wait()?;
        counts.add(what);
        Ok(())
    }

    fn is_whole(&self) -> anyhow::Result<()> {
        // Where a server was killed, it may be on its way up again.
        self.arena.ok(&["up", "--no-seed", "postgresql", "opensearch"])?;
        self.arena.ok(&["seed", "big"])?;
        self.arena.ok(&["pack", "verify", "big"])?;
        let path = "/_cat/indices/invenio-*?h=index";
        let (_, indices) = opensearch::ask(&self.endpoint("opensearch")?, "GET", path, None)?;
        let indices = String::from_utf8_lossy(&indices).into_owned();
        anyhow::ensure!(indices.lines().count() == 2, "there are other indices: {indices}");
        Ok(())
    }
}

impl Trial for Seed<'_> {
    const NAME: &'static str = "seed";
    const ROUNDS: usize = 100;

    fn round(&mut self, random: &mut fastrand::Rng, counts: &mut Counts) -> anyhow::Result<()> {
        let (rows, documents) = *random
            .choice(&[(true, true), (true, true), (true, false), (false, true)])
            .unwrap_or(&(true, true));
        self.lose(rows, documents)?;
        for _ in 0..random.usize(1..=3) {
            let after = Duration::from_micros(random.u64(0..u64::try_from(LOAD.as_micros())?));
            self.cut_short(after, random, counts)
                .and_then(|()| if random.bool() { Ok(()) } else { self.is_whole() })
                .with_context(|| format!("killed after {after:?}"))?;
        }
        self.is_whole()
    }

    fn recover(&mut self) -> anyhow::Result<()> {
        self.arena.ok(&["up", "--no-seed", "postgresql", "opensearch"])?;
        self.lose(true, true)
    }
}
