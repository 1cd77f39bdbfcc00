//! pgAdmin: how it runs as a container. This version does not run it natively.

use serde_json::json;

use super::container::{Container, KNOWN, literal, password, shell};
use super::{Access, postgresql};
use crate::model::Service;

/// Where the image reads which servers it shall know.
const SERVERS: &str = "/tmp/servers.json";

/// `database` is the service that it shows.
/// It asks for no login: nobody but this machine reaches it.
pub(super) fn access() -> Access {
    Access { user: None, database: None, authenticated: false, identity: String::new() }
}

pub(super) fn container(service: &Service, database: Option<&str>) -> Container {
    let mut container = Container::new("/var/lib/pgadmin", 512)
        .with("PGADMIN_DEFAULT_EMAIL", "invenio@example.org")
        .with("PGADMIN_DEFAULT_PASSWORD", password(service, KNOWN))
        // Only this machine reaches it: it asks for no login of its own.
        .with("PGADMIN_CONFIG_SERVER_MODE", "False")
        .with("PGADMIN_CONFIG_MASTER_PASSWORD_REQUIRED", "False");
    if let Some(database) = database {
        let server = json!({"Servers": {"1": {
            "Name": database, "Group": "Invenio", "Host": database, "Port": 5432,
            "MaintenanceDB": postgresql::USER, "Username": postgresql::USER, "SSLMode": "prefer",
        }}});
        container = container
            .with("PGADMIN_SERVER_JSON_FILE", SERVERS)
            .with("ECOSYSTEM_SERVERS", literal(&server.to_string()));
        let line = format!("printf %s \"$$ECOSYSTEM_SERVERS\" > {SERVERS} && exec /entrypoint.sh");
        container.entrypoint = shell(&line);
        container.after = vec![database.to_owned()];
    }
    container.healthy = "wget -qO- http://127.0.0.1/misc/ping";
    container
}
