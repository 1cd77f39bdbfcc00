//! `--port-offset auto`: a block of ports for every checkout, given once and kept.

use std::collections::BTreeSet;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Flags;
use ecosystem_core::place::{blocks, free_offset};

use crate::backend::native;
use crate::cli::{Global, PortOffset, Up};
use crate::context::Context;
use crate::event::Events;
use crate::provision::{Guard, Store};
use crate::site::{Site, State, places};
use crate::stack::Stack;

/// The offset that was asked for. While the guard lives, nobody else is given the same block.
pub(super) fn asked(
    context: &Context,
    global: &Global,
    args: &Up,
    events: &dyn Events,
) -> anyhow::Result<(Option<u16>, Option<Guard>)> {
    match args.port_offset {
        None => Ok((None, None)),
        Some(PortOffset::By(number)) => Ok((Some(number), None)),
        Some(PortOffset::Auto) => {
            let stack = Stack::open(context, global)?;
            // A look leaves nothing behind.
            let lock = || Store::at(&stack.store).lock("ports", events);
            let guard = (!args.dry_run).then(lock).transpose()?;
            Ok((Some(choose(context, &stack)?), guard))
        }
    }
}

/// The present offset where something runs at it, or nobody else claims it; else the first free one.
fn choose(context: &Context, stack: &Stack) -> anyhow::Result<u16> {
    let present = stack.present_place()?;
    if let Some(place) = &present
        && !Stack::running(context, place)?.is_empty()
    {
        return Ok(place.offset);
    }
    let mut taken = native::listening()?;
    for other in places::all(&stack.store).known {
        if other.state != stack.state.folder() {
            taken.extend(claimed(&other, stack));
        }
    }
    let ecosystem = &stack.site.ecosystem;
    let offsets = present.map(|place| place.offset).into_iter().chain(blocks(ecosystem.port_offset.value));
    free_offset(&ecosystem.ports_at(0), &taken, offsets).ok_or_else(|| {
        let message = "there is no offset at which all ports of this project are free";
        Failure::new(Kind::Host, "no-free-ports", message).hint("see who holds them: {program} check").into()
    })
}

/// The ports of another checkout, whether it runs or not. One that cannot be read claims none: what listens is seen all the same.
fn claimed(other: &places::Known, stack: &Stack) -> BTreeSet<u16> {
    let Ok(Some(place)) = other.place(&stack.store) else { return BTreeSet::new() };
    let flags = Flags { earlier: State::at(other.state.clone()).asked(), ..Flags::default() };
    match Site::open(&other.root, flags) {
        Ok((site, None)) => site.ecosystem.ports_at(place.offset),
        _ => BTreeSet::new(),
    }
}
