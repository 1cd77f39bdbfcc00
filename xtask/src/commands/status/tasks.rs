//! What of `status` concerns the background tasks of the application.

use std::collections::BTreeMap;

use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::Endpoint;

use super::{Service, State, uptime};
use crate::app::tasks::{Tasks, count};

/// What is left, where an application runs with a broker that can be asked.
pub(super) fn of(services: &[Service], endpoints: &BTreeMap<String, Endpoint>) -> Option<Tasks> {
    let runs = |kind: Kind| {
        let of_kind = endpoints.iter().filter(|(_, endpoint)| endpoint.kind == kind);
        let usable = |name: &str| {
            services.iter().any(|s| s.name == name && matches!(s.state, State::Ready | State::NotReady))
        };
        of_kind.filter(|(name, _)| usable(name)).map(|(_, endpoint)| endpoint).next()
    };
    runs(Kind::Invenio)?;
    // A broker without the plugin that counts says nothing.
    let broker = runs(Kind::Rabbitmq).filter(|broker| broker.ports.contains_key("http"))?;
    count(broker).ok()
}

/// The line that people read.
pub(super) fn line(tasks: &Tasks) -> String {
    match (tasks.left, tasks.seconds_left) {
        (0, _) => "No background task is left.".to_owned(),
        (left, Some(seconds)) => format!(
            "{left} background tasks are left: {:.0} a second, about {}.",
            tasks.rate,
            uptime(seconds.saturating_mul(1000))
        ),
        (left, None) => format!("{left} background tasks are left, and none was done in the last seconds."),
    }
}
