//! pgAdmin: how it is run and configured, natively behind an HTTPS front, and as a container.
//!
//! It runs in its desktop mode, where whoever reaches it acts as the user of the database. So there is a key at its door, in
//! `pgadmin/pgadmin.py`: a browser gets it from a file that only this user can read. It says nothing of itself by which it could be known: it
//! is ours because our supervisor runs it and holds its port.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::container::{Container, KNOWN, Peer, literal, password, shell};
use super::nginx::{self, Front};
use super::{Access, Data, Fresh, Inputs, Launch, postgresql};
use crate::endpoint::{Endpoint, Ready, Secret, Watched, encoded};
use crate::model::{Backend, Service};
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};
use crate::tls;

/// All of them: some name programs that it runs, folders that it opens, or who comes in.
pub(super) const RESERVED: &[&str] = &["*"];

/// Its own settings, its servers and the key at its door.
const PROGRAM: &str = include_str!("pgadmin/pgadmin.py");

/// Where the image reads which servers it shall know.
const SERVERS: &str = "/tmp/servers.json";

/// Natively nobody comes in without its key. A container asks for no login: that its port is published on loopback alone is all it has.
pub(super) fn access(service: &Service, place: &Place) -> Access {
    let native = service.backend.value == Backend::Native;
    let identity = if native { tls::certificate(place).certificate.into_string() } else { String::new() };
    Access { user: None, database: None, authenticated: native, identity }
}

/// What answers anybody once it is usable; `None` for containers.
pub(super) fn watched(service: &Service, place: &Place) -> Option<Watched> {
    let ready = Ready::Http { role: "http".to_owned(), path: PING.to_owned() };
    (service.backend.value == Backend::Native).then(|| Watched {
        state: place.state.clone(),
        service: service.name.clone(),
        ready,
    })
}

/// What answers once all is usable.
pub const PING: &str = "/misc/ping";

/// The page that gives a browser the key and leads it on, so that the key is on no command line.
pub fn opener(home: &Utf8Path) -> Utf8PathBuf {
    home.join("open.html")
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, around } = inputs;
    let application = &installed["pgadmin"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let (folder, program, passwords) = (home.join("data"), home.join("pgadmin.py"), home.join("pgpass"));
    let servers = service.needs.iter().filter_map(|name| around.endpoints.get_key_value(name));
    let servers: Vec<(&str, &Endpoint)> = servers.map(|(name, e)| (name.as_str(), e)).collect();

    let mut own = Vec::new();
    for (name, server) in &servers {
        let user = server.user.as_deref().unwrap_or_default();
        own.push((format!("shows.{name}"), format!("{user} at {}", server.address("sql"))));
    }
    let own: Vec<(&str, String)> = own.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let labels = super::labels(inputs, &application.version, &own);

    let mut env = super::environment(&home);
    // The store is nothing that it writes to.
    for name in ["PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"] {
        env.insert(name.to_owned(), "1".to_owned());
    }
    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv: vec![application.path("python").to_string(), program.to_string()],
        env,
        cwd: home.clone(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 2_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels,
        rules: Rules { after: service.needs.clone(), ..Rules::default() },
    };
    let settings = json!({
        "key": secret.reveal(),
        // Browsers keep one set of cookies for all ports of this machine.
        "cookie": format!("pgadmin_{}", place.id),
        "service": service.name,
        "package": application.path("packages").join("pgadmin4"),
        "config": configuration(inputs, &endpoint, &folder),
        "servers": registered(&servers, &passwords),
    });
    let page = Content::Secret(page(&endpoint, secret));
    let (front, mut files) =
        nginx::front(inputs, &Front::before(&application.version, endpoint.port("http")));
    files.extend([
        File { path: program, content: Content::Text(PROGRAM.to_owned()) },
        File { path: home.join("settings.json"), content: Content::Secret(format!("{settings:#}\n")) },
        File { path: passwords, content: Content::Secret(pgpass(&servers)) },
        File { path: opener(&home), content: page },
    ]);
    Launch {
        processes: vec![process, front],
        gate: None,
        files,
        data: Data { folder, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("pgadmin {}", super::major(&application.version)),
        settings: BTreeMap::new(),
    }
}

/// pgAdmin's own settings.
fn configuration(inputs: Inputs<'_>, endpoint: &Endpoint, folder: &Utf8Path) -> Value {
    // Opened to the network it is reached under names that nobody knows here.
    let hosts = if inputs.bind == endpoint.host { vec!["localhost", &endpoint.host] } else { vec![] };
    json!({
        "SERVER_MODE": false,
        "DEFAULT_SERVER": endpoint.host,
        "DEFAULT_SERVER_PORT": endpoint.port("http"),
        "DATA_DIR": folder,
        // The supervisor keeps what it says there as well.
        "LOG_FILE": "/dev/null",
        "SQLITE_PATH": folder.join("pgadmin4.db"),
        "SESSION_DB_PATH": folder.join("sessions"),
        "STORAGE_DIR": folder.join("storage"),
        "AZURE_CREDENTIAL_CACHE_DIR": folder.join("azure"),
        "KERBEROS_CCACHE_DIR": folder.join("kerberos"),
        "SESSION_COOKIE_NAME": format!("pgadmin_session_{}", inputs.place.id),
        "MASTER_PASSWORD_REQUIRED": false,
        "UPGRADE_CHECK_ENABLED": false,
        "ALLOWED_HOSTS": hosts,
    })
}

/// What it shows, by name.
fn registered(servers: &[(&str, &Endpoint)], passwords: &Utf8Path) -> Value {
    let server = |(name, server): &(&str, &Endpoint)| {
        let user = server.user.clone().unwrap_or_default();
        let database = server.database.clone().unwrap_or_else(|| user.clone());
        let shown = json!({
            "host": server.host, "port": server.port("sql"),
            "maintenance_db": database, "username": user, "passfile": passwords,
        });
        ((*name).to_owned(), shown)
    };
    Value::Object(servers.iter().map(server).collect())
}

/// The passwords as libpq reads them.
fn pgpass(servers: &[(&str, &Endpoint)]) -> String {
    let word = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let line = |(_, server): &(&str, &Endpoint)| {
        let user = server.user.as_deref().unwrap_or_default();
        format!(
            "{}:{}:*:{}:{}\n",
            word(&server.host),
            server.port("sql"),
            word(user),
            word(server.password())
        )
    };
    servers.iter().map(line).collect()
}

fn page(endpoint: &Endpoint, secret: &Secret) -> String {
    let address = format!("http://{}/?key={}", endpoint.address("http"), encoded(secret.reveal()));
    format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>pgAdmin</title>\n\
         <meta name=\"referrer\" content=\"no-referrer\"><meta http-equiv=\"refresh\" content=\"0; url={address}\">\n\
         <p><a href=\"{address}\">pgAdmin</a></p>\n"
    )
}

