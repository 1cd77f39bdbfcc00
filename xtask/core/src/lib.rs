//! The pure half of Invenio Ecosystem: what should run, how each server is launched, and what has to happen to get there.
//!
//! Nothing here reads a file, opens a socket, asks the time or looks at the environment: all of that comes in as a
//! value, so every decision can be tested by writing down an input and reading the output. Acting is the business of
//! the `xtask` crate.

pub mod artifact;
pub mod blame;
pub mod capture;
pub mod catalog;
pub mod checkpoint;
pub mod endpoint;
pub mod explain;
pub mod failure;
pub mod host;
pub mod log;
pub mod marker;
pub mod model;
pub mod pack;
pub mod place;
pub mod plan;
pub mod process;
pub mod redact;
pub mod release;
pub mod render;
pub mod reset;
pub mod seen;
pub mod shortage;
pub mod site;
pub mod supervise;
pub mod synthetic;
pub mod tenant;
pub mod tls;
pub mod tool;
pub mod trust;
