//! Provisioning under stress: real `apt-get` and `mvn` against mirrors of the tests' own, real servers where they matter.

mod apt;
mod archive;
mod bundle;
mod clean;
mod damage;
mod go;
mod interrupted;
mod lab;
mod maven;
mod mirror;
mod network;

pub(crate) use archive::sha512;
pub(crate) use lab::{Lab, file};
