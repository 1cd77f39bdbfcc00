//! One layer of the model, read from the text of a manifest: syntax, keys and shapes, all problems in one run.
//!
//! What the values mean together (duplicate ports, unknown profile members) is `resolve.rs`: it sees all layers.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Shape, Value};
use super::problem::MOST;
use super::{Origin, Problem, suggest};

/// What one layer says, value by value.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub entries: Vec<Entry>,
    pub problems: Vec<Problem>,
}

/// One value and its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Segments of the key: `["services", "redis", "ports", "redis"]`.
    pub path: Vec<String>,
    pub value: Value,
    pub origin: Origin,
}

/// Reads one layer.
pub(super) fn parse(name: &str, text: &str) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(name, text);
    for error in errors.into_iter().take(MOST) {
        let at = error.span().map_or(0, |span| span.start);
        // One slip often breaks the rules of the syntax several times over.
        if reader.broken.insert(reader.line(at)) {
            let what = format!("this is not TOML: {}", error.message().trim());
            reader.problem(at, what, "put texts in \"quotes\", one `key = value` a line, each key once");
        }
    }
    let unreadable = std::mem::take(&mut reader.parsed.problems);
    reader.table(table.get_ref(), &mut Vec::new());
    let Reader { mut broken, mut parsed, .. } = reader;
    spread(text, &mut broken);
    // What recovery made of a broken line is neither a value nor worth a second message.
    parsed.problems.retain(|problem| problem.line.is_none_or(|line| !broken.contains(&line)));
    parsed
        .entries
        .retain(|entry| !matches!(entry.origin, Origin::File { line, .. } if broken.contains(&line)));
    parsed.problems.extend(unreadable);
    parsed.problems.sort_by_key(|problem| problem.line);
    parsed
}

/// A broken table header leaves the lines below it without their table: they are as unreadable as itself.
fn spread(text: &str, broken: &mut BTreeSet<usize>) {
    let mut below = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with('[') {
            below = broken.contains(&line);
        } else if below {
            broken.insert(line);
        }
    }
}

struct Reader<'a> {
    name: &'a str,
    /// Where lines end.
    ends: Vec<usize>,
    /// Lines with a syntax error.
    broken: BTreeSet<usize>,
    parsed: Parsed,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self { name, ends: ends.collect(), broken: BTreeSet::new(), parsed: Parsed::default() }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }

    fn origin(&self, at: usize) -> Origin {
        Origin::File { name: self.name.to_owned(), line: self.line(at) }
    }

    fn problem(&mut self, at: usize, what: impl Into<String>, way_out: impl Into<String>) {
        let problem = Problem::at(&self.origin(at), what, way_out);
        self.parsed.problems.push(problem);
    }

    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) {
        for (key, value) in table {
            if self.parsed.problems.len() >= MOST {
                return;
            }
            let at = key.span().start;
            path.push(key.get_ref().to_string());
            if let Some(below) = self.known(path, at) {
                self.value(value.get_ref(), &below, path, at);
            }
            path.pop();
        }
    }

    /// The keys that this path is, or leads to; a path that is neither becomes a problem.
    fn known(&mut self, path: &[String], at: usize) -> Option<Vec<&'static Key>> {
        let (name, parent) = path.split_last()?;
        let here: Vec<&Key> = KEYS.iter().filter(|key| leads(key, parent)).collect();
        let segment = |key: &Key| key.path.split('.').nth(parent.len()).unwrap_or_default();
        let below: Vec<&Key> = here.iter().copied().filter(|key| leads(key, path)).collect();
        let Some(first) = below.first() else {
            let words: BTreeSet<&str> = here.iter().map(|key| segment(key)).collect();
            self.problem(
                at,
                format!("unknown key `{}`{}", short(name), inside(parent)),
                suggest::way_out(name, words.iter().copied()),
            );
            return None;
        };
        let (fits, rule) = match segment(first) {
            "<setting>" => {
                (keys::is_setting(name), "names of settings consist of letters, digits, dots, _ and -")
            }
            "<variable>" => (keys::is_variable(name), "names of variables consist of letters, digits and _"),
            "<service>" | "<profile>" => {
                (keys::is_name(name), "names start with a letter and consist of at most 63 of a-z, 0-9 and -")
            }
            _ => (true, ""),
        };
        if !fits {
            self.problem(at, format!("`{}` is not a name{}", short(name), inside(parent)), rule);
            return None;
        }
        Some(below)
    }

    fn value(&mut self, value: &DeValue<'_>, below: &[&'static Key], path: &mut Vec<String>, at: usize) {
        let leaf = below.iter().find(|key| key.path.split('.').count() == path.len());
        match (leaf, value) {
            (Some(key), value) => match key.shape.read(value) {
                Some(value) => self.entry(path, value, at),
                None => self.wrong(key.shape, value, path, at),
            },
            (None, DeValue::Table(table)) => {
                self.entry(path, Value::Present, at);
                self.table(table, path);
            }
            (None, other) => {
                let way_out = format!("write [{}] and its keys below it", path.join("."));
                self.problem(at, format!("{} is {}, not a table", path.join("."), shown(other)), way_out);
            }
        }
    }

    fn entry(&mut self, path: &[String], value: Value, at: usize) {
        let origin = self.origin(at);
        self.parsed.entries.push(Entry { path: path.to_vec(), value, origin });
    }

    fn wrong(&mut self, shape: Shape, value: &DeValue<'_>, path: &[String], at: usize) {
        let mut way_out = format!("write {}", shape.expected());
        if let (Shape::Scalar, DeValue::Table(_), Some(name)) = (shape, value, path.last()) {
            way_out = format!("for a setting with a dot in its name write \"{name}.…\" = … in quotes");
        }
        if let (Shape::OneOf(words), Some(text)) = (shape, value.as_str())
            && let Some(meant) = suggest::nearest(text, words.iter().copied())
        {
            way_out = format!("did you mean \"{meant}\"?");
        }
        if let ([.., "command"], Some(text)) =
            (path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), value.as_str())
        {
            way_out = format!("write {}", command_line(text));
            // It is there, so it is not missing.
            self.entry(path, Value::Present, at);
        }
        self.problem(at, format!("{} is {}", path.join("."), shown(value)), way_out);
    }
}

