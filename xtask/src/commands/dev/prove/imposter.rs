//! Somebody else on one of our ports, with all the manners of servers that are not ours.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How somebody behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Listens and takes no connection.
    Silent,
    /// Takes connections and closes them.
    Closing,
    /// Says what it hears.
    Echo,
    /// Says that all is well in the words of HTTP, as a search engine of another cluster does.
    Http,
    /// Says that all is well in the words of Redis, with another configuration file.
    Redis,
    /// Lets everybody in without a password in the words of PostgreSQL.
    Postgresql,
    /// Greets in the words of AMQP, with another cluster's name.
    Amqp,
}

impl Act {
    pub(super) const ALL: [Self; 7] =
        [Self::Silent, Self::Closing, Self::Echo, Self::Http, Self::Redis, Self::Postgresql, Self::Amqp];

    /// What is said to what was heard; `None` closes the connection.
    fn answer(self, heard: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Silent | Self::Closing => None,
            Self::Echo => Some(heard.to_vec()),
            Self::Http => {
                let body = r#"{"cluster_name":"other","status":"green","version":{"number":"2.3.0"}}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                Some((head + body).into_bytes())
            }
            Self::Redis => {
                let info = "redis_version:7.0.15\r\nloading:0\r\nconfig_file:/etc/redis/redis.conf\r\n";
                // Commands begin with a star; several may come at once.
                let commands = String::from_utf8_lossy(heard).matches('*').count().max(1);
                Some(format!("${}\r\n{info}\r\n", info.len()).repeat(commands).into_bytes())
            }
            Self::Postgresql if heard.starts_with(&[0, 0, 0, 8]) => Some(b"N".to_vec()),
            // Authentication is fine, and ready for a query.
            Self::Postgresql => Some([&b"R\0\0\0\x08\0\0\0\0"[..], b"Z\0\0\0\x05I"].concat()),
            Self::Amqp => Some(greeting()),
        }
    }
}

/// Connection.Start of AMQP 0-9-1 with a cluster's name.
fn greeting() -> Vec<u8> {
    let name = b"rabbit@other";
    let mut table = vec![12];
    table.extend(b"cluster_name");
    table.push(b'S');
    table.extend(u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
    table.extend(name);
    let mut payload = vec![0, 10, 0, 10, 0, 9];
    payload.extend(u32::try_from(table.len()).unwrap_or(0).to_be_bytes());
    payload.extend(table);
    for text in ["PLAIN", "en_US"] {
        payload.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
        payload.extend(text.as_bytes());
    }
    let mut frame = vec![1, 0, 0];
    frame.extend(u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

/// Somebody who is there until the value is dropped.
pub(super) struct Imposter {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _listener: Option<TcpListener>,
}

impl Imposter {
    /// Comes to a port; `None` where somebody is there already.
    pub(super) fn appear(port: u16, act: Act) -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        let address = listener.local_addr().ok()?;
        let over = Arc::new(AtomicBool::new(false));
        if act == Act::Silent {
            return Some(Self { address, over, thread: None, _listener: Some(listener) });
        }
        let ended = Arc::clone(&over);
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || converse(stream, act));
            }
        };
        Some(Self { address, over, thread: Some(std::thread::spawn(serve)), _listener: None })
    }
}

fn converse(mut stream: TcpStream, act: Act) {
    if act == Act::Closing || stream.set_read_timeout(Some(Duration::from_secs(10))).is_err() {
        return;
    }
    let mut heard = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut heard) {
        let said = act.answer(&heard[..length]).map(|answer| stream.write_all(&answer));
        if !matches!(said, Some(Ok(()))) {
            break;
        }
    }
    let _closed = stream.shutdown(Shutdown::Both);
}

impl Drop for Imposter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Wakes it up, so that it sees that it is over.
            let _woken = TcpStream::connect(self.address);
            let _ended = thread.join();
        }
    }
}
