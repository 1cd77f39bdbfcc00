//! The application: does what our supervisor runs answer, and does a search of records reach the database and the search engine.

use ecosystem_core::endpoint::{Attempt, Endpoint};

use super::http::Http;
use super::{Effort, process, trouble};

/// What anybody may ask; it goes through the application into the search engine.
const SEARCH: &str = "/api/records?size=1";

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    process::check(endpoint, effort)?;
    let address = endpoint.address("http");
    // Its secret signs sessions; nobody is sent it.
    let asked = Endpoint { secret: None, ..endpoint.clone() };
    let reply = Http::new(&asked, "http", effort.limit()).behind_tls().get(SEARCH);
    let reply = reply.map_err(|error| trouble(&error, "HTTP", &address))?;
    match reply.status {
        200 => Ok(()),
        status => Err(Attempt::NotYet(format!("it answers a search of records with status {status}"))),
    }
}
