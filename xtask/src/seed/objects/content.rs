//! The contents of objects: files of a pack that are called after their digest. They are digested before anything is sent, and once more on
//! their way.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};

use ecosystem_core::artifact::hex;
use ecosystem_core::failure::Failure;
use ecosystem_core::pack::objects::Object;
use sha2::{Digest as _, Sha256};

use super::super::pack::{MAX_DATA, invalid};
use super::walk::Entries;
use crate::seed::Pack;
use crate::sys::interrupt;

/// Reads all lists and all contents to their end.
pub(in crate::seed) fn check(pack: &Pack) -> anyhow::Result<()> {
    let mut left = MAX_DATA;
    for bucket in pack.manifest.buckets() {
        let mut entries = Entries::open(pack, bucket)?;
        // The same content may have many keys; it is read once.
        let mut known = HashSet::new();
        while let Some(object) = entries.next()? {
            let mut sending = Sending::open(pack, &object)?;
            if !known.insert(number(object.sha256())) {
                continue;
            }
            left = left.checked_sub(object.bytes).ok_or_else(|| {
                invalid(format!(
                    "{}: all contents together are larger than {} GB",
                    bucket.list,
                    MAX_DATA >> 30
                ))
            })?;
            let read = io::copy(&mut sending, &mut io::sink());
            sending.outcome(read)?;
        }
        entries.confirm(pack)?;
    }
    Ok(())
}

/// A digest in the least space.
fn number(sha256: &str) -> [Option<u128>; 2] {
    [0..32, 32..64].map(|half| sha256.get(half).and_then(|digits| u128::from_str_radix(digits, 16).ok()))
}

/// The content of an object on its way. It ends in an error where it is not what its name says, before its last byte has left.
pub(in crate::seed) struct Sending<'a> {
    object: &'a Object,
    file: File,
    hash: Sha256,
    left: u64,
    wrong: Option<Failure>,
}

impl<'a> Sending<'a> {
    pub(in crate::seed) fn open(pack: &Pack, object: &'a Object) -> anyhow::Result<Self> {
        let (file, bytes) = pack.content(&object.file)?;
        if bytes != object.bytes {
            let text = format!("{} has {bytes} bytes, not {}: it is damaged", object.file, object.bytes);
            return Err(invalid(text).into());
        }
        let mut sending = Self { object, file, hash: Sha256::new(), left: bytes, wrong: None };
        if bytes == 0 {
            // Nobody may ask for bytes that there are none of.
            let read = sending.end();
            sending.outcome(read)?;
        }
        Ok(sending)
    }

    /// What came of sending it: where it was damaged, that is the reason, and not what was made of it.
    pub(in crate::seed) fn outcome<T, E: Into<anyhow::Error>>(
        &mut self,
        result: Result<T, E>,
    ) -> anyhow::Result<T> {
        match self.wrong.take() {
            Some(wrong) => Err(wrong.into()),
            None => result.map_err(Into::into),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.left == 0 && hex(&self.hash.finalize_reset()) != self.object.sha256() {
            return Err(self.refuse(format!("{} is damaged: its digest is another one", self.object.file)));
        }
        Ok(())
    }

    fn refuse(&mut self, text: String) -> io::Error {
        self.wrong.get_or_insert(invalid(text));
        io::ErrorKind::InvalidData.into()
    }
}

impl Read for Sending<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(interrupted) = interrupt::check() {
            self.wrong = Some(interrupted);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(self.refuse(format!("{} became shorter while it was read", self.object.file)));
        }
        self.hash.update(&buffer[..count]);
        self.left -= count as u64;
        self.end()?;
        Ok(count)
    }
}

/// What is written, with its digest.
pub(in crate::seed) struct Digesting<W> {
    to: W,
    hash: Sha256,
    pub(in crate::seed) bytes: u64,
}

impl<W: Write> Digesting<W> {
    pub(in crate::seed) fn new(to: W) -> Self {
        Self { to, hash: Sha256::new(), bytes: 0 }
    }

    /// The SHA-256 of what was written, and where it was written to.
    pub(in crate::seed) fn end(self) -> (String, W) {
        (hex(&self.hash.finalize()), self.to)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use ecosystem_core::pack::Part;

    use super::*;
    use crate::sys::fs::write_atomic;

    /// A pack with one bucket and this list; `SUM` is the digest of `hello`, which is there.
    fn checked(list: &str, content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let sum = hex(&Sha256::digest(b"hello"));
        std::fs::create_dir_all(root.join("objects/default")).unwrap();
        let write = |path: &str, text: &str| write_atomic(&root.join(path), text.as_bytes(), 0o600).unwrap();
        write(&format!("objects/default/{sum}"), content);
        write("list.ndjson", &list.replace("FILE", &format!("\"file\":\"objects/default/{sum}\"")));
        let bucket = "[[objects.buckets]]\nname = \"default\"\nlist = \"list.ndjson\"\n";
        write("pack.toml", &format!("format = 1\nname = \"x\"\ndescription = \"\"\n{bucket}"));
        let pack = Pack::open(&root).unwrap();
        assert_eq!(pack.manifest.parts(), [Part::Objects]);
        pack.check(Part::Objects).map_or_else(|error| error.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn all_of_a_list_and_of_its_contents_is_looked_at() {
        let line = |key: &str, bytes: u32| format!("{{\"key\":\"{key}\",FILE,\"bytes\":{bytes}}}\n");
        let two = line("a", 5) + &line("č", 5);
        assert_eq!(checked(&two, "hello"), "good");
        for (list, content, told) in [
            (two.clone(), "hellO", "is damaged: its digest"),
            (two.clone(), "hell", "has 4 bytes, not 5"),
            (line("a", 5) + &line("b", 4), "hello", "has 5 bytes, not 4"),
            (line("b", 5) + &line("a", 5), "hello", "object 2: its key does not follow"),
            (line("a", 5) + &line("a", 5), "hello", "object 2: its key does not follow"),
            (two.replace("FILE", "\"file\":\"../x\""), "hello", "object 1: `../x` is no path"),
            (two[..two.len() - 9].to_owned(), "hello", "object 2: EOF"),
        ] {
            let said = checked(&list, content);
            assert!(said.contains(told), "{told} is missing in {said}");
        }
    }

    #[test]
    fn damaged_content_ends_before_its_last_byte_has_left() {
        let object = Object::new("default", "a".into(), &hex(&Sha256::digest(b"hello")), 5).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hellO").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut sending = Sending { object: &object, file, hash: Sha256::new(), left: 5, wrong: None };
        let mut sent = Vec::new();
        let read = io::copy(&mut sending, &mut sent);
        assert!(sending.outcome(read).unwrap_err().to_string().contains("is damaged") && sent.is_empty());
    }
}
