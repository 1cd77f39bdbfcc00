//! Documentation that must not fall behind the program: generated files, the page of errors, the README.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Place, repository};
use crate::tidy::{files, none, sources};

/// The text of a file of this repository.
fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn generated_files_are_up_to_date() {
    let place = Place::new();
    let run = place.run(&["render", "--check", "-C", repository().as_str()]);
    assert_eq!(run.status, 0, "run `cargo xtask render` and commit what it writes\n{run}");
}

#[test]
fn render_writes_only_the_compose_file_into_other_projects() {
    let place = Place::new();
    let file = place.root.join("docker/compose.yaml");
    assert_eq!(place.run(&["render", "--check"]).status, 1);
    assert!(!file.exists());
    insta::assert_snapshot!(place.ok(&["render"]).stdout, @"  docker/compose.yaml          written");
    place.ok(&["render", "--check"]);
    assert!(!place.root.join("docs").exists());

    // Another manifest is another file, of the same project: its volumes stay those of before.
    let text = std::fs::read_to_string(&file).unwrap();
    let renamed = text.replace("name: \"a-repository\"", "name: \"elsewhere\"");
    assert_ne!(renamed, text);
    place.file("docker/compose.yaml", &renamed);
    place.ok(&["render", "--check"]);
    // What one person says is not for the file that everybody has.
    place.file("ecosystem.local.toml", "[services.redis]\nimage = \"redis:5\"\n");
    place.ok(&["render", "--check"]);
    place.manifest("[services.redis]\nimage = \"redis:6\"\n");
    assert_eq!(place.run(&["render", "--check"]).status, 1);
    place.ok(&["render"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("name: \"elsewhere\"\n") && text.contains("image: \"redis:6\"\n"), "{text}");
}

#[test]
fn render_leaves_what_it_did_not_write() {
    let place = Place::new();
    let file = place.root.join("docker/compose.yaml");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    place.file("docker/compose.yaml", "services: {}\n");
    let run = place.run(&["render"]);
    insta::assert_snapshot!(run.to_string().replace(place.root.as_str(), "<root>"), @"

    error[file-of-another]: <root>/docker/compose.yaml was not written by this program
      → give it another name, then: ecosystem render
    [exit status: 2]
    ");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "services: {}\n");
}

#[test]
fn render_tells_what_is_unwise_and_what_an_image_does_not_have() {
    let place = Place::new();
    place.manifest("bind = \"0.0.0.0\"\n[services.opensearch]\nplugins = [\"analysis-icu\"]\n");
    let run = place.ok(&["render"]);
    assert!(run.stderr.contains("opens every server to the network"), "{run}");
    assert!(
        run.stderr.contains("the image does not have these plugins of the manifest: analysis-icu"),
        "{run}"
    );
}

#[test]
fn render_check_lists_what_is_out_of_date_and_writes_nothing() {
    let place = Place::new();
    std::fs::create_dir_all(place.root.join("xtask/core/src/render")).unwrap();
    let run = place.run(&["render", "--check"]);
    assert_eq!((run.status, run.stdout.matches("out of date").count()), (1, 5), "{run}");
    assert!(!place.root.join("docs").exists());
    place.ok(&["render"]);
    place.ok(&["render", "--check"]);
}

/// Every error code of the sources with the kinds it is used with; a kind that is a variable is left out.
fn codes() -> BTreeMap<String, BTreeSet<String>> {
    let mut codes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let literal = |text: &str| Some(text.trim_start().strip_prefix('"')?.split('"').next()?.to_owned());
    for (path, source) in sources() {
        if !path.starts_with("xtask") || path.as_str().ends_with("_tests.rs") {
            continue;
        }
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        for call in source.split("Failure::new(").skip(1) {
            let (kind, rest) = call.split_once(',').unwrap();
            if let Some(code) = literal(rest) {
                let kind = kind.trim().rsplit("::").next().unwrap();
                codes.entry(code).or_default().insert(kind.to_owned());
            }
        }
        // Codes that are chosen before the failure is made.
        for choice in source.split("let code =").skip(1) {
            let choice = choice.split(';').next().unwrap();
            for code in choice.split('"').skip(1).step_by(2) {
                codes.entry(code.to_owned()).or_default();
            }
        }
        for chosen in source.split("(Kind::").skip(1) {
            if let Some((kind, rest)) = chosen.split_once(',')
                && let Some(code) = literal(rest)
                && kind.chars().all(char::is_alphabetic)
            {
                codes.entry(code).or_default().insert(kind.to_owned());
            }
        }
    }
    codes
}

#[test]
fn every_error_code_is_explained_where_its_exit_status_is() {
    let status = |kind: &str| match kind {
        "Finding" => "1",
        "Usage" => "2",
        "Host" => "3",
        "Manifest" => "4",
        "Service" => "5",
        "Data" => "6",
        "Bug" => "70",
        "Interrupted" => "130",
        other => panic!("tell this test the exit status of Kind::{other}"),
    };
    let mut explained: BTreeMap<String, String> = BTreeMap::new();
    let mut section = String::new();
    for line in text("docs/errors.md").lines() {
        if let Some(title) = line.strip_prefix("## Exit status ") {
            section = title.split(':').next().unwrap().to_owned();
        } else if let Some(code) = line.strip_prefix("### ") {
            explained.insert(code.trim_matches('`').to_owned(), section.clone());
        }
    }
    let (used, mut problems) = (codes(), Vec::new());
    assert!(used.len() > 30, "the codes of the sources are not found any more: {used:?}");
    for (code, kinds) in &used {
        match explained.get(code) {
            None => problems.push(format!("{code} is not in docs/errors.md")),
            Some(section) => {
                for kind in kinds.iter().filter(|kind| status(kind) != *section) {
                    problems.push(format!("{code} is explained at {section}, but is used as {kind}"));
                }
            }
        }
    }
    let unused = explained.keys().filter(|code| !used.contains_key(*code));
    problems.extend(unused.map(|code| format!("docs/errors.md explains {code}, which nothing uses")));
    none(&problems);
}

#[test]
fn the_first_block_of_the_readme_is_two_commands() {
    let readme = text("README.md");
    let block = readme.split("```").nth(1).unwrap();
    let lines: Vec<&str> = block.lines().skip(1).collect();
    assert_eq!(lines, ["cargo xtask up", "cargo test --workspace"]);
}

#[test]
fn the_readme_knows_every_port() {
    let readme = text("README.md");
    let manifest: toml::Table = text("ecosystem.toml").parse().unwrap();
    let mut problems = Vec::new();
    for (name, service) in manifest["services"].as_table().unwrap() {
        let ports = service["ports"].as_table().unwrap().values().map(ToString::to_string);
        problems.extend(ports.filter(|port| !readme.contains(port)).map(|port| format!("{name} {port}")));
    }
    none(&problems);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut problems = Vec::new();
    for path in files(repository(), "md") {
        let page = std::fs::read_to_string(&path).unwrap();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let outside = file.is_empty() || file.contains("://");
            if !outside && !path.parent().unwrap().join(file).exists() {
                problems.push(format!("{path}: {link}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_command_that_the_pages_name_exists() {
    let place = Place::new();
    let help = place.ok(&["help"]);
    let known: BTreeSet<&str> =
        help.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut problems = Vec::new();
    for path in ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/errors.md", "CHANGELOG.md"] {
        for rest in text(path).split("cargo xtask ").skip(1) {
            let letter = |c: &char| c.is_ascii_alphabetic() || *c == '-';
            let word: String = rest.chars().take_while(letter).collect();
            if !word.is_empty() && !word.starts_with('-') && word != "dev" && !known.contains(word.as_str()) {
                problems.push(format!("{path}: cargo xtask {word}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_tests_that_hold_the_architecture_exist() {
    let all: String = sources().into_iter().map(|(_, source)| source).collect();
    let page = text("docs/architecture.md");
    // `tidy::core_is_pure`, or the name alone with several words.
    let names = page.split('`').skip(1).step_by(2).filter_map(|word| match word.rsplit_once("::") {
        Some(("tidy" | "generated" | "redis" | "reconcile" | "command_line" | "supervision", name)) => {
            Some(name)
        }
        None if word.matches('_').count() > 2 && !word.contains(' ') => Some(word),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    let lost = names.into_iter().filter(|name| !all.contains(&format!("fn {name}()")));
    none(&lost.map(ToOwned::to_owned).collect::<Vec<_>>());
}
