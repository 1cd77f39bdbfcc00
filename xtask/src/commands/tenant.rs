//! `tenant`: further instances on the servers that run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Instant;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Backend;
use ecosystem_core::place::Place;
use ecosystem_core::tenant::{Step, check_name, described, endpoints, holds};
use serde::Serialize;

use crate::cli::{Create, Forget, Global, Tenant};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::stack::Stack;
use crate::tenant::{self, Part, Servers};

#[derive(Debug, Serialize)]
struct Created {
    name: String,
    /// By service, what it has there.
    services: BTreeMap<String, String>,
    /// By service, why it has no part there.
    left_out: BTreeMap<String, String>,
    took_ms: u64,
    #[serde(skip)]
    program: String,
}

#[derive(Debug, Serialize)]
struct Tenants {
    tenants: Vec<Row>,
    #[serde(skip)]
    program: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// `unknown`: a server has it, because an older time of it has come back, and nobody remembers it.
    state: &'static str,
    /// Made by `test`.
    temporary: bool,
    /// By service; those that do not run are not asked.
    services: BTreeMap<String, Had>,
}

#[derive(Debug, Serialize)]
struct Had {
    what: String,
    part: Option<Part>,
}

#[derive(Debug, Serialize)]
struct Deleted {
    deleted: String,
}

/// Carries out one of its verbs.
pub fn run(context: &Context, global: &Global, verb: &Tenant, events: &dyn Events) -> anyhow::Result<()> {
    match verb {
        Tenant::Create(args) => create(context, global, args, events),
        Tenant::List => list(context, global),
        Tenant::Delete(args) => delete(context, global, args, events),
    }
}

/// The place of a stack; there are no tenants without one.
fn place(stack: &Stack) -> anyhow::Result<Place> {
    stack.refuse_copy()?;
    Ok(stack.set_up()?)
}

/// Those servers that run and hold tenants, and why the others of the manifest do not.
fn servers(context: &Context, stack: &Stack) -> anyhow::Result<(Servers, BTreeMap<String, String>)> {
    let (servers, mut left_out) = tenant::servers(&stack.running_by_name(context)?);
    for service in stack.site.ecosystem.services.values() {
        let name = &service.name;
        if holds(service.kind) && !servers.contains_key(name) {
            left_out.entry(name.clone()).or_insert_with(|| "it does not run".to_owned());
        }
    }
    Ok((servers, left_out))
}

fn create(context: &Context, global: &Global, args: &Create, events: &dyn Events) -> anyhow::Result<()> {
    let begin = Instant::now();
    check_name(&args.name)?;
    let stack = Stack::open(context, global)?;
    let place = place(&stack)?;
    let _lock = stack.lock(context, "tenant create", &[], events)?;
    let (servers, left_out) = servers(context, &stack)?;
    if servers.is_empty() {
        let text = "no server runs that could hold a tenant";
        return Err(Failure::new(Kind::Finding, "nothing-runs", text).hint("{program} up").into());
    }
    let entry = tenant::create(&place, &servers, &args.name, false)?;
    let own = endpoints(&servers, &args.name, &entry);
    let created = Created {
        name: args.name.clone(),
        services: own.iter().map(|(service, own)| (service.clone(), described(own))).collect(),
        left_out,
        took_ms: crate::seed::millis(begin),
        program: context.program.clone(),
    };
    output::report(&created, global.format)
}

