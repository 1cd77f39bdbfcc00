//! The pages that people follow: every command block in them is run, in the order of the page, in a project of its own.
//!
//! A block of the language `sh` is run as it stands. Above it may stand what the reader does not see:
//! `<!-- not run: REASON -->`, or `<!-- exits with N -->` where the last command is meant to fail.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};

use crate::support::{Place, Run, repository};

/// A block of commands on a page.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The line of the page on which it begins, counted from 1.
    line: usize,
    text: String,
    /// Why it cannot be run here.
    not_run: Option<String>,
    /// The exit status of its last command.
    status: i32,
}

/// The command blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut above): (Vec<Block>, &str) = (Vec::new(), "");
    let mut lines = (1..).zip(page.lines());
    while let Some((line, text)) = lines.next() {
        if text == "```sh" {
            let commands: Vec<&str> =
                lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```").collect();
            let note = |name: &str| {
                Some(above.strip_prefix("<!-- ")?.strip_prefix(name)?.strip_suffix(" -->")?.trim())
            };
            found.push(Block {
                line,
                text: commands.join("\n"),
                not_run: note("not run:").map(ToOwned::to_owned),
                status: note("exits with").map_or(0, |number| number.parse().unwrap()),
            });
        } else if text.starts_with("```") && text.len() > 3 {
            // A block of another language may show what looks like one of ours.
            lines.by_ref().take_while(|(_, text)| *text != "```").for_each(drop);
        }
        above = text;
    }
    found
}

fn file(path: &Utf8Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
    std::fs::write(path, text).unwrap();
}

/// Writes a program that a person has on PATH.
fn program(folder: &Utf8Path, name: &str, script: &str) {
    let path = folder.join(name);
    file(&path, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Follows a page as a person does, in a copy of what a checkout has.
#[track_caller]
fn follow(page: &str) {
    let place = Place::heavy();
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.iter().any(|block| block.not_run.is_none()), "{page} has nothing to run");

    let seeds = Run::of(place.shell("cp -r \"$0\" .").arg(repository().join("seeds")));
    assert_eq!(seeds.status, 0, "{seeds}");
    place.manifest("seed = \"demo\"\n");
    // The page's second project, on ports of its own.
    let beside = Place::new();
    let other = place.root.join("../my-site");
    std::fs::create_dir_all(&other).unwrap();
    file(&other.join("ecosystem.local.toml"), &format!("port_offset = {}\n", beside.offset));
    let bin = place.root.join("../bin");
    std::fs::create_dir_all(&bin).unwrap();
    let ours = env!("CARGO_BIN_EXE_ecosystem");
    program(&bin, "ecosystem", &format!("exec '{ours}' \"$@\""));
    // Building is not what the pages are about.
    program(
        &bin,
        "cargo",
        &format!("[ \"$1\" = xtask ] || exit 99; shift; CARGO_PKG_NAME=xtask exec '{ours}' \"$@\""),
    );

    let mut script = vec!["set -eu".to_owned()];
    for Block { line, text, not_run, status } in &blocks {
        if let Some(reason) = not_run {
            assert!(!reason.is_empty(), "{page}:{line} says no reason");
            continue;
        }
        script.push(format!("echo \"== {page}:{line}\" >&2"));
        if *status == 0 {
            script.push(text.clone());
        } else {
            let judge =
                format!("[ $status = {status} ] || {{ echo \"not {status}: $status\" >&2; exit 98; }}");
            script.extend(["set +e".to_owned(), text.clone(), "status=$?; set -e".to_owned(), judge]);
        }
    }
    let script = script.join("\n");
    let run = Run::of(&mut place.shell(&script));
    // Whatever a page that went wrong has left running ends with it.
    let left = Run::of(&mut place.shell("ecosystem down --all --format json"));
    assert_eq!(run.status, 0, "{page}, after the last line beginning with `==`:\n{run}");
    assert!(left.status == 0, "{left}");
    // What a page starts, it stops.
    for other in place.root.join("..").read_dir_utf8().unwrap().flatten() {
        let stopped = !other.path().join(".ecosystem/control").exists();
        assert!(stopped, "{page} leaves {} running", other.path());
    }
}

impl Place {
    /// A shell in this place, with the home and the PATH of somebody who has just arrived.
    fn shell(&self, script: &str) -> std::process::Command {
        let home: Utf8PathBuf = self.root.join("../home");
        std::fs::create_dir_all(&home).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a person types into a shell")]
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", script]).current_dir(&self.root).stdin(std::process::Stdio::null()).env_clear();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.root.join("../bin"));
        shell.env("PATH", path).env("HOME", home).env("CI", "1").env("LANG", "C.UTF-8");
        shell.env("ECOSYSTEM_STORE", self.store());
        shell
    }

    /// The servers of this user's store in a store that knows no stacks but those of the page: `down --all` means those.
    fn store(&self) -> Utf8PathBuf {
        let store = self.root.join("../store");
        if store.exists() {
            return store;
        }
        std::fs::DirBuilder::new().mode(0o700).create(&store).unwrap();
        let real = self.json(&["provision"])["store"].as_str().map(Utf8PathBuf::from).unwrap();
        for entry in real.read_dir_utf8().unwrap().flatten() {
            let own = ["places", "locks", "tmp", "cache"].contains(&entry.file_name());
            if !own {
                std::os::unix::fs::symlink(entry.path(), store.join(entry.file_name())).unwrap();
            }
        }
        store
    }
}

#[test]
fn the_blocks_of_a_page_are_found() {
    let page = "text\n```sh\na\nb\n```\n<!-- not run: it is long -->\n```sh\nc\n```\n```text\n```sh\n```\n<!-- exits with 5 -->\n```sh\nd\n```\n";
    let found: Vec<_> = blocks(page).into_iter().map(|b| (b.line, b.text, b.not_run, b.status)).collect();
    assert_eq!(
        found,
        [
            (2, "a\nb".to_owned(), None, 0),
            (7, "c".to_owned(), Some("it is long".to_owned()), 0),
            (14, "d".to_owned(), None, 5)
        ]
    );
}

#[test]
fn the_tutorial_can_be_followed() {
    follow("docs/tutorial.md");
}

#[test]
fn the_how_tos_can_be_followed() {
    follow("docs/how-to.md");
}

#[test]
fn the_readme_can_be_followed() {
    follow("README.md");
}

#[test]
fn every_block_of_commands_is_run_or_says_why_not() {
    const FOLLOWED: [&str; 3] = ["README.md", "docs/tutorial.md", "docs/how-to.md"];
    let mut problems = Vec::new();
    for path in crate::tidy::files(repository(), "md") {
        let page = path.strip_prefix(repository()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for block in blocks(&text) {
            if block.not_run.is_none() && !FOLLOWED.contains(&page.as_str()) {
                problems.push(format!("{page}:{}: no test follows this page", block.line));
            }
        }
    }
    crate::tidy::none(&problems);
}
