//! `completions`: what a shell needs to complete this program's words.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::output;

/// Prints the completion script of a shell.
pub fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ecosystem", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
