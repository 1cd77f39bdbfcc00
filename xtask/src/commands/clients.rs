//! `psql` and `redis-cli`: the ordinary client of a server, with address and password, in place of this program. And pg_dump, for captures.

use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use ecosystem_core::catalog::Kind;
use ecosystem_core::failure::{self, Failure};
use ecosystem_core::model::Backend;

use crate::backend::compose;
use crate::cli::{Client, Global};
use crate::client;
use crate::context::Context;
use crate::event::Events;
use crate::stack::Stack;
use crate::sys::attach::become_program;
use crate::sys::cmd::Cmd;

/// What would lead psql elsewhere than to the address and login that it is given.
const PSQL_ELSEWHERE: [&str; 7] = [
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGHOSTADDR",
    "PGPASSFILE",
    "PGSSLMODE",
    "PGREQUIRESSL",
    "PGTARGETSESSIONATTRS",
];

/// Becomes psql. Returns only if that failed.
pub fn psql(context: &Context, global: &Global, args: &Client, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let (service, endpoint) = stack.one(Kind::Postgresql, args.service.as_deref())?;
    client::usable(&endpoint)?;
    if service.backend.value == Backend::Compose && context.find("psql").is_none() {
        let (user, database) = (endpoint.user.as_deref(), endpoint.database.as_deref());
        let login = ["-U", user.unwrap_or_default(), "-d", database.unwrap_or_default()];
        let words = [&["psql", "-h", "127.0.0.1"][..], &login].concat();
        let secret = ("PGPASSWORD", endpoint.password().to_owned());
        return Err(in_container(context, &stack, &service.name, secret, &words, &args.args)?);
    }
    let installed = stack.installation(context, &service.name, events)?;
    let client = installed.get("postgresql-client").context("the installation has no psql")?;
    let mut env = vec![
        ("PGHOST", endpoint.host.clone()),
        ("PGPORT", endpoint.port("sql").to_string()),
        ("PGUSER", endpoint.user.clone().unwrap_or_default()),
        ("PGDATABASE", endpoint.database.clone().unwrap_or_default()),
        ("PGPASSWORD", endpoint.password().to_owned()),
    ];
    env.extend(client.library_path().map(|path| ("LD_LIBRARY_PATH", path)));
    Err(become_program(client.path("psql"), &args.args, &PSQL_ELSEWHERE, &env))
}

/// A way to run pg_dump on the database of a server, with the words it is given: the one that belongs to the installation, else the one of the image.
pub(super) fn pg_dump<'a>(
    context: &'a Context,
    stack: &'a Stack,
    events: &dyn Events,
) -> anyhow::Result<impl Fn(&[String]) -> anyhow::Result<String> + Sync + use<'a>> {
    let (service, endpoint) = stack.one(Kind::Postgresql, None)?;
    let user = endpoint.user.clone().unwrap_or_default();
    let database = endpoint.database.clone().unwrap_or_default();
    let password = endpoint.password().to_owned();
    // The one of the image has the right version.
    let command = if service.backend.value == Backend::Compose {
        let (docker, container) = container(context, stack, &service.name)?;
        let words = ["exec", "--env", "PGPASSWORD", &container, "pg_dump", "-h", "127.0.0.1"];
        Cmd::new(docker.as_str()).args(words)
    } else {
        let installed = stack.installation(context, &service.name, events)?;
        let client = installed.get("postgresql-client").context("the installation has no psql")?;
        let program = client.path("psql").with_file_name("pg_dump");
        let program =
            if program.is_file() { program } else { on_path(context, "pg_dump", "postgresql-client")? };
        let port = endpoint.port("sql").to_string();
        let command =
            Cmd::new(program.as_str()).args(["-h", &endpoint.host, "-p", &port]).without(&PSQL_ELSEWHERE);
        match client.library_path() {
            Some(path) => command.env("LD_LIBRARY_PATH", path),
            None => command,
        }
    };
    let command = command.args(["-w", "-U", &user, "-d", &database]).env("PGPASSWORD", password);
    Ok(move |words: &[String]| {
        let output = command.clone().args(words).limit(PATIENCE).run()?;
        if output.ok() {
            return Ok(output.stdout);
        }
        let text = format!("pg_dump ends with status {}: {}", output.status, output.last_line());
        Err(Failure::new(failure::Kind::Data, "data-rejected", text).into())
    })
}

/// Describing the tables of a large application takes a second.
const PATIENCE: Duration = Duration::from_mins(5);

/// Becomes redis-cli. Returns only if that failed.
pub fn redis_cli(
    context: &Context,
    global: &Global,
    args: &Client,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let (service, endpoint) = stack.one(Kind::Redis, args.service.as_deref())?;
    client::usable(&endpoint)?;
    if service.backend.value == Backend::Compose && context.find("redis-cli").is_none() {
        let secret = ("REDISCLI_AUTH", endpoint.password().to_owned());
        return Err(in_container(context, &stack, &service.name, secret, &["redis-cli"], &args.args)?);
    }
    let installed = stack.installation(context, &service.name, events)?;
    let server = installed.get("redis").context("the installation has no redis")?;
    // It comes with the server, in Debian's packages and in all others.
    let beside = server.path("server").with_file_name("redis-cli");
    let program = if beside.is_file() { beside } else { on_path(context, "redis-cli", "redis-tools")? };
    let address = ["-h", &endpoint.host, "-p", &endpoint.port("redis").to_string()].map(ToOwned::to_owned);
    let mut env = vec![("REDISCLI_AUTH", endpoint.password().to_owned())];
    env.extend(server.library_path().map(|path| ("LD_LIBRARY_PATH", path)));
    Err(become_program(&program, &[&address[..], &args.args].concat(), &[], &env))
}

/// Becomes the client that the image of a server brings along. Its password is not among the words: Docker takes it from the environment.
fn in_container(
    context: &Context,
    stack: &Stack,
    service: &str,
    secret: (&str, String),
    client: &[&str],
    args: &[String],
) -> anyhow::Result<anyhow::Error> {
    let (docker, container) = container(context, stack, service)?;
    let mut words = vec!["exec", "--interactive", "--env", secret.0];
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        words.push("--tty");
    }
    words.push(&container);
    words.extend(client);
    let words: Vec<String> = words.into_iter().map(str::to_owned).chain(args.iter().cloned()).collect();
    Ok(become_program(&docker, &words, &[], &[secret]))
}

/// The program docker, and the name of the container of a service.
fn container(context: &Context, stack: &Stack, service: &str) -> anyhow::Result<(Utf8PathBuf, String)> {
    let place = stack.place().context("the place is set up")?;
    let compose = compose::client(context.find("docker"), &place)?;
    let seen = compose.containers()?;
    let container = seen.get(service).ok_or_else(|| {
        let text = format!("{service} has no container, and its client is in there");
        Failure::new(failure::Kind::Service, "service-unusable", text)
            .hint(format!("{{program}} up {service}"))
    })?;
    Ok((compose.program().to_owned(), container.name.clone()))
}

fn on_path(context: &Context, program: &str, package: &str) -> anyhow::Result<Utf8PathBuf> {
    context.find(program).ok_or_else(|| {
        let text = format!("{program} is neither beside the server nor on PATH");
        let failure = Failure::new(failure::Kind::Host, "program-missing", text);
        failure.hint(format!("install {program} (Debian: {package})")).into()
    })
}
