//! Which line of a manifest a server complains of: servers name the file that was written for them, and people have written another one.

use std::collections::BTreeMap;

use crate::model::Origin;

/// A setting that a server's words name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blamed<'a> {
    /// The name of the setting, as it stands in the manifest.
    pub setting: &'a str,
    /// Where it stands.
    pub origin: &'a Origin,
    /// The first line of the server that names it.
    pub said: &'a str,
}

/// The settings that a server's last words name, by the settings it was given and where those come from.
pub fn blamed<'a>(settings: &'a BTreeMap<String, Origin>, words: &'a str) -> Vec<Blamed<'a>> {
    let said = |setting: &str| words.lines().find(|line| names(line, setting));
    settings
        .iter()
        .filter_map(|(setting, origin)| Some(Blamed { setting, origin, said: said(setting)? }))
        .collect()
}

/// Whether a line has the setting as a whole word. A name that is an ordinary word, such as `save`, counts in quotes or brackets only.
fn names(line: &str, setting: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let ordinary = setting.chars().all(|c| c.is_ascii_alphanumeric());
    line.match_indices(setting).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), &line[at + setting.len()..]);
        // A sentence may end with it.
        let after = after.strip_prefix('.').filter(|rest| !rest.starts_with(inside)).unwrap_or(after);
        let begins = match before {
            Some(before) if ordinary => "\"'`[(".contains(before),
            Some(before) => !inside(before),
            None => !ordinary,
        };
        begins && !after.starts_with(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the servers say (PostgreSQL 12, Redis 7, RabbitMQ 3.10, OpenSearch 2.3), shortened.
    #[test]
    fn every_server_names_the_setting_in_its_own_way() {
        let found = |setting: &str, words: &str| {
            let origin = Origin::File { name: "ecosystem.toml".to_owned(), line: 3 };
            let settings = BTreeMap::from([(setting.to_owned(), origin)]);
            blamed(&settings, words).first().map(|blamed| blamed.said.to_owned())
        };
        for (setting, words) in [
            (
                "max_conections",
                "LOG:  unrecognized configuration parameter \"max_conections\" in file \"/x.conf\" line 8",
            ),
            ("max-memry", ">>> 'max-memry 100'"),
            ("save", ">>> 'save often'"),
            ("a.b", "[error] <0.1.0> You've tried to set a.b, but there is no setting with that name."),
            ("a.b", "Conf file attempted to set unknown variable: a.b."),
            ("a.b", "IllegalArgumentException: unknown setting [a.b] did you mean [a.bc]?"),
        ] {
            let words_around = format!("first\n{words}\nlast");
            assert_eq!(found(setting, &words_around).as_deref(), Some(words), "{setting}");
        }
        for (setting, words) in [
            ("save", "Failed to save the database"),
            ("max_conn", "unrecognized configuration parameter \"max_connections\""),
            ("a.b", "unknown setting [a.b.c]"),
            ("a.b", "unknown setting [x.a.b]"),
        ] {
            assert_eq!(found(setting, words), None, "{setting}: {words}");
        }
    }
}
