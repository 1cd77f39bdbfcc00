//! The table of contents of the program `ecosystem`, which `cargo xtask` runs.

use std::process::ExitCode;

use clap::Parser;
use ecosystem::cli::{Cli, Command};
use ecosystem::commands;
use ecosystem::context::Context;
use ecosystem::output::{self, Progress};
use ecosystem::snapshot;
use ecosystem::sys::{interrupt, launch, supervisor};

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the first argument decides whether this is a command at all"
    )]
    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some(launch::EXEC) => return inner(Err(launch::become_program())),
        Some(launch::FOLLOW) => {
            let words: Vec<_> = std::env::args_os().skip(2).collect();
            return inner(Err(launch::follow(&words)));
        }
        Some(supervisor::SUPERVISE) => return inner(supervisor::run()),
        Some(snapshot::COMPARE) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the hidden verbs are not in the command line's grammar"
            )]
            let order = std::env::args().nth(2).unwrap_or_default();
            return inner(snapshot::run(order.as_str().into()));
        }
        _ => {}
    }
    let cli = Cli::parse();
    let format = cli.global.format;
    let context = match Context::from_env().and_then(|context| interrupt::install().map(|()| context)) {
        Ok(context) => context.in_directory(cli.global.directory.as_deref()),
        Err(error) => return output::failures(&[error], format, "ecosystem").into(),
    };
    match run(&cli, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => output::failures(&errors, format, &context.program).into(),
    }
}

fn run(cli: &Cli, context: &Context) -> Result<(), Vec<anyhow::Error>> {
    let events = Progress::new(context.terminal);
    let global = &cli.global;
    let one = |result: anyhow::Result<()>| result.map_err(|error| vec![error]);
    match &cli.command {
        Command::Check => one(commands::check::run(context, global)),
        Command::Up(args) => commands::up::run(context, global, args, false, &events),
        Command::Restart(args) => commands::up::run(context, global, args, true, &events),
        Command::Down(args) => commands::down::run(context, global, args, &events),
        Command::Status(args) => one(commands::status::run(context, global, args)),
        Command::List => one(commands::list::run(context, global)),
        Command::Explain(args) => one(commands::explain::run(context, global, args)),
        Command::Report(args) => one(commands::report::run(context, global, args)),
        Command::Logs(args) => one(commands::logs::run(context, global, args)),
        Command::Psql(args) => one(commands::clients::psql(context, global, args, &events)),
        Command::RedisCli(args) => one(commands::clients::redis_cli(context, global, args, &events)),
        Command::Search(args) => one(commands::search::run(context, global, args)),
        Command::Open(args) => one(commands::open::run(context, global, args)),
        Command::Env(args) => one(commands::env::run(context, global, args)),
        Command::Provision(args) => one(commands::provision::run(context, global, args, &events)),
        Command::Seed(args) => one(commands::seed::run(context, global, args, &events)),
        Command::Snapshot(args) => one(commands::snapshot::run(context, global, args)),
        Command::Render(args) => one(commands::render::run(context, global, args)),
        Command::Dev(chore) => one(commands::dev::run(context, global, chore, &events)),
        Command::Man(args) => one(commands::man::run(context, global, args)),
        Command::Completions { shell } => one(commands::completions::run(*shell)),
    }
}

/// The launcher and the supervisor have no person to talk to: what goes wrong goes to their log.
fn inner(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::log(&format!("ecosystem: {error:#}"));
            // What a shell answers for a command that could not be run.
            ExitCode::from(126)
        }
    }
}
