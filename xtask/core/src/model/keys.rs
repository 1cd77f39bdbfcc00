//! The one table of manifest keys. Unknown-key detection, type checks, the JSON Schema and the reference all come from it.
//!
//! What one value must look like is here; how values relate to each other is `resolve.rs`.

use toml::de::DeValue;

use super::Backend;
use super::archive::is_archive;
use crate::pack::objects::is_bucket;
use crate::process::Restart;

/// One key of the manifest.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path; `<name>` stands for any name.
    pub path: &'static str,
    pub shape: Shape,
    /// One line for people.
    pub doc: &'static str,
}

/// What the value of a key must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string on one line.
    Text,
    /// The name of a container image.
    Image,
    /// The name of a kind of service.
    Kind,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A size as the JVM writes it: `512m`.
    Heap,
    /// The address of an archive.
    Archive,
    /// So many hexadecimal digits.
    Digits(usize),
    /// A number that is added to ports.
    Offset,
    /// A port.
    Port,
    /// Names of services, or `@name` for the members of another profile.
    Members,
    /// Names of plugins or modules.
    Names,
    /// Names of buckets.
    Buckets,
    /// A string, number or boolean, taken over verbatim.
    Scalar,
    /// A command line, word by word.
    Words,
    /// Names of services.
    Services,
}

/// Every key, in the order in which it is documented.
pub const KEYS: &[Key] = &[
    Key {
        path: "release",
        shape: Shape::Text,
        doc: "The built-in release that versions, images and ports come from.",
    },
    Key {
        path: "bind",
        shape: Shape::Text,
        doc: "The loopback address that every server binds; 0.0.0.0 opens them to the network.",
    },
    Key { path: "port_offset", shape: Shape::Offset, doc: "A number added to every port." },
    Key {
        path: "backend",
        shape: Shape::OneOf(Backend::WORDS),
        doc: "What runs the servers: processes of yours, or Docker Compose. Left out, the first `up` decides, and says why.",
    },
    Key { path: "seed", shape: Shape::Text, doc: "The pack of data that `up` loads by itself." },
    Key {
        path: "profiles.<profile>",
        shape: Shape::Members,
        doc: "A named set of services; `@other` stands for the members of another profile.",
    },
    Key {
        path: "services.<service>.kind",
        shape: Shape::Kind,
        doc: "What the service is; its own name where this is left out.",
    },
    Key {
        path: "services.<service>.ports.<role>",
        shape: Shape::Port,
        doc: "The port of one role of the service, before the offset.",
    },
    Key {
        path: "services.<service>.settings.<setting>",
        shape: Shape::Scalar,
        doc: "A line for the server's own configuration file, in the server's own words.",
    },
    Key { path: "services.<service>.image", shape: Shape::Image, doc: "The container image of the service." },
    Key {
        path: "services.<service>.via",
        shape: Shape::OneOf(Backend::WORDS),
        doc: "What runs this one service, where it is not what runs the others.",
    },
    Key {
        path: "services.<service>.external",
        shape: Shape::Text,
        doc: "The URL of a server that somebody else runs, such as a service of a CI: nothing is started, everything else is as ever.",
    },
    Key {
        path: "services.<service>.from",
        shape: Shape::OneOf(&["store", "path"]),
        doc: "Where the server comes from: the per-user store, or the programs on PATH.",
    },
    Key {
        path: "services.<service>.get",
        shape: Shape::Archive,
        doc: "The official archive that the server is run from, for OpenSearch Dashboards and OpenSearch; `file:///…` where somebody has downloaded it.",
    },
    Key {
        path: "services.<service>.sha512",
        shape: Shape::Digits(128),
        doc: "The SHA-512 of that archive; other bytes are refused.",
    },
    Key {
        path: "services.<service>.sha256",
        shape: Shape::Digits(64),
        doc: "The same as SHA-256, where that is what is published.",
    },
    Key {
        path: "services.<service>.plugins",
        shape: Shape::Names,
        doc: "Plugins by name, for RabbitMQ and OpenSearch.",
    },
    Key { path: "services.<service>.modules", shape: Shape::Names, doc: "Modules of OpenSearch by name." },
    Key {
        path: "services.<service>.heap",
        shape: Shape::Heap,
        doc: "The Java heap of OpenSearch: 512m, 2g.",
    },
    Key {
        path: "services.<service>.pack",
        shape: Shape::Text,
        doc: "The pack that `up` lays into an application that is empty; `fixtures` stands for the application's own, which take minutes.",
    },
    Key {
        path: "services.<service>.site",
        shape: Shape::Text,
        doc: "The folder of the application's own project, from the folder of the manifest; left out, that folder itself where it has an `invenio.cfg`, else the application of the release.",
    },
    Key {
        path: "services.<service>.buckets",
        shape: Shape::Buckets,
        doc: "Buckets that are made in an object store when it is ready; an account for applications reaches these and no others.",
    },
    Key {
        path: "services.<service>.command",
        shape: Shape::Words,
        doc: "What a process runs, word by word and without a shell; `{port.ROLE}` stands for a port of it, `{port.SERVICE.ROLE}` for one of another service. In an object store: another server that speaks S3, where `{data}` stands for its folder, and in `env` `{user}` and `{secret}` for its login.",
    },
    Key {
        path: "services.<service>.ready.tcp",
        shape: Shape::Text,
        doc: "A process is ready when it listens on the port of this role.",
    },
    Key {
        path: "services.<service>.ready.http",
        shape: Shape::Text,
        doc: "A process is ready when it answers HTTP on the port of this role with a status from 200 to 399.",
    },
    Key {
        path: "services.<service>.ready.path",
        shape: Shape::Text,
        doc: "The path that `ready.http` asks for; `/` where this is left out.",
    },
    Key {
        path: "services.<service>.ready.command",
        shape: Shape::Words,
        doc: "A process is ready when this command, run like its own, ends with status 0 within 5 seconds.",
    },
    Key {
        path: "services.<service>.ready.log",
        shape: Shape::Text,
        doc: "A process is ready when it has written a line with this text.",
    },
    Key {
        path: "services.<service>.after",
        shape: Shape::Services,
        doc: "A process is started when these services are ready, is told how to reach them, and is stopped before them.",
    },
    Key {
        path: "services.<service>.restart",
        shape: Shape::OneOf(Restart::WORDS),
        doc: "When a process that ended by itself is started again; `on-failure` where this is left out.",
    },
    Key {
        path: "services.<service>.env.<variable>",
        shape: Shape::Scalar,
        doc: "A variable for the environment of a process; ports can stand in it as in `command`.",
    },
    Key {
        path: "services.<service>.cwd",
        shape: Shape::Text,
        doc: "The folder that a process works in, from the folder of the manifest, which it may not leave.",
    },
];

