//! `trust`: how browsers and programs come to trust the local authority, and how that is taken back. It changes nothing.

use std::fmt::Write;

use camino::Utf8PathBuf;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::log::Time;
use ecosystem_core::tls::{self, PERMITTED};
use ecosystem_core::trust::{Way, ways};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::output::{self, Report};
use crate::site::tls::authority;

#[derive(Debug, Serialize)]
struct Trust {
    /// The certificate of the authority.
    certificate: Utf8PathBuf,
    /// Under which it is listed where it is trusted.
    name: String,
    /// The last day on which it holds.
    until: String,
    sha256: String,
    /// What it can vouch for.
    permits: [&'static str; 4],
    ways: Vec<Way>,
}

/// Prints the ways that this system has.
pub fn run(context: &Context, global: &Global) -> anyhow::Result<()> {
    let store = context.store()?;
    let certificate = tls::authority(&store).certificate;
    let Some(authority) = authority(&store)? else {
        let text = format!("there is no local authority in {} yet", tls::authority_folder(&store));
        return Err(Failure::new(Kind::Finding, "authority-missing", text)
            .hint("the first start of a service with HTTPS makes it: {program} up invenio")
            .into());
    };
    let report = Trust {
        ways: ways(context.system(), &certificate, &authority.name),
        sha256: authority.fingerprint(),
        until: Time::from_seconds(authority.until).day(),
        permits: PERMITTED,
        name: authority.name,
        certificate,
    };
    output::report(&report, global.format)
}

impl Report for Trust {
    fn human(&self) -> String {
        let mut text = format!("{}\n", self.certificate);
        let _ = writeln!(text, "  {}, until {}", self.name, self.until);
        let _ = writeln!(text, "  SHA-256 {}", self.sha256);
        let _ = writeln!(
            text,
            "  It can vouch for {} and for nothing else. Nothing was changed: type what you want.",
            self.permits.join(", ")
        );
        for way in &self.ways {
            let note = way.note.map(|note| format!("  {note}")).unwrap_or_default();
            let _ = writeln!(text, "\n{}{}", way.who.bold(), note.dimmed());
            for line in &way.trust {
                let _ = writeln!(text, "  {line}");
            }
            for (at, line) in way.untrust.iter().enumerate() {
                let title = if at == 0 { "to take it back:" } else { "" };
                let _ = writeln!(text, "  {} {line}", format!("{title:16}").dimmed());
            }
        }
        text
    }
}