/// A command that was written as one text, as the words that it consists of. There is no shell that would read it; what only a shell
/// understands is given to one.
fn command_line(text: &str) -> String {
    let plain = !text.contains(['"', '\'', '\\', '|', '&', ';', '<', '>', '$', '`', '*', '(']);
    let words: Vec<&str> = if plain { text.split_whitespace().collect() } else { vec!["sh", "-c", text] };
    let words: Vec<String> = words.into_iter().map(|word| toml::Value::from(word).to_string()).collect();
    format!("command = [{}]", words.join(", "))
}

/// Whether the key is this path, or lies below it.
fn leads(key: &Key, path: &[String]) -> bool {
    let mut segments = key.path.split('.');
    path.iter().all(|name| segments.next().is_some_and(|segment| segment == name || segment.starts_with('<')))
}

fn inside(parent: &[String]) -> String {
    if parent.is_empty() { String::new() } else { format!(" in {}", parent.join(".")) }
}

/// A value for a message: short, on one line.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty text".to_owned(),
        DeValue::String(_) => format!("the text {}", brief(value)),
        DeValue::Integer(_) | DeValue::Float(_) => format!("the number {}", brief(value)),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().take(8).map(|item| brief(item.get_ref())).collect();
            format!("the list [{}]", items.join(", "))
        }
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The beginning of a text, without anything that a terminal could act upon.
fn short(text: &str) -> String {
    let begin: String = text.chars().take(40).collect();
    let more = if begin.len() < text.len() { "…" } else { "" };
    format!("{}{more}", begin.escape_debug())
}

/// A value as it could have been written.
fn brief(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            format!("\"{}\"", short(text))
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        other => format!("a {}", other.type_str()),
    }
}

