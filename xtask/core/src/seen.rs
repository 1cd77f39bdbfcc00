//! The containers of a Compose project as the engine tells of them: reading what `docker inspect` prints.
//!
//! Deliberately not here: how the engine is asked (`xtask/src/backend/compose.rs`), and what is done about what is seen (`plan`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::render::compose::{LABEL_PLACE, LABEL_SET};
use crate::shortage::OUT_OF_MEMORY;

/// A container of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id, whole.
    pub id: String,
    pub name: String,
    /// The id of the image that it was made from.
    pub image: String,
    pub phase: Phase,
    /// Its first process, as the machine of the engine counts.
    pub pid: Option<u32>,
    /// When it was started last, as the engine writes it: `2026-11-24T10:00:00.123456789Z`.
    pub started: String,
    /// How often the engine has started it again since it was started.
    pub restarts: u32,
    /// What was set when it was made.
    pub labels: BTreeMap<String, String>,
    /// The ports of this machine that lead to it, and the addresses that they are published on.
    pub ports: BTreeSet<(u16, String)>,
}

/// How it stands with a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was made, and never started: something was in the way.
    Created,
    Running,
    /// Somebody has paused it.
    Paused,
    /// The engine starts it again in a moment.
    Restarting {
        how: String,
    },
    Ended {
        how: String,
    },
}

impl Seen {
    /// Whether its processes are there.
    pub const fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }
}