/// A value of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A table that stands there, whatever it holds.
    Present,
    Text(String),
    Number(u16),
    Names(Vec<String>),
}

/// Whether a name can be a service, a profile or a role: `[a-z][a-z0-9-]*`, at most 63 of them, as in a host name.
pub fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether a name can be a plugin or module: `[a-z0-9_-]+`.
fn is_plugin(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// Whether a name can be a setting. Anything else could end the line and start another one.
pub(super) fn is_setting(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether a name can be a variable of an environment.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text can be the name of an image: as Docker takes it, without blanks, and nothing that begins like an option.
fn is_image(text: &str) -> bool {
    text.len() <= 500
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
}

/// Whether a text is a heap size: digits, then `m` or `g`.
fn is_heap(text: &str) -> bool {
    let digits = text.trim_end_matches(['m', 'g', 'M', 'G']);
    text.len() == digits.len() + 1
        && digits.len() <= 6
        && !digits.starts_with('0')
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit())
}

impl Shape {
    /// What a person has to write.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "a text in quotes, on one line".to_owned(),
            Self::Image => {
                "an image such as \"postgres:14\", with a digest where it is to be this very one".to_owned()
            }
            Self::Kind => "the name of a kind of service in quotes".to_owned(),
            Self::OneOf(words) => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Self::Heap => "a size such as \"512m\" or \"2g\"".to_owned(),
            Self::Archive => {
                "an address such as \"https://…/x.tar.gz\" or \"file:///…\", of .tar.gz, .tar.xz or .zip, without a login"
                    .to_owned()
            }
            Self::Digits(count) => format!("{count} hexadecimal digits in quotes"),
            Self::Offset => "a number from 0 to 65535".to_owned(),
            Self::Port => "a port from 1 to 65535".to_owned(),
            Self::Members => "a list of service names such as [\"redis\", \"@core\"]".to_owned(),
            Self::Names => "a list of names such as [\"analysis-icu\"], each of a-z, 0-9, _ and -".to_owned(),
            Self::Buckets => {
                "a list of names such as [\"default\"], each of 3 to 63 of a-z, 0-9, - and .".to_owned()
            }
            Self::Scalar => "a text on one line, a number, true or false".to_owned(),
            Self::Words => "a list of texts such as [\"python3\", \"-m\", \"http.server\"]".to_owned(),
            Self::Services => "a list of service names such as [\"redis\"]".to_owned(),
        }
    }

    /// Reads a value of this shape; `None` where it has another one.
    pub(super) fn read(self, value: &DeValue<'_>) -> Option<Value> {
        match self {
            Self::Text | Self::Kind => line(value).filter(|text| !text.is_empty()).map(Value::Text),
            Self::Image => line(value).filter(|text| is_image(text)).map(Value::Text),
            Self::OneOf(words) => line(value).filter(|text| words.contains(&text.as_str())).map(Value::Text),
            Self::Heap => line(value).filter(|text| is_heap(text)).map(Value::Text),
            Self::Archive => line(value).filter(|text| is_archive(text)).map(Value::Text),
            Self::Digits(count) => line(value)
                .filter(|text| text.len() == count && text.chars().all(|c| c.is_ascii_hexdigit()))
                .map(|text| Value::Text(text.to_ascii_lowercase())),
            Self::Offset => number(value)?.try_into().ok().map(Value::Number),
            Self::Port => number(value)?.try_into().ok().filter(|port| *port > 0).map(Value::Number),
            Self::Members => list(value, |name| is_name(name.strip_prefix('@').unwrap_or(name))),
            Self::Names => list(value, is_plugin),
            Self::Buckets => list(value, is_bucket),
            // A script as one word may have many lines; nothing can pass a zero byte on.
            Self::Words => list(value, |word| !word.contains('\0')).filter(|value| {
                matches!(value, Value::Names(words) if words.first().is_some_and(|word| !word.is_empty()))
            }),
            Self::Services => list(value, is_name),
            Self::Scalar => match value {
                DeValue::String(_) => line(value),
                DeValue::Integer(_) => number(value).map(|number| number.to_string()),
                DeValue::Float(float) => Some(float.as_str().to_owned()),
                DeValue::Boolean(truth) => Some(truth.to_string()),
                _ => None,
            }
            .map(Value::Text),
        }
    }
}

