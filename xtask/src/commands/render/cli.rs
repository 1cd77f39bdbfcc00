//! The command reference, from the same data that `--help` is made of.

use std::fmt::Write;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command, CommandFactory};
use ecosystem_core::render::page::NOTICE;

use crate::cli::Cli;

const INTRO: &str = "\
# Commands

The program is called `ecosystem`. In a checkout of this project `cargo xtask` builds and runs it: `cargo xtask up` and `ecosystem up` are
the same. Reports go to standard output, progress and errors to standard error. The exit status is 0 where everything is well; the others
are explained in [errors.md](errors.md).

";

/// `docs/cli.md`: every command and every option.
pub(super) fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = format!("{NOTICE}{INTRO}");
    let (shown, hidden): (Vec<&Command>, Vec<&Command>) =
        root.get_subcommands().filter(|c| c.get_name() != "help").partition(|c| !c.is_hide_set());
    text.push_str("| command | |\n| --- | --- |\n");
    for command in &shown {
        let name = command.get_name();
        let _ = writeln!(text, "| [`{name}`](#{name}) | {} |", cell(command.get_about()));
    }
    text.push_str("\n## Options of every command\n\n");
    table(&mut text, root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in shown {
        section(&mut text, command, command.get_name(), 2);
    }
    text.push_str("\n## For developers of this project\n\nNot shown by `--help`.\n");
    for command in hidden {
        section(&mut text, command, command.get_name(), 3);
    }
    text
}

/// A command, then the commands below it.
fn section(text: &mut String, command: &Command, name: &str, level: usize) {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n{} {name}\n\n{}\n", "#".repeat(level), about.trim_end());
    let below: Vec<&Command> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
    if below.is_empty() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let _ = write!(text, "\n```text\n{usage}\n```\n");
        let own: Vec<&Arg> = command.get_arguments().filter(|arg| is_own(arg)).collect();
        if !own.is_empty() {
            text.push('\n');
            table(text, own.into_iter());
        }
    }
    for command in below {
        section(text, command, &format!("{name} {}", command.get_name()), level + 1);
    }
}

/// Not an option of every command.
fn is_own(arg: &Arg) -> bool {
    !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn table<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    text.push_str("| option | | default |\n| --- | --- | --- |\n");
    for arg in args {
        // Where clap does not know the default, the help text says it in clap's way.
        let help = cell(arg.get_help());
        let (help, told) = help.split_once(" [default: ").unwrap_or((&help, ""));
        let known = arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let default = if told.is_empty() && arg.get_action().takes_values() {
            known.collect::<Vec<_>>().join(" ")
        } else {
            told.trim_end_matches(']').to_owned()
        };
        let _ = writeln!(text, "| `{}` | {help}{} | {default} |", written(arg), words(arg));
    }
}

/// How an option is written: `-C, --directory <DIR>`.
fn written(arg: &Arg) -> String {
    let values: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(|name| &**name).collect();
    let value = values.join(" ");
    if arg.is_positional() {
        return if arg.is_required_set() { format!("<{value}>") } else { format!("[{value}]") };
    }
    let mut words: Vec<String> = arg.get_short().map(|short| format!("-{short}")).into_iter().collect();
    words.extend(arg.get_long().map(|long| format!("--{long}")));
    let words = words.join(", ");
    if arg.get_action().takes_values() { format!("{words} <{value}>") } else { words }
}

/// The words that an option takes, where there is a choice.
fn words(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_possible_values();
    let words: Vec<String> = values.iter().filter(|value| !value.is_hide_set()).map(word).collect();
    if words.is_empty() { String::new() } else { format!(". One of {}", words.join(", ")) }
}

fn word(value: &PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("`{}` ({})", value.get_name(), cell(Some(help))),
        None => format!("`{}`", value.get_name()),
    }
}

/// Text that fits into a cell of a table.
fn cell(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().replace('|', "\\|").replace('\n', " ").trim().to_owned()
}
