//! The containers of an `up`: what they shall be, and what is there of them.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use ecosystem_core::catalog::container::Contained;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Observed, Plan, own_ports};
use ecosystem_core::render::compose::of_place;

use crate::backend::compose::{self, Compose, record};
use crate::backend::native;
use crate::context::Context;
use crate::site::Secrets;
use crate::stack::Stack;

/// What of an `up` is about containers.
pub(super) struct Containers {
    /// Docker; where there is none, nothing of this place was ever a container.
    pub(super) compose: Option<Compose>,
    docker: Option<Utf8PathBuf>,
    /// The services that were asked for and run as containers.
    pub(super) wanted: BTreeMap<String, Contained>,
    /// What Docker Compose is told.
    file: String,
}

impl Containers {
    pub(super) fn of(
        context: &Context,
        stack: &Stack,
        services: &[&Service],
        place: &Place,
        secrets: &Secrets,
    ) -> Self {
        let (file, mut wanted) = of_place(&stack.site.ecosystem, place, |name| secrets.of(name));
        let asked =
            |name: &String| services.iter().any(|s| s.name == *name && s.backend.value == Backend::Compose);
        wanted.retain(|name, _| asked(name));
        let docker = context.find("docker");
        let some = !wanted.is_empty() || record::exists(place);
        let compose = docker.clone().filter(|_| some).map(|docker| Compose::new(docker, place));
        Self { compose, docker, wanted, file }
    }

    pub(super) fn has(&self, service: &str) -> bool {
        self.wanted.contains_key(service)
    }

    pub(super) fn named(&self) -> Vec<(&str, &Contained)> {
        self.wanted.iter().map(|(name, contained)| (name.as_str(), contained)).collect()
    }

    /// Fails where containers are wanted and cannot be had.
    pub(super) fn require(&self, context: &Context) -> anyhow::Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        compose::fit(context.find("docker").as_deref()).map_err(|unfit| self.with_way_out(unfit))
    }

    /// Adds what a person can do who has no Docker.
    fn with_way_out(&self, error: anyhow::Error) -> anyhow::Error {
        let unfit = match error.downcast::<Failure>() {
            Ok(unfit) if unfit.kind == Kind::Host => unfit,
            Ok(other) => return other.into(),
            Err(error) => return error,
        };
        let only = self.wanted.iter().filter(|(_, contained)| !contained.endpoint.kind.runs());
        let only: Vec<&str> = only.map(|(name, _)| name.as_str()).collect();
        match only.as_slice() {
            [] => unfit.hint("or run the servers without containers: {program} up --backend native").into(),
            names => {
                let archives: Vec<&str> = self
                    .wanted
                    .iter()
                    .filter(|(_, contained)| contained.endpoint.kind.takes_archive())
                    .map(|(name, _)| name.as_str())
                    .filter(|name| names.contains(name))
                    .collect();
                let unfit = unfit.hint(format!("these run in no other way: {}", names.join(", ")));
                match archives.first() {
                    Some(name) => unfit.hint(format!(
                        "{name} also runs from its official archive: write get = \"https://…\" and sha512 = \"…\" into [services.{name}] of ecosystem.toml"
                    )),
                    None => unfit,
                }
                .into()
            }
        }
    }

    /// Adds what there is of them, and who holds their ports where they are not there.
    pub(super) fn observe(
        &self,
        place: &Place,
        endpoints: &[(&str, &Endpoint)],
        observed: &mut Observed,
    ) -> anyhow::Result<()> {
        let Some(compose) = &self.compose else {
            // Wanted, and no Docker.
            let unfit = (!self.wanted.is_empty()).then(|| compose::fit(None).err()).flatten();
            return unfit.map_or(Ok(()), |unfit| Err(self.with_way_out(unfit)));
        };
        observed.containers = match compose.containers() {
            // None of them is wanted, and an engine that does not answer runs none.
            Err(_) if self.wanted.is_empty() => BTreeMap::new(),
            Err(error) => return Err(self.with_way_out(error)),
            Ok(containers) => containers,
        };
        if self.wanted.is_empty() {
            return Ok(());
        }
        let images: BTreeSet<&str> = self.wanted.values().map(|contained| contained.image.as_str()).collect();
        let images = compose.images(&images.into_iter().collect::<Vec<_>>())?;
        observed.images = images.into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
        let own: BTreeSet<u16> = own_ports(observed).collect();
        let settled = |endpoint: &Endpoint| endpoint.ports.values().all(|port| own.contains(port));
        if !endpoints.iter().all(|(_, endpoint)| settled(endpoint)) {
            let mut held = native::held_by_others(place, endpoints)?;
            held.retain(|port, _| !own.contains(port));
            observed.held.extend(held);
        }
        let as_wanted = |(service, wanted): (&String, &Contained)| {
            observed.containers.get(service).is_some_and(|seen| seen.runs() && seen.labels == wanted.labels)
        };
        if !self.wanted.iter().all(as_wanted) {
            observed.data.extend(compose.data()?.into_iter().map(|(service, by)| (service, Some(by))));
        }
        Ok(())
    }

    /// Names the containers among those who hold ports.
    pub(super) fn name_holders(&self, observed: &mut Observed) {
        if let Some(docker) = &self.docker {
            compose::name_holders(docker.as_str(), &mut observed.held);
        }
    }

    /// Gets ready for a plan: what Docker Compose is told stands in its file.
    pub(super) fn prepare(&self, plan: &Plan, offline: bool) -> anyhow::Result<()> {
        let images: Vec<&str> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Pull(image) => Some(image.as_str()),
                _ => None,
            })
            .collect();
        if offline && !images.is_empty() {
            return Err(compose::missing_offline(&images).into());
        }
        let starts = plan.steps.iter().any(|step| matches!(step.action, Action::Apply(_)));
        match &self.compose {
            Some(compose) if starts => compose.write(&self.file),
            _ => Ok(()),
        }
    }

    /// Removes the containers of these services; without any left, their network as well.
    pub(super) fn stop(&self, services: &BTreeSet<String>) -> anyhow::Result<()> {
        let Some(compose) = &self.compose else { return Ok(()) };
        let ours: Vec<String> = services.iter().filter(|service| self.has(service)).cloned().collect();
        if ours.is_empty() {
            return Ok(());
        }
        let compose = compose.to_the_end();
        compose.remove(&ours)?;
        if compose.containers()?.is_empty() { compose.remove_all() } else { Ok(()) }
    }
}
