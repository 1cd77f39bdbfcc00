//! The command line: what can be typed, and what each word means. The texts here are the help people read.

mod app;
mod data;
mod dev;
mod pack;
mod tenant;

use std::str::FromStr;

use camino::Utf8PathBuf;
use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ecosystem_core::model::Backend;

pub use self::app::{App, Assets, Run, SetUp, User};
pub use self::data::{Checkpoint, Delete, Reset, Restore, Save, Seed};
use crate::output::Format;
pub use dev::{Bench, Dev, Proof, Prove, SeedBench};
pub use pack::{Archive, Capture, New, Pack, Verify};
pub use tenant::{Create, Forget, Tenant, Test};

/// The services an Invenio or OARepo repository needs: started, proven to be yours, and filled.
#[derive(Debug, Parser)]
#[command(name = "ecosystem", version, max_term_width = 110, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command understands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Work on the project in this folder instead of the one you are in
    #[arg(short = 'C', long = "directory", global = true, value_name = "DIR")]
    pub directory: Option<Utf8PathBuf>,
    /// The release that versions, images and ports come from, where the manifest names none: documented, v12, …
    #[arg(long, global = true, value_name = "NAME")]
    pub release: Option<String>,
    /// How the result is printed
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check this machine: tools and libraries of the release, ports, limits, containers, all of it in one run
    ///
    /// Tools and libraries are what developing the application takes; `up` needs none of them. Exit status 1 where there is a problem; a
    /// warning is none. Nothing is changed without `--fix`.
    Check(Check),
    /// Start services and wait until they are usable and proven yours
    ///
    /// Fetches what is missing, starts what does not run, restarts what has changed, and leaves the rest alone.
    /// When interrupted, it stops what it started itself.
    Up(Up),
    /// Stop services; their data stays
    Down(Down),
    /// Stop services and start them again
    Restart(Up),
    /// Show what runs, where, and whether it is usable
    Status(Status),
    /// List all stacks of this user on this machine
    ///
    /// With project folder, state, port offset, memory, and what their data takes on the disk. Known are those that were started
    /// with the present store.
    List,
    /// Print what servers say, all of them in one stream by time
    ///
    /// With `--format json` one JSON object a line, also while following. Times are UTC.
    Logs(Logs),
    /// Print settings for an application and for psql, redis-cli, curl
    ///
    /// Example: eval "$(cargo xtask env)" && psql. Holds passwords; works as soon as `up` has run once.
    Env(Env),
    /// Run psql on the database of this project
    ///
    /// What follows is psql's own: `psql -c 'select 1'`, `psql -f dump.sql`, `psql -- --help`. Its exit status is the command's. The password
    /// is in its environment, never on its command line.
    Psql(Client),
    /// Run redis-cli on the cache of this project
    ///
    /// What follows is redis-cli's own: `redis-cli ping`, `redis-cli -n 1 --scan`, `redis-cli -- --help`. Its exit status is the command's.
    /// The password is in its environment, never on its command line.
    RedisCli(Client),
    /// Ask the search engine of this project
    ///
    /// `search /_cat/indices?v`, `search GET /invenio-rdmrecords/_search '{"size": 1}'`, `search POST /_bulk - < lines`. JSON is
    /// printed indented. Exit status 1 where the server refuses; its answer is printed all the same.
    Search(Search),
    /// Open the web console of a service in the browser
    ///
    /// Prints the address, and whom to log in as. Where there is no display, with `--print` and with `--format json` that is all.
    Open(Open),
    /// Tell how browsers and programs come to trust the local authority, and how that is taken back
    ///
    /// Changes nothing. The authority is one for all checkouts of this user, and can vouch for this machine's loopback alone.
    Trust,
    /// Start a shell, or one command, with the tools of the release first on PATH and the settings of `env`
    ///
    /// `shell -- npm ci`: exit status, signals and streams are the command's own. Tools that are not there yet are fetched first, as
    /// `provision --tools` does. For editors and scripts: eval "$(cargo xtask shell --export)". For direnv: cargo xtask shell --envrc > .envrc
    Shell(Shell),
    /// Fetch and build what the services need, without starting them
    ///
    /// Also carries it to machines without a network, and tidies the store.
    Provision(Provision),
    /// Load a pack of data into database, search and broker
    ///
    /// What was loaded before stays as it is. `up` does this by itself where the manifest names a pack.
    Seed(Seed),
    /// Go back to the state right after `seed`: everything else is deleted, nothing is restarted; asks first
    ///
    /// Of the main instance: its database, all indices but those of tenants, queues and exchanges, the first five databases of Redis. The
    /// first time the pack is loaded; from then on it is put back from copies that the servers keep, in about a second. See docs/data.md.
    Reset(Reset),
    /// Keep all data as it is now under a name, and put it back later
    ///
    /// The servers are stopped while data is copied, and those that ran are started again. See docs/data.md.
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Install the Invenio application, set it up, run it under a debugger, make users
    ///
    /// `up --profile app` does the first two by itself and serves the application on https. See docs/application.md.
    #[command(subcommand)]
    App(App),
    /// Make further instances on the servers that run, each with a database, a virtual host, indices and Redis databases of its own
    ///
    /// Nothing is restarted. For applications of their own and by hand; `test` makes one for a command. See docs/data.md.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Run a command, such as pytest, on a tenant of its own that is deleted afterwards
    ///
    /// `test -- pytest`, `test postgresql -- pytest tests/db`. Settings are those of `env` and those that pytest-invenio reads. Exit status,
    /// signals and streams are the command's own. Data of development is not touched, also where the command drops all tables. What a
    /// tenant protects from, and what not: docs/data.md.
    Test(Test),
    /// Make packs of data, and compare what is loaded with its pack
    #[command(subcommand)]
    Pack(Pack),
    /// Compare the effective configuration of the running services with the accepted one
    ///
    /// Exit status 1 and a diff where they differ. For data see `seed`.
    Snapshot(Snapshot),
    /// Collect what somebody else needs to help, without secrets, as Markdown
    ///
    /// System, manifest, status, plan, ports with their holders, and the last errors of every log. Passwords are taken out and the
    /// home folder is written as `~`; still, read it before you publish it.
    Report(Report),
    /// Explain an error code: what it means, and what to do
    ///
    /// The code stands in brackets in the message: error[port-taken]. Without one all codes are listed, by exit status.
    Explain(Explain),
    /// Write the first ecosystem.toml of a project, from its Compose files where they are named
    ///
    /// Without `--from` a short one with comments, for the release that the project names. With it one that says what those files say, as
    /// far as it differs from the release: servers, versions, ports on this machine alone, heap, plugins and settings. Passwords and data are
    /// never taken over; what else is not is listed with its line and the reason, and in short in the manifest. A manifest that is there
    /// is never written over.
    Init(Init),
    /// Write the files that are made from the manifest: docker/compose.yaml
    ///
    /// The Compose file starts the services of the manifest as containers of their images, published on `bind` alone, for whoever works with
    /// Docker and without this program. Check it in; `--check` tells whether it still says what the manifest says. A file that was not
    /// written by this program is never written over.
    ///
    /// In a checkout of this project itself: its command reference, manifest page and schema, too.
    Render(Render),
    /// Print a completion script for a shell
    ///
    /// It completes commands and options after the word `ecosystem`; names of services are not completed.
    ///
    /// bash: ecosystem completions bash > ~/.local/share/bash-completion/completions/ecosystem
    ///
    /// zsh: ecosystem completions zsh > ~/.zfunc/_ecosystem, with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
    ///
    /// fish: ecosystem completions fish > ~/.config/fish/completions/ecosystem.fish
    ///
    /// After `cargo xtask` shells ask cargo, which completes nothing there. In a checkout make the program reachable by its own name
    /// instead: ln -s "$PWD/target/debug/ecosystem" ~/.local/bin/
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for every command into a folder
    ///
    /// To read it: `ecosystem man | man -l -`. To install them: `ecosystem man --output ~/.local/share/man/man1`.
    Man(Man),
    /// The project's own chores
    #[command(subcommand, hide = true)]
    Dev(Dev),
}

