//! `get` and its checksum: an archive that somebody publishes, from which a server is run as it is.
//!
//! The manifest itself says what its bytes must be, so that no lock has to.

use serde::Serialize;

use super::{From, Origin, Problem, Service, Sourced};

/// An archive with a server in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archive {
    pub url: Sourced<String>,
    pub sum: Sum,
}

/// What the bytes of a file must be, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sum {
    Sha256(String),
    Sha512(String),
}

impl Sum {
    /// The digits.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Sha512(digits) => digits,
        }
    }

    /// The name of the checksum.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Sha512(_) => "SHA-512",
        }
    }
}

/// How the files in an archive are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    TarGz,
    TarXz,
    Zip,
}

impl Format {
    /// The format that an address ends in. What stands behind `?` belongs to the server.
    pub fn of(url: &str) -> Option<Self> {
        let path = url.split(['?', '#']).next()?;
        let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
        if ends(&[".tar.gz", ".tgz"]) {
            Some(Self::TarGz)
        } else if ends(&[".tar.xz", ".txz"]) {
            Some(Self::TarXz)
        } else {
            ends(&[".zip"]).then_some(Self::Zip)
        }
    }
}

/// Whether a text is the address of an archive. A login in it would stand in a file that is checked in, and in messages.
pub(super) fn is_archive(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let named = match scheme {
        "http" | "https" => !host.is_empty() && !host.contains('@'),
        "file" => host.is_empty() && rest.len() > 1,
        _ => false,
    };
    // Nothing in it ends a line or a text of another program's configuration.
    let plain = |c: char| c.is_ascii_graphic() && !"\"\\<>`".contains(c);
    named && text.len() <= 2000 && text.chars().all(plain) && Format::of(text).is_some()
}

/// What the manifests say of the archive of a service.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) get: Option<Sourced<String>>,
    pub(super) sha256: Option<Sourced<String>>,
    pub(super) sha512: Option<Sourced<String>>,
}

impl Said {
    /// The archive, or what is wrong with it.
    pub(super) fn read(self, service: &Service) -> Result<Option<Archive>, Problem> {
        let name = &service.name;
        let sum = match (self.sha512, self.sha256) {
            (Some(sum), Some(_)) => {
                let what = format!("services.{name} has sha512 and sha256");
                return Err(Problem::at(&sum.origin, what, "one of them is enough: take the other one out"));
            }
            (Some(Sourced { value, origin }), None) => Some((Sum::Sha512(value), origin)),
            (None, Some(Sourced { value, origin })) => Some((Sum::Sha256(value), origin)),
            (None, None) => None,
        };
        let (url, sum) = match (self.get, sum) {
            (None, None) => return Ok(None),
            (None, Some((sum, origin))) => {
                let key = if matches!(sum, Sum::Sha512(_)) { "sha512" } else { "sha256" };
                let what = format!("services.{name}.{key} has no effect without `get`");
                return Err(Problem::at(&origin, what, "say where the archive is: get = \"https://…\""));
            }
            (Some(url), None) => {
                let what = format!("services.{name}.get has no checksum: whatever comes would be run");
                let way_out = "add sha512 = \"…\" as whoever publishes the archive names it";
                return Err(Problem::at(&url.origin, what, way_out));
            }
            (Some(url), Some((sum, _))) => (url, sum),
        };
        if !service.kind.takes_archive() {
            let what = format!("services.{name}.get: {} is not run from an archive", service.kind);
            return Err(Problem::at(&url.origin, what, "take the line out, and its checksum"));
        }
        if let (From::Path, Origin::File { .. }) = (service.from.value, &service.from.origin) {
            let what = format!("services.{name}.get has no effect beside from = \"path\"");
            return Err(Problem::at(&url.origin, what, "take one of the two out"));
        }
        Ok(Some(Archive { url, sum }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flags, Layer, resolve};

    fn wrong(lines: &str) -> String {
        let text = format!("[services.dashboards]\n{lines}\n");
        let problems = resolve(&[Layer { name: "m", text: &text }], &Flags::default()).unwrap_err();
        problems.iter().map(|problem| problem.what.clone()).collect::<Vec<_>>().join("; ")
    }

    const GET: &str = "get = \"https://h/x.tar.gz\"";

    #[test]
    fn an_address_has_a_scheme_and_ends_in_a_format() {
        let good = [
            ("https://h/a-1.0.tar.gz", Format::TarGz),
            ("http://h:8080/a.tgz?x=1", Format::TarGz),
            ("file:///tmp/a%20b.tar.xz", Format::TarXz),
            ("https://h/a.zip", Format::Zip),
        ];
        for (url, format) in good {
            assert!(is_archive(url), "{url}");
            assert_eq!(Format::of(url), Some(format), "{url}");
        }
        let bad = [
            "https://h/a.rar",
            "ftp://h/a.zip",
            "file://h/a.zip",
            "https:///a.zip",
            "https://me:secret@h/a.zip",
            "https://h/a b.zip",
            "https://h/\"a.zip",
            "a.zip",
            "https://h/?a.zip",
        ];
        for url in bad {
            assert!(!is_archive(url), "{url}");
        }
    }

    #[test]
    fn an_archive_needs_a_checksum_and_a_checksum_an_archive() {
        let sha512 = format!("sha512 = \"{}\"", "A".repeat(128));
        let sha256 = format!("sha256 = \"{}\"", "0".repeat(64));
        assert_eq!(wrong(GET), "services.dashboards.get has no checksum: whatever comes would be run");
        assert_eq!(wrong(&sha256), "services.dashboards.sha256 has no effect without `get`");
        assert_eq!(wrong(&format!("{GET}\n{sha256}\n{sha512}")), "services.dashboards has sha512 and sha256");
        assert_eq!(
            wrong(&format!("{GET}\n{sha256}\nfrom = \"path\"")),
            "services.dashboards.get has no effect beside from = \"path\""
        );
        let redis = format!("[services.redis]\n{GET}\n{sha256}\n");
        let problems = resolve(&[Layer { name: "m", text: &redis }], &Flags::default()).unwrap_err();
        assert_eq!(problems[0].what, "services.redis.get: redis is not run from an archive");

        let whole = format!("[services.dashboards]\n{GET}\n{sha512}\n");
        let model = resolve(&[Layer { name: "m", text: &whole }], &Flags::default()).unwrap();
        let archive = model.services["dashboards"].archive.as_ref().unwrap();
        assert_eq!(archive.sum, Sum::Sha512("a".repeat(128)), "upper case is the same number");
    }
}
