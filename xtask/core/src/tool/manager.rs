//! The tool managers of a person: which of them is there, and its own line for getting a tool.

use super::{Requirement, System};

/// A program that brings tools in many versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    Mise,
    Asdf,
    Uv,
    Pyenv,
    Pipx,
    Volta,
    Fnm,
    Nvm,
    Nix,
    Brew,
}

impl Manager {
    /// All of them, those that somebody set up for more than one kind of tool first.
    pub const ALL: [Self; 10] = [
        Self::Mise,
        Self::Asdf,
        Self::Uv,
        Self::Pyenv,
        Self::Pipx,
        Self::Volta,
        Self::Fnm,
        Self::Nvm,
        Self::Nix,
        Self::Brew,
    ];

    /// Its program. `nvm` is none, but a function of the shell.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Mise => "mise",
            Self::Asdf => "asdf",
            Self::Uv => "uv",
            Self::Pyenv => "pyenv",
            Self::Pipx => "pipx",
            Self::Volta => "volta",
            Self::Fnm => "fnm",
            Self::Nvm => "nvm",
            Self::Nix => "nix",
            Self::Brew => "brew",
        }
    }

    /// Files below the home folder that show that it is there although its program is not on PATH.
    pub const fn signs(self) -> &'static [&'static str] {
        match self {
            Self::Mise => &[".local/bin/mise"],
            Self::Asdf => &[".asdf/asdf.sh"],
            Self::Uv => &[".local/bin/uv"],
            Self::Pyenv => &[".pyenv/bin/pyenv"],
            Self::Volta => &[".volta/bin/volta"],
            Self::Fnm => &[".local/share/fnm/fnm"],
            Self::Nvm => &[".nvm/nvm.sh", ".config/nvm/nvm.sh"],
            Self::Pipx | Self::Nix | Self::Brew => &[],
        }
    }

    /// The one that put a program there.
    pub fn of_path(path: &str) -> Option<Self> {
        let signs = [
            ("/mise/", Self::Mise),
            ("/.asdf/", Self::Asdf),
            ("/.pyenv/", Self::Pyenv),
            ("/.local/share/uv/", Self::Uv),
            ("/pipx/", Self::Pipx),
            ("/.volta/", Self::Volta),
            ("/fnm_multishells/", Self::Fnm),
            ("/fnm/", Self::Fnm),
            ("/.nvm/", Self::Nvm),
            ("/nvm/versions/", Self::Nvm),
            ("/nix/store/", Self::Nix),
            ("/.nix-profile/", Self::Nix),
            ("/opt/homebrew/", Self::Brew),
            ("/Cellar/", Self::Brew),
            ("/.linuxbrew/", Self::Brew),
        ];
        signs.into_iter().find(|(sign, _)| path.contains(sign)).map(|(_, manager)| manager)
    }

    /// What to type to get this tool with it; `None` where it does not have it.
    pub fn get(self, tool: &Requirement) -> Option<String> {
        let (tested, series, major) = (&tool.tested, tool.series(), tool.major());
        Some(match (tool.name.as_str(), self) {
            ("python", Self::Mise) => format!("mise use python@{series}"),
            ("python", Self::Asdf) => format!("asdf install python {tested}"),
            ("python", Self::Uv) => format!("uv python install {series}"),
            ("python", Self::Pyenv) => format!("pyenv install {tested} && pyenv local {tested}"),
            ("pipenv", Self::Uv) => format!("uv tool install pipenv=={tested}"),
            ("pipenv", Self::Pipx) => format!("pipx install --force pipenv=={tested}"),
            ("node", Self::Mise) => format!("mise use node@{major}"),
            ("node", Self::Asdf) => format!("asdf install nodejs {tested}"),
            ("node", Self::Volta) => format!("volta install node@{major}"),
            ("node", Self::Fnm) => format!("fnm install {major} && fnm use {major}"),
            ("node", Self::Nvm) => format!("nvm install {major}"),
            ("uv" | "pnpm", Self::Mise) => format!("mise use {}@{tested}", tool.name),
            ("uv", Self::Pipx) => format!("pipx install uv=={tested}"),
            ("pnpm", Self::Volta) => format!("volta install pnpm@{major}"),
            ("npm", Self::Volta) => format!("volta install npm@{major}"),
            ("imagemagick" | "git", Self::Nix) => format!("nix profile install nixpkgs#{}", tool.name),
            ("imagemagick" | "git", Self::Brew) => format!("brew install {}", tool.name),
            _ => return None,
        })
    }
}