#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Compose files to look at, instead of this machine: ports that other machines reach, images without a version, services without a
    /// check of health
    #[arg(value_name = "FILE", conflicts_with = "fix")]
    pub files: Vec<Utf8PathBuf>,
    /// Put right what is safe: keep the ports of your own Compose files to this machine, after showing the difference and asking
    ///
    /// What was there is kept beside it as FILE.before. Nothing is done as root; everything else is a command to type in the report.
    #[arg(long)]
    pub fix: bool,
    /// Do not ask
    #[arg(short, long, requires = "fix")]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Services to start, instead of a profile
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// A set of services from the manifest [default: core]
    #[arg(long, conflicts_with = "services")]
    pub profile: Option<String>,
    /// Print the plan, with the reason of every step, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Add this number to every port; `auto`: one at which no port is taken, neither now nor by another checkout. Remembered for later
    /// commands in this project
    #[arg(long, value_name = "N|auto")]
    pub port_offset: Option<PortOffset>,
    /// What runs the servers: processes of yours, or containers by Docker Compose [default: as last time; at first native, where that is
    /// possible]
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Backend::WORDS).map(|word| Backend::of(&word).unwrap_or(Backend::Native)))]
    pub backend: Option<Backend>,
    /// Fail where ecosystem.lock does not know exactly what to fetch
    #[arg(long)]
    pub locked: bool,
    /// Fetch nothing: fail at once, with a list, where something is missing
    #[arg(long)]
    pub offline: bool,
    /// Do not load the pack that the manifest names
    #[arg(long)]
    pub no_seed: bool,
    /// Wait for more than servers that are ready: `tasks` stands for the background tasks of the application
    #[arg(long, value_enum, value_name = "WHAT")]
    pub wait: Option<Wait>,
    /// How long a server may take until it is ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
}

