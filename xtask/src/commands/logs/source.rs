//! Where lines come from: the log file of a process, or what the engine keeps of a container.

use std::time::{Duration, Instant};

use ecosystem_core::log::{Line, stamped};

use crate::backend::compose::Compose;
use crate::site::logs::Log;

/// Enough for the last lines of a log, in bytes and in lines.
const TAIL: u64 = 1 << 20;
const TAIL_LINES: usize = 2_000;
/// More than the supervisor lets a log become: what was asked for may stand anywhere in it.
const WHOLE: u64 = 32 << 20;
/// Every look at a container's log is a command.
const PERIOD: Duration = Duration::from_secs(1);

/// A log, read from some point on.
pub(super) struct Source {
    pub(super) name: String,
    from: From,
}

enum From {
    File(Log),
    Container {
        compose: Compose,
        container: String,
        /// When the last line came that was read, as the engine writes it.
        last: Option<String>,
        looked: Instant,
    },
}

impl Source {
    pub(super) fn file(log: Log) -> Self {
        Self { name: log.name.clone(), from: From::File(log) }
    }

    pub(super) fn container(service: &str, compose: &Compose, container: &str) -> Self {
        let (compose, container) = (compose.clone(), container.to_owned());
        Self {
            name: service.to_owned(),
            from: From::Container { compose, container, last: None, looked: Instant::now() },
        }
    }

    /// The last lines, or all there are. [`Source::more`] goes on behind them.
    pub(super) fn end(&mut self, whole: bool) -> anyhow::Result<Vec<Line>> {
        match &mut self.from {
            From::File(log) => log.end(if whole { WHOLE } else { TAIL }),
            From::Container { compose, container, last, .. } => {
                let lines = compose.log(container, (!whole).then_some(TAIL_LINES), None)?;
                *last = time_of_last(&lines).or(last.take());
                Ok(stamped(lines.iter().map(String::as_str)))
            }
        }
    }

    /// The lines that were written since.
    pub(super) fn more(&mut self) -> anyhow::Result<Vec<Line>> {
        match &mut self.from {
            From::File(log) => log.more(),
            From::Container { compose, container, last, looked } => {
                if looked.elapsed() < PERIOD {
                    return Ok(Vec::new());
                }
                *looked = Instant::now();
                // One that is gone, or just being replaced, has said nothing since.
                let mut lines = compose.log(container, None, last.as_deref()).unwrap_or_default();
                // What came at this very time was read before.
                lines.retain(|line| last.as_deref().is_none_or(|last| time(line) > last));
                *last = time_of_last(&lines).or(last.take());
                Ok(stamped(lines.iter().map(String::as_str)))
            }
        }
    }
}

fn time(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

fn time_of_last(lines: &[String]) -> Option<String> {
    lines.last().map(|line| time(line).to_owned())
}
