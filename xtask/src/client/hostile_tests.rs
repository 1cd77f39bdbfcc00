//! Servers that never stop talking: every probe gives up, and what it has read by then is bounded.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::tests::endpoint;
use super::*;

/// A hostile server would go on for ever; this one gives up after as much.
const FLOOD: usize = 256 * 1024 * 1024;
/// What lies in the buffers of the kernel on both sides, and as much again.
const UNREAD: usize = 32 * 1024 * 1024;

/// Answers one connection with a beginning, then with the same again and again until nobody takes it any more. Returns how much was sent.
fn flood(begin: &[u8], again: &[u8]) -> (u16, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (begin, again) = (begin.to_vec(), again.repeat(1 + 64 * 1024 / again.len().max(1)));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let _first = stream.read(&mut [0; 4096]);
        let mut sent = 0;
        if stream.write_all(&begin).is_ok() {
            while sent < FLOOD && !again.is_empty() && stream.write_all(&again).is_ok() {
                sent += again.len();
            }
        }
        // Silent from now on, until the other side has gone.
        let _end = stream.read(&mut [0; 4096]);
        sent
    });
    (port, thread)
}

#[track_caller]
fn gives_up(kind: Kind, begin: &[u8], again: &[u8]) -> usize {
    let (port, thread) = flood(begin, again);
    let attempt = probe(&endpoint(kind, port), Effort::Look);
    assert_ne!(attempt, Attempt::Ready, "{kind}");
    thread.join().unwrap()
}

#[test]
fn a_server_that_never_stops_is_not_read_to_its_end() {
    let string = [b"$1000000\r\n".as_slice(), &vec![b'x'; 1_000_000], b"\r\n"].concat();
    let http = b"HTTP/1.1 200 OK\r\n".as_slice();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'['; 0x1_0000], b"\r\n"].concat();
    let floods: [(&str, Kind, &[u8], &[u8]); 10] = [
        ("a store without an end", Kind::Minio, &[http, b"\r\n"].concat(), b"<"),
        ("a line without an end", Kind::Redis, b"+", b"x"),
        ("an array of large strings", Kind::Redis, b"*4096\r\n", &string),
        ("a string of 4 GB", Kind::Redis, b"$4294967295\r\n", b"x"),
        ("a frame of 4 GB", Kind::Rabbitmq, b"\x01\0\0\xff\xff\xff\xff", b"x"),
        ("a header without an end", Kind::Opensearch, &[http, b"X: "].concat(), b"x"),
        ("a million headers", Kind::Opensearch, http, b"X: y\r\n"),
        ("a body of 4 GB", Kind::Opensearch, &[http, b"Content-Length: 4294967295\r\n\r\n"].concat(), b"["),
        ("a body without a length", Kind::Opensearch, &[http, b"\r\n"].concat(), b"["),
        (
            "a body in pieces",
            Kind::Opensearch,
            &[http, b"Transfer-Encoding: chunked\r\n\r\n"].concat(),
            &chunk,
        ),
    ];
    for (what, kind, begin, again) in floods {
        let sent = gives_up(kind, begin, again);
        assert!(sent < UNREAD, "{kind}, {what}: {} MB were taken", sent >> 20);
    }
}

#[test]
fn a_server_that_only_keeps_the_connection_alive_is_given_up() {
    gives_up(Kind::Rabbitmq, b"", b"\x08\0\0\0\0\0\0\xce");
    gives_up(Kind::Redis, b"", b"");
}

#[test]
fn json_that_nests_without_end_is_refused() {
    for deep in ["[".repeat(1_000_000), "{\"a\":".repeat(200_000)] {
        let reply = http::Reply { status: 200, body: deep.into_bytes() };
        assert!(reply.json().is_err());
        assert!(reply.reason().len() < 400);
    }
}
