//! Settings of servers that a manifest may not set, by name: each would let a repository do more than configure a server.

use ecosystem_core::catalog::{Kind, is_reserved, listens_by_itself};

use crate::support::Place;
use crate::tidy::none;

#[test]
fn settings_that_run_programs_write_files_or_open_servers_are_refused() {
    let refused: [(Kind, &[&str]); 4] = [
        (
            Kind::Postgresql,
            &[
                "archive_command",
                "archive_library",
                "archive_cleanup_command",
                "restore_command",
                "recovery_end_command",
                "ssl_passphrase_command",
                "shared_preload_libraries",
                "session_preload_libraries",
                "local_preload_libraries",
                "Dynamic_Library_Path",
                "jit_provider",
                "oauth_validator_libraries",
                "extension_control_path",
                "plperl.on_init",
                "pltcl.start_proc",
                "log_directory",
                "log_filename",
                "logging_collector",
                "data_directory",
                "hba_file",
                "ident_file",
                "external_pid_file",
                "include",
                "include_dir",
                "include_if_exists",
                "unix_socket_directories",
                "primary_conninfo",
                "listen_addresses",
                "port",
                "password_encryption",
            ],
        ),
        (
            Kind::Redis,
            &[
                "loadmodule",
                "loadmoduleex",
                "include",
                "dir",
                "logfile",
                "pidfile",
                "replicaof",
                "SLAVEOF",
                "masterauth",
                "masteruser",
                "cluster-enabled",
                "cluster-config-file",
                "enable-module-command",
                "enable-debug-command",
                "enable-protected-configs",
                "rename-command",
                "user",
                "aclfile",
                "requirepass",
                "protected-mode",
                "bind",
                "port",
                "tls-port",
                "unixsocket",
                "daemonize",
            ],
        ),
        (
            Kind::Rabbitmq,
            &[
                "load_definitions",
                "management.load_definitions",
                "definitions.import_backend",
                "definitions.https.url",
                "auth_backends.1",
                "auth_mechanisms.1",
                "auth_http.user_path",
                "cluster_formation.peer_discovery_backend",
                "default_user",
                "default_user_tags.administrator",
                "default_users.x.password",
                "default_pass",
                "loopback_users.guest",
                "anonymous_login_user",
                "listeners.tcp.2",
                "listeners.ssl.1",
                "management.tcp.ip",
                "management.http_log_dir",
                "log.dir",
                "log.file.level",
                "log.connection.file",
                "log.syslog.host",
                "log.exchange",
                "distribution.listener.interface",
            ],
        ),
        (
            Kind::Opensearch,
            &[
                "path.repo",
                "path.data",
                "repositories.url.allowed_urls",
                "reindex.remote.whitelist",
                "reindex.remote.allowlist",
                "cluster.remote.other.seeds",
                "discovery.seed_hosts",
                "network.host",
                "http.cors.enabled",
                "http.bind_host",
                "transport.tcp.port",
                "pidfile",
                "node.pidfile",
                "bootstrap.system_call_filter",
            ],
        ),
    ];
    let mut problems = Vec::new();
    for (kind, names) in refused {
        problems.extend(names.iter().filter(|n| !is_reserved(kind, n)).map(|n| format!("{kind} allows {n}")));
    }
    // Ordinary settings stay the manifest's.
    let allowed: [(Kind, &[&str]); 4] = [
        (Kind::Postgresql, &["max_connections", "log_statement", "log_min_duration_statement", "autovacuum"]),
        (Kind::Redis, &["maxmemory", "save", "appendonly", "notify-keyspace-events"]),
        (Kind::Rabbitmq, &["vm_memory_high_watermark.relative", "log.console.level", "log.connection.level"]),
        (Kind::Opensearch, &["indices.query.bool.max_clause_count", "action.auto_create_index"]),
    ];
    for (kind, names) in allowed {
        problems.extend(names.iter().filter(|n| is_reserved(kind, n)).map(|n| format!("{kind} refuses {n}")));
    }
    for plugin in ["rabbitmq_mqtt", "rabbitmq_stream", "rabbitmq_web_stomp", "rabbitmq_prometheus"] {
        assert!(listens_by_itself(Kind::Rabbitmq, plugin), "{plugin}");
    }
    none(&problems);

    let place = Place::new();
    place.manifest("services.postgresql.settings.archive_command = \"touch /pwned\"\n");
    let run = place.run(&["up", "postgresql"]);
    assert!(run.status == 4 && run.stderr.contains("settings.archive_command"), "{run}");
    place.manifest("");
}
