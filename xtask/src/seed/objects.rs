//! The part for an object store: what is missing is put there, a few objects at a time.
//!
//! Every object carries the digest of its content and the name of the pack in its metadata, so that a load that was cut short goes on by looking.
//! A bucket that is whole has a receipt of its own, an object below `.ecosystem/` that is written last: with it a list of the bucket is
//! enough, without a look at each of its objects. It lies in the bucket, not in one of ours, so that it goes with it, and so that no more
//! rights are needed than those to the bucket. Tags of the bucket could say the same, but belong to applications, and not every server has them.

mod content;
mod walk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ecosystem_core::artifact::hex;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::Part;
use ecosystem_core::pack::objects::{Bucket, OWN_KEYS, Object, PACK, SHA256};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(super) use content::{Digesting, check};
pub(super) use walk::{Listing, Walk};

use super::{Counts, Pack, State};
use crate::client::Halt;
use crate::client::s3::{Content, Head, Listed, Store};
use crate::sys::{interrupt, parallel};
use content::Sending;

/// So many objects are read or written at once. Of large ones 8 MB each are in memory.
pub(super) const AT_ONCE: usize = 4;

/// What is under a key that the pack wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Wanted,
    /// Brought by this pack, and not what it has now.
    Older,
    Foreign,
}

pub(super) fn observe(pack: &Pack, endpoint: &Endpoint) -> anyhow::Result<State> {
    let store = Store::open(endpoint)?;
    let (mut foreign, mut missing) = (Vec::new(), None);
    for bucket in pack.manifest.buckets() {
        let receipt = receipt(pack, &store, bucket)?;
        let whole = receipt == Receipt::Whole;
        let mut walk = Walk::open(pack, bucket, &store)?;
        let exists = walk.exists();
        let (mut found, mut gone, mut theirs) = (0_u64, 0_u64, Vec::new());
        loop {
            let some = walk.some()?;
            if some.is_empty() {
                break;
            }
            let both: Vec<(&Object, &Listed)> =
                some.iter().filter_map(|(wanted, there)| Some((wanted.as_ref()?, there.as_ref()?))).collect();
            gone += some.iter().filter(|(_, there)| there.is_none()).count() as u64;
            found += both.len() as u64;
            if whole {
                continue;
            }
            let looks = parallel::map_few(AT_ONCE, &both, |(wanted, there)| {
                Ok::<_, anyhow::Error>((wanted.key.clone(), look(pack, &store, bucket, wanted, there)?))
            });
            for look in looks {
                let (key, there) = look?;
                if there == There::Foreign {
                    theirs.push(key);
                }
            }
        }
        if let [first, rest @ ..] = theirs.as_slice() {
            let more =
                if rest.is_empty() { String::new() } else { format!(" and {} more objects", rest.len()) };
            foreign.push(format!("MinIO has its own {}/{first}{more}", bucket.name));
        }
        let reason = match receipt {
            Receipt::Whole if gone == 0 => continue,
            Receipt::Whole => format!("{gone} objects of the bucket {} are gone", bucket.name),
            Receipt::Older => "another version of it is loaded".to_owned(),
            Receipt::None if !exists || found == 0 => "it was never loaded".to_owned(),
            Receipt::None => format!("loading the bucket {} was cut short", bucket.name),
        };
        missing.get_or_insert(reason);
    }
    if !foreign.is_empty() {
        return Ok(State::Foreign(foreign.join(", ")));
    }
    Ok(missing.map_or_else(|| State::Loaded(pack.expected(Part::Objects)), State::Missing))
}

