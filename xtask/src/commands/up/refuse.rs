//! What `up` and `restart` refuse before they look at anything that runs.

use std::fmt::Display;

use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Origin, Service};

use crate::cli::{Global, Up};
use crate::context::Context;
use crate::site::{LOCAL, MANIFEST};
use crate::stack::Stack;

/// A release or backend of the command line would hold for this one command only where the manifest names another one: what `env` and
/// `status` say next would not be about these servers.
pub(super) fn others(context: &Context, global: &Global, args: &Up, stack: &Stack) -> anyhow::Result<()> {
    if global.release.is_none() && args.backend.is_none() {
        return Ok(());
    }
    let asked = &stack.site.ecosystem;
    let without = Stack::look(context, &Global { release: None, ..global.clone() })?.site.ecosystem;
    let of_manifest = |origin: &Origin| matches!(origin, Origin::File { name, .. } if [MANIFEST, LOCAL].contains(&name.as_str()));
    let refused = |what: &str, asked: &dyn Display, without: &dyn Display, origin: &Origin| {
        let message = format!("--{what} {asked}: {origin} names {what} {without}");
        (message, format!("change that line, or write `{what} = \"{asked}\"` into {LOCAL}"))
    };
    let (present, others) = (&asked.release, &without.release);
    if others.value != present.value && of_manifest(&others.origin) {
        let (message, hint) = refused("release", present, others, &others.origin);
        return Err(Failure::new(Kind::Usage, "release-differs", message).hint(hint).into());
    }
    let (present, others) = (&asked.backend, &without.backend);
    if others.value != present.value && of_manifest(&others.origin) {
        let (message, hint) = refused("backend", present, others, &others.origin);
        return Err(Failure::new(Kind::Usage, "backend-of-manifest", message).hint(hint).into());
    }
    Ok(())
}

/// Nothing here can start a server again that somebody else runs.
pub(super) fn elsewhere(services: &[&Service], named: &[String]) -> Result<(), Failure> {
    let elsewhere =
        services.iter().filter(|s| s.backend.value == Backend::External && named.contains(&s.name));
    let names: Vec<&str> = elsewhere.map(|service| service.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("somebody else runs {}: it cannot be started again from here", names.join(", "));
    Err(Failure::new(Kind::Usage, "service-elsewhere", message).hint("where it is: {program} status"))
}
