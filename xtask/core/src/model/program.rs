//! A service of the kind `process`: a program of the project's own, as the manifest describes it, and what must not be said of it. An object
//! store with a `command` is described in the same way.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::keys::{Value, is_name};
use super::manifest::Entry;
use super::relations::rank;
use super::{Origin, Problem, Service, Sourced, external, suggest, template};
use crate::catalog::Kind;
use crate::endpoint::Ready;
use crate::process::Restart;

/// The keys that only a process has.
const OWN: [&str; 6] = ["command", "ready", "after", "restart", "env", "cwd"];

/// What a process runs, before ports are put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// The program and its arguments. Never empty in a model without problems.
    pub command: Sourced<Vec<String>>,
    pub ready: Sourced<Ready>,
    /// The services that must be ready first.
    pub after: Sourced<Vec<String>>,
    pub restart: Sourced<Restart>,
    pub env: BTreeMap<String, Sourced<String>>,
    /// Below the project folder.
    pub cwd: Sourced<Utf8PathBuf>,
}

/// What the manifests say about one service, by path below it.
pub(super) type Said<'a> = BTreeMap<Vec<&'a str>, &'a Entry>;

/// Lays what is said over a service of the kind `process`, whose table stands at `origin`. `files` are the layers, lowest first.
pub(super) fn lay_over(
    service: &mut Service,
    said: &Said<'_>,
    origin: &Origin,
    files: &[String],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if service.kind != Kind::Process {
        // Of the release's own server's ports it has the one that is asked.
        service
            .ports
            .retain(|role, _| external::scheme(service.kind).is_some_and(|(_, main, _)| role == main));
        let ready = said.iter().find(|(path, _)| path.first() == Some(&"ready"));
        problems.extend(ready.map(|(_, entry)| {
            let what =
                format!("services.{}.ready: {} is asked in its own protocol", service.name, service.kind);
            Problem::at(&entry.origin, what, "take it out")
        }));
    }
    for (path, entry) in said {
        if let ([key @ "ports", role], Value::Number(value)) = (path.as_slice(), &entry.value) {
            if is_name(role) {
                let port = Sourced { value: *value, origin: entry.origin.clone() };
                service.ports.insert((*role).to_owned(), port);
            } else {
                let what =
                    format!("`{}` is not a name in services.{}.{key}", role.escape_debug(), service.name);
                let rule = "names start with a letter and consist of a-z, 0-9 and -";
                problems.push(Problem::at(&entry.origin, what, rule));
            }
        }
    }
    let names = |key: &str| said.get(&vec![key]).and_then(|entry| sourced_names(entry));
    let text = |key: &str| said.get(&vec![key]).and_then(|entry| sourced_text(entry));
    let command = names("command").unwrap_or_else(|| {
        // One that cannot be read was told already.
        if !said.contains_key(&vec!["command"]) {
            problems.push(Problem::at(
                origin,
                format!("services.{} is a process without a command", service.name),
                "say what it runs: command = [\"program\", \"argument\"]",
            ));
        }
        Sourced { value: Vec::new(), origin: origin.clone() }
    });
    let here = |value| Sourced { value, origin: origin.clone() };
    let restart = text("restart")
        .and_then(|word| Some(Sourced { value: Restart::of(&word.value)?, origin: word.origin }));
    let cwd = text("cwd").map(|cwd| Sourced { value: cwd.value.into(), origin: cwd.origin });
    let env = said.iter().filter_map(|(path, entry)| match path.as_slice() {
        ["env", name] => Some(((*name).to_owned(), sourced_text(entry)?)),
        _ => None,
    });
    service.program = Some(Program {
        command,
        ready: ready(&service.name, said, origin, files, &mut problems),
        after: names("after").unwrap_or_else(|| Sourced { value: Vec::new(), origin: origin.clone() }),
        restart: restart.unwrap_or(Sourced { value: Restart::OnFailure, origin: origin.clone() }),
        env: env.collect(),
        cwd: cwd.unwrap_or_else(|| here(Utf8PathBuf::from("."))),
    });
    problems
}

/// Keys of processes that stand in a service of another kind.
pub(super) fn misplaced(service: &Service, said: &Said<'_>) -> Vec<Problem> {
    said.iter()
        .filter(|(path, _)| path.len() == 1 && OWN.contains(&path[0]))
        .filter(|(path, entry)| path[0] != "command" || entry.value != Value::Present)
        .map(|(path, entry)| {
            let what = format!(
                "services.{}.{}: only a service of the kind \"process\" has that, and this is {}",
                service.name, path[0], service.kind
            );
            Problem::at(&entry.origin, what, "take it out, or give the process a service of its own")
        })
        .collect()
}

