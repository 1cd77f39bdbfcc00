//! What `up` does beside starting an application: setting it up where its stores are empty, and keeping other data out of them.

use std::time::Duration;

use ecosystem_core::catalog::invenio::{FIXTURES, location};
use ecosystem_core::catalog::{Kind as ServiceKind, Launch};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Service;
use ecosystem_core::plan::{Commands, Plan};
use ecosystem_core::release::release_of;
use ecosystem_core::tenant::MAIN_PREFIX;

use super::Wanted;
use crate::app::{Application, tasks};
use crate::client::opensearch;
use crate::client::postgresql::application::{By, SetUp, locate, mark_pack, set_up};
use crate::client::rabbitmq::Management;
use crate::event::{Event, Events, Section};
use crate::seed;
use crate::stack::Stack;

/// Beat hands tasks out every ten seconds at least; the longest single one of InvenioRDM, indexing, takes some more.
const PATIENCE: Duration = Duration::from_mins(2);

impl Wanted<'_> {
    /// Says which application it is, and why: the release of the servers need not name one.
    pub(super) fn introduce_applications(&self, events: &dyn Events) {
        for service in self.services.iter().filter(|service| service.kind == ServiceKind::Invenio) {
            let text = match (&service.site, &service.get) {
                (Some(site), _) => format!("the project in {} ({})", site.value, site.origin),
                (None, Some(purl)) => {
                    let package = purl.value.trim_start_matches("pkg:pypi/").replace('@', " ");
                    let release =
                        release_of(&purl.value).map_or(String::new(), |name| format!(", of release {name}"));
                    format!("{package}{release}")
                }
                (None, None) => continue,
            };
            events.emit(Event::Fact { title: "App", text });
        }
    }

    /// Plans that applications are set up; tells whether there are any. Whose code one is, a person sees before it runs.
    pub(super) fn push_set_up(&self, plan: &mut Plan) -> bool {
        let all = self.processes().into_iter().filter(|service| service.kind == ServiceKind::Invenio);
        for service in all.clone() {
            plan.set_up(&service.name, &service.needs);
            if let Some(site) = &service.site {
                let run = "pip install of what it names, and of itself; then invenio and celery with its invenio.cfg";
                let commands = Commands { run: run.to_owned(), cwd: site.value.clone(), check: None };
                plan.commands.insert(service.name.clone(), commands);
            }
        }
        all.count() > 0
    }

    /// Sets an application up where it is not. Tells whether there was something to do.
    pub(super) fn set_up(&self, name: &str, launch: &Launch, events: &dyn Events) -> anyhow::Result<bool> {
        let Some(service) = self.services.iter().find(|service| service.name == name) else {
            return Ok(false);
        };
        let servers: Vec<&Endpoint> =
            service.needs.iter().filter_map(|need| self.endpoints.get(need)).collect();
        let Some(database) = servers.iter().find(|server| server.kind == ServiceKind::Postgresql) else {
            return Ok(false);
        };
        let named = service.pack.as_ref().map(|pack| pack.value.as_str()).filter(|pack| *pack != FIXTURES);
        let location = location(launch, &servers);
        let state = set_up(database)?;
        state.refuse_others(name, named)?;
        match (&state, named) {
            (SetUp::Whole(by), _) => {
                let missing = missing(&servers)?;
                if missing.is_empty() {
                    tell_location(database, &location, events)?;
                    return Ok(false);
                }
                events.emit(Event::Warning(format!(
                    "{name} was set up, and {}: it is set up again",
                    missing.join(", and ")
                )));
                if let (Some(By::Pack), Some(pack)) = (by, named) {
                    self.lay(pack, service, events)?;
                } else {
                    Application::of(launch)?.set_up(&location, &[], events)?;
                    let text = "indices that were made anew are empty: invenio rebuild-all-indices";
                    events.emit(Event::Warning(text.to_owned()));
                }
            }
            // What was begun with a pack is finished with it, whatever is asked for by now.
            (SetUp::Half(By::Pack), Some(pack)) => {
                self.lay_marked(pack, service, database, &location, events)?;
            }
            (SetUp::Nothing, Some(pack)) if !self.bare => {
                self.lay_marked(pack, service, database, &location, events)?;
            }
            _ => {
                let long: &[&str] = if self.bare { &[] } else { &["fixtures"] };
                Application::of(launch)?.set_up(&location, long, events)?;
                if self.bare {
                    let text =
                        "without vocabularies, as --no-seed says; they come with `app setup`".to_owned();
                    events.emit(Event::Fact { title: "Set up", text });
                }
            }
        }
        Ok(true)
    }

    /// Lays a pack into the stores of an application; what is there of it stays.
    fn lay(&self, pack: &str, service: &Service, events: &dyn Events) -> anyhow::Result<()> {
        let pack = self.stack.open_pack(&self.stack.pack(Some(pack))?, events)?;
        let by_name = service.needs.iter().filter_map(|need| self.endpoints.get_key_value(need));
        let by_name = by_name.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect();
        seed::seed(&pack, &Stack::by_kind(&by_name), events).map(drop)
    }

    /// The same into empty stores, so that an interruption is noticed and mended.
    fn lay_marked(
        &self,
        pack: &str,
        service: &Service,
        database: &Endpoint,
        location: &str,
        events: &dyn Events,
    ) -> anyhow::Result<()> {
        mark_pack(database, false)?;
        self.lay(pack, service, events)?;
        locate(database, location)?;
        mark_pack(database, true)
    }

    /// Waits until the application has nothing left to do.
    pub(super) fn wait_for_tasks(&self, events: &dyn Events) -> anyhow::Result<()> {
        let broker = self.endpoints.values().find(|one| one.kind == ServiceKind::Rabbitmq);
        let works = self.services.iter().any(|service| service.kind == ServiceKind::Invenio);
        let Some(broker) = broker.filter(|_| works) else {
            let text = "there are no background tasks without an application";
            return Err(Failure::new(Kind::Usage, "no-tasks", text)
                .hint("{program} up --profile app --wait tasks")
                .into());
        };
        tasks::drain(broker, Section::Start, Some(PATIENCE), events)
    }

    /// Whether the database holds an application: a pack that `up` would load by itself has no place beside it.
    pub(super) fn holds_application(&self) -> anyhow::Result<bool> {
        let known = &self.stack.site.ecosystem.services;
        if !known
            .values()
            .any(|service| service.kind == ServiceKind::Invenio && self.secrets.has(&service.name))
        {
            return Ok(false);
        }
        let Some(database) = self.endpoints.values().find(|one| one.kind == ServiceKind::Postgresql) else {
            return Ok(false);
        };
        Ok(matches!(set_up(database)?, SetUp::Whole(_) | SetUp::Half(_)))
    }
}

