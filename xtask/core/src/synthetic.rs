//! Synthetic packs: any number of records as Invenio would hold them, invented, and the same bytes on every machine for the same numbers.
//!
//! A record depends on the seed and its own number alone, so records are made one by one and nothing is remembered.
//! Vocabularies, search mappings and queues are those of the demo pack. Nothing invented can be mistaken for something real: DOIs have the
//! prefix for tests, and ORCID iDs have a right check digit in a range that is never given to anybody.

mod random;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::failure::{Failure, Kind};
use crate::pack::{Broker, Content, FilePath, FromRows, Index, Indices, Manifest, Table, Tables};
use random::{Random, mix};

/// How few and how many records a pack may have.
pub const MIN: u32 = 10;
pub const MAX: u32 = 1_000_000;

/// The files that grow with the number of records.
pub const ROWS: &str = "postgresql/rdm_records_metadata.tsv";
pub const PIDS: &str = "postgresql/pidstore_pid.tsv";
pub const DOCUMENTS: &str = "opensearch/records.ndjson";

const SCHEMA: &str = "postgresql/schema.sql";
const FINISH: &str = "postgresql/finish.sql";
const TYPES: &str = "postgresql/vocabularies_types.tsv";
const TERMS: &str = "postgresql/vocabularies_metadata.tsv";
const RECORDS: &str = "opensearch/records.json";
const VOCABULARIES: &str = "opensearch/vocabularies.json";
const VOCABULARY_DOCUMENTS: &str = "opensearch/vocabularies.ndjson";
const DEFINITIONS: &str = "rabbitmq/definitions.json";

/// How a row becomes its document, as SQL.
const DOCUMENT: &str = "jsonb_build_object('uuid', id, 'version_id', version_id, 'created', created, 'updated', updated) || json";

const DEMO_PIDS: &str = include_str!("../../../seeds/demo/postgresql/pidstore_pid.tsv");

/// The files that do not depend on the number of records.
const FIXED: [(&str, &str); 8] = [
    (SCHEMA, include_str!("synthetic/schema.sql")),
    (FINISH, include_str!("synthetic/finish.sql")),
    (TYPES, include_str!("../../../seeds/demo/postgresql/vocabularies_types.tsv")),
    (TERMS, include_str!("../../../seeds/demo/postgresql/vocabularies_metadata.tsv")),
    (RECORDS, include_str!("synthetic/records.json")),
    (VOCABULARIES, include_str!("../../../seeds/demo/opensearch/vocabularies.json")),
    (VOCABULARY_DOCUMENTS, include_str!("../../../seeds/demo/opensearch/vocabularies.ndjson")),
    (DEFINITIONS, include_str!("../../../seeds/demo/rabbitmq/definitions.json")),
];

/// The first number of a record's identifiers: those of the vocabularies stay below.
const FIRST_PID: u32 = 1_001;

/// Identifiers are numbers of 40 bits, as those of Invenio are.
const BITS: u64 = (1 << 40) - 1;

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    records: u32,
    seed: u64,
}

/// The lines that a record adds to each file. Kept and emptied from record to record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub row: String,
    pub pids: String,
    pub document: String,
    body: String,
}

