//! What the store holds: servers fetched from a package registry, and things made from them once.
//!
//! Pure: names, keys and what inspection found. Fetching and building are `xtask/src/provision`.

use std::collections::BTreeMap;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A content address: the first 16 hexadecimal digits of a SHA-256 over everything that went in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of a recipe and its inputs, in order. Parts are length-prefixed, so no two lists collide.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hex(&hash.finalize())[..16].to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Something in the store, ready for use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// `redis`, `postgresql`, `postgresql-template`, `java`, …
    pub name: String,
    /// What the program says of itself, or what its origin calls it.
    pub version: String,
    pub key: Key,
    pub root: Utf8PathBuf,
    /// What inspection read once and stored beside it.
    pub facts: Facts,
}

/// What is worth knowing about an installed thing, found out once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Programs and folders by role (`server`, `epmd`, `home`), absolute.
    pub paths: BTreeMap<String, Utf8PathBuf>,
    /// Folders for `LD_LIBRARY_PATH`, absolute.
    #[serde(default)]
    pub libraries: Vec<Utf8PathBuf>,
    /// Erlang applications of RabbitMQ by name.
    #[serde(default)]
    pub plugins: BTreeMap<String, Plugin>,
}

/// An Erlang application that ships with RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    pub folder: Utf8PathBuf,
    /// The applications it needs, as its `.app` file lists them.
    pub needs: Vec<String>,
}

impl Installed {
    /// A path found by inspection. One that inspection did not record is a fault of this program.
    pub fn path(&self, role: &str) -> &Utf8Path {
        match self.facts.paths.get(role) {
            Some(path) => path,
            None => unreachable!("{} was installed without its {role}", self.name),
        }
    }

    /// The value for `LD_LIBRARY_PATH`, where the program needs one.
    pub fn library_path(&self) -> Option<String> {
        if self.facts.libraries.is_empty() {
            return None;
        }
        Some(self.facts.libraries.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(":"))
    }
}

/// What is installed, by name.
pub type Installation = BTreeMap<String, Installed>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_every_part_and_its_borders() {
        assert_eq!(Key::of(["a", "b"]), Key::of(["a", "b"]));
        assert_ne!(Key::of(["a", "b"]), Key::of(["ab"]));
        assert_ne!(Key::of(["a", "b"]), Key::of(["b", "a"]));
        assert_eq!(Key::of(["a"]).to_string().len(), 16);
    }
}
