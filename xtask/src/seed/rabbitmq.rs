//! The RabbitMQ part: exchanges, queues and bindings. What is declared is its own receipt: it is read back and compared.

use ecosystem_core::endpoint::Endpoint;
use serde_json::{Map, Value};

use super::{Counts, Pack, State};
use crate::client::rabbitmq::{Definitions, Management};

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let there = Management::open(endpoint)?.definitions()?;
    Ok(judge(&pack.definitions()?, &there))
}

pub(super) fn load(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<Counts> {
    let management = Management::open(endpoint)?;
    let wanted = pack.definitions()?;
    management.import(&wanted)?;
    // Read back, not believed.
    Ok(match judge(&wanted, &management.definitions()?) {
        State::Loaded(counts) => counts,
        _ => Counts::new(),
    })
}

/// What makes two declarations the same thing, and what may not differ between them.
const NAMED: [&str; 1] = ["name"];
const ROUTE: [&str; 4] = ["source", "destination", "destination_type", "routing_key"];
const FIXED: [&str; 3] = ["type", "durable", "auto_delete"];

fn judge(wanted: &Definitions, there: &Definitions) -> State {
    let (mut missing, mut foreign) = (Vec::new(), Vec::new());
    let kinds = [
        ("exchange", &wanted.exchanges, &there.exchanges, NAMED.as_slice()),
        ("queue", &wanted.queues, &there.queues, &NAMED),
        ("binding", &wanted.bindings, &there.bindings, &ROUTE),
    ];
    for (kind, wanted, there, key) in kinds {
        for want in wanted {
            let name = want.get(key[0]).and_then(Value::as_str).unwrap_or("");
            let same =
                |have: &&Map<String, Value>| key.iter().all(|field| have.get(*field) == want.get(*field));
            match there.iter().find(same) {
                None => missing.push(format!("{kind} {name}")),
                Some(have) if !fits(want, have) => foreign.push(format!("{kind} {name}")),
                Some(_) => {}
            }
        }
    }
    if !foreign.is_empty() {
        return State::Foreign(format!("RabbitMQ has its own {}, with other properties", foreign.join(", ")));
    }
    match missing.as_slice() {
        [] => State::Loaded(
            wanted.queues.iter().filter_map(|q| Some((q.get("name")?.as_str()?.to_owned(), 1))).collect(),
        ),
        [only] => State::Missing(format!("the {only} is not declared")),
        [first, rest @ ..] => State::Missing(format!("the {first} and {} more are not declared", rest.len())),
    }
}

/// Servers add arguments of their own, such as the type of a queue; those asked for must be there.
fn fits(want: &Map<String, Value>, have: &Map<String, Value>) -> bool {
    let fixed =
        FIXED.iter().all(|field| want.get(*field).is_none_or(|value| have.get(*field) == Some(value)));
    let arguments = want.get("arguments").and_then(Value::as_object).into_iter().flatten();
    fixed
        && arguments
            .into_iter()
            .all(|(name, value)| have.get("arguments").and_then(|all| all.get(name)) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue(name: &str, durable: bool, arguments: &Value) -> Definitions {
        let queue = json!({"name": name, "durable": durable, "auto_delete": false, "arguments": arguments});
        serde_json::from_value(json!({"queues": [queue]})).unwrap()
    }

    #[test]
    fn what_the_server_adds_does_not_matter() {
        let there = queue("celery", true, &json!({"x-queue-type": "classic"}));
        let loaded = State::Loaded(Counts::from([("celery".into(), 1)]));
        assert_eq!(judge(&queue("celery", true, &json!({})), &there), loaded);
    }

    #[test]
    fn a_queue_with_other_properties_is_somebody_elses() {
        let there = queue("celery", false, &json!({}));
        assert!(matches!(judge(&queue("celery", true, &json!({})), &there), State::Foreign(_)));
        let there = queue("celery", true, &json!({}));
        assert!(matches!(
            judge(&queue("celery", true, &json!({"x-max-priority": 5})), &there),
            State::Foreign(_)
        ));
    }

    #[test]
    fn what_is_not_declared_is_named() {
        let wanted = queue("celery", true, &json!({}));
        let state = judge(&wanted, &Definitions::default());
        assert_eq!(state, State::Missing("the queue celery is not declared".into()));
    }
}
