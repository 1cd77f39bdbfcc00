//! HTTPS: whom our own client takes for a server of this place, and what `trust` prints.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem::client::https::{Https, listens};
use ecosystem::event::Silent;
use ecosystem::site::{State, tls};
use ecosystem_core::catalog::Kind;
use ecosystem_core::endpoint::{Endpoint, Storage};
use ecosystem_core::place::Place as Stack;
use ecosystem_core::tls::{authority, certificate, own_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::json::fits;
use crate::support::{Place, Run};

/// A place with a certificate; all of a folder have one store.
fn stack(folder: &tempfile::TempDir, name: &str) -> Stack {
    let path = |name: &str| Utf8PathBuf::from_path_buf(folder.path().join(name)).unwrap();
    let root = path(name);
    let stack = State::at(root.join(".ecosystem")).create(&root, &path("store"), 0).unwrap();
    tls::ensure(&stack, "127.0.0.1", &Silent).unwrap();
    stack
}

fn endpoint(stack: &Stack, port: u16) -> Endpoint {
    Endpoint {
        kind: Kind::Invenio,
        host: "127.0.0.1".into(),
        ports: [("https".to_owned(), port)].into(),
        user: None,
        secret: None,
        database: None,
        identity: certificate(stack).certificate.into_string(),
        storage: Storage::default(),
        watched: None,
    }
}

/// Answers one connection with what it was asked, over TLS with the certificate of this place.
fn server(stack: &Stack) -> u16 {
    let pair = certificate(stack);
    let chain = CertificateDer::pem_file_iter(&pair.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    answer_once(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                // Refused by the client.
                _ => return,
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", seen.len());
        stream.write_all(&[head.as_bytes(), &seen].concat()).unwrap();
        stream.conn.send_close_notify();
        let _gone = stream.flush();
    })
}

fn answer_once(answer: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || answer(listener.accept().unwrap().0));
    port
}

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_front_of_another_checkout_is_a_stranger_although_the_authority_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (stack(&folder, "ours"), stack(&folder, "other"));
    assert_eq!(authority(&ours.store), authority(&other.store));

    let port = server(&ours);
    let reply = Https::new(&endpoint(&ours, port), "https", LIMIT).unwrap().get("/ping").unwrap();
    let asked = String::from_utf8(reply.body).unwrap().to_lowercase();
    assert_eq!(reply.status, 200);
    assert!(asked.starts_with("get /ping http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains(&format!("host: 127.0.0.1:{port}\r\n")) && !asked.contains(".localhost"),
        "{asked}"
    );

    let asked = |stack: &Stack, port| Https::new(&endpoint(stack, port), "https", LIMIT).unwrap().get("/");
    let error = asked(&ours, server(&other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let plain = answer_once(|mut stream| {
        let _read = stream.read(&mut [0; 1024]);
        let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let error = asked(&ours, plain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(asked(&ours, free).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(listens(&endpoint(&ours, free), "https").unwrap_err().kind(), ErrorKind::ConnectionRefused);

    std::fs::remove_file(certificate(&ours).certificate).unwrap();
    let Err(error) = Https::new(&endpoint(&ours, free), "https", LIMIT) else {
        panic!("without a certificate")
    };
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn our_authority_is_the_only_root() {
    let folder = tempfile::tempdir().unwrap();
    let ours = stack(&folder, "p");
    let port = server(&ours);
    // The same names in the same place, signed by an authority that was made after the first one had gone.
    std::fs::remove_dir_all(ecosystem_core::tls::authority_folder(&ours.store)).unwrap();
    tls::ensure(&ours, "127.0.0.1", &Silent).unwrap();
    let error = Https::new(&endpoint(&ours, port), "https", LIMIT).unwrap().get("/").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert!(own_name(&certificate(&ours).certificate).ends_with(".localhost"));
}

/// `trust` with the store of a place of its own.
fn trust(place: &Place, store: &Utf8Path, args: &[&str]) -> Run {
    Run::of(place.command(&[&["trust"], args].concat()).env("ECOSYSTEM_STORE", store))
}

#[test]
fn trust_prints_what_to_type_and_changes_nothing() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new());
    let store = Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
    let none = trust(&place, &store, &[]);
    assert_eq!(none.status, 1, "{none}");
    assert!(none.stderr.contains("authority-missing") && !store.exists(), "{none}");

    let stack = stack(&folder, "p");
    let file = authority(&stack.store).certificate;
    let before = std::fs::read(&file).unwrap();
    let printed = trust(&place, &store, &[]);
    assert_eq!(printed.status, 0, "{printed}");
    assert_eq!(printed.stdout.lines().next(), Some(file.as_str()));
    assert!(printed.stdout.contains(&format!("curl --cacert {file}")), "{printed}");
    let report = trust(&place, &store, &["--format", "json"]).report();
    fits("Trust", &report);
    assert_eq!(report["certificate"], file.as_str());
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(store.read_dir_utf8().unwrap().count(), 1, "the authority alone");

    std::fs::remove_file(authority(&stack.store).key).unwrap();
    let damaged = trust(&place, &store, &[]);
    assert_eq!(damaged.status, 3, "{damaged}");
    assert!(
        damaged.stderr.contains("authority-unusable") && damaged.stderr.contains("key.pem is missing"),
        "{damaged}"
    );
    assert!(!authority(&stack.store).key.exists());
}
