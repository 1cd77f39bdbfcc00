//! The numbered databases of a Redis: how many there are, which hold something, and emptying them.

use std::collections::BTreeMap;
use std::time::Duration;

use ecosystem_core::endpoint::{Attempt, Endpoint};
use ecosystem_core::failure::{Failure, Kind};

use super::super::unusable;
use super::{Info, Reply, Session, refusal};

/// How long emptying may take. Large databases block Redis for a while.
const LIMIT: Duration = Duration::from_secs(30);

/// The databases of a Redis that is ours.
pub struct Databases {
    session: Session,
    endpoint: Endpoint,
}

impl Databases {
    /// Connects and proves identity.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let login = Session::login(endpoint, LIMIT);
        let (session, _) = login.map_err(|attempt| unusable(endpoint, attempt))?;
        Ok(Self { session, endpoint: endpoint.clone() })
    }

    /// How many there are.
    pub fn total(&mut self) -> anyhow::Result<u32> {
        let reply = self.call(&[&["CONFIG", "GET", "databases"]])?.pop();
        if let Some(Reply::Error(error)) = &reply {
            return Err(rejected("tell how many databases it has", error).into());
        }
        let number = match &reply {
            Some(Reply::Array(pair)) => match pair.get(1) {
                Some(Reply::Text(number)) => number.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| rejected("tell how many databases it has", "an unknown answer").into())
    }

    /// How many keys each of those has that has some.
    pub fn keys(&mut self) -> anyhow::Result<BTreeMap<u32, u64>> {
        match self.call(&[&["INFO", "keyspace"]])?.pop() {
            Some(Reply::Text(text)) => Ok(keyspace(&text)),
            Some(Reply::Error(error)) => Err(rejected("count keys", &error).into()),
            _ => Err(rejected("count keys", "an unknown answer").into()),
        }
    }

    /// Removes everything from these databases.
    pub fn empty(&mut self, which: impl Iterator<Item = u32>) -> anyhow::Result<()> {
        let numbers: Vec<String> = which.map(|number| number.to_string()).collect();
        let select: Vec<[&str; 2]> = numbers.iter().map(|number| ["SELECT", number.as_str()]).collect();
        // One after the other: a database that cannot be selected must not lead to another one being emptied.
        for select in &select {
            for command in [select.as_slice(), &["FLUSHDB"]] {
                let reply = self.call(&[command])?.pop();
                if let Some(error) = reply.as_ref().and_then(refusal) {
                    return Err(rejected(&format!("empty database {}", select[1]), error).into());
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, commands: &[&[&str]]) -> anyhow::Result<Vec<Reply>> {
        let replies = self.session.call(commands);
        replies.map_err(|attempt: Attempt| unusable(&self.endpoint, attempt).into())
    }
}

/// `db0:keys=3,expires=0,avg_ttl=0`, a line each.
fn keyspace(text: &str) -> BTreeMap<u32, u64> {
    let info = Info::new(text);
    let pairs = info.0.iter().filter_map(|(name, value)| {
        let number = name.strip_prefix("db")?.parse().ok()?;
        let keys = value.strip_prefix("keys=")?.split(',').next()?.parse().ok()?;
        Some((number, keys))
    });
    pairs.collect()
}

fn rejected(what: &str, reason: &str) -> Failure {
    Failure::new(Kind::Data, "data-rejected", format!("Redis refuses to {what}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_by_database() {
        let text = "# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb14:keys=12,expires=1,avg_ttl=5\r\n";
        assert_eq!(keyspace(text), BTreeMap::from([(0, 3), (14, 12)]));
        assert_eq!(keyspace("# Keyspace\r\n"), BTreeMap::new());
        assert_eq!(keyspace("dbx:keys=1\r\ndb1:none\r\n"), BTreeMap::new());
    }
}
