//! A pack on disk: its manifest, the small files as a whole, and what is known of the large ones, which are read block by block.
//!
//! A pack may come from a stranger: only regular files inside its folder are read, and only so much of them. What is loaded is digested once
//! more while it is sent, so that what is digested is what is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::hex;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{Content, FILE, FilePath, Manifest, Part, Templates};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::lines::{Block, Blocks};
use super::{Counts, document, objects};
use crate::client::rabbitmq::Definitions;
use crate::sys::interrupt;

const MAX_MANIFEST: u64 = 256 * 1024;
/// What is read as a whole: SQL, settings, definitions.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// What is read block by block. A million synthetic records take a quarter of it.
pub(super) const MAX_DATA: u64 = 8 * 1024 * 1024 * 1024;

/// A pack, checked as far as that takes no time. Rows and documents stay on disk.
#[derive(Debug, Clone)]
pub struct Pack {
    pub manifest: Manifest,
    folder: Utf8PathBuf,
    whole: BTreeMap<FilePath, Vec<u8>>,
    known: BTreeMap<FilePath, Content>,
}

impl Pack {
    /// Reads the pack in a folder.
    pub fn open(folder: &Utf8Path) -> anyhow::Result<Self> {
        let folder = folder
            .canonicalize_utf8()
            .map_err(|error| invalid(format!("there is no pack in {folder}: {error}")))?;
        let text = String::from_utf8(read(&folder, FILE, MAX_MANIFEST)?)
            .map_err(|_| invalid(format!("{folder}/{FILE} is not UTF-8")))?;
        let manifest = Manifest::parse(&text)?;
        let mut pack = Self { manifest, folder, whole: BTreeMap::new(), known: BTreeMap::new() };
        let data: BTreeSet<FilePath> = pack.manifest.data().into_iter().cloned().collect();
        let all: BTreeSet<FilePath> =
            Part::ALL.into_iter().flat_map(|part| pack.manifest.files(part)).cloned().collect();
        let mut left = MAX_DATA;
        for path in all {
            let declared = pack.manifest.files.get(&path);
            let content = if data.contains(&path) {
                let (file, bytes) = regular(&pack.folder, path.as_str(), left)?;
                left -= bytes;
                match declared {
                    // Its digest is looked at before it is loaded.
                    Some(declared) if declared.bytes == bytes => declared.clone(),
                    Some(declared) => {
                        let text = format!("{path} has {bytes} bytes, not {}: it is damaged", declared.bytes);
                        return Err(invalid(text).into());
                    }
                    None => read_through(&path, file, &mut |_| Ok(()))?,
                }
            } else {
                let bytes = read(&pack.folder, path.as_str(), MAX_FILE)?;
                let content = read_whole(&bytes);
                if declared.is_some_and(|declared| declared.sha256 != content.sha256) {
                    return Err(invalid(format!("{path} is damaged: its digest is another one")).into());
                }
                pack.whole.insert(path.clone(), bytes);
                content
            };
            pack.known.insert(path, content);
        }
        pack.schema()?;
        pack.finish()?;
        pack.definitions()?;
        for index in pack.manifest.opensearch.iter().flat_map(|part| &part.indices) {
            let settings = pack.json(&index.settings)?;
            let known = |(name, value): (&String, &Value)| {
                ["settings", "mappings", "aliases"].contains(&name.as_str()) && value.is_object()
            };
            if !settings.as_object().is_some_and(|all| all.iter().all(known)) {
                let text = format!("{}: not an object of settings, mappings and aliases", index.settings);
                return Err(invalid(text).into());
            }
        }
        pack.templates()?;
        Ok(pack)
    }

    /// The same pack, after its folder was moved.
    pub(super) fn moved_to(self, folder: &Utf8Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize_utf8().with_context(|| format!("cannot find {folder}"))?;
        Ok(Self { folder, ..self })
    }

    /// Reads the rows or documents of a part to their end: whatever can be wrong with them is found now, not halfway through loading.
    pub fn check(&self, part: Part) -> anyhow::Result<()> {
        match part {
            Part::Postgresql => self.check_rows(),
            Part::Opensearch => self.check_documents(),
            // Read and understood already.
            Part::Rabbitmq => Ok(()),
            Part::Objects => objects::check(self),
        }
    }

    fn check_rows(&self) -> anyhow::Result<()> {
        for table in self.manifest.postgresql.iter().flat_map(|part| &part.tables) {
            let path = &table.rows;
            let content = read_through(path, self.file(path)?, &mut |block| {
                for (number, line) in (block.first + 1..).zip(block.lines()) {
                    columns(line, table.columns.len())
                        .map_err(|reason| invalid(format!("{path}, row {number}: {reason}")))?;
                }
                Ok(())
            })?;
            self.confirm(path, &content)?;
        }
        Ok(())
    }

