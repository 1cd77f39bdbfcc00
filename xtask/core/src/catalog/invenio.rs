//! The Invenio application: how it is run and configured.
//!
//! Three processes of one virtual environment: `web` answers requests, `worker` does background tasks, `beat` hands out those that are due.
//! Everything that they are told of the servers is what `env` prints. `nginx` stands before `web`, which says nothing of itself: it is ours
//! because our supervisor runs it and holds its port, and the front because of its certificate.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use super::nginx::{self, Front};
use super::{Access, Data, Fresh, Inputs, Kind, Launch};
use crate::artifact::Key;
use crate::endpoint::{Endpoint, Ready, Watched};
use crate::model::Service;
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};
use crate::render::env::{STORAGE_FACTORY, oarepo, variables};
use crate::tls;

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

/// The role of the package that keeps files in buckets, where an application has it.
pub const S3: &str = "s3";

/// The word that stands for an application's own fixtures, where a manifest names a pack.
pub const FIXTURES: &str = "fixtures";

/// What of a project's folder belongs into its instance, as `invenio-cli install` links it.
const LINKED: [&str; 3] = ["invenio.cfg", "templates", "app_data"];

/// The queues of InvenioRDM 12, as `invenio-cli run` names them.
const QUEUES: &str = "celery,low";

