//! A TCP connection with one deadline for everything that is done with it: a server that drips bytes cannot hold us.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use ecosystem_core::endpoint::Endpoint;

use super::CONNECT;

/// An open connection. Reads and writes fail with `TimedOut` once the deadline has passed.
pub(super) struct Wire {
    stream: TcpStream,
    deadline: Instant,
}

impl Wire {
    /// Connects to the port of a role.
    pub(super) fn open(endpoint: &Endpoint, role: &str, limit: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + limit;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        // As a pair, so that an IPv6 address needs no brackets.
        for address in (endpoint.host.as_str(), endpoint.port(role)).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self { stream, deadline });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
