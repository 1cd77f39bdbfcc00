//! Mechanisms: files, short commands, processes, ports. They know nothing of services, manifests or people.

pub mod attach;
pub mod clock;
pub mod cmd;
pub mod control;
pub mod copy;
pub mod fs;
pub mod interrupt;
pub mod launch;
mod log;
pub mod memory;
pub mod os;
pub mod parallel;
mod signal;
pub mod supervisor;
