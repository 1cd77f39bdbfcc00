//! A pack: data for several stores that belongs together. Here is what `pack.toml` may say; reading files is `seed::pack`.
//!
//! A pack may come from a stranger, so names go through a narrow gate: they end up in SQL and in paths of HTTP requests.

pub mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::artifact::hex;
use crate::failure::{Failure, Kind};
use objects::{Objects, is_bucket, is_sha256};

/// The name of the file that makes a folder a pack.
pub const FILE: &str = "pack.toml";

/// The format that this version reads.
pub const FORMAT: u32 = 1;

/// What a pack holds, one part a store. A pack without a part simply leaves that store alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub description: String,
    pub postgresql: Option<Tables>,
    pub opensearch: Option<Indices>,
    pub rabbitmq: Option<Broker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
    /// Where a captured pack comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
    /// What is known of files before they are read. A pack made by hand may leave it out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FilePath, Content>,
}

/// The stack that a pack was captured from. Times are UTC; each store is one moment, not all of them together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// The release of the manifest.
    pub release: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opensearch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// The versions of the application's schema, as Alembic keeps them in the database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alembic: Vec<String>,
}

/// What a file holds, so that a finished pack is known without reading it, and a damaged one before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    pub bytes: u64,
    /// Lines that are not empty: rows or documents.
    pub lines: u64,
    pub sha256: String,
}

/// The part for PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// SQL that makes the tables, run in the transaction that fills them.
    pub schema: FilePath,
    /// SQL that is run when the rows are there, in the same transaction: keys, indexes, sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<FilePath>,
    /// In loading order.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub name: String,
    /// In the order of the file.
    pub columns: Vec<String>,
    /// Rows in the text format of COPY.
    pub rows: FilePath,
}

/// The part for OpenSearch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indices {
    pub indices: Vec<Index>,
    /// JSON with the templates for indices that applications will make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<FilePath>,
}

/// Templates for indices by name, each as OpenSearch takes it: the two new kinds, and the old one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub component_templates: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub index_templates: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, Value>,
}

impl Templates {
    /// The path below which each kind lies, in the order in which they can be made, and the templates.
    pub fn kinds(&self) -> [(&'static str, &BTreeMap<String, Value>); 3] {
        [
            ("_component_template", &self.component_templates),
            ("_index_template", &self.index_templates),
            ("_template", &self.templates),
        ]
    }

    /// Whether one of them gives aliases to the indices that are made by it.
    pub fn give_aliases(&self) -> bool {
        let has = |body: &Value| {
            let of = |body: Option<&Value>| {
                body.and_then(|body| body.get("aliases"))
                    .and_then(Value::as_object)
                    .is_some_and(|all| !all.is_empty())
            };
            of(Some(body)) || of(body.get("template"))
        };
        self.kinds().iter().any(|(_, templates)| templates.values().any(has))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, templates)| templates.is_empty())
    }
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The real index gets the beginning of the digest as a suffix, unless it is `exact`.
    pub name: String,
    /// Applications use this name itself, not only aliases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// Indices may share them.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// JSON with `settings` and `mappings`, and with `aliases` where these have properties.
    pub settings: FilePath,
    /// One JSON document a line.
    pub documents: FilePath,
    /// The field of a document that is its id. Without it lines are hits, as a search answers: `_id`, `_source`, and what else there is
    /// to know of it: `_version`, `_routing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The table that holds the same things: numbers are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How a row of that table becomes a document, so that the index can be made from the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_rows: Option<FromRows>,
}

/// How a row becomes a document: expressions of SQL over the columns of its table. The id is the primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromRows {
    /// Gives the document, as `json` or `jsonb`.
    pub document: String,
    /// Gives its version, a whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which rows have a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// The part for RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Exchanges, queues and bindings of one virtual host, in RabbitMQ's own format.
    pub definitions: FilePath,
}

/// The path of a file below the pack's folder: relative, forward slashes, no `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if path.len() <= 200 && path.split('/').all(plain) {
            Ok(Self(path))
        } else {
            Err(format!(
                "`{path}` is no path inside a pack: letters, digits, `.`, `-`, `_`, and `/` between names"
            ))
        }
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parts of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Postgresql,
    Opensearch,
    Rabbitmq,
    Objects,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Postgresql, Self::Opensearch, Self::Rabbitmq, Self::Objects];

    /// The name of the kind of service that it is loaded into.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Opensearch => "opensearch",
            Self::Rabbitmq => "rabbitmq",
            Self::Objects => "minio",
        }
    }

    /// What is counted in it.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Postgresql => "rows",
            Self::Opensearch => "documents",
            Self::Rabbitmq => "queues",
            Self::Objects => "objects",
        }
    }
}