pub(super) fn load(
    pack: &Pack,
    endpoint: &Endpoint,
    halt: &Halt,
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Counts> {
    let store = Store::open(endpoint)?;
    let mut counts = Counts::new();
    let done = AtomicU64::new(0);
    for bucket in pack.manifest.buckets() {
        let receipt = receipt(pack, &store, bucket)?;
        let mut walk = Walk::open(pack, bucket, &store)?;
        if !walk.exists() {
            store.create(&bucket.name)?;
        }
        let failed = AtomicBool::new(false);
        loop {
            let some = walk.some()?;
            if some.is_empty() {
                break;
            }
            let results = parallel::map_few(AT_ONCE, &some, |(wanted, there)| {
                // What another one has failed for need not be begun.
                if failed.load(Ordering::SeqCst) || halt.pause(Duration::ZERO) {
                    failed.store(true, Ordering::SeqCst);
                    return Ok(());
                }
                let result = settle(pack, &store, bucket, receipt, wanted.as_ref(), there.as_ref());
                failed.fetch_or(result.is_err(), Ordering::SeqCst);
                if wanted.is_some() {
                    progress(done.fetch_add(1, Ordering::SeqCst) + 1);
                }
                result
            });
            results.into_iter().collect::<anyhow::Result<()>>()?;
            if failed.load(Ordering::SeqCst) {
                let text = "it was given up, because another part could not be loaded";
                return Err(Failure::new(Kind::Data, "data-not-loaded", text).into());
            }
        }
        walk.confirm(pack)?;
        confirm(pack, &store, bucket)?;
        counts.insert(bucket.name.clone(), count(pack, &store, bucket)?);
    }
    Ok(counts)
}

/// How many objects in the buckets of the pack are not what it has there: others, and ones that were changed. `remove` takes them away: a load
/// brings those again that the pack has.
pub fn strays(pack: &Pack, endpoint: &Endpoint, remove: bool) -> anyhow::Result<u64> {
    let store = Store::open(endpoint)?;
    let mut strays = 0;
    for bucket in pack.manifest.buckets() {
        let mut walk = Walk::open(pack, bucket, &store)?;
        loop {
            let some = walk.some()?;
            if some.is_empty() {
                break;
            }
            let looked = parallel::map_few(AT_ONCE, &some, |(wanted, there)| -> anyhow::Result<u64> {
                let Some(there) = there else { return Ok(0) };
                let good = match wanted {
                    Some(wanted) => look(pack, &store, bucket, wanted, there)? == There::Wanted,
                    None => false,
                };
                if !good && remove {
                    store.delete(&bucket.name, &there.key)?;
                }
                Ok(u64::from(!good))
            });
            for one in looked {
                strays += one?;
            }
        }
        walk.confirm(pack)?;
    }
    Ok(strays)
}

/// Makes what is under a key what the pack wants.
fn settle(
    pack: &Pack,
    store: &Store,
    bucket: &Bucket,
    receipt: Receipt,
    wanted: Option<&Object>,
    there: Option<&Listed>,
) -> anyhow::Result<()> {
    interrupt::check()?;
    match (wanted, there) {
        (Some(wanted), None) => put(pack, store, bucket, wanted),
        // What was changed since it was loaded stays.
        (Some(_), Some(_)) if receipt == Receipt::Whole => Ok(()),
        (Some(wanted), Some(there)) => match look(pack, store, bucket, wanted, there)? {
            There::Wanted => Ok(()),
            There::Older => put(pack, store, bucket, wanted),
            There::Foreign => {
                let text = format!("MinIO has its own {}/{} by now", bucket.name, wanted.key);
                Err(Failure::new(Kind::Data, "data-foreign", text).into())
            }
        },
        // Only an earlier version can have brought what this one does not have.
        (None, Some(there)) if receipt == Receipt::Older => {
            let head = store.head(&bucket.name, &there.key)?.unwrap_or_default();
            if is_ours(pack, &head) { store.delete(&bucket.name, &there.key) } else { Ok(()) }
        }
        (None, _) => Ok(()),
    }
}

fn put(pack: &Pack, store: &Store, bucket: &Bucket, object: &Object) -> anyhow::Result<()> {
    let mut metadata = object.metadata.clone();
    metadata.insert(SHA256.to_owned(), object.sha256().to_owned());
    metadata.insert(PACK.to_owned(), pack.manifest.name.clone());
    let content = Content {
        key: &object.key,
        bytes: object.bytes,
        sha256: object.sha256(),
        media_type: object.media_type.as_deref(),
        metadata: &metadata,
    };
    let mut sending = Sending::open(pack, object)?;
    let sent = store.put(&bucket.name, &content, &mut sending);
    sending.outcome(sent)
}

fn is_ours(pack: &Pack, head: &Head) -> bool {
    head.metadata.get(PACK) == Some(&pack.manifest.name)
}

/// Looks at an object whose key the pack wants. What nobody has marked is read, where its size leaves that open.
fn look(
    pack: &Pack,
    store: &Store,
    bucket: &Bucket,
    wanted: &Object,
    there: &Listed,
) -> anyhow::Result<There> {
    interrupt::check()?;
    let Some(head) = store.head(&bucket.name, &there.key)? else { return Ok(There::Older) };
    if let Some(there) = judge(&pack.manifest.name, wanted, &head) {
        return Ok(there);
    }
    Ok(match digest(store, &bucket.name, &there.key)? {
        Some(sha256) if sha256 == wanted.sha256() => There::Wanted,
        Some(_) => There::Foreign,
        None => There::Older,
    })
}

/// What metadata and size say; `None`: the content decides.
fn judge(pack: &str, wanted: &Object, head: &Head) -> Option<There> {
    if head.metadata.get(PACK).is_some_and(|name| name == pack) {
        return Some(if same(wanted, head) { There::Wanted } else { There::Older });
    }
    (head.bytes != wanted.bytes).then_some(There::Foreign)
}

/// Whether an object that carries a digest is the wanted one.
fn same(wanted: &Object, head: &Head) -> bool {
    head.metadata.get(SHA256).is_some_and(|sha256| sha256 == wanted.sha256())
        && head.bytes == wanted.bytes
        && dressed_alike(wanted, head)
}

/// Whether type and metadata are those that the pack has. A pack that names no type leaves it to the server.
pub(super) fn dressed_alike(wanted: &Object, head: &Head) -> bool {
    (wanted.media_type.is_none() || wanted.media_type == head.media_type)
        && wanted.metadata == Object::metadata_of(head.metadata.clone())
}

/// The SHA-256 of an object by its content; `None`: it is gone.
pub(super) fn digest(store: &Store, bucket: &str, key: &str) -> anyhow::Result<Option<String>> {
    let mut digesting = Digesting::new(std::io::sink());
    Ok(store.get(bucket, key, &mut digesting)?.map(|_| digesting.end().0))
}

/// What the receipt of a bucket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receipt {
    /// This version was loaded as a whole.
    Whole,
    /// Another version was.
    Older,
    None,
}

