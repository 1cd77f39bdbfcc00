//! What Compose fills in: `$NAME`, `${NAME:-default}` and their kin, and the files that say what variables hold.

use std::collections::BTreeMap;

use crate::catalog::is_secret_setting;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// Stands for what a variable holds.
pub(super) const SOMETHING: char = '\u{1}';

/// How deep defaults with variables in them are followed.
const DEEPEST: usize = 4;

/// Puts defaults in the place of variables. One without a default whose name says that it is a port counts as a number.
pub(super) fn expanded(text: &str) -> String {
    filled_in(text, &Variables::new(), 0)
}

/// The same with what files say of variables. What could be a secret is not filled in: the text may be written down.
pub(super) fn filled(text: &str, variables: &Variables) -> String {
    filled_in(text, variables, 0)
}

/// Reads an `.env` file: `NAME=value` lines. What is quoted is taken as it stands between the quotes; what refers to other variables is not.
pub fn variables(text: &str) -> Variables {
    let mut read = Variables::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        let quoted = ['"', '\''].into_iter().find_map(|q| value.strip_prefix(q)?.split_once(q));
        let value = match quoted {
            Some((value, _)) => value,
            None => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        let plain = !value.contains(['$', '\\']) && !value.chars().any(char::is_control);
        if name.chars().all(is_of_name) && plain {
            read.insert(name.to_owned(), value.to_owned());
        }
    }
    read
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn filled_in(text: &str, variables: &Variables, depth: usize) -> String {
    let mut value = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            value.push('$');
            rest = after;
            continue;
        }
        let (inner, after) = if let Some(braced) = rest.strip_prefix('{') {
            let mut open = 1_usize;
            let end = braced.char_indices().find(|(_, c)| {
                open = match c {
                    '{' => open + 1,
                    '}' => open - 1,
                    _ => open,
                };
                open == 0
            });
            let Some((end, _)) = end else {
                value.push(SOMETHING);
                return value;
            };
            (&braced[..end], &braced[end + 1..])
        } else {
            let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
            rest.split_at(end)
        };
        let (name, rule) = inner.split_at(inner.find(|c: char| !is_of_name(c)).unwrap_or(inner.len()));
        let secret = is_secret_setting(&name.to_ascii_lowercase());
        // An empty one counts as none behind a colon only, and nothing that is published or run is called by an empty word.
        let known = variables.get(name).filter(|known| !secret && !known.is_empty());
        let alternative = rule.starts_with(['+']) || rule.starts_with(":+");
        match (known, rule.strip_prefix(":-").or_else(|| rule.strip_prefix('-'))) {
            (Some(known), _) if !alternative => value.push_str(known),
            (_, Some(default)) if depth < DEEPEST => {
                value.push_str(&filled_in(default, variables, depth + 1));
            }
            (None, None) if is_port(name) => value.push_str("0000"),
            _ => value.push(SOMETHING),
        }
        rest = after;
    }
    value + rest
}

/// Whether a variable is named like a port: `PORT`, `DB_PORT`, not `PORTAL_IP` or `SUPPORT`.
fn is_port(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name == "PORT" || name.ends_with("_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables_are_read_as_compose_reads_them() {
        let text = "# ports\nINVENIO_REDIS_PORT=6579\n export HOST = '127.0.0.1' # here\nA=1 # one\nB=\"x y\"\nC=$A\nD-E=1\nF\n\
                    INVENIO_REDIS_PORT=6580\nG=\n";
        let read = variables(text);
        let told: Vec<String> = read.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["A=1", "B=x y", "G=", "HOST=127.0.0.1", "INVENIO_REDIS_PORT=6580"]);
        let fill = |text: &str| filled(text, &read).replace(SOMETHING, "?");
        for (text, expected) in [
            ("${HOST}:${INVENIO_REDIS_PORT}:6379", "127.0.0.1:6580:6379"),
            ("$A-${A:-2}-${A:?set it}-${Z:-3}-${G:-4}", "1-1-1-3-4"),
            ("${A:+x} ${Z}", "? ?"),
            ("$$A", "$A"),
        ] {
            assert_eq!(fill(text), expected);
        }
    }

    #[test]
    fn what_could_be_a_secret_is_not_filled_in() {
        let read = variables("POSTGRES_PASSWORD=a\nS3_SECRET_KEY=b\nGITHUB_TOKEN=c\nVERSION=7\n");
        let fill = |text: &str| filled(text, &read).replace(SOMETHING, "?");
        assert_eq!(fill("redis:${VERSION}"), "redis:7");
        assert_eq!(fill("$POSTGRES_PASSWORD${S3_SECRET_KEY}${GITHUB_TOKEN}"), "???");
    }
}
