//! `docker/compose.yaml`: the services of the manifest as containers of their images, for Docker Compose from 2.13 on, without this program.
//!
//! What differs from checkout to checkout is a variable with a default: passwords, ports, and the name that servers give themselves.
//! Programs of the manifest (`kind = "process"`) and the application itself are no containers.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::catalog::container::{Container, container, literal, variable};
use crate::catalog::yaml_text;
use crate::model::{Ecosystem, Service};

/// The first line of the file: only what begins like this is written over.
pub const MARK: &str = "# Written by `cargo xtask render` from ecosystem.toml; changes are lost.";

/// The file. `project` is the Compose project: containers, networks and volumes are named after it.
pub fn compose(ecosystem: &Ecosystem, project: &str) -> String {
    let mut text = format!("{MARK}\n{INTRO}\nname: {}\n\nservices:\n", yaml_text(project));
    let mut volumes = String::new();
    for service in ecosystem.services.values() {
        let Some(container) = container(ecosystem, service) else { continue };
        write_service(&mut text, ecosystem, service, &container);
        let _ = writeln!(volumes, "  {}:", yaml_text(&service.name));
    }
    text + "volumes:\n" + &volumes
}

/// The name of the Compose project of a file that was written before.
pub fn project(text: &str) -> Option<String> {
    let line = text.strip_prefix(MARK)?.lines().find_map(|line| line.strip_prefix("name: "))?;
    serde_json::from_str(line).ok()
}

/// What of the manifest containers cannot do, a line each.
pub fn falls_short(ecosystem: &Ecosystem) -> Vec<String> {
    let of = |service: &Service| {
        let shortage = container(ecosystem, service)?.falls_short?;
        Some(format!("{}: {shortage}", service.name))
    };
    ecosystem.services.values().filter_map(of).collect()
}

fn write_service(text: &mut String, ecosystem: &Ecosystem, service: &Service, container: &Container) {
    let image = service.image.as_ref().map_or("", |image| image.value.as_str());
    let _ = writeln!(text, "  {}:", yaml_text(&service.name));
    if let Some(shortage) = &container.falls_short {
        let _ = writeln!(text, "    # {shortage}");
    }
    let _ = writeln!(text, "    image: {}", yaml_text(&literal(image)));
    let profiles = profiles(ecosystem, &service.name);
    if !profiles.is_empty() {
        let _ = writeln!(text, "    profiles: {}", list(&profiles));
    }
    if let Some(hostname) = &container.hostname {
        let _ = writeln!(text, "    hostname: {}", yaml_text(hostname));
    }
    for (key, words) in [("entrypoint", &container.entrypoint), ("command", &container.command)] {
        if !words.is_empty() {
            let _ = writeln!(text, "    {key}:");
            for word in words {
                let _ = writeln!(text, "      - {}", yaml_text(word));
            }
        }
    }
    if !container.environment.is_empty() {
        text.push_str("    environment:\n");
    }
    for (name, value) in &container.environment {
        let _ = writeln!(text, "      {}: {}", yaml_text(name), yaml_text(value));
    }
    text.push_str("    ports:\n");
    let ports = service.ports_at(ecosystem.port_offset.value);
    for (role, inside) in &container.ports {
        let Some(port) = ports.get(*role) else { continue };
        let outside = format!("${{{}:-{port}}}", variable(&service.name, &format!("{role}_port")));
        let _ =
            writeln!(text, "      - {}", yaml_text(&format!("{}:{outside}:{inside}", ecosystem.bind.value)));
    }
    let _ = writeln!(
        text,
        "    volumes:\n      - {}",
        yaml_text(&format!("{}:{}", service.name, container.data))
    );
    if !container.after.is_empty() {
        text.push_str("    depends_on:\n");
    }
    for name in &container.after {
        let _ = writeln!(text, "      {}:\n        condition: service_healthy", yaml_text(name));
    }
    let _ = write!(
        text,
        "    healthcheck:\n      test: [\"CMD-SHELL\", {}]\n      interval: {}s\n      timeout: 10s\n      retries: 5\n      start_period: 2m\n",
        yaml_text(container.healthy),
        container.interval_s,
    );
    let _ = write!(
        text,
        "    mem_limit: {}m\n    stop_grace_period: {}s\n    restart: on-failure\n    logging: *logging\n\n",
        container.memory_mb, container.grace_s,
    );
}

/// The profiles that a service has to be asked for with; none for what is in `core`, which comes without asking.
fn profiles(ecosystem: &Ecosystem, service: &str) -> Vec<String> {
    let has = |members: &[String]| members.iter().any(|member| member == service);
    let naming: BTreeSet<&String> =
        ecosystem.profiles.iter().filter(|(_, members)| has(members)).map(|(name, _)| name).collect();
    if naming.iter().any(|name| *name == "core") {
        return Vec::new();
    }
    // One that is in no profile is asked for by its name.
    let names: Vec<String> = naming.into_iter().cloned().collect();
    if names.is_empty() { vec![service.to_owned()] } else { names }
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| yaml_text(word)).collect::<Vec<_>>().join(", "))
}

const INTRO: &str = "\
#
#   docker compose -f docker/compose.yaml up --wait                           what the profile core has
#   docker compose -f docker/compose.yaml --profile recommended up --wait
#
# Passwords and ports are variables with defaults: POSTGRESQL_PASSWORD, POSTGRESQL_SQL_PORT and so on. COMPOSE_PROJECT_NAME tells two
# checkouts apart. On Docker Engine before 28 a port of 127.0.0.1 can be reached by whoever is on the same network segment.

x-logging: &logging
  driver: json-file
  options: {max-size: 8m, max-file: \"2\"}
";

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
