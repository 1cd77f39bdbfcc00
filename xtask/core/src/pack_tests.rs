//! What `pack.toml` may say, and what is refused.

use super::*;

const GOOD: &str = r#"
format = 1
name = "demo"
description = "d"
[postgresql]
schema = "postgresql/schema.sql"
tables = [{ name = "t", columns = ["id", "json"], rows = "postgresql/t.tsv" }]
[opensearch]
indices = [{ name = "i-v1", aliases = ["i"], settings = "i.json", documents = "i.ndjson", id = "id", table = "t" }]
"#;

#[test]
fn parts_and_files_are_what_the_manifest_says() {
    let manifest = Manifest::parse(GOOD).unwrap();
    assert_eq!(manifest.parts(), [Part::Postgresql, Part::Opensearch]);
    let files: Vec<&str> = manifest.files(Part::Postgresql).into_iter().map(FilePath::as_str).collect();
    assert_eq!(files, ["postgresql/schema.sql", "postgresql/t.tsv"]);
}

#[test]
fn the_digest_of_a_part_depends_on_its_files_and_its_table_only() {
    let manifest = Manifest::parse(GOOD).unwrap();
    let digest = |part, sha256: &'static str| manifest.digest(part, |_| sha256);
    assert_eq!(digest(Part::Postgresql, "x"), digest(Part::Postgresql, "x"));
    assert_ne!(digest(Part::Postgresql, "x"), digest(Part::Postgresql, "y"));
    let other = Manifest::parse(&GOOD.replace(r#""id", "json""#, r#""json", "id""#)).unwrap();
    assert_ne!(digest(Part::Postgresql, "x"), other.digest(Part::Postgresql, |_| "x"));
    assert_eq!(digest(Part::Opensearch, "x"), other.digest(Part::Opensearch, |_| "x"));
}

#[test]
fn a_path_stays_inside_the_pack() {
    for bad in ["/etc/passwd", "../x", "a/../b", "a//b", "", "a/", ".git/config", "a\\b", "a b", "C:x"] {
        assert!(FilePath::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    assert!(FilePath::try_from("a/b-1_2.tsv".to_owned()).is_ok());
}

#[test]
fn a_bucket_has_a_name_of_s3_and_a_list_of_its_own() {
    let head = "format = 1\nname = \"o\"\ndescription = \"\"\n";
    let bucket =
        |name: &str, list: &str| format!("[[objects.buckets]]\nname = \"{name}\"\nlist = \"{list}\"\n");
    let manifest =
        Manifest::parse(&format!("{head}{}", bucket("default", "objects/default.ndjson"))).unwrap();
    assert_eq!((manifest.parts(), manifest.data().len()), (vec![Part::Objects], 1));
    let text = format!("{head}{}{}", bucket("De", "a.ndjson"), bucket("De", "a.ndjson"));
    let message = Manifest::parse(&text).unwrap_err().message;
    for part in ["\"De\": use 3 to 63", "\"De\" is there twice", "a.ndjson is named twice"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let text = GOOD
        .replace(r#"name = "demo""#, r#"name = "De mo""#)
        .replace(r#"name = "t""#, r#"name = "t; DROP TABLE x""#)
        .replace("format = 1", "format = 9");
    let message = Manifest::parse(&text).unwrap_err().message;
    for part in ["this version reads format 1", "De mo", "DROP TABLE", "there is no table \"t\""] {
        assert!(message.contains(part), "{message}");
    }
    assert!(Manifest::parse("surprise = 1").is_err());
    let escape = GOOD.replace("postgresql/t.tsv", "../../secret");
    assert!(Manifest::parse(&escape).unwrap_err().message.contains("no path inside a pack"));
}

#[test]
fn templates_that_give_aliases_are_told_from_others() {
    let templates = |json: serde_json::Value| -> Templates { serde_json::from_value(json).unwrap() };
    let gives = |json| templates(json).give_aliases();
    assert!(gives(serde_json::json!({"templates": {"a": {"aliases": {"x": {}}}}})));
    assert!(gives(serde_json::json!({"index_templates": {"a": {"template": {"aliases": {"x": {}}}}}})));
    assert!(!gives(
        serde_json::json!({"templates": {"a": {"aliases": {}}}, "index_templates": {"b": {"template": {}}}})
    ));
}
