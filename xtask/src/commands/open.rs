//! `open`: the web console of a service.

use std::fmt::Write;

use camino::Utf8PathBuf;
use ecosystem_core::catalog::{Kind as ServiceKind, pgadmin};
use ecosystem_core::endpoint::{Endpoint, Ready, encoded};
use ecosystem_core::failure::{Failure, Kind};
use serde::Serialize;

use crate::cli::{Global, Open};
use crate::client;
use crate::context::Context;
use crate::output::{self, Format, Report};
use crate::stack::Stack;
use crate::sys::attach::become_program;

#[derive(Debug, Serialize)]
struct Console {
    service: String,
    /// Without a password.
    address: String,
    /// Whom to log in as.
    user: Option<String>,
    /// What a browser opens instead, where the address alone does not let it in.
    page: Option<Utf8PathBuf>,
    /// How to see the password.
    #[serde(skip)]
    password: String,
    #[serde(skip)]
    opens: bool,
}

/// Prints the address and becomes the program that opens it.
pub fn run(context: &Context, global: &Global, args: &Open) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let (service, endpoint, role) = console(&stack, args.service.as_deref())?;
    client::usable(&endpoint)?;
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let opener = which::which(opener).ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    let opener = opener.filter(|_| context.display && !args.print && global.format == Format::Human);
    // Only what runs here as processes has one.
    let guarded = endpoint.kind == ServiceKind::Pgadmin && endpoint.watched.is_some();
    let place = stack.place().filter(|_| guarded);
    let page = place.map(|place| pgadmin::opener(&place.service(&service)));
    let report = Console {
        address: format!("http://{}", endpoint.address(&role)),
        user: endpoint.of_application().user,
        password: format!("{} env {service}", context.program),
        opens: opener.is_some(),
        page,
        service,
    };
    output::report(&report, global.format)?;
    match opener {
        Some(opener) => {
            let file =
                |page: Utf8PathBuf| page.as_str().split('/').map(encoded).collect::<Vec<_>>().join("/");
            let address = report.page.map_or(report.address, |page| format!("file://{}", file(page)));
            Err(become_program(&opener, &[address], &[], &[]))
        }
        None => Ok(()),
    }
}

/// The service with a console that is wanted, and the role of its port.
fn console(stack: &Stack, named: Option<&str>) -> anyhow::Result<(String, Endpoint, String)> {
    if let Some(name) = named {
        stack.site.ecosystem.select(None, &[name.to_owned()])?;
    }
    let mut services: Vec<_> = stack.site.ecosystem.services.values().filter(|s| s.runs()).collect();
    // Before those that were never started.
    let secrets = stack.state.secrets()?;
    services.sort_by_key(|service| !secrets.has(&service.name));
    services.retain(|service| named.map_or(service.kind.console().is_some(), |name| service.name == name));
    for service in services {
        let (_, endpoint) = stack.one(service.kind, Some(&service.name))?;
        let role = match endpoint.watched.as_ref().map(|watched| &watched.ready) {
            // A program of the project that is asked by HTTP has pages, or something else to look at.
            Some(Ready::Http { role, .. }) => Some(role.clone()),
            _ => service.kind.console().map(ToOwned::to_owned),
        };
        if let Some(role) = role.filter(|role| endpoint.ports.contains_key(role)) {
            return Ok((service.name.clone(), endpoint, role));
        }
    }
    let text = match named {
        Some(name) => format!("{name} has no web console"),
        None => "no service of this project has a web console".to_owned(),
    };
    Err(Failure::new(Kind::Finding, "no-console", text).hint("{program} open rabbitmq").into())
}

impl Report for Console {
    fn human(&self) -> String {
        let mut text = format!("{}{}\n", if self.opens { "Opening " } else { "" }, self.address);
        if let Some(page) = self.page.as_ref().filter(|_| !self.opens) {
            let _ = writeln!(text, "A browser that has never been there gets in by this file: {page}");
        }
        if let Some(user) = &self.user {
            let _ = writeln!(text, "Log in as {user}; the password is in what `{}` prints.", self.password);
        }
        text
    }
}
