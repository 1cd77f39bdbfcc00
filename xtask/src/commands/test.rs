//! `test -- CMD`: a command on a tenant of its own, which is deleted when the command has ended.

use std::collections::BTreeMap;

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::place::Place;
use ecosystem_core::render::env::{names_of_tests, variables_of_tests};
use ecosystem_core::tenant::{endpoints, test_name};

use crate::cli::{Global, Test};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::stack::Stack;
use crate::sys::{attach, interrupt};
use crate::tenant::{self, Hold, Servers};

/// Set for the command: the name of its tenant.
const MARK: &str = "ECOSYSTEM_TENANT";

/// Runs the command and returns its exit status.
pub fn run(context: &Context, global: &Global, args: &Test, events: &dyn Events) -> anyhow::Result<u8> {
    let stack = Stack::open(context, global)?;
    stack.refuse_copy()?;
    let (program, rest) = args.command.split_first().map_or(("", &[][..]), |(program, rest)| (program, rest));
    let program = context.find(program).ok_or_else(|| {
        let text = format!("there is no program {program} on PATH");
        Failure::new(Kind::Host, "program-missing", text)
            .hint("in a virtual environment: activate it first, or name its whole path")
    })?;
    let (name, hold, own) = begin(context, &stack, args, events)?;
    let mut settings = variables_of_tests(&own);
    settings.insert(MARK.to_owned(), name.clone());
    let others: Vec<String> =
        names_of_tests().into_iter().filter(|name| !settings.contains_key(name)).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let env: Vec<(&str, String)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let ended = hold.hand_on().and_then(|()| interrupt::check().map_err(Into::into));
    let ended = ended.and_then(|()| attach::run(&program, rest, &others, &env));
    if args.keep {
        events.emit(Event::Fact {
            title: "Tenant",
            text: format!("{name} is kept; to delete it: {} tenant delete {name}", context.program),
        });
        return ended;
    }
    if let Err(error) = end(context, &stack, &name, events) {
        let text = format!(
            "the tenant {name} is left: {error:#}\n  the next `test` deletes it, or {} tenant delete {name}",
            context.program
        );
        events.emit(Event::Warning(text));
    }
    ended
}

/// Makes the tenant, after those are gone that a killed command has left.
fn begin(
    context: &Context,
    stack: &Stack,
    args: &Test,
    events: &dyn Events,
) -> anyhow::Result<(String, Hold, BTreeMap<String, Endpoint>)> {
    let name = test_name(std::process::id(), [fastrand::u8(..), fastrand::u8(..), fastrand::u8(..)]);
    let _lock = stack.lock(context, "test", &[], events)?;
    let (mut servers, cannot) = tenant::servers(&stack.running_by_name(context)?);
    let place = stack.set_up()?;
    for left in tenant::abandoned(&place, &tenant::look(&place, &servers)?)? {
        match tenant::delete(&place, &servers, &left) {
            Ok(_) => events.emit(Event::Warning(format!(
                "deleted the tenant {left}, which a command that was killed had left"
            ))),
            Err(error) => events.emit(Event::Warning(format!(
                "the tenant {left}, which a command that was killed had left, cannot be deleted: {error:#}"
            ))),
        }
    }
    if !args.services.is_empty() {
        stack.site.ecosystem.select(None, &args.services)?;
        for service in &args.services {
            let why = cannot.get(service).map_or("it does not run, or holds no tenants", String::as_str);
            if !servers.contains_key(service) {
                let text = format!("the command cannot have a part of {service}: {why}");
                return Err(Failure::new(Kind::Service, "service-unusable", text)
                    .hint(format!("{{program}} up {service}"))
                    .into());
            }
        }
        servers.retain(|service, _| args.services.contains(service));
    } else if !cannot.is_empty() {
        let text: Vec<String> = cannot.iter().map(|(service, why)| format!("{service}: {why}")).collect();
        events.emit(Event::Warning(format!("left out: {}", text.join("; "))));
    }
    if servers.is_empty() {
        let text = "no server runs that could hold a tenant";
        return Err(Failure::new(Kind::Finding, "nothing-runs", text).hint("{program} up").into());
    }
    let hold = tenant::hold(&place, &name)?;
    match make(&place, &servers, &name, !args.keep) {
        Ok(own) => Ok((name, hold, own)),
        Err(error) => {
            // What could not be made as a whole goes as far as it can.
            let _left = tenant::delete(&place, &servers, &name).and_then(|_| tenant::release(&place, &name));
            Err(error)
        }
    }
}

fn make(
    place: &Place,
    servers: &Servers,
    name: &str,
    temporary: bool,
) -> anyhow::Result<BTreeMap<String, Endpoint>> {
    let entry = tenant::create(place, servers, name, temporary)?;
    Ok(endpoints(servers, name, &entry))
}

fn end(context: &Context, stack: &Stack, name: &str, events: &dyn Events) -> anyhow::Result<()> {
    let _lock = stack.lock(context, "test", &[], events)?;
    let place = stack.set_up()?;
    let (servers, _) = tenant::servers(&stack.running_by_name(context)?);
    let left = tenant::delete(&place, &servers, name)?;
    tenant::refuse_left(name, &left).map_err(Into::into)
}
