//! Coordinates and the project file that makes Maven fetch them. Pure.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use camino::Utf8Path;
use ecosystem_core::failure::{Failure, Kind};

/// The plugin that copies artifacts: pinned, so that it is fetched once.
const COPIER: &str = "3.6.1";

/// What Maven is asked to do, by full name: a short one makes it read the descriptions of a dozen other plugins first.
pub(super) const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// `group:artifact:version`, a jar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gav {
    group: String,
    artifact: String,
    version: String,
}

impl Gav {
    /// Reads `group:artifact:version`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let parts: Vec<&str> = text.split(':').collect();
        let safe = |part: &&str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
        };
        match parts[..] {
            [group, artifact, version] if parts.iter().all(safe) => Ok(Self {
                group: group.to_owned(),
                artifact: artifact.to_owned(),
                version: version.to_owned(),
            }),
            _ => Err(Failure::new(
                Kind::Manifest,
                "coordinates-invalid",
                format!("`{text}` is not of the form group:artifact:version"),
            )),
        }
    }

    /// The file's name, in Maven's repository and in ours.
    pub fn file_name(&self) -> String {
        format!("{}-{}.jar", self.artifact, self.version)
    }

    pub(in crate::provision) fn version(&self) -> &str {
        &self.version
    }

    /// Its folder in a Maven repository.
    pub fn folder(&self) -> String {
        format!("{}/{}/{}", self.group.replace('.', "/"), self.artifact, self.version)
    }
}

impl fmt::Display for Gav {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group, self.artifact, self.version)
    }
}

/// A project that does nothing but copy these into a folder. [`GOAL`] runs it.
pub(super) fn pom(wanted: &BTreeSet<Gav>, folder: &Utf8Path) -> String {
    let mut items = String::new();
    for Gav { group, artifact, version } in wanted {
        let _ = writeln!(
            items,
            "        <artifactItem><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></artifactItem>"
        );
    }
    let folder = folder.as_str().replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>ecosystem</groupId>
  <artifactId>provision</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId>
    <artifactId>maven-dependency-plugin</artifactId>
    <version>{COPIER}</version>
    <configuration>
      <outputDirectory>{folder}</outputDirectory>
      <artifactItems>
{items}      </artifactItems>
    </configuration>
  </plugin></plugins></build>
</project>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_read_and_printed() {
        let gav = Gav::parse("org.apache.lucene:lucene-core:9.3.0").unwrap();
        assert_eq!(gav.to_string(), "org.apache.lucene:lucene-core:9.3.0");
        assert_eq!(gav.file_name(), "lucene-core-9.3.0.jar");
        assert_eq!(gav.folder(), "org/apache/lucene/lucene-core/9.3.0");
        for text in ["a:b", "a:b:c:d", "a::c", "a:b:../../c", "a:<b>:1", "a:b:.."] {
            assert!(Gav::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_goal_is_of_the_pinned_plugin() {
        assert_eq!(GOAL, format!("org.apache.maven.plugins:maven-dependency-plugin:{COPIER}:copy"));
    }

    #[test]
    fn every_artifact_stands_in_the_project() {
        let wanted = [Gav::parse("a.b:c:1").unwrap(), Gav::parse("d:e:2").unwrap()].into();
        let text = pom(&wanted, "/store with <&>/x".into());
        assert!(text.contains("<groupId>a.b</groupId><artifactId>c</artifactId><version>1</version>"));
        assert!(text.contains("<artifactId>e</artifactId>"));
        assert!(text.contains("<outputDirectory>/store with &lt;&amp;>/x</outputDirectory>"));
    }
}
