//! `down --all`: stops every stack that the store knows. Data stays, so nothing is asked.

use std::collections::BTreeSet;

use camino::Utf8Path;
use ecosystem_core::place::Place;
use serde::Serialize;

use crate::backend::native;
use crate::checkpoint;
use crate::cli::Global;
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::site::State;
use crate::site::places::{self, Known};
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Stopped {
    stacks: Vec<StoppedStack>,
}

#[derive(Debug, Serialize)]
struct StoppedStack {
    root: String,
    /// What ran there; empty where that could not be asked any more.
    stopped: Vec<String>,
}

/// Stops one after the other; what cannot be stopped does not keep the others running.
pub(super) fn run(context: &Context, global: &Global, events: &dyn Events) -> Result<(), Vec<anyhow::Error>> {
    let (mut stacks, mut errors) = (Vec::new(), Vec::new());
    let store = context.store().map_err(|e| vec![e.into()])?;
    for known in places::all(&store).known {
        match stop(&known, &store, context, events) {
            Ok(Some(stopped)) => stacks.push(StoppedStack { root: known.root.to_string(), stopped }),
            Ok(None) => {}
            Err(error) => errors.push(error.context(format!("cannot stop the stack of {}", known.root))),
        }
    }
    output::report(&Stopped { stacks }, global.format).map_err(|e| vec![e])?;
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The services that were stopped; `None` where nothing ran.
fn stop(
    known: &Known,
    store: &Utf8Path,
    context: &Context,
    events: &dyn Events,
) -> anyhow::Result<Option<Vec<String>>> {
    if known.abandoned().is_some() {
        return native::end_abandoned(&known.state).map(|_| Some(Vec::new()));
    }
    let place = known.place(store).unwrap_or_else(|_damaged| Some(known.remembered(store)));
    let Some(place) = place else { return Ok(None) };
    let _lock =
        State::at(place.state.clone()).lock(&format!("{} down --all", context.program), &[], events)?;
    let processes = stop_processes(&place)?;
    let containers = stop_containers(context, &place)?;
    checkpoint::settle(&place, || context.find("docker"), events)?;
    Ok(match (processes, containers) {
        (None, None) => None,
        (some, others) => Some(some.into_iter().chain(others).flatten().collect()),
    })
}

fn stop_processes(place: &Place) -> anyhow::Result<Option<Vec<String>>> {
    if !native::supervised(place)? {
        // What it started may have outlived it.
        return native::end_leftovers(place, &BTreeSet::new()).map(|()| None);
    }
    if native::silent(place)?.is_some() {
        native::kill(place)?;
        return Ok(Some(Vec::new()));
    }
    let mut running = native::running(place)?;
    running.sort();
    running.dedup();
    native::shutdown(place)?;
    Ok(Some(running))
}

fn stop_containers(context: &Context, place: &Place) -> anyhow::Result<Option<Vec<String>>> {
    let Some((compose, containers)) = Stack::containers(context, place)? else { return Ok(None) };
    // Also where only their network is left.
    compose.remove_all()?;
    Ok(Some(containers.into_keys().collect()))
}

impl Report for Stopped {
    fn human(&self) -> String {
        if self.stacks.is_empty() {
            return "Nothing was running.\n".to_owned();
        }
        let line = |stack: &StoppedStack| match stack.stopped.as_slice() {
            [] => format!("Stopped what was left of {}.\n", stack.root),
            services => format!("Stopped {} of {}.\n", services.join(", "), stack.root),
        };
        self.stacks.iter().map(line).collect()
    }
}
