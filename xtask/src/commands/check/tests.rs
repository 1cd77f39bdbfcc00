//! The report of `check`, with made-up answers: the wording is what people and scripts rely on.

use std::collections::BTreeMap;

use ecosystem_core::tool::Answer;

use ecosystem_core::model::{Flags, resolve};

use super::human::render;
use super::tools::{probe, report};
use super::*;

/// Answers by command; a command that is not among them does not exist.
fn checked(answers: &[(&str, &str)]) -> Report {
    let answers: BTreeMap<&str, &str> = answers.iter().copied().collect();
    let ask = |words: &[String]| {
        let stdout = (*answers.get(words.join(" ").as_str())?).to_owned();
        Some((format!("/usr/bin/{}", words[0]), Answer { stdout, ..Answer::default() }))
    };
    let ecosystem = resolve(&[], &Flags::default()).unwrap();
    let system = System::Debian(Some(12));
    let tools: Vec<Tool> =
        ecosystem.tools.iter().map(|tool| report(tool, probe(tool, &ask), system, &[])).collect();
    let findings = tools.iter().map(Tool::as_finding).collect();
    Report::new(&ecosystem.release.value, system, findings, tools)
}

const GOOD: [(&str, &str); 8] = [
    ("python3.9 --version", "Python 3.9.16"),
    ("pipenv --version", "pipenv, version 2022.9.24"),
    ("docker --version", "Docker version 20.10.21, build baeda1f"),
    ("docker compose version", "Docker Compose version v2.13.0"),
    ("node --version", "v14.19.3"),
    ("npm --version", "6.14.17"),
    ("magick -version", "Version: ImageMagick 7.1.0-62 Q16-HDRI x86_64 20885"),
    ("git --version", "git version 2.37.1"),
];

