//! Mechanisms: files, short commands, processes, ports. They know nothing of services, manifests or people.

pub mod attach;
pub mod cmd;
pub mod control;
pub mod fs;
pub mod interrupt;
pub mod launch;
pub mod os;
pub mod supervisor;
