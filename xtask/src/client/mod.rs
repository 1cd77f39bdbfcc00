//! How to speak to each server, given an `Endpoint` and nothing else: is it usable and ours, what is set in it, and the bulk verbs of seeding.
//!
//! One file a service. Deliberately not here: waiting and asking again (a probe is one attempt), and everything that needs
//! to know how the server was started.

pub mod amqp;
mod console;
mod dashboards;
mod halt;
pub mod http;
pub mod https;
mod invenio;
pub mod opensearch;
pub mod postgresql;
mod process;
pub mod rabbitmq;
pub mod redis;
pub mod resp;
pub mod s3;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ecosystem_core::catalog::{Kind, is_secret_setting as is_secret};
use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{self, Failure, harmless};

pub use halt::Halt;

/// How much a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Login, identity and health. Changes nothing: this is what a run with nothing to do asks for.
    Look,
    /// Additionally one write, read back and removed: tried once after a start.
    Write,
}

/// One attempt to find out whether a server is usable, and ours. Bounded in time, whatever answers.
pub fn probe(endpoint: &Endpoint, effort: Effort) -> Attempt {
    let answer = match endpoint.kind {
        Kind::Redis => redis::check(endpoint, effort),
        Kind::Postgresql => postgresql::check(endpoint, effort),
        Kind::Rabbitmq => rabbitmq::check(endpoint, effort),
        Kind::Opensearch => opensearch::check(endpoint, effort),
        Kind::Process => process::check(endpoint, effort),
        Kind::Minio => s3::check(endpoint, effort),
        Kind::Pgadmin => console::check(endpoint, effort),
        Kind::Dashboards => dashboards::check(endpoint, effort),
        Kind::Invenio => invenio::check(endpoint, effort),
    };
    attempt(answer)
}

/// Makes what the manifest wants to be in a server that somebody else runs; nothing, where all of it is there. For others a write does it.
pub fn furnish(endpoint: &Endpoint) -> Attempt {
    match endpoint.kind {
        Kind::Minio => attempt(s3::furnish(endpoint)),
        _ => Attempt::Ready,
    }
}

fn attempt(answer: Result<(), Attempt>) -> Attempt {
    match answer {
        Ok(()) | Err(Attempt::Ready) => Attempt::Ready,
        // A reason quotes whatever answers.
        Err(Attempt::NotYet(reason)) => Attempt::NotYet(harmless(&reason)),
        Err(Attempt::Never(reason)) => Attempt::Never(harmless(&reason)),
        Err(Attempt::Unknowable(reason)) => Attempt::Unknowable(harmless(&reason)),
    }
}

/// The effective settings of a running server, by name, without secrets and without what differs from place to place:
/// ports read `{port.role}`, the server's own name reads `{identity}`, paths are left out.
///
/// Servers that tell where a setting comes from report everything that was set; the others report what is in `asked`.
pub fn describe(endpoint: &Endpoint, asked: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    match endpoint.kind {
        Kind::Redis => redis::describe(endpoint, asked),
        Kind::Postgresql => postgresql::describe(endpoint),
        Kind::Rabbitmq => rabbitmq::describe(endpoint),
        Kind::Opensearch => opensearch::describe(endpoint),
        // They say nothing of themselves.
        Kind::Process | Kind::Minio | Kind::Pgadmin | Kind::Dashboards | Kind::Invenio => Ok(BTreeMap::new()),
    }
}

/// How long a connection may take to open. Everything is on loopback, or close.
const CONNECT: Duration = Duration::from_millis(250);

impl Effort {
    /// How long a whole attempt may take. A first write makes OpenSearch create an index, on a machine that is busy starting servers.
    fn limit(self) -> Duration {
        match self {
            Self::Look => Duration::from_secs(1),
            Self::Write => Duration::from_secs(5),
        }
    }
}

/// What an error while talking says about the server. `InvalidData` is what our own parsers report: another language is spoken.
fn trouble(error: &io::Error, language: &str, address: &str) -> Attempt {
    use io::ErrorKind as E;
    match error.kind() {
        E::InvalidData => {
            Attempt::Never(format!("something that does not speak {language} answers on {address} ({error})"))
        }
        E::ConnectionRefused => Attempt::NotYet(format!("nothing listens on {address}")),
        E::TimedOut | E::WouldBlock => Attempt::NotYet(format!("no answer from {address} in time")),
        E::UnexpectedEof | E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe => {
            Attempt::NotYet(format!("{address} closed the connection"))
        }
        _ => Attempt::NotYet(format!("{address}: {error}")),
    }
}

/// Whether a server is usable and ours, for a command that is about to send it a password.
pub fn usable(endpoint: &Endpoint) -> Result<(), Failure> {
    match probe(endpoint, Effort::Look) {
        Attempt::Ready => Ok(()),
        other => Err(unusable(endpoint, other).hint("{program} up")),
    }
}

