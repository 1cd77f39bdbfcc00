//! PostgreSQL: how it is run and configured.
//!
//! TCP only: Unix sockets have a path limit of about 107 bytes that projects exceed. The configuration lies beside the data folder, not in it,
//! so that a data folder can be replaced as a whole. Identity is `cluster_name`, asked for after a login with this project's own password.

use std::fmt::Write;

use super::container::{Container, IDENTITY, KNOWN, literal, password};
use super::{Access, Data, Fresh, Inputs, Launch};
use crate::endpoint::Secret;
use crate::model::Service;
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};

/// Settings that this project sets itself; the manifest may not.
pub(super) const RESERVED: &[&str] = &[
    "listen_addresses",
    "port",
    "unix_socket_*",
    "cluster_name",
    "hba_file",
    "ident_file",
    "config_file",
    "external_pid_file",
    // These run programs or load code.
    "archive_*",
    "restore_command",
    "ssl_passphrase_command",
    "session_preload_libraries",
    "shared_preload_libraries",
    "local_preload_libraries",
    "dynamic_library_path",
    "jit_provider",
    "extension_control_path",
    "oauth_validator_libraries",
    "plperl.*",
    "pltcl.*",
    // These write files where they like.
    "data_directory",
    "log_directory",
    "log_filename",
    "logging_collector",
    "log_destination",
    "stats_temp_directory",
    // These fetch from strangers, announce the server to them, or leave it without a password.
    "primary_*",
    "recovery_*",
    "promote_trigger_file",
    "bonjour*",
    "krb_*",
    "password_encryption",
    "include*",
];

/// The file with the process id of the server, in the folder of its data.
pub(super) const LOCK: &str = "postmaster.pid";

/// The superuser and database of every template: Invenio's own default names.
pub const USER: &str = "invenio";

pub(super) fn access(place: &Place) -> Access {
    Access { user: Some(USER), database: Some(USER), authenticated: true, identity: place.identity() }
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, .. } = inputs;
    let (server, template) = (&installed["postgresql"], &installed["postgresql-template"]);
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let data = home.join("data");
    // Made beside the data folder: an interrupted preparation never looks like data.
    let fresh = home.join("data.new");
    let (conf, hba) = (home.join("postgresql.conf"), home.join("pg_hba.conf"));

    let mut text = format!(
        "# Written by ecosystem; changes are lost.\nlisten_addresses = '{bind}'\nport = {}\n\
         unix_socket_directories = ''\ncluster_name = '{}'\nhba_file = {}\npassword_encryption = 'scram-sha-256'\n",
        endpoint.port("sql"),
        endpoint.identity,
        quoted(hba.as_str()),
    );
    for (name, value) in &service.settings {
        let _ = writeln!(text, "{name} = {}", quoted(&value.value));
    }

    let process = |name: &str, args: &[&str]| Process {
        service: service.name.clone(),
        name: name.to_owned(),
        argv: [server.path("server").as_str()].iter().chain(args).map(ToString::to_string).collect(),
        env: super::environment(&home),
        cwd: home.clone(),
        run_as,
        // "Fast" shutdown: SIGTERM would wait for clients to leave.
        stop: Stop { signal: Signal::Int, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels: super::labels(inputs, &server.version, &[]),
        rules: Rules::default(),
    };
    let config_file = format!("config_file={conf}");
    let main = process(&service.name, &["-D", data.as_str(), "-c", &config_file]);
    let mut single = vec!["--single", "-D", fresh.as_str(), "-c", &config_file];
    single.extend(SILENT.iter().flat_map(|setting| ["-c", setting]));
    single.push("postgres");
    let set_password = process("set-password", &single);

    Launch {
        processes: vec![main],
        gate: None,
        files: vec![
            File { path: conf, content: Content::Text(text) },
            File {
                path: hba,
                content: Content::Text(if bind == "0.0.0.0" {
                    HBA.to_owned() + HBA_OPEN
                } else {
                    HBA.to_owned()
                }),
            },
        ],
        data: Data {
            lock: Some(data.join(LOCK)),
            version: Some(data.join("PG_VERSION")),
            folder: data,
            fresh: Fresh::Template {
                archive: template.path("archive").to_owned(),
                folder: fresh,
                command: Box::new(set_password),
                input: Secret::new(format!("ALTER ROLE {USER} PASSWORD '{}';\n", secret.reveal())),
            },
        },
        endpoint,
        made_by: format!("postgresql {}", super::major(&server.version)),
        settings: super::origins(service),
    }
}

pub(super) fn container(service: &Service) -> Container {
    let mut container = Container::new("/var/lib/postgresql/data", 1024)
        .with("POSTGRES_USER", USER)
        .with("POSTGRES_DB", USER)
        .with("POSTGRES_PASSWORD", password(service, KNOWN))
        // The image trusts everybody inside of the container: the check of health would be no login.
        .with("POSTGRES_INITDB_ARGS", "--auth-host=scram-sha-256");
    container.command = vec!["postgres".to_owned(), "-c".to_owned(), format!("cluster_name={IDENTITY}")];
    for (name, value) in &service.settings {
        container.command.extend(["-c".to_owned(), literal(&format!("{name}={}", value.value))]);
    }
    // Over TCP: while the image sets the database up, a server answers on the socket that is not the one to come.
    container.healthy = "PGPASSWORD=\"$$POSTGRES_PASSWORD\" psql -h 127.0.0.1 -U \"$$POSTGRES_USER\" -d \"$$POSTGRES_DB\" -Atqc 'SELECT 1'".into();
    container
}

/// The statement with the password must not reach a log, whatever the manifest sets, and must not fail unnoticed.
const SILENT: [&str; 6] = [
    "log_statement=none",
    "log_duration=off",
    "log_min_duration_statement=-1",
    "log_min_error_statement=panic",
    "exit_on_error=on",
    "default_transaction_read_only=off",
];

const HBA: &str = "\
# Written by ecosystem; changes are lost.
host all         all 127.0.0.1/32 scram-sha-256
host all         all ::1/128      scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
";

/// What is added where the manifest opens the servers to the network.
const HBA_OPEN: &str = "host all         all all          scram-sha-256\n";

/// A value in PostgreSQL's own quoting.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
