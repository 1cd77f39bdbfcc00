//! `app assets`: the scripts and styles of the application's pages, built with its own Node.

use ecosystem_core::failure::{Failure, Kind};

use crate::cli::{Assets, Global};
use crate::context::Context;
use crate::event::Events;

pub(super) fn run(_: &Context, _: &Global, _: &Assets, _: &dyn Events) -> anyhow::Result<()> {
    Err(Failure::new(Kind::Bug, "not-yet", "soon").into())
}
