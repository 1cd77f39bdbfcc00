//! What `up` does beside starting an application: setting it up where its stores are empty, and keeping other data out of them.

use std::time::Duration;

use ecosystem_core::catalog::invenio::location;
use ecosystem_core::catalog::{Kind as ServiceKind, Launch};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};

use super::Wanted;
use crate::app::{Application, tasks};
use crate::client::postgresql::application::{By, SetUp, locate, mark_pack, set_up};
use crate::event::{Events, Section};
use crate::seed;
use crate::stack::Stack;

/// The word that stands for an application's own fixtures, where a manifest names a pack.
const FIXTURES: &str = "fixtures";

/// Beat hands tasks out every ten seconds at least; the longest single one of InvenioRDM, indexing, takes some more.
const PATIENCE: Duration = Duration::from_mins(2);

impl Wanted<'_> {
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
        let pack = service.pack.as_ref().map(|pack| pack.value.as_str());
        let pack = pack.filter(|pack| !self.bare && *pack != FIXTURES);
        let location = location(launch, &servers);
        match (set_up(database)?, pack) {
            (SetUp::Whole, _) => return Ok(false),
            (SetUp::Others(tables), _) => return Err(others(name, &tables, pack).into()),
            (SetUp::Nothing | SetUp::Half(By::Pack), Some(pack)) => {
                let pack = self.stack.open_pack(&self.stack.pack(Some(pack))?, events)?;
                mark_pack(database, false)?;
                let by_name = service.needs.iter().filter_map(|need| self.endpoints.get_key_value(need));
                let by_name = by_name.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect();
                seed::seed(&pack, &Stack::by_kind(&by_name), events)?;
                locate(database, &location)?;
                mark_pack(database, true)?;
            }
            (SetUp::Nothing | SetUp::Half(_), _) => {
                let long: &[&str] = if self.bare { &[] } else { &["fixtures"] };
                Application::of(launch)?.set_up(&location, long, events)?;
            }
        }
        Ok(true)
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
        Ok(matches!(set_up(database)?, SetUp::Whole | SetUp::Half(_)))
    }
}

fn others(service: &str, tables: &[String], pack: Option<&str>) -> Failure {
    let named = tables.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let message = format!(
        "{service} cannot be set up: the database holds {} tables that are not an application's, such as {named}",
        tables.len()
    );
    let failure = Failure::new(Kind::Data, "application-foreign", message);
    match pack {
        Some(pack) => {
            failure.hint(format!("put the pack in the place of all that is there: {{program}} reset {pack}"))
        }
        None => failure,
    }
    .hint("delete all data of this project and begin anew: {program} down --data")
}