#[test]
fn good_output_has_the_wording_that_people_know() {
    let report = checked(&GOOD);
    assert!(report.ok && report.failure().is_none());
    insta::assert_snapshot!(render(&report, false), @"
    Checking requirements...

    Tools
    Checking Python version...
    Python version OK. Got 3.9.16.
    Checking Pipenv is installed...
    Pipenv OK. Got version 2022.9.24.
    Checking Docker version...
    Docker version OK. Got 20.10.21.
    Checking Docker Compose version...
    Docker Compose version OK. Got 2.13.0.
    Checking Node version...
    Node version OK. Got 14.19.3.
    Checking NPM version...
    NPM version OK. Got 6.14.17.
    Checking ImageMagick version...
    ImageMagick version OK. Got 7.1.0-62.
    Checking git version...
    git version OK. Got 2.37.1.

    All requirements are fulfilled.
    ");
}

const BAD: [(&str, &str); 7] = [
    ("python3 --version", "Python 3.11.2"),
    ("pipenv --version", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'pipenv'"),
    ("docker --version", "podman version 4.9.3"),
    ("docker-compose --version", "docker-compose version 1.29.2, build 5becea4c"),
    ("npm --version", "11.19.1"),
    ("convert -version", "Version: ImageMagick 6.9.11-60 Q16 x86_64"),
    ("git --version", "git: hello"),
];

#[test]
fn bad_output_says_what_was_found_what_is_wanted_and_how_to_get_it() {
    let report = checked(&BAD);
    assert_eq!(report.failure().map(|failure| failure.kind.exit_status()), Some(1));
    insta::assert_snapshot!(render(&report, false), @"
    Checking requirements...

    Tools
    Checking Python version...
    Python is too new. Got 3.11.2, expected 3.9.
      found     /usr/bin/python3   (python3 --version)
      accepted  3.9, tested with 3.9.16
      get it    uv python install 3.9
                with pyenv: pyenv install 3.9.16
                Debian 12 has no python3.9 of its own
    Checking Pipenv is installed...
    Pipenv is installed, but does not work.
      found     /usr/bin/pipenv   (pipenv --version)
      it says   ModuleNotFoundError: No module named 'pipenv'
      accepted  2022 or newer, tested with 2022.9.24
      get it    pipx install pipenv==2022.9.24
                {program} shell   has 2022.9.24 first on PATH, beside your own
                without pipx: python3 -m pip install --user pipenv==2022.9.24
    Checking Docker version...
    Docker not found: podman answers in its place.
      found     /usr/bin/docker   (docker --version)
      it says   podman version 4.9.3
      accepted  20.10 or newer, tested with 20.10.21
      get it    sudo apt-get install docker.io
                or remove the package that puts another program in Docker's place (podman-docker)
                the native backend does not need it
    Checking Docker Compose version...
    Docker Compose is too old. Got 1.29.2, expected 2 or newer.
      found     /usr/bin/docker-compose   (docker-compose --version)
      accepted  2 or newer, tested with 2.13.0
      get it    install docker-compose-plugin from Docker's own Debian repository
                up to Debian 12 the package docker-compose is version 1
                the native backend does not need it
    Checking Node version...
    Node not found.
      accepted  14, tested with 14.19.3
      get it    nvm install 14
                {program} shell   has 14.19.3 first on PATH, beside your own
                without nvm: fnm install 14, or volta install node@14
                the package of the system is seldom Node 14
    Checking NPM version...
    NPM is too new. Got 11.19.1, expected 6.
      found     /usr/bin/npm   (npm --version)
      accepted  6, tested with 6.14.17
      get it    npm 6 comes with Node 14: nvm install 14
                {program} shell   has 6.14.17 first on PATH, beside your own
                with the Node you have: npm install --global npm@6.14.17
    Checking ImageMagick version...
    ImageMagick is too old. Got 6.9.11-60, expected 7.1 or newer.
      found     /usr/bin/convert   (convert -version)
      accepted  7.1 or newer, tested with 7.1.0
      get it    Debian 12 and older have only ImageMagick 6, so apt-get cannot help
                with Nix: nix profile install nixpkgs#imagemagick
                or take the AppImage from the ImageMagick site: put it on PATH as `magick`
    Checking git version...
    git: no version can be found in what it prints.
      found     /usr/bin/git   (git --version)
      it says   git: hello
      accepted  2 or newer, tested with 2.37.1
      get it    sudo apt-get install git

    8 problems.
    `up` needs none of the tools: they are what the release asks for to develop the application.
    What stops `up` are problems of the other sections.
    ");
}

#[test]
fn the_report_is_stable_for_scripts() {
    let mut report = checked(&BAD);
    report.tools.truncate(2);
    report.findings.truncate(2);
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
    {
      "release": "documented",
      "system": "debian 12",
      "ok": false,
      "problems": 8,
      "warnings": 0,
      "findings": [
        {
          "section": "tools",
          "verdict": "problem",
          "what": "Python",
          "on": "Python is too new. Got 3.11.2, expected 3.9.",
          "why": "the release accepts 3.9, and is tested with 3.9.16",
          "next": "uv python install 3.9"
        },
        {
          "section": "tools",
          "verdict": "problem",
          "what": "Pipenv",
          "on": "Pipenv is installed, but does not work.",
          "why": "the release accepts 2022 or newer, and is tested with 2022.9.24",
          "next": "pipx install pipenv==2022.9.24"
        }
      ],
      "tools": [
        {
          "name": "python",
          "title": "Python",
          "verdict": "too-new",
          "version": "3.11.2",
          "said": null,
          "command": "python3 --version",
          "path": "/usr/bin/python3",
          "accept": ">=3.9, <3.10",
          "tested": "3.9.16",
          "remedies": [
            "uv python install 3.9",
            "with pyenv: pyenv install 3.9.16",
            "Debian 12 has no python3.9 of its own"
          ]
        },
        {
          "name": "pipenv",
          "title": "Pipenv",
          "verdict": "broken",
          "version": null,
          "said": "ModuleNotFoundError: No module named 'pipenv'",
          "command": "pipenv --version",
          "path": "/usr/bin/pipenv",
          "accept": ">=2022",
          "tested": "2022.9.24",
          "remedies": [
            "pipx install pipenv==2022.9.24",
            "{program} shell   has 2022.9.24 first on PATH, beside your own",
            "without pipx: python3 -m pip install --user pipenv==2022.9.24"
          ]
        }
      ]
    }
    "#);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let mut report = checked(&BAD);
    report.findings.extend(some());
    let colourful = render(&report, true);
    assert!(colourful.contains("\u{1b}[31m"));
    let stripped = anstream::adapter::strip_str(&colourful).to_string();
    assert_eq!(stripped, render(&report, false));
}

#[test]
fn the_first_right_candidate_wins_over_wrong_ones() {
    let python = |answers: &[(&str, &str)]| {
        let tool = checked(answers).tools.remove(0);
        format!("{:?} {}", tool.finding.verdict, tool.command.unwrap_or_default())
    };
    assert_eq!(
        python(&[("python3 --version", "Python 3.12.1"), ("python --version", "Python 3.9.1")]),
        "Ok python --version"
    );
    assert_eq!(
        python(&[
            ("python3.9 --version", "pyenv: python3.9: command not found"),
            ("python3 --version", "Python 3.12.1")
        ]),
        "TooNew python3 --version"
    );
    assert_eq!(
        python(&[("python3.9 --version", "pyenv: python3.9: command not found")]),
        "NotFound python3.9 --version"
    );
    assert_eq!(python(&[]), "NotFound ");
}

#[test]
fn a_python_that_pyenv_has_is_the_first_remedy() {
    let pyenv = "pyenv: python3.9: command not found\nThe `python3.9' command exists in these Python versions:\n  3.9.18\n";
    let python =
        checked(&[("python3.9 --version", pyenv), ("python3 --version", "Python 3.11.7")]).tools.remove(0);
    assert_eq!(python.finding.verdict.name(), "too-new");
    assert!(python.remedies[0].contains("pyenv shell 3.9.18"), "{:?}", python.remedies);
}

/// One finding of each kind.
fn some() -> Vec<Finding> {
    let why = "a reason that is long enough to need more than one line of a terminal, because it says what happens and when it does";
    vec![
        Finding::ok(Section::Libraries, "cairo", "/lib/libcairo.so.2"),
        Finding::of(
            Verdict::Warning,
            Section::Libraries,
            "MagickWand",
            "not found",
            why,
            "apt-get install it",
        ),
        Finding::of(
            Verdict::Problem,
            Section::Ports,
            "postgresql sql",
            "5632 is held by pid 7: a \u{1b}[31mcommand\nin two lines",
            "`up` starts nothing",
            "ecosystem up --port-offset 100",
        ),
        Finding::ok(Section::Containers, "engine", "none answers").note("`up` needs none"),
    ]
}

#[test]
fn what_is_no_tool_is_a_table_with_the_next_step_below() {
    let mut report = Report::new("documented", System::Ubuntu, some(), Vec::new());
    let fixed = |backup: Option<&str>| Fixed { what: "a thing".into(), backup: backup.map(Into::into) };
    report.fixed = Some(vec![fixed(None), fixed(Some("/home/me/compose.yaml.before"))]);
    assert_eq!(report.failure().map(|failure| failure.code), Some("machine-lacks-something"));
    insta::assert_snapshot!(render(&report, false), @"
    Checking requirements...

    Libraries
      ✓ cairo       /lib/libcairo.so.2
      ! MagickWand  not found
                    a reason that is long enough to need more than one line of a terminal, because it says what happens
                    and when it does
                    → apt-get install it

    Ports
      ✗ postgresql sql  5632 is held by pid 7: a �[31mcommand
                        in two lines
                        `up` starts nothing
                        → ecosystem up --port-offset 100

    Containers
      ✓ engine  none answers
                `up` needs none

    Done: a thing

    Done: a thing
      as it was: /home/me/compose.yaml.before

    1 problem, 1 warning.
    ");
    let warned = Report::new("documented", System::Ubuntu, some().into_iter().take(2).collect(), Vec::new());
    assert!(warned.ok && warned.failure().is_none());
    assert_eq!(warned.summary(), "All requirements are fulfilled; 1 warning.");
}
