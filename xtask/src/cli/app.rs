//! The words about the application.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub enum App {
    /// Install the application: a virtual environment with exactly the packages of the release, each checked
    Install,
    /// Set the application up: tables, indices, queues, roles, and its vocabularies
    ///
    /// What `invenio-cli services setup` does with nine commands, in one process. What is done already is kept; interrupted, the same
    /// command finishes it. Vocabularies are made by background tasks: `status` counts those that are left, `up --wait tasks` waits for them.
    Setup(SetUp),
    /// Run the web server in the foreground, with debugger and reloader, in place of the one that is supervised
    ///
    /// The address stays: NGINX leads there. When it ends, the supervised one takes over again. What follows `--` is for `invenio run`.
    Run(Run),
    /// Make a user, or change one: confirmed and active, as administrator, with a token for the REST API
    User(User),
    /// Build the pages' scripts and styles with the Node of the application; takes minutes the first time
    Assets(Assets),
}

#[derive(Debug, Clone, Args)]
pub struct SetUp {
    /// Load this pack instead of handing out tasks that make vocabularies
    #[arg(long, value_name = "NAME")]
    pub pack: Option<String>,
    /// No vocabularies: tables, indices, queues and roles alone
    #[arg(long, conflicts_with = "pack")]
    pub no_fixtures: bool,
    /// Make 100 demo records, too
    #[arg(long, conflicts_with_all = ["pack", "no_fixtures"])]
    pub demo: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Words for `invenio run`
    #[arg(value_name = "WORD", last = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct User {
    /// The mail address that the user logs in with
    #[arg(value_name = "MAIL")]
    pub mail: String,
    /// May do everything
    #[arg(long)]
    pub admin: bool,
    /// Make a token for the REST API
    #[arg(long)]
    pub token: bool,
    /// Read the password from standard input; without it a new user gets one that is printed
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Assets {
    /// Build everything anew
    #[arg(long)]
    pub clean: bool,
}
