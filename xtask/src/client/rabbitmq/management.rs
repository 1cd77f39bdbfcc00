//! RabbitMQ's management API: what is set in the broker, and its definitions in and out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{Failure, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use ecosystem_core::endpoint::encoded;

use super::super::http::Http;
use super::super::{portable, trouble, unusable};
use super::name;

pub(super) const ROLE: &str = "http";

/// Whether the management API answers, to us, and belongs to the same node.
pub(super) fn check(endpoint: &Endpoint, limit: Duration) -> Result<(), Attempt> {
    let overview = get(endpoint, &Http::new(endpoint, ROLE, limit), "/api/overview")?;
    let node = overview["node"].as_str().unwrap_or("");
    // An identity with an `@` is a node name and compared whole; without one, it is a name only.
    let ours = &endpoint.identity;
    let same = if ours.contains('@') { node == ours } else { ours.is_empty() || name(node) == ours };
    if same { Ok(()) } else { Err(Attempt::Never(format!("the RabbitMQ node {node} answers, not ours"))) }
}

fn get(endpoint: &Endpoint, client: &Http, path: &str) -> Result<Value, Attempt> {
    let address = endpoint.address(ROLE);
    let answer = client.get(path).map_err(|error| trouble(&error, "RabbitMQ's management API", &address))?;
    match answer.status {
        200 => answer.json().map_err(|error| trouble(&error, "RabbitMQ's management API", &address)),
        401 | 403 => Err(Attempt::Never(format!(
            "a management API that does not accept our login answers on {address}, not ours ({})",
            answer.reason()
        ))),
        _ => Err(Attempt::NotYet(format!("{address} answers {}", answer.reason()))),
    }
}

pub(in super::super) fn describe(endpoint: &Endpoint) -> anyhow::Result<BTreeMap<String, String>> {
    let client = Http::new(endpoint, ROLE, Duration::from_secs(10));
    let read = || -> Result<BTreeMap<String, String>, Attempt> {
        let overview = get(endpoint, &client, "/api/overview")?;
        let mut found = BTreeMap::new();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        found.insert("version".to_owned(), text(&overview["rabbitmq_version"]));
        for listener in array(&overview["listeners"]) {
            // The management listener shows its address only among the options of its socket.
            let address = listener.pointer("/socket_opts/ip").unwrap_or(&listener["ip_address"]);
            let port = portable(endpoint, &listener["port"].to_string());
            let name = format!("listener.{}", text(&listener["protocol"]));
            found.insert(name, format!("{}:{port}", text(address)));
        }
        for vhost in array(&get(endpoint, &client, "/api/vhosts")?) {
            found.insert(format!("vhost.{}", text(&vhost["name"])), "present".to_owned());
        }
        for user in array(&get(endpoint, &client, "/api/users")?) {
            // 3.10 sends a list, older versions a text with commas.
            let tags = match &user["tags"] {
                Value::Array(tags) => tags.iter().map(text).collect::<Vec<_>>().join(", "),
                other => text(other),
            };
            found.insert(format!("user.{}", text(&user["name"])), tags);
        }
        // Enabled plugins are left out: they come with the first statistics, seconds after a start. The launch has them.
        Ok(found)
    };
    read().map_err(|attempt| unusable(endpoint, attempt).into())
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Exchanges, queues and bindings of one virtual host, in RabbitMQ's own format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    #[serde(default)]
    pub exchanges: Vec<Map<String, Value>>,
    #[serde(default)]
    pub queues: Vec<Map<String, Value>>,
    #[serde(default)]
    pub bindings: Vec<Map<String, Value>>,
}

/// The management API of a broker that is ours, at work in one virtual host.
pub struct Management {
    client: Http,
    /// The virtual host, as it stands in a path.
    vhost: String,
}

impl Management {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let limit = Duration::from_secs(30);
        check(endpoint, limit).map_err(|attempt| unusable(endpoint, attempt))?;
        let vhost = endpoint.database.as_deref().unwrap_or("/");
        Ok(Self { client: Http::new(endpoint, ROLE, limit), vhost: encoded(vhost) })
    }

    /// The path of the definitions.
    fn path(&self) -> String {
        format!("/api/definitions/{}", self.vhost)
    }

    /// The queues that hold messages, delivered ones that nobody has confirmed among them. The broker counts every five seconds.
    pub fn waiting(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let path = format!("/api/queues/{}?columns=name,messages", self.vhost);
        let answer = self.client.get(&path).context("cannot read RabbitMQ's queues")?;
        if !answer.ok() {
            return Err(rejected("read", &answer.reason()).into());
        }
        let queues = answer.json().context("RabbitMQ's queues have an unknown form")?;
        let queue = |queue: &Value| Some((queue["name"].as_str()?.to_owned(), queue["messages"].as_u64()?));
        Ok(array(&queues).iter().filter_map(queue).filter(|(_, messages)| *messages > 0).collect())
    }

    /// What is declared now.
    pub fn definitions(&self) -> anyhow::Result<Definitions> {
        let answer = self.client.get(&self.path()).context("cannot read RabbitMQ's definitions")?;
        if !answer.ok() {
            return Err(rejected("read", &answer.reason()).into());
        }
        serde_json::from_slice(&answer.body).context("RabbitMQ's definitions have an unknown form")
    }

    /// Declares everything that is not there yet. What is there stays as it is.
    pub fn import(&self, definitions: &Definitions) -> anyhow::Result<()> {
        let body = serde_json::to_value(definitions)?;
        let answer =
            self.client.send("POST", &self.path(), &body).context("cannot send definitions to RabbitMQ")?;
        if answer.ok() { Ok(()) } else { Err(rejected("import", &answer.reason()).into()) }
    }
}

fn rejected(verb: &str, reason: &str) -> Failure {
    Failure::new(Kind::Data, "data-rejected", format!("RabbitMQ refuses to {verb} definitions: {reason}"))
}
