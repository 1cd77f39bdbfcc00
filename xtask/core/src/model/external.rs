//! A server that somebody else runs, by its URL: `external = "postgresql://me:word@127.0.0.1:5432/site"`.

use serde::Serialize;

use crate::catalog::Kind;
use crate::endpoint::Secret;

/// Where a server of somebody else is, and how to log in there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct External {
    /// A name or an IP address without brackets.
    pub host: String,
    /// The port of the server's main role.
    pub port: u16,
    pub user: Option<String>,
    #[serde(skip)]
    pub password: Option<Secret>,
    /// Database of PostgreSQL, virtual host of RabbitMQ.
    pub database: Option<String>,
}

/// How URLs of a kind begin, the role of the port that they lead to, and its usual number.
pub(crate) const fn scheme(kind: Kind) -> Option<(&'static [&'static str], &'static str, u16)> {
    match kind {
        Kind::Postgresql => Some((&["postgresql", "postgres", "postgresql+psycopg2"], "sql", 5432)),
        Kind::Redis => Some((&["redis"], "redis", 6379)),
        Kind::Rabbitmq => Some((&["amqp"], "amqp", 5672)),
        Kind::Opensearch => Some((&["http"], "http", 9200)),
        Kind::Dashboards | Kind::Pgadmin => Some((&["http"], "http", 80)),
        Kind::Minio => Some((&["http"], "s3", 9000)),
        Kind::Invenio | Kind::Process => None,
    }
}

/// What a person could write.
pub(super) fn example(kind: Kind) -> String {
    match scheme(kind) {
        Some((schemes, _, port)) => {
            format!(
                "write such as \"{}://user:password@host:{port}\"; % and two digits for what is special",
                schemes[0]
            )
        }
        None => "take the line out".to_owned(),
    }
}

impl External {
    /// Reads a URL; what is wrong with it is a sentence without the URL, which may hold a password.
    pub fn read(kind: Kind, url: &str) -> Result<Self, String> {
        let Some((schemes, _, usual)) = scheme(kind) else {
            return Err(format!("{kind} cannot be external"));
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| "it is no URL".to_owned())?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme.len() > 20 || !scheme.chars().all(is_scheme) {
            return Err(format!("it does not begin with {}://", schemes[0]));
        }
        if !schemes.contains(&scheme) {
            let tls = ["https", "rediss", "amqps"].contains(&scheme);
            let hint = if tls { "; this version speaks no TLS" } else { "" };
            return Err(format!("it begins with {scheme}://, and a {kind} is {}://{hint}", schemes[0]));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !query.is_empty() || rest.contains('#') {
            return Err("it has options behind the path, which nothing here reads".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(inside) => {
                let (host, rest) =
                    inside.split_once(']').ok_or_else(|| "its host has one bracket".to_owned())?;
                (host, rest.strip_prefix(':'))
            }
            None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c)) {
            return Err("it names no host".to_owned());
        }
        let number = |port: &str| port.parse().ok().filter(|port| *port > 0);
        let port = port.map_or(Some(usual), number).ok_or_else(|| "its port is no port".to_owned())?;
        if !matches!(kind, Kind::Postgresql | Kind::Rabbitmq) && !["", "0"].contains(&path) {
            return Err("it has a path, which nothing here reads".to_owned());
        }
        let some = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
        let (user, password) = match login {
            Some(login) => login.split_once(':').map_or((login, ""), |pair| pair),
            None => ("", ""),
        };
        let database = match kind {
            // As PostgreSQL's own clients do: without a path it is called as the user.
            Kind::Postgresql => some(path)?.or(some(user)?),
            // Without a path it is the virtual host `/`.
            Kind::Rabbitmq => some(path)?.or_else(|| Some("/".to_owned())),
            _ => None,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            user: some(user)?,
            password: some(password)?.map(Secret::new),
            database,
        })
    }
}

/// The text with `%2F` as `/`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a % in it is not followed by two digits".to_owned();
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()).and_then(|text| {
        if text.chars().any(char::is_control) {
            Err("it has control characters".to_owned())
        } else {
            Ok(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, url: &str) -> String {
        match External::read(kind, url) {
            Ok(External { host, port, user, password, database }) => format!(
                "{host} {port} {} {} {}",
                user.unwrap_or_default(),
                password.as_ref().map_or("", Secret::reveal),
                database.unwrap_or_default()
            ),
            Err(wrong) => wrong,
        }
    }

    #[test]
    fn a_url_says_where_a_server_is_and_who_logs_in() {
        let lines = [
            told(Kind::Postgresql, "postgresql://me:p%40s%2Fs@db.example.org/site"),
            told(Kind::Postgresql, "postgresql+psycopg2://me@[::1]:5433/site"),
            told(Kind::Redis, "redis://localhost:6380/0"),
            told(Kind::Redis, "redis://:word@redis"),
            told(Kind::Rabbitmq, "amqp://guest:guest@mq:5672/%2Fa"),
            told(Kind::Rabbitmq, "amqp://guest:guest@mq"),
            told(Kind::Opensearch, "http://search:9200"),
            told(Kind::Minio, "http://127.0.0.1"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        db.example.org 5432 me p@s/s site
        ::1 5433 me  site
        localhost 6380   
        redis 6379  word 
        mq 5672 guest guest /a
        mq 5672 guest guest /
        search 9200   
        127.0.0.1 9000   
        ");
    }

    #[test]
    fn what_is_no_url_of_a_server_is_told_without_repeating_it() {
        let lines = [
            told(Kind::Postgresql, "db:5432"),
            told(Kind::Postgresql, "mysql://secret@db"),
            told(Kind::Postgresql, "me:secret@db://x"),
            told(Kind::Redis, "redis://:secret@db/7"),
            told(Kind::Redis, "redis://db:0"),
            told(Kind::Redis, "rediss://:secret@db"),
            told(Kind::Postgresql, "postgresql://me:secret@db/site?sslmode=require"),
            told(Kind::Postgresql, "postgresql://me:secret@/site"),
            told(Kind::Postgresql, "postgresql://me:secret@db:x/site"),
            told(Kind::Postgresql, "postgresql://me:%zz@db/site"),
            told(Kind::Postgresql, "postgresql://me:%0a@db/site"),
            told(Kind::Postgresql, "postgresql://[::1/site"),
            told(Kind::Postgresql, "postgresql://a b/site"),
            told(Kind::Process, "http://x"),
        ];
        assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:?}");
        insta::assert_snapshot!(lines.join("\n"), @"
        it is no URL
        it begins with mysql://, and a postgresql is postgresql://
        it does not begin with postgresql://
        it has a path, which nothing here reads
        its port is no port
        it begins with rediss://, and a redis is redis://; this version speaks no TLS
        it has options behind the path, which nothing here reads
        it names no host
        its port is no port
        a % in it is not followed by two digits
        it has control characters
        its host has one bracket
        it names no host
        process cannot be external
        ");
    }
}