impl Manifest {
    /// Reads `pack.toml`; all that is wrong with it in one failure.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::new(Kind::Data, "pack-invalid", message);
        let manifest: Self =
            toml::from_str(text).map_err(|error| wrong(format!("{FILE} cannot be read: {error}")))?;
        let problems = manifest.problems();
        if problems.is_empty() {
            return Ok(manifest);
        }
        Err(wrong(format!("{FILE} is not valid:\n  {}", problems.join("\n  "))))
    }

    /// The parts that it has.
    pub fn parts(&self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|part| !self.files(*part).is_empty()).collect()
    }

    /// The files of a part, in the order of the manifest.
    pub fn files(&self, part: Part) -> Vec<&FilePath> {
        match part {
            Part::Postgresql => self
                .postgresql
                .iter()
                .flat_map(|part| {
                    let rows = part.tables.iter().map(|table| &table.rows);
                    std::iter::once(&part.schema).chain(rows).chain(&part.finish)
                })
                .collect(),
            Part::Opensearch => self
                .opensearch
                .iter()
                .flat_map(|part| {
                    let files = part.indices.iter().flat_map(|i| [&i.settings, &i.documents]);
                    files.chain(&part.templates)
                })
                .collect(),
            Part::Rabbitmq => self.rabbitmq.iter().map(|part| &part.definitions).collect(),
            Part::Objects => self.buckets().map(|bucket| &bucket.list).collect(),
        }
    }

    /// The buckets of the part for an object store.
    pub fn buckets(&self) -> impl Iterator<Item = &objects::Bucket> {
        self.objects.iter().flat_map(|part| &part.buckets)
    }

    /// The files that are read line by line, however large they are: rows, documents, lists of objects.
    pub fn data(&self) -> BTreeSet<&FilePath> {
        let rows = self.postgresql.iter().flat_map(|part| part.tables.iter().map(|table| &table.rows));
        let documents =
            self.opensearch.iter().flat_map(|part| part.indices.iter().map(|index| &index.documents));
        rows.chain(documents).chain(self.buckets().map(|bucket| &bucket.list)).collect()
    }

    /// The digest of a part: what the manifest says of it, and the SHA-256 of each of its files.
    pub fn digest<'a>(&self, part: Part, sha256: impl Fn(&FilePath) -> &'a str) -> String {
        let said = match part {
            Part::Postgresql => serde_json::to_vec(&self.postgresql),
            Part::Opensearch => serde_json::to_vec(&self.opensearch),
            Part::Rabbitmq => serde_json::to_vec(&self.rabbitmq),
            Part::Objects => serde_json::to_vec(&self.objects),
        };
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(&FORMAT.to_be_bytes());
        // Plain structs of texts: writing them as JSON cannot fail.
        add(&said.unwrap_or_default());
        for path in self.files(part) {
            add(path.as_str().as_bytes());
            add(sha256(path).as_bytes());
        }
        hex(&hash.finalize())
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: String| {
            if !good {
                problems.push(problem);
            }
        };
        check(self.format == FORMAT, format!("format = {}: this version reads format {FORMAT}", self.format));
        check(is_slug(&self.name), format!("name = {}", bad_name(&self.name)));
        check(
            !self.parts().is_empty(),
            "it has no part: postgresql, opensearch, rabbitmq or objects".to_owned(),
        );
        let mut tables = BTreeSet::new();
        for table in self.postgresql.iter().flat_map(|part| &part.tables) {
            let name = &table.name;
            check(is_identifier(name), format!("table {name:?}: not a plain lower-case name"));
            check(tables.insert(name), format!("table {name:?} is there twice"));
            check(!table.columns.is_empty(), format!("table {name:?} has no columns"));
            for column in &table.columns {
                check(
                    is_identifier(column),
                    format!("column {column:?} of {name:?}: not a plain lower-case name"),
                );
            }
        }
        let data = self.data();
        for path in Part::ALL.into_iter().flat_map(|part| self.files(part)) {
            let uses = Part::ALL.into_iter().flat_map(|part| self.files(part)).filter(|p| *p == path).count();
            check(uses == 1 || !data.contains(path), format!("{path} is named twice"));
        }
        let known: BTreeSet<&FilePath> = Part::ALL.into_iter().flat_map(|part| self.files(part)).collect();
        for (path, content) in &self.files {
            check(known.contains(path), format!("files: no part has a file {path}"));
            let text = format!("files: the sha256 of {path} is not 64 digits of 0-9 and a-f");
            check(is_sha256(&content.sha256), text);
        }
        let mut buckets = BTreeSet::new();
        for objects::Bucket { name, .. } in self.buckets() {
            check(is_bucket(name), format!("bucket {name:?}: use 3 to 63 of a-z, 0-9, dashes and dots"));
            check(buckets.insert(name), format!("bucket {name:?} is there twice"));
        }
        let indices = || self.opensearch.iter().flat_map(|part| &part.indices);
        let aliases: BTreeSet<&String> = indices().flat_map(|index| &index.aliases).collect();
        let mut names = BTreeSet::new();
        for index in indices() {
            let name = &index.name;
            for name in std::iter::once(name).chain(&index.aliases) {
                check(
                    is_index(name),
                    format!("index or alias {name:?}: use a-z, 0-9, dashes, dots, underscores"),
                );
            }
            check(names.insert(name), format!("index {name:?} is there twice"));
            let own: BTreeSet<&String> = index.aliases.iter().collect();
            check(own.len() == index.aliases.len(), format!("index {name:?} has an alias twice"));
            if index.exact {
                check(
                    !aliases.contains(name),
                    format!("index {name:?} is exact, so no alias can have its name"),
                );
            } else {
                check(!own.is_empty(), format!("index {name:?} is not exact and has no alias"));
            }
            if let Some(table) = &index.table {
                check(tables.contains(table), format!("index {name:?}: there is no table {table:?}"));
            }
            let from_table = index.from_rows.is_none() || index.table.is_some();
            check(from_table, format!("index {name:?}: from_rows needs the table whose rows are meant"));
        }
        problems
    }
}

/// Fails where a pack cannot have this name.
pub fn check_name(name: &str) -> Result<(), Failure> {
    if is_slug(name) { Ok(()) } else { Err(Failure::new(Kind::Data, "pack-invalid", bad_name(name))) }
}

fn bad_name(name: &str) -> String {
    format!("{name:?}: use a-z, 0-9 and dashes, at most 40")
}

fn is_slug(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_identifier(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_index(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