impl Synthetic {
    /// A pack of so many records; another seed invents others.
    pub fn new(records: u32, seed: u64) -> Result<Self, Failure> {
        if (MIN..=MAX).contains(&records) {
            return Ok(Self { records, seed });
        }
        let text = format!("{records} synthetic records: at least {MIN}, at most {MAX}");
        Err(Failure::new(Kind::Usage, "records-out-of-range", text))
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    /// The files that are the same whatever the number of records.
    pub fn fixed(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FIXED.into_iter()
    }

    /// The persistent identifiers of the vocabularies, which come before those of the records.
    pub fn vocabulary_pids(&self) -> String {
        let of_vocabularies =
            |line: &&str| line.split('\t').nth(3).is_some_and(|kind| !matches!(kind, "recid" | "doi"));
        DEMO_PIDS.lines().filter(of_vocabularies).fold(String::new(), |text, line| text + line + "\n")
    }

    /// Writes what the record with this number is into `lines`, whose content is replaced.
    pub fn record(&self, number: u32, lines: &mut Lines) {
        let Lines { row, pids, document, body } = lines;
        for text in [&mut *row, &mut *pids, &mut *document, &mut *body] {
            text.clear();
        }
        let mut random = Random::of(self.seed, u64::from(number));
        let (uuid, id) = self.names(number);
        let pk = FIRST_PID + 2 * number;
        let published = random.between(1990, 2024);
        let year = published.max(random.between(2015, 2024));
        let created = moment(&mut random, year);
        let edits = if random.below(4) == 0 { random.between(1, 3) } else { 0 };
        let updated = if edits == 0 { created.clone() } else { moment(&mut random, year + 1) };
        let version = edits + 1;

        // Writing into a String cannot fail.
        let _ = write!(
            body,
            "\"id\":\"{id}\",\"pid\":{{\"pk\":{pk},\"pid_type\":\"recid\",\"status\":\"R\",\"obj_type\":\"rec\"}},\
             \"pids\":{{\"doi\":{{\"identifier\":\"10.5072/{id}\",\"provider\":\"datacite\"}}}},"
        );
        let with_files = access(body, &mut random);
        files(body, &mut random, with_files);
        metadata(body, &mut random, published);
        let _ = writeln!(row, "{created}\t{updated}\t{uuid}\t{{{body}\t{version}\t1");
        let _ = write!(
            pids,
            "{created}\t{updated}\t{pk}\trecid\t{id}\t\\N\tR\trec\t{uuid}\n\
             {created}\t{updated}\t{}\tdoi\t10.5072/{id}\tdatacite\tR\trec\t{uuid}\n",
            pk + 1
        );
        let _ = writeln!(
            document,
            "{{\"uuid\":\"{uuid}\",\"version_id\":{version},\"created\":\"{created}\",\"updated\":\"{updated}\",{body}"
        );
    }

    /// UUID and persistent identifier of a record, both never the same for two records of a pack.
    fn names(&self, number: u32) -> (String, String) {
        let unique = scramble(u64::from(number), self.seed);
        let noise = Random::of(!self.seed, u64::from(number)).next();
        let uuid = format!(
            "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
            noise >> 32,
            (noise >> 16) & 0xffff,
            (noise >> 4) & 0xfff,
            8 | (noise & 3),
            (unique >> 28) ^ (noise >> 52),
            unique | ((noise & 0xff) << 40),
        );
        (uuid, identifier(unique))
    }

    /// The text of `pack.toml`, once all files are written.
    pub fn manifest(&self, name: &str, files: BTreeMap<FilePath, Content>) -> Result<String, Failure> {
        let path = |path: &str| FilePath::try_from(path.to_owned());
        let made = || -> Result<Manifest, String> {
            let table = |name: &str, columns: &str, rows: &str| {
                let columns = columns.split(' ').map(ToOwned::to_owned).collect();
                Ok::<_, String>(Table { name: name.to_owned(), columns, rows: path(rows)? })
            };
            let metadata = "created updated id json version_id";
            let index = |name: &str, aliases: &[&str], settings, documents, table: &str| {
                Ok::<_, String>(Index {
                    name: name.to_owned(),
                    aliases: aliases.iter().map(ToString::to_string).collect(),
                    settings: path(settings)?,
                    documents: path(documents)?,
                    id: Some("uuid".to_owned()),
                    exact: false,
                    table: Some(table.to_owned()),
                    from_rows: Some(FromRows { document: DOCUMENT.to_owned(), version: None, only: None }),
                })
            };
            Ok(Manifest {
                format: crate::pack::FORMAT,
                name: name.to_owned(),
                description: format!("{} synthetic records, seed {}", self.records, self.seed),
                postgresql: Some(Tables {
                    schema: path(SCHEMA)?,
                    finish: Some(path(FINISH)?),
                    tables: vec![
                        table("vocabularies_types", "id pid_type", TYPES)?,
                        table("vocabularies_metadata", metadata, TERMS)?,
                        table("rdm_records_metadata", &format!("{metadata} index"), ROWS)?,
                        table(
                            "pidstore_pid",
                            "created updated id pid_type pid_value pid_provider status object_type object_uuid",
                            PIDS,
                        )?,
                    ],
                }),
                opensearch: Some(Indices {
                    indices: vec![
                        index(
                            "invenio-rdmrecords-records-record-v6.0.0",
                            &["invenio-rdmrecords", "invenio-rdmrecords-records"],
                            RECORDS,
                            DOCUMENTS,
                            "rdm_records_metadata",
                        )?,
                        index(
                            "invenio-vocabularies-vocabulary-v1.0.0",
                            &["invenio-vocabularies"],
                            VOCABULARIES,
                            VOCABULARY_DOCUMENTS,
                            "vocabularies_metadata",
                        )?,
                    ],
                    templates: None,
                }),
                rabbitmq: Some(Broker { definitions: path(DEFINITIONS)? }),
                objects: None,
                captured: None,
                files,
            })
        };
        let wrong = |message: String| Failure::new(Kind::Data, "pack-invalid", message);
        let text = toml::to_string(&made().map_err(wrong)?).map_err(|error| wrong(error.to_string()))?;
        // What is wrong with it, such as its name, is told before anything is made.
        Manifest::parse(&text)?;
        Ok(format!(
            "# Made by `pack new {name} --synthetic {} --rng {}`; the same words make the same bytes.\n{text}",
            self.records, self.seed
        ))
    }
}

/// One-to-one on 40 bits, so that no two numbers meet.
fn scramble(number: u64, seed: u64) -> u64 {
    let (odd, add) = (mix(seed) | 1, mix(!seed));
    let mut value = (number.wrapping_mul(odd)).wrapping_add(add) & BITS;
    value ^= value >> 17;
    value = value.wrapping_mul(0x9E_3779_B97F) & BITS;
    value ^ (value >> 23)
}

/// As Invenio writes it: eight digits of Crockford's base 32 and two check digits (ISO 7064, mod 97-10), with a dash.
fn identifier(value: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut text = String::with_capacity(11);
    for place in (0..8).rev() {
        text.push(char::from(DIGITS[usize::try_from((value >> (5 * place)) & 31).unwrap_or(0)]));
        if place == 3 {
            text.push('-');
        }
    }
    let check = 98 - (value % 97) * 100 % 97;
    let _ = write!(text, "{check:02}");
    text
}

/// A time of that year.
fn moment(random: &mut Random, year: u32) -> String {
    let (month, day) = (random.between(1, 12), random.between(1, 28));
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

/// Who may see it; tells whether it has files.
fn access(body: &mut String, random: &mut Random) -> bool {
    let (record, files, status, until) = match random.below(20) {
        0 => ("restricted", "restricted", "restricted", None),
        1 => ("public", "restricted", "restricted", None),
        2 => ("public", "restricted", "embargoed", Some(random.between(2031, 2039))),
        3 => ("public", "public", "metadata-only", None),
        _ => ("public", "public", "open", None),
    };
    let _ = write!(body, "\"access\":{{\"record\":\"{record}\",\"files\":\"{files}\",\"embargo\":{{");
    let _ = match until {
        Some(year) => write!(body, "\"active\":true,\"until\":\"{year}-01-01\""),
        None => write!(body, "\"active\":false"),
    };
    let _ = write!(body, "}},\"status\":\"{status}\"}},");
    status != "metadata-only"
}

fn files(body: &mut String, random: &mut Random, some: bool) {
    let count = if some { random.between(1, 5) } else { 0 };
    let bytes: u64 = (0..count).map(|_| u64::from(random.between(10_000, 9_000_000))).sum();
    let _ = write!(body, "\"files\":{{\"enabled\":{},\"count\":{count},\"totalbytes\":{bytes}}},", count > 0);
}

/// The rest of the record, with its closing brace.
fn metadata(body: &mut String, random: &mut Random, year: u32) {
    use words::{AFFILIATIONS, FAMILY_NAMES, GIVEN_NAMES, LANGUAGES, LICENCES, PUBLISHERS, RESOURCE_TYPES};
    let language = if random.below(2) == 0 { &LANGUAGES[0] } else { random.choose(&LANGUAGES[1..]) };
    let (topic, subjects) = random.choose(language.topics);
    let (aspect, place) = (random.choose(language.aspects), random.choose(language.places));
    let from = random.between(1950, year - 1);
    let to = random.between(from + 1, year);
    let _ = write!(
        body,
        "\"metadata\":{{\"title\":\"{topic}: {aspect}, {place}, {from}–{to}\",\"resource_type\":{{\"id\":\"{}\"}},\
         \"publication_date\":\"{year}-{:02}-{:02}\",\"publisher\":\"{}\",\"languages\":[{{\"id\":\"{}\"}}],\
         \"creators\":[",
        random.choose(&RESOURCE_TYPES),
        random.between(1, 12),
        random.between(1, 28),
        random.choose(&PUBLISHERS),
        language.code,
    );
    for nth in 0..random.between(1, 4) {
        let (family, given) = (random.choose(&FAMILY_NAMES), random.choose(&GIVEN_NAMES));
        let _ = write!(
            body,
            "{}{{\"person_or_org\":{{\"type\":\"personal\",\"name\":\"{family}, {given}\",\
             \"family_name\":\"{family}\",\"given_name\":\"{given}\"",
            if nth == 0 { "" } else { "," }
        );
        if random.below(3) > 0 {
            let orcid = orcid(random.next());
            let _ = write!(body, ",\"identifiers\":[{{\"identifier\":\"{orcid}\",\"scheme\":\"orcid\"}}]");
        }
        let _ = write!(body, "}},\"affiliations\":[{{\"name\":\"{}\"}}]}}", random.choose(&AFFILIATIONS));
    }
    let _ = write!(
        body,
        "],\"subjects\":[{{\"subject\":\"{}\"}},{{\"subject\":\"{}\"}}],\"rights\":[{{\"id\":\"{}\"}}]}}}}",
        subjects[0],
        subjects[1],
        random.choose(&LICENCES)
    );
}

/// An ORCID iD with its check digit (ISO 7064, mod 11-2), below 0000-0001, where none is given out.
fn orcid(random: u64) -> String {
    let digits = format!("00000000{:07}", random % 10_000_000);
    let sum = digits.bytes().fold(0, |sum, digit| (sum + u32::from(digit - b'0')) * 2);
    let check = match (12 - sum % 11) % 11 {
        10 => "X".to_owned(),
        digit => digit.to_string(),
    };
    format!("{}-{}-{}-{}{check}", &digits[..4], &digits[4..8], &digits[8..12], &digits[12..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::artifact::hex;

    fn digest(records: u32, seed: u64) -> String {
        let (pack, mut lines, mut hash) =
            (Synthetic::new(records, seed).unwrap(), Lines::default(), Sha256::new());
        for number in 0..records {
            pack.record(number, &mut lines);
            for text in [&lines.row, &lines.pids, &lines.document] {
                hash.update(text);
            }
        }
        hex(&hash.finalize())
    }

    #[test]
    fn the_same_numbers_make_the_same_bytes_on_every_machine() {
        assert_eq!(digest(1_000, 1), "cd6dedf0cd04f8edde402d4c1d7b6c2ccf83fa9589e7a835a22a3e508673dfae");
        assert_ne!(digest(20, 1), digest(20, 2));
    }

    #[test]
    fn row_document_and_identifiers_are_the_same_record() {
        let (pack, mut lines) = (Synthetic::new(500, 7).unwrap(), Lines::default());
        let terms: BTreeSet<&str> = FIXED[6]
            .1
            .lines()
            .map(|line| line.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap())
            .collect();
        for number in 0..500 {
            pack.record(number, &mut lines);
            assert!(!lines.row.contains('\\'), "nothing in it has to be escaped: {}", lines.row);
            let columns: Vec<&str> = lines.row.trim_end().split('\t').collect();
            let (json, mut document): (Value, Value) =
                (columns[3].parse().unwrap(), lines.document.parse().unwrap());
            let fields = document.as_object_mut().unwrap();
            assert_eq!(fields.remove("uuid").unwrap(), columns[2]);
            assert_eq!(fields.remove("version_id").unwrap().to_string(), columns[4]);
            assert_eq!(fields.remove("created").unwrap(), columns[0]);
            assert_eq!(fields.remove("updated").unwrap(), columns[1]);
            assert!(columns[0] <= columns[1]);
            assert_eq!(json, document);
            for pid in lines.pids.lines() {
                assert!(pid.ends_with(columns[2]) && pid.contains(json["id"].as_str().unwrap()), "{pid}");
            }
            let meta = &json["metadata"];
            for id in [&meta["languages"][0], &meta["rights"][0], &meta["resource_type"]] {
                assert!(terms.contains(id["id"].as_str().unwrap()), "{id} is in no vocabulary");
            }
        }
    }

    #[test]
    fn no_two_records_share_a_name() {
        let pack = Synthetic::new(MAX, 3).unwrap();
        let (mut uuids, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for number in (0..MAX).step_by(61) {
            let (uuid, id) = pack.names(number);
            assert_eq!((uuid.len(), id.len()), (36, 11), "{uuid} {id}");
            assert!(uuids.insert(uuid) && ids.insert(id));
        }
    }

    #[test]
    fn check_digits_are_those_of_the_standards() {
        // An example of ORCID's own documentation, whose last digits are the same sum.
        let sum = |digits: &str| digits.bytes().fold(0, |sum, digit| (sum + u32::from(digit - b'0')) * 2);
        assert_eq!((12 - sum("000000021825009") % 11) % 11, 7);
        assert_eq!(orcid(0), "0000-0000-0000-0001");
        // ISO 7064, mod 97-10: number and check digits together leave 1.
        let (value, text) = (0x12_3456_789A_u64, identifier(0x12_3456_789A));
        assert_eq!((value % 97 * 100 + text[9..].parse::<u64>().unwrap()) % 97, 1, "{text}");
    }

    #[test]
    fn sizes_outside_of_the_range_and_bad_names_are_refused() {
        assert!(Synthetic::new(MIN - 1, 1).is_err() && Synthetic::new(MAX + 1, 1).is_err());
        let pack = Synthetic::new(MIN, 1).unwrap();
        assert!(pack.manifest("../x", BTreeMap::new()).is_err());
        assert!(pack.manifest("big", BTreeMap::new()).unwrap().contains("pack new big --synthetic 10"));
        assert_eq!(pack.vocabulary_pids().lines().count(), 60);
    }
}
