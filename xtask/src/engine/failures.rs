//! The failures of services that do not become ready, in the words that people read.

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::marker;
use ecosystem_core::shortage::OUT_OF_MEMORY;

use crate::sys::launch;

pub(super) fn stopped(service: &str, process: &str, pid: u32) -> Failure {
    let message = format!("{process} (pid {pid}) runs, but a signal has stopped it, so it cannot answer");
    Failure::new(Kind::Service, "service-stopped", message)
        .hint(format!("let it go on: kill -CONT {pid}"))
        .hint(format!("or start it afresh: {{program}} restart {service}"))
}

pub(super) fn unknowable(service: &str, reason: &str) -> Failure {
    Failure::new(Kind::Service, "ready-not-runnable", format!("whether {service} is ready cannot be found out: {reason}"))
        .hint(format!("correct `ready` in [services.{service}] of ecosystem.toml, or make its program executable where it is looked for"))
        .hint(format!("it keeps running; to stop it: {{program}} down {service}"))
}

/// The kernel has killed a server: its own log knows nothing of it.
pub(super) fn out_of_memory(service: &str, process: &str) -> Failure {
    Failure::new(Kind::Service, "service-out-of-memory", format!("{process} was {OUT_OF_MEMORY}"))
        .hint("give this machine, container or control group more memory, or end something else in it")
        .hint(format!("or let {service} want less, by `heap` or `settings` in ecosystem.toml"))
}

pub(super) fn refused(service: &str, reason: &str) -> Failure {
    Failure::new(
        Kind::Service,
        "service-not-ours",
        format!("what answers for {service} is not ours: {reason}"),
    )
    .hint("who holds the port: {program} status")
}

/// The end of a log, set off from the message.
pub(super) fn quote_log(log: &camino::Utf8Path) -> String {
    let text = launch::tail(log, 1_500).unwrap_or_default();
    let text = marker::last_run(&text);
    if text.trim().is_empty() {
        return format!("  it has written nothing into {log}");
    }
    let lines: Vec<String> = text.lines().rev().take(12).map(|line| format!("  | {line}")).collect();
    format!("  {log} ends with\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
