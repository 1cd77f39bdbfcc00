//! How to reach a running server. The only thing `client/*` is given: native, compose and external look alike.

use std::collections::BTreeMap;
use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::catalog::Kind;

/// A secret that cannot be printed by accident: `Debug` and `Display` redact it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself. Every call is a place where it could leak.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A server as its clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub kind: Kind,
    /// An IP address without brackets.
    pub host: String,
    /// Ports by the role they have in the manifest (`sql`, `http`, `amqp`), offset included.
    pub ports: BTreeMap<String, u16>,
    pub user: Option<String>,
    pub secret: Option<Secret>,
    /// Database of PostgreSQL, virtual host of RabbitMQ, index prefix of OpenSearch, first database of Redis, of an object store the tenant.
    pub database: Option<String>,
    /// What the server must say of itself to be ours: cluster name, node name, configuration file.
    pub identity: String,
    /// How a process of the manifest is known to be ready; servers are asked in their own protocol.
    pub watched: Option<Watched>,
    /// What is made in an object store.
    pub storage: Storage,
}

/// What the manifest wants to be in an object store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Without the ends that a tenant gives to their names.
    pub buckets: Vec<String>,
    /// The account of applications, which reaches these buckets and no others. Without one they log in as everybody does.
    pub application: Option<Account>,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub secret: Secret,
}

/// A process that says nothing of itself. It is ours because the supervisor of our state folder runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The state folder.
    pub state: Utf8PathBuf,
    pub service: String,
    pub ready: Ready,
}

/// When a process of the manifest counts as ready. Roles are those of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// When it has run for [`crate::supervise::MIN_UPTIME`]: one that ends before counts as never started.
    Running,
    /// When it listens on this port.
    Tcp { role: String },
    /// When it answers a request for this path with a status from 200 to 399.
    Http { role: String, path: String },
    /// When this command ends with status 0.
    Command(Vec<String>),
    /// When it has written a line with this text since its last start.
    Log(String),
}

impl Endpoint {
    /// `host:port` of a role. A role that the catalog did not declare is a fault of this program.
    pub fn address(&self, role: &str) -> String {
        match self.ports.get(role) {
            Some(port) if self.host.contains(':') => format!("[{}]:{port}", self.host),
            Some(port) => format!("{}:{port}", self.host),
            None => unreachable!("{} has no port called {role}", self.kind),
        }
    }

    /// The port number of a role.
    pub fn port(&self, role: &str) -> u16 {
        match self.ports.get(role) {
            Some(port) => *port,
            None => unreachable!("{} has no port called {role}", self.kind),
        }
    }

    /// The addresses that people use, the main one first. A process of the manifest has all of its ports there, with their roles
    /// where it has several.
    pub fn shown(&self) -> Vec<String> {
        if self.kind == Kind::Invenio {
            // Behind it is what only NGINX talks to.
            return vec![self.address("https")];
        }
        if self.kind != Kind::Process {
            let main = ["sql", "redis", "amqp", "http", "s3", "https"].into_iter();
            return main
                .filter(|role| self.ports.contains_key(*role))
                .map(|role| self.address(role))
                .collect();
        }
        let web = match self.watched.as_ref().map(|watched| &watched.ready) {
            Some(Ready::Http { role, .. }) => Some(role),
            _ => None,
        };
        let several = self.ports.len() > 1;
        let address = |role: &String| {
            let scheme = if Some(role) == web { "http://" } else { "" };
            let role_shown = if several { format!("{role} ") } else { String::new() };
            format!("{role_shown}{scheme}{}", self.address(role))
        };
        self.ports.keys().map(address).collect()
    }

    /// Whether somebody else runs it: which server it is cannot be proven then, and what it holds may be somebody else's as well.
    pub fn is_elsewhere(&self) -> bool {
        self.identity.is_empty()
    }

    /// The same server as applications reach it.
    #[must_use]
    pub fn of_application(&self) -> Self {
        let mut own = self.clone();
        if let Some(Account { user, secret }) = own.storage.application.take() {
            (own.user, own.secret) = (Some(user), Some(secret));
        }
        own
    }

    /// The secret, or an empty string where the server has none.
    pub fn password(&self) -> &str {
        self.secret.as_ref().map_or("", Secret::reveal)
    }
}

/// A text as one part of a URL: `/` becomes `%2F`.
pub fn encoded(text: &str) -> String {
    use fmt::Write;
    text.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// The answer to "is it usable, and is it ours?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Usable and ours.
    Ready,
    /// Not yet, with the reason; asking again makes sense.
    NotYet(String),
    /// Never: a wrong password, somebody else's server. Stop waiting now.
    Never(String),
    /// It cannot be found out, and asking again changes nothing: the check itself does not work. Stop waiting now.
    Unknowable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_part_of_a_url() {
        assert_eq!(encoded("/"), "%2F");
        assert_eq!(encoded("a-b_c.d ž"), "a-b_c.d%20%C5%BE");
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "<secret> <secret>");
    }
}