/// The condition of the latest layer that has one: two at once are wrong only where they stand in the same layer.
fn ready(
    service: &str,
    said: &Said<'_>,
    origin: &Origin,
    files: &[String],
    problems: &mut Vec<Problem>,
) -> Sourced<Ready> {
    let layer = |origin: &Origin| rank(origin, files).0;
    let all: Vec<(&str, &Entry)> = ["tcp", "http", "command", "log"]
        .into_iter()
        .filter_map(|key| Some((key, *said.get(&vec!["ready", key])?)))
        .collect();
    let path = said.get(&vec!["ready", "path"]);
    let last = all.iter().map(|(_, entry)| layer(&entry.origin)).max();
    let latest: Vec<&(&str, &Entry)> =
        all.iter().filter(|(_, entry)| Some(layer(&entry.origin)) == last).collect();
    if let [(one, _), (other, entry), ..] = latest.as_slice() {
        problems.push(Problem::at(
            &entry.origin,
            format!("services.{service}.ready has two conditions, {one} and {other}"),
            "leave one of them",
        ));
    }
    let chosen = latest.first().map(|(key, _)| *key);
    if let Some(path) = path {
        let is_path = matches!(&path.value, Value::Text(text) if text.starts_with('/'));
        let what = match (chosen, is_path) {
            (Some("http"), true) => None,
            (Some("http"), false) => {
                Some((format!("services.{service}.ready.path does not begin with /"), "write \"/health\""))
            }
            _ => Some((
                format!("services.{service}.ready.path stands without http"),
                "write ready = { http = \"ROLE\", path = \"/health\" }",
            )),
        };
        problems.extend(what.map(|(what, way_out)| Problem::at(&path.origin, what, way_out)));
    }
    let Some((key, entry)) = latest.first() else {
        return Sourced { value: Ready::Running, origin: origin.clone() };
    };
    let value = match (*key, &entry.value) {
        ("tcp", Value::Text(role)) => Ready::Tcp { role: role.clone() },
        ("http", Value::Text(role)) => {
            let path =
                path.and_then(|path| sourced_text(path)).map_or_else(|| "/".to_owned(), |path| path.value);
            Ready::Http { role: role.clone(), path }
        }
        ("log", Value::Text(text)) => Ready::Log(text.clone()),
        (_, Value::Names(words)) => Ready::Command(words.clone()),
        _ => Ready::Running,
    };
    Sourced { value, origin: entry.origin.clone() }
}

fn sourced_text(entry: &Entry) -> Option<Sourced<String>> {
    let Value::Text(value) = entry.value.clone() else { return None };
    Some(Sourced { value, origin: entry.origin.clone() })
}

fn sourced_names(entry: &Entry) -> Option<Sourced<Vec<String>>> {
    let Value::Names(value) = entry.value.clone() else { return None };
    Some(Sourced { value, origin: entry.origin.clone() })
}

/// What the processes of a model must not say, alone and to each other.
pub(super) fn check(
    services: &BTreeMap<String, Service>,
    refused: &BTreeSet<String>,
    files: &[String],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let programs = || services.values().filter_map(|service| Some((service, service.program.as_ref()?)));
    for (service, program) in programs() {
        problems.extend(texts(program).into_iter().flat_map(|(key, text, origin)| {
            wrong_ports(&format!("services.{}.{key}", service.name), text, origin, service, services, refused)
        }));
        if let Ready::Tcp { role } | Ready::Http { role, .. } = &program.ready.value
            && !service.ports.contains_key(role)
        {
            problems.push(no_role(
                &format!("services.{}.ready", service.name),
                role,
                service,
                &program.ready.origin,
            ));
        }
        if service.kind != Kind::Process && program.command.value.iter().any(|word| word.contains("{secret}"))
        {
            problems.push(Problem::at(
                &program.command.origin,
                format!(
                    "services.{}.command: everybody on this machine could read {{secret}} there",
                    service.name
                ),
                "give it in `env`",
            ));
        }
        for name in &program.after.value {
            if !services.contains_key(name) && !refused.contains(name) {
                problems.push(Problem::at(
                    &program.after.origin,
                    format!("services.{}.after names the unknown service `{name}`", service.name),
                    suggest::way_out(name, services.keys().map(String::as_str)),
                ));
            }
        }
        if let Some(reason) = wrong_folder(&program.cwd.value) {
            problems.push(Problem::at(
                &program.cwd.origin,
                format!("services.{}.cwd = \"{}\" {reason}", service.name, program.cwd),
                "name a folder below the one of the manifest, such as \"site\"",
            ));
        }
    }
    problems.extend(circles(services).into_iter().filter_map(|circle| {
        // A circle belongs to the process that closes it last, in the latest layer.
        let origins =
            circle.iter().filter_map(|name| Some(&services.get(name)?.program.as_ref()?.after.origin));
        let origin = origins.max_by_key(|origin| rank(origin, files))?;
        let first = circle.first()?;
        let what = format!("services wait for each other: {} after {first}", circle.join(" after "));
        Some(Problem::at(origin, what, "take one of the names out of `after`"))
    }));
    problems
}

