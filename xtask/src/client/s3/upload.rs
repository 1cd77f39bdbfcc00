//! Large objects, sent in parts: what is not sent to its end is never an object, and takes no space for longer than the next try.

use std::fmt::Write as _;
use std::io::{self, Read};

use anyhow::Context as _;
use ecosystem_core::artifact::hex;
use sha2::{Digest as _, Sha256};
use ureq::SendBody;

use super::answer::{self, begun, unfinished};
use super::{Call, Content, Store, rejected, whole};

/// Up to this size an object is sent in one request.
pub(super) const SINGLE: u64 = 16 * 1024 * 1024;
/// As much of a larger one is in memory.
const PART: u64 = 8 * 1024 * 1024;

impl Store {
    pub(super) fn upload(
        &self,
        bucket: &str,
        content: &Content<'_>,
        from: &mut dyn Read,
    ) -> anyhow::Result<()> {
        let what = format!("store {bucket}/{}", content.key);
        self.forget_unfinished(bucket, content.key)?;
        let reply =
            self.insist(&what, &Call::new("POST", bucket, content.key).with("uploads", "").saying(content))?;
        let id = begun(&reply.body).with_context(|| format!("MinIO cannot {what}"))?;
        let sent = self.parts(bucket, content, &id, from, &what);
        if sent.is_err() {
            // That it fails is told already; the next try does it again.
            let _left_behind = self.forget(bucket, content.key, &id);
        }
        sent
    }

    fn parts(
        &self,
        bucket: &str,
        content: &Content<'_>,
        id: &str,
        mut from: &mut dyn Read,
        what: &str,
    ) -> anyhow::Result<()> {
        let mut list = String::from("<CompleteMultipartUpload>");
        let (mut part, mut left, mut number) = (Vec::new(), content.bytes, 0);
        while left > 0 {
            number += 1;
            part.clear();
            (&mut from).take(left.min(PART)).read_to_end(&mut part).with_context(|| what.to_owned())?;
            if part.len() as u64 != left.min(PART) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).with_context(|| what.to_owned());
            }
            left -= part.len() as u64;
            let (count, sha256) = (format!("{number}"), hex(&Sha256::digest(&part)));
            let mut call =
                Call::new("PUT", bucket, content.key).with("partNumber", &count).with("uploadId", id);
            (call.sha256, call.bytes) = (&sha256, part.len() as u64);
            let answer = self
                .run(&call, SendBody::from_reader(&mut part.as_slice()))
                .with_context(|| format!("MinIO cannot {what}"))?;
            let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            let reply = whole(answer).with_context(|| format!("MinIO cannot {what}"))?;
            let Some(tag) = tag.filter(|_| reply.ok()) else { return Err(rejected(what, &reply).into()) };
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            let _ = write!(list, "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        }
        list.push_str("</CompleteMultipartUpload>");
        let sha256 = hex(&Sha256::digest(list.as_bytes()));
        let mut call = Call::new("POST", bucket, content.key).with("uploadId", id);
        (call.sha256, call.bytes) = (&sha256, list.len() as u64);
        let answer = self.run(&call, SendBody::from_reader(&mut list.as_bytes())).and_then(whole);
        let reply = answer.with_context(|| format!("MinIO cannot {what}"))?;
        // The answer begins before the parts are joined, so its status is good whatever comes of it.
        if reply.ok() && answer::refusal(&reply.body).is_none() {
            return Ok(());
        }
        Err(rejected(what, &reply).into())
    }

    /// Drops what earlier tries have left of this key. Whose they are cannot be told; but the key is about to be written by us, and whoever
    /// else wrote it at the same time would lose what he writes in any case.
    fn forget_unfinished(&self, bucket: &str, key: &str) -> anyhow::Result<()> {
        let call =
            Call::new("GET", bucket, "").with("uploads", "").with("prefix", key).with("encoding-type", "url");
        let reply = self.insist(&format!("list the uploads of {bucket}"), &call)?;
        for id in
            unfinished(&reply.body, key).with_context(|| format!("cannot list the uploads of {bucket}"))?
        {
            self.forget(bucket, key, &id)?;
        }
        Ok(())
    }

    fn forget(&self, bucket: &str, key: &str, id: &str) -> anyhow::Result<()> {
        let call = Call::new("DELETE", bucket, key).with("uploadId", id);
        self.insist(&format!("drop an upload of {bucket}/{key}"), &call).map(drop)
    }
}