    fn check_documents(&self) -> anyhow::Result<()> {
        for index in self.manifest.opensearch.iter().flat_map(|part| &part.indices) {
            let path = &index.documents;
            let content = read_through(path, self.file(path)?, &mut |block| {
                for (number, line) in (block.first + 1..).zip(block.lines()) {
                    document::check(line, index)
                        .map_err(|reason| invalid(format!("{path}, document {number}: {reason}")))?;
                }
                Ok(())
            })?;
            self.confirm(path, &content)?;
        }
        Ok(())
    }

    fn confirm(&self, path: &FilePath, content: &Content) -> Result<(), Failure> {
        if self.known.get(path) == Some(content) {
            return Ok(());
        }
        Err(invalid(format!("{path} is damaged: its digest or its number of lines is another one")))
    }

    /// The digest of a part: it changes with every byte that would be loaded.
    pub fn digest(&self, part: Part) -> String {
        self.manifest.digest(part, |path| self.known.get(path).map_or("", |known| &known.sha256))
    }

    /// What is known of a file.
    pub(super) fn known(&self, path: &FilePath) -> Result<&Content, Failure> {
        self.known.get(path).ok_or_else(|| invalid(format!("{path} is no file of this pack")))
    }

    /// A file of lines, to be read from its beginning.
    pub(super) fn blocks<'a>(&self, path: &'a FilePath) -> anyhow::Result<Blocks<'a>> {
        Ok(Blocks::new(path, self.file(path)?))
    }

    /// The content of an object, and its size.
    pub(super) fn content(&self, path: &FilePath) -> anyhow::Result<(File, u64)> {
        regular(&self.folder, path.as_str(), MAX_DATA)
    }

    fn file(&self, path: &FilePath) -> anyhow::Result<File> {
        Ok(regular(&self.folder, path.as_str(), MAX_DATA)?.0)
    }

    /// The bytes of a file that is read as a whole, as text.
    fn text(&self, path: &FilePath) -> Result<&str, Failure> {
        let bytes = self.whole.get(path).map_or(&[][..], Vec::as_slice);
        std::str::from_utf8(bytes).map_err(|_| invalid(format!("{path} is not UTF-8")))
    }

    /// The SQL that makes the tables.
    pub fn schema(&self) -> Result<&str, Failure> {
        self.manifest.postgresql.as_ref().map_or(Ok(""), |part| self.text(&part.schema))
    }

    /// The SQL that is run when the rows are there.
    pub fn finish(&self) -> Result<&str, Failure> {
        let path = self.manifest.postgresql.as_ref().and_then(|part| part.finish.as_ref());
        path.map_or(Ok(""), |path| self.text(path))
    }

    /// A file of JSON.
    pub fn json(&self, path: &FilePath) -> Result<Value, Failure> {
        self.text(path)?.parse().map_err(|error| invalid(format!("{path}: {error}")))
    }

    /// Templates for indices, by kind and name.
    pub fn templates(&self) -> Result<Templates, Failure> {
        let path = self.manifest.opensearch.as_ref().and_then(|part| part.templates.as_ref());
        path.map_or(Ok(Templates::default()), |path| {
            serde_json::from_str(self.text(path)?).map_err(|error| invalid(format!("{path}: {error}")))
        })
    }

    /// What is declared in RabbitMQ.
    pub fn definitions(&self) -> Result<Definitions, Failure> {
        let Some(part) = &self.manifest.rabbitmq else { return Ok(Definitions::default()) };
        let path = &part.definitions;
        serde_json::from_str(self.text(path)?).map_err(|error| invalid(format!("{path}: {error}")))
    }

    /// What a part holds after loading: by table, index, queue or bucket.
    pub fn expected(&self, part: Part) -> Counts {
        let lines = |path: &FilePath| self.known.get(path).map_or(0, |content| content.lines);
        match part {
            Part::Postgresql => self
                .manifest
                .postgresql
                .iter()
                .flat_map(|part| &part.tables)
                .map(|table| (table.name.clone(), lines(&table.rows)))
                .collect(),
            Part::Opensearch => self
                .manifest
                .opensearch
                .iter()
                .flat_map(|part| &part.indices)
                .map(|index| (index.name.clone(), lines(&index.documents)))
                .collect(),
            Part::Rabbitmq => {
                let queues = self.definitions().unwrap_or_default().queues;
                queues.iter().filter_map(|q| Some((q.get("name")?.as_str()?.to_owned(), 1))).collect()
            }
            Part::Objects => {
                self.manifest.buckets().map(|bucket| (bucket.name.clone(), lines(&bucket.list))).collect()
            }
        }
    }
}

/// Whether a row has as many columns as its table. A tab may be escaped by a backslash before it: then the server has to count.
fn columns(line: &[u8], wanted: usize) -> Result<(), String> {
    let line = document::text(line)?;
    let found = line.matches('\t').count() + 1;
    if line == "\\." {
        return Err("it would end the rows".to_owned());
    }
    if found == wanted || line.contains("\\\t") {
        return Ok(());
    }
    Err(format!("{found} columns, not {wanted}"))
}