/// `database` is what it shows.
pub(super) fn container(service: &Service, database: Option<Peer<'_>>) -> Container {
    let mut container = Container::new("/var/lib/pgadmin", 512)
        .with("PGADMIN_DEFAULT_EMAIL", "invenio@example.org")
        .with("PGADMIN_DEFAULT_PASSWORD", password(service, KNOWN))
        // Only this machine reaches it: it asks for no login of its own.
        .with("PGADMIN_CONFIG_SERVER_MODE", "False")
        .with("PGADMIN_CONFIG_MASTER_PASSWORD_REQUIRED", "False");
    let mut own = "127.0.0.1".to_owned();
    let mut shown = None;
    match database {
        None => {}
        Some(Peer::Container(name)) => {
            container.after = vec![name.to_owned()];
            shown = Some((name, name.to_owned(), 5432, postgresql::USER.to_owned()));
        }
        Some(Peer::Outside { name, server, listen }) => {
            own = listen.address("http");
            container = container
                .with("PGADMIN_LISTEN_ADDRESS", listen.host.clone())
                .with("PGADMIN_LISTEN_PORT", listen.port("http").to_string());
            container.host_network = true;
            let user = server.user.clone().unwrap_or_default();
            shown = Some((name, server.host.clone(), server.port("sql"), user));
        }
    }
    if let Some((name, host, port, user)) = shown {
        let server = json!({"Servers": {"1": {
            "Name": name, "Group": "Invenio", "Host": host, "Port": port,
            "MaintenanceDB": postgresql::USER, "Username": user, "SSLMode": "prefer",
        }}});
        container = container
            .with("PGADMIN_SERVER_JSON_FILE", SERVERS)
            .with("ECOSYSTEM_SERVERS", literal(&server.to_string()));
        let line = format!("printf %s \"$$ECOSYSTEM_SERVERS\" > {SERVERS} && exec /entrypoint.sh");
        container.entrypoint = shell(&line);
    }
    container.healthy = format!("wget -qO- http://{own}/misc/ping").into();
    container
}

#[cfg(test)]
mod tests;