/// Says where files go, where that is not where the manifest says: those that are there would not be found.
fn tell_location(database: &Endpoint, location: &str, events: &dyn Events) -> anyhow::Result<()> {
    let present = locate(database, location)?;
    if present != location {
        let text = format!(
            "files are kept in {present}, and the manifest says {location}: they stay where they are"
        );
        events.emit(Event::Warning(text));
    }
    Ok(())
}

/// What an application lacks in the stores beside its database, as after one of them was emptied.
fn missing(servers: &[&Endpoint]) -> anyhow::Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for server in servers {
        match server.kind {
            ServiceKind::Opensearch => {
                let prefix = server.database.as_deref().unwrap_or(MAIN_PREFIX);
                let (status, indices) =
                    opensearch::ask(server, "GET", &format!("/_cat/indices/{prefix}*?h=index"), None)?;
                if status == 200 && indices.iter().all(u8::is_ascii_whitespace) {
                    missing.push("the search engine has none of its indices");
                }
            }
            // A broker that nobody can ask is left alone.
            ServiceKind::Rabbitmq if server.ports.contains_key("http") => {
                let queues = Management::open(server)?.definitions()?.queues;
                if queues.is_empty() {
                    missing.push("the broker has none of its queues");
                }
            }
            _ => {}
        }
    }
    Ok(missing)
}
