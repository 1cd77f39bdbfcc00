//! OpenSearch Dashboards: is it usable and ours, and are the indices of the project what it shows first. Identity is its name.
//!
//! It is usable when it says so of all of its parts, of which the connection to the search engine is one.

use ecosystem_core::endpoint::{Attempt, Endpoint};
use serde_json::{Value, json};

use super::http::{Http, Reply};
use super::{Effort, trouble};

const ROLE: &str = "http";

/// The id of the index pattern that this project makes. People may make others.
const PATTERN: &str = "ecosystem";

/// What every request that changes something has to carry, so that no page of another site can send one.
const OWN_PAGE: (&str, &str) = ("osd-xsrf", "true");

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let client = Http::new(endpoint, ROLE, effort.limit()).with_header(OWN_PAGE);
    let address = endpoint.address(ROLE);
    let reply = client.get("/api/status").map_err(|error| trouble(&error, "HTTP", &address))?;
    // While it starts it answers with this status and a line of text.
    if !reply.ok() {
        return Err(Attempt::NotYet(format!("{address} answers /api/status with {}", reply.reason())));
    }
    let status = reply.json().map_err(|error| trouble(&error, "OpenSearch Dashboards", &address))?;
    let name = status["name"].as_str().unwrap_or_default();
    if !endpoint.is_elsewhere() && name != endpoint.identity {
        let text =
            format!("{address} is an OpenSearch Dashboards called `{name}`, not `{}`", endpoint.identity);
        return Err(Attempt::Never(text));
    }
    if let Some(reason) = unusable(&status["status"]) {
        return Err(Attempt::NotYet(reason));
    }
    match &endpoint.database {
        Some(prefix) if effort == Effort::Write => show(&client, &address, &format!("{prefix}*")),
        _ => Ok(()),
    }
}

/// Why it is not usable yet, in its own words.
fn unusable(status: &Value) -> Option<String> {
    // Green in the words of versions 1 and 2, available where it tells by levels.
    let state = |part: &Value| {
        let said = part["state"].as_str().or_else(|| part["level"].as_str());
        said.unwrap_or("unknown").to_owned()
    };
    let good = |part: &Value| ["green", "available"].contains(&state(part).as_str());
    if good(&status["overall"]) {
        return None;
    }
    let parts = status["statuses"].as_array().into_iter().flatten();
    let first = parts.into_iter().find(|part| !good(part));
    let reason = first.map(|part| {
        let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
        format!(": {} {}", text("id"), text("message"))
    });
    Some(format!("its state is {}{}", state(&status["overall"]), reason.unwrap_or_default()))
}

/// Makes the index pattern, where it is not there, and shows it first, where nobody has chosen another one.
fn show(client: &Http, address: &str, title: &str) -> Result<(), Attempt> {
    let asked = |reply: std::io::Result<Reply>| reply.map_err(|error| trouble(&error, "HTTP", address));
    let refused = |what: &str, reply: &Reply| {
        Err(Attempt::NotYet(format!("{address} did not {what}: {}", reply.reason())))
    };
    let made = json!({ "attributes": { "title": title } });
    let reply = asked(client.send("POST", &format!("/api/saved_objects/index-pattern/{PATTERN}"), &made))?;
    // 409: an earlier start has made it, and people may have changed it since.
    if !reply.ok() && reply.status != 409 {
        return refused("take the index pattern", &reply);
    }
    let settings = "/api/opensearch-dashboards/settings";
    let reply = asked(client.get(settings))?;
    let known = reply.json().unwrap_or_default();
    let chosen = known.pointer("/settings/defaultIndex/userValue").and_then(Value::as_str);
    if !reply.ok() || chosen.is_some_and(|chosen| !chosen.is_empty()) {
        return if reply.ok() { Ok(()) } else { refused("tell its settings", &reply) };
    }
    let reply =
        asked(client.send("POST", &format!("{settings}/defaultIndex"), &json!({ "value": PATTERN })))?;
    if reply.ok() { Ok(()) } else { refused("take the index pattern as the first one", &reply) }
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::{endpoint, server};
    use super::*;

    fn http(status: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    fn status(name: &str, state: &str) -> Value {
        let part =
            json!({ "id": "core:opensearch@2.3.0", "state": state, "message": "no living connections" });
        json!({ "name": name, "status": { "overall": { "state": state }, "statuses": [part] } })
    }

    /// One look, and what it was sent.
    fn look(effort: Effort, answers: Vec<Vec<u8>>) -> (Result<(), Attempt>, String) {
        let (port, seen) = server(answers);
        let endpoint = Endpoint { database: Some("invenio-".into()), ..endpoint(Kind::Dashboards, port) };
        // It has no login: nobody is to be sent a password.
        let endpoint = Endpoint { secret: None, ..endpoint };
        let answer = check(&endpoint, effort);
        (answer, String::from_utf8(seen.join().unwrap()).unwrap())
    }

    #[test]
    fn it_is_usable_when_all_of_it_is_and_only_then() {
        assert_eq!(look(Effort::Look, vec![http("200 OK", &status("ours", "green"))]).0, Ok(()));
        let levels = json!({ "name": "ours", "status": { "overall": { "level": "available" } } });
        assert_eq!(look(Effort::Look, vec![http("200 OK", &levels)]).0, Ok(()));
        let (answer, _) = look(Effort::Look, vec![http("200 OK", &status("ours", "red"))]);
        let reason = "its state is red: core:opensearch@2.3.0 no living connections";
        assert_eq!(answer, Err(Attempt::NotYet(reason.into())));
        let (answer, _) = look(Effort::Look, vec![http("503 no", &json!("not ready yet"))]);
        assert!(
            matches!(&answer, Err(Attempt::NotYet(reason)) if reason.contains("not ready yet")),
            "{answer:?}"
        );
    }

    #[test]
    fn one_of_another_name_is_not_ours() {
        let (answer, _) = look(Effort::Look, vec![http("200 OK", &status("other", "green"))]);
        assert!(matches!(answer, Err(Attempt::Never(_))), "{answer:?}");
    }

    #[test]
    fn the_index_pattern_is_made_once_and_shown_first() {
        let ready = || http("200 OK", &status("ours", "green"));
        let (answer, seen) = look(
            Effort::Write,
            vec![
                ready(),
                http("200 OK", &json!({})),
                http("200 OK", &json!({ "settings": {} })),
                http("200 OK", &json!({})),
            ],
        );
        assert_eq!(answer, Ok(()));
        assert!(seen.contains("POST /api/saved_objects/index-pattern/ecosystem "), "{seen}");
        assert!(seen.contains(r#"{"attributes":{"title":"invenio-*"}}"#), "{seen}");
        assert!(seen.contains("POST /api/opensearch-dashboards/settings/defaultIndex "), "{seen}");
        assert!(seen.to_lowercase().contains("osd-xsrf: true"), "{seen}");

        let chosen = json!({ "settings": { "defaultIndex": { "userValue": "mine" } } });
        let (answer, seen) =
            look(Effort::Write, vec![ready(), http("409 Conflict", &json!({})), http("200 OK", &chosen)]);
        assert_eq!(answer, Ok(()));
        assert!(!seen.contains("defaultIndex"), "a person's choice stays: {seen}");
    }
}
