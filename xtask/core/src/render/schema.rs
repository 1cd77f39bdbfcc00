//! The JSON Schema of the manifest, for editors, and the table of its keys, for the documentation.
//!
//! Both come from the one table of keys. What a schema cannot say (ports that collide, profiles in circles) only the
//! program says.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::catalog::Kind;
use crate::model::{KEYS, Key, Shape};
use crate::release;

/// Names of services, profiles and roles.
const NAME: &str = "^[a-z][a-z0-9-]*$";

/// The schema of `ecosystem.toml`, draft 2020-12.
pub fn schema() -> Value {
    let mut schema = table(&KEYS.iter().map(|key| (key.path, key)).collect::<Vec<_>>());
    let head = [
        ("$schema", "https://json-schema.org/draft/2020-12/schema"),
        ("title", "ecosystem.toml"),
        ("description", "What an Invenio or OARepo repository needs around it."),
    ];
    let mut whole: Map<String, Value> =
        head.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect();
    if let Value::Object(body) = &mut schema {
        whole.append(body);
    }
    if let Some(property) = whole.get_mut("properties").and_then(|all| all.get_mut("release")) {
        property["enum"] = release::names().collect();
    }
    Value::Object(whole)
}

/// The schema of a table with these keys below it, each with what is left of its path.
fn table(keys: &[(&str, &Key)]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for (path, _) in keys {
        let (name, _) = split(path);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut properties = Map::new();
    let mut others = None;
    for name in names {
        let below: Vec<(&str, &Key)> = keys
            .iter()
            .filter(|(path, _)| split(path).0 == name)
            .map(|(path, key)| (split(path).1, *key))
            .collect();
        let schema = match below.as_slice() {
            [("", key)] => leaf(key),
            below => table(below),
        };
        if name.starts_with('<') {
            others = Some((name, schema));
        } else {
            properties.insert(name.to_owned(), schema);
        }
    }
    match others {
        // In a table of free names there are no others.
        Some((name, schema)) => {
            let pattern = match name {
                "<setting>" => "^[A-Za-z][A-Za-z0-9._-]*$",
                "<variable>" => "^[A-Za-z_][A-Za-z0-9_]*$",
                _ => NAME,
            };
            json!({ "type": "object", "propertyNames": { "pattern": pattern }, "additionalProperties": schema })
        }
        None => json!({ "type": "object", "properties": properties, "additionalProperties": false }),
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('.').unwrap_or((path, ""))
}

/// The schema of one value.
fn leaf(key: &Key) -> Value {
    let mut schema = match key.shape {
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Image => json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._/:@-]*$" }),
        Shape::Kind => json!({ "enum": Kind::ALL.map(Kind::name) }),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::Heap => json!({ "type": "string", "pattern": "^[1-9][0-9]{0,5}[mgMG]$" }),
        Shape::Archive => {
            json!({ "type": "string", "pattern": "^(https?://[^/@]+|file://)/.*\\.(tar\\.gz|tgz|tar\\.xz|txz|zip)([?#].*)?$" })
        }
        Shape::Digits(count) => json!({ "type": "string", "pattern": format!("^[0-9a-fA-F]{{{count}}}$") }),
        Shape::Offset => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
        Shape::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Shape::Members => list("^@?[a-z][a-z0-9-]*$"),
        Shape::Names => list("^[a-z0-9_-]+$"),
        Shape::Buckets => list("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
        Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Words => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        Shape::Services => list(NAME),
    };
    schema["description"] = key.doc.into();
    schema
}

fn list(pattern: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": pattern } })
}

/// The keys as a Markdown table.
pub fn reference() -> String {
    let mut text = "| key | value | |\n| --- | --- | --- |\n".to_owned();
    for key in KEYS {
        let _ = writeln!(text, "| `{}` | {} | {} |", key.path, key.shape.expected(), key.doc);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema of a value at a dotted path.
    fn at(path: &str) -> Value {
        path.split('.').fold(schema(), |schema, name| {
            let next = if name.starts_with('<') {
                &schema["additionalProperties"]
            } else {
                &schema["properties"][name]
            };
            assert!(next.is_object(), "{path}: nothing at {name}");
            next.clone()
        })
    }

    #[test]
    fn every_key_is_in_it_with_its_line_of_documentation() {
        for key in KEYS {
            assert_eq!(at(key.path)["description"], key.doc, "{}", key.path);
        }
    }

    #[test]
    fn tables_are_closed_or_say_what_names_they_take() {
        assert_eq!(schema()["additionalProperties"], false);
        assert_eq!(at("services.<service>")["additionalProperties"], false);
        assert_eq!(at("services")["propertyNames"]["pattern"], NAME);
    }

    #[test]
    fn it_says_what_editors_need() {
        assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(at("release")["enum"], json!(["documented", "v11", "v12", "v13", "v14", "oarepo-14"]));
        insta::assert_snapshot!(serde_json::to_string_pretty(&at("services.<service>.ports")).unwrap(), @r#"
        {
          "type": "object",
          "propertyNames": {
            "pattern": "^[a-z][a-z0-9-]*$"
          },
          "additionalProperties": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65535,
            "description": "The port of one role of the service, before the offset."
          }
        }
        "#);
        insta::assert_snapshot!(serde_json::to_string(&at("services.<service>.kind")).unwrap(), @r#"{"enum":["postgresql","redis","rabbitmq","opensearch","dashboards","pgadmin","minio","invenio","process"],"description":"What the service is; its own name where this is left out."}"#);
    }

    #[test]
    fn the_manifest_of_this_project_fits_it() {
        let manifest: Value = toml::from_str(include_str!("../../../../ecosystem.toml")).unwrap();
        fits(&manifest, &schema(), "ecosystem.toml");
    }

    /// As much of a validator as this schema needs: types and closed tables.
    fn fits(value: &Value, schema: &Value, place: &str) {
        if let Some(words) = schema["enum"].as_array() {
            return assert!(words.contains(value), "{place}");
        }
        let kind = match value {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::Number(_) => "integer",
            _ => "string",
        };
        assert_eq!(schema["type"], kind, "{place}");
        for (name, value) in value.as_object().into_iter().flatten() {
            let below = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
            assert!(below.is_object(), "{place}.{name} is not in the schema");
            fits(value, below, &format!("{place}.{name}"));
        }
    }

    #[test]
    fn the_reference_has_a_row_for_every_key() {
        let text = reference();
        assert_eq!(text.lines().count(), KEYS.len() + 2);
        assert!(text.lines().all(|line| line.matches('|').count() == 4), "{text}");
    }
}
