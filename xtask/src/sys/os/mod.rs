//! What differs between operating systems. Each file offers the same functions.

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
