//! What Python applications of a release consist of: requirement files with a checksum for every file that may be installed.
//!
//! They are data that never changes: another version is another file. Installing them is `xtask/src/provision/venv.rs`.

/// A pinned set of Python packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirements {
    /// The package of PyPI that is wanted.
    pub package: &'static str,
    pub version: &'static str,
    text: &'static str,
}

/// Every set that this version knows.
const ALL: [Requirements; 3] = [
    Requirements {
        package: "invenio-app-rdm",
        version: "12.1.0",
        text: include_str!("requirements/invenio-app-rdm-12.1.0.txt"),
    },
    Requirements { package: "pgadmin4", version: "5.2", text: include_str!("requirements/pgadmin4-5.2.txt") },
    Requirements {
        package: "pgadmin4",
        version: "6.21",
        text: include_str!("requirements/pgadmin4-6.21.txt"),
    },
];

impl Requirements {
    /// The set of a Package URL: `pkg:pypi/invenio-app-rdm@12.1.0`.
    pub fn find(purl: &str) -> Option<Self> {
        let (package, version) = purl.strip_prefix("pkg:pypi/")?.split_once('@')?;
        ALL.into_iter().find(|set| set.package == package && set.version == version)
    }

    /// The series of Python that it was made for: `3.9`.
    pub fn python(&self) -> &'static str {
        self.header("# python ")
    }

    /// The lines of what builds those packages that are published as source alone.
    pub fn builders(&self) -> impl Iterator<Item = &'static str> {
        let names = self.header("# builders ");
        self.lines().filter(move |line| {
            line.split_once("==").is_some_and(|(name, _)| names.split(' ').any(|builder| builder == name))
        })
    }

    fn header(&self, title: &str) -> &'static str {
        match self.text.lines().find_map(|line| line.strip_prefix(title)) {
            Some(value) => value,
            None => unreachable!("a test reads every built-in requirement file"),
        }
    }

    /// `name==version --hash=sha256:…`, one line a package.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter(|line| !line.starts_with('#'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_names_its_python_and_has_a_checksum_for_every_package() {
        for set in ALL {
            assert!(set.python().starts_with("3."), "{}", set.package);
            assert_eq!(set.builders().count(), set.header("# builders ").split(' ').count());
            let own = format!("{}=={} ", set.package, set.version);
            assert!(set.lines().any(|line| line.starts_with(&own)), "{own}");
            for line in set.lines() {
                let (name, hashes) = line.split_once(' ').unwrap_or((line, ""));
                assert!(name.contains("=="), "{line}");
                let sum = |word: &str| word.strip_prefix("--hash=sha256:").is_some_and(|sum| sum.len() == 64);
                assert!(!hashes.is_empty() && hashes.split(' ').all(sum), "{line}");
            }
            let purl = format!("pkg:pypi/{}@{}", set.package, set.version);
            assert_eq!(Requirements::find(&purl), Some(set));
        }
        assert_eq!(Requirements::find("pkg:pypi/invenio-app-rdm@1"), None);
    }
}
