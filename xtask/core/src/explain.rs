//! The explanations of error codes: `docs/errors.md`, which is compiled in, by code.

use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::model::suggest;

const PAGE: &str = include_str!("../../../docs/errors.md");

/// What is to be known of an error code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub code: &'static str,
    /// The exit status of the commands that end with it.
    pub exit_status: u8,
    /// What this exit status stands for: `a finding`.
    pub about: &'static str,
    /// Paragraphs, in Markdown.
    pub text: String,
}

/// All of them, in the order of their exit statuses.
pub fn all() -> Vec<Explanation> {
    let mut all = Vec::new();
    for section in PAGE.split("\n## Exit status ").skip(1) {
        let (title, rest) = section.split_once('\n').unwrap_or((section, ""));
        let (status, about) = title.split_once(": ").unwrap_or((title, ""));
        for entry in rest.split("\n### ").skip(1) {
            let (code, text) = entry.split_once('\n').unwrap_or((entry, ""));
            all.push(Explanation {
                code: code.trim_matches('`'),
                exit_status: status.parse().unwrap_or(u8::MAX),
                about,
                text: text.trim().to_owned(),
            });
        }
    }
    all
}

/// A paragraph of the page for a terminal: a link is its text, and where the text does not say it, the file or address behind it.
pub fn plain(paragraph: &str) -> String {
    let mut rest = paragraph;
    let mut plain = String::new();
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let parts = link.split_once("](").and_then(|(text, more)| Some((text, more.split_once(')')?)));
        let Some((text, (target, behind))) = parts.filter(|(text, _)| !text.contains(['[', ']'])) else {
            plain.push('[');
            rest = link;
            continue;
        };
        let file = target.split('#').next().unwrap_or(target);
        let file = file.strip_prefix("../").map_or_else(|| format!("docs/{file}"), ToOwned::to_owned);
        match target {
            _ if target.contains("://") && target == text => plain.push_str(text),
            _ if target.contains("://") => plain.extend([text, " (", target, ")"]),
            _ if file.ends_with(text) || file == format!("{text}.md") => plain.push_str(&file),
            _ => plain.extend([text, " (", &file, ")"]),
        }
        rest = behind;
    }
    plain + rest
}

/// The explanation of one code.
pub fn one(typed: &str) -> Result<Explanation, Failure> {
    // As it stands in a message: error[port-taken].
    let typed = typed.trim_start_matches("error[").trim_end_matches(']');
    let known = all();
    if let Some(explanation) = known.iter().find(|explanation| explanation.code == typed) {
        return Ok(explanation.clone());
    }
    let hint = suggest::nearest(typed, known.iter().map(|e| e.code)).map_or_else(
        || "{program} explain lists all of them".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err(Failure::new(Kind::Usage, "unknown-code", format!("there is no error code `{typed}`")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status_and_a_text() {
        let all = all();
        assert!(all.len() > 50, "{}", all.len());
        for explanation in &all {
            assert!(explanation.exit_status < 131 && explanation.text.len() > 20, "{explanation:?}");
        }
        assert_eq!(one("error[port-taken]").unwrap().exit_status, 5);
        assert_eq!(one("not-ready").unwrap().about, "a finding");
    }

    #[test]
    fn links_are_for_a_terminal() {
        assert_eq!(
            plain(
                "see [provisioning.md](provisioning.md#x), a [bundle](provisioning.md#y), the [README](../README.md#z) or [1] `a[b](c`"
            ),
            "see docs/provisioning.md, a bundle (docs/provisioning.md), the README.md or [1] `a[b](c`"
        );
        assert_eq!(plain("[here](https://x.org/a)"), "here (https://x.org/a)");
        for explanation in all() {
            let plain = plain(&explanation.text);
            assert!(!plain.contains("](") && !plain.contains("**") && !plain.contains("```"), "{plain}");
        }
    }

    #[test]
    fn a_slip_is_recognised() {
        let hint = |code| one(code).unwrap_err().hints.remove(0);
        assert_eq!(hint("port-takn"), "did you mean `port-taken`?");
        assert_eq!(hint("E0308"), "{program} explain lists all of them");
    }
}
