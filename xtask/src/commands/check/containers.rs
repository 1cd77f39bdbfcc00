//! The container engine and the person's own Compose files. Neither is needed; an engine that hangs is given up soon.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::compose_file::{LONGEST, NAMES, Scan, scan};
use ecosystem_core::host::engine::Engine;
use ecosystem_core::host::ports::Container;
use ecosystem_core::host::{Finding, Section, Verdict};
use ecosystem_core::model::Backend;

use super::project::Project;
use crate::backend::compose;
use crate::context::Context;
use crate::stack::{Unavailable, absent_here};
use crate::sys::fs::{Unreadable, read_at_most};

/// How long the engine may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks whether an engine answers.
pub(super) fn engine(context: &Context) -> Engine {
    let Some(docker) = context.find("docker") else { return Engine::NoClient };
    compose::engine(docker.as_str(), LIMIT).unwrap_or_else(|error| Engine::Silent(format!("{error:#}")))
}

/// The containers that publish ports, where an engine answers.
pub(super) fn publishing(context: &Context, engine: &Engine) -> Vec<Container> {
    let (Engine::Answers { .. }, Some(docker)) = (engine, context.find("docker")) else { return Vec::new() };
    compose::publishing(docker.as_str(), LIMIT)
}

/// Judges both.
pub(super) fn check(context: &Context, project: &Project, engine: &Engine) -> Vec<Finding> {
    let podman = context.find("podman");
    let mut findings = engine.judge(podman.as_deref().map(Utf8Path::as_str));
    let services = project.services();
    let absent = services.iter().filter(|service| service.kind.can_be_left_out());
    let absent: Vec<Unavailable> = absent.filter_map(|service| absent_here(context, service)).collect();
    let wanted = services.iter().filter(|s| s.backend.value == Backend::Compose).map(|s| s.name.as_str());
    let wanted: Vec<&str> = wanted.filter(|name| !absent.iter().any(|one| one.service == *name)).collect();
    if !wanted.is_empty()
        && let Err(unfit) = compose::fit(context.find("docker").as_deref())
    {
        let why = format!("these are to run as containers: {}", wanted.join(", "));
        let unfit = unfit
            .downcast::<Failure>()
            .unwrap_or_else(|error| Failure::new(Kind::Host, "docker-silent", format!("{error:#}")));
        let next = unfit.hints.first().cloned().unwrap_or_default();
        findings[0] = Finding::of(Verdict::Problem, Section::Containers, "engine", unfit.message, why, next);
    }
    for Unavailable { service, reason, next } in absent {
        let left_out =
            Finding::ok(Section::Containers, service, "left out by `up`, which is whole without it");
        findings.push(left_out.note(format!("{reason}; {next}")));
    }
    for file in files(project) {
        let name = file.strip_prefix(&project.start).unwrap_or(&file).to_string();
        findings.extend(match read(&file) {
            Ok((_, scan)) => scan.findings(&name),
            Err(error) => {
                let why = "whether it opens ports to other machines cannot be told";
                let on = format!("cannot be read: {}", error.why);
                let next = format!("look into {file}: every port should begin with 127.0.0.1:");
                vec![Finding::of(Verdict::Warning, Section::Containers, name, on, why, next)]
            }
        });
    }
    findings
}

/// Looks at files that a person named. One that is not there is the person's slip.
pub(super) fn named(context: &Context, files: &[Utf8PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files {
        let path = context.cwd.join(file);
        let Some(text) = read_at_most(&path, LONGEST)? else {
            let failure = Failure::new(Kind::Usage, "no-such-file", format!("there is no file {path}"));
            return Err(failure.hint("name a Compose file: {program} check docker-compose.yml").into());
        };
        findings.extend(scan(&text).all_findings(file.as_str()));
    }
    Ok(findings)
}

/// The Compose files from where the person is up to the root of the project.
pub(super) fn files(project: &Project) -> Vec<Utf8PathBuf> {
    let inside = project.start.starts_with(&project.root);
    let top = if inside { &project.root } else { &project.start };
    let folders = project.start.ancestors().take_while(|folder| folder.starts_with(top));
    let there = |path: &Utf8PathBuf| path.symlink_metadata().is_ok();
    folders.flat_map(|folder| NAMES.iter().map(move |name| folder.join(name))).filter(there).collect()
}

/// A Compose file and what is in it.
pub(super) fn read(file: &Utf8Path) -> Result<(String, Scan), Unreadable> {
    let text = read_at_most(file, LONGEST)?.unwrap_or_default();
    let found = scan(&text);
    Ok((text, found))
}
