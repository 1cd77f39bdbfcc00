//! Getting servers that this machine does not have: fetched by the system's own package clients into a per-user store, once.
//!
//! Decides nothing about how a server is run (that is the catalog's) and never starts one for use. `Provisioner` is the way in.

mod archive;
mod bundle;
mod cause;
mod clean;
mod debian;
mod distribution;
mod download;
mod go;
mod host;
mod java;
mod lock;
mod maven;
mod offline;
mod on_path;
mod opensearch;
mod postgresql;
mod provisioner;
mod rabbitmq;
mod run;
mod site;
mod store;
mod tools;
mod tree;
mod unpack;
mod venv;
mod want;
mod watch;

pub use archive::{Hashed, Uncopied, copy_member, untar, zip_member};
pub use bundle::{Bundled, BundledEntry, unbundle};
pub use clean::{Sweep, Waste, What};
pub use debian::parse_uris;
pub use host::{Family, Host};
pub use lock::{Lock, Pin};
pub use maven::Gav;
pub use provisioner::{InUse, Mode, Need, Provisioner};
pub use store::{Guard, Id, Source, Store};
pub use tools::{Source as ToolSource, Tool};
pub use unpack::unpack;
pub use want::possible;
