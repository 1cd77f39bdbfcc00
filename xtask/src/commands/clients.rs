//! `psql` and `redis-cli`: the ordinary client of a server, with address and password, in place of this program.

use anyhow::Context as _;
use camino::Utf8PathBuf;
use ecosystem_core::artifact::Installation;
use ecosystem_core::catalog::Kind;
use ecosystem_core::failure::{self, Failure};
use ecosystem_core::model::Backend;

use crate::backend::compose;
use crate::cli::{Client, Global};
use crate::client;
use crate::context::Context;
use crate::event::Events;
use crate::provision::Mode;
use crate::stack::Stack;
use crate::sys::attach::become_program;

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
    let installed = installation(context, &stack, &service.name, events)?;
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
    let installed = installation(context, &stack, &service.name, events)?;
    let server = installed.get("redis").context("the installation has no redis")?;
    // It comes with the server, in Debian's packages and in all others.
    let beside = server.path("server").with_file_name("redis-cli");
    let program = if beside.is_file() { beside } else { on_path(context, "redis-cli")? };
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
    let place = stack.place().context("the place is set up")?;
    let compose = compose::client(context.find("docker"), &place)?;
    let seen = compose.containers()?;
    let container = seen.get(service).ok_or_else(|| {
        let text = format!("{service} has no container, and its client is in there");
        Failure::new(failure::Kind::Service, "service-unusable", text)
            .hint(format!("{{program}} up {service}"))
    })?;
    let mut words = vec!["exec", "--interactive", "--env", secret.0];
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        words.push("--tty");
    }
    words.push(&container.name);
    words.extend(client);
    let words: Vec<String> = words.into_iter().map(str::to_owned).chain(args.iter().cloned()).collect();
    Ok(become_program(compose.program(), &words, &[], &[secret]))
}

fn installation(
    context: &Context,
    stack: &Stack,
    service: &str,
    events: &dyn Events,
) -> anyhow::Result<Installation> {
    let run_as = context.host().run_as().context("root without user namespaces")?;
    let wanted = stack.site.ecosystem.select(None, &[service.to_owned()])?;
    let mut installed = stack.provisioner(context, run_as, Mode::Normal, events)?.provide(&wanted)?;
    installed.remove(service).with_context(|| format!("{service} is not installed"))
}

fn on_path(context: &Context, program: &str) -> anyhow::Result<Utf8PathBuf> {
    context.find(program).ok_or_else(|| {
        let text = format!("{program} is neither beside the server nor on PATH");
        let failure = Failure::new(failure::Kind::Host, "program-missing", text);
        failure.hint(format!("install {program} (Debian: redis-tools)")).into()
    })
}