/// Puts the line of the person's own tool manager in front: of the one that brought what was found at `path`, else of one that is there.
/// The package manager of the system is what the other lines begin with already; Nix and Homebrew only stand in for one that is not known.
pub fn with_own_manager(
    tool: &Requirement,
    present: &[Manager],
    path: Option<&str>,
    system: System,
    remedies: Vec<String>,
) -> Vec<String> {
    let by_path = path.and_then(Manager::of_path);
    let stands_in = |manager: &Manager| {
        !matches!(manager, Manager::Nix | Manager::Brew)
            || system == System::Other
            || by_path == Some(*manager)
    };
    let known =
        by_path.into_iter().chain(Manager::ALL.into_iter().filter(|manager| present.contains(manager)));
    let Some(line) = known.filter(stands_in).find_map(|manager| manager.get(tool)) else { return remedies };
    let same = |other: &String| {
        let verb: Vec<&str> = line.split_whitespace().take(2).collect();
        other.contains(&verb.join(" "))
    };
    let rest = remedies.into_iter().filter(|other| !same(other));
    std::iter::once(line.clone()).chain(rest.collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{Verdict, remedies};

    fn tools() -> Vec<Requirement> {
        crate::release::find("documented").unwrap().tools
    }

    #[test]
    fn every_manager_has_lines_for_what_it_brings() {
        let newer = crate::release::find("v14").unwrap().tools;
        let newer = newer.into_iter().filter(|tool| matches!(tool.name.as_str(), "uv" | "pnpm"));
        let all: Vec<Requirement> = tools().into_iter().chain(newer).collect();
        let of = |manager: Manager| all.iter().filter_map(move |tool| manager.get(tool));
        let lines: Vec<String> = Manager::ALL.into_iter().flat_map(of).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        mise use python@3.9
        mise use node@14
        mise use uv@0.9.30
        asdf install python 3.9.16
        asdf install nodejs 14.19.3
        uv python install 3.9
        uv tool install pipenv==2022.9.24
        pyenv install 3.9.16 && pyenv local 3.9.16
        pipx install --force pipenv==2022.9.24
        pipx install uv==0.9.30
        volta install node@14
        volta install npm@6
        fnm install 14 && fnm use 14
        nvm install 14
        nix profile install nixpkgs#imagemagick
        nix profile install nixpkgs#git
        brew install imagemagick
        brew install git
        ");
    }

    #[test]
    fn the_manager_that_brought_the_wrong_version_goes_first() {
        let first = |name: &str, present: &[Manager], path: Option<&str>| {
            let tool = tools().into_iter().find(|tool| tool.name == name).unwrap();
            let system = System::Debian(Some(12));
            let ways = remedies(&tool, &Verdict::TooNew, system);
            with_own_manager(&tool, present, path, system, ways)
        };
        let all = Manager::ALL;
        assert_eq!(
            first("python", &all, Some("/home/me/.pyenv/shims/python3"))[0],
            "pyenv install 3.9.16 && pyenv local 3.9.16"
        );
        assert_eq!(first("python", &all, None)[0], "mise use python@3.9");
        assert_eq!(
            first(
                "node",
                &[Manager::Fnm, Manager::Nvm],
                Some("/home/me/.nvm/versions/node/v20.1.0/bin/node")
            )[0],
            "nvm install 14"
        );
        assert_eq!(first("node", &[Manager::Uv], None)[0], "nvm install 14", "as without any");
        // What the system's package manager has is not fetched from elsewhere.
        assert_eq!(first("git", &all, None)[0], "sudo apt-get install git");
        assert_eq!(
            first("git", &all, Some("/nix/store/x-git-1.8/bin/git"))[0],
            "nix profile install nixpkgs#git"
        );
        let pyenv = first("python", &[Manager::Pyenv], None);
        assert_eq!(pyenv.iter().filter(|line| line.contains("pyenv install")).count(), 1, "{pyenv:?}");
    }

    #[test]
    fn managers_are_known_by_where_they_put_things() {
        for (path, manager) in [
            ("/home/me/.local/share/mise/shims/node", Some(Manager::Mise)),
            ("/home/me/.asdf/shims/python3", Some(Manager::Asdf)),
            ("/run/user/1000/fnm_multishells/1_2/bin/node", Some(Manager::Fnm)),
            ("/opt/homebrew/bin/git", Some(Manager::Brew)),
            ("/usr/bin/git", None),
        ] {
            assert_eq!(Manager::of_path(path), manager, "{path}");
        }
    }
}
