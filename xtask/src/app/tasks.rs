//! Background tasks: how many are left in the broker's queues, and waiting until there is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use serde::Serialize;

use crate::client::Halt;
use crate::client::rabbitmq::Management;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::interrupt;

/// The broker counts messages every five seconds: queues that are empty for longer are empty.
const QUIET: Duration = Duration::from_secs(6);
const PERIOD: Duration = Duration::from_millis(500);

/// What is left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Tasks {
    /// Messages in all queues of tasks, those among them that a worker has taken and not yet confirmed.
    pub left: u64,
    /// How many are confirmed, a second.
    pub rate: f64,
    /// At this rate; absent where nobody works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl Tasks {
    /// What is left, and how long that takes at this rate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub fn at(left: u64, rate: f64) -> Self {
        let seconds_left = (rate > 0.0).then(|| (left as f64 / rate).ceil() as u64);
        Self { left, rate, seconds_left }
    }
}

/// Counts them now.
pub fn count(endpoint: &Endpoint) -> anyhow::Result<Tasks> {
    let (queues, rate) = Management::open(endpoint)?.tasks()?;
    Ok(Tasks::at(queues.values().sum(), rate))
}

/// Waits until no queue holds a task, and stays so. Fails where nobody takes one for as long as `patience`.
pub fn drain(
    endpoint: &Endpoint,
    section: Section,
    patience: Option<Duration>,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let management = Management::open(endpoint)?;
    let task = Task::start(events, section, "background tasks");
    let (mut most, mut quiet) = (0, None);
    let (mut least, mut since) = (u64::MAX, Instant::now());
    let nobody = Halt::default();
    loop {
        interrupt::check()?;
        let (queues, _) = management.tasks()?;
        let waiting: u64 = queues.values().sum();
        most = most.max(waiting);
        task.progress(most - waiting, Some(most), Unit::Items);
        if waiting > 0 {
            quiet = None;
        } else if quiet.get_or_insert_with(Instant::now).elapsed() >= QUIET {
            task.finish(if most > 0 { format!("{most} done") } else { "none left".to_owned() });
            return Ok(());
        }
        if waiting < least {
            (least, since) = (waiting, Instant::now());
        }
        if waiting > 0 && patience.is_some_and(|patience| since.elapsed() > patience) {
            return Err(stuck(&queues, since.elapsed()).into());
        }
        nobody.pause(PERIOD);
    }
}

fn stuck(queues: &BTreeMap<String, u64>, since: Duration) -> Failure {
    let waiting: u64 = queues.values().sum();
    let queues: Vec<String> = queues.iter().map(|(queue, count)| format!("{queue} {count}")).collect();
    let message = format!(
        "{waiting} background tasks are left, and it has not become fewer for {} s: {}",
        since.as_secs(),
        queues.join(", ")
    );
    Failure::new(Kind::Service, "tasks-stuck", message)
        .hint("see what the worker says: {program} logs invenio")
        .hint("start it again: {program} restart invenio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_the_rate_says() {
        assert_eq!(Tasks::at(1_001, 100.0).seconds_left, Some(11));
        assert_eq!(Tasks::at(5, 0.0).seconds_left, None);
        assert_eq!(Tasks::at(0, 0.0), Tasks::default());
    }
}
