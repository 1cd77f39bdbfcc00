//! Which release a project is made for, read from its own `Pipfile` or `pyproject.toml`. Nothing of the project is executed.

use serde::Serialize;

/// What a project names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detected {
    /// Its requirement, without extras: `invenio-app-rdm ~=12.0.0`.
    pub requirement: String,
    /// The release that this is, where this version has it.
    pub release: Option<&'static str>,
    /// The file that says so.
    pub file: String,
    /// Its line, counted from 1.
    pub line: usize,
}

/// The files that are read, the one that says more first.
pub const FILES: [&str; 2] = ["pyproject.toml", "Pipfile"];

/// Packages that make a project one of Invenio, the most telling first: OARepo brings `invenio-app-rdm` along.
const PACKAGES: [&str; 3] = ["oarepo", "invenio-app-rdm", "invenio-app-ils"];

/// Looks through files, by name and text. What cannot be read as TOML names nothing: it is the application's own tools that complain.
pub fn detect(files: &[(&str, &str)]) -> Option<Detected> {
    let named: Vec<(&str, &str, String, String)> = files
        .iter()
        .flat_map(|(file, text)| {
            requirements(text).into_iter().map(move |(name, spec)| (*file, *text, name, spec))
        })
        .collect();
    PACKAGES.into_iter().find_map(|package| {
        let (file, text, _, spec) = named.iter().find(|(_, _, name, _)| name == package)?;
        Some(Detected {
            requirement: format!("{package} {spec}").trim_end().to_owned(),
            release: major(spec).and_then(|major| release(package, major)),
            file: (*file).to_owned(),
            line: line(text, package),
        })
    })
}

/// The release of a package's major version. InvenioRDM 9 and 10 have the pins of the documentation.
fn release(package: &str, major: u32) -> Option<&'static str> {
    match (package, major) {
        ("oarepo", 14) => Some("oarepo-14"),
        ("invenio-app-rdm", 9 | 10) => Some(super::DEFAULT),
        ("invenio-app-rdm", 11) => Some("v11"),
        ("invenio-app-rdm", 12) => Some("v12"),
        ("invenio-app-rdm", 13) => Some("v13"),
        ("invenio-app-rdm", 14) => Some("v14"),
        _ => None,
    }
}

/// The release that an application belongs to, by its Package URL: `v12` of `pkg:pypi/invenio-app-rdm@12.1.0`.
pub fn release_of(purl: &str) -> Option<&'static str> {
    let (package, version) = purl.strip_prefix("pkg:pypi/")?.split_once('@')?;
    release(package, major(version)?)
}

/// Every direct requirement of a project, as name and version specifier.
fn requirements(text: &str) -> Vec<(String, String)> {
    let Ok(table) = text.parse::<toml::Table>() else { return Vec::new() };
    let at = |path: &[&str]| {
        path.iter().try_fold(&table, |table, key| table.get(*key)?.as_table()).into_iter().flatten()
    };
    // Pipfile, and Poetry's way.
    let tables = at(&["packages"]).chain(at(&["tool", "poetry", "dependencies"]));
    let mut all: Vec<(String, String)> = tables
        .map(|(name, value)| {
            let spec = value.as_str().or_else(|| value.get("version")?.as_str()).unwrap_or_default();
            (normal(name), spec.to_owned())
        })
        .collect();
    let project = at(&["project"]).find(|(key, _)| *key == "dependencies");
    let listed = project.and_then(|(_, list)| list.as_array()).into_iter().flatten();
    all.extend(listed.filter_map(|item| Some(pep_508(item.as_str()?))));
    all
}

