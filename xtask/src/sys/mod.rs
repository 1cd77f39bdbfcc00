//! Mechanisms: files, short commands, processes, ports. They know nothing of services, manifests or people.

pub mod cmd;
pub mod fs;
