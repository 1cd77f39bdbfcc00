//! `app`: the Invenio application beside its servers: installed, set up, run under a debugger, given users.

mod assets;
mod foreground;
mod setup;
mod user;

use std::collections::BTreeMap;

use anyhow::Context as _;
use ecosystem_core::catalog::{Inputs, Kind, Launch, launch};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind as Class};
use ecosystem_core::model::Service;
use ecosystem_core::place::Place;
use ecosystem_core::process::RunAs;
use serde::Serialize;

use crate::cli::{App, Global};
use crate::client;
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::stack::Stack;

/// Does what was asked for.
pub fn run(context: &Context, global: &Global, what: &App, events: &dyn Events) -> anyhow::Result<()> {
    match what {
        App::Install => install(context, global, events),
        App::Setup(args) => setup::run(context, global, args, events),
        App::Run(args) => foreground::run(context, global, args, events),
        App::User(args) => user::run(context, global, args, events),
        App::Assets(args) => assets::run(context, global, args, events),
    }
}

/// The application of a project, installed.
struct Opened<'s> {
    service: &'s Service,
    place: Place,
    launch: Launch,
    /// The servers that it works with.
    servers: BTreeMap<String, Endpoint>,
}

/// The one service that is an application.
fn service(stack: &Stack) -> Result<&Service, Failure> {
    stack.site.ecosystem.services.values().find(|service| service.kind == Kind::Invenio).ok_or_else(|| {
        Failure::new(Class::Usage, "unknown-service", "no service of this project is an application")
    })
}

/// Whether the servers of the application have to be usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Servers {
    Needed,
    Irrelevant,
}

/// Installs the application where it is not, and puts together how it is run. The caller holds the lock where it changes something.
fn open<'s>(
    context: &Context,
    stack: &'s Stack,
    needed: Servers,
    events: &dyn Events,
) -> anyhow::Result<Opened<'s>> {
    let service = service(stack)?;
    stack.refuse_copy()?;
    if needed == Servers::Needed {
        // Before three hundred packages are fetched for nothing.
        usable(stack, service)?;
    }
    let (place, secrets) = stack.furnish(&[service], events)?;
    let installed = stack.installation(context, &service.name, events)?;
    let around = stack.around(context, &place, &secrets);
    let inputs = Inputs {
        service,
        place: &place,
        bind: stack.bind(),
        installed: &installed,
        run_as: context.host().run_as().unwrap_or(RunAs::Me),
        secret: &secrets.of(&service.name),
        around: &around,
    };
    let launch = launch(inputs);
    let servers = around.endpoints.into_iter().filter(|(name, _)| service.needs.contains(name)).collect();
    Ok(Opened { service, place, launch, servers })
}

/// Refuses to go on without the servers of an application: the first of them that is missing would be met as a trace of thirty lines.
fn usable(stack: &Stack, service: &Service) -> anyhow::Result<()> {
    let all = format!("all that {} works with: {{program}} up {}", service.name, service.needs.join(" "));
    let Some(place) = stack.place() else {
        let text = format!("nothing was set up in {} yet", stack.site.root);
        return Err(Failure::new(Class::Finding, "not-set-up", text).hint(all).into());
    };
    let needed = service.needs.iter().filter_map(|name| stack.site.ecosystem.services.get(name));
    let needed: Vec<&Service> = needed.collect();
    for (_, server) in stack.endpoints(&needed, &place, &stack.state.secrets()?) {
        client::usable(&server).map_err(|failure| failure.hint(all.clone()))?;
    }
    Ok(())
}

impl Opened<'_> {
    /// Its database.
    fn database(&self) -> anyhow::Result<&Endpoint> {
        let database = self.servers.values().find(|server| server.kind == Kind::Postgresql);
        database.context("the application has no database")
    }
}

/// What was installed.
#[derive(Debug, Serialize)]
struct Installed {
    version: String,
    /// The folder with `invenio`, `celery` and `python`.
    bin: String,
}

fn install(context: &Context, global: &Global, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let installed = stack.installation(context, &service(&stack)?.name, events)?;
    let application = &installed["invenio"];
    let report = Installed { version: application.version.clone(), bin: application.path("bin").to_string() };
    output::report(&report, global.format)
}

impl Report for Installed {
    fn human(&self) -> String {
        // A project without Invenio's own packages has no version to tell.
        let what = if self.version == "site" {
            "The application".to_owned()
        } else {
            format!("Invenio {}", self.version)
        };
        format!("{what}, in {}\n", self.bin)
    }
}
