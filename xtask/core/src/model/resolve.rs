//! Lays the layers over each other: release ← the project's own files ← manifests ← flags. Every value remembers which layer it came from.
//!
//! Reading one manifest is `manifest.rs`; what values must not do to each other is `relations.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Said;
use super::external;
use super::keys::Value;
use super::manifest::{self, Entry};
use super::{
    Archive, Backend, Ecosystem, External, From, Origin, Problem, Service, Sourced, program, relations,
    suggest,
};
use crate::catalog::Kind;
use crate::release::{self, Defaults, Detected, Release};
use crate::tool::Requirement;

/// The text of one manifest.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The file name as people are shown it.
    pub name: &'a str,
    pub text: &'a str,
}

/// What the command line says about the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    pub release: Option<String>,
    pub port_offset: Option<u16>,
    pub backend: Option<Backend>,
    /// What an earlier `up` was told.
    pub earlier: Asked,
    /// What the project's own files say; holds where nobody else names a release.
    pub project: Option<Detected>,
}

/// What flags of a command say for later ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Holds where no manifest names a release.
    pub release: Option<String>,
    /// Holds against a manifest: it keeps this one checkout apart from others.
    pub port_offset: Option<u16>,
    /// What ran its servers last, and has their data. Holds where no manifest names one.
    pub backend: Option<Backend>,
}

/// What a flag says, where it was given.
fn flag<T>(value: Option<T>, said: &'static str) -> Option<Sourced<T>> {
    Some(Sourced { value: value?, origin: Origin::Flag(said) })
}

