//! Redis: is it usable and ours, and what is set in it. Identity is the configuration file that it was started with.
//!
//! Its numbered databases are `databases`.

mod databases;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::time::Duration;

use ecosystem_core::endpoint::{Attempt, Endpoint};

pub use databases::Databases;

use super::resp::{self, Reply};
use super::wire::Wire;
use super::{Effort, is_secret, portable, trouble, unusable};

const ROLE: &str = "redis";

/// Settings that differ from place to place.
const PATHS: [&str; 4] = ["dir", "pidfile", "logfile", "unixsocket"];

fn is_hidden(name: &str) -> bool {
    is_secret(name) || PATHS.contains(&name)
}

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let (mut session, _) = Session::login(endpoint, effort.limit())?;
    if effort == Effort::Write {
        // The name ends with our process, so that two runs never delete each other's.
        let key = format!("ecosystem:probe:{}", std::process::id());
        let replies = session.call(&[&["SET", &key, "ready", "EX", "10"], &["GET", &key], &["DEL", &key]])?;
        if let Some(error) = replies.iter().find_map(refusal) {
            return Err(Attempt::NotYet(format!("it refuses a write: {error}")));
        }
        if replies.get(1) != Some(&Reply::Text("ready".to_owned())) {
            return Err(Attempt::NotYet("a write could not be read back".to_owned()));
        }
    }
    Ok(())
}

pub(super) fn describe(endpoint: &Endpoint, asked: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let read = || -> Result<BTreeMap<String, String>, Attempt> {
        let (mut session, info) = Session::login(endpoint, Duration::from_secs(5))?;
        let mut found = BTreeMap::from([("version".to_owned(), info.get("redis_version").to_owned())]);
        let names: Vec<&str> =
            ["bind", "port"].iter().chain(asked).copied().filter(|name| !is_hidden(name)).collect();
        let commands: Vec<[&str; 3]> = names.iter().map(|name| ["CONFIG", "GET", *name]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(<[&str; 3]>::as_slice).collect();
        for reply in session.call(&commands)? {
            let Reply::Array(pairs) = reply else { continue };
            for pair in pairs.chunks(2) {
                if let [Reply::Text(name), Reply::Text(value)] = pair
                    && !is_hidden(name)
                {
                    found.insert(name.clone(), portable(endpoint, value));
                }
            }
        }
        Ok(found)
    };
    read().map_err(|attempt| unusable(endpoint, attempt).into())
}

/// A connection to a Redis that is ours.
struct Session {
    wire: BufReader<Wire>,
    address: String,
}

impl Session {
    /// Connects, logs in and proves identity. The password is sent only to a server that asks for one.
    fn login(endpoint: &Endpoint, limit: Duration) -> Result<(Self, Info), Attempt> {
        let address = endpoint.address(ROLE);
        let wire = Wire::open(endpoint, ROLE, limit).map_err(|error| trouble(&error, "Redis", &address))?;
        let mut session = Self { wire: BufReader::new(wire), address };

        let first = session.one(&["INFO", "server"])?;
        if let (Reply::Text(text), Some(_)) = (&first, &endpoint.secret) {
            return Err(Attempt::Never(format!("{} without a password answers, not ours", Info::new(text))));
        }
        match refusal(&first) {
            Some(error) if is_temporary(error) => return Err(Attempt::NotYet(error.to_owned())),
            Some(error) if error.starts_with("DENIED") => {
                return Err(Attempt::Never("a Redis in protected mode answers, not ours".to_owned()));
            }
            _ => {}
        }
        if let Some(secret) = &endpoint.secret {
            let mut auth = vec!["AUTH"];
            auth.extend(endpoint.user.as_deref());
            auth.push(secret.reveal());
            if let Some(error) = refusal(&session.one(&auth)?) {
                return Err(if is_temporary(error) {
                    Attempt::NotYet(error.to_owned())
                } else {
                    Attempt::Never("a Redis that does not accept our password answers, not ours".to_owned())
                });
            }
        }
        let mut replies = session.call(&[&["INFO", "server"], &["PING"]])?.into_iter();
        let (info, ping) = (replies.next(), replies.next());
        let info = match info {
            Some(Reply::Text(text)) => Info::new(&text),
            Some(Reply::Error(error)) if is_temporary(&error) => return Err(Attempt::NotYet(error)),
            Some(Reply::Error(error)) if error.starts_with("NOAUTH") => {
                return Err(Attempt::Never(
                    "a Redis that wants a password, and there is none to give".to_owned(),
                ));
            }
            Some(Reply::Error(error)) => {
                return Err(Attempt::Never(format!("a Redis that does not tell what it is: {error}")));
            }
            _ => return Err(Attempt::Never("a Redis that does not tell what it is".to_owned())),
        };
        if !endpoint.identity.is_empty() && info.get("config_file") != endpoint.identity {
            return Err(Attempt::Never(format!("{info} answers, not ours")));
        }
        // PING, unlike INFO, is refused while the data set is read.
        match ping {
            Some(Reply::Error(error)) => Err(Attempt::NotYet(error)),
            _ => Ok((session, info)),
        }
    }

    fn one(&mut self, command: &[&str]) -> Result<Reply, Attempt> {
        Ok(self.call(&[command])?.pop().unwrap_or(Reply::Nothing))
    }

    /// Sends all commands at once, then reads as many replies.
    fn call(&mut self, commands: &[&[&str]]) -> Result<Vec<Reply>, Attempt> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| resp::request(command)).collect();
        let mut talk = || -> io::Result<Vec<Reply>> {
            self.wire.get_mut().write_all(&bytes)?;
            commands.iter().map(|_| resp::reply(&mut self.wire)).collect()
        };
        talk().map_err(|error| trouble(&error, "Redis", &self.address))
    }
}

