//! pgAdmin: how it runs as a container. This version does not run it natively.

use serde_json::json;

use super::container::{Container, KNOWN, Peer, literal, password, shell};
use super::{Access, postgresql};
use crate::model::Service;

/// Where the image reads which servers it shall know.
const SERVERS: &str = "/tmp/servers.json";

/// It asks for no login: nobody but this machine reaches it.
pub(super) fn access() -> Access {
    Access { user: None, database: None, authenticated: false, identity: String::new() }
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
