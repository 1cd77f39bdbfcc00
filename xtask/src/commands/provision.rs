//! `provision`: what the services need, fetched and built, without starting anything; carried in a bundle; and the store tidied.

mod clean;
mod tools;

use std::fmt::Write;

use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Backend, Service};
use serde::Serialize;

use crate::backend::compose;
use crate::cli::{Global, Provision};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output::{self, Report};
use crate::provision::{Bundled, BundledEntry, Mode, Need};
use crate::stack::Stack;

#[derive(Debug, Serialize)]
struct Provided {
    store: String,
    /// What had to be fetched or built by this run.
    new: usize,
    items: Vec<Need>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<Carried>,
}

/// A bundle that was written or read.
#[derive(Debug, Serialize)]
struct Carried {
    file: Utf8PathBuf,
    /// It was written by this run.
    written: bool,
    #[serde(flatten)]
    content: Bundled,
}

/// Fills the store.
pub fn run(context: &Context, global: &Global, args: &Provision, events: &dyn Events) -> anyhow::Result<()> {
    if args.clean {
        return clean::run(context, global, args, events);
    }
    if args.tools {
        return tools::run(context, global, args, events);
    }
    let stack = Stack::open(context, global)?;
    let services = stack.site.ecosystem.select(None, &args.services)?;
    let (services, left_out) = stack.leave_out(context, services, &args.services);
    let (services, _) = stack.site.ecosystem.with_needed(&services)?;
    for unavailable in left_out {
        events.emit(Event::Warning(format!("left out {unavailable}")));
    }
    let of = |backend| services.iter().copied().filter(move |service| service.backend.value == backend);
    let contained: Vec<&Service> = of(Backend::Compose).collect();
    let services: Vec<&Service> = of(Backend::Native).collect();
    let run_as = context.host().run_as().ok_or_else(|| {
        Failure::new(
            Kind::Host,
            "root-without-namespaces",
            "PostgreSQL cannot be prepared as root on this machine",
        )
        .hint("run as an ordinary user")
    })?;
    let mut provisioner = stack.provisioner(context, run_as, mode(args), events)?;
    provisioner.offline = args.offline || args.from.is_some();
    provisioner.thorough = true;
    let mut missing = provisioner.plan(&services)?.iter().filter(|need| !need.present).count();
    let carried =
        |file: &Utf8PathBuf, written| Carried { file: file.clone(), written, content: Bundled::default() };
    let mut bundle = None;
    if let Some(file) = &args.from {
        let file = context.cwd.join(file);
        bundle = Some(Carried { content: provisioner.adopt(&services, &file)?, ..carried(&file, false) });
    }
    provisioner.provide(&services)?;
    if let Some(file) = &args.bundle {
        let file = context.cwd.join(file);
        bundle = Some(Carried { content: provisioner.bundle(&services, &file)?, ..carried(&file, true) });
    }
    let mut items = provisioner.plan(&services)?;
    for item in images(context, &stack, &contained, args.offline, events)? {
        missing += usize::from(!item.present);
        items.push(Need { present: true, ..item });
    }
    output::report(&Provided { store: stack.store.to_string(), new: missing, items, bundle }, global.format)
}

/// The images of these services, fetched where they are missing; `present` tells which were there before.
fn images(
    context: &Context,
    stack: &Stack,
    services: &[&Service],
    offline: bool,
    events: &dyn Events,
) -> anyhow::Result<Vec<Need>> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let docker = context.find("docker");
    compose::fit(docker.as_deref())?;
    let place = stack.place().unwrap_or_else(|| stack.imagined_place());
    let compose = compose::client(docker, &place)?;
    let image = |service: &Service| service.image.as_ref().map(|image| image.value.clone());
    let named: Vec<(String, String)> =
        services.iter().filter_map(|s| Some((s.name.clone(), image(s)?))).collect();
    let names: Vec<&str> = named.iter().map(|(_, image)| image.as_str()).collect();
    let there = compose.images(&names)?;
    let missing: Vec<&str> = names.iter().copied().filter(|name| !there.contains_key(name)).collect();
    if offline && !missing.is_empty() {
        return Err(compose::missing_offline(&missing).into());
    }
    missing.iter().try_for_each(|image| compose.pull(image, events))?;
    let need = |(service, image): &(String, String)| Need {
        service: service.clone(),
        name: "image".to_owned(),
        version: Some(image.clone()),
        present: there.contains_key(image.as_str()),
        bytes: None,
        built: false,
    };
    Ok(named.iter().map(need).collect())
}

/// How the lock is to be treated.
fn mode(args: &Provision) -> Mode {
    match (args.locked, args.relock) {
        (true, _) => Mode::Locked,
        (_, true) => Mode::Relock,
        _ => Mode::Normal,
    }
}

impl Report for Provided {
    fn human(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let _ = writeln!(
                text,
                "  {:<12} {:<20} {}",
                item.service,
                item.name,
                item.version.as_deref().unwrap_or("")
            );
        }
        let did = if self.new == 0 { "nothing to do".to_owned() } else { format!("{} new", self.new) };
        let _ = writeln!(text, "All in {}: {did}", self.store);
        if let Some(bundle) = &self.bundle {
            text.push_str(&bundle.human());
        }
        text
    }
}

impl Carried {
    fn human(&self) -> String {
        let mut text = format!("\n{} {}\n", if self.written { "Wrote" } else { "Read" }, self.file);
        for BundledEntry { name, version, files, bytes, present } in &self.content.entries {
            let note = if *present && !self.written { "  was there" } else { "" };
            let size = output::bytes(*bytes);
            let _ = writeln!(text, "  {name:<20} {version:<10} {size:>9} in {files} files{note}");
        }
        let _ = writeln!(text, "  {}, SHA-256 {}", output::bytes(self.content.bytes), self.content.sha256);
        text
    }
}
