//! The RabbitMQ part of a new pack: what is declared and lasts. Messages are not in it.

use std::collections::{BTreeMap, BTreeSet};

use ecosystem_core::capture::lasts;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::{Content, FilePath};
use serde_json::Value;

use super::super::Counts;
use super::super::making::Making;
use crate::client::rabbitmq::{Definitions, Management};

pub(super) fn take(
    endpoint: &Endpoint,
    making: &Making,
    files: &mut BTreeMap<FilePath, Content>,
) -> anyhow::Result<(FilePath, Counts)> {
    let definitions = lasting(Management::open(endpoint)?.definitions()?);
    let text = serde_json::to_string_pretty(&definitions)? + "\n";
    let path = making.whole("rabbitmq/definitions.json", &text, files)?;
    let names = definitions.queues.iter().filter_map(|queue| queue.get("name")?.as_str());
    Ok((path, names.map(|name| (name.to_owned(), 1)).collect()))
}

/// What outlives the programs that declared it, and the bindings between such, in an order that does not depend on time.
fn lasting(mut all: Definitions) -> Definitions {
    let text = |of: &serde_json::Map<String, Value>, key: &str| {
        of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    all.exchanges.retain(lasts);
    all.queues.retain(lasts);
    let known: BTreeSet<String> =
        all.exchanges.iter().chain(&all.queues).map(|one| text(one, "name")).collect();
    // The broker's own exchanges may be bound to queues that last.
    let there = |name: &str| known.contains(name) || name.starts_with("amq.");
    all.bindings.retain(|binding| there(&text(binding, "source")) && there(&text(binding, "destination")));
    let order = ["name", "source", "destination", "destination_type", "routing_key", "arguments"];
    for list in [&mut all.exchanges, &mut all.queues, &mut all.bindings] {
        list.sort_by_cached_key(|one| order.map(|key| one.get(key).map(Value::to_string)));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_programs_leave_behind_is_kept_and_in_order() {
        let all: Definitions = serde_json::from_value(json!({
            "exchanges": [
                {"name": "events", "durable": true, "auto_delete": false},
                {"name": "celeryev", "durable": false, "auto_delete": true},
                {"name": "celery", "durable": true, "auto_delete": false},
            ],
            "queues": [
                {"name": "b", "durable": true, "auto_delete": false},
                {"name": "celeryev.1", "durable": false, "auto_delete": true},
                {"name": "a", "durable": true, "auto_delete": false},
            ],
            "bindings": [
                {"source": "events", "destination": "b", "destination_type": "queue", "routing_key": "b"},
                {"source": "celeryev", "destination": "celeryev.1", "destination_type": "queue", "routing_key": ""},
                {"source": "amq.topic", "destination": "a", "destination_type": "queue", "routing_key": "#"},
            ],
        }))
        .unwrap();
        let all = lasting(all);
        let names = |list: &[serde_json::Map<String, Value>], key: &str| {
            list.iter().map(|one| one[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&all.exchanges, "name"), ["celery", "events"]);
        assert_eq!(names(&all.queues, "name"), ["a", "b"]);
        assert_eq!(names(&all.bindings, "source"), ["amq.topic", "events"]);
    }
}
