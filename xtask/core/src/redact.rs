//! Taking out of a text what must not be told to others: passwords, logins in addresses, and the person's home folder.

use crate::catalog::is_secret_setting;

/// What stands in the place of a secret.
pub const REDACTED: &str = "<redacted>";

/// What is known to be secret, or private.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    secrets: Vec<String>,
    /// Written as `~`.
    home: Option<String>,
}

impl Redaction {
    /// Secrets that are very short are left: they would be found everywhere.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, home: Option<&str>) -> Self {
        let mut redaction = Self { secrets: Vec::new(), home: None };
        redaction.home = home.map(|home| home.trim_end_matches('/').to_owned()).filter(|home| home.len() > 1);
        secrets.into_iter().for_each(|secret| redaction.add(secret));
        redaction
    }

    fn add(&mut self, secret: &str) {
        if secret.len() >= 4 && secret != REDACTED {
            self.secrets.push(secret.to_owned());
            // One secret may be the beginning of another.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// The text without any of it.
    pub fn apply(&self, text: &str) -> String {
        let mut text =
            self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED));
        if let Some(home) = &self.home {
            text = at_home(&text, home);
        }
        without_logins(&text)
    }

    /// A manifest without the values of secret settings, and without comments. They count as secret everywhere from now on.
    pub fn manifest(&mut self, text: &str) -> Result<String, toml::de::Error> {
        let mut table: toml::Table = text.parse()?;
        self.table(&mut table);
        Ok(table.to_string())
    }

    fn table(&mut self, table: &mut toml::Table) {
        for (name, value) in table {
            // A table is called like a service: `services.oauth`.
            // A login is part of `external`, and one that is misspelt is not found as such.
            let secret = name == "external" || is_secret_setting(&name.to_ascii_lowercase());
            if !value.is_table() && secret {
                self.add_all(value);
                *value = REDACTED.into();
            } else {
                self.value(value);
            }
        }
    }

    fn value(&mut self, value: &mut toml::Value) {
        match value {
            toml::Value::Table(below) => self.table(below),
            toml::Value::Array(words) => {
                for word in words.iter_mut() {
                    self.value(word);
                }
                self.command_line(words);
            }
            _ => {}
        }
    }

    /// `--password=word`, `--password word`: words of a command line are shown to everybody, but not in a report.
    fn command_line(&mut self, words: &mut [toml::Value]) {
        let mut secret = false;
        for word in words {
            let toml::Value::String(text) = word else { continue };
            let is_option = text.starts_with('-');
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), None),
            };
            let named = is_option || value.is_some();
            let names_secret = named && is_secret_setting(&name.to_ascii_lowercase());
            match value {
                Some(value) if names_secret => {
                    self.add(&value);
                    *text = format!("{name}={REDACTED}");
                }
                _ if secret && !is_option => {
                    self.add(text);
                    REDACTED.clone_into(text);
                }
                _ => {}
            }
            secret = names_secret && is_option && !text.contains('=');
        }
    }

    /// Everything that is said by a value, however deep.
    fn add_all(&mut self, value: &toml::Value) {
        match value {
            toml::Value::Table(below) => below.values().for_each(|value| self.add_all(value)),
            toml::Value::Array(all) => all.iter().for_each(|value| self.add_all(value)),
            toml::Value::String(text) => self.add(text),
            toml::Value::Boolean(_) => {}
            other => self.add(&other.to_string()),
        }
    }
}

/// Replaces the home folder where it is a whole path or the beginning of one.
fn at_home(text: &str, home: &str) -> String {
    let mut parts = text.split(home);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
        result.push_str(if inside { home } else { "~" });
        result.push_str(part);
    }
    result
}

/// `amqp://user:password@host` without its middle. A password may hold a slash, although it should not; what stands behind a later slash
/// is a path, which may hold an `@` as well.
pub fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("://");
        let word = part.find(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).unwrap_or(part.len());
        let host = part[..word].find('/').unwrap_or(word);
        let login = |text: &str| text.rfind(':').is_some_and(|at| !starts_with_port(&text[at + 1..]));
        let at = part[..host].rfind('@').or_else(|| part[..word].find('@').filter(|_| login(&part[..host])));
        match at {
            Some(at) => {
                result.push_str(REDACTED);
                result.push_str(&part[at..]);
            }
            None => result.push_str(part),
        }
    }
    result
}

/// Whether a port and nothing else stands behind the colon of an address: `8080`.
fn starts_with_port(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_logins_and_the_home_folder_are_taken_out() {
        let redaction = Redaction::new(["hunter2", "hunter2long", "abc"], Some("/home/eva/"));
        let apply = |text: &str| redaction.apply(text);
        assert_eq!(apply("x hunter2long y hunter2, abc"), "x <redacted> y <redacted>, abc");
        assert_eq!(apply("/home/eva/a:/home/eva /home/evaluation"), "~/a:~ /home/evaluation");
        assert_eq!(
            apply(
                "amqp://u:p@127.0.0.1:5872/%2F http://127.0.0.1:80/a@b 'redis://:x@h' postgres://u:p/w@h/x"
            ),
            "amqp://<redacted>@127.0.0.1:5872/%2F http://127.0.0.1:80/a@b 'redis://<redacted>@h' postgres://<redacted>@h/x"
        );
        assert_eq!(apply("https://[::1]:80/a@b http://u@h"), "https://[::1]:80/a@b http://<redacted>@h");
    }

    #[test]
    fn a_manifest_keeps_everything_but_secret_values() {
        let mut redaction = Redaction::new([], None);
        let text = "# token: 123\nbind = \"127.0.0.1\"\n[services.redis]\nsettings = { masterauth = \"my word\", save = \"\" }\nenv.API_TOKEN = 12345\n";
        insta::assert_snapshot!(redaction.manifest(text).unwrap(), @r#"
        bind = "127.0.0.1"

        [services.redis.env]
        API_TOKEN = "<redacted>"

        [services.redis.settings]
        masterauth = "<redacted>"
        save = ""
        "#);
        assert_eq!(redaction.apply("it says my word"), "it says <redacted>");
        let text = "command = [\"flower\", \"--basic-auth=me:one1\", \"--token\", \"two2\", \"PGPASSWORD=three3\", \"auth\", \"x=y\"]\nPASSWORDS = [\"four4\", { x = \"five5\" }]\n";
        insta::assert_snapshot!(redaction.manifest(text).unwrap(), @r#"
        PASSWORDS = "<redacted>"
        command = ["flower", "--basic-auth=<redacted>", "--token", "<redacted>", "PGPASSWORD=<redacted>", "auth", "x=y"]
        "#);
        let told = "me:one1 two2 three3 four4 five5";
        assert_eq!(redaction.apply(told), ["<redacted>"; 5].join(" "));
        assert!(redaction.manifest("bind = ").is_err());
    }
}