/// The key of the receipt.
fn own_key(pack: &Pack) -> String {
    format!("{OWN_KEYS}{}.json", pack.manifest.name)
}

fn receipt(pack: &Pack, store: &Store, bucket: &Bucket) -> anyhow::Result<Receipt> {
    let Some(body) = store.read(&bucket.name, &own_key(pack))? else { return Ok(Receipt::None) };
    let receipt: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(if receipt["digest"] == pack.digest(Part::Objects) { Receipt::Whole } else { Receipt::Older })
}

/// Writes the receipt: from now on the bucket counts as whole.
fn confirm(pack: &Pack, store: &Store, bucket: &Bucket) -> anyhow::Result<()> {
    let objects = pack.known(&bucket.list)?.lines;
    let receipt =
        json!({"pack": pack.manifest.name, "digest": pack.digest(Part::Objects), "objects": objects});
    let body = receipt.to_string();
    let content = Content {
        key: &own_key(pack),
        bytes: body.len() as u64,
        sha256: &hex(&Sha256::digest(body.as_bytes())),
        media_type: Some("application/json"),
        metadata: &BTreeMap::new(),
    };
    store.put(&bucket.name, &content, &mut body.as_bytes())
}

/// How many objects of the pack there are, by a list: read back, not believed.
fn count(pack: &Pack, store: &Store, bucket: &Bucket) -> anyhow::Result<u64> {
    let (mut walk, mut count) = (Walk::open(pack, bucket, store)?, 0);
    loop {
        let some = walk.some()?;
        if some.is_empty() {
            return Ok(count);
        }
        count += some.iter().filter(|(wanted, there)| wanted.is_some() && there.is_some()).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_object_is_and_whether_it_is_wanted() {
        let wanted = Object::new("default", "k".into(), &"a".repeat(64), 3).unwrap();
        let head = |bytes, metadata: &[(&str, &str)]| Head {
            bytes,
            media_type: Some("text/plain".into()),
            metadata: metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        let sum = "a".repeat(64);
        let ours = [(PACK, "demo"), (SHA256, sum.as_str())];
        assert_eq!(judge("demo", &wanted, &head(3, &ours)), Some(There::Wanted));
        // Another type, size, or more metadata.
        assert_eq!(judge("demo", &wanted, &head(4, &ours)), Some(There::Older));
        assert_eq!(judge("demo", &wanted, &head(3, &[ours[0], ours[1], ("x", "y")])), Some(There::Older));
        let typed = Object { media_type: Some("text/html".into()), ..wanted.clone() };
        assert_eq!(judge("demo", &typed, &head(3, &ours)), Some(There::Older));
        // Somebody else's, whatever it says of its content.
        assert_eq!(judge("other", &wanted, &head(4, &ours)), Some(There::Foreign));
        assert_eq!(judge("demo", &wanted, &head(3, &[])), None);
        assert_eq!(judge("demo", &wanted, &head(2, &[])), Some(There::Foreign));
    }
}
