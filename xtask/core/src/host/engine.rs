//! The container engine: whether there is one, whether it answers, and what it does with ports.
//!
//! Servers run without one; an engine that is missing or does not answer is told and is no fault.

use serde_json::Value;

use super::{Finding, Section, Verdict};
use crate::failure::{Failure, Kind};
use crate::tool::Version;

/// What was learnt of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// There is no `docker` on PATH.
    NoClient,
    /// The client is there, and no engine answers it: its own words.
    Silent(String),
    Answers {
        /// `Docker Engine`, `Podman Engine`.
        name: String,
        version: String,
        /// It runs in a virtual machine: Docker Desktop and its like.
        machine: bool,
    },
}

/// The engine from which on a port of 127.0.0.1 is kept from others on the same network segment.
const GUARDED: u64 = 28;

/// The oldest Docker Compose whose files are written here.
const COMPOSE: (u64, u64) = (2, 13);

/// There is no `docker` on PATH, and something takes it.
pub fn no_client() -> Failure {
    let message = "containers take Docker with Compose, and there is no docker on PATH";
    Failure::new(Kind::Host, "no-docker", message).hint("install Docker Engine")
}

/// Nobody has tried it.
fn podman() -> Failure {
    let message = "Podman answers in Docker's place; it was never tried with this program, so it is not used";
    Failure::new(Kind::Host, "podman-untested", message)
        .hint("point DOCKER_HOST or `docker context use` to a Docker Engine")
}

impl Engine {
    /// Reads what `docker version --format '{{json .}}'` printed.
    pub fn read(stdout: &str, stderr: &str, timed_out: bool) -> Self {
        let answer: Value = serde_json::from_str(stdout.trim()).unwrap_or_default();
        let server = answer.get("Server").filter(|server| server.is_object());
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(server) = server {
            let component = server.get("Components").and_then(|all| all.get(0));
            let name = text(component.and_then(|c| c.get("Name")));
            let name = if name.contains("Podman") { "Podman Engine" } else { "Docker Engine" };
            let version = Some(text(server.get("Version"))).filter(|version| !version.is_empty());
            let version = version.unwrap_or_else(|| text(component.and_then(|c| c.get("Version"))));
            let platform = text(server.get("Platform").and_then(|platform| platform.get("Name")));
            let machine = ["Desktop", "Rancher", "OrbStack"].iter().any(|name| platform.contains(name));
            return Self::Answers { name: name.to_owned(), version, machine };
        }
        let said = stderr.lines().map(str::trim).find(|line| !line.is_empty());
        Self::Silent(match (timed_out, said) {
            (true, _) => "it did not answer in time".to_owned(),
            (false, Some(said)) => said.chars().take(400).collect(),
            (false, None) => "it printed nothing that can be read".to_owned(),
        })
    }

    /// Whether containers can be run with it. `compose` is what `docker compose version --short` printed, where it ran.
    pub fn fit(&self, compose: Option<&str>) -> Result<(), Failure> {
        match self {
            Self::NoClient => {
                return Err(no_client());
            }
            Self::Silent(reason) if reason.to_lowercase().contains("podman") => return Err(podman()),
            Self::Silent(reason) if reason.to_lowercase().contains("permission denied") => {
                let message =
                    format!("containers take a container engine, and this one is not yours to use: {reason}");
                return Err(Failure::new(Kind::Host, "docker-silent", message)
                    .hint("join the group docker, and log in again: sudo usermod -aG docker \"$USER\"")
                    .hint("or use a rootless Docker of your own"));
            }
            Self::Silent(reason) => {
                let message = format!("containers take a container engine, and none answers: {reason}");
                return Err(Failure::new(Kind::Host, "docker-silent", message)
                    .hint("start it; `docker version` must show a server"));
            }
            Self::Answers { name, .. } if name != "Docker Engine" => return Err(podman()),
            Self::Answers { .. } => {}
        }
        let version = compose.and_then(Version::read);
        let fits = |version: &Version| (version.major(), version.minor()) >= COMPOSE;
        if version.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let found = compose
            .filter(|_| version.is_some())
            .map_or("there is none".to_owned(), |text| format!("this is {text}"));
        let message =
            format!("containers take Docker Compose {}.{} or newer, and {found}", COMPOSE.0, COMPOSE.1);
        Err(Failure::new(Kind::Host, "compose-too-old", message)
            .hint("install the plugin docker-compose-plugin; `docker compose version` must show it"))
    }

