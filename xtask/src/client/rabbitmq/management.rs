//! RabbitMQ's management API: what is set in the broker, and its definitions in and out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::tenant::MARK;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use ecosystem_core::endpoint::encoded;

use super::super::http::{Http, Reply};
use super::super::{portable, trouble, unusable};
use super::name;

/// How the names of Invenio-Stats' queues begin. What is in them is no task: views and downloads are counted twice an hour.
const EVENTS: &str = "stats-";

/// The port of the management API.
pub const ROLE: &str = "http";

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
        let ours = |vhost: &&Value| !text(&vhost["description"]).starts_with(MARK);
        for vhost in array(&get(endpoint, &client, "/api/vhosts")?).iter().filter(ours) {
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

    /// The queues of tasks that hold messages, delivered ones that nobody has confirmed among them, and how many are confirmed a second in
    /// all. The broker counts every five seconds.
    pub fn tasks(&self) -> anyhow::Result<(BTreeMap<String, u64>, f64)> {
        let path = format!("/api/queues/{}?columns=name,messages,message_stats.ack_details.rate", self.vhost);
        let answer = self.client.get(&path).context("cannot read RabbitMQ's queues")?;
        if !answer.ok() {
            return Err(rejected("read", &answer.reason()).into());
        }
        let queues = answer.json().context("RabbitMQ's queues have an unknown form")?;
        let name = |queue: &Value| queue["name"].as_str().map(str::to_owned);
        let of_tasks =
            array(&queues).iter().filter(|queue| name(queue).is_none_or(|name| !name.starts_with(EVENTS)));
        let waiting = |queue: &Value| Some((name(queue)?, queue["messages"].as_u64()?));
        let rate = |queue: &Value| queue.pointer("/message_stats/ack_details/rate")?.as_f64();
        let rate = of_tasks.clone().filter_map(rate).sum();
        Ok((of_tasks.filter_map(waiting).filter(|(_, messages)| *messages > 0).collect(), rate))
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

    /// All virtual hosts, with the description that stands at each.
    pub fn vhosts(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let answer = self.client.get("/api/vhosts").context("cannot read RabbitMQ's virtual hosts")?;
        if !answer.ok() {
            return Err(rejected_to("list virtual hosts", &answer.reason()).into());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = answer.json().context("RabbitMQ's virtual hosts have an unknown form")?;
        Ok(array(&all).iter().map(|vhost| (text(&vhost["name"]), text(&vhost["description"]))).collect())
    }

    /// Makes the virtual host, in which this user may do everything. One that is there stays as it is.
    pub fn make(&self, user: &str, description: &str) -> anyhow::Result<()> {
        let made = self.client.send(
            "PUT",
            &format!("/api/vhosts/{}", self.vhost),
            &json!({"description": description}),
        );
        self.insist("make the virtual host", made)?;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let path = format!("/api/permissions/{}/{}", self.vhost, encoded(user));
        self.insist("give permissions", self.client.send("PUT", &path, &all))
    }

    /// Removes the virtual host with everything in it; one that is not there is as good.
    pub fn remove(&self) -> anyhow::Result<()> {
        self.gone("remove the virtual host", &format!("/api/vhosts/{}", self.vhost)).map(drop)
    }

    /// The names of the queues, and of the exchanges that are not the protocol's own.
    pub fn declared(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let names = |kind: &str| -> anyhow::Result<Vec<String>> {
            let path = format!("/api/{kind}/{}?columns=name", self.vhost);
            let answer = self.client.get(&path).with_context(|| format!("cannot read RabbitMQ's {kind}"))?;
            if !answer.ok() {
                return Err(rejected_to(&format!("list {kind}"), &answer.reason()).into());
            }
            let all = answer.json().with_context(|| format!("RabbitMQ's {kind} have an unknown form"))?;
            Ok(array(&all).iter().filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect())
        };
        let mut exchanges = names("exchanges")?;
        exchanges.retain(|name| !name.is_empty() && !name.starts_with("amq."));
        Ok((names("queues")?, exchanges))
    }

    /// Removes all queues, and all exchanges that are not the protocol's own. Queues that belong to an open connection alone stay, and end
    /// with it: how many those are.
    pub fn clear(&self) -> anyhow::Result<usize> {
        let (queues, exchanges) = self.declared()?;
        let mut left = 0;
        for name in queues {
            let path = format!("/api/queues/{}/{}", self.vhost, encoded(&name));
            left += usize::from(!self.gone(&format!("remove the queue {name}"), &path)?);
        }
        for name in exchanges {
            let path = format!("/api/exchanges/{}/{}", self.vhost, encoded(&name));
            self.gone(&format!("remove the exchange {name}"), &path)?;
        }
        Ok(left)
    }

    /// Removes something, unless it belongs to an open connection: `false` then.
    fn gone(&self, what: &str, path: &str) -> anyhow::Result<bool> {
        let answer = self.client.delete(path).with_context(|| format!("RabbitMQ cannot {what}"))?;
        match answer.status {
            200..300 | 404 => Ok(true),
            400 | 405 if answer.reason().contains("RESOURCE_LOCKED") => Ok(false),
            _ => Err(rejected_to(what, &answer.reason()).into()),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a verb of the broker, like its neighbours")]
    fn insist(&self, what: &str, answer: std::io::Result<Reply>) -> anyhow::Result<()> {
        let answer = answer.with_context(|| format!("RabbitMQ cannot {what}"))?;
        if answer.ok() { Ok(()) } else { Err(rejected_to(what, &answer.reason()).into()) }
    }
}

fn rejected(verb: &str, reason: &str) -> Failure {
    rejected_to(&format!("{verb} definitions"), reason)
}

fn rejected_to(what: &str, reason: &str) -> Failure {
    Failure::new(Kind::Data, "data-rejected", format!("RabbitMQ refuses to {what}: {reason}"))
}
