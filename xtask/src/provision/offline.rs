//! What is missing where nothing may be fetched: all of it at once, with how much that would be.

use std::collections::BTreeMap;

use ecosystem_core::failure::{Failure, Kind};

/// One thing that is not there, and what it would be fetched as.
pub(super) struct Missing {
    pub(super) version: Option<String>,
    /// What its parts are called.
    pub(super) unit: &'static str,
    /// Names, and bytes where the lock knows them.
    pub(super) parts: Vec<(String, Option<u64>)>,
}

pub(super) fn offline_missing(missing: &BTreeMap<&str, Missing>) -> Failure {
    let size = |bytes: u64| {
        if bytes < 100_000 {
            format!("{} kB", bytes.div_ceil(1000))
        } else {
            format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
        }
    };
    let sized = |bytes: u64| if bytes == 0 { String::new() } else { format!(", {}", size(bytes)) };
    let sum = |missing: &Missing| missing.parts.iter().filter_map(|(_, bytes)| *bytes).sum::<u64>();
    let line = |(name, missing): (&&str, &Missing)| {
        let version = missing.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let count = match missing.parts.len() {
            0 => format!("{}s", missing.unit),
            1 => format!("1 {}", missing.unit),
            count => format!("{count} {}s", missing.unit),
        };
        format!("\n  {name}{version}: {count}{}", sized(sum(missing)))
    };
    let total = sized(missing.values().map(sum).sum());
    let total = if total.is_empty() { total } else { format!("{total} where the size is known") };
    let lines: String = missing.iter().map(line).collect();
    let message = format!("nothing may be fetched, and this is missing{total}:{lines}");
    let detail = |(name, bytes): &(String, Option<u64>)| match bytes {
        Some(bytes) => format!("{name}  {}", size(*bytes)),
        None => name.clone(),
    };
    let mut failure = Failure::new(Kind::Host, "offline-missing", message).hint(
        "bring it with a bundle, `{program} provision --from FILE`, or repeat the command without --offline",
    );
    failure.details = missing.values().flat_map(|missing| &missing.parts).map(detail).collect();
    failure
}
