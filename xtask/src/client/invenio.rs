//! The application: does what our supervisor runs answer, does a search of records reach the database and the search engine, and do worker and
//! clock stay up.

use ecosystem_core::endpoint::{Attempt, Endpoint};

use super::https::Https;
use super::{Effort, process, trouble};

/// What worker and clock of Celery write once they work.
const WORKING: [(&str, &str); 2] = [("worker", " ready."), ("beat", "beat: Starting...")];

/// What anybody may ask; it goes through the application into the search engine.
const SEARCH: &str = "/api/records?size=1";

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    process::check(endpoint, effort)?;
    // As a browser does. Its secret signs sessions; nobody is sent it.
    let reply = Https::new(endpoint, "https", effort.limit()).and_then(|front| front.get(SEARCH));
    let reply = reply.map_err(|error| trouble(&error, "HTTPS", &endpoint.address("https")))?;
    match reply.status {
        200 => {}
        // A project without records of this kind, such as ILS, says so itself.
        404 if reply.json().is_ok() => {}
        status => {
            let reason =
                format!("it answers a search of records with status {status}; what is missing: app setup");
            return Err(Attempt::NotYet(reason));
        }
    }
    // Last, because people wait for what answers, and a worker has seconds to start meanwhile.
    endpoint.watched.as_ref().map_or(Ok(()), |watched| process::all_work(watched, effort, &WORKING))
}
