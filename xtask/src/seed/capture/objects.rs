//! The part of a new pack for an object store: all buckets, their objects in the order of keys, each content once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::Failure;
use ecosystem_core::pack::objects::{Bucket, Object, Objects, folder};
use ecosystem_core::pack::{Content, FilePath};
use ecosystem_core::tenant::MARK;

use super::super::Counts;
use super::super::making::Making;
use super::super::objects::{AT_ONCE, Listing};
use super::super::pack::MAX_DATA;
use super::unfit;
use crate::client::s3::{Listed, Store};
use crate::event::{Task, Unit};
use crate::sys::{interrupt, parallel};

/// What was taken out of an object store.
pub(super) struct Taken {
    pub(super) part: Objects,
    pub(super) counts: Counts,
    /// Of all contents.
    pub(super) bytes: u64,
}

pub(super) fn take(
    endpoint: &Endpoint,
    making: &Making,
    files: &mut BTreeMap<FilePath, Content>,
    task: &Task<'_>,
) -> anyhow::Result<Taken> {
    let store = Store::open(endpoint)?;
    let taking = Taking { store: &store, making, task, bytes: AtomicU64::new(0) };
    let (mut buckets, mut counts) = (Vec::new(), Counts::new());
    for name in store.buckets()? {
        // A tenant's, which is no part of the main instance.
        if store.mark(&name)?.is_some_and(|mark| mark.starts_with(MARK)) {
            continue;
        }
        let mut listing = Listing::open(&store, &name)?;
        // Deleted since it was listed.
        if !listing.exists() {
            continue;
        }
        let mut list = making.file(&format!("objects/{name}.ndjson"))?;
        loop {
            let some = listing.some()?;
            if some.is_empty() {
                break;
            }
            for line in parallel::map_few(AT_ONCE, &some, |listed| taking.one(&name, listed)) {
                list.add(&line?)?;
            }
        }
        counts.insert(name.clone(), list.lines());
        buckets.push(Bucket { name, list: list.close(files)? });
    }
    Ok(Taken { part: Objects { buckets }, counts, bytes: taking.bytes.into_inner() })
}

struct Taking<'a> {
    store: &'a Store,
    making: &'a Making,
    task: &'a Task<'a>,
    bytes: AtomicU64,
}

impl Taking<'_> {
    /// Writes the content of an object; its line, which is empty where it was deleted since it was listed.
    fn one(&self, bucket: &str, listed: &Listed) -> anyhow::Result<Vec<u8>> {
        interrupt::check()?;
        let key = &listed.key;
        fits(self.bytes.load(Ordering::SeqCst) + listed.bytes)?;
        let taken =
            self.making.content(&folder(bucket), |file| self.store.get(bucket, key, &mut &mut *file))?;
        let Some((sha256, bytes, head)) = taken else { return Ok(Vec::new()) };
        let all = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        fits(all)?;
        self.task.progress(all, None, Unit::Bytes);
        let wrong = |reason: String| unfit(&[format!("{bucket}/{key}: {reason}")]);
        let mut object = Object::new(bucket, key.clone(), &sha256, bytes).map_err(wrong)?;
        object.media_type = head.media_type;
        object.metadata = Object::metadata_of(head.metadata);
        let mut line = serde_json::to_vec(&object)?;
        // What cannot be loaded again is told now.
        Object::read(&line, bucket).map_err(wrong)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Whether a pack can hold so much.
fn fits(bytes: u64) -> Result<(), Failure> {
    if bytes <= MAX_DATA {
        return Ok(());
    }
    Err(unfit(&[format!("all objects together are larger than {} GB", MAX_DATA >> 30)]))
}
