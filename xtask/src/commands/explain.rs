//! `explain`: what an error code means and what to do, without looking for the documentation.

use std::fmt::Write;

use ecosystem_core::explain::{self, Explanation};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::{Explain, Global};
use crate::context::Context;
use crate::output::{self, Report};

#[derive(Debug, Serialize)]
struct Explained {
    errors: Vec<Explanation>,
    #[serde(skip)]
    program: String,
    /// Only the codes are wanted, not their texts.
    #[serde(skip)]
    overview: bool,
}

/// Prints one explanation, or the list of all codes.
pub fn run(context: &Context, global: &Global, args: &Explain) -> anyhow::Result<()> {
    let errors = match &args.code {
        Some(code) => vec![explain::one(code)?],
        None => explain::all(),
    };
    let program = context.program.clone();
    output::report(&Explained { errors, program, overview: args.code.is_none() }, global.format)
}

impl Report for Explained {
    fn human(&self) -> String {
        let mut text = String::new();
        let mut section = None;
        for error in &self.errors {
            if self.overview {
                if section != Some(error.exit_status) {
                    let blank = if section.is_some() { "\n" } else { "" };
                    let title = format!("exit status {}: {}", error.exit_status, error.about);
                    let _ = writeln!(text, "{blank}{}", title.bold());
                    section = Some(error.exit_status);
                }
                let _ = writeln!(text, "  {}", error.code);
                continue;
            }
            let status = format!("exit status {}: {}", error.exit_status, error.about);
            let _ = writeln!(text, "{}  {}", error.code.bold(), status.dimmed());
            for paragraph in error.text.replace("cargo xtask", &self.program).split("\n\n") {
                let _ = writeln!(text, "\n{}", coloured(&output::wrapped(&explain::plain(paragraph))));
            }
        }
        if self.overview {
            let _ = writeln!(text, "\nWhat one of them means: {} explain CODE", self.program);
        }
        text
    }
}

/// What stands in backticks, as in every message, in a colour of its own.
fn coloured(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("`{part}`").cyan().to_string() } else { part.to_owned() })
        .collect()
}
