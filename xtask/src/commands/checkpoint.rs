//! `checkpoint`: keeps all data as it is now under a name, and puts it back.

mod copying;
mod report;

use std::io::IsTerminal;

use ecosystem_core::checkpoint::Folders;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Backend;
use ecosystem_core::place::Place;

use self::report::{Deleted, Entry, Listed};
use crate::checkpoint;
use crate::cli::{Checkpoint, Delete, Global};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output;
use crate::stack::Stack;
use crate::sys::fs::disk_use;

/// Does what was asked for.
pub fn run(
    context: &Context,
    global: &Global,
    what: &Checkpoint,
    events: &dyn Events,
) -> Result<(), Vec<anyhow::Error>> {
    match what {
        Checkpoint::Save(args) => copying::save(context, global, args, events),
        Checkpoint::Restore(args) => copying::restore(context, global, args, events),
        Checkpoint::List => list(context, global, events).map_err(|error| vec![error]),
        Checkpoint::Delete(args) => delete(context, global, args, events).map_err(|error| vec![error]),
    }
}

/// The place of a stack; there are no checkpoints without one.
fn place(stack: &Stack) -> anyhow::Result<Place> {
    stack.refuse_copy()?;
    Ok(stack.set_up()?)
}

fn list(context: &Context, global: &Global, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    let mut listed = Listed { restoring: None, checkpoints: Vec::new(), program: context.program.clone() };
    let Some(place) = stack.place() else { return output::report(&listed, global.format) };
    // The command at work may be the one that restores it.
    let idle = stack.state.at_work()?.is_none();
    listed.restoring = checkpoint::pending(&place)?.filter(|_| idle).map(|journal| journal.checkpoint);
    for name in checkpoint::names(&place)? {
        match checkpoint::read(&place, &name) {
            Ok(found) => {
                let folder = disk_use(&Folders::of(&place).checkpoint(&name));
                let volumes = found.services.values().filter(|stored| stored.backend == Backend::Compose);
                let bytes = folder + volumes.map(|stored| stored.bytes).sum::<u64>();
                listed.checkpoints.push(Entry { name, made: found.made, bytes, services: found.services });
            }
            Err(error) => events.emit(Event::Warning(format!("{error:#}"))),
        }
    }
    output::report(&listed, global.format)
}

fn delete(context: &Context, global: &Global, args: &Delete, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::look(context, global)?;
    let place = place(&stack)?;
    let name = &args.name;
    // One that is damaged can be deleted; one that is not there is named.
    match checkpoint::read(&place, name) {
        Err(error) if error.downcast_ref::<Failure>().is_none_or(|f| f.code != "checkpoint-damaged") => {
            return Err(error);
        }
        _ => {}
    }
    if !args.yes {
        let question = format!("Delete the checkpoint {name} of {}? It cannot be brought back.", place.root);
        agree(
            &question,
            &format!("deleting the checkpoint {name}"),
            &format!("checkpoint delete {name} --yes"),
        )?;
    }
    let _lock = stack.lock(context, "checkpoint delete", &[], events)?;
    let names = checkpoint::names(&place)?;
    if names.contains(name) {
        let compose =
            context.find("docker").map(|docker| crate::backend::compose::Compose::new(docker, &place));
        checkpoint::delete(&place, compose.as_ref(), name)?;
    }
    output::report(&Deleted { deleted: name.clone() }, global.format)
}

/// Asks, where there is somebody to ask.
fn agree(question: &str, doing: &str, again: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new(Kind::Usage, "needs-yes", format!("{doing} needs a yes"));
        return Err(failure.hint(format!("{{program}} {again}")).into());
    }
    if output::agreed(question)? {
        return Ok(());
    }
    Err(Failure::new(Kind::Interrupted, "not-confirmed", "nothing was changed").into())
}
