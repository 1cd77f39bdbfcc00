//! The clock of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use ecosystem_core::log::Time;

/// The time now, to the second.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
