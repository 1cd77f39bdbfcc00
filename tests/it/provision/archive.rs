//! Archives that a manifest names: real `curl` against a web server of the test's own that cuts, forgets, changes and lies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use ecosystem_core::artifact::hex;
use rustix::process::Signal;
use sha2::{Digest, Sha256, Sha512};

use super::lab::{Lab, file};
use crate::support::{eventually, kill, walk};

/// What the server has, and how it behaves.
#[derive(Debug, Clone, Default)]
struct Shop {
    content: Vec<u8>,
    etag: Option<&'static str>,
    /// It knows how to send a part.
    ranges: bool,
    /// So many bytes of a body, and then the connection ends, or nothing more comes.
    most: Option<usize>,
    hangs: bool,
}

/// A web server with one file. It ends with the test process.
struct Server {
    shop: Arc<Mutex<Shop>>,
    /// Every request, whole.
    heard: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Server {
    fn of(shop: Shop) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shop, heard) = (Arc::new(Mutex::new(shop)), Arc::new(Mutex::new(Vec::new())));
        let (shared, log) = (Arc::clone(&shop), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shop, log) = (shared.lock().unwrap().clone(), Arc::clone(&log));
                // The other side may be killed at any time.
                std::thread::spawn(move || answer(&stream, &shop, &log).ok());
            }
        });
        Self { shop, heard, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn change(&self, change: impl FnOnce(&mut Shop)) {
        change(&mut self.shop.lock().unwrap());
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// A header of the request of this number, which is not there where it is empty.
    fn header(&self, request: usize, name: &str) -> String {
        let heard = self.heard();
        let lines = heard[request].lines();
        let found =
            lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    }
}

fn answer(mut stream: &TcpStream, shop: &Shop, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    log.lock().unwrap().push(head.clone());
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path.contains("/moved/") {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nETag: \"moved\"\r\nLocation: /x-1.0.tar.gz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if !path.contains("x-1.0") {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let said = |name: &str| {
        head.lines().filter_map(|l| l.split_once(": ")).find(|(n, _)| *n == name).map(|(_, v)| v)
    };
    let start = said("Range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let same = said("If-Range").is_none_or(|tag| Some(tag) == shop.etag);
    let start = start.filter(|start| shop.ranges && same && *start < shop.content.len());
    let size = shop.content.len();
    let (status, body) = match start {
        Some(start) => {
            (format!("206 Part\r\nContent-Range: bytes {start}-{}/{size}", size - 1), &shop.content[start..])
        }
        None => ("200 OK".to_owned(), &shop.content[..]),
    };
    let etag = shop.etag.map(|tag| format!("ETag: {tag}\r\n")).unwrap_or_default();
    write!(stream, "HTTP/1.1 {status}\r\n{etag}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..shop.most.unwrap_or(body.len()).min(body.len())])?;
    if shop.hangs {
        // Ends when the other side goes.
        reader.read_to_end(&mut Vec::new())?;
    }
    stream.shutdown(Shutdown::Both)
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

/// A gzipped tar archive of these files, a part of which shrinks badly.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let noise: Vec<u8> =
        (0_u32..40_000).flat_map(|n| Sha256::digest(n.to_be_bytes())[..2].to_vec()).collect();
    let mut add = |name: &str, content: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        // `append_data` refuses what one of these tests is about.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    };
    for (name, content) in files {
        add(name, content.as_bytes(), 0o755);
    }
    add("x-1.0/noise", &noise, 0o644);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

/// What is taken for Dashboards.
fn dashboards() -> Vec<u8> {
    archive(&[
        ("x-1.0/package.json", "{\"version\": \"1.0.7\"}"),
        ("x-1.0/bin/opensearch-dashboards", "#!/bin/sh\n"),
        ("x-1.0/node/bin/node", "#!/bin/sh\necho v14.20.0\n"),
        ("x-1.0/plugins/securityDashboards/opensearch_dashboards.json", "{}"),
        ("x-1.0/plugins/other/opensearch_dashboards.json", "{}"),
    ])
}

/// A lab whose manifest names this archive.
fn lab(url: &str, sha512: &str) -> Lab {
    let lab = Lab::new();
    name(&lab, url, sha512);
    lab
}

fn name(lab: &Lab, url: &str, sha512: &str) {
    // The search engine of somebody else, so that none is fetched.
    lab.place.manifest(&format!(
        "[services.opensearch]\nexternal = \"http://127.0.0.1:1\"\n[services.dashboards]\nget = \"{url}\"\nsha512 = \"{sha512}\"\n"
    ));
}

const FETCH: &[&str] = &["provision", "dashboards"];

/// What waits in the store for its rest.
fn parts(lab: &Lab) -> Vec<Utf8PathBuf> {
    let cache = lab.store.join("cache");
    if cache.is_dir() {
        walk(&cache).into_iter().filter(|path| path.ends_with("part")).collect()
    } else {
        Vec::new()
    }
}

#[test]
fn a_download_that_was_killed_goes_on_with_the_rest() {
    let content = dashboards();
    let (half, size) = (content.len() / 2, content.len());
    let shop = Shop { content, etag: Some("\"one\""), ranges: true, most: Some(half), hangs: true };
    let server = Server::of(shop.clone());
    let lab = lab(&server.url("/moved/x-1.0.tar.gz"), &sha512(&shop.content));
    let mut child = lab.command(FETCH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let there = || {
        parts(&lab).first().is_some_and(|part| part.metadata().is_ok_and(|meta| meta.len() == half as u64))
    };
    eventually("half of it is there", there);
    // It looks at the headers a few times a second, and what they say has to survive as well.
    let kept = || parts(&lab)[0].with_file_name("validator").exists();
    eventually("it is known of what it is the half", kept);
    kill(child.id(), Signal::KILL);
    child.wait().unwrap();
    lab.assert_quiet();
    let offline = lab.fails(&["provision", "dashboards", "--offline"], "offline-missing");
    assert!(offline.contains("dashboards 1.0: 1 archive"), "{offline}");

    server.change(|shop| (shop.most, shop.hangs) = (None, false));
    assert_eq!(lab.json(FETCH)["items"][0]["version"], "1.0");
    // Each time it was sent on.
    assert_eq!(server.heard().len(), 4);
    assert_eq!((server.header(1, "Range"), server.header(1, "If-Range")), (String::new(), String::new()));
    assert_eq!(server.header(3, "Range"), format!("bytes={half}-"));
    assert_eq!(server.header(3, "If-Range"), "\"one\"");
    assert!(half < size && parts(&lab).is_empty(), "what it was made from is gone");
    let home = lab.entry("dashboards-1.0-").join("x-1.0/plugins");
    assert!(home.join("other").exists() && !home.join("securityDashboards").exists());
    assert_eq!(lab.json(FETCH)["new"], 0);
    assert_eq!(server.heard().len(), 4);
    lab.assert_quiet();
}

#[test]
fn a_connection_that_ends_is_made_again_for_the_rest() {
    let content = dashboards();
    let most = content.len() / 3 + 1;
    let server = Server::of(Shop { content, ranges: true, most: Some(most), ..Shop::default() });
    let lab = lab(&server.url("/x-1.0.tar.gz"), &sha512(&dashboards()));
    lab.ok(FETCH);
    let ranges: Vec<String> =
        (0..server.heard().len()).map(|request| server.header(request, "Range")).collect();
    assert_eq!(ranges, [String::new(), format!("bytes={most}-"), format!("bytes={}-", 2 * most)]);
}

#[test]
fn what_ends_again_and_again_without_anything_new_is_an_error() {
    let server = Server::of(Shop { content: dashboards(), ranges: true, most: Some(0), ..Shop::default() });
    let lab = lab(&server.url("/x-1.0.tar.gz"), &sha512(&dashboards()));
    lab.fails(FETCH, "download-cut");
    lab.assert_quiet();
}

#[test]
fn a_server_without_ranges_or_with_another_file_is_asked_for_all_of_it() {
    for (etag, ranges) in [(Some("\"two\""), true), (None, false)] {
        let old = Shop {
            content: vec![b'x'; 60_000],
            etag: Some("\"one\""),
            ranges,
            most: Some(40_000),
            ..Shop::default()
        };
        let server = Server::of(old);
        let lab = lab(&server.url("/x-1.0.tar.gz"), &sha512(&dashboards()));
        // The last connections bring nothing.
        server.change(|shop| shop.hangs = true);
        let mut child = lab.command(FETCH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it is known of what it is the half", || {
            parts(&lab).first().is_some_and(|part| part.with_file_name("validator").exists())
        });
        kill(child.id(), Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        lab.assert_quiet();
        server.change(|shop| *shop = Shop { content: dashboards(), etag, ranges, ..Shop::default() });
        let before = server.heard().len();
        lab.ok(FETCH);
        assert_eq!(server.header(before, "If-Range"), "\"one\"");
        assert_eq!(server.header(before + 1, "Range"), "", "asked for all of it");
    }
}

#[test]
fn two_halves_of_different_files_are_no_file() {
    let content = dashboards();
    let server = Server::of(Shop { content: content.clone(), ranges: true, ..Shop::default() });
    let lab = lab(&server.url("/x-1.0.tar.gz"), &sha512(&content));
    // What somebody else has begun, of which no server ever said what it is.
    let folder = lab.store.join("cache/archives").join(&sha512(&content)[..16]);
    std::fs::create_dir_all(&folder).unwrap();
    file(&folder.join("part"), &[b'y'; 1000]);
    lab.ok(FETCH);
    assert_eq!((server.header(0, "Range"), server.header(1, "Range")), ("bytes=1000-".into(), String::new()));
}

#[test]
fn other_bytes_are_refused_and_thrown_away() {
    let server = Server::of(Shop { content: dashboards(), ..Shop::default() });
    let lab = lab(&server.url("/x-1.0.tar.gz"), &sha512(b"what was published"));
    let message = lab.fails(FETCH, "archive-changed");
    assert!(
        message.contains(&sha512(b"what was published")) && message.contains(&sha512(&dashboards())),
        "{message}"
    );
    assert!(message.contains("ecosystem.toml:5"), "{message}");
    server.change(|shop| shop.content = b"<!DOCTYPE html><html>Please log in</html>".to_vec());
    lab.fails(FETCH, "network-login");
    assert_eq!((lab.entries(), parts(&lab)), (vec![], vec![]));
    lab.assert_quiet();
}

#[test]
fn an_archive_that_is_damaged_hostile_or_something_else_reaches_nothing() {
    let evil = archive(&[("../../../evil", "x")]);
    let cut = dashboards()[..50_000].to_vec();
    let other = archive(&[("x-1.0/readme", "x")]);
    for (content, code) in [(evil, "archive-hostile"), (cut, "archive-damaged"), (other, "archive-unknown")] {
        let sum = sha512(&content);
        let server = Server::of(Shop { content, ..Shop::default() });
        let lab = lab(&server.url("/x-1.0.tar.gz"), &sum);
        lab.fails(FETCH, code);
        assert!(!lab.folder.join("evil").exists() && !lab.store.join("evil").exists());
        assert_eq!((lab.entries(), parts(&lab)), (vec![], vec![]), "{code}");
        lab.assert_quiet();
    }
}

#[test]
fn what_cannot_be_fetched_is_named_with_its_reason() {
    let server = Server::of(Shop { content: dashboards(), ..Shop::default() });
    let sum = sha512(&dashboards());
    let mut lab = lab(&server.url("/nothing.tar.gz"), &sum);
    let message = lab.fails(FETCH, "mirror-lacks");
    assert!(message.contains("/nothing.tar.gz"), "{message}");
    name(&lab, "http://127.0.0.1:1/x-1.0.tar.gz", &sum);
    lab.fails(FETCH, "mirror-unreachable");
    name(&lab, "http://archive.invalid/x-1.0.tar.gz", &sum);
    lab.fails(FETCH, "network-down");
    name(&lab, "file:///nowhere/x-1.0.tar.gz", &sum);
    lab.fails(FETCH, "archive-missing");
    // The name is known to the proxy.
    name(&lab, "http://archive.invalid/x-1.0.tar.gz", &sum);
    lab.set("http_proxy", server.url(""));
    lab.set("no_proxy", "");
    lab.ok(FETCH);
    assert!(server.heard().last().unwrap().starts_with("GET http://archive.invalid/x-1.0.tar.gz "));

    lab.set("PATH", "/nowhere");
    assert_eq!(lab.json(FETCH)["new"], 0, "what is there needs no curl");
    name(&lab, &server.url("/x-1.0.tgz"), &sha512(b"another"));
    lab.fails(FETCH, "package-client-missing");
}

#[test]
fn a_file_of_this_machine_needs_no_network_and_is_kept_while_somebody_names_it() {
    let mut lab = Lab::new();
    lab.set("PATH", "/nowhere");
    let path = lab.folder.join("dashboards-2.0.tar.gz");
    file(&path, &dashboards());
    let url = format!("file://{}", path.as_str().replace(' ', "%20"));
    name(&lab, &url, &sha512(b"another"));
    lab.fails(&["provision", "dashboards", "--offline"], "archive-changed");
    assert!(path.exists(), "it is not ours to remove");
    name(&lab, &url, &sha512(&dashboards()));
    lab.ok(&["provision", "dashboards", "--offline"]);

    let bundle = lab.folder.join("room.tar");
    lab.ok(&["provision", "dashboards", "--bundle", bundle.as_str()]);
    let other = Lab::new();
    name(&other, "https://archive.invalid/dashboards-2.0.tar.gz", &sha512(&dashboards()));
    other.ok(&["provision", "dashboards", "--from", bundle.as_str()]);
    assert_eq!(other.json(&["provision", "dashboards", "--offline"])["new"], 0);

    let clean = ["provision", "--clean", "--yes"];
    assert_eq!(lab.json(&clean)["items"].as_array().unwrap().len(), 0);
    lab.place.manifest("");
    assert_eq!(lab.json(&clean)["items"][0]["what"], "unneeded");
    assert_eq!(lab.entries(), Vec::<String>::new());
}
