//! Every report as JSON against its declaration in `docs/json.md`: nothing is missing there, and nothing is there that is not told.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Place, Run, repository};
use crate::tidy::none;

/// A type of the page.
#[derive(Debug, Clone)]
enum Type {
    Word(String),
    Literal(String),
    List(Box<Type>),
    Record(Box<Type>),
    /// Fields by name, each with whether it may be absent.
    Object(BTreeMap<String, (bool, Type)>),
    Union(Vec<Type>),
}

/// The declarations of `docs/json.md`.
struct Page(BTreeMap<String, Type>);

/// Reads the few forms of TypeScript that the page uses.
struct Parser {
    words: Vec<String>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
        let code = code.join("\n");
        let mut chars = code.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                _ if c.is_whitespace() => {}
                '"' => {
                    words.push(format!("\"{}", chars.by_ref().take_while(|c| *c != '"').collect::<String>()));
                }
                _ if c.is_alphanumeric() || c == '_' => {
                    let mut word = c.to_string();
                    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                        word.push(c);
                    }
                    words.push(word);
                }
                _ => words.push(c.to_string()),
            }
        }
        Self { words, at: 0 }
    }

    fn peek(&self) -> &str {
        self.words.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.words[self.at - 1].clone()
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        self.at += usize::from(found);
        found
    }

    #[track_caller]
    fn expect(&mut self, word: &str) {
        assert!(self.accept(word), "docs/json.md: {word} expected before {:?}", &self.words[self.at..]);
    }

    fn declarations(mut self) -> BTreeMap<String, Type> {
        let mut all = BTreeMap::new();
        while !self.peek().is_empty() {
            let (form, name) = (self.next(), self.next());
            if form == "type" {
                self.expect("=");
            }
            let kind = self.union();
            self.accept(";");
            assert!(all.insert(name.clone(), kind).is_none(), "docs/json.md declares {name} twice");
        }
        all
    }

    fn union(&mut self) -> Type {
        let mut all = vec![self.postfix()];
        while self.accept("|") {
            all.push(self.postfix());
        }
        if all.len() == 1 { all.remove(0) } else { Type::Union(all) }
    }

    fn postfix(&mut self) -> Type {
        let mut kind = self.primary();
        while self.accept("[") {
            self.expect("]");
            kind = Type::List(Box::new(kind));
        }
        kind
    }

    fn primary(&mut self) -> Type {
        let word = self.next();
        if let Some(text) = word.strip_prefix('"') {
            return Type::Literal(text.to_owned());
        }
        if word == "Record" {
            self.expect("<");
            self.expect("string");
            self.expect(",");
            let kind = self.union();
            self.expect(">");
            return Type::Record(Box::new(kind));
        }
        if word != "{" {
            return Type::Word(word);
        }
        let mut fields = BTreeMap::new();
        while !self.accept("}") {
            let name = self.next().trim_start_matches('"').to_owned();
            let optional = self.accept("?");
            self.expect(":");
            fields.insert(name, (optional, self.union()));
            self.accept(";");
        }
        Type::Object(fields)
    }
}