/// Reads what `docker inspect` printed: the containers of the place with this id, by service; `None` where it is no list.
pub fn read(text: &str, place: &str) -> Option<BTreeMap<String, Seen>> {
    let all: Vec<Value> = serde_json::from_str(text).ok()?;
    let one = |container: &Value| {
        let label = |name: &str| container["Config"]["Labels"][name].as_str();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // Another project under the same name is not touched.
        let service = label("com.docker.compose.service").filter(|_| label(LABEL_PLACE) == Some(place))?;
        // What somebody ran once from the same file is not the service.
        if label("com.docker.compose.oneoff") == Some("True") {
            return None;
        }
        let state = &container["State"];
        let how = || how(state);
        let phase = match state["Status"].as_str().unwrap_or_default() {
            "running" => Phase::Running,
            "paused" => Phase::Paused,
            "created" => Phase::Created,
            "restarting" => Phase::Restarting { how: how() },
            _ => Phase::Ended { how: how() },
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let labels: BTreeMap<String, String> =
            label(LABEL_SET).and_then(|set| serde_json::from_str(set).ok()).unwrap_or_default();
        let ports = if container["HostConfig"]["NetworkMode"] == "host" {
            listening(&labels)
        } else {
            published(&container["NetworkSettings"]["Ports"])
        };
        let seen = Seen {
            id: text(&container["Id"]),
            name: text(&container["Name"]).trim_start_matches('/').to_owned(),
            image: text(&container["Image"]),
            phase,
            pid: number(&state["Pid"]).filter(|pid| *pid != 0),
            started: text(&state["StartedAt"]),
            restarts: number(&container["RestartCount"]).unwrap_or(0),
            labels,
            ports,
        };
        Some((service.to_owned(), seen))
    };
    let mut found: BTreeMap<String, Seen> = BTreeMap::new();
    for (service, seen) in all.iter().filter_map(one) {
        // Of several, as after an interrupted change, the one that runs.
        if found.get(&service).is_none_or(|other| !other.runs()) {
            found.insert(service, seen);
        }
    }
    Some(found)
}

/// How its last run ended, as a person reads it.
fn how(state: &Value) -> String {
    if state["OOMKilled"].as_bool() == Some(true) {
        return OUT_OF_MEMORY.to_owned();
    }
    let error = state["Error"].as_str().filter(|error| !error.is_empty());
    match (error, state["ExitCode"].as_i64().unwrap_or(-1)) {
        (Some(error), _) => error.to_owned(),
        (None, code @ 129..=159) => format!("ended by signal {}", code - 128),
        (None, code) => format!("ended with exit status {code}"),
    }
}

/// The ports of a container that has no network of its own: it was told where to listen.
fn listening(labels: &BTreeMap<String, String>) -> BTreeSet<(u16, String)> {
    let bind = labels.get("bind").cloned().unwrap_or_default();
    let ports = labels.iter().filter(|(label, _)| label.starts_with("ports."));
    ports.filter_map(|(_, port)| Some((port.parse().ok()?, bind.clone()))).collect()
}

/// `{"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5632"}], "9600/tcp": null}`
fn published(ports: &Value) -> BTreeSet<(u16, String)> {
    let bindings = ports.as_object().into_iter().flat_map(|ports| ports.values());
    let bindings = bindings.filter_map(Value::as_array).flatten();
    let one = |binding: &Value| {
        let port = binding["HostPort"].as_str()?.parse().ok()?;
        Some((port, binding["HostIp"].as_str().unwrap_or_default().to_owned()))
    };
    bindings.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What Docker Engine 20.10 prints, shortened.
    fn container(service: &str, place: &str, state: &Value) -> Value {
        json!({
            "Id": "4f66", "Name": format!("/ecosystem-a-{service}-1"), "Image": "sha256:1", "RestartCount": 2, "State": state,
            "Config": {"Labels": {
                "com.docker.compose.service": service, LABEL_PLACE: place, LABEL_SET: "{\"bind\":\"127.0.0.1\"}",
            }},
            "NetworkSettings": {"Ports": {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5632"}], "9600/tcp": null}},
        })
    }

    #[test]
    fn a_container_is_read_whole() {
        let text = json!([container(
            "postgresql",
            "a-1",
            &json!({"Status": "running", "Pid": 7, "StartedAt": "2026"})
        )]);
        let seen = &read(&text.to_string(), "a-1").unwrap()["postgresql"];
        let expected = Seen {
            id: "4f66".into(),
            name: "ecosystem-a-postgresql-1".into(),
            image: "sha256:1".into(),
            phase: Phase::Running,
            pid: Some(7),
            started: "2026".into(),
            restarts: 2,
            labels: [("bind".to_owned(), "127.0.0.1".to_owned())].into(),
            ports: [(5632, "127.0.0.1".to_owned())].into(),
        };
        assert_eq!(*seen, expected);
    }

    #[test]
    fn without_a_network_of_its_own_it_listens_where_it_was_told() {
        let mut host = container("pgadmin", "a-1", &json!({"Status": "running"}));
        host["HostConfig"] = json!({"NetworkMode": "host"});
        host["Config"]["Labels"][LABEL_SET] = json!("{\"bind\":\"127.0.0.1\",\"ports.http\":\"5250\"}");
        let seen = read(&json!([host]).to_string(), "a-1").unwrap();
        assert_eq!(seen["pgadmin"].ports, [(5250, "127.0.0.1".to_owned())].into());
    }

    #[test]
    fn how_it_ended_is_told_in_words() {
        let phase = |state: Value| {
            let text = json!([container("redis", "a-1", &state)]).to_string();
            read(&text, "a-1").unwrap().remove("redis").map(|seen| seen.phase)
        };
        let ended = |how: &str| Some(Phase::Ended { how: how.to_owned() });
        assert_eq!(
            phase(json!({"Status": "exited", "ExitCode": 137, "Error": ""})),
            ended("ended by signal 9")
        );
        assert_eq!(phase(json!({"Status": "exited", "ExitCode": 0})), ended("ended with exit status 0"));
        assert_eq!(
            phase(json!({"Status": "exited", "OOMKilled": true, "ExitCode": 137})),
            ended(OUT_OF_MEMORY)
        );
        assert_eq!(
            phase(json!({"Status": "created", "ExitCode": 128, "Error": "no such file"})),
            Some(Phase::Created)
        );
        let how = "ended with exit status 1".to_owned();
        assert_eq!(phase(json!({"Status": "restarting", "ExitCode": 1})), Some(Phase::Restarting { how }));
        assert_eq!(phase(json!({"Status": "paused"})), Some(Phase::Paused));
    }

    #[test]
    fn what_is_not_ours_or_cannot_be_read_is_not_seen() {
        let others = json!([container("redis", "b-2", &json!({"Status": "running"})), {"Id": "5"}]);
        assert!(read(&others.to_string(), "a-1").unwrap().is_empty());
        let mut once = container("redis", "a-1", &json!({"Status": "running"}));
        once["Config"]["Labels"]["com.docker.compose.oneoff"] = json!("True");
        assert!(read(&json!([once]).to_string(), "a-1").unwrap().is_empty());
        for text in ["[]", "[1]", "[{\"Config\": []}]"] {
            assert!(read(text, "a-1").unwrap().is_empty(), "{text}");
        }
        // Cut off, or something else: that is no answer.
        for text in ["", "[", "{}", "null", "[{\"Id\": "] {
            assert!(read(text, "a-1").is_none(), "{text}");
        }
    }
}
