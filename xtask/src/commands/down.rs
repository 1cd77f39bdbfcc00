//! `down`: stops services, and deletes their data where that is asked for and confirmed.

mod all;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Asked;
use ecosystem_core::place::Place;
use ecosystem_core::plan::{Action, Observed, Plan, Retry, obstacles_failure, reconcile_down};
use serde::Serialize;

use crate::backend::compose::{Compose, record};
use crate::backend::native;
use crate::checkpoint;
use crate::cli::{Down, Global};
use crate::context::Context;
use crate::engine::Engine;
use crate::event::Events;
use crate::output::{self, Report};
use crate::reset;
use crate::stack::Stack;
use crate::tenant;

#[derive(Debug, Default, Serialize)]
struct Ended {
    stopped: Vec<String>,
    deleted: Vec<String>,
    /// Those that stay where data was to be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<String>,
    #[serde(skip)]
    program: String,
}

/// Stops, and deletes.
pub fn run(
    context: &Context,
    global: &Global,
    args: &Down,
    events: &dyn Events,
) -> Result<(), Vec<anyhow::Error>> {
    if args.all {
        return all::run(context, global, events);
    }
    let begin = Instant::now();
    let stack = Stack::look(context, global).map_err(|e| vec![e])?;
    if args.data
        && let Some(broken) = &stack.broken
    {
        // Which data is whose stands in the manifest.
        return Err(vec![broken.clone().hint("stop without deleting anything: {program} down").into()]);
    }
    stack.warn_if_broken(events);
    let Some(place) = stack.place() else {
        // Nothing is known of a folder that was deleted, but what ran in it.
        if args.services.is_empty() {
            native::end_abandoned(stack.state.folder()).map_err(|e| vec![e])?;
        }
        let nothing = Ended::default();
        return output::report(&nothing, global.format).map_err(|e| vec![e]);
    };
    let prepare = || -> anyhow::Result<_> {
        let record = record::read(&place)?;
        // There are volumes without containers.
        let concerned = args.data || !record.services.is_empty();
        let found = if concerned { Stack::compose(context, &place) } else { Ok(None) };
        // Processes are stopped although containers cannot be.
        let (mut compose, mut unseen) = match found {
            Ok(compose) => (compose, None),
            Err(error) if args.data => return Err(error),
            Err(error) => (None, Some(error)),
        };
        let volumes = match &compose {
            Some(compose) if args.data => compose.with_data()?,
            _ => BTreeSet::new(),
        };
        for name in &args.services {
            // What still runs can be stopped and what is still there deleted, even where the manifest does not name it any more.
            let known = stack.site.ecosystem.services.contains_key(name)
                || record.services.contains(name)
                || volumes.contains(name)
                || (args.data && native::with_data(&place)?.contains(name));
            if !known && !native::running(&place)?.contains(name) {
                stack.site.ecosystem.select(None, std::slice::from_ref(name))?;
            }
        }
        if args.data && !args.yes {
            confirm(&stack, &place, &volumes, &args.services)?;
        }
        let lock = stack.state.lock(&format!("{} down", context.program), &[], events)?;
        native::end_leftovers(&place, &stack.site.ecosystem.ports_at(place.offset))?;
        let mut observed = native::observe(&place, &[])?;
        if let Some(asked) = &compose {
            match look_at_containers(asked, &mut observed) {
                Err(error) if args.data => return Err(error),
                Err(error) => (compose, unseen) = (None, Some(error)),
                Ok(()) => {}
            }
        }
        Ok((lock, compose, unseen, reconcile_down(&args.services, &observed)))
    };
    let (_lock, compose, unseen, plan) = prepare().map_err(|e| vec![e])?;
    let retry = Retry { words: "down".to_owned(), offset: 0, root: place.root.clone() };
    if let Some(failure) = obstacles_failure(&plan.obstacles, &retry) {
        return Err(vec![failure.into()]);
    }
    let engine = Engine {
        place: &place,
        launches: &BTreeMap::new(),
        contained: &BTreeMap::new(),
        endpoints: &BTreeMap::new(),
        compose: compose.as_ref(),
        events,
        begin,
        patience: Duration::ZERO,
        seed: &|_| Ok(()),
        set_up: &|_| Ok(()),
    };
    let outcome = engine.carry_out(&plan);
    if !outcome.failures.is_empty() {
        return Err(outcome.failures);
    }
    // Now that nothing runs any more: a supervisor that did not answer would have been in the way before.
    checkpoint::settle(&place, || context.find("docker"), events).map_err(|e| vec![e])?;
    let deleted = if args.data {
        delete(&stack, &place, compose.as_ref(), &args.services).map_err(|e| vec![e])?
    } else {
        vec![]
    };
    if args.data && args.services.is_empty() {
        // With the last data goes what it was made with.
        let forget = |asked: &mut Asked| *asked = Asked { backend: asked.backend, ..Asked::default() };
        stack.state.ask(forget).map_err(|e| vec![e])?;
        reset::end(&place).map_err(|e| vec![e])?;
    }
    let checkpoints = if args.data { checkpoint::names(&place).map_err(|e| vec![e])? } else { Vec::new() };
    let report = Ended { stopped: stopped(&plan), deleted, checkpoints, program: context.program.clone() };
    output::report(&report, global.format).map_err(|e| vec![e])?;
    unseen.map_or(Ok(()), |error| Err(vec![error]))
}