/// What `up` can wait for beside servers that are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Until no queue of the broker holds a task
    Tasks,
}

#[derive(Debug, Clone, Args)]
pub struct Down {
    /// Services to stop [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Delete their data as well; asks first
    #[arg(long)]
    pub data: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Stop all stacks that `list` shows, wherever they are
    #[arg(long, conflicts_with_all = ["services", "data", "directory"])]
    pub all: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Go on and show what changes; ends with Ctrl-C
    ///
    /// On a terminal the table is drawn anew in its place. Elsewhere every change is a line, with `--format json` a JSON object a line.
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// Services whose logs are wanted [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what is written from now on; ends with Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines of each log [default: 40, with --since all]
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Only what is not older than this: 30s, 10m, 2h, 1d
    #[arg(long, value_name = "PERIOD", value_parser = ecosystem_core::log::period)]
    pub since: Option<u64>,
    /// Only lines with this text; capitals count if there are some in it
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Only warnings and errors, with what belongs to them
    #[arg(long)]
    pub errors: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Env {
    /// Services whose settings are wanted [default: those of the profile core]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// How the settings are written
    #[arg(long, value_enum, default_value_t)]
    pub syntax: EnvSyntax,
    /// Settings of this tenant instead of the main instance
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

/// How `env` writes settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EnvSyntax {
    /// `export` lines, for `eval`
    #[default]
    Shell,
    /// Lines for an .env file
    Dotenv,
    /// One JSON object
    Json,
    /// Lines for OARepo's file `variables`
    Variables,
}

#[derive(Debug, Clone, Args)]
pub struct Client {
    /// The service, where the manifest has several of this kind
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// What is handed to the program as it is
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Search {
    /// The service, where the manifest has several of this kind
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// [METHOD] PATH [BODY]; without a method GET, or POST where there is a body; `-` reads the body from standard input
    #[arg(value_name = "REQUEST", required = true, num_args = 1..=3)]
    pub request: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Open {
    /// The service whose console is wanted [default: the only one that has one]
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only print the address
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Provision {
    /// Services to provide for [default: those of the profile core]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The host tools of the release instead of servers: Node, npm and Pipenv from registries, Python found on this machine
    #[arg(long, conflicts_with_all = ["services", "bundle", "from", "clean"])]
    pub tools: bool,
    /// Fail where ecosystem.lock does not know exactly what to fetch
    #[arg(long)]
    pub locked: bool,
    /// Fetch from a network you trust and write what arrives into ecosystem.lock, instead of checking it
    #[arg(long, conflicts_with = "locked")]
    pub relock: bool,
    /// Fetch nothing: fail at once, with a list, where something is missing
    #[arg(long, conflicts_with = "relock")]
    pub offline: bool,
    /// Also write all of it into one file, for machines without a network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["relock", "from"])]
    pub bundle: Option<Utf8PathBuf>,
    /// Take it from such a file, after checking it; needs no network, apt or Maven
    #[arg(long, value_name = "FILE", conflicts_with = "relock")]
    pub from: Option<Utf8PathBuf>,
    /// Remove from the store what no known project needs, unfinished builds and caches; asks first
    #[arg(long, conflicts_with_all = ["services", "locked", "relock", "offline", "bundle", "from"])]
    pub clean: bool,
    /// With --clean: only show what would be removed
    #[arg(short = 'n', long, requires = "clean")]
    pub dry_run: bool,
    /// With --clean: do not ask
    #[arg(short, long, requires = "clean")]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Shell {
    /// The command and its arguments [default: your shell]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Print lines for `eval` instead. Holds passwords
    #[arg(long, conflicts_with = "command")]
    pub export: bool,
    /// Print an .envrc for direnv instead
    #[arg(long, conflicts_with_all = ["command", "export"])]
    pub envrc: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Snapshot {
    /// Accept the present configuration
    #[arg(long)]
    pub accept: bool,
    /// Compare only, which is also what happens without any option
    #[arg(long, conflicts_with = "accept")]
    pub check: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Report {
    /// Write it into this file instead of printing it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// The code of an error [default: all]
    pub code: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Init {
    /// A Compose file to take services from, such as docker-compose.yml; may be given several times. Files beside it that it extends are
    /// read as well, and variables from `.env`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<Utf8PathBuf>,
    /// Print the manifest instead of writing it
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Man {
    /// The folder to write all pages into
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<Utf8PathBuf>,
}

/// What is added to every port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortOffset {
    /// What keeps this checkout apart from the others.
    Auto,
    By(u16),
}

impl FromStr for PortOffset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number.parse().map(Self::By).map_err(|_| "write a number from 0 to 65535, or auto"),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct Render {
    /// Write nothing; exit status 1 where a file is out of date
    #[arg(long)]
    pub check: bool,
}