/// `oarepo[s3,rdm]>=14.2.1rc2,<15.0.0 ; marker` as name and specifier.
fn pep_508(text: &str) -> (String, String) {
    let text = text.split(';').next().unwrap_or_default();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let spec = if rest.trim_start().starts_with('[') {
        rest.split_once(']').map_or("", |(_, rest)| rest)
    } else {
        rest
    };
    (normal(name), spec.trim().to_owned())
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// The major version that a specifier allows: that of the first bound which is not an upper one.
fn major(spec: &str) -> Option<u32> {
    spec.split(',').map(str::trim).filter(|part| !part.starts_with(['<', '!'])).find_map(|part| {
        let digits = part.trim_start_matches(['~', '=', '>', '^', ' ', 'v']);
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}

/// The line where a package is named for the first time, as a word of its own.
fn line(text: &str, package: &str) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let names = |line: &str| line.split(|c: char| !word(c)).any(|part| normal(part) == package);
    text.lines()
        .position(|line| names(line.split('#').next().unwrap_or_default()))
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &str, text: &str) -> String {
        detect(&[(file, text)]).map_or_else(
            || "nothing".to_owned(),
            |d| format!("{}:{} {} = {}", d.file, d.line, d.requirement, d.release.unwrap_or("unknown")),
        )
    }

    #[test]
    fn pipfiles_of_every_template_are_read() {
        let pipfile = |line: &str| {
            told(
                "Pipfile",
                &format!("[[source]]\nname = \"pypi\"\n\n[packages]\n{line}\nuwsgi = \">=2.0\"\n"),
            )
        };
        for (line, said) in [
            (
                "invenio-app-rdm = {extras = [\"opensearch2\"], version = \"~=12.0.0\"}",
                "invenio-app-rdm ~=12.0.0 = v12",
            ),
            (
                "invenio-app-rdm = {extras = [\"opensearch2\", \"s3\"], version = \"~=13.0.0\"}",
                "invenio-app-rdm ~=13.0.0 = v13",
            ),
            ("Invenio_App_RDM = \"~=11.0.0\"", "invenio-app-rdm ~=11.0.0 = v11"),
            (
                "invenio-app-rdm = {extras = [\"postgresql\", \"elasticsearch7\"], version = \"~=9.1.0\"}",
                "invenio-app-rdm ~=9.1.0 = documented",
            ),
            ("invenio-app-rdm = \"==15.0\"", "invenio-app-rdm ==15.0 = unknown"),
            ("invenio-app-rdm = \"*\"", "invenio-app-rdm * = unknown"),
            ("invenio-app-ils = {version = \"==4.8.0\"}", "invenio-app-ils ==4.8.0 = unknown"),
        ] {
            assert_eq!(pipfile(line), format!("Pipfile:5 {said}"));
        }
    }

    #[test]
    fn pyproject_files_are_read() {
        let project = |items: &str| {
            told(
                "pyproject.toml",
                &format!(
                    "[project]\nname = \"site\"\n# invenio-app-rdm, oarepo\ndependencies = [\n{items}\n]\n"
                ),
            )
        };
        for (items, said) in [
            (
                "\"uwsgi>=2.0\",\n\"invenio-app-rdm[opensearch2,s3]~=14.0.0b11.dev1\",",
                "6 invenio-app-rdm ~=14.0.0b11.dev1 = v14",
            ),
            (
                "\"oarepo[s3,rdm]>=14.2.1rc2,<15.0.0\",\n\"oarepo-app>=6\"",
                "5 oarepo >=14.2.1rc2,<15.0.0 = oarepo-14",
            ),
            (
                "\"invenio-app-rdm~=14.0\",\n\"oarepo <15, >=14 ; python_version > '3'\"",
                "6 oarepo <15, >=14 = oarepo-14",
            ),
            ("\"oarepo==12.0.3\"", "5 oarepo ==12.0.3 = unknown"),
        ] {
            assert_eq!(project(items), format!("pyproject.toml:{said}"));
        }
        let poetry = "[tool.poetry.dependencies]\ninvenio-app-rdm = \"^12.1\"\n";
        assert_eq!(told("pyproject.toml", poetry), "pyproject.toml:2 invenio-app-rdm ^12.1 = v12");
    }

    #[test]
    fn what_is_no_project_of_invenio_names_nothing() {
        for text in [
            "",
            "[packages]\nflask = \"*\"\n",
            "[packages]\noarepo-runtime = \"==1\"\n",
            "[packages\n",
            "packages = 3\n",
        ] {
            assert_eq!(told("Pipfile", text), "nothing", "{text}");
        }
    }
}
