//! Whose a bucket is, and its removal.

use std::collections::BTreeMap;

use anyhow::Context as _;
use ecosystem_core::artifact::hex;
use ecosystem_core::pack::objects::OWN_KEYS;
use sha2::{Digest as _, Sha256};

use super::{Call, Content, Store};
use crate::sys::interrupt;

/// The object that says whose a bucket is.
const MARK: &str = "tenant";

impl Store {
    /// What says whose a bucket is, if anything does. An object, because not every server has tags.
    pub fn mark(&self, bucket: &str) -> anyhow::Result<Option<String>> {
        let mark = self.read(bucket, &format!("{OWN_KEYS}{MARK}"))?;
        Ok(mark.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Says whose a bucket is.
    pub fn set_mark(&self, bucket: &str, mark: &str) -> anyhow::Result<()> {
        let (key, sha256) = (format!("{OWN_KEYS}{MARK}"), hex(&Sha256::digest(mark)));
        let content = Content {
            key: &key,
            bytes: mark.len() as u64,
            sha256: &sha256,
            media_type: Some("text/plain"),
            metadata: &BTreeMap::new(),
        };
        self.put(bucket, &content, &mut mark.as_bytes())
    }

    /// Removes a bucket with all that is in it. Its mark goes last: what is left of it is still known.
    pub fn remove(&self, bucket: &str) -> anyhow::Result<()> {
        let mark = format!("{OWN_KEYS}{MARK}");
        // MinIO does all of it in one request, older versions of objects too; to others this is an empty bucket or none.
        let mut call = Call::new("DELETE", bucket, "");
        call.headers.push(("x-minio-force-delete".to_owned(), "true".to_owned()));
        let what = format!("remove the bucket {bucket}");
        let reply = self.ask(&call).with_context(|| format!("MinIO cannot {what}"))?;
        if reply.ok() || reply.status == 404 {
            return Ok(());
        }
        loop {
            // From the beginning again: what was listed is gone.
            let Some(page) = self.list(bucket, None)? else { return Ok(()) };
            let keys: Vec<String> =
                page.objects.into_iter().map(|object| object.key).filter(|key| *key != mark).collect();
            for key in &keys {
                interrupt::check()?;
                self.delete(bucket, key)?;
            }
            if keys.is_empty() {
                break;
            }
        }
        self.delete(bucket, &mark)?;
        self.insist(&what, &Call::new("DELETE", bucket, "")).map(drop)
    }
}
