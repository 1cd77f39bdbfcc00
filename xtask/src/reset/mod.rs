//! The stores of the main instance, back to how they were after a load: what they hold, emptying them, and what is kept for the next time.
//!
//! One function a step and store; in which order they are done, and loading, is `commands/reset.rs`. At every moment each store is as it
//! was, empty, or as the pack says, and the journal tells that they need not agree.

mod opensearch;
mod postgresql;
mod redis;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::reset::Journal;

pub use opensearch::OpenSearch;
pub use postgresql::PostgreSql;
pub use redis::Redis;

use crate::client::rabbitmq::Management;
use crate::sys::fs::{from_toml, read_optional, remove_optional, write_lasting};

/// What a store holds that goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doomed {
    /// For people: `73 tables, 42 MB`.
    pub text: String,
    /// Its names, where it has several that are told apart.
    pub names: Vec<String>,
}

/// The reset that was begun and not finished.
pub fn pending(place: &Place) -> anyhow::Result<Option<Journal>> {
    let path = Journal::file(place);
    let read = read_optional(&path).and_then(|text| text.map(|text| from_toml(&path, &text)).transpose());
    read.map_err(|error| {
        Failure::new(Kind::Host, "state-unreadable", error.to_string())
            .hint("a reset was interrupted and this says to which pack: {program} reset PACK writes it anew")
            .into()
    })
}

/// Writes down that a reset has begun: it is on the disk before anything is changed.
pub fn begin(place: &Place, pack: &str) -> anyhow::Result<()> {
    let journal = Journal { pack: pack.to_owned() };
    write_lasting(&Journal::file(place), toml::to_string(&journal)?.as_bytes(), 0o600)
}

/// All stores agree again.
pub fn end(place: &Place) -> anyhow::Result<()> {
    remove_optional(&Journal::file(place))
}

/// What is declared in the broker.
pub fn declared(broker: &Management) -> anyhow::Result<Doomed> {
    let (queues, exchanges) = broker.declared()?;
    let text = format!("{} queues, {} exchanges", queues.len(), exchanges.len());
    let names = queues.into_iter().map(|name| format!("queue {name}"));
    Ok(Doomed {
        text,
        names: names.chain(exchanges.into_iter().map(|name| format!("exchange {name}"))).collect(),
    })
}
