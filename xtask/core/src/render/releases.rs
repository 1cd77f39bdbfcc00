//! `docs/releases.md`: what each built-in release pins, and what of it runs natively where. From the data, so that it cannot say anything else.

use std::fmt::Write;

use super::page::NOTICE;
use crate::release::{self, Release};

/// The text of the page.
pub fn releases() -> String {
    let releases: Vec<(&str, Release)> =
        release::names().filter_map(|name| Some((name, release::find(name)?))).collect();
    let mut text = format!("{NOTICE}{INTRO}");
    text.push_str("## Services\n\n");
    table(&mut text, "service", &releases, |release| {
        let images =
            release.services.iter().filter_map(|(kind, service)| Some((kind, service.image.as_deref()?)));
        images.map(|(kind, image)| (kind.to_string(), format!("`{}`", short(image)))).collect()
    });
    text.push_str("\n## Native servers\n\n");
    table(&mut text, "service", &releases, |release| {
        let servers = release.services.iter().filter(|(kind, _)| kind.runs());
        servers.map(|(kind, service)| (kind.to_string(), native(service.get.as_deref()))).collect()
    });
    text.push_str(PLATFORMS);
    text.push_str("## Ports\n\n");
    table(&mut text, "service", &releases, |release| {
        release
            .services
            .iter()
            .flat_map(|(kind, service)| {
                service.ports.iter().map(move |(role, port)| (format!("{kind} {role}"), port.to_string()))
            })
            .collect()
    });
    text.push_str("\n## Host tools\n\nThe accepted versions, and in brackets the one that is pinned.\n\n");
    table(&mut text, "tool", &releases, |release| {
        release
            .tools
            .iter()
            .map(|tool| (tool.title.clone(), format!("`{}` ({})", tool.accept, tool.tested)))
            .collect()
    });
    text
}

/// One row a name that any release has, one column a release.
fn table(
    text: &mut String,
    what: &str,
    releases: &[(&str, Release)],
    cells: impl Fn(&Release) -> Vec<(String, String)>,
) {
    let columns: Vec<Vec<(String, String)>> = releases.iter().map(|(_, release)| cells(release)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let _ = write!(text, "| {what} |");
    for (name, _) in releases {
        let _ = write!(text, " `{name}` |");
    }
    let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(releases.len()));
    for name in names {
        let _ = write!(text, "| {name} |");
        for column in &columns {
            let cell = column.iter().find(|(known, _)| known == name).map_or("–", |(_, cell)| cell);
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

/// An image without the name of whoever publishes it.
fn short(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}

/// What the native backend fetches.
fn native(purl: Option<&str>) -> String {
    match purl.map(|purl| purl.rsplit_once('@').ok_or(purl)) {
        Some(Ok((_, version))) => version.to_owned(),
        Some(Err(purl)) if purl.starts_with("pkg:deb/") => "that of the system's release".to_owned(),
        Some(Err(purl)) => purl.to_owned(),
        None => "image only".to_owned(),
    }
}

const INTRO: &str = "\
# Releases

A release is the set of versions, images and ports that a version of Invenio or OARepo is developed with. It is chosen by, first wins:
`--release NAME`; `release = \"NAME\"` in `ecosystem.toml`; what an earlier `up --release NAME` was told; what the project itself names
(`invenio-app-rdm` or `oarepo` among the direct dependencies in `pyproject.toml` or `Pipfile`; groups and extras are not read); `documented`.

| release | made for |
| --- | --- |
| `documented` | the documentation of Invenio and OARepo, InvenioRDM 9 and 10 |
| `v11` `v12` `v13` `v14` | InvenioRDM of that number: images of cookiecutter-invenio-rdm, tools that invenio-cli 1.13.1 asks for |
| `oarepo-14` | OARepo 14: images of the NRP catch-all repository, tools of oarepo-cli 14.1.6, ports of OARepo |

";

const PLATFORMS: &str = "
Where a native server comes from decides where it is available:

| server | Linux x86_64 | Linux ARM | macOS Intel | macOS ARM |
| --- | --- | --- | --- | --- |
| PostgreSQL, from 14 on | native | native | native | native |
| PostgreSQL 12 | native | `from = \"path\"` | native | `from = \"path\"` |
| OpenSearch 2 | native | native | native | native |
| OpenSearch 3 | image only | image only | image only | image only |
| Redis, RabbitMQ | native on Debian and its kin, else `from = \"path\"` | the same | `from = \"path\"` | `from = \"path\"` |
| pgAdmin | native with Python 3.9 and NGINX | the same | the same | the same |

Run were `documented`, `v12` and `v14` on Debian 12, x86_64. The builds for the other platforms are in the lock file with their checksums,
and were never started. `image only` means that `up` runs it as a container only, which takes Docker ([compose.md](compose.md)).

";
