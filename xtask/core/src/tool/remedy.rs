//! How to get a tool on the system at hand: commands to type, best first. Nothing here is ever run by this program.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Requirement, Verdict};

/// A system whose ways of getting software are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Debian and what is made from it, with its major version where it is Debian itself.
    Debian(Option<u32>),
    Ubuntu,
    Fedora,
    MacOs,
    Other,
}

impl System {
    /// Reads `/etc/os-release`.
    pub fn of_os_release(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim().trim_matches(['"', '\'']))
                .unwrap_or_default()
        };
        let like = |word: &str| field("ID") == word || field("ID_LIKE").split_whitespace().any(|w| w == word);
        if like("ubuntu") {
            Self::Ubuntu
        } else if like("debian") {
            Self::Debian((field("ID") == "debian").then(|| field("VERSION_ID").parse().ok()).flatten())
        } else if like("fedora") || like("rhel") {
            Self::Fedora
        } else {
            Self::Other
        }
    }

    fn apt(self) -> bool {
        matches!(self, Self::Debian(_) | Self::Ubuntu)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(Some(version)) => write!(f, "debian {version}"),
            Self::Debian(None) => f.write_str("debian"),
            Self::Ubuntu => f.write_str("ubuntu"),
            Self::Fedora => f.write_str("fedora"),
            Self::MacOs => f.write_str("macos"),
            Self::Other => f.write_str("other"),
        }
    }
}

impl Serialize for System {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What to type, or to know, for a tool that is not as it should be.
pub fn remedies(tool: &Requirement, verdict: &Verdict, system: System) -> Vec<String> {
    if matches!(verdict, Verdict::Ok) {
        return Vec::new();
    }
    match tool.name.as_str() {
        "python" => python(tool, system),
        "pipenv" => vec![
            format!("pipx install pipenv=={}", tool.tested),
            format!("without pipx: python3 -m pip install --user pipenv=={}", tool.tested),
        ],
        "docker" => docker(verdict, system),
        "docker-compose" => compose(system),
        "node" => vec![
            format!("nvm install {}", tool.major()),
            format!("without nvm: fnm install {0}, or volta install node@{0}", tool.major()),
            format!("the package of the system is seldom Node {}", tool.major()),
        ],
        "uv" => vec![
            if system == System::MacOs {
                "brew install uv".to_owned()
            } else {
                format!("pipx install uv=={}", tool.tested)
            },
            format!("without pipx: python3 -m pip install --user uv=={}", tool.tested),
        ],
        "pnpm" => vec![
            format!("corepack enable pnpm, then: corepack prepare pnpm@{} --activate", tool.tested),
            format!("without corepack: npm install --global pnpm@{}", tool.tested),
        ],
        "npm" => vec![
            format!("npm {} comes with Node {1}: nvm install {1}", tool.major(), node_with(tool.major())),
            format!("with the Node you have: npm install --global npm@{}", tool.tested),
        ],
        "imagemagick" if tool.takes("6.9.11") && system != System::Fedora => {
            vec![package(system, "imagemagick", "imagemagick")]
        }
        "imagemagick" => imagemagick(system),
        "git" => vec![package(system, "git", "git")],
        other => vec![format!("install {other} {}", tool.tested)],
    }
}

/// The Node that brings this major version of npm.
fn node_with(npm: &str) -> &'static str {
    match npm {
        "6" => "14",
        "7" | "8" => "16",
        "9" | "10" => "18",
        _ => "24",
    }
}

fn package(system: System, apt: &str, brew: &str) -> String {
    match system {
        System::Debian(_) | System::Ubuntu => format!("sudo apt-get install {apt}"),
        System::Fedora => format!("sudo dnf install {apt}"),
        System::MacOs => format!("brew install {brew}"),
        System::Other => format!("install {apt} with the package manager of your system"),
    }
}

fn python(tool: &Requirement, system: System) -> Vec<String> {
    let series = tool.series();
    let mut ways =
        vec![format!("uv python install {series}"), format!("with pyenv: pyenv install {}", tool.tested)];
    match system {
        System::Debian(Some(11)) | System::Fedora => {
            ways.insert(0, package(system, &format!("python{series}"), ""));
        }
        System::MacOs => ways.insert(0, format!("brew install python@{series}")),
        System::Debian(_) => ways.push(format!("Debian 12 has no python{series} of its own")),
        System::Ubuntu => ways.push(format!("Ubuntu 22.04 and 24.04 have no python{series} of their own")),
        System::Other => {}
    }
    ways
}

fn docker(verdict: &Verdict, system: System) -> Vec<String> {
    let mut ways = match system {
        system if system.apt() => vec!["sudo apt-get install docker.io".to_owned()],
        System::Fedora => vec!["sudo dnf install moby-engine".to_owned()],
        System::MacOs => vec!["brew install --cask docker, then start Docker Desktop once".to_owned()],
        _ => vec!["install Docker Engine as its documentation describes".to_owned()],
    };
    if matches!(verdict, Verdict::OtherProgram(_)) {
        ways.push(
            "or remove the package that puts another program in Docker's place (podman-docker)".to_owned(),
        );
    }
    ways.push("the native backend does not need it".to_owned());
    ways
}