impl Page {
    fn read() -> Self {
        let text = std::fs::read_to_string(repository().join("docs/json.md")).unwrap();
        let blocks: Vec<&str> =
            text.split("```ts\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        Self(Parser::new(&blocks.join("\n")).declarations())
    }

    /// What does not fit, with the way to it.
    fn problems(&self, kind: &Type, value: &Value, at: &str) -> Vec<String> {
        let wrong = |expected: &str| vec![format!("{at}: {value} is not {expected}")];
        match (kind, value) {
            (Type::Word(word), _) => match (word.as_str(), value) {
                ("string", Value::String(_))
                | ("number", Value::Number(_))
                | ("boolean", Value::Bool(_))
                | ("null", Value::Null) => vec![],
                ("string" | "number" | "boolean" | "null", _) => wrong(word),
                (name, _) => match self.0.get(name) {
                    Some(kind) => self.problems(kind, value, at),
                    None => vec![format!("docs/json.md does not declare {name}")],
                },
            },
            (Type::Literal(text), Value::String(found)) if text == found => vec![],
            (Type::List(kind), Value::Array(items)) => {
                let each = items.iter().enumerate();
                each.flat_map(|(index, item)| self.problems(kind, item, &format!("{at}[{index}]"))).collect()
            }
            (Type::Record(kind), Value::Object(fields)) => {
                let each = fields.iter();
                each.flat_map(|(name, value)| self.problems(kind, value, &format!("{at}.{name}"))).collect()
            }
            (Type::Object(declared), Value::Object(fields)) => {
                let mut problems = Vec::new();
                for (name, (optional, kind)) in declared {
                    match fields.get(name) {
                        Some(value) => problems.extend(self.problems(kind, value, &format!("{at}.{name}"))),
                        None if *optional => {}
                        None => problems.push(format!("{at}.{name} is missing")),
                    }
                }
                let unknown = fields.keys().filter(|name| !declared.contains_key(*name));
                problems.extend(unknown.map(|name| format!("{at}.{name} is not in docs/json.md")));
                problems
            }
            (Type::Union(kinds), _) => {
                let fits = kinds.iter().any(|kind| self.problems(kind, value, at).is_empty());
                if fits { vec![] } else { wrong(&format!("{kinds:?}")) }
            }
            (other, _) => wrong(&format!("{other:?}")),
        }
    }
}

/// Insists that a value is what the page says of this type.
#[track_caller]
pub(crate) fn fits(kind: &str, value: &Value) {
    let page = Page::read();
    assert!(page.0.contains_key(kind), "docs/json.md does not declare {kind}");
    none(&page.problems(&Type::Word(kind.to_owned()), value, kind));
}

#[test]
fn a_value_that_does_not_fit_is_found() {
    let page = Page::read();
    let problems = |kind: &str, text: &str| {
        page.problems(&Type::Word(kind.to_owned()), &serde_json::from_str(text).unwrap(), "x")
    };
    assert_eq!(problems("Stopped", r#"{"stopped": ["a"], "deleted": []}"#), [""; 0]);
    assert_eq!(
        problems("Stopped", r#"{"stopped": [1]}"#),
        ["x.deleted is missing", "x.stopped[0]: 1 is not string"]
    );
    assert_eq!(problems("Written", r#"{"file": "a", "mode": 1}"#), ["x.mode is not in docs/json.md"]);
    assert_eq!(problems("Action", r#"{"do": "stop", "what": "redis"}"#), [""; 0]);
    for wrong in
        [r#"{"do": "stop"}"#, r#"{"do": "dance", "what": "redis"}"#, r#"{"do": "replace", "what": ""}"#]
    {
        assert_eq!(problems("Action", wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn every_command_is_on_the_page() {
    let text = std::fs::read_to_string(repository().join("docs/json.md")).unwrap();
    let help = Place::new().ok(&["help"]).stdout;
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names =
        commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let lost: Vec<String> = names
        .filter(|name| *name != "help" && !text.contains(&format!("`{name}`")))
        .map(ToOwned::to_owned)
        .collect();
    none(&lost);
    let page = Page::read();
    let told: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`')).collect();
    none(
        &told
            .iter()
            .filter(|w| w.starts_with(char::is_uppercase) && !page.0.contains_key(**w))
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn commands_without_heavy_servers_print_what_the_page_says() {
    let place = Place::new();
    fits("Status", &place.json(&["status"]));
    fits("Check", &place.json(&["check"]));
    fits("Planned", &place.json(&["up", "--dry-run"]));
    fits("Provided", &place.json(&["provision", "redis"]));
    fits("Toolchain", &place.json(&["provision", "--tools"]));
    fits("Provided", &place.json(&["provision", "redis", "--bundle", "bundle"]));
    let store = place.root.join("store");
    std::fs::create_dir_all(store.join("tmp/left-over")).unwrap();
    let mut clean = place.command(&["provision", "--clean", "--dry-run", "--format", "json"]);
    fits("Cleaned", &serde_json::from_str(&Run::of(clean.env("ECOSYSTEM_STORE", store)).stdout).unwrap());
    fits("Running", &place.json(&["up", "redis"]));
    fits("Running", &place.json(&["up", "redis"]));
    place.manifest("services.redis.settings.maxmemory = \"64mb\"\n");
    fits("Planned", &place.json(&["up", "redis", "--dry-run"]));
    fits("Running", &place.json(&["restart", "redis"]));
    fits("Status", &place.json(&["status"]));
    fits("Env", &place.json(&["env", "redis"]));
    fits("Listed", &place.json(&["list"]));
    fits("Explained", &place.json(&["explain"]));
    fits("Explained", &place.json(&["explain", "port-taken"]));
    fits("Report", &place.json(&["report"]));
    fits("Pages", &place.json(&["man", "--output", "pages"]));
    fits("Written", &place.json(&["report", "--output", "report.json"]));
    let log = place.ok(&["logs", "--format", "json"]).stdout;
    assert!(log.lines().count() > 3, "{log}");
    log.lines().for_each(|line| fits("Entry", &serde_json::from_str(line).unwrap()));
    fits("Stopped", &place.json(&["down", "--data", "--yes"]));
    std::fs::create_dir_all(place.root.join("xtask/core/src/render")).unwrap();
    fits("Rendered", &place.json(&["render"]));
    let refused = place.run(&["logs", "reddis", "--format", "json"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{refused}");
    fits("Errors", &serde_json::from_str(&refused.stderr).unwrap());
}

#[test]
fn commands_on_all_servers_print_what_the_page_says() {
    let place = crate::whole::seeded();
    fits("Running", &place.json(&["up"]));
    fits("Seeded", &place.json(&["seed"]));
    let new = place.json(&["snapshot"]);
    fits("Compared", &new);
    assert_eq!(new["differences"].as_array().unwrap().len(), 4);
    fits("Compared", &place.json(&["snapshot", "--accept"]));
    fits("Console", &place.json(&["open"]));
}
