//! `app user`: a user of the application, in one start of Python.

use std::fmt::Write;
use std::io::Read;

use ecosystem_core::failure::{Failure, Kind};
use serde::Serialize;

use super::{Servers, open};
use crate::app::{Application, Wanted};
use crate::cli::{Global, User};
use crate::client::postgresql::application::set_up;
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::stack::Stack;

/// What came of it.
#[derive(Debug, Serialize)]
struct Made {
    mail: String,
    created: bool,
    admin: bool,
    /// The password that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &User,
    events: &dyn Events,
) -> anyhow::Result<()> {
    if !args.mail.contains('@') {
        let message = format!("`{}` is not a mail address", args.mail.escape_debug());
        return Err(Failure::new(Kind::Usage, "mail-invalid", message)
            .hint("{program} app user me@example.org")
            .into());
    }
    let password = args.password_stdin.then(read_password).transpose()?;
    let stack = Stack::open(context, global)?;
    let _lock = stack.lock(context, "app user", &[], events)?;
    let opened = open(context, &stack, Servers::Needed, events)?;
    set_up(opened.database()?)?.require_whole(&opened.service.name)?;
    let application = Application::of(&opened.launch)?;
    let wanted =
        Wanted { mail: &args.mail, password: password.as_deref(), admin: args.admin, token: args.token };
    let user = application.user(&wanted, events)?;
    let report = Made {
        mail: args.mail.clone(),
        created: user.created,
        admin: args.admin,
        password: user.password,
        token: user.token,
    };
    output::report(&report, global.format)
}

fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(Kind::Usage, "password-empty", "standard input holds no password").into());
    }
    Ok(password.to_owned())
}

impl Report for Made {
    fn human(&self) -> String {
        let verb = if self.created { "was made" } else { "was there already" };
        let admin = if self.admin { ", an administrator" } else { "" };
        let mut text = format!("{} {verb}{admin}\n", self.mail);
        if let Some(password) = &self.password {
            let _ = writeln!(text, "Password  {password}");
        }
        if let Some(token) = &self.token {
            let _ = writeln!(text, "Token     {token}");
        }
        text
    }
}
