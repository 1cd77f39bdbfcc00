//! The table of contents of the program `ecosystem`, which `cargo xtask` runs.

use std::process::ExitCode;

use clap::Parser;
use ecosystem::cli::{Cli, Command};
use ecosystem::commands;
use ecosystem::context::Context;
use ecosystem::output::{self, Progress};
use ecosystem::snapshot;
use ecosystem::sys::{interrupt, launch, supervisor};
use ecosystem_core::failure::{Failure, Kind};

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the first argument decides whether this is a command at all"
    )]
    let first = std::env::args_os().nth(1);
    match first.as_deref().and_then(std::ffi::OsStr::to_str) {
        Some(launch::EXEC) => return inner(Err(launch::become_program())),
        Some(launch::FOLLOW) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the hidden verbs are not in the command line's grammar"
            )]
            let words: Vec<_> = std::env::args_os().skip(2).collect();
            return inner(Err(launch::follow(&words)));
        }
        Some(supervisor::SUPERVISE) => return inner(supervisor::run()),
        Some(snapshot::COMPARE) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the hidden verbs are not in the command line's grammar"
            )]
            let order = std::env::args_os().nth(2).unwrap_or_default();
            return inner(snapshot::run(order.to_string_lossy().as_ref().into()));
        }
        _ => {}
    }
    // Whatever the person's umask: what is made is its owner's, and nobody else's unless its mode is said where it is written.
    ecosystem::sys::fs::make_private();
    let cli = Cli::parse();
    let format = cli.global.format;
    let context = match Context::from_env() {
        Ok(context) => context.in_directory(cli.global.directory.as_deref()),
        Err(error) => return output::failures(&[error], format, "ecosystem").into(),
    };
    match guarded(std::panic::AssertUnwindSafe(|| {
        interrupt::install().map_err(|error| vec![error])?;
        run(&cli, &context)
    })) {
        Ok(status) => status,
        Err(errors) => output::failures(&errors, format, &context.program).into(),
    }
}

/// Runs a command. A panic is a fault of this program, except where the machine had no thread to give.
fn guarded(
    run: impl FnOnce() -> Result<ExitCode, Vec<anyhow::Error>> + std::panic::UnwindSafe,
) -> Result<ExitCode, Vec<anyhow::Error>> {
    let text = |panic: &(dyn std::any::Any + Send)| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
    };
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !text(info.payload()).starts_with(NO_THREAD) {
            tell(info);
        }
    }));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let said = text(&*panic);
        let failure = if said.starts_with(NO_THREAD) {
            Failure::new(Kind::Host, "no-thread", format!("this machine allows no more processes: {said}"))
                .hint("see what is allowed: ulimit -u")
        } else {
            Failure::new(Kind::Bug, "panic", "this program has a fault; what was said above helps to find it")
        };
        Err(vec![failure.into()])
    })
}

/// How the panics of `std::thread` begin.
const NO_THREAD: &str = "failed to spawn thread";

fn run(cli: &Cli, context: &Context) -> Result<ExitCode, Vec<anyhow::Error>> {
    let events = Progress::new(context.terminal);
    if let Command::Test(args) = &cli.command {
        // The only one that goes on after another program has ended, whose exit status is its own.
        let status = commands::test::run(context, &cli.global, args, &events);
        return status.map(ExitCode::from).map_err(|error| vec![error]);
    }
    work(cli, context, &events).map(|()| ExitCode::SUCCESS)
}

fn work(cli: &Cli, context: &Context, events: &Progress) -> Result<(), Vec<anyhow::Error>> {
    let global = &cli.global;
    let one = |result: anyhow::Result<()>| result.map_err(|error| vec![error]);
    match &cli.command {
        Command::Check(args) => one(commands::check::run(context, global, args)),
        Command::Up(args) => commands::up::run(context, global, args, false, events),
        Command::Restart(args) => commands::up::run(context, global, args, true, events),
        Command::Down(args) => commands::down::run(context, global, args, events),
        Command::Status(args) => one(commands::status::run(context, global, args, events)),
        Command::List => one(commands::list::run(context, global)),
        Command::Explain(args) => one(commands::explain::run(context, global, args)),
        Command::Init(args) => one(commands::init::run(context, global, args, events)),
        Command::Report(args) => one(commands::report::run(context, global, args)),
        Command::Logs(args) => one(commands::logs::run(context, global, args, events)),
        Command::Psql(args) => one(commands::clients::psql(context, global, args, events)),
        Command::RedisCli(args) => one(commands::clients::redis_cli(context, global, args, events)),
        Command::Search(args) => one(commands::search::run(context, global, args)),
        Command::Open(args) => one(commands::open::run(context, global, args)),
        Command::Trust => one(commands::trust::run(context, global)),
        Command::Env(args) => one(commands::env::run(context, global, args, events)),
        Command::Shell(args) => one(commands::shell::run(context, global, args, events)),
        Command::Provision(args) => one(commands::provision::run(context, global, args, events)),
        Command::Seed(args) => one(commands::seed::run(context, global, args, events)),
        Command::Reset(args) => one(commands::reset::run(context, global, args, events)),
        Command::Checkpoint(what) => commands::checkpoint::run(context, global, what, events),
        Command::App(what) => one(commands::app::run(context, global, what, events)),
        Command::Tenant(what) => one(commands::tenant::run(context, global, what, events)),
        Command::Test(_) => unreachable!("it has an exit status of its own"),
        Command::Pack(verb) => one(commands::pack::run(context, global, verb, events)),
        Command::Snapshot(args) => one(commands::snapshot::run(context, global, args)),
        Command::Render(args) => one(commands::render::run(context, global, args, events)),
        Command::Dev(chore) => one(commands::dev::run(context, global, chore, events)),
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
