//! A pack on disk: its manifest and the content of its files, read once, so that what is digested is what is loaded.
//!
//! A pack may come from a stranger: only regular files inside its folder are read, and only so much of them.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::{FILE, FilePath, Manifest, Part};

use super::Counts;
use crate::client::rabbitmq::Definitions;

const MAX_MANIFEST: u64 = 256 * 1024;
const MAX_FILE: u64 = 64 * 1024 * 1024;
const MAX_TOTAL: u64 = 256 * 1024 * 1024;

/// A pack, read and checked.
#[derive(Debug, Clone)]
pub struct Pack {
    pub manifest: Manifest,
    files: BTreeMap<FilePath, Vec<u8>>,
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
        let mut files = BTreeMap::new();
        let mut left = MAX_TOTAL;
        for path in Part::ALL.into_iter().flat_map(|part| manifest.files(part)) {
            if !files.contains_key(path) {
                let content = read(&folder, path.as_str(), MAX_FILE.min(left))?;
                left -= content.len() as u64;
                files.insert(path.clone(), content);
            }
        }
        let pack = Self { manifest, files };
        // Whatever can be wrong with the content is found now, not halfway through loading.
        pack.schema()?;
        pack.definitions()?;
        for index in pack.manifest.opensearch.iter().flat_map(|part| &part.indices) {
            let settings = pack.json(&index.settings)?;
            let plain = |value: Option<&serde_json::Value>| value.is_none_or(serde_json::Value::is_object);
            if !settings.is_object() || !plain(settings.get("settings")) || !plain(settings.get("mappings")) {
                return Err(
                    invalid(format!("{}: not an object of settings and mappings", index.settings)).into()
                );
            }
            pack.text(&index.documents)?;
        }
        Ok(pack)
    }

    /// The digest of a part: it changes with every byte that would be loaded.
    pub fn digest(&self, part: Part) -> String {
        self.manifest.digest(part, |path| self.content(path))
    }

    /// The bytes of a file of the manifest.
    pub fn content(&self, path: &FilePath) -> &[u8] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// The bytes of a file as text.
    pub fn text(&self, path: &FilePath) -> Result<&str, Failure> {
        std::str::from_utf8(self.content(path)).map_err(|_| invalid(format!("{path} is not UTF-8")))
    }

    /// The SQL that makes the tables.
    pub fn schema(&self) -> Result<&str, Failure> {
        self.manifest.postgresql.as_ref().map_or(Ok(""), |part| self.text(&part.schema))
    }

    /// A file of JSON.
    pub fn json(&self, path: &FilePath) -> Result<serde_json::Value, Failure> {
        serde_json::from_slice(self.content(path)).map_err(|error| invalid(format!("{path}: {error}")))
    }

    /// What is declared in RabbitMQ.
    pub fn definitions(&self) -> Result<Definitions, Failure> {
        let Some(part) = &self.manifest.rabbitmq else { return Ok(Definitions::default()) };
        let path = &part.definitions;
        serde_json::from_slice(self.content(path)).map_err(|error| invalid(format!("{path}: {error}")))
    }

    /// What a part holds after loading: by table, index or queue.
    pub fn expected(&self, part: Part) -> Counts {
        let lines = |path: &FilePath| {
            self.content(path).split(|b| *b == b'\n').filter(|l| !l.is_empty()).count() as u64
        };
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
        }
    }
}

/// Reads a regular file that lies inside the folder, wherever links lead.
fn read(folder: &Utf8Path, path: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let named: Utf8PathBuf = folder.join(path);
    let real =
        named.canonicalize_utf8().map_err(|error| invalid(format!("{named} cannot be read: {error}")))?;
    if !real.starts_with(folder) {
        return Err(invalid(format!("{named} leads out of the pack")).into());
    }
    if !std::fs::metadata(&real).with_context(|| format!("cannot read {real}"))?.is_file() {
        return Err(invalid(format!("{named} is not a regular file")).into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(&real)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {real}"))?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("{named} is too large: at most {} MB are read", limit >> 20)).into());
    }
    Ok(bytes)
}

fn invalid(message: String) -> Failure {
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
        let rows = pack.text(&table.rows).unwrap().lines();
        rows.map(|row| row.split('\t').nth(at).unwrap().to_owned()).collect()
    }

    #[test]
    fn rows_and_documents_of_the_demo_pack_are_the_same_things() {
        let pack = Pack::open(&demo()).unwrap();
        let mut known = BTreeSet::new();
        for index in &pack.manifest.opensearch.as_ref().unwrap().indices {
            let rows: BTreeSet<String> =
                column(&pack, index.table.as_ref().unwrap(), "id").into_iter().collect();
            let documents: BTreeSet<String> = pack
                .text(&index.documents)
                .unwrap()
                .lines()
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()[&index.id]
                        .as_str()
                        .unwrap()
                        .to_owned()
                })
                .collect();
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
