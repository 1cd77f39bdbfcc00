//! The project that `check` looks at. What is wrong with its state is a finding here, not an end: the rest is worth knowing all the same.

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::catalog;
use ecosystem_core::endpoint::{Endpoint, Secret};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::{Finding, Section, Verdict};
use ecosystem_core::model::{Ecosystem, Flags, Service};
use ecosystem_core::place::Place;
use ecosystem_core::release::Detected;

use crate::cli::Global;
use crate::context::Context;
use crate::site::{Site, places};
use crate::stack::Stack;

/// What is known of the project.
#[derive(Debug)]
pub(super) struct Project {
    /// Where the person is.
    pub(super) start: Utf8PathBuf,
    pub(super) root: Utf8PathBuf,
    /// Whether it has a manifest.
    manifest: bool,
    pub(super) ecosystem: Ecosystem,
    /// Where it would keep its state, and the store; `None` where there is something wrong with them.
    pub(super) place: Option<Place>,
    /// What is wrong with them.
    trouble: Option<Failure>,
    /// What could not be selected from the manifest.
    unselectable: Option<Failure>,
}

impl Project {
    /// Opens the project that the person is in. A manifest that cannot be read is a failure.
    pub(super) fn open(context: &Context, global: &Global) -> anyhow::Result<Self> {
        let folder = context.cwd.join(global.directory.as_deref().unwrap_or(Utf8Path::new("")));
        let (site, place, trouble) = match Stack::open(context, global) {
            Ok(stack) => {
                let place = stack.place().unwrap_or_else(|| stack.imagined_place());
                (stack.site, Some(place), None)
            }
            Err(error) => {
                let failure = error.downcast::<Failure>()?;
                if failure.kind != Kind::Host {
                    return Err(failure.into());
                }
                let flags = Flags { release: global.release.clone(), ..Flags::default() };
                let (site, broken) = Site::open(&folder.canonicalize_utf8()?, flags)?;
                if let Some(broken) = broken {
                    return Err(broken.into());
                }
                (site, None, Some(failure))
            }
        };
        let Site { root, manifest, ecosystem } = site;
        let unselectable = ecosystem.select(None, &[]).err();
        let start = folder.canonicalize_utf8().unwrap_or(folder);
        Ok(Self { start, root, manifest, ecosystem, place, trouble, unselectable })
    }

    /// The services of the default profile with what they start after.
    pub(super) fn services(&self) -> Vec<&Service> {
        let selected = self.ecosystem.select(None, &[]).unwrap_or_default();
        self.ecosystem.with_needed(&selected).map_or(selected, |(services, _)| services)
    }

    /// How they are reached. Nobody logs in, so there is no password.
    pub(super) fn endpoints<'a>(&self, services: &[&'a Service], place: &Place) -> Vec<(&'a str, Endpoint)> {
        let bind = &self.ecosystem.bind.value;
        let of = |s: &&'a Service| (s.name.as_str(), catalog::endpoint(s, place, bind, &Secret::new("")));
        services.iter().map(of).collect()
    }

    /// What there is to say of it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let section = Section::Project;
        let manifest = if self.manifest { "ecosystem.toml" } else { "no ecosystem.toml: built-in defaults" };
        let mut findings = vec![
            Finding::ok(section, "project", format!("{} ({manifest})", self.root)),
            Finding::ok(section, "release", self.ecosystem.release.to_string()),
        ];
        if let Some(Detected { requirement, release, file, line }) = &self.ecosystem.project {
            let found = Finding::ok(section, "application", format!("{file}:{line} names {requirement}"));
            findings.push(match release {
                Some(release) => Finding { on: format!("{}, which is release {release}", found.on), ..found },
                None => found.note("this version of the program has no release for it"),
            });
        }
        for warning in &self.ecosystem.warnings {
            let why =
                "servers and tools would not be those that the project is made for, or a line has no effect";
            let (what, on, next) = (warning.place(), warning.what.clone(), warning.way_out.clone());
            findings.push(Finding::of(Verdict::Warning, section, what, on, why, next));
        }
        let chosen: Vec<&str> = self.services().iter().map(|service| service.name.as_str()).collect();
        let used = |service: &Service| {
            let there = |place: &Place| place.service(&service.name).exists();
            chosen.contains(&service.name.as_str()) || self.place.as_ref().is_some_and(there)
        };
        for service in self.ecosystem.services.values().filter(|service| used(service)) {
            if let Some(why) = service.unmaintained_server() {
                let next =
                    "the choice stands in ecosystem.toml: docs/how-to.md, \"Use another object store\"";
                let (what, on) = (service.name.clone(), "nobody maintains this server any more");
                findings.push(Finding::of(Verdict::Warning, section, what, on, why, next));
            }
        }
        for failure in self.trouble.iter().chain(&self.unselectable) {
            let next = failure.hints.first().cloned().unwrap_or_default();
            let why = "`up` does nothing before this is put right";
            let what = failure.code;
            findings.push(Finding::of(Verdict::Problem, section, what, failure.message.clone(), why, next));
        }
        let gone = self.place.as_ref().map(|place| places::gone(&place.store)).unwrap_or_default();
        if !gone.is_empty() {
            let on = format!("{} of the store are of projects that are gone", gone.len());
            findings.push(
                Finding::ok(section, "entries", on).note("harmless; {program} check --fix removes them"),
            );
        }
        findings
    }
}