#[cfg(test)]
#[path = "manifest_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let lines: Vec<String> = parse("ecosystem.toml", text)
            .problems
            .iter()
            .map(|p| format!("{}: {} | {}", p.place(), p.what, p.way_out))
            .collect();
        lines.join("\n")
    }

    fn entries(text: &str) -> Vec<String> {
        let parsed = parse("m", text);
        assert_eq!(parsed.problems, []);
        parsed.entries.iter().map(|e| format!("{} {} {:?}", e.origin, e.path.join("/"), e.value)).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let text =
            "bind = \"127.0.0.1\"\n\n[services.redis]\nports = { redis = 1 }\nsettings.maxmemory = 5\n";
        assert_eq!(
            entries(text),
            [
                "m:1 bind Text(\"127.0.0.1\")",
                "m:3 services Present",
                "m:3 services/redis Present",
                "m:4 services/redis/ports Present",
                "m:4 services/redis/ports/redis Number(1)",
                "m:5 services/redis/settings Present",
                "m:5 services/redis/settings/maxmemory Text(\"5\")",
            ]
        );
    }

    #[test]
    fn everything_that_is_wrong_arrives_in_one_run() {
        let text = r#"relase = "documented"
bind = 127
port_offset = "100"
[profile]
core = []
[profiles]
Core = ["redis"]
mine = ["re dis"]
[services.redis]
prots = { redis = 6579 }
ports = { redis = 70000 }
form = "store"
from = "stor"
[services.redis.settings]
maxmemory = { a = 1 }
"save 60" = "1"
[services.opensearch]
heap = "512"
modules = "geo"
[services]
minio = true
"#;
        insta::assert_snapshot!(problems(text), @r#"
        ecosystem.toml:1: unknown key `relase` | did you mean `release`?
        ecosystem.toml:2: bind is the number 127 | write a text in quotes, on one line
        ecosystem.toml:3: port_offset is the text "100" | write a number from 0 to 65535
        ecosystem.toml:4: unknown key `profile` | did you mean `profiles`?
        ecosystem.toml:7: `Core` is not a name in profiles | names start with a letter and consist of at most 63 of a-z, 0-9 and -
        ecosystem.toml:8: profiles.mine is the list ["re dis"] | write a list of service names such as ["redis", "@core"]
        ecosystem.toml:10: unknown key `prots` in services.redis | did you mean `ports`?
        ecosystem.toml:11: services.redis.ports.redis is the number 70000 | write a port from 1 to 65535
        ecosystem.toml:12: unknown key `form` in services.redis | did you mean `from`?
        ecosystem.toml:13: services.redis.from is the text "stor" | did you mean "store"?
        ecosystem.toml:15: services.redis.settings.maxmemory is a table | for a setting with a dot in its name write "maxmemory.…" = … in quotes
        ecosystem.toml:16: `save 60` is not a name in services.redis.settings | names of settings consist of letters, digits, dots, _ and -
        ecosystem.toml:18: services.opensearch.heap is the text "512" | write a size such as "512m" or "2g"
        ecosystem.toml:19: services.opensearch.modules is the text "geo" | write a list of names such as ["analysis-icu"], each of a-z, 0-9, _ and -
        ecosystem.toml:21: services.minio is true, not a table | write [services.minio] and its keys below it
        "#);
    }

    #[test]
    fn broken_syntax_does_not_hide_the_rest() {
        let text = "bind = 127.0.0.1\nrelease = \"documented\nseed = \"a\"\nseed = \"b\"\nprots = 1\n[services.redis\nfrom = 3\n";
        insta::assert_snapshot!(problems(text), @r#"
        ecosystem.toml:1: this is not TOML: invalid float, expected nothing | put texts in "quotes", one `key = value` a line, each key once
        ecosystem.toml:2: this is not TOML: invalid basic string, expected `"` | put texts in "quotes", one `key = value` a line, each key once
        ecosystem.toml:4: this is not TOML: duplicate key | put texts in "quotes", one `key = value` a line, each key once
        ecosystem.toml:5: unknown key `prots` | known here: backend, bind, port_offset, profiles, release, seed, services
        ecosystem.toml:6: this is not TOML: unclosed table, expected `]` | put texts in "quotes", one `key = value` a line, each key once
        "#);
    }

    #[test]
    fn the_shapes_of_a_process() {
        let text = r#"[services.mail]
command = "aiosmtpd -n"
ready = "smtp"
after = ["@core"]
restart = "on-failur"
cwd = 1
[services.mail.env]
A = [1]
"B-C" = "1"
[services.web.ready]
tpc = "web"
"#;
        insta::assert_snapshot!(problems(text), @r#"
        ecosystem.toml:2: services.mail.command is the text "aiosmtpd -n" | write command = ["aiosmtpd", "-n"]
        ecosystem.toml:3: services.mail.ready is the text "smtp", not a table | write [services.mail.ready] and its keys below it
        ecosystem.toml:4: services.mail.after is the list ["@core"] | write a list of service names such as ["redis"]
        ecosystem.toml:5: services.mail.restart is the text "on-failur" | did you mean "on-failure"?
        ecosystem.toml:6: services.mail.cwd is the number 1 | write a text in quotes, on one line
        ecosystem.toml:8: services.mail.env.A is the list [1] | write a text on one line, a number, true or false
        ecosystem.toml:9: `B-C` is not a name in services.mail.env | names of variables consist of letters, digits and _
        ecosystem.toml:11: unknown key `tpc` in services.web.ready | did you mean `tcp`?
        "#);
    }

    #[test]
    fn strange_files_are_problems_not_crashes() {
        for text in
            ["", "\n\n", "# only a comment", "\u{feff}bind = \"127.0.0.1\"\n", "bind = \"127.0.0.1\"\r\n"]
        {
            assert_eq!(problems(text), "", "{text:?}");
        }
        for text in [
            "\0",
            "=",
            "[",
            "[[services]]",
            "[services.redis]\n[services.redis]",
            "a.b.c = 1",
            "<<<<<<< HEAD",
        ] {
            assert_ne!(problems(text), "", "{text:?}");
        }
        let deep = format!("bind = {}{}", "[".repeat(500), "]".repeat(500));
        assert_ne!(problems(&deep), "");
    }
}
