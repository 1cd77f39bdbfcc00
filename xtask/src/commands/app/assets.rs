//! `app assets`: the scripts and styles of the application's pages, built with its own Node.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::process::RunAs;
use ecosystem_core::release;
use ecosystem_core::tool::Requirement;
use serde::Serialize;

use super::{Servers, open, service};
use crate::app::{Application, lay_assets};
use crate::cli::{Assets, Global};
use crate::context::Context;
use crate::event::{Event, Events, Section, Task};
use crate::output::{self, Report};
use crate::provision::Mode;
use crate::stack::Stack;
use crate::sys::cmd::Cmd;
use crate::sys::fs::write_atomic;

/// What the build takes of a release's tools.
const NEEDED: [&str; 3] = ["node", "npm", "pnpm"];

/// What the build is told of the application: where it is, and nothing of its servers.
const PASSED: [&str; 4] = ["INVENIO_INSTANCE_PATH", "INVENIO_SITE_UI_URL", "INVENIO_SITE_API_URL", "LANG"];

/// How long one step may take: the first one fetches a thousand packages.
const LIMIT: Duration = Duration::from_hours(1);

#[derive(Debug, Serialize)]
struct Built {
    /// The release whose Node has built them.
    release: String,
    folder: Utf8PathBuf,
    took_ms: u64,
}

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &Assets,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let stack = Stack::open(context, global)?;
    let _lock = stack.lock(context, "app assets", &[], events)?;
    let (name, tools) = tools(&stack)?;
    events
        .emit(Event::Fact { title: "Release", text: format!("{name}, whose Node builds this application") });
    let run_as = context.host().run_as().unwrap_or(RunAs::Me);
    let provided = stack.provisioner(context, run_as, Mode::Normal, events)?.provide_tools(&tools)?;
    let mut path = Vec::new();
    for tool in &provided {
        match (&tool.bin, &tool.path) {
            (Some(bin), _) => path.push(bin.to_string()),
            (None, Some(program)) => path.extend(program.parent().map(ToString::to_string)),
            (None, None) => {
                let message =
                    format!("{} is neither in a registry for this platform nor on PATH", tool.title);
                return Err(Failure::new(Kind::Host, "program-missing", message)
                    .hint("what is needed: {program} check")
                    .into());
            }
        }
    }
    let opened = open(context, &stack, Servers::Irrelevant, events)?;
    let application = Application::of(&opened.launch)?;
    path.extend(application.env.get("PATH").cloned());
    let path = path.join(":");
    // `install` would take what follows it for packages: each has its own start, but for the one that does them all.
    let clean: &[&[&str]] = if args.clean { &[&["webpack", "clean"]] } else { &[] };
    let steps = [clean, &[&["collect"], &["webpack", "buildall"]]].concat();
    let invenio = opened.launch.processes[0].argv.get(1).context("the web server has no command")?;
    for step in steps {
        if step.contains(&"buildall") {
            let site = opened.service.site.as_ref().map(|site| site.value.as_path());
            lay_assets(&opened.launch.data.folder, site)?;
        }
        let task = Task::start(events, Section::Build, step.join(" "));
        // As the person: npm and pnpm have their mirror, proxy and cache in the person's home.
        // Without a secret: what npm installs runs scripts of a thousand strangers.
        let own = application.env.iter().filter(|(name, _)| PASSED.contains(&name.as_str()));
        let command = Cmd::new(&application.python).args([invenio.as_str()]).args(step.iter().copied());
        let command = own.fold(command, |command, (name, value)| command.env(name, value.as_str()));
        let output =
            command.env("PATH", path.as_str()).cwd(&application.folder).leashed().limit(LIMIT).run()?;
        let log = application.folder.join("assets.log");
        write_atomic(&log, format!("{}{}", output.stdout, output.stderr).as_bytes(), 0o600)?;
        if !output.ok() {
            let message = format!(
                "`invenio {}` ended with status {}: {}",
                step.join(" "),
                output.status,
                harmless(output.last_line())
            );
            return Err(Failure::new(Kind::Service, "app-failed", message)
                .hint(format!("all that it said: {log}"))
                .into());
        }
        task.finish("");
    }
    let report = Built {
        release: name,
        folder: opened.launch.data.folder.join("static"),
        took_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    output::report(&report, global.format)
}

/// The release that the application belongs to, and what of its tools the build takes. A project of its own is of the release that is used.
fn tools(stack: &Stack) -> anyhow::Result<(String, Vec<Requirement>)> {
    let service = service(stack)?;
    let used = &stack.site.ecosystem;
    let own = service.get.as_ref().filter(|_| service.site.is_none());
    let of = own
        .and_then(|purl| release::release_of(&purl.value))
        .and_then(|name| Some((name, release::find(name)?)));
    let (name, tools) = match of {
        Some((name, release)) => (name.to_owned(), release.tools),
        None => (used.release.value.clone(), used.tools.clone()),
    };
    Ok((name, tools.into_iter().filter(|tool| NEEDED.contains(&tool.name.as_str())).collect()))
}

impl Report for Built {
    fn human(&self) -> String {
        format!(
            "Built into {} with the Node of {}: {}\n",
            self.folder,
            self.release,
            output::seconds(self.took_ms)
        )
    }
}
