//! `dev`: the project's own chores.

mod bench;

use crate::cli::{Bench, Dev, Global};
use crate::context::Context;

/// Runs a chore.
pub fn run(context: &Context, global: &Global, chore: &Dev) -> anyhow::Result<()> {
    match chore {
        Dev::Bench(Bench::Up { rounds, against }) => bench::up(context, global, *rounds, against.as_deref()),
    }
}
