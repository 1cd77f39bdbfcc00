//! Capturing a pack from stores: what of them belongs into it, and in which form. Reading the stores is `seed::capture`.
//!
//! What a server adds by itself is left out: it would differ each time, or refuse to be loaded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::pack::Templates;

/// The key in `_meta` of a mapping under which this program writes what it has loaded.
pub const RECEIPT: &str = "ecosystem";

/// How many digits of its digest follow the name of an index that a pack has brought.
pub const SUFFIX: usize = 8;

/// An index as `GET /` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name in a pack.
    pub name: String,
    /// Programs may use that name itself.
    pub exact: bool,
    pub aliases: BTreeSet<String>,
    /// What its file in the pack says.
    pub settings: Value,
}

/// What belongs into a pack of an index with this name.
pub fn index(real: &str, told: &Value) -> Found {
    let mut mappings = told.get("mappings").cloned().unwrap_or_else(|| json!({}));
    let ours = forget_receipt(&mut mappings);
    let told_aliases = told.get("aliases").and_then(Value::as_object);
    let aliases: BTreeSet<String> =
        told_aliases.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut settings = json!({"settings": lasting(told.get("settings")), "mappings": mappings});
    let special: Map<String, Value> = told_aliases
        .into_iter()
        .flatten()
        .filter(|(_, properties)| properties.as_object().is_some_and(|all| !all.is_empty()))
        .map(|(name, properties)| (name.clone(), properties.clone()))
        .collect();
    if !special.is_empty() {
        settings["aliases"] = Value::Object(special);
    }
    let stem = stem(real, &aliases, ours);
    Found { name: stem.unwrap_or(real).to_owned(), exact: stem.is_none(), aliases, settings }
}

/// The name without what was hung onto it, where programs use the aliases: the digest of a pack, or the time at which Invenio made the index.
fn stem<'a>(real: &'a str, aliases: &BTreeSet<String>, ours: bool) -> Option<&'a str> {
    let (stem, end) = real.rsplit_once('-')?;
    let digest = ours && end.len() == SUFFIX && end.bytes().all(|b| b.is_ascii_hexdigit());
    let stamped = aliases.contains(stem) && end.bytes().all(|b| b.is_ascii_digit());
    ((digest && !aliases.is_empty()) || stamped).then_some(stem)
}

/// Takes our receipt out of a mapping; whether there was one.
fn forget_receipt(mappings: &mut Value) -> bool {
    let Some(meta) = mappings.get_mut("_meta").and_then(Value::as_object_mut) else { return false };
    let ours = meta.shift_remove(RECEIPT).is_some();
    if ours
        && meta.is_empty()
        && let Some(mappings) = mappings.as_object_mut()
    {
        mappings.shift_remove("_meta");
    }
    ours
}

/// Settings of an index but for those that tell of this one alone.
fn lasting(settings: Option<&Value>) -> Value {
    let mut settings = settings.cloned().unwrap_or_else(|| json!({}));
    if let Some(index) = settings.get_mut("index").and_then(Value::as_object_mut) {
        for own in ["uuid", "creation_date", "provided_name", "version", "resize", "history_uuid"] {
            index.shift_remove(own);
        }
    }
    settings
}

/// Templates for indices, from the answers for each kind. Those of the server itself are left out.
pub fn templates(new: &Value, components: &Value, old: &Value) -> Templates {
    let listed = |answer: &Value, list: &str, body: &str| -> BTreeMap<String, Value> {
        let items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
        items
            .filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.get(body)?.clone())))
            .collect()
    };
    let old =
        old.as_object().into_iter().flatten().map(|(name, body)| (name.clone(), body.clone())).collect();
    let mut all = Templates {
        component_templates: listed(components, "component_templates", "component_template"),
        index_templates: listed(new, "index_templates", "index_template"),
        templates: old,
    };
    for templates in [&mut all.component_templates, &mut all.index_templates, &mut all.templates] {
        templates.retain(|name, _| !name.starts_with('.'));
    }
    all
}

