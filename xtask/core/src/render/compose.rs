//! `docker/compose.yaml`: the services of the manifest as containers of their images, for Docker Compose from 2.13 on, without this program.
//!
//! What differs from checkout to checkout is a variable with a default: passwords, ports, and the name that servers give themselves.
//! Programs of the manifest (`kind = "process"`) and the application itself are no containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::catalog::container::{Contained, Container, contained, container, literal, published, variable};
use crate::catalog::yaml_text;
use crate::endpoint::Secret;
use crate::model::{Backend, Ecosystem, Service};
use crate::place::Place;
use crate::render::launch::{anywhere, named};

/// The first line of the file: only what begins like this is written over.
pub const MARK: &str = "# Written by `cargo xtask render` from ecosystem.toml; changes are lost.";

/// The file for everybody. `project` is the Compose project: containers, networks and volumes are named after it.
pub fn compose(ecosystem: &Ecosystem, project: &str) -> String {
    let mut text = format!("{MARK}\n{INTRO}{LOGGING}\nname: {}\n\nservices:\n", yaml_text(project));
    let mut volumes = String::new();
    for service in ecosystem.services.values() {
        let Some(container) = container(ecosystem, service, None) else { continue };
        let ports = service.ports_at(ecosystem.port_offset.value);
        write_service(&mut text, ecosystem, service, &container, &ports);
        // Without this program nothing else waits.
        write_dependencies(&mut text, &container);
        let profiles = profiles(ecosystem, &service.name);
        if !profiles.is_empty() {
            let _ = writeln!(text, "    profiles: {}", list(&profiles));
        }
        text.push('\n');
        let _ = writeln!(volumes, "  {}:", yaml_text(&service.name));
    }
    text + "volumes:\n" + &volumes
}

/// The file of one place, which holds passwords, and its services as what they shall be: those that run as containers here.
pub fn of_place(
    ecosystem: &Ecosystem,
    place: &Place,
    secret: impl Fn(&str) -> Secret,
) -> (String, BTreeMap<String, Contained>) {
    let project = yaml_text(&place.identity());
    let mut text = format!("{PRIVATE}{LOGGING}\nname: {project}\n\nservices:\n");
    let (mut volumes, mut all) = (String::new(), BTreeMap::new());
    for service in ecosystem.services.values().filter(|s| s.backend.value == Backend::Compose) {
        let secret = secret(&service.name);
        let Some((part, full)) = part(ecosystem, service, place, &secret) else { continue };
        let contained = contained(service, place, &ecosystem.bind.value, &secret, &part);
        text.push_str(&full);
        let set = serde_json::json!(contained.labels).to_string();
        let _ = writeln!(
            text,
            "    labels:\n      {LABEL_PLACE}: {}\n      {LABEL_ROOT}: {}\n      {LABEL_SET}: {}\n",
            yaml_text(&place.id),
            yaml_text(&literal(place.root.as_str())),
            yaml_text(&literal(&set))
        );
        let _ = writeln!(volumes, "  {}:", yaml_text(&service.name));
        all.insert(service.name.clone(), contained);
    }
    (text + "volumes:\n" + &volumes, all)
}

/// What an engine is told of one service: with variables, and with what stands for them in this place.
fn part(
    ecosystem: &Ecosystem,
    service: &Service,
    place: &Place,
    secret: &Secret,
) -> Option<(String, String)> {
    let mut part = String::new();
    write_service(
        &mut part,
        ecosystem,
        service,
        &container(ecosystem, service, Some(place))?,
        &service.ports_at(place.offset),
    );
    let fill = |name: &str| match name {
        "ECOSYSTEM_IDENTITY" => Some(place.identity()),
        _ if name == variable(&service.name, "password") => Some(secret.reveal().to_owned()),
        _ => None,
    };
    let full = filled(&part, fill);
    Some((part, full))
}

/// How a service runs as a container, without what differs from machine to machine: the port offset, the heap, secrets.
pub fn portable_container(ecosystem: &Ecosystem, service: &Service) -> String {
    let (service, place, secret) = anywhere(service);
    part(ecosystem, &service, &place, &secret).map(|(_, full)| named(&full)).unwrap_or_default()
}