/// Resolves all layers, lowest first. No layer at all means the built-in defaults.
pub fn resolve(layers: &[Layer<'_>], flags: &Flags) -> Result<Ecosystem, Vec<Problem>> {
    let mut draft = Draft::default();
    for layer in layers {
        draft.files.push(layer.name.to_owned());
        let parsed = manifest::parse(layer.name, layer.text);
        draft.problems.extend(parsed.problems);
        // A later layer wins value by value, not table by table.
        draft.entries.extend(parsed.entries.into_iter().map(|entry| (entry.path.clone(), entry)));
    }
    let (ecosystem, mut problems) = draft.finish(flags);
    // In the order of the files as they were given; what concerns flags comes last.
    let order = |problem: &Problem| {
        layers.iter().position(|layer| layer.name == problem.file).unwrap_or(layers.len())
    };
    problems.sort_by_key(|problem| (order(problem), problem.line));
    if problems.is_empty() { Ok(ecosystem) } else { Err(problems) }
}

/// A project that is made for another release than the one that is used.
fn other_release(ecosystem: &Ecosystem, project: &Detected) -> Option<Problem> {
    let used = &ecosystem.release;
    let Detected { requirement, file, line, release } = project;
    let Some(made_for) = release else {
        let known: Vec<&str> = release::names().collect();
        let origin = Origin::File { name: file.clone(), line: *line };
        // Whoever names a release knows what they do.
        return matches!(used.origin, Origin::Release(_)).then(|| {
            Problem::at(
                &origin,
                format!("it names {requirement}, which is no release that this version has; release {used} is used"),
                format!("write release = \"NAME\" into ecosystem.toml: {}", known.join(", ")),
            )
        });
    };
    (used.value != *made_for).then(|| {
        Problem::at(
            &used.origin,
            format!(
                "release {used} is used, and {file}:{line} names {requirement}, which is release {made_for}"
            ),
            match used.origin {
                Origin::File { .. } => format!("write release = \"{made_for}\", or leave the line out"),
                _ => format!("{{program}} up --release {made_for}"),
            },
        )
    })
}

/// A model in the making.
#[derive(Default)]
struct Draft {
    /// Names of the layers, lowest first.
    files: Vec<String>,
    entries: BTreeMap<Vec<String>, Entry>,
    problems: Vec<Problem>,
    refused: BTreeSet<String>,
}

impl Draft {
    fn finish(mut self, flags: &Flags) -> (Ecosystem, Vec<Problem>) {
        self.limit("services");
        self.limit("profiles");
        let (name, release) = self.release(flags);
        let pins = release::find(&name.value).map_or(release::DEFAULT, |_| name.value.as_str()).to_owned();
        let named = |value: &str| Sourced::release(value.to_owned(), &pins);
        let bind = self.text(&["bind"]).unwrap_or_else(|| named("127.0.0.1"));
        let port_offset = flag(flags.port_offset, "--port-offset")
            .or_else(|| flag(flags.earlier.port_offset, "--port-offset of an earlier up"))
            .or_else(|| self.number(&["port_offset"]))
            .unwrap_or_else(|| Sourced::release(0, &pins));
        let backend = flag(flags.backend, "--backend")
            .or_else(|| self.backend(&["backend"]))
            .or_else(|| flag(flags.earlier.backend, "what an earlier up has chosen"))
            .unwrap_or_else(|| Sourced::release(Backend::Native, &pins));
        let seed = self.text(&["seed"]);
        let mut services = self.services(&release, &pins);
        for service in services.values_mut() {
            let via = self.backend(&["services", &service.name, "via"]);
            match self.archive(service) {
                Ok(archive) => service.archive = archive,
                Err(problem) => self.problems.push(problem),
            }
            match self.external(service) {
                Ok(external) => service.external = external,
                Err(problem) => self.problems.push(problem),
            }
            if let Some(external) = &service.external {
                service.backend = Sourced { value: Backend::External, origin: external.origin.clone() };
                continue;
            }
            if service.program.is_some() {
                // What it runs is no image.
                if let Some(via) = via {
                    service.backend = via;
                }
                continue;
            }
            let only = service.kind.is_contained() && !service.runs_as_processes();
            service.backend = match via {
                Some(via) => via,
                None if only => Sourced::release(Backend::Compose, &pins),
                None if service.kind.is_contained() => backend.clone(),
                None => service.backend.clone(),
            };
        }
        // What an application works with.
        let needs = first_of(
            &services,
            &[Kind::Postgresql, Kind::Redis, Kind::Rabbitmq, Kind::Opensearch, Kind::Minio],
        );
        for service in services.values_mut().filter(|service| service.kind == Kind::Invenio) {
            service.needs.clone_from(&needs);
            service.python = release.tools.iter().find(|tool| tool.name == "python").map(Requirement::series);
        }
        // A console is of no use without what it shows.
        for (console, shown) in [(Kind::Dashboards, Kind::Opensearch), (Kind::Pgadmin, Kind::Postgresql)] {
            let shown = first_of(&services, &[shown]);
            let console = |service: &&mut Service| service.kind == console && service.external.is_none();
            for service in services.values_mut().filter(console) {
                service.needs.clone_from(&shown);
            }
        }
        let mut profiles: BTreeMap<String, Sourced<Vec<String>>> = release
            .profiles
            .into_iter()
            .map(|(profile, members)| (profile, Sourced::release(members, &pins)))
            .collect();
        for (path, entry) in &self.entries {
            if let ([first, profile], Value::Names(members)) = (path.as_slice(), &entry.value)
                && first == "profiles"
            {
                let members = Sourced { value: members.clone(), origin: entry.origin.clone() };
                profiles.insert(profile.clone(), members);
            }
        }
        let (profiles, wrong) = relations::profiles(&profiles, &services, &self.refused, &self.files);
        self.problems.extend(wrong);
        let mut ecosystem = Ecosystem {
            release: name,
            bind,
            port_offset,
            backend,
            seed,
            profiles,
            services,
            tools: release.tools,
            runtimes: release.runtimes,
            warnings: Vec::new(),
            project: flags.project.clone(),
        };
        self.problems.extend(relations::ports(&ecosystem, &self.files));
        self.problems.extend(program::check(&ecosystem.services, &self.refused, &self.files));
        self.problems.extend(ecosystem.services.values().flat_map(relations::service));
        self.problems.extend(relations::applications(&ecosystem));
        ecosystem
            .warnings
            .extend(flags.project.as_ref().and_then(|project| other_release(&ecosystem, project)));
        match relations::bind(&ecosystem.bind) {
            Ok(warning) => ecosystem.warnings.extend(warning),
            Err(problem) => self.problems.push(problem),
        }
        (ecosystem, self.problems)
    }

    /// Leaves out the entries of a table that has too many of them.
    fn limit(&mut self, table: &str) {
        let entries: Vec<&Entry> =
            self.entries.values().filter(|e| e.path.len() == 2 && e.path[0] == table).collect();
        if let Some(problem) = relations::many(table, entries.iter().map(|entry| &entry.origin)) {
            self.problems.push(problem);
            self.entries.retain(|path, _| path.first().is_none_or(|first| first != table));
        }
    }

    /// The release that was asked for; the default one where there is no such release, so that the rest is checked too.
    fn release(&mut self, flags: &Flags) -> (Sourced<String>, Release) {
        let asked = flag(flags.release.clone(), "--release")
            .or_else(|| self.text(&["release"]))
            .or_else(|| flag(flags.earlier.release.clone(), "--release of an earlier up"))
            .or_else(|| {
                let Detected { release, file, line, .. } = flags.project.as_ref()?;
                let origin = Origin::File { name: file.clone(), line: *line };
                Some(Sourced { value: (*release)?.to_owned(), origin })
            })
            .unwrap_or_else(|| Sourced::release(release::DEFAULT.to_owned(), release::DEFAULT));
        if let Some(release) = release::find(&asked.value) {
            return (asked, release);
        }
        let known: Vec<&str> = release::names().collect();
        self.problems.push(Problem::at(
            &asked.origin,
            format!("this version knows no release \"{}\"", asked.value),
            suggest::way_out(&asked.value, known),
        ));
        let Some(release) = release::find(release::DEFAULT) else {
            unreachable!("the default release is built in")
        };
        (asked, release)
    }

    fn services(&mut self, release: &Release, release_name: &str) -> BTreeMap<String, Service> {
        let mut services: BTreeMap<String, Service> = release
            .services
            .iter()
            .map(|(kind, defaults)| {
                (kind.name().to_owned(), blank(kind.name(), *kind, defaults, release_name))
            })
            .collect();
        let named: Vec<(String, Origin)> = self
            .entries
            .values()
            .filter(|entry| entry.path.len() == 2 && entry.path[0] == "services")
            .map(|entry| (entry.path[1].clone(), entry.origin.clone()))
            .collect();
        for (name, origin) in named {
            let kind = match self.kind(&name, &origin) {
                Ok(kind) => kind,
                Err(problem) => {
                    self.problems.push(problem);
                    self.refused.insert(name);
                    continue;
                }
            };
            let none = Defaults::default();
            let defaults = release.services.get(&kind).unwrap_or(&none);
            let mut service = blank(&name, kind, defaults, release_name);
            if name != kind.name() {
                // What is wrong with its ports is wrong with the line that brought it.
                service.ports.values_mut().for_each(|port| port.origin = origin.clone());
            }
            let said: program::Said<'_> = self
                .entries
                .values()
                .filter(|entry| entry.path.starts_with(&["services".to_owned(), name.clone()]))
                .map(|entry| (entry.path.iter().skip(2).map(String::as_str).collect(), entry))
                .collect();
            let other = kind == Kind::Minio && said.contains_key(&vec!["command"]);
            let problems = if kind == Kind::Process || other {
                program::lay_over(&mut service, &said, &origin, &self.files)
            } else {
                program::misplaced(&service, &said)
            };
            self.problems.extend(problems);
            self.lay_over(&mut service);
            services.insert(name, service);
        }
        services
    }

    /// What a service of this name is.
    fn kind(&self, name: &str, origin: &Origin) -> Result<Kind, Problem> {
        let kinds = Kind::ALL.map(Kind::name);
        match self.text(&["services", name, "kind"]) {
            Some(kind) => kind.value.parse().map_err(|()| {
                let what = format!("services.{name} is of the unknown kind \"{}\"", kind.value);
                Problem::at(&kind.origin, what, suggest::way_out(&kind.value, kinds))
            }),
            None => name.parse().map_err(|()| {
                let way_out = match suggest::nearest(name, kinds) {
                    Some(meant) => {
                        format!("did you mean services.{meant}? Else say what it is: kind = \"…\"")
                    }
                    None => format!("say what it is: kind = \"…\", one of {}", kinds.join(", ")),
                };
                Problem::at(origin, format!("services.{name} has no kind, and its name is none"), way_out)
            }),
        }
    }

    /// Puts what the manifests say over what the release says.
    fn lay_over(&mut self, service: &mut Service) {
        let mut problems = Vec::new();
        let above = vec!["services".to_owned(), service.name.clone()];
        for entry in self.entries.range(above.clone()..).map(|(_, entry)| entry) {
            if !entry.path.starts_with(&above) {
                break;
            }
            let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
            let (["services", name, rest @ ..], origin) = (path.as_slice(), entry.origin.clone()) else {
                continue;
            };
            match (rest, entry.value.clone()) {
                (["ports", role], Value::Number(value)) if service.kind != Kind::Process => {
                    if let Some(port) = service.ports.get_mut(*role) {
                        *port = Sourced { value, origin };
                    } else {
                        problems.push(Problem::at(
                            &origin,
                            format!("services.{name} has no port `{role}`"),
                            suggest::way_out(role, service.ports.keys().map(String::as_str)),
                        ));
                    }
                }
                (["settings", setting], Value::Text(value)) => {
                    service.settings.insert((*setting).to_owned(), Sourced { value, origin });
                }
                (["image"], Value::Text(value)) => service.image = Some(Sourced { value, origin }),
                (["site"], Value::Text(value)) => {
                    service.site = Some(Sourced { value: value.into(), origin });
                }
                (["pack"], Value::Text(value)) => service.pack = Some(Sourced { value, origin }),
                (["heap"], Value::Text(value)) => service.heap = Some(Sourced { value, origin }),
                (["from"], Value::Text(value)) => {
                    let value = if value == "path" { From::Path } else { From::Store };
                    service.from = Sourced { value, origin };
                }
                (["plugins"], Value::Names(value)) => service.plugins = Sourced { value, origin },
                (["modules"], Value::Names(value)) => service.modules = Sourced { value, origin },
                (["buckets"], Value::Names(value)) => service.buckets = Sourced { value, origin },
                _ => {}
            }
        }
        self.problems.extend(problems);
    }

    fn entry(&self, path: &[&str]) -> Option<&Entry> {
        self.entries.get(&path.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn text(&self, path: &[&str]) -> Option<Sourced<String>> {
        let entry = self.entry(path)?;
        let Value::Text(value) = entry.value.clone() else { return None };
        Some(Sourced { value, origin: entry.origin.clone() })
    }

    fn backend(&self, path: &[&str]) -> Option<Sourced<Backend>> {
        let Sourced { value, origin } = self.text(path)?;
        Some(Sourced { value: Backend::of(&value)?, origin })
    }

    /// Where a service is that somebody else runs.
    fn external(&self, service: &Service) -> Result<Option<Sourced<External>>, Problem> {
        let Some(url) = self.text(&["services", &service.name, "external"]) else { return Ok(None) };
        let read = External::read(service.kind, &url.value);
        let origin = url.origin;
        match read {
            Ok(value) => Ok(Some(Sourced { value, origin })),
            Err(wrong) => Err(Problem::at(
                &origin,
                format!("services.{}.external: {wrong}", service.name),
                external::example(service.kind),
            )),
        }
    }

    /// The archive that a service is run from.
    fn archive(&self, service: &Service) -> Result<Option<Archive>, Problem> {
        let text = |key| self.text(&["services", &service.name, key]);
        Said { get: text("get"), sha256: text("sha256"), sha512: text("sha512") }.read(service)
    }

    fn number(&self, path: &[&str]) -> Option<Sourced<u16>> {
        let entry = self.entry(path)?;
        let Value::Number(value) = entry.value else { return None };
        Some(Sourced { value, origin: entry.origin.clone() })
    }
}

/// Of each kind the service that has its name, else the first one.
fn first_of(services: &BTreeMap<String, Service>, kinds: &[Kind]) -> Vec<String> {
    let of = |kind: &Kind| {
        let named = services.get(kind.name()).filter(|service| service.kind == *kind);
        named.or_else(|| services.values().find(|service| service.kind == *kind))
    };
    kinds.iter().filter_map(of).map(|service| service.name.clone()).collect()
}

/// A service as the release has it.
fn blank(name: &str, kind: Kind, defaults: &Defaults, release: &str) -> Service {
    let sourced = |value: &Option<String>| value.clone().map(|value| Sourced::release(value, release));
    Service {
        name: name.to_owned(),
        kind,
        ports: defaults
            .ports
            .iter()
            .map(|(role, port)| (role.clone(), Sourced::release(*port, release)))
            .collect(),
        settings: BTreeMap::new(),
        image: sourced(&defaults.image),
        accept: sourced(&defaults.accept),
        get: sourced(&defaults.get),
        backend: Sourced::release(Backend::Native, release),
        external: None,
        from: Sourced::release(From::Store, release),
        archive: None,
        plugins: Sourced::release(defaults.plugins.clone(), release),
        modules: Sourced::release(defaults.modules.clone(), release),
        heap: sourced(&defaults.heap),
        pack: sourced(&defaults.pack),
        site: None,
        configuration: None,
        python: None,
        needs: Vec::new(),
        buckets: Sourced::release(defaults.buckets.clone(), release),
        unmaintained: defaults.unmaintained.clone(),
        program: None,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