/// Every text of a program that ports can stand in.
fn texts(program: &Program) -> Vec<(String, &str, &Origin)> {
    let mut all: Vec<(String, &str, &Origin)> = Vec::new();
    let command = program.command.value.iter();
    all.extend(command.map(|word| ("command".to_owned(), word.as_str(), &program.command.origin)));
    let env = program.env.iter();
    all.extend(env.map(|(name, value)| (format!("env.{name}"), value.value.as_str(), &value.origin)));
    if let Ready::Command(words) = &program.ready.value {
        all.extend(
            words.iter().map(|word| ("ready.command".to_owned(), word.as_str(), &program.ready.origin)),
        );
    }
    all
}

fn wrong_ports(
    key: &str,
    text: &str,
    origin: &Origin,
    service: &Service,
    services: &BTreeMap<String, Service>,
    refused: &BTreeSet<String>,
) -> Vec<Problem> {
    let (ports, slips) = template::ports(text);
    let slips = slips.into_iter().map(|slip| {
        let what = format!("{key}: {slip} is not a port");
        Problem::at(origin, what, "write {port.ROLE}, or {port.SERVICE.ROLE} for one of another service")
    });
    let ports = ports.into_iter().filter_map(|port| {
        if key.ends_with("ready.command") && port.service.is_some_and(|name| name != service.name) {
            let what = format!("{key} names a port of another service");
            return Some(Problem::at(origin, what, "ask for its own ports: {port.ROLE}"));
        }
        let owner = match port.service {
            None => service,
            Some(name) if refused.contains(name) => return None,
            Some(name) => {
                let Some(other) = services.get(name) else {
                    let what = format!("{key} names a port of the unknown service `{name}`");
                    let way_out = suggest::way_out(name, services.keys().map(String::as_str));
                    return Some(Problem::at(origin, what, way_out));
                };
                other
            }
        };
        (!owner.ports.contains_key(port.role)).then(|| no_role(key, port.role, owner, origin))
    });
    slips.chain(ports).collect()
}

fn no_role(key: &str, role: &str, owner: &Service, origin: &Origin) -> Problem {
    let what = format!("{key}: {} has no port `{role}`", owner.name);
    if owner.ports.is_empty() {
        let example = if is_name(role) { role } else { "web" };
        return Problem::at(origin, what, format!("give it one: ports = {{ {example} = 8025 }}"));
    }
    Problem::at(origin, what, suggest::way_out(role, owner.ports.keys().map(String::as_str)))
}

/// Why a folder cannot be worked in. Links are not looked at: what is behind them is the author's own doing.
fn wrong_folder(cwd: &Utf8Path) -> Option<&'static str> {
    let mut depth = 0_i32;
    for component in cwd.components() {
        match component {
            Utf8Component::Normal(_) => depth += 1,
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => depth -= 1,
            Utf8Component::RootDir | Utf8Component::Prefix(_) => return Some("is absolute"),
        }
        if depth < 0 {
            return Some("leaves the project");
        }
    }
    None
}

/// Services that wait for themselves, each circle once and from its first name in the alphabet.
fn circles(services: &BTreeMap<String, Service>) -> BTreeSet<Vec<String>> {
    fn walk<'a>(
        name: &'a str,
        services: &'a BTreeMap<String, Service>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        circles: &mut BTreeSet<Vec<String>>,
    ) {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let mut circle: Vec<String> = path[start..].iter().map(|name| (*name).to_owned()).collect();
            let first = circle.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(index, _)| index);
            circle.rotate_left(first);
            circles.insert(circle);
            return;
        }
        if !done.contains(name) {
            path.push(name);
            for other in services.get(name).map(Service::after).unwrap_or_default() {
                walk(other, services, path, done, circles);
            }
            path.pop();
            done.insert(name);
        }
    }
    let (mut circles, mut done) = (BTreeSet::new(), BTreeSet::new());
    for name in services.keys() {
        walk(name, services, &mut Vec::new(), &mut done, &mut circles);
    }
    circles
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
