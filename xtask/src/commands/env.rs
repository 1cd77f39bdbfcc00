//! `env`: settings for an application and for the ordinary clients.

use std::collections::{BTreeMap, BTreeSet};

use ecosystem_core::catalog;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Observed, Obstacle, own_ports};
use ecosystem_core::render::env::{Syntax, oarepo, render, variables};
use ecosystem_core::tenant::{Step, endpoints, holds};

use crate::backend::native;
use crate::cli::{Env, EnvSyntax, Global};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output::{self, Format};
use crate::stack::Stack;
use crate::tenant;

/// Prints the settings.
pub fn run(context: &Context, global: &Global, args: &Env, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    stack.refuse_copy()?;
    let mut services = stack.site.ecosystem.select(None, &args.services)?;
    let Some(place) = stack.place() else {
        let text =
            format!("nothing was set up in {} yet, so there are no passwords to print", stack.site.root);
        return Err(Failure::new(Kind::Finding, "not-set-up", text).hint("{program} up").into());
    };
    let secrets = stack.state.secrets()?;
    if args.services.is_empty() {
        // What was started once beside the profile belongs to it, and what the manifest says somebody else runs.
        let there = |service: &&Service| {
            service.runs() && (secrets.has(&service.name) || service.backend.value == Backend::External)
        };
        let more: Vec<&Service> = stack.site.ecosystem.services.values().filter(there).collect();
        services.extend(
            more.into_iter().filter(|more| !services.iter().any(|s| s.name == more.name)).collect::<Vec<_>>(),
        );
    }
    let with_secret = services.iter().filter(|s| s.has_secret()).map(|s| s.name.as_str());
    stack.state.refuse_lost_secrets(&secrets, with_secret)?;
    let (set_up, never): (Vec<_>, Vec<_>) =
        services.into_iter().partition(|service| !service.has_secret() || secrets.has(&service.name));
    services = set_up;
    if !never.is_empty() {
        let names: Vec<&str> = never.iter().map(|service| service.name.as_str()).collect();
        let (names, again) = (names.join(", "), names.join(" "));
        events.emit(Event::Warning(format!(
            "{names}: never started here, so there is no password and no setting; {} up {again}",
            context.program
        )));
    }
    let mut endpoints = stack.endpoints(&services, &place, &secrets);
    let seen = Stack::containers(context, &place)?.map(|(_, seen)| seen).unwrap_or_default();
    let observed = Observed { containers: seen, ..Observed::default() };
    let own: BTreeSet<u16> = own_ports(&observed).collect();
    let elsewhere = |name: &str| {
        stack.site.ecosystem.services.get(name).is_some_and(|s| s.backend.value == Backend::External)
    };
    for (service, endpoint) in endpoints.iter().filter(|(name, _)| !elsewhere(name)) {
        for obstacle in native::strangers(&place, service, endpoint)? {
            // What was started with these settings would work on somebody else's data.
            if let Obstacle::PortTaken { port, holder: Some(holder), .. } = obstacle
                && !own.contains(&port)
            {
                let whose = holder.place.map_or_else(String::new, |root| format!(" of {root}"));
                let text = format!(
                    "port {port} ({service}) is held by pid {}{whose}, not by this project",
                    holder.pid
                );
                events.emit(Event::Warning(text));
            }
        }
    }
    if let Some(name) = &args.tenant {
        endpoints = of_tenant(&place, name, endpoints, events)?;
    }
    let variables = match args.syntax {
        EnvSyntax::Variables => oarepo(&endpoints),
        _ => variables(&endpoints),
    };
    let syntax = match (global.format, args.syntax) {
        (Format::Json, _) | (_, EnvSyntax::Json) => Syntax::Json,
        (_, EnvSyntax::Shell) => Syntax::Shell,
        (_, EnvSyntax::Dotenv) => Syntax::Dotenv,
        (_, EnvSyntax::Variables) => Syntax::Variables,
    };
    output::text(&render(&variables, syntax))
}

/// The same services as a tenant reaches them. What it has no part of is left out: settings of the main instance would lead to its data.
fn of_tenant(
    place: &Place,
    name: &str,
    all: BTreeMap<String, Endpoint>,
    events: &dyn Events,
) -> anyhow::Result<BTreeMap<String, Endpoint>> {
    let entries = tenant::entries(place)?;
    let Some(entry) = entries.get(name) else {
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        let text = format!("there is no tenant `{}`", name.escape_debug());
        return Err(Failure::new(Kind::Usage, "no-such-tenant", text)
            .hint(format!("tenants: {known}"))
            .into());
    };
    if entry.step != Step::Ready {
        let text = format!("the tenant {name} is half made or half deleted");
        return Err(Failure::new(Kind::Data, "tenant-unfinished", text)
            .hint(format!("finish it: {{program}} tenant create {name}, or {{program}} tenant delete {name}"))
            .into());
    }
    let mut own = endpoints(&all, name, entry);
    for (service, endpoint) in all {
        if holds(endpoint.kind) && !own.contains_key(&service) {
            events.emit(Event::Warning(format!(
                "the tenant {name} has no part of {service}, so there is no setting"
            )));
        } else if endpoint.kind == catalog::Kind::Process {
            own.insert(service, endpoint);
        }
    }
    Ok(own)
}