/// What pg_dump wrote, without what only its own program understands, or only its own version, and without comments that tell of the server.
pub fn sql(dump: &str) -> String {
    let noise = |line: &&str| {
        line.starts_with("\\restrict ")
            || line.starts_with("\\unrestrict ")
            || *line == "--"
            // It is there in every database.
            || *line == "CREATE SCHEMA public;"
            || line.starts_with("COMMENT ON SCHEMA public IS ")
            || ["-- Name: ", "-- Dumped ", "-- PostgreSQL database dump"]
                .iter()
                .any(|word| line.starts_with(word))
    };
    let (mut text, mut preamble, mut empty) = (String::new(), true, true);
    for line in dump.lines().filter(|line| !noise(line)) {
        // The session's settings: some are unknown to older servers. That names are qualified matters, and stays.
        if preamble && line.starts_with("SET ") {
            continue;
        }
        preamble &= line.is_empty() || line.starts_with("SELECT pg_catalog.set_config(");
        if !(line.is_empty() && empty) {
            text.push_str(line);
            text.push('\n');
        }
        empty = line.is_empty();
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Whether the name of a table says that it belongs to an index: `rdm_records_metadata` to `invenio-rdmrecords-records-record-v6.0.0`.
pub fn related(table: &str, index: &str) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    plain(index).contains(&plain(table.strip_suffix("_metadata").unwrap_or(table)))
}

/// Whether an exchange or queue outlives the program that declared it, and is not the broker's own.
pub fn lasts(declared: &Map<String, Value>) -> bool {
    let is = |name: &str| declared.get(name).and_then(Value::as_bool).unwrap_or(false);
    let name = declared.get("name").and_then(Value::as_str).unwrap_or_default();
    is("durable") && !is("auto_delete") && !is("exclusive") && !name.is_empty() && !name.starts_with("amq.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(real: &str, aliases: &Value, meta: &Value) -> Found {
        let settings = json!({"index": {"uuid": "x", "version": {"created": "1"}, "number_of_shards": "1"}});
        index(
            real,
            &json!({"aliases": aliases, "settings": settings, "mappings": {"_meta": meta, "dynamic": "strict"}}),
        )
    }

    #[test]
    fn the_name_of_an_index_is_the_one_that_programs_use() {
        let both = json!({"records-v6": {}, "records": {}});
        let name = |real: &str, aliases: &Value, meta: &Value| {
            let found = found(real, aliases, meta);
            (found.name, found.exact)
        };
        let none = json!({});
        assert_eq!(name("records-v6-1795978013", &both, &none), ("records-v6".into(), false));
        assert_eq!(name("records-v6-percolators", &none, &none), ("records-v6-percolators".into(), true));
        // An alias that is not the name: somebody may write to the index itself.
        assert_eq!(name("logs-1795978013", &both, &none), ("logs-1795978013".into(), true));
        let ours = json!({"ecosystem": {"pack": "demo"}});
        assert_eq!(name("logs-0a1b2c3d", &both, &ours), ("logs".into(), false));
        assert_eq!(name("logs-0a1b2c3d", &both, &none), ("logs-0a1b2c3d".into(), true));
        assert_eq!(name("logs-0a1b2c3d", &none, &ours), ("logs-0a1b2c3d".into(), true));
    }

    #[test]
    fn what_the_server_and_we_have_added_is_left_out() {
        let aliases = json!({"plain": {}, "some": {"filter": {"term": {"a": 1}}}});
        let found = found("i", &aliases, &json!({"ecosystem": {"pack": "demo"}}));
        let wanted = json!({
            "settings": {"index": {"number_of_shards": "1"}},
            "mappings": {"dynamic": "strict"},
            "aliases": {"some": {"filter": {"term": {"a": 1}}}},
        });
        assert_eq!(found.settings, wanted);
        assert_eq!(found.aliases, ["plain", "some"].map(str::to_owned).into());
        let theirs = super::tests::found("i", &json!({}), &json!({"theirs": 1})).settings;
        assert_eq!(theirs["mappings"]["_meta"], json!({"theirs": 1}));
    }

    #[test]
    fn templates_are_those_of_applications() {
        let new = json!({"index_templates": [{"name": "a", "index_template": {"index_patterns": ["a-*"]}}, {"name": ".own", "index_template": {}}]});
        let old = json!({"stats": {"order": 0}});
        let all = serde_json::to_value(templates(&new, &json!({"component_templates": []}), &old)).unwrap();
        let wanted = json!({"index_templates": {"a": {"index_patterns": ["a-*"]}}, "templates": {"stats": {"order": 0}}});
        assert_eq!(all, wanted);
        assert!(templates(&json!({}), &json!({}), &json!({})).is_empty());
    }

    #[test]
    fn a_dump_can_be_run_by_any_client() {
        let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\n-- Dumped from database version 12.22\n\nSET statement_timeout = 0;\n\
                    SELECT pg_catalog.set_config('search_path', '', false);\nSET row_security = off;\n\n--\n-- Name: public; Type: SCHEMA\n--\n\nCREATE SCHEMA public;\n\n--\n-- Name: a; Type: TABLE\n--\n\n\
                    CREATE TABLE public.a (\n    id integer\n);\n\n\nSET default_tablespace = '';\n\n\\unrestrict x\n\n--\n-- PostgreSQL database dump complete\n--\n";
        let wanted = "SELECT pg_catalog.set_config('search_path', '', false);\n\nCREATE TABLE public.a (\n    id integer\n);\n\nSET default_tablespace = '';\n";
        assert_eq!(sql(dump), wanted);
    }

    #[test]
    fn a_table_belongs_to_the_index_of_its_name() {
        let index = "invenio-rdmrecords-records-record-v6.0.0";
        assert!(related("rdm_records_metadata", index) && !related("rdm_drafts_metadata", index));
        assert!(related("vocabularies_metadata", "invenio-vocabularies-vocabulary-v1.0.0"));
    }

    #[test]
    fn what_ends_with_its_program_is_left_out() {
        let queue = |value: Value| lasts(value.as_object().unwrap());
        assert!(queue(json!({"name": "celery", "durable": true, "auto_delete": false})));
        assert!(!queue(json!({"name": "celeryev.1", "durable": true, "auto_delete": true})));
        assert!(!queue(json!({"name": "reply", "durable": false, "auto_delete": false})));
        assert!(!queue(json!({"name": "amq.direct", "durable": true})));
    }
}
