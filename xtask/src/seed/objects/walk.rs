//! A bucket beside the list of the pack. Both are in the order of keys, so that however many objects there are, a thousand of each are in memory.

use std::collections::VecDeque;

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::FilePath;
use ecosystem_core::pack::objects::{Bucket, OWN_KEYS, Object};

use super::super::lines::Blocks;
use super::super::pack::invalid;
use crate::client::s3::{Listed, Store};
use crate::seed::Pack;
use crate::sys::interrupt;

/// How many objects are handed out at a time.
const SOME: usize = 1_000;

/// The objects of a bucket as the pack lists them.
pub(in crate::seed) struct Entries<'a> {
    path: &'a FilePath,
    bucket: &'a str,
    blocks: Blocks<'a>,
    queue: VecDeque<Object>,
    last: String,
}

impl<'a> Entries<'a> {
    pub(in crate::seed) fn open(pack: &Pack, bucket: &'a Bucket) -> anyhow::Result<Self> {
        let blocks = pack.blocks(&bucket.list)?;
        Ok(Self {
            path: &bucket.list,
            bucket: &bucket.name,
            blocks,
            queue: VecDeque::new(),
            last: String::new(),
        })
    }

    pub(in crate::seed) fn next(&mut self) -> anyhow::Result<Option<Object>> {
        while self.queue.is_empty() {
            interrupt::check()?;
            let Some(block) = self.blocks.next()? else { return Ok(None) };
            for (number, line) in (block.first + 1..).zip(block.lines()) {
                let object = Object::read(line, self.bucket)
                    .map_err(|reason| invalid(format!("{}, object {number}: {reason}", self.path)))?;
                if object.key <= self.last {
                    let text =
                        format!("{}, object {number}: its key does not follow the one before", self.path);
                    return Err(invalid(text).into());
                }
                self.last.clone_from(&object.key);
                self.queue.push_back(object);
            }
        }
        Ok(self.queue.pop_front())
    }

    /// Fails where the list is not what was digested before.
    pub(in crate::seed) fn confirm(self, pack: &Pack) -> anyhow::Result<()> {
        Ok(self.blocks.confirm(pack.known(self.path)?)?)
    }
}

/// The objects of a bucket as the server lists them, but for receipts.
pub(in crate::seed) struct Listing<'a> {
    store: &'a Store,
    bucket: &'a str,
    queue: VecDeque<Listed>,
    /// Where the next page begins.
    more: Option<String>,
    last: String,
    exists: bool,
}

impl<'a> Listing<'a> {
    pub(in crate::seed) fn open(store: &'a Store, bucket: &'a str) -> anyhow::Result<Self> {
        let (more, last) = (None, String::new());
        let mut listing = Self { store, bucket, queue: VecDeque::new(), more, last, exists: true };
        listing.page(None)?;
        Ok(listing)
    }

    /// Whether there is such a bucket.
    pub(in crate::seed) fn exists(&self) -> bool {
        self.exists
    }

    pub(in crate::seed) fn next(&mut self) -> anyhow::Result<Option<Listed>> {
        while self.queue.is_empty() {
            let Some(from) = self.more.take() else { return Ok(None) };
            self.page(Some(&from))?;
        }
        Ok(self.queue.pop_front())
    }

    /// Some more objects. None: those were all.
    pub(in crate::seed) fn some(&mut self) -> anyhow::Result<Vec<Listed>> {
        let mut some = Vec::new();
        while some.len() < SOME
            && let Some(listed) = self.next()?
        {
            some.push(listed);
        }
        Ok(some)
    }

    fn page(&mut self, from: Option<&str>) -> anyhow::Result<()> {
        interrupt::check()?;
        let Some(page) = self.store.list(self.bucket, from)? else {
            self.exists = false;
            return Ok(());
        };
        self.more = page.next;
        for listed in page.objects {
            if listed.key <= self.last {
                let text =
                    format!("the server lists the bucket {} in another order than that of keys", self.bucket);
                return Err(Failure::new(Kind::Data, "data-rejected", text).into());
            }
            self.last.clone_from(&listed.key);
            if !listed.key.starts_with(OWN_KEYS) {
                self.queue.push_back(listed);
            }
        }
        Ok(())
    }
}

/// What the pack has under a key, and what the server has: one of them, or both.
pub(in crate::seed) type Pair = (Option<Object>, Option<Listed>);

/// Both side by side.
pub(in crate::seed) struct Walk<'a> {
    entries: Entries<'a>,
    listing: Listing<'a>,
    entry: Option<Object>,
    listed: Option<Listed>,
}

impl<'a> Walk<'a> {
    pub(in crate::seed) fn open(pack: &Pack, bucket: &'a Bucket, store: &'a Store) -> anyhow::Result<Self> {
        let mut entries = Entries::open(pack, bucket)?;
        let mut listing = Listing::open(store, &bucket.name).context("cannot list objects")?;
        let (entry, listed) = (entries.next()?, listing.next()?);
        Ok(Self { entries, listing, entry, listed })
    }

    pub(in crate::seed) fn exists(&self) -> bool {
        self.listing.exists()
    }

    /// Some more keys. None: those were all.
    pub(in crate::seed) fn some(&mut self) -> anyhow::Result<Vec<Pair>> {
        let mut some = Vec::new();
        while some.len() < SOME {
            let (mine, theirs) = match (&self.entry, &self.listed) {
                (None, None) => break,
                (Some(entry), Some(listed)) => (entry.key <= listed.key, listed.key <= entry.key),
                (entry, listed) => (entry.is_some(), listed.is_some()),
            };
            let entry = if mine { self.entry.take() } else { None };
            let listed = if theirs { self.listed.take() } else { None };
            if mine {
                self.entry = self.entries.next()?;
            }
            if theirs {
                self.listed = self.listing.next()?;
            }
            some.push((entry, listed));
        }
        Ok(some)
    }

    /// Fails where the list is not what was digested before.
    pub(in crate::seed) fn confirm(self, pack: &Pack) -> anyhow::Result<()> {
        self.entries.confirm(pack)
    }
}
