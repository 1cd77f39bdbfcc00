//! Host tools: what a release accepts, and how a version is read from what a program prints.

mod check;
mod manager;
mod remedy;
mod version;

use serde::{Deserialize, Serialize};

pub use check::{Answer, Finding, Verdict, judge, selectable};
pub use manager::{Manager, with_own_manager};
pub use remedy::{System, remedies};
pub use version::{Version, accepts_major, in_words};

/// A tool that the release wants on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// `python`, `pipenv`, `uv`, `docker`, `docker-compose`, `node`, `npm`, `pnpm`, `imagemagick`, `git`.
    pub name: String,
    /// The name people know: `Python`, `Docker Compose`.
    pub title: String,
    /// A semver requirement: `>=3.9, <3.10`.
    pub accept: String,
    /// The version that the documentation names and that this project is tested with.
    pub tested: String,
    /// A Package URL that says what `provision --tools` fetches; none where it has to be found on the machine. Of `linux-x64` in it, the
    /// words for the present platform take the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<String>,
}

impl Requirement {
    /// The commands that may answer for this tool, best first.
    pub fn candidates(&self) -> Vec<Vec<String>> {
        let commands: &[&[&str]] = match self.name.as_str() {
            "python" => &[&["python3", "--version"], &["python", "--version"]],
            "docker-compose" => &[&["docker", "compose", "version"], &["docker-compose", "--version"]],
            "imagemagick" => &[&["magick", "-version"], &["convert", "-version"]],
            name => return vec![vec![name.to_owned(), "--version".to_owned()]],
        };
        let mut candidates: Vec<Vec<String>> =
            commands.iter().map(|words| words.iter().map(ToString::to_string).collect()).collect();
        if self.name == "python" {
            // `python3.9` beside a newer `python3` is how distributions ship it.
            candidates.insert(0, vec![format!("python{}", self.series()), "--version".to_owned()]);
        }
        candidates
    }

    /// Whether the release accepts this version.
    fn takes(&self, version: &str) -> bool {
        let range = semver::VersionReq::parse(&self.accept);
        range.is_ok_and(|range| Version::read(version).is_some_and(|v| v.within(&range).is_eq()))
    }

    /// Major and minor version of what was tested: `3.9`.
    pub fn series(&self) -> String {
        self.tested.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// Major version of what was tested: `14`.
    fn major(&self) -> &str {
        self.tested.split('.').next().unwrap_or(&self.tested)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tool_is_looked_for_under_all_its_names() {
        let release = crate::release::find("documented").unwrap();
        let all: Vec<String> = release
            .tools
            .iter()
            .map(|tool| tool.candidates().iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" | "))
            .collect();
        insta::assert_snapshot!(all.join("\n"), @"
        python3.9 --version | python3 --version | python --version
        pipenv --version
        docker --version
        docker compose version | docker-compose --version
        node --version
        npm --version
        magick -version | convert -version
        git --version
        ");
    }
}
