//! The ports of a profile: free, held by what this project runs, or taken by somebody who can be told.

use std::fmt;

use serde::Serialize;

use super::{Finding, Section, Verdict};
use crate::plan::Holder;
use crate::process::quoted;
use crate::render::compose::LABEL_ROOT;

/// How it stands with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    Free,
    /// This project's own server.
    Ours,
    Taken(Option<Holder>),
}

/// A container that publishes a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Container {
    pub name: String,
    /// The Compose project that it belongs to.
    pub project: Option<String>,
    /// The folder of that project.
    pub folder: Option<String>,
    /// The project whose `up` has made it.
    pub place: Option<String>,
    /// The port on this machine.
    pub port: u16,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the container {}", self.name)?;
        self.project.as_ref().map_or(Ok(()), |project| write!(f, " of the Compose project {project}"))
    }
}

/// Judges one port. `offset` is one at which all ports are free.
pub fn judge(
    service: &str,
    role: &str,
    port: u16,
    using: &Use,
    containers: &[Container],
    offset: u16,
) -> Finding {
    let what = if service == role { service.to_owned() } else { format!("{service} {role}") };
    let section = Section::Ports;
    let holder = match using {
        Use::Free => return Finding::ok(section, what, format!("{port} is free")),
        Use::Ours => {
            return Finding::ok(section, what, format!("{port} is held by this project's own server"));
        }
        Use::Taken(holder) => holder.as_ref(),
    };
    let elsewhere = || format!("{{program}} up --port-offset {offset}");
    let container = containers.iter().find(|container| container.port == port);
    let (by, next) = if let Some((container, place)) = container.and_then(|c| Some((c, c.place.as_ref()?))) {
        let by = format!("the container {} of the stack of {place}", container.name);
        (by, format!("{{program}} down -C {}", quoted(place)))
    } else if let Some(container) = container {
        (container.to_string(), format!("docker stop {}", quoted(&container.name)))
    } else {
        match holder {
            Some(Holder { pid, place: Some(place), .. }) => (
                format!("pid {pid} of the stack of {place}"),
                format!("{{program}} down -C {}", quoted(place)),
            ),
            Some(Holder { pid, command, cwd, place: None, .. }) => {
                let folder = cwd.as_ref().map(|cwd| format!(", in {cwd}")).unwrap_or_default();
                (format!("pid {pid}: {command}{folder}"), elsewhere())
            }
            None => {
                let who = format!("a process of another user; `sudo ss -ltnp 'sport = :{port}'` names it");
                (who, elsewhere())
            }
        }
    };
    let why = format!("`up` starts nothing while a port of {service} is somebody else's");
    Finding::of(Verdict::Problem, section, what, format!("{port} is held by {by}"), why, next)
}

/// Reads `docker ps --format '{{json .}}'`: the containers that publish ports, one entry a port.
pub fn containers(text: &str) -> Vec<Container> {
    let mut found = Vec::new();
    for container in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let field = |name: &str| container.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let label = |name: &str| {
            let value =
                field("Labels").split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
            value.map(str::to_owned)
        };
        // `127.0.0.1:5632->5432/tcp, [::]:9000-9001->9000-9001/tcp, 6379/tcp`
        for published in
            field("Ports").split(", ").filter_map(|entry| entry.split_once("->").map(|(host, _)| host))
        {
            let numbers = published.rsplit(':').next().unwrap_or_default();
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
            let of = |port| Container {
                name: field("Names").to_owned(),
                project: label("com.docker.compose.project"),
                folder: label("com.docker.compose.project.working_dir"),
                place: label(LABEL_ROOT),
                port,
            };
            found.extend((first..=last).map(of));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(using: &Use, containers: &[Container]) -> String {
        let finding = judge("postgresql", "sql", 5632, using, containers, 100);
        format!(
            "{:?} {} | {} | {}",
            finding.verdict,
            finding.what,
            finding.on,
            finding.next.unwrap_or_default()
        )
    }

    #[test]
    fn whoever_holds_a_port_is_named_with_the_way_out() {
        let holder = |place: Option<&str>| {
            Use::Taken(Some(Holder {
                pid: 4711,
                command: "python3 -m http.server 5632".into(),
                cwd: Some("/home/me/site".into()),
                place: place.map(str::to_owned),
                container: None,
            }))
        };
        let container = [Container {
            name: "datarepo-db-1".into(),
            project: Some("datarepo".into()),
            folder: None,
            place: None,
            port: 5632,
        }];
        let lines = [
            line(&Use::Free, &[]),
            line(&Use::Ours, &container),
            line(&holder(None), &[]),
            line(&holder(Some("/home/me/other site")), &[]),
            line(&Use::Taken(None), &[]),
            line(&Use::Taken(None), &container),
            line(&holder(None), &container),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        Ok postgresql sql | 5632 is free | 
        Ok postgresql sql | 5632 is held by this project's own server | 
        Problem postgresql sql | 5632 is held by pid 4711: python3 -m http.server 5632, in /home/me/site | {program} up --port-offset 100
        Problem postgresql sql | 5632 is held by pid 4711 of the stack of /home/me/other site | {program} down -C '/home/me/other site'
        Problem postgresql sql | 5632 is held by a process of another user; `sudo ss -ltnp 'sport = :5632'` names it | {program} up --port-offset 100
        Problem postgresql sql | 5632 is held by the container datarepo-db-1 of the Compose project datarepo | docker stop datarepo-db-1
        Problem postgresql sql | 5632 is held by the container datarepo-db-1 of the Compose project datarepo | docker stop datarepo-db-1
        ");
    }

    #[test]
    fn containers_are_read_from_what_docker_prints() {
        let text = concat!(
            r#"{"Names":"site-db-1","Ports":"127.0.0.1:5632->5432/tcp, [::1]:5632->5432/tcp","Labels":"a=b,com.docker.compose.project=site"}"#,
            "\n",
            r#"{"Names":"s3","Ports":"0.0.0.0:9000-9001->9000-9001/tcp, :::9000-9001->9000-9001/tcp, 80/tcp","Labels":""}"#,
            "\nnot JSON\n{\"Names\":\"quiet\",\"Ports\":\"\"}\n{\"Names\":\"odd\",\"Ports\":\"x:y-z->1/tcp\"}\n",
        );
        let all: Vec<String> =
            containers(text).iter().map(|c| format!("{} {} {:?}", c.port, c.name, c.project)).collect();
        assert_eq!(
            all,
            [
                "5632 site-db-1 Some(\"site\")",
                "5632 site-db-1 Some(\"site\")",
                "9000 s3 None",
                "9001 s3 None",
                "9000 s3 None",
                "9001 s3 None",
            ]
        );
    }
}