/// Its secret signs sessions and tokens. No server is ever sent it.
pub(super) fn access(place: &Place) -> Access {
    let identity = tls::certificate(place).certificate.into_string();
    Access { user: None, database: None, authenticated: true, identity }
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
    if !application.facts.paths.contains_key(S3) {
        env.remove(STORAGE_FACTORY);
    }

    let mut labels = super::labels(inputs, &application.version, &[]);
    for (name, endpoint) in service.needs.iter().filter_map(|name| around.endpoints.get_key_value(name)) {
        labels.insert(format!("after.{name}"), endpoint.shown().join(", "));
    }
    if let Some(digest) = &service.configuration {
        labels.insert("invenio.cfg".to_owned(), digest.clone());
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
    // What `invenio collect` puts there; all else the application serves itself.
    let statics = Some(instance.join("static"));
    let (front, mut files) = nginx::front(
        inputs,
        &Front { statics, ..Front::before(&application.version, endpoint.port("http")) },
    );
    let celery = [celery.as_str(), "--app", "invenio_app.celery"];
    let schedule = home.join("beat-schedule");
    let web = [invenio.as_str(), "run", "--host", &endpoint.host, "--port", &port];
    let worker = ["worker", "--loglevel", "INFO", "--concurrency", "2", "--queues", QUEUES];
    let beat = ["beat", "--loglevel", "INFO", "--pidfile=", "--schedule", schedule.as_str()];
    // Where Invenio looks for them. What a project does not have is no file for it.
    let linked = |site: &Utf8PathBuf| {
        LINKED.map(|name| File { path: instance.join(name), content: Content::Link(site.join(name)) })
    };
    match &service.site {
        Some(site) => files.extend(linked(&site.value)),
        // Those of a project that was the application before.
        None => files.extend(LINKED.map(|name| File { path: instance.join(name), content: Content::NoLink })),
    }
    Launch {
        processes: vec![
            process("web", &web, 1_000),
            // A task that is under way is finished.
            process("worker", &[&celery[..], &worker].concat(), 10_000),
            process("beat", &[&celery[..], &beat].concat(), 5_000),
            front,
        ],
        // Each takes seconds of a processor to start, and people wait for the first one.
        gate: Some(endpoint.port("http")),
        files,
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
    let all = servers.chain([(&service.name, own)]);
    let all: BTreeMap<String, Endpoint> =
        all.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect();
    // A project may be OARepo's, which puts its addresses together from parts.
    let parts = if service.site.is_some() { oarepo(&all) } else { BTreeMap::new() };
    let mut all = variables(&all);
    all.extend(parts);
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
    let in_buckets = launch.processes.first().is_some_and(|web| web.env.contains_key(STORAGE_FACTORY));
    let storage = servers.iter().find(|server| in_buckets && server.kind == Kind::Minio);
    if let Some(bucket) = storage.and_then(|storage| storage.storage.buckets.first()) {
        return format!("s3://{bucket}");
    }
    launch.data.folder.join("data").into_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Around, launch};
    use super::*;
    use crate::artifact::{Facts, Installation, Installed};
    use crate::endpoint::Secret;
    use crate::model::{Flags, Layer, resolve};
    use crate::process::RunAs;

    fn launched(text: &str, change: impl Fn(&mut Service)) -> Launch {
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let place = Place::of_test(100);
        let around = Around::of(&ecosystem.services, &place, "127.0.0.1", "", |_| Secret::new("s3cret"));
        let mut service = ecosystem.services["invenio"].clone();
        change(&mut service);
        let paths = [("bin", "/s/venv/bin"), ("python", "/s/venv/bin/python"), (S3, "/s/venv/s3")];
        let paths = paths.map(|(role, path)| (role.to_owned(), path.into())).into_iter().collect();
        let installed = |name: &str, version: &str, paths: BTreeMap<String, Utf8PathBuf>| Installed {
            name: name.into(),
            version: version.into(),
            key: Key::of([]),
            root: "/s".into(),
            facts: Facts { paths, ..Facts::default() },
        };
        let nginx = BTreeMap::from([("server".to_owned(), "/s/nginx".into())]);
        let installed = Installation::from([
            ("invenio".into(), installed("invenio", "12.1.0", paths)),
            ("nginx".into(), installed("nginx", "1.22.1", nginx)),
        ]);
        launch(Inputs {
            service: &service,
            place: &place,
            bind: "127.0.0.1",
            installed: &installed,
            run_as: RunAs::Me,
            secret: &Secret::new("k3y"),
            around: &around,
        })
    }

    #[test]
    fn it_is_a_web_server_a_worker_a_clock_and_its_front() {
        let launch =
            launched("services.invenio.settings = { THEME_SITENAME = \"Ours\", DEBUG = true }", |_| {});
        let argv: Vec<String> =
            launch.processes.iter().map(|p| format!("{}: {}", p.id(), p.argv.join(" "))).collect();
        insta::assert_snapshot!(argv.join("\n"), @r"
        invenio/web: /s/venv/bin/python /s/venv/bin/invenio run --host 127.0.0.1 --port 5101
        invenio/worker: /s/venv/bin/python /s/venv/bin/celery --app invenio_app.celery worker --loglevel INFO --concurrency 2 --queues celery,low
        invenio/beat: /s/venv/bin/python /s/venv/bin/celery --app invenio_app.celery beat --loglevel INFO --pidfile= --schedule /p/.ecosystem/invenio/beat-schedule
        invenio/nginx: /s/nginx -p /p/.ecosystem/invenio/nginx -e stderr -c nginx.conf
        ");
        assert!(launch.processes[..3].iter().all(|process| process.env == launch.processes[0].env));
        let env: Vec<String> =
            launch.processes[0].env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(env.join("\n"), @r"
        AMQP_URL=amqp://invenio:s3cret@127.0.0.1:5972/%2F
        CELERY_BROKER_URL=amqp://invenio:s3cret@127.0.0.1:5972/%2F
        HOME=/p/.ecosystem/invenio
        INVENIO_ACCOUNTS_SESSION_REDIS_URL=redis://default:s3cret@127.0.0.1:6679/1
        INVENIO_BROKER_URL=amqp://invenio:s3cret@127.0.0.1:5972/%2F
        INVENIO_CACHE_REDIS_URL=redis://default:s3cret@127.0.0.1:6679/0
        INVENIO_CACHE_TYPE=redis
        INVENIO_CELERY_BROKER_URL=amqp://invenio:s3cret@127.0.0.1:5972/%2F
        INVENIO_CELERY_RESULT_BACKEND=redis://default:s3cret@127.0.0.1:6679/2
        INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL=redis://default:s3cret@127.0.0.1:6679/4
        INVENIO_DEBUG=True
        INVENIO_FILES_REST_STORAGE_FACTORY=invenio_s3.s3fs_storage_factory
        INVENIO_IIIF_CACHE_REDIS_URL=redis://default:s3cret@127.0.0.1:6679/0
        INVENIO_INSTANCE_PATH=/p/.ecosystem/invenio/data
        INVENIO_PROXYFIX_CONFIG={'x_for': 1, 'x_proto': 1, 'x_host': 1, 'x_port': 1}
        INVENIO_RATELIMIT_STORAGE_URI=redis://default:s3cret@127.0.0.1:6679/3
        INVENIO_S3_ACCESS_KEY_ID=invenio-app
        INVENIO_S3_ENDPOINT_URL=http://127.0.0.1:9100
        INVENIO_S3_SECRET_ACCESS_KEY=44275c504738fc810e781486c9ddc4c8b867ee5b
        INVENIO_SEARCH_HOSTS=[{'host': '127.0.0.1', 'port': 9500}]
        INVENIO_SEARCH_INDEX_PREFIX=invenio-
        INVENIO_SECRET_KEY=k3y
        INVENIO_SITE_API_URL=https://127.0.0.1:5100/api
        INVENIO_SITE_UI_URL=https://127.0.0.1:5100
        INVENIO_SQLALCHEMY_DATABASE_URI=postgresql+psycopg2://invenio:s3cret@127.0.0.1:5732/invenio
        INVENIO_THEME_SITENAME=Ours
        LANG=C.UTF-8
        OPENSEARCH_URL=http://127.0.0.1:9500
        PATH=/s/venv/bin:/usr/local/bin:/usr/bin:/bin
        PGDATABASE=invenio
        PGHOST=127.0.0.1
        PGPASSWORD=s3cret
        PGPORT=5732
        PGUSER=invenio
        PYTHONUNBUFFERED=1
        RABBITMQ_MANAGEMENT_URL=http://invenio:s3cret@127.0.0.1:15972
        REDISCLI_AUTH=s3cret
        REDIS_URL=redis://default:s3cret@127.0.0.1:6679/0
        S3_BUCKET=default
        TZ=UTC
        ");
        assert!(argv.iter().all(|line| !line.contains("s3cret") && !line.contains("k3y")), "{argv:?}");
        assert_eq!(
            launch.processes[0].rules.after,
            ["postgresql", "redis", "rabbitmq", "opensearch", "minio"]
        );
        assert_eq!(location(&launch, &[]), "/p/.ecosystem/invenio/data/data");
    }

    #[test]
    fn a_project_of_its_own_is_linked_and_told_the_parts_of_every_address() {
        let site = |service: &mut Service| {
            service.site =
                Some(crate::model::Sourced { value: "/p".into(), origin: crate::model::Origin::Flag("x") });
        };
        let (own, other) = (launched("", site), launched("", |_| {}));
        let links = |launch: &Launch| -> Vec<String> {
            let link = |file: &File| match &file.content {
                Content::Link(to) => Some(format!("{} -> {to}", file.path)),
                _ => None,
            };
            launch.files.iter().filter_map(link).collect()
        };
        assert_eq!(links(&own)[0], "/p/.ecosystem/invenio/data/invenio.cfg -> /p/invenio.cfg");
        assert_eq!(links(&other), [""; 0]);
        assert_eq!(own.processes[0].env["INVENIO_DATABASE_PORT"], "5732");
        assert!(!other.processes[0].env.contains_key("INVENIO_DATABASE_PORT"));
    }

    #[test]
    fn what_this_project_sets_cannot_be_set_by_a_manifest() {
        for name in ["SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "BROKER_URL"] {
            let text = format!("services.invenio.settings = {{ {name} = \"x\" }}");
            assert!(resolve(&[Layer { name: "m", text: &text }], &Flags::default()).is_err(), "{name}");
        }
    }
}
