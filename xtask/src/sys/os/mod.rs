//! What differs between operating systems. Each file offers the same functions.

use std::net::{IpAddr, ToSocketAddrs};

use ecosystem_core::failure::{Failure, Kind};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(target_os = "macos")]
pub use macos::*;

/// A process that listens on a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub address: std::net::IpAddr,
    pub port: u16,
    /// `None` where this user may not see whose it is.
    pub owner: Option<Owner>,
}

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// The command line, shortened to what a person needs to recognise it.
    pub command: String,
    /// Its working directory, where this user may see it.
    pub cwd: Option<String>,
}

/// The memory that these processes and everything that they have started hold, in bytes, as far as this user may see it.
pub fn memory_of(pids: impl IntoIterator<Item = u32>) -> u64 {
    let all = pids.into_iter().flat_map(|pid| descendants(pid).into_iter().chain([pid]));
    all.filter_map(resident_memory).sum()
}

/// Whether this process is in the foreground of a terminal, whose Ctrl-C goes to everybody there.
pub fn in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    let foreground = terminal.ok().and_then(|terminal| rustix::termios::tcgetpgrp(&terminal).ok());
    foreground.is_some_and(|group| group == rustix::process::getpgrp())
}

/// Fails where nobody knows that the name `localhost` means this machine.
pub fn localhost_is_known() -> Result<(), Failure> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut entries = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let listed = entries.any(|mut words| {
        words.next().and_then(|word| word.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_loopback())
            && words.any(|name| name == "localhost")
    });
    // Whoever does not list it may still know it; asking can take seconds where there is no network.
    let known = || {
        let mut found = ("localhost", 0).to_socket_addrs().ok()?;
        found.find(|address| address.ip().is_loopback())
    };
    if listed || known().is_some() {
        return Ok(());
    }
    let message = "nothing on this machine knows the name localhost, which RabbitMQ needs to find itself";
    Err(Failure::new(Kind::Host, "localhost-unknown", message)
        .hint("add this line to /etc/hosts: 127.0.0.1 localhost"))
}
