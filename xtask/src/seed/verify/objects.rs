//! Buckets beside the pack, key by key: by the digest that this program leaves with what it loads, and where there is none by the content.

use ecosystem_core::artifact::hex;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::pack::objects::{Bucket, Object, SHA256};
use sha2::{Digest as _, Sha256};

use super::super::objects::{AT_ONCE, Walk, digest, dressed_alike};
use super::{Compared, Pack};
use crate::client::s3::{Listed, Store};
use crate::sys::{interrupt, parallel};

pub(super) fn compare(
    pack: &Pack,
    endpoint: &Endpoint,
    progress: &dyn Fn(u64),
) -> anyhow::Result<Vec<Compared>> {
    let store = Store::open(endpoint)?;
    let (mut all, mut before) = (Vec::new(), 0);
    for bucket in pack.manifest.buckets() {
        let compared = one(pack, bucket, &store, &|done| progress(before + done))?;
        before += compared.in_pack;
        all.push(compared);
    }
    Ok(all)
}

fn one(pack: &Pack, bucket: &Bucket, store: &Store, progress: &dyn Fn(u64)) -> anyhow::Result<Compared> {
    let name = &bucket.name;
    let mut walk = Walk::open(pack, bucket, store)?;
    if !walk.exists() {
        let in_pack = pack.known(&bucket.list)?.lines;
        return Ok(Compared::problem(name, in_pack, "the bucket is not there".to_owned()));
    }
    let mut compared = Compared { name: name.clone(), ..Compared::default() };
    // Both lists are in the order of keys, so the order in which a server keeps objects does not count.
    let (mut of_pack, mut of_store) = (Sha256::new(), Sha256::new());
    loop {
        let some = walk.some()?;
        if some.is_empty() {
            break;
        }
        let found = parallel::map_few(AT_ONCE, &some, |(wanted, there)| match (wanted, there) {
            (Some(wanted), Some(there)) => is(store, name, wanted, there),
            _ => Ok(None),
        });
        for ((wanted, there), found) in some.iter().zip(found) {
            let found = found?;
            let line = wanted.as_ref().map(line).transpose()?;
            if let Some(line) = &line {
                compared.in_pack += 1;
                of_pack.update(line);
            }
            compared.in_store += u64::from(there.is_some());
            match (wanted, there) {
                (Some(wanted), None) => compared.missing.add(&wanted.key),
                (None, Some(there)) => {
                    compared.added.add(&there.key);
                    of_store.update(format!("{}\n{}\n", there.key, there.tag));
                }
                (Some(wanted), Some(_)) if found.is_some() => {
                    compared.changed.add(&wanted.key);
                    of_store.update(format!("{}\n{}\n", wanted.key, found.unwrap_or_default()));
                }
                _ => of_store.update(line.unwrap_or_default()),
            }
        }
        progress(compared.in_pack);
    }
    walk.confirm(pack)?;
    compared.checksum_of_pack = hex(&of_pack.finalize());
    compared.checksum_of_store = hex(&of_store.finalize());
    Ok(compared)
}

fn line(object: &Object) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    Ok(line)
}

/// What an object is instead of what the pack has; `None`: the same.
fn is(store: &Store, bucket: &str, wanted: &Object, there: &Listed) -> anyhow::Result<Option<String>> {
    interrupt::check()?;
    if wanted.bytes != there.bytes {
        return Ok(Some(format!("{} {}", there.bytes, there.tag)));
    }
    // Gone since it was listed: another look will tell.
    let Some(head) = store.head(bucket, &wanted.key)? else { return Ok(Some(String::new())) };
    let sha256 = match head.metadata.get(SHA256) {
        Some(sha256) => sha256.clone(),
        None => digest(store, bucket, &wanted.key)?.unwrap_or_default(),
    };
    let same = sha256 == wanted.sha256() && dressed_alike(wanted, &head);
    Ok((!same).then(|| format!("{sha256} {:?} {:?}", head.media_type, head.metadata)))
}
