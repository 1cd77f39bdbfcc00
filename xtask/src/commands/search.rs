//! `search`: a person's own question to the search engine.

use std::io::Read;

use anyhow::Context as _;
use ecosystem_core::catalog::Kind;
use ecosystem_core::failure::{self, Failure};
use serde_json::Value;

use crate::cli::{Global, Search};
use crate::client;
use crate::context::Context;
use crate::output;
use crate::stack::Stack;
use crate::sys::interrupt;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"];

/// A question as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    method: String,
    path: String,
    /// `-`: standard input.
    body: Option<String>,
}

/// Asks and prints the answer. A refusal is printed as well, and is a finding.
pub fn run(context: &Context, global: &Global, args: &Search) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let question = question(&args.request)?;
    let (_, endpoint) = stack.one(Kind::Opensearch, args.service.as_deref())?;
    client::usable(&endpoint)?;
    let body = match question.body.as_deref() {
        Some("-") => Some(standard_input()?),
        other => other.map(|text| text.as_bytes().to_vec()),
    };
    let (method, path) = (question.method.clone(), question.path.clone());
    // Ctrl-C ends the waiting, not the server's work.
    let ask = move || client::opensearch::ask(&endpoint, &method, &path, body.as_deref());
    let (status, body) =
        interrupt::wait_for(ask)?.with_context(|| format!("{} {}", question.method, question.path))?;
    output::text(&shown(&body))?;
    if status < 400 {
        return Ok(());
    }
    let text = format!("OpenSearch answered {} {} with {status}", question.method, question.path);
    Err(Failure::new(failure::Kind::Finding, "search-refused", text).into())
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    };
    interrupt::wait_for(read)?.context("cannot read standard input")
}

/// `[METHOD] PATH [BODY]`.
fn question(words: &[String]) -> Result<Question, Failure> {
    let mut words = words.iter();
    let mut next = words.next().cloned().unwrap_or_default();
    let method = METHODS.iter().find(|method| next.eq_ignore_ascii_case(method));
    if method.is_some() {
        next = words.next().cloned().unwrap_or_default();
    }
    let body = words.next().cloned();
    let wrong = |text: String| {
        Err(Failure::new(failure::Kind::Usage, "search-unclear", text)
            .hint("{program} search GET '/_cat/indices?v'")
            .hint("{program} search POST /my-index/_search '{\"size\": 1}'"))
    };
    if next.is_empty() {
        return wrong("there is no path to ask for".to_owned());
    }
    if words.next().is_some() || next.contains([' ', '{']) {
        return wrong(format!("`{next}` is neither a method nor a path"));
    }
    let path = if next.starts_with('/') { next } else { format!("/{next}") };
    let default = if body.is_some() { "POST" } else { "GET" };
    Ok(Question { method: (*method.unwrap_or(&default)).to_owned(), path, body })
}

/// The answer, indented where it is JSON.
fn shown(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => format!("{json:#}\n"),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> String {
        match question(&words.iter().map(ToString::to_string).collect::<Vec<_>>()) {
            Ok(Question { method, path, body }) => format!("{method} {path} {}", body.unwrap_or_default()),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn questions_are_read_as_people_type_them() {
        assert_eq!(read(&["/_cat/indices?v"]), "GET /_cat/indices?v ");
        assert_eq!(read(&["_count"]), "GET /_count ");
        assert_eq!(read(&["get", "/a/_search", "{}"]), "GET /a/_search {}");
        assert_eq!(read(&["/a/_search", "-"]), "POST /a/_search -");
        assert_eq!(read(&["DELETE", "/a"]), "DELETE /a ");
        assert_eq!(read(&["GET"]), "there is no path to ask for");
        assert_eq!(read(&["FETCH it", "/a"]), "`FETCH it` is neither a method nor a path");
        assert_eq!(read(&["/a", "{}", "{}"]), "`/a` is neither a method nor a path");
    }

    #[test]
    fn only_json_is_indented() {
        assert_eq!(shown(br#"{"b":1,"a":[]}"#), "{\n  \"b\": 1,\n  \"a\": []\n}\n");
        assert_eq!(shown(b"green open\n"), "green open\n");
    }
}
