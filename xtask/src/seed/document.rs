//! A line of a file of documents: what OpenSearch is told of it. Files are `seed::pack`, sending is `client::opensearch`.

use std::borrow::Cow;

use ecosystem_core::pack::Index;
use serde_json::Value;

use crate::client::opensearch::Hit;

/// The document on a line. Most of it is not looked at: whoever loads it has checked it, and the server does.
pub(super) fn read<'a>(line: &'a [u8], index: &Index) -> Result<Hit<'a>, String> {
    let line = text(line)?;
    match &index.id {
        Some(field) => Ok(Hit { id: id_of(line, field)?, version: None, routing: None, source: line }),
        None => plain_hit(line).map_or_else(|| any_hit(line), Ok),
    }
}

/// Reads a line to its end: whatever can be wrong with it is found.
pub(super) fn check(line: &[u8], index: &Index) -> Result<(), String> {
    let value: Value = text(line)?.parse().map_err(says)?;
    match &index.id {
        Some(field) if !value.get(field).is_some_and(Value::is_string) => {
            Err(format!("there is no text called {field:?}"))
        }
        Some(_) => Ok(()),
        None => {
            let hit = any_hit(text(line)?)?;
            if plain_hit(text(line)?).is_some_and(|plain| plain != hit) {
                return Err("something follows its `_source`, which comes last".to_owned());
            }
            if hit.id.is_empty() || !value["_source"].is_object() {
                return Err("its `_id` is empty, or its `_source` is no object".to_owned());
            }
            Ok(())
        }
    }
}

/// The line that stands for a document.
pub(super) fn write(hit: &Hit<'_>, line: &mut Vec<u8>) {
    let quoted = |text: &str| Value::from(text).to_string();
    line.extend_from_slice(format!("{{\"_id\":{}", quoted(&hit.id)).as_bytes());
    if let Some(version) = hit.version {
        line.extend_from_slice(format!(",\"_version\":{version}").as_bytes());
    }
    if let Some(routing) = &hit.routing {
        line.extend_from_slice(format!(",\"_routing\":{}", quoted(routing)).as_bytes());
    }
    line.extend_from_slice(b",\"_source\":");
    // Between the parts of a JSON text a new line is as good as a space, and inside a string there is none.
    line.extend(hit.source.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    line.extend_from_slice(b"}\n");
}

/// The hit as `write` writes most of them.
fn plain_hit(line: &str) -> Option<Hit<'_>> {
    let (id, rest) = line.strip_prefix("{\"_id\":\"")?.split_once('"')?;
    let (version, source) = rest.strip_prefix(",\"_version\":")?.split_once(",\"_source\":")?;
    let plain =
        !id.contains('\\') && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let source = source.strip_suffix('}').filter(|_| plain)?;
    Some(Hit { id: id.into(), version: version.parse().ok(), routing: None, source })
}

fn any_hit(line: &str) -> Result<Hit<'_>, String> {
    serde_json::from_str(line).map_err(says)
}

/// The id of a document. Where it comes first, as it mostly does, the rest is not read.
fn id_of<'a>(line: &'a str, field: &str) -> Result<Cow<'a, str>, String> {
    let first = line
        .strip_prefix("{\"")
        .and_then(|rest| rest.strip_prefix(field))
        .and_then(|rest| rest.strip_prefix("\":\""))
        .and_then(|rest| rest.split_once('"'));
    match first {
        Some((id, _)) if !id.contains('\\') => Ok(id.into()),
        _ => {
            let value: Value = line.parse().map_err(says)?;
            let id = value.get(field).and_then(Value::as_str);
            id.map(|id| id.to_owned().into()).ok_or_else(|| format!("there is no text called {field:?}"))
        }
    }
}

pub(super) fn text(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())
}

fn says(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(id: Option<&str>) -> Index {
        let path = |path: &str| path.to_owned().try_into().unwrap();
        Index {
            name: "i".into(),
            exact: true,
            aliases: Vec::new(),
            settings: path("i.json"),
            documents: path("i.ndjson"),
            id: id.map(ToOwned::to_owned),
            table: None,
            from_rows: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let source = "{\"a\":1}";
        for (id, version, routing) in [
            ("x", Some(3), None),
            ("a \"b\" \\", Some(1), None),
            ("y", None, Some("r\"")),
            ("z", Some(2), Some("r")),
        ] {
            let hit = Hit { id: id.into(), version, routing: routing.map(Into::into), source };
            let mut line = Vec::new();
            write(&hit, &mut line);
            let line = line.strip_suffix(b"\n").unwrap();
            assert_eq!(read(line, &index(None)), Ok(hit));
            assert_eq!(check(line, &index(None)), Ok(()));
        }
    }

    #[test]
    fn a_document_is_one_line() {
        let mut line = Vec::new();
        write(
            &Hit { id: "1".into(), version: None, routing: None, source: "{\n \"a\": \"b\\n\"\r\n}" },
            &mut line,
        );
        assert_eq!(String::from_utf8(line).unwrap(), "{\"_id\":\"1\",\"_source\":{  \"a\": \"b\\n\"  }}\n");
    }

    #[test]
    fn the_id_may_be_a_field() {
        let hit = read(br#"{"uuid":"x","a":1}"#, &index(Some("uuid"))).unwrap();
        assert_eq!((&*hit.id, hit.source), ("x", r#"{"uuid":"x","a":1}"#));
        assert_eq!(read(br#"{"a":1, "uuid": "y"}"#, &index(Some("uuid"))).unwrap().id, "y");
        assert!(read(br#"{"a":1}"#, &index(Some("uuid"))).is_err());
    }

    #[test]
    fn lines_that_are_no_hit_are_refused() {
        for bad in [
            r#"{"_id":"x"}"#,
            r#"{"_id":"","_source":{}}"#,
            r#"{"_id":"x","_source":7}"#,
            r#"{"_id":"x","_version":-1,"_source":{}}"#,
            r#"{"_id":"x","_version":1,"_source":{}} {}"#,
            r#"{"_id":"x","_version":1,"_source":{},"_index":"other"}"#,
            r#"{"_id":"x","_version":1,"_source":{},"_routing":"r"}"#,
        ] {
            assert!(check(bad.as_bytes(), &index(None)).is_err(), "{bad}");
        }
    }
}
