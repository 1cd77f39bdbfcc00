//! Starts at which somebody else comes to one of our ports, before or in the middle of it. Nothing may count as ready that is not ours.
//!
//! The judge is the kernel: who listens on a port when `up` has said that all is ready.

use std::time::Duration;

use anyhow::Context as _;

use super::arena::Arena;
use super::imposter::{Act, Imposter};
use super::{Counts, Trial};
use crate::context::Context;
use crate::sys::{interrupt, os};

/// The proof: a project, and another one on the same ports.
pub(super) struct Starts<'a> {
    ours: Arena<'a>,
    rival: Arena<'a>,
}

/// Services with the role that an imposter takes, and how often a round is about them.
const SERVICES: [(&str, &str, u16, u16); 4] = [
    ("redis", "redis", 6579, 1),
    ("postgresql", "sql", 5632, 3),
    ("rabbitmq", "amqp", 5872, 60),
    ("opensearch", "http", 9400, 120),
];

impl<'a> Starts<'a> {
    pub(super) fn new(context: &'a Context) -> anyhow::Result<Self> {
        let ours = Arena::new(context)?;
        let rival = Arena::at(context, ours.offset)?;
        // Fills the store, which is not what is proven here.
        ours.ok(&["up"])?;
        ours.ok(&["down"])?;
        Ok(Self { ours, rival })
    }

    /// Every listener on a port of these services is one of ours.
    fn all_ours(&self, services: &[&str]) -> anyhow::Result<()> {
        let family = self.ours.family()?;
        for (service, _, port, _) in SERVICES.iter().filter(|(name, ..)| services.contains(name)) {
            let port = port + self.ours.offset;
            let listeners = os::listeners(Some(&[port].into()))?;
            let owners: Vec<Option<u32>> =
                listeners.iter().map(|listener| listener.owner.as_ref().map(|owner| owner.pid)).collect();
            let ours = !owners.is_empty() && owners.iter().flatten().all(|pid| family.contains(pid));
            anyhow::ensure!(
                ours,
                "WRONG READY: {service} was told ready, and {owners:?} listen on port {port}"
            );
        }
        Ok(())
    }

    /// A start with somebody else on a port.
    fn with_imposter(
        &mut self,
        services: &[&str],
        random: &mut fastrand::Rng,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let victims: Vec<_> = SERVICES.iter().filter(|(name, ..)| services.contains(name)).collect();
        let Some((service, _, port, _)) = random.choice(&victims) else { return Ok(()) };
        let port = port + self.ours.offset;
        let rival = matches!(*service, "redis" | "postgresql") && random.u8(0..6) == 0;
        let up = [&["up"], services].concat();
        if rival {
            // A healthy server of another project, which is there first.
            self.rival.ok(&["up", service])?;
            let output = self.ours.run(&up)?;
            self.rival.ok(&["down"])?;
            counts.add("imposter: a healthy server of another project");
            anyhow::ensure!(output.status != 0, "WRONG READY: {service} of another project counted as ours");
            let named = output.stderr.contains(self.rival.root.as_str());
            anyhow::ensure!(named, "the other project is not named: {}", output.stderr.trim());
            return Ok(());
        }
        let act = *random.choice(&Act::ALL).unwrap_or(&Act::Silent);
        let early = random.u8(0..3) == 0;
        // The time in which most servers begin to listen.
        let delay = Duration::from_micros(random.u64(0..120_000));
        let mut imposter = early.then(|| Imposter::appear(port, act)).flatten();
        let mut program = self.ours.begin(&up)?;
        if !early {
            interrupt::pause(delay, || false)?;
            imposter = Imposter::appear(port, act);
        }
        let status = program.wait()?;
        let said = self.ours.said();
        let present = imposter.is_some();
        let verdict = if status.success() { self.all_ours(services) } else { Ok(()) };
        verdict.with_context(|| format!("{act:?} on port {port}, {}", moment(early, delay)))?;
        if present {
            counts.add(format!("imposter: {act:?}"));
            anyhow::ensure!(!status.success(), "`up` succeeded without the port of {service}");
            let pid = format!("pid {}", std::process::id());
            anyhow::ensure!(
                said.contains("error[port-taken]") && said.contains(&pid) && said.contains(&port.to_string()),
                "the cause is not named ({act:?}, {}): {}",
                moment(early, delay),
                said.trim()
            );
        } else {
            counts.add("the imposter came too late");
            anyhow::ensure!(status.success(), "nobody was in the way, and `up` failed: {}", said.trim());
        }
        drop(imposter);
        Ok(())
    }
}

fn moment(early: bool, delay: Duration) -> String {
    if early { "there before".to_owned() } else { format!("{delay:?} into it") }
}

impl Trial for Starts<'_> {
    const NAME: &'static str = "starts";
    const ROUNDS: usize = 2_000;

    fn round(&mut self, random: &mut fastrand::Rng, counts: &mut Counts) -> anyhow::Result<()> {
        let mut services: Vec<&str> = SERVICES
            .iter()
            .filter(|(_, _, _, one_in)| random.u16(0..*one_in) == 0)
            .map(|(service, ..)| *service)
            .collect();
        random.shuffle(&mut services);
        if random.u8(0..3) == 0 {
            self.with_imposter(&services, random, counts)?;
        } else {
            counts.add("nobody in the way");
            self.ours.ok(&[&["up"], services.as_slice()].concat())?;
            self.all_ours(&services)?;
        }
        let data = random.u8(0..8) == 0;
        self.ours.ok(if data { &["down", "--data", "--yes"] } else { &["down"] })?;
        Ok(())
    }

    fn recover(&mut self) -> anyhow::Result<()> {
        self.rival.ok(&["down"])?;
        self.ours.ok(&["down"])
    }
}