/// A string without line breaks and other control characters.
fn line(value: &DeValue<'_>) -> Option<String> {
    value.as_str().filter(|text| !text.chars().any(char::is_control)).map(ToOwned::to_owned)
}

fn number(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn list(value: &DeValue<'_>, fits: impl Fn(&str) -> bool) -> Option<Value> {
    let names: Option<Vec<String>> = value
        .as_array()?
        .iter()
        .map(|name| name.get_ref().as_str().filter(|name| fits(name)).map(ToOwned::to_owned))
        .collect();
    names.map(Value::Names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shape: Shape, text: &str) -> Option<Value> {
        shape.read(DeValue::parse(text).unwrap().get_ref())
    }

    fn is_text(shape: Shape, written: &str, text: &str) -> bool {
        read(shape, written) == Some(Value::Text(text.to_owned()))
    }

    #[test]
    fn ports_are_1_to_65535_and_offsets_may_be_0() {
        assert_eq!(read(Shape::Port, "1"), Some(Value::Number(1)));
        assert_eq!(read(Shape::Port, "65_535"), Some(Value::Number(65535)));
        assert_eq!(read(Shape::Port, "0x1F90"), Some(Value::Number(8080)));
        for wrong in ["0", "65536", "-1", "99999999999999999999", "\"80\"", "80.0", "true", "[80]"] {
            assert_eq!(read(Shape::Port, wrong), None, "{wrong}");
        }
        assert_eq!(read(Shape::Offset, "0"), Some(Value::Number(0)));
        assert_eq!(read(Shape::Offset, "-1"), None);
    }

    #[test]
    fn settings_are_scalars_on_one_line() {
        assert!(is_text(Shape::Scalar, "100", "100"));
        assert!(is_text(Shape::Scalar, "1_000", "1000"));
        assert!(is_text(Shape::Scalar, "0.4", "0.4"));
        assert!(is_text(Shape::Scalar, "true", "true"));
        assert!(is_text(Shape::Scalar, "\"a 'b' c\"", "a 'b' c"));
        assert!(is_text(Shape::Scalar, "\"\"", ""));
        for wrong in [r#""a\nport = 1""#, r#""a\rb""#, r#""a\u0000""#, "[1]", "{ a = 1 }", "2024-01-01"] {
            assert_eq!(read(Shape::Scalar, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_image_has_a_name_that_docker_takes() {
        for image in ["redis", "redis:7-alpine", "registry:5000/a/b_c:1.2@sha256:ab", "ghcr.io/a/b"] {
            assert!(is_text(Shape::Image, &format!("\"{image}\""), image));
        }
        for wrong in ["\"redis:7 x\"", "\"-v/:/x\"", "\"$X\"", "\"${X}\"", "\"\"", "\"a\\nb\"", "7"] {
            assert_eq!(read(Shape::Image, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_heap_is_digits_and_a_unit() {
        assert!(is_text(Shape::Heap, "\"512m\"", "512m"));
        assert!(is_text(Shape::Heap, "\"2G\"", "2G"));
        for wrong in ["512", "m", "0m", "512mb", "512mm", "1.5g", "-1g", "512m -Xss1m", ""] {
            assert_eq!(read(Shape::Heap, &format!("\"{wrong}\"")), None, "{wrong}");
        }
        assert_eq!(read(Shape::Heap, "512"), None);
    }

    #[test]
    fn lists_hold_plain_names() {
        assert_eq!(
            read(Shape::Members, r#"["redis", "@core"]"#),
            Some(Value::Names(vec!["redis".into(), "@core".into()]))
        );
        for wrong in
            ["[1]", r#"["Redis"]"#, r#"["@"]"#, r#"["@@a"]"#, r#"["a b"]"#, r#""redis""#, r#"[[""]]"#]
        {
            assert_eq!(read(Shape::Members, wrong), None, "{wrong}");
        }
        assert!(read(Shape::Names, r#"["rabbitmq_management"]"#).is_some());
        assert_eq!(read(Shape::Names, r#"["../x"]"#), None);
        assert_eq!(read(Shape::Names, r#"[""]"#), None);
    }

    #[test]
    fn a_command_is_words_and_the_first_is_a_program() {
        let words = |text: &str| read(Shape::Words, text);
        assert_eq!(
            words(r#"["sh", "-c", "a\nb", ""]"#),
            Some(Value::Names(["sh", "-c", "a\nb", ""].map(str::to_owned).to_vec()))
        );
        for wrong in ["[]", r#"[""]"#, r#""sh -c x""#, "[1]", r#"["a", 1]"#, r#"["a\u0000"]"#, r#"[["a"]]"#] {
            assert_eq!(words(wrong), None, "{wrong}");
        }
        assert_eq!(read(Shape::Services, r#"["@core"]"#), None);
    }

    #[test]
    fn names_cannot_leave_their_folder_or_line() {
        assert!(is_variable("FLOWER_PORT") && is_variable("_a1"));
        for wrong in ["", "1A", "A-B", "A=B", "a b", "é"] {
            assert!(!is_variable(wrong), "{wrong:?}");
        }
        assert!(is_name("pg-2") && is_setting("vm_memory_high_watermark.relative"));
        let long = "a".repeat(64);
        for wrong in ["", "2a", "-a", "A", "a_b", "a/b", "..", "a\n", &long] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
        for wrong in ["", "a b", "a=b", "a\nb", "#a", "1a", "é"] {
            assert!(!is_setting(wrong), "{wrong:?}");
        }
    }
}
