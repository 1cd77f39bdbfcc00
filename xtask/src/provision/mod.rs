//! Getting servers that this machine does not have: fetched by the system's own package clients into a per-user store, once.
//!
//! Decides nothing about how a server is run (that is the catalog's) and never starts one for use. `Provisioner` is the way in.

mod archive;
mod debian;
mod host;
mod java;
mod lock;
mod maven;
mod on_path;
mod opensearch;
mod postgresql;
mod provisioner;
mod rabbitmq;
mod run;
mod store;
mod tree;
mod want;
mod watch;

pub use archive::{untar, zip_member};
pub use debian::parse_uris;
pub use host::{Family, Host};
pub use lock::{Lock, Pin};
pub use maven::Gav;
pub use provisioner::{Mode, Need, Provisioner};
pub use store::{Id, Source, Store};