fn compose(system: System) -> Vec<String> {
    let mut ways = match system {
        System::Ubuntu => vec!["sudo apt-get install docker-compose-v2".to_owned()],
        System::Debian(Some(13..)) => vec!["sudo apt-get install docker-compose".to_owned()],
        System::Debian(_) => vec![
            "install docker-compose-plugin from Docker's own Debian repository".to_owned(),
            "up to Debian 12 the package docker-compose is version 1".to_owned(),
        ],
        System::Fedora => vec!["sudo dnf install docker-compose".to_owned()],
        System::MacOs => {
            vec!["it comes with Docker Desktop; without: brew install docker-compose".to_owned()]
        }
        System::Other => vec!["install the Docker Compose plugin as its documentation describes".to_owned()],
    };
    ways.push("the native backend does not need it".to_owned());
    ways
}

fn imagemagick(system: System) -> Vec<String> {
    match system {
        System::Debian(Some(13..)) => vec!["sudo apt-get install imagemagick".to_owned()],
        System::Debian(_) => vec![
            "Debian 12 and older have only ImageMagick 6, so apt-get cannot help".to_owned(),
            "with Nix: nix profile install nixpkgs#imagemagick".to_owned(),
            "or take the AppImage from the ImageMagick site: put it on PATH as `magick`".to_owned(),
        ],
        System::Ubuntu => vec![
            "sudo apt-get install imagemagick, from Ubuntu 25.04 on; older ones have only ImageMagick 6"
                .to_owned(),
            "with Nix: nix profile install nixpkgs#imagemagick".to_owned(),
        ],
        System::Fedora => vec!["sudo dnf install ImageMagick".to_owned()],
        System::MacOs => vec!["brew install imagemagick".to_owned()],
        System::Other => vec!["install ImageMagick 7, whose program is called `magick`".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_read_from_os_release() {
        for (text, system) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", System::Debian(Some(12))),
            ("PRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\nID=debian\n", System::Debian(None)),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", System::Ubuntu),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\n", System::Ubuntu),
            ("ID=raspbian\nID_LIKE=debian\nVERSION_ID=\"12\"\n", System::Debian(None)),
            ("ID=fedora\nVERSION_ID=40\n", System::Fedora),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", System::Fedora),
            ("ID=nixos\n", System::Other),
            ("", System::Other),
        ] {
            assert_eq!(System::of_os_release(text), system, "{text}");
        }
    }

    #[test]
    fn every_tool_has_a_remedy_on_every_system() {
        let tools = crate::release::find("documented").unwrap().tools;
        for system in [System::Debian(Some(12)), System::Ubuntu, System::Fedora, System::MacOs, System::Other]
        {
            for tool in &tools {
                assert!(!remedies(tool, &Verdict::NotFound, system).is_empty(), "{} {system:?}", tool.name);
                assert!(remedies(tool, &Verdict::Ok, system).is_empty());
            }
        }
    }

    #[test]
    fn a_release_that_takes_imagemagick_6_takes_that_of_the_system() {
        let way = |release: &str| {
            let tools = crate::release::find(release).unwrap().tools;
            let tool = tools.into_iter().find(|tool| tool.name == "imagemagick").unwrap();
            remedies(&tool, &Verdict::NotFound, System::Debian(Some(12))).swap_remove(0)
        };
        assert_eq!(way("v12"), "sudo apt-get install imagemagick");
        assert!(way("documented").contains("apt-get cannot help"));
    }

    #[test]
    fn debian_12_is_not_sent_to_apt_for_what_it_does_not_have() {
        let tools = crate::release::find("documented").unwrap().tools;
        let text: Vec<String> = tools
            .iter()
            .map(|tool| {
                let ways = remedies(tool, &Verdict::NotFound, System::Debian(Some(12)));
                format!("{}:\n  {}", tool.title, ways.join("\n  "))
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"), @"
        Python:
          uv python install 3.9
          with pyenv: pyenv install 3.9.16
          Debian 12 has no python3.9 of its own
        Pipenv:
          pipx install pipenv==2022.9.24
          without pipx: python3 -m pip install --user pipenv==2022.9.24
        Docker:
          sudo apt-get install docker.io
          the native backend does not need it
        Docker Compose:
          install docker-compose-plugin from Docker's own Debian repository
          up to Debian 12 the package docker-compose is version 1
          the native backend does not need it
        Node:
          nvm install 14
          without nvm: fnm install 14, or volta install node@14
          the package of the system is seldom Node 14
        NPM:
          npm 6 comes with Node 14: nvm install 14
          with the Node you have: npm install --global npm@6.14.17
        ImageMagick:
          Debian 12 and older have only ImageMagick 6, so apt-get cannot help
          with Nix: nix profile install nixpkgs#imagemagick
          or take the AppImage from the ImageMagick site: put it on PATH as `magick`
        git:
          sudo apt-get install git
        ");
    }
}