/// The failure that a command reports when it needs a server and the server is not usable.
fn unusable(endpoint: &Endpoint, attempt: Attempt) -> Failure {
    let reason = match attempt {
        Attempt::Ready => "it is usable".to_owned(),
        Attempt::NotYet(reason) | Attempt::Never(reason) | Attempt::Unknowable(reason) => reason,
    };
    Failure::new(
        failure::Kind::Service,
        "service-unusable",
        format!("{} cannot be used: {reason}", endpoint.kind),
    )
}

/// A value as a snapshot shows it: the same on the next laptop, and with another port offset.
fn portable(endpoint: &Endpoint, value: &str) -> String {
    if !endpoint.identity.is_empty() && value == endpoint.identity {
        return "{identity}".to_owned();
    }
    match value.parse::<u16>() {
        Ok(number) => endpoint
            .ports
            .iter()
            .find(|(_, port)| **port == number)
            .map_or_else(|| value.to_owned(), |(role, _)| format!("{{port.{role}}}")),
        Err(_) => value.to_owned(),
    }
}

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use ecosystem_core::endpoint::Secret;

    use super::*;

    /// An endpoint whose every port is `port`.
    pub(super) fn endpoint(kind: Kind, port: u16) -> Endpoint {
        let roles: &[&str] = match kind {
            Kind::Redis => &["redis"],
            Kind::Postgresql => &["sql"],
            Kind::Rabbitmq => &["amqp"],
            Kind::Minio => &["s3"],
            _ => &["http"],
        };
        Endpoint {
            kind,
            host: "127.0.0.1".into(),
            ports: roles.iter().map(|role| ((*role).to_owned(), port)).collect(),
            user: Some("invenio".into()),
            secret: Some(Secret::new("our password")),
            database: Some("/".into()),
            identity: "ours".into(),
            watched: None,
            storage: ecosystem_core::endpoint::Storage::default(),
        }
    }

    /// A server that reads something, answers one connection after the other with these bytes, and keeps what it was sent.
    pub(super) fn server(answers: Vec<Vec<u8>>) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap_or(0);
                seen.extend_from_slice(&buffer[..count]);
                // The client may have hung up by now: that is its good right.
                let _gone = stream.write_all(&answer);
                let _gone = stream.shutdown(std::net::Shutdown::Write);
                // Closing with bytes unread would reset the connection and take the answer with it.
                let _gone = stream.read_to_end(&mut seen);
            }
            seen
        });
        (port, thread)
    }

    /// One look at a server that answers with these bytes.
    pub(super) fn look(kind: Kind, answer: &[u8]) -> Attempt {
        let (port, thread) = server(vec![answer.to_vec()]);
        let attempt = probe(&endpoint(kind, port), Effort::Look);
        drop(thread);
        attempt
    }

    const ALL: [Kind; 4] = [Kind::Redis, Kind::Postgresql, Kind::Rabbitmq, Kind::Opensearch];

    #[test]
    fn a_closed_port_is_worth_asking_again() {
        for kind in ALL {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let attempt = probe(&endpoint(kind, port), Effort::Write);
            let Attempt::NotYet(reason) = &attempt else { panic!("{kind}: {attempt:?}") };
            assert_eq!(*reason, format!("nothing listens on 127.0.0.1:{port}"));
        }
    }

    #[test]
    fn a_connection_that_is_closed_at_once_is_worth_asking_again() {
        for kind in ALL {
            let attempt = look(kind, b"");
            assert!(matches!(&attempt, Attempt::NotYet(_)), "{kind}: {attempt:?}");
        }
    }

    #[test]
    fn another_language_is_never_ours() {
        for kind in ALL {
            let other: &[u8] = if kind == Kind::Opensearch {
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
            } else {
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
            };
            let attempt = look(kind, other);
            assert!(matches!(&attempt, Attempt::Never(_)), "{kind}: {attempt:?}");
        }
    }

    #[test]
    fn a_silent_server_costs_one_second_and_no_more() {
        for kind in ALL {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let started = std::time::Instant::now();
            let attempt = probe(&endpoint(kind, port), Effort::Look);
            assert!(matches!(&attempt, Attempt::NotYet(_)), "{kind}: {attempt:?}");
            assert!(started.elapsed() < Duration::from_secs(4), "{kind}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn settings_that_could_hold_a_secret_are_known_by_their_names() {
        for name in ["requirepass", "masterauth", "primary_conninfo", "s3.client.default.secret_key"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["maxmemory", "password_encryption", "cluster.name"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_snapshot_shows_neither_ports_nor_names_of_a_place() {
        let endpoint = endpoint(Kind::Redis, 6579);
        assert_eq!(portable(&endpoint, "6579"), "{port.redis}");
        assert_eq!(portable(&endpoint, "6580"), "6580");
        assert_eq!(portable(&endpoint, "ours"), "{identity}");
        assert_eq!(portable(&endpoint, "64mb"), "64mb");
    }
}
