//! pgAdmin, a server that people look at. Is it usable.
//!
//! They say nothing by which one could be told from another. They are ours because their port leads to our container, which whoever waits for
//! them looks at. Deliberately not here: logging in, and writing.

use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::{Attempt, Endpoint};

use super::http::Http;
use super::{Effort, trouble};

/// The role that is asked, and the path that answers once all is usable.
const fn question(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Pgadmin => Some(("http", "/misc/ping")),
        _ => None,
    }
}

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let Some((role, path)) = question(endpoint.kind) else {
        return Err(Attempt::Never(format!("this version cannot speak to {}", endpoint.kind)));
    };
    let address = endpoint.address(role);
    // It asks for no password, and gets none.
    let asked = Endpoint { secret: None, ..endpoint.clone() };
    let reply = Http::new(&asked, role, effort.limit()).get(path);
    let reply = reply.map_err(|error| trouble(&error, "HTTP", &address))?;
    match reply.status {
        200..300 => Ok(()),
        status => Err(Attempt::NotYet(format!("{address} answers {path} with status {status}"))),
    }
}

#[cfg(test)]
mod tests {
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
