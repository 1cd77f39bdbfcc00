//! pgAdmin, a server that people look at. Is it usable, and does it answer behind its front.
//!
//! It says nothing by which one could be told from another. It is ours because our supervisor runs it and holds its port, or because that
//! leads to our container, which whoever waits for it looks at. Deliberately not here: logging in, and writing.

use ecosystem_core::catalog::pgadmin::PING;
use ecosystem_core::endpoint::{Attempt, Endpoint};

use super::http::{Http, Reply};
use super::https::Https;
use super::{Effort, process, trouble};

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    if endpoint.watched.is_some() {
        process::check(endpoint, effort)?;
        let address = endpoint.address("https");
        let reply = Https::new(endpoint, "https", effort.limit()).and_then(|front| front.get(PING));
        return answered(&address, &reply.map_err(|error| trouble(&error, "HTTPS", &address))?);
    }
    let address = endpoint.address("http");
    // It asks for no password, and gets none.
    let asked = Endpoint { secret: None, ..endpoint.clone() };
    let reply = Http::new(&asked, "http", effort.limit()).get(PING);
    answered(&address, &reply.map_err(|error| trouble(&error, "HTTP", &address))?)
}

fn answered(address: &str, reply: &Reply) -> Result<(), Attempt> {
    match reply.status {
        200..300 => Ok(()),
        status => Err(Attempt::NotYet(format!("{address} answers {PING} with status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::{endpoint, server};
    use super::*;

    #[test]
    fn it_is_usable_when_it_says_so_and_is_not_sent_a_password() {
        let look = |answer: &str| {
            let (port, seen) = server(vec![answer.as_bytes().to_vec()]);
            (check(&endpoint(Kind::Pgadmin, port), Effort::Look), seen)
        };
        let (answer, seen) = look("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nPING");
        assert_eq!(answer, Ok(()));
        let seen = String::from_utf8(seen.join().unwrap()).unwrap();
        assert!(
            seen.starts_with("GET /misc/ping ") && !seen.to_lowercase().contains("authorization"),
            "{seen}"
        );
        let (answer, _) = look("HTTP/1.1 503 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert!(matches!(answer, Err(Attempt::NotYet(_))), "{answer:?}");
    }
}
