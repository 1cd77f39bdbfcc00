//! A web server on loopback that serves folders, and misbehaves where it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

/// How it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Status(u16),
    /// Status 200 and a page that asks to log in.
    Page,
    /// The connection ends after half of the file.
    Cut,
    /// As long as it should be, and with other bytes.
    Changed,
    /// Half of the file, and then nothing, for as long as the other side waits.
    Hang,
    /// Twenty pieces, with a pause after each.
    Slow(Duration),
}

struct Shared {
    folders: Vec<Utf8PathBuf>,
    /// The first one whose text is in the path counts.
    faults: Mutex<Vec<(String, Fault)>>,
    requests: Mutex<Vec<String>>,
    sent: AtomicU64,
}

/// A running mirror. It ends with the test process.
pub(crate) struct Mirror {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

impl Mirror {
    /// Serves the first of these folders that has a file.
    pub(crate) fn of(folders: &[&Utf8Path]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            folders: folders.iter().map(|folder| (*folder).to_owned()).collect(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // The other side may be killed at any time.
                std::thread::spawn(move || shared.answer(&stream).ok());
            }
        });
        Self { shared, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Misbehaves for paths with this text from now on.
    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((path.to_owned(), fault));
    }

    pub(crate) fn behave(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// How often a path with this text was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|request| request.contains(path)).count()
    }

    /// Bytes of files that were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        self.requests.lock().unwrap().push(target.to_owned());
        // Asked as a proxy, it gets a whole address.
        let path =
            target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
        let path = path.replace("%3a", ":").replace("%7e", "~").replace("%2b", "+");
        let relative = path.trim_start_matches(['/', '.']);
        let found = self.folders.iter().map(|folder| folder.join(relative)).find(|file| file.is_file());
        let fault =
            self.faults.lock().unwrap().iter().find(|(text, _)| path.contains(text)).map(|(_, fault)| *fault);
        let content = match (found, fault) {
            (_, Some(Fault::Status(status))) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            (_, Some(Fault::Page)) => b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec(),
            (None, _) => {
                return write!(
                    stream,
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            (Some(file), fault) => {
                let mut content = std::fs::read(file)?;
                if fault == Some(Fault::Changed) {
                    content[0] ^= 0xff;
                }
                content
            }
        };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
        if method == "HEAD" {
            return Ok(());
        }
        match fault {
            Some(Fault::Cut) => self.send(stream, &content[..content.len() / 2])?,
            Some(Fault::Hang) => {
                self.send(stream, &content[..content.len() / 2])?;
                // Ends when the other side goes.
                reader.read_to_end(&mut Vec::new())?;
            }
            Some(Fault::Slow(pause)) => {
                for piece in content.chunks(content.len().div_ceil(20).max(1)) {
                    self.send(stream, piece)?;
                    std::thread::park_timeout(pause);
                }
            }
            _ => self.send(stream, &content)?,
        }
        stream.shutdown(Shutdown::Both)
    }

    fn send(&self, mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}
