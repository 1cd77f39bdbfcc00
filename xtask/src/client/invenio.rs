//! The application: does what our supervisor runs answer, and does a search of records reach the database and the search engine.

use ecosystem_core::endpoint::{Attempt, Endpoint};

use super::https::Https;
use super::{Effort, process, trouble};

/// What anybody may ask; it goes through the application into the search engine.
const SEARCH: &str = "/api/records?size=1";

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    process::check(endpoint, effort)?;
    // As a browser does. Its secret signs sessions; nobody is sent it.
    let reply = Https::new(endpoint, "https", effort.limit()).and_then(|front| front.get(SEARCH));
    let reply = reply.map_err(|error| trouble(&error, "HTTPS", &endpoint.address("https")))?;
    match reply.status {
        200 => Ok(()),
        status => Err(Attempt::NotYet(format!("it answers a search of records with status {status}"))),
    }
}