fn look_at_containers(compose: &Compose, observed: &mut Observed) -> anyhow::Result<()> {
    observed.containers = compose.containers()?;
    observed.leftovers = observed.containers.is_empty() && compose.has_leftovers()?;
    Ok(())
}

fn stopped(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .flat_map(|step| match &step.action {
            Action::Stop(service) => std::slice::from_ref(service),
            Action::Remove { services, .. } => services,
            _ => &[],
        })
        .cloned()
        .collect()
}

fn confirm(
    stack: &Stack,
    place: &Place,
    volumes: &BTreeSet<String>,
    services: &[String],
) -> anyhow::Result<()> {
    let mut what = if services.is_empty() { "all services".to_owned() } else { services.join(", ") };
    let named = &stack.site.ecosystem.services;
    let mut unnamed = native::with_data(place)?;
    unnamed.extend(volumes.iter().cloned());
    unnamed.retain(|name| services.is_empty() && !named.contains_key(name));
    if !unnamed.is_empty() {
        let names = unnamed.into_iter().collect::<Vec<_>>().join(", ");
        let _ = write!(what, ", among them {names}, which the manifest does not name any more,");
    }
    let chosen = |name: &&String| services.is_empty() || services.contains(name);
    let volumes: Vec<&str> = volumes.iter().filter(chosen).map(String::as_str).collect();
    let docker = match volumes.as_slice() {
        [] => String::new(),
        names => format!(" and in the volumes of Docker for {}", names.join(", ")),
    };
    if !std::io::stdin().is_terminal() {
        let text = format!("deleting the data of {what} in {}{docker} needs a yes", place.root);
        let again = format!("{{program}} down --data --yes {}", services.join(" "));
        return Err(Failure::new(Kind::Usage, "needs-yes", text).hint(again.trim_end()).into());
    }
    if output::agreed(&format!(
        "Delete the data of {what} in {}{docker}? It cannot be brought back.",
        place.state
    ))? {
        return Ok(());
    }
    Err(Failure::new(Kind::Interrupted, "not-confirmed", "nothing was stopped, nothing was deleted").into())
}

/// Removes the folders and volumes of the services, whether the manifest still names them or not, and only those.
fn delete(
    stack: &Stack,
    place: &Place,
    compose: Option<&Compose>,
    services: &[String],
) -> anyhow::Result<Vec<String>> {
    let mut deleted = BTreeSet::new();
    if let Some(compose) = compose {
        deleted.extend(compose.delete_data(services)?);
    }
    let mut all = native::with_data(place)?;
    all.extend(stack.site.ecosystem.services.keys().cloned());
    for name in all {
        let folder = place.service(&name);
        if (services.is_empty() || services.contains(&name)) && folder.exists() {
            native::refuse_link(&folder)?;
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {folder}"))?;
            deleted.insert(name);
        }
    }
    tenant::forget(place, &deleted)?;
    Ok(deleted.into_iter().collect())
}

impl Report for Ended {
    fn human(&self) -> String {
        let mut text = match self.stopped.as_slice() {
            [] => "Nothing was running.\n".to_owned(),
            services => format!("Stopped {}.\n", services.join(", ")),
        };
        if !self.deleted.is_empty() {
            let _ = writeln!(text, "Deleted the data of {}.", self.deleted.join(", "));
        }
        if !self.checkpoints.is_empty() {
            let _ = writeln!(
                text,
                "Checkpoints stay: {}. To delete one: {} checkpoint delete NAME",
                self.checkpoints.join(", "),
                self.program
            );
        }
        text
    }
}
