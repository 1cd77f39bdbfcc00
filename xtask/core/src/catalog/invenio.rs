//! The Invenio application: how it is run and configured.
//!
//! Three processes of one virtual environment: `web` answers requests, `worker` does background tasks, `beat` hands out those that are due.
//! Everything that they are told of the servers is what `env` prints. It says nothing of itself by which one could be told from
//! another: it is ours because our supervisor runs it and holds its port.

use std::collections::BTreeMap;

use super::{Access, Data, Fresh, Inputs, Kind, Launch};
use crate::artifact::Key;
use crate::endpoint::{Endpoint, Ready, Watched};
use crate::model::Service;
use crate::place::Place;
use crate::process::{Process, Rules, Signal, Stop};
use crate::render::env::variables;

/// Settings that this project sets itself; the manifest may not. Lower case: names are compared without case.
pub(super) const RESERVED: &[&str] = &[
    "secret_key",
    "instance_path",
    "sqlalchemy_database_uri",
    "broker_url",
    "celery_broker_url",
    "celery_result_backend",
    "cache_redis_url",
    "accounts_session_redis_url",
    "ratelimit_storage_uri",
    "communities_identities_cache_redis_url",
    "search_hosts",
    "search_index_prefix",
    "site_ui_url",
    "site_api_url",
    "s3_endpoint_url",
    "s3_access_key_id",
    "s3_secret_access_key",
    "proxyfix_config",
];

/// The bucket of its files.
const BUCKET: &str = "default";

/// The queues of InvenioRDM 12, as `invenio-cli run` names them.
const QUEUES: &str = "celery,low";

/// Its secret signs sessions and tokens. No server is ever sent it.
pub(super) fn access() -> Access {
    Access { user: None, database: None, authenticated: true, identity: String::new() }
}

/// It answers for itself, and has asked nobody else.
pub(super) fn watched(service: &Service, place: &Place) -> Watched {
    let ready = Ready::Http { role: "http".to_owned(), path: "/ping".to_owned() };
    Watched { state: place.state.clone(), service: service.name.clone(), ready }
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, around } = inputs;
    let application = &installed["invenio"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let home = place.service(&service.name);
    let instance = home.join("data");
    let bin = application.path("bin");

    let mut env = super::environment(&home);
    env.insert("PATH".to_owned(), format!("{bin}:/usr/local/bin:/usr/bin:/bin"));
    env.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    env.extend(settings(service, &endpoint, &around.endpoints));

    let mut labels = super::labels(inputs, &application.version, &[]);
    for (name, endpoint) in service.needs.iter().filter_map(|name| around.endpoints.get_key_value(name)) {
        labels.insert(format!("after.{name}"), endpoint.shown().join(", "));
    }
    // Values that may hold a secret differ in this alone.
    let told = env.iter().flat_map(|(name, value)| [name.as_str(), value]);
    labels.insert(super::RECIPE.to_owned(), Key::of(told).to_string());

    let process = |name: &str, words: &[&str], grace_ms: u64| Process {
        service: service.name.clone(),
        name: name.to_owned(),
        argv: [application.path("python").as_str()].iter().chain(words).map(ToString::to_string).collect(),
        env: env.clone(),
        cwd: home.clone(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms },
        log: place.log(&service.name, name),
        log_limit: super::LOG_LIMIT,
        labels: labels.clone(),
        rules: Rules { after: service.needs.clone(), ..Rules::default() },
    };
    let (invenio, celery) = (bin.join("invenio"), bin.join("celery"));
    let port = endpoint.port("http").to_string();
    let celery = [celery.as_str(), "--app", "invenio_app.celery"];
    let schedule = home.join("beat-schedule");
    let web = [invenio.as_str(), "run", "--host", "127.0.0.1", "--port", &port];
    let worker = ["worker", "--loglevel", "INFO", "--concurrency", "2", "--queues", QUEUES];
    let beat = ["beat", "--loglevel", "INFO", "--pidfile=", "--schedule", schedule.as_str()];
    Launch {
        processes: vec![
            process("web", &web, 1_000),
            // A task that is under way is finished.
            process("worker", &[&celery[..], &worker].concat(), 10_000),
            process("beat", &[&celery[..], &beat].concat(), 5_000),
        ],
        // Each takes seconds of a processor to start, and people wait for the first one.
        gate: Some(endpoint.port("http")),
        files: vec![],
        data: Data { folder: instance, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        made_by: format!("invenio {}", super::major(&application.version)),
        settings: super::origins(service),
    }
}

/// All that the application is told: of the servers that it needs, of itself, and what the manifest sets, in Invenio's own words.
pub fn settings(
    service: &Service,
    own: &Endpoint,
    endpoints: &BTreeMap<String, Endpoint>,
) -> BTreeMap<String, String> {
    let servers = service.needs.iter().filter_map(|name| endpoints.get_key_value(name));
    let all = servers.map(|(name, endpoint)| (name, endpoint)).chain([(&service.name, own)]);
    let mut all = variables(&all.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect());
    for (name, value) in &service.settings {
        // Invenio reads Python where TOML has its own words.
        let value = match value.value.as_str() {
            "true" => "True",
            "false" => "False",
            other => other,
        };
        all.insert(format!("INVENIO_{name}"), value.to_owned());
    }
    all
}

/// Where an application keeps uploaded files, as its location is written: a bucket where there is an object storage among what it works
/// with, else a folder of its instance.
pub fn location(launch: &Launch, servers: &[&Endpoint]) -> String {
    if servers.iter().any(|server| server.kind == Kind::Minio) {
        return format!("s3://{BUCKET}");
    }
    launch.data.folder.join("data").into_string()
}