    /// Judges it. `podman` is where such a program was found.
    pub fn judge(&self, podman: Option<&str>) -> Vec<Finding> {
        let section = Section::Containers;
        let unneeded = "`up` needs none: the servers run without containers";
        let mut findings = vec![match self {
            Self::NoClient => Finding::ok(section, "engine", "no docker on PATH").note(unneeded),
            Self::Silent(reason) => {
                let podman = reason.to_lowercase().contains("podman");
                let reason = if podman {
                    format!("podman answers in Docker's place: {reason}")
                } else {
                    reason.clone()
                };
                Finding::ok(section, "engine", format!("none answers: {reason}")).note(unneeded)
            }
            Self::Answers { name, version, .. } => {
                Finding::ok(section, "engine", format!("{name} {version} answers"))
            }
        }];
        if let Self::Answers { name, version, machine: false } = self
            && name == "Docker Engine"
            && Version::read(version).is_some_and(|version| version.major() < GUARDED)
        {
            findings.push(Finding::of(
                Verdict::Warning,
                section,
                "published ports",
                format!("Docker Engine {version} is older than {GUARDED}"),
                "machines on the same network segment reach ports that containers publish on 127.0.0.1 (moby#45610)",
                "update Docker Engine to 28 or newer; servers that run as processes are not concerned",
            ));
        }
        if let Some(path) = podman {
            let note = "Invenio's own tools expect Docker; `up` needs neither";
            findings.push(Finding::ok(section, "podman", path).note(note));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(engine: &Engine) -> String {
        let of = |f: &Finding| {
            format!(
                "{:?} {}: {} | {}",
                f.verdict,
                f.what,
                f.on,
                f.next.as_ref().or(f.why.as_ref()).unwrap_or(&String::new())
            )
        };
        engine.judge(None).iter().map(of).collect::<Vec<_>>().join("\n")
    }

    /// What docker 20.10, 28.2, Docker Desktop and podman 4.9 print, shortened.
    #[test]
    fn an_engine_is_read_from_what_its_client_prints() {
        let docker = |version: &str, platform: &str| {
            format!(
                r#"{{"Client":{{"Version":"28.2.2"}},"Server":{{"Platform":{{"Name":"{platform}"}},"Components":[{{"Name":"Engine","Version":"{version}"}}],"Version":"{version}"}}}}"#
            )
        };
        let podman = r#"{"Client":{"Version":"4.9.3"},"Server":{"Components":[{"Name":"Podman Engine","Version":"4.9.3"}],"Version":"4.9.3"}}"#;
        let silent = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
        let lines: Vec<String> = [
            Engine::read(&docker("20.10.24", "Docker Engine - Community"), "", false),
            Engine::read(&docker("28.2.2", ""), "", false),
            Engine::read(&docker("27.1.1", "Docker Desktop 4.33.0"), "", false),
            Engine::read(&docker("", ""), "", false),
            Engine::read(podman, "", false),
            Engine::read("{\"Client\":{\"Version\":\"28.2.2\"},\"Server\":null}\n", silent, false),
            Engine::read("{\"Client\":{\"Version\":\"28.2.2\"}}\n", "", true),
            Engine::read("", "", false),
            Engine::read("[1, 2", "panic: runtime error\ngoroutine 1", false),
            Engine::read("", "Emulate Docker CLI using podman.\nError: unknown flag", false),
            Engine::NoClient,
        ]
        .iter()
        .map(told)
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        Ok engine: Docker Engine 20.10.24 answers | 
        Warning published ports: Docker Engine 20.10.24 is older than 28 | update Docker Engine to 28 or newer; servers that run as processes are not concerned
        Ok engine: Docker Engine 28.2.2 answers | 
        Ok engine: Docker Engine 27.1.1 answers | 
        Ok engine: Docker Engine  answers | 
        Ok engine: Podman Engine 4.9.3 answers | 
        Ok engine: none answers: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running? | `up` needs none: the servers run without containers
        Ok engine: none answers: it did not answer in time | `up` needs none: the servers run without containers
        Ok engine: none answers: it printed nothing that can be read | `up` needs none: the servers run without containers
        Ok engine: none answers: panic: runtime error | `up` needs none: the servers run without containers
        Ok engine: none answers: podman answers in Docker's place: Emulate Docker CLI using podman. | `up` needs none: the servers run without containers
        Ok engine: no docker on PATH | `up` needs none: the servers run without containers
        ");
    }

    #[test]
    fn containers_take_docker_and_a_compose_that_is_new_enough() {
        let engine =
            |name: &str| Engine::Answers { name: name.into(), version: "28.2".into(), machine: false };
        let docker = engine("Docker Engine");
        for fits in ["2.13.0", "v2.40.3", "5.0.1"] {
            assert_eq!(docker.fit(Some(fits)), Ok(()), "{fits}");
        }
        let refused = [
            docker.fit(Some("2.12.2")),
            docker.fit(Some("1.29.2")),
            docker.fit(None),
            engine("Podman Engine").fit(Some("2.40.3")),
            Engine::Silent("Emulate Docker CLI using podman.".into()).fit(None),
            Engine::Silent("Cannot connect to the Docker daemon".into()).fit(None),
            Engine::NoClient.fit(None),
        ];
        let lines = refused.map(|refused| refused.map_err(|f| format!("{}: {f}", f.code)).unwrap_err());
        insta::assert_snapshot!(lines.join("\n"), @"
        compose-too-old: containers take Docker Compose 2.13 or newer, and this is 2.12.2
        compose-too-old: containers take Docker Compose 2.13 or newer, and this is 1.29.2
        compose-too-old: containers take Docker Compose 2.13 or newer, and there is none
        podman-untested: Podman answers in Docker's place; it was never tried with this program, so it is not used
        podman-untested: Podman answers in Docker's place; it was never tried with this program, so it is not used
        docker-silent: containers take a container engine, and none answers: Cannot connect to the Docker daemon
        no-docker: containers take Docker with Compose, and there is no docker on PATH
        ");
    }

    #[test]
    fn podman_is_named() {
        let findings = Engine::NoClient.judge(Some("/usr/bin/podman"));
        assert_eq!((findings.len(), findings[1].on.as_str()), (2, "/usr/bin/podman"));
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok));
    }
}
