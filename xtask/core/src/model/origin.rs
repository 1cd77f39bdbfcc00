//! Where a value came from.

use std::fmt;

use serde::{Serialize, Serializer};

/// A value and its origin. Prints and serialises as the value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

/// The layer that a value came from. Later layers win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The built-in release of this name.
    Release(String),
    /// A file, by its name and line, counted from 1.
    File { name: String, line: usize },
    /// A flag of the command line, as it was typed.
    Flag(&'static str),
}

impl<T> Sourced<T> {
    /// A value from the built-in release.
    pub fn release(value: T, release: &str) -> Self {
        Self { value, origin: Origin::Release(release.to_owned()) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(name) => write!(f, "release {name}"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Sourced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Sourced<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}
