//! Host tools: what a release accepts, and how a version is read from what a program prints.

use serde::Serialize;

/// A tool that the release wants on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// `python`, `pipenv`, `docker`, `docker-compose`, `node`, `npm`, `imagemagick`, `git`.
    pub name: String,
    /// The name people know: `Python`, `Docker Compose`.
    pub title: String,
    /// A semver requirement: `>=3.9, <3.10`.
    pub accept: String,
    /// The version that the documentation names and that this project is tested with.
    pub tested: String,
}
