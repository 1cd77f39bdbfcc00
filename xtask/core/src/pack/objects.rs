//! The part of a pack for an object store: buckets, each with a list that says in one line an object what its objects are.
//!
//! The content of an object lies below `objects/<bucket>/` under its SHA-256, the same content once, so a file cannot be mistaken for another
//! one. Lists are in the order of keys, as servers list them: the two can be walked side by side, however long they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FilePath;

/// The part for an object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    pub buckets: Vec<Bucket>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    pub name: String,
    /// One object a line, in the order of keys.
    pub list: FilePath,
}

/// An object, as a line of a list says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Any text: slashes mean nothing, and it is no path of a file.
    pub key: String,
    /// `objects/<bucket>/<SHA-256>`
    pub file: FilePath,
    pub bytes: u64,
    /// The media type that it is served with.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an application has attached to it, by lower-case name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Keys and metadata that begin so are this program's own: receipts. The first is of a key, the second of a name of metadata.
pub const OWN_KEYS: &str = ".ecosystem/";
const OWN_METADATA: &str = "ecosystem-";

/// The metadata that says of which content an object was made by this program, and for which pack.
pub const SHA256: &str = "ecosystem-sha256";
pub const PACK: &str = "ecosystem-pack";

/// What S3 allows for a key, in bytes.
const MAX_KEY: usize = 1024;

impl Object {
    /// Reads a line of the list of a bucket; everything that can be wrong with it by itself is found.
    pub fn read(line: &[u8], bucket: &str) -> Result<Self, String> {
        let object: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Self { key, file, media_type, metadata, .. } = &object;
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!("its key has {} bytes, not from 1 to {MAX_KEY}", key.len()));
        }
        if key.split('/').any(|part| [".", ".."].contains(&part)) {
            return Err(format!("its key {key:?} has a part that servers take for a folder"));
        }
        if key.starts_with(OWN_KEYS) {
            return Err(format!("keys that begin with {OWN_KEYS} are for receipts"));
        }
        let in_place = file.as_str().strip_prefix(&folder(bucket)).is_some_and(is_sha256);
        if !in_place {
            return Err(format!("{file} is not {}<SHA-256 of the content>", folder(bucket)));
        }
        for (name, value) in metadata {
            if !is_metadata(name) || name.starts_with(OWN_METADATA) {
                return Err(format!("metadata {name:?}: use a-z, 0-9, dashes, and not {OWN_METADATA}…"));
            }
            if !is_value(value) {
                return Err(format!("metadata {name:?} has a value that no header can have"));
            }
        }
        if media_type.as_ref().is_some_and(|text| text.is_empty() || !is_value(text)) {
            return Err("its type is none".to_owned());
        }
        Ok(object)
    }

    /// The object with this content.
    pub fn new(bucket: &str, key: String, sha256: &str, bytes: u64) -> Result<Self, String> {
        let file = format!("{}{sha256}", folder(bucket)).try_into()?;
        Ok(Self { key, file, bytes, media_type: None, metadata: BTreeMap::new() })
    }

    /// The SHA-256 of its content, which is the name of its file.
    pub fn sha256(&self) -> &str {
        self.file.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// What an application has attached, of everything that a server tells.
    pub fn metadata_of(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
        all.into_iter().filter(|(name, _)| !name.starts_with(OWN_METADATA)).collect()
    }
}

/// The folder for the contents of a bucket, with a slash.
pub fn folder(bucket: &str) -> String {
    format!("objects/{bucket}/")
}

/// Whether S3 allows this name, and a path can hold it.
pub(crate) fn is_bucket(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| edge(c) || "-.".contains(c))
        && name.starts_with(edge)
        && name.ends_with(edge)
        && !name.contains("..")
}

/// Whether these are 64 digits of 0-9 and a-f.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_metadata(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

/// Whether a header can carry it and gives it back unchanged. Servers encode what is not ASCII, and give back the code.
fn is_value(text: &str) -> bool {
    text.len() <= 2048 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(line: &str) -> Result<Object, String> {
        Object::read(line.replace("SUM", SUM).as_bytes(), "default")
    }

    #[test]
    fn a_line_says_all_of_an_object() {
        let object = read(r#"{"key":"a b/č\n+?","file":"objects/default/SUM","bytes":0,"type":"text/plain","metadata":{"origin":"a  b"}}"#)
            .unwrap();
        assert_eq!((object.key.as_str(), object.sha256()), ("a b/č\n+?", SUM));
        let line = serde_json::to_vec(&object).unwrap();
        assert_eq!(Object::read(&line, "default").unwrap(), object);
        assert!(Object::read(&line, "other").unwrap_err().contains("objects/other/"));
    }

    #[test]
    fn lines_that_mean_trouble_are_refused() {
        let bad = [
            r#"{"key":"","file":"objects/default/SUM","bytes":0}"#,
            r#"{"key":"a/../b","file":"objects/default/SUM","bytes":0}"#,
            r#"{"key":".ecosystem/x","file":"objects/default/SUM","bytes":0}"#,
            r#"{"key":"a","file":"objects/default/../SUM","bytes":0}"#,
            r#"{"key":"a","file":"objects/SUM","bytes":0}"#,
            r#"{"key":"a","file":"objects/default/SUMa","bytes":0}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":-1}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"mode":1}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"type":"a\r\nb"}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"metadata":{"A":"x"}}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"metadata":{"a":"x\n"}}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"metadata":{"a":"é"}}"#,
            r#"{"key":"a","file":"objects/default/SUM","bytes":0,"metadata":{"ecosystem-sha256":"x"}}"#,
        ];
        for line in bad {
            assert!(read(line).is_err(), "{line}");
        }
        assert!(
            read(&format!(r#"{{"key":"{}","file":"objects/default/SUM","bytes":0}}"#, "č".repeat(513)))
                .is_err()
        );
    }

    #[test]
    fn names_of_buckets_are_those_of_s3() {
        for good in ["default", "a-b.c", "123"] {
            assert!(is_bucket(good), "{good}");
        }
        for bad in ["ab", "-ab", "a..b", "Default", "a_b", "a/b", &"a".repeat(64)] {
            assert!(!is_bucket(bad), "{bad}");
        }
    }
}