fn refusal(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Error(error) => Some(error),
        _ => None,
    }
}

/// Errors that pass by themselves.
fn is_temporary(error: &str) -> bool {
    ["LOADING", "BUSY", "MASTERDOWN", "ERR max number of clients"].iter().any(|word| error.starts_with(word))
}

/// What `INFO server` said.
struct Info(BTreeMap<String, String>);

impl Info {
    fn new(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a Redis {}", self.get("redis_version"))?;
        match self.get("config_file") {
            "" => write!(f, " without a configuration file")?,
            file => write!(f, " with the configuration file {file}")?,
        }
        match self.get("process_id") {
            "" => Ok(()),
            pid => write!(f, " (process {pid})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::{endpoint, look, server};
    use super::*;

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn a_redis_without_a_password_is_a_stranger_and_never_gets_ours() {
        let info = bulk(
            "# Server\r\nredis_version:7.0.15\r\nprocess_id:42\r\nconfig_file:/etc/redis/redis.conf\r\n",
        );
        let (port, thread) = server(vec![info]);
        let attempt = super::super::probe(&endpoint(Kind::Redis, port), Effort::Look);
        let Attempt::Never(reason) = attempt else { panic!("{attempt:?}") };
        assert_eq!(
            reason,
            "a Redis 7.0.15 with the configuration file /etc/redis/redis.conf (process 42) without a password answers, not ours"
        );
        let sent = String::from_utf8(thread.join().unwrap()).unwrap();
        assert!(!sent.contains("our password"), "{sent}");
    }

    #[test]
    fn a_wrong_password_and_another_file_are_never_ours() {
        let wrong = b"-NOAUTH Authentication required.\r\n-WRONGPASS invalid username-password pair\r\n";
        assert!(matches!(look(Kind::Redis, wrong), Attempt::Never(reason) if reason.contains("password")));
        let info = bulk("redis_version:7.2.4\r\nconfig_file:/other.conf\r\n");
        let other = [b"-NOAUTH x\r\n+OK\r\n".as_slice(), &info, b"+PONG\r\n"].concat();
        assert!(
            matches!(look(Kind::Redis, &other), Attempt::Never(reason) if reason.contains("/other.conf"))
        );
    }

    #[test]
    fn loading_is_worth_asking_again_and_ours_is_ready() {
        let info = bulk("redis_version:7.2.4\r\nconfig_file:ours\r\n");
        let loading = [b"-NOAUTH x\r\n+OK\r\n".as_slice(), &info, b"-LOADING Redis is loading\r\n"].concat();
        assert_eq!(look(Kind::Redis, &loading), Attempt::NotYet("LOADING Redis is loading".into()));
        let ready = [b"-NOAUTH x\r\n+OK\r\n".as_slice(), &info, b"+PONG\r\n"].concat();
        assert_eq!(look(Kind::Redis, &ready), Attempt::Ready);
    }
}