fn list(context: &Context, global: &Global) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    let mut listed = Tenants { tenants: Vec::new(), program: context.program.clone() };
    let Some(place) = stack.place() else { return output::report(&listed, global.format) };
    let running = Stack::running(context, &place)?;
    let asked: Vec<_> = stack
        .site
        .ecosystem
        .services
        .values()
        .filter(|s| running.contains(&s.name) || s.backend.value == Backend::External)
        .collect();
    let (servers, _) = tenant::servers(&stack.endpoints(&asked, &place, &stack.state.secrets()?));
    // How a tenant is reached is known of those as well that do not run.
    let all: Vec<_> = stack.site.ecosystem.services.values().filter(|s| holds(s.kind)).collect();
    let all = stack.endpoints(&all, &place, &stack.state.secrets()?);
    for (name, found) in tenant::look(&place, &servers)? {
        let entry = found.entry.as_ref();
        let own = entry.map(|entry| endpoints(&all, &name, entry)).unwrap_or_default();
        let mut services: BTreeMap<String, Had> = own
            .iter()
            .map(|(service, own)| {
                let part = found.parts.get(service).copied();
                (service.clone(), Had { what: described(own), part })
            })
            .collect();
        for (service, part) in &found.parts {
            let Some(main) = all.get(service).filter(|_| !services.contains_key(service)) else { continue };
            let what = described(&ecosystem_core::tenant::endpoint(main, &name, None));
            services.insert(service.clone(), Had { what, part: Some(*part) });
        }
        let state = match entry.map(|entry| entry.step) {
            Some(Step::Making) => "making",
            Some(Step::Ready) => "ready",
            Some(Step::Deleting) => "deleting",
            None => "unknown",
        };
        let temporary = entry.map_or_else(|| ecosystem_core::tenant::is_test(&name), |entry| entry.temporary);
        listed.tenants.push(Row { name, state, temporary, services });
    }
    output::report(&listed, global.format)
}

fn delete(context: &Context, global: &Global, args: &Forget, events: &dyn Events) -> anyhow::Result<()> {
    let name = &args.name;
    let stack = Stack::open(context, global)?;
    let place = place(&stack)?;
    let known = |servers: &Servers| -> anyhow::Result<()> {
        let all = tenant::look(&place, servers)?;
        if all.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let names = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        let failure = Failure::new(
            Kind::Usage,
            "no-such-tenant",
            format!("there is no tenant `{}`", name.escape_debug()),
        );
        Err(failure.hint(format!("tenants: {names}")).into())
    };
    known(&servers(context, &stack)?.0)?;
    if !args.yes {
        let question = format!(
            "Delete the tenant {name} of {} with all of its data? It cannot be brought back.",
            place.root
        );
        if !std::io::stdin().is_terminal() {
            let failure =
                Failure::new(Kind::Usage, "needs-yes", format!("deleting the tenant {name} needs a yes"));
            return Err(failure.hint(format!("{{program}} tenant delete {name} --yes")).into());
        }
        if !output::agreed(&question)? {
            return Err(Failure::new(Kind::Interrupted, "not-confirmed", "nothing was changed").into());
        }
    }
    let _lock = stack.lock(context, "tenant delete", &[], events)?;
    let (servers, _) = servers(context, &stack)?;
    known(&servers)?;
    let left = tenant::delete(&place, &servers, name)?;
    tenant::refuse_left(name, &left)?;
    output::report(&Deleted { deleted: name.clone() }, global.format)
}

impl Report for Created {
    fn human(&self) -> String {
        let mut text = String::new();
        for (service, what) in &self.services {
            let _ = writeln!(text, "  {service:<12} {what}");
        }
        for (service, why) in &self.left_out {
            let _ = writeln!(text, "  {service:<12} left out: {why}");
        }
        let _ = writeln!(
            text,
            "Tenant {}: {}. Its settings: {} env --tenant {}",
            self.name,
            output::seconds(self.took_ms),
            self.program,
            self.name
        );
        text
    }
}

impl Report for Tenants {
    fn human(&self) -> String {
        if self.tenants.is_empty() {
            return format!("There are no tenants. To make one: {} tenant create NAME\n", self.program);
        }
        let mut text = String::new();
        for row in &self.tenants {
            let state = match row.state {
                "ready" => String::new(),
                "unknown" => ", not remembered: an older time of its server has come back".to_owned(),
                state => format!(", {state} was interrupted"),
            };
            let temporary = if row.temporary { ", of `test`" } else { "" };
            let _ = writeln!(text, "{}{temporary}{state}", row.name);
            for (service, had) in &row.services {
                let part = match had.part {
                    Some(Part::There) => "",
                    Some(Part::Missing) => ", missing",
                    None => ", does not run",
                };
                let _ = writeln!(text, "  {service:<12} {}{part}", had.what);
            }
        }
        text
    }
}

impl Report for Deleted {
    fn human(&self) -> String {
        format!("Deleted the tenant {}.\n", self.deleted)
    }
}