fn read_through(
    path: &FilePath,
    file: File,
    look: &mut dyn FnMut(&Block<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Content> {
    let mut blocks = Blocks::new(path, file);
    while let Some(block) = blocks.next()? {
        interrupt::check()?;
        look(&block)?;
    }
    Ok(blocks.content())
}

fn read_whole(bytes: &[u8]) -> Content {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
    Content { bytes: bytes.len() as u64, lines, sha256: hex(&Sha256::digest(bytes)) }
}

/// Opens a regular file that lies inside the folder, wherever links lead, and tells its size.
pub(super) fn regular(folder: &Utf8Path, path: &str, limit: u64) -> anyhow::Result<(File, u64)> {
    let named: Utf8PathBuf = folder.join(path);
    let real =
        named.canonicalize_utf8().map_err(|error| invalid(format!("{named} cannot be read: {error}")))?;
    if !real.starts_with(folder) {
        return Err(invalid(format!("{named} leads out of the pack")).into());
    }
    // Opening something else, such as a pipe, could wait for ever.
    if !std::fs::metadata(&real).with_context(|| format!("cannot read {real}"))?.is_file() {
        return Err(invalid(format!("{named} is not a regular file")).into());
    }
    let file = File::open(&real).with_context(|| format!("cannot read {real}"))?;
    let bytes = file.metadata().with_context(|| format!("cannot read {real}"))?.len();
    if bytes > limit {
        return Err(invalid(format!("{named} is too large: at most {} MB are read", limit >> 20)).into());
    }
    Ok((file, bytes))
}

/// Reads such a file as a whole.
fn read(folder: &Utf8Path, path: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let (file, _) = regular(folder, path, limit)?;
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {path}"))?;
    Ok(bytes)
}

pub(super) fn invalid(message: String) -> Failure {
    Failure::new(Kind::Data, "pack-invalid", message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn demo() -> Utf8PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds/demo").into()
    }

    /// One column of every row of a table.
    fn column(pack: &Pack, table: &str, column: &str) -> Vec<String> {
        let tables = &pack.manifest.postgresql.as_ref().unwrap().tables;
        let table = tables.iter().find(|t| t.name == table).unwrap();
        let at = table.columns.iter().position(|c| c == column).unwrap();
        let text = std::fs::read_to_string(demo().join(table.rows.as_str())).unwrap();
        text.lines().map(|row| row.split('\t').nth(at).unwrap().to_owned()).collect()
    }

    #[test]
    fn rows_and_documents_of_the_demo_pack_are_the_same_things() {
        let pack = Pack::open(&demo()).unwrap();
        let mut known = BTreeSet::new();
        for index in &pack.manifest.opensearch.as_ref().unwrap().indices {
            let rows: BTreeSet<String> =
                column(&pack, index.table.as_ref().unwrap(), "id").into_iter().collect();
            let text = std::fs::read_to_string(demo().join(index.documents.as_str())).unwrap();
            let id = |line: &str| document::read(line.as_bytes(), index).unwrap().id.into_owned();
            let documents: BTreeSet<String> = text.lines().map(id).collect();
            assert_eq!(rows, documents, "{}", index.name);
            known.extend(rows);
        }
        assert!(column(&pack, "pidstore_pid", "object_uuid").iter().all(|id| known.contains(id)));
        let total: u64 = pack.expected(Part::Postgresql).values().sum();
        assert_eq!((total, pack.expected(Part::Rabbitmq).len()), (483, 4));
    }

    /// A pack in a temporary folder: a manifest that names `definitions.json`, and nothing else yet.
    fn broken() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let manifest =
            "format = 1\nname = \"x\"\ndescription = \"\"\n[rabbitmq]\ndefinitions = \"definitions.json\"\n";
        crate::sys::fs::write_atomic(&path.join(FILE), manifest.as_bytes(), 0o600).unwrap();
        (folder, path)
    }

    #[test]
    fn only_regular_files_inside_the_folder_are_read() {
        let (_folder, path) = broken();
        let reason = || Pack::open(&path).unwrap_err().to_string();
        let file = path.join("definitions.json");
        assert!(reason().contains("cannot be read"));
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert!(reason().contains("leads out of the pack"), "{}", reason());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(reason().contains("not a regular file"));
        std::fs::remove_dir(&file).unwrap();
        crate::sys::fs::write_atomic(&file, b"{\"queues\": 7}", 0o600).unwrap();
        assert!(reason().contains("definitions.json: invalid type"), "{}", reason());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let (_folder, path) = broken();
        assert!(read(&path, FILE, 10).unwrap_err().to_string().contains("too large"));
        assert!(read(&path, FILE, 1000).is_ok());
    }
}