/// The label with the id of the place that a container belongs to.
pub const LABEL_PLACE: &str = "org.invenio-ecosystem.place";
/// The label with the folder of the project, for people who meet the container elsewhere.
pub const LABEL_ROOT: &str = "org.invenio-ecosystem.project";
/// The label with what was set, as JSON.
pub const LABEL_SET: &str = "org.invenio-ecosystem.set";

/// The text with `${NAME:-default}` as `fill` says, else with the default. `$$` stays what it is.
fn filled(text: &str, fill: impl Fn(&str) -> Option<String>) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at..];
        let variable = rest.strip_prefix("${").and_then(|inside| inside.split_once('}'));
        if let Some((inside, behind)) = variable {
            let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
            let value = yaml_text(&literal(&fill(name).unwrap_or_else(|| default.to_owned())));
            // It stands within a text already.
            done.push_str(&value[1..value.len() - 1]);
            rest = behind;
        } else {
            // `$$`, which is a dollar that stands for itself.
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
            done.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    done + rest
}

/// The name of the Compose project of a file that was written before.
pub fn project(text: &str) -> Option<String> {
    let line = text.strip_prefix(MARK)?.lines().find_map(|line| line.strip_prefix("name: "))?;
    serde_json::from_str(line).ok()
}

/// What of the manifest containers cannot do, a line each.
pub fn falls_short(ecosystem: &Ecosystem) -> Vec<String> {
    let of = |service: &Service| {
        let shortage = container(ecosystem, service, None)?.falls_short?;
        Some(format!("{}: {shortage}", service.name))
    };
    ecosystem.services.values().filter_map(of).collect()
}

fn write_service(
    text: &mut String,
    ecosystem: &Ecosystem,
    service: &Service,
    container: &Container,
    ports: &BTreeMap<String, u16>,
) {
    let image = service.image.as_ref().map_or("", |image| image.value.as_str());
    let _ = writeln!(text, "  {}:", yaml_text(&service.name));
    if let Some(shortage) = &container.falls_short {
        let _ = writeln!(text, "    # {shortage}");
    }
    let _ = writeln!(text, "    image: {}", yaml_text(&literal(image)));
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
    if container.host_network {
        text.push_str("    network_mode: host\n");
    } else {
        text.push_str("    ports:\n");
    }
    for (role, inside) in published(service).into_iter().filter(|_| !container.host_network) {
        let Some(port) = ports.get(role) else { continue };
        let outside = format!("${{{}:-{port}}}", variable(&service.name, &format!("{role}_port")));
        let _ =
            writeln!(text, "      - {}", yaml_text(&format!("{}:{outside}:{inside}", ecosystem.bind.value)));
    }
    let _ = writeln!(
        text,
        "    volumes:\n      - {}",
        yaml_text(&format!("{}:{}", service.name, container.data))
    );
    let _ = write!(
        text,
        "    healthcheck:\n      test: [\"CMD-SHELL\", {}]\n      interval: {}s\n      timeout: 10s\n      retries: 5\n      start_period: 2m\n",
        yaml_text(&container.healthy),
        container.interval_s,
    );
    let _ = write!(
        text,
        "    mem_limit: {}m\n    stop_grace_period: {}s\n    restart: on-failure\n    logging: *logging\n",
        container.memory_mb, container.grace_s,
    );
}

fn write_dependencies(text: &mut String, container: &Container) {
    if !container.after.is_empty() {
        text.push_str("    depends_on:\n");
    }
    for name in &container.after {
        let _ = writeln!(text, "      {}:\n        condition: service_healthy", yaml_text(name));
    }
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
";

const PRIVATE: &str = "\
# Written by `up`, which is the one to change it; changes are lost. Holds passwords.
";

const LOGGING: &str = "
x-logging: &logging
  driver: json-file
  options: {max-size: 8m, max-file: \"2\"}
";

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
