//! `dev`: the project's own chores.

mod bench;
mod prove;

use crate::cli::{Bench, Dev, Global};
use crate::context::Context;
use crate::event::Events;

/// Runs a chore.
pub fn run(context: &Context, global: &Global, chore: &Dev, events: &dyn Events) -> anyhow::Result<()> {
    match chore {
        Dev::Prove(args) => prove::run(context, global, args, events),
        Dev::Bench(Bench::App { rounds }) => bench::app(context, global, *rounds),
        Dev::Bench(Bench::Check { rounds, against }) => bench::check(global, *rounds, against.as_deref()),
        Dev::Bench(Bench::Seed(args)) => bench::seed(context, global, args),
        Dev::Bench(Bench::Pack { pack, rounds }) => bench::pack(context, global, *rounds, pack),
        Dev::Bench(Bench::Tools { rounds, against }) => bench::tools(global, *rounds, against.as_deref()),
        Dev::Bench(Bench::Up { rounds, against }) => bench::up(context, global, *rounds, against.as_deref()),
        Dev::Bench(Bench::Containers { rounds }) => bench::containers(context, global, *rounds),
        Dev::Bench(Bench::Minio { rounds }) => bench::minio(context, global, *rounds),
    }
}
