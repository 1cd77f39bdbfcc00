//! Settings for an application and for the ordinary clients, from the endpoints of the running services.
//!
//! Names are Invenio's (`INVENIO_…`, parsed there as Python literals) and the clients' own (`PGHOST`, `REDISCLI_AUTH`).

mod oarepo;

use std::collections::{BTreeMap, BTreeSet};

pub use oarepo::oarepo;

use crate::catalog::Kind;
use crate::endpoint::{Endpoint, encoded};
use crate::tenant::{MAIN_PREFIX, bucket};

/// How settings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `export NAME='value'`, for `eval`.
    Shell,
    /// `NAME="value"`, for `.env` files.
    Dotenv,
    /// One JSON object.
    Json,
    /// `NAME=value`, for OARepo's file `variables`.
    Variables,
}

/// What makes Invenio keep files in a bucket.
pub const STORAGE_FACTORY: &str = "INVENIO_FILES_REST_STORAGE_FACTORY";

/// The settings for these services, in a stable order.
pub fn variables(endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, endpoint) in endpoints {
        let own: Vec<(&str, String)> = match endpoint.kind {
            Kind::Postgresql => postgresql(endpoint),
            Kind::Redis => redis(endpoint),
            Kind::Rabbitmq => rabbitmq(endpoint),
            Kind::Opensearch => opensearch(endpoint),
            Kind::Process => {
                all.extend(process(name, endpoint));
                continue;
            }
            Kind::Minio => minio(endpoint),
            Kind::Invenio => invenio(endpoint, endpoints.values().any(|other| other.kind == Kind::Minio)),
            Kind::Dashboards | Kind::Pgadmin => Vec::new(),
        };
        all.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    all
}

/// The names under which tests look for what an application calls `INVENIO_…`: pytest-invenio reads the first two, what starts services for
/// tests elsewhere (docker-services-cli) sets the others, and many a `conftest.py` reads them.
const OF_TESTS: [(&str, &str); 9] = [
    ("SQLALCHEMY_DATABASE_URI", "INVENIO_SQLALCHEMY_DATABASE_URI"),
    ("BROKER_URL", "INVENIO_BROKER_URL"),
    ("SEARCH_HOSTS", "INVENIO_SEARCH_HOSTS"),
    ("SEARCH_INDEX_PREFIX", "INVENIO_SEARCH_INDEX_PREFIX"),
    ("CACHE_TYPE", "INVENIO_CACHE_TYPE"),
    ("CACHE_REDIS_URL", "INVENIO_CACHE_REDIS_URL"),
    ("S3_ENDPOINT_URL", "INVENIO_S3_ENDPOINT_URL"),
    ("S3_ACCESS_KEY_ID", "INVENIO_S3_ACCESS_KEY_ID"),
    ("S3_SECRET_ACCESS_KEY", "INVENIO_S3_SECRET_ACCESS_KEY"),
];

/// The settings for tests on these services: those of an application, and the names that tests know them by.
pub fn variables_of_tests(endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
    let mut all = variables(endpoints);
    for (name, of) in OF_TESTS {
        if let Some(value) = all.get(of) {
            all.insert(name.to_owned(), value.clone());
        }
    }
    all
}

/// All names that lead to a server with data: where a test has no part in it, none of them may be left that leads to the data of
/// development.
pub fn names_of_tests() -> BTreeSet<String> {
    let of = |kind: Kind, roles: &[&str]| {
        let endpoint = Endpoint {
            kind,
            host: String::new(),
            ports: roles.iter().map(|role| ((*role).to_owned(), 0)).collect(),
            user: None,
            secret: None,
            database: None,
            identity: String::new(),
            watched: None,
            storage: crate::endpoint::Storage { buckets: vec![String::new()], application: None },
        };
        (kind.name().to_owned(), endpoint)
    };
    let all = BTreeMap::from([
        of(Kind::Postgresql, &["sql"]),
        of(Kind::Redis, &["redis"]),
        of(Kind::Rabbitmq, &["amqp", "http"]),
        of(Kind::Opensearch, &["http"]),
        of(Kind::Minio, &["s3"]),
    ]);
    variables_of_tests(&all).into_keys().collect()
}

/// Settings as text in the wanted syntax.
pub fn render(variables: &BTreeMap<String, String>, syntax: Syntax) -> String {
    let line = |(name, value): (&String, &String)| match syntax {
        Syntax::Shell => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
        // Such files are read by shells, too.
        Syntax::Dotenv => {
            let hostile = |c| matches!(c, '\\' | '"' | '$' | '`');
            let escaped = value.chars().flat_map(|c| hostile(c).then_some('\\').into_iter().chain([c]));
            format!("{name}=\"{}\"\n", escaped.collect::<String>())
        }
        // It is read line by line, and everything behind the sign is the value.
        Syntax::Variables => format!("{name}={value}\n"),
        Syntax::Json => unreachable!("JSON is one document"),
    };
    match syntax {
        Syntax::Json => format!("{:#}\n", serde_json::json!(variables)),
        Syntax::Shell | Syntax::Dotenv | Syntax::Variables => variables.iter().map(line).collect(),
    }
}

/// `ECOSYSTEM_MAIL_SMTP=127.0.0.1:1025`: what a port of a process is for, only its author knows.
fn process<'a>(name: &str, endpoint: &'a Endpoint) -> impl Iterator<Item = (String, String)> + 'a {
    let prefix = format!("ECOSYSTEM_{name}_");
    endpoint.ports.keys().map(move |role| {
        let variable = format!("{prefix}{role}").to_ascii_uppercase().replace('-', "_");
        (variable, endpoint.address(role))
    })
}

fn login(endpoint: &Endpoint) -> (&str, &str) {
    (endpoint.user.as_deref().unwrap_or_default(), endpoint.password())
}

/// The part of a URL with the login: `user:password@`, or nothing where there is none.
fn userinfo(endpoint: &Endpoint) -> String {
    match login(endpoint) {
        ("", "") => String::new(),
        (user, "") => format!("{}@", encoded(user)),
        (user, password) => format!("{}:{}@", encoded(user), encoded(password)),
    }
}

fn postgresql(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let (user, password) = login(endpoint);
    let database = endpoint.database.clone().unwrap_or_default();
    let address = endpoint.address("sql");
    vec![
        (
            "INVENIO_SQLALCHEMY_DATABASE_URI",
            format!("postgresql+psycopg2://{}{address}/{database}", userinfo(endpoint)),
        ),
        ("PGHOST", endpoint.host.clone()),
        ("PGPORT", endpoint.port("sql").to_string()),
        ("PGUSER", user.to_owned()),
        ("PGPASSWORD", password.to_owned()),
        ("PGDATABASE", database),
    ]
}

/// Invenio keeps five things in five Redis databases; all of them have to move when the port does.
fn redis(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let mut named = endpoint.clone();
    if named.secret.is_some() {
        named.user.get_or_insert_with(|| "default".to_owned());
    }
    let login = userinfo(&named);
    // A tenant has five others, from this one on.
    let first: u32 = endpoint.database.as_deref().and_then(|first| first.parse().ok()).unwrap_or(0);
    let url = |database: u32| format!("redis://{login}{}/{}", endpoint.address("redis"), first + database);
    vec![
        ("INVENIO_CACHE_TYPE", "redis".to_owned()),
        ("INVENIO_CACHE_REDIS_URL", url(0)),
        ("INVENIO_ACCOUNTS_SESSION_REDIS_URL", url(1)),
        ("INVENIO_CELERY_RESULT_BACKEND", url(2)),
        ("INVENIO_RATELIMIT_STORAGE_URI", url(3)),
        ("INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL", url(4)),
        // Only where its handler is set to Redis; it is there to be found then.
        ("INVENIO_IIIF_CACHE_REDIS_URL", url(0)),
        ("REDISCLI_AUTH", endpoint.password().to_owned()),
        ("REDIS_URL", url(0)),
    ]
}

/// Both broker variables: Invenio copies one into the other when it is imported, before the environment is read.
fn rabbitmq(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let vhost = encoded(endpoint.database.as_deref().unwrap_or("/"));
    let url = format!("amqp://{}{}/{vhost}", userinfo(endpoint), endpoint.address("amqp"));
    let mut all = vec![
        ("AMQP_URL", url.clone()),
        ("INVENIO_BROKER_URL", url.clone()),
        // Celery's own: what Flower and other programs without an application's settings read.
        ("CELERY_BROKER_URL", url.clone()),
        ("INVENIO_CELERY_BROKER_URL", url),
    ];
    if endpoint.ports.contains_key("http") {
        all.push((
            "RABBITMQ_MANAGEMENT_URL",
            format!("http://{}{}", userinfo(endpoint), endpoint.address("http")),
        ));
    }
    all
}

/// Those of Invenio-S3, with the account of applications. The ones of Amazon's own clients are left alone: a shell may need them for something
/// else.
fn minio(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let endpoint = &endpoint.of_application();
    let (user, password) = login(endpoint);
    let mut all = vec![
        ("INVENIO_S3_ENDPOINT_URL", format!("http://{}", endpoint.address("s3"))),
        ("INVENIO_S3_ACCESS_KEY_ID", user.to_owned()),
        ("INVENIO_S3_SECRET_ACCESS_KEY", password.to_owned()),
    ];
    if let Some(first) = endpoint.storage.buckets.first() {
        let tenant = endpoint.database.as_deref();
        all.push(("S3_BUCKET", tenant.map_or_else(|| first.clone(), |tenant| bucket(first, tenant))));
    }
    all
}

/// Where the application is, and what it keeps for itself. Names are those of Flask and of Invenio-App.
fn invenio(endpoint: &Endpoint, with_s3: bool) -> Vec<(&'static str, String)> {
    let url = format!("https://{}", endpoint.address("https"));
    let mut all = vec![
        ("INVENIO_SECRET_KEY", endpoint.password().to_owned()),
        ("INVENIO_SITE_API_URL", format!("{url}/api")),
        ("INVENIO_SITE_UI_URL", url),
        // NGINX alone talks to it: what the person asked for stands in headers that it sets.
        ("INVENIO_PROXYFIX_CONFIG", "{'x_for': 1, 'x_proto': 1, 'x_host': 1, 'x_port': 1}".to_owned()),
    ];
    if let Some(watched) = &endpoint.watched {
        let instance = watched.state.join(&watched.service).join("data");
        all.push(("INVENIO_INSTANCE_PATH", instance.into_string()));
    }
    if with_s3 {
        // Files go to the bucket that `app setup` names as their location.
        all.push((STORAGE_FACTORY, "invenio_s3.s3fs_storage_factory".to_owned()));
    }
    all
}

fn opensearch(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let text = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let login = match login(endpoint) {
        (_, "") => String::new(),
        (user, password) => format!(", 'http_auth': ('{}', '{}')", text(user), text(password)),
    };
    let hosts = format!("[{{'host': '{}', 'port': {}{login}}}]", endpoint.host, endpoint.port("http"));
    vec![
        ("INVENIO_SEARCH_HOSTS", hosts),
        ("INVENIO_SEARCH_INDEX_PREFIX", endpoint.database.as_deref().unwrap_or(MAIN_PREFIX).to_owned()),
        ("OPENSEARCH_URL", format!("http://{}{}", userinfo(endpoint), endpoint.address("http"))),
    ]
}

#[cfg(test)]
#[path = "env_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Secret;

    fn endpoint(kind: Kind, ports: &[(&str, u16)]) -> (String, Endpoint) {
        let endpoint = Endpoint {
            kind,
            host: "127.0.0.1".into(),
            ports: ports.iter().map(|(role, port)| ((*role).into(), *port)).collect(),
            user: [Kind::Postgresql, Kind::Rabbitmq].contains(&kind).then(|| "invenio".into()),
            secret: (kind != Kind::Opensearch).then(|| Secret::new("s3cret")),
            database: match kind {
                Kind::Rabbitmq => Some("/".into()),
                Kind::Postgresql => Some("invenio".into()),
                _ => None,
            },
            identity: "x".into(),
            watched: None,
            storage: crate::endpoint::Storage::default(),
        };
        (kind.name().to_owned(), endpoint)
    }

    #[test]
    fn what_somebody_else_chose_is_encoded() {
        let of = |kind, ports, user: Option<&str>, secret: &str| {
            let (name, endpoint) = endpoint(kind, ports);
            let secret = (!secret.is_empty()).then(|| Secret::new(secret));
            (name, Endpoint { user: user.map(Into::into), secret, host: "db.example.org".into(), ..endpoint })
        };
        let all = variables(&BTreeMap::from([
            of(Kind::Postgresql, &[("sql", 5432)], Some("a b"), "p@s/s:"),
            of(Kind::Redis, &[("redis", 6379)], None, ""),
            of(Kind::Rabbitmq, &[("amqp", 5672)], Some("guest"), "gu/est"),
            of(Kind::Opensearch, &[("http", 9200)], Some("admin"), "it's"),
        ]));
        let names = [
            "INVENIO_SQLALCHEMY_DATABASE_URI",
            "REDIS_URL",
            "AMQP_URL",
            "INVENIO_SEARCH_HOSTS",
            "PGPASSWORD",
        ];
        insta::assert_snapshot!(names.map(|name| all[name].clone()).join("\n"), @r"
        postgresql+psycopg2://a%20b:p%40s%2Fs%3A@db.example.org:5432/invenio
        redis://db.example.org:6379/0
        amqp://guest:gu%2Fest@db.example.org:5672/%2F
        [{'host': 'db.example.org', 'port': 9200, 'http_auth': ('admin', 'it\'s')}]
        p@s/s:
        ");
    }

    #[test]
    fn every_service_in_shell_syntax() {
        let endpoints = BTreeMap::from([
            endpoint(Kind::Postgresql, &[("sql", 5632)]),
            endpoint(Kind::Redis, &[("redis", 6579)]),
            endpoint(Kind::Rabbitmq, &[("amqp", 5872), ("http", 15872)]),
            endpoint(Kind::Opensearch, &[("http", 9400), ("cluster", 9800)]),
        ]);
        insta::assert_snapshot!(render(&variables(&endpoints), Syntax::Shell), @r"
        export AMQP_URL='amqp://invenio:s3cret@127.0.0.1:5872/%2F'
        export CELERY_BROKER_URL='amqp://invenio:s3cret@127.0.0.1:5872/%2F'
        export INVENIO_ACCOUNTS_SESSION_REDIS_URL='redis://default:s3cret@127.0.0.1:6579/1'
        export INVENIO_BROKER_URL='amqp://invenio:s3cret@127.0.0.1:5872/%2F'
        export INVENIO_CACHE_REDIS_URL='redis://default:s3cret@127.0.0.1:6579/0'
        export INVENIO_CACHE_TYPE='redis'
        export INVENIO_CELERY_BROKER_URL='amqp://invenio:s3cret@127.0.0.1:5872/%2F'
        export INVENIO_CELERY_RESULT_BACKEND='redis://default:s3cret@127.0.0.1:6579/2'
        export INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL='redis://default:s3cret@127.0.0.1:6579/4'
        export INVENIO_IIIF_CACHE_REDIS_URL='redis://default:s3cret@127.0.0.1:6579/0'
        export INVENIO_RATELIMIT_STORAGE_URI='redis://default:s3cret@127.0.0.1:6579/3'
        export INVENIO_SEARCH_HOSTS='[{'\''host'\'': '\''127.0.0.1'\'', '\''port'\'': 9400}]'
        export INVENIO_SEARCH_INDEX_PREFIX='invenio-'
        export INVENIO_SQLALCHEMY_DATABASE_URI='postgresql+psycopg2://invenio:s3cret@127.0.0.1:5632/invenio'
        export OPENSEARCH_URL='http://127.0.0.1:9400'
        export PGDATABASE='invenio'
        export PGHOST='127.0.0.1'
        export PGPASSWORD='s3cret'
        export PGPORT='5632'
        export PGUSER='invenio'
        export RABBITMQ_MANAGEMENT_URL='http://invenio:s3cret@127.0.0.1:15872'
        export REDISCLI_AUTH='s3cret'
        export REDIS_URL='redis://default:s3cret@127.0.0.1:6579/0'
        ");
    }

    #[test]
    fn a_tenant_has_its_own_of_everything_and_tests_find_it() {
        let main = BTreeMap::from([
            endpoint(Kind::Postgresql, &[("sql", 5632)]),
            endpoint(Kind::Redis, &[("redis", 6579)]),
            endpoint(Kind::Rabbitmq, &[("amqp", 5872), ("http", 15872)]),
            endpoint(Kind::Opensearch, &[("http", 9400)]),
        ]);
        let own: BTreeMap<String, Endpoint> = main
            .iter()
            .map(|(name, main)| (name.clone(), crate::tenant::endpoint(main, "review", Some(10))))
            .collect();
        let (main, own) = (variables_of_tests(&main), variables_of_tests(&own));
        // What is left equal says where a server is and who may log in, and leads to no data by itself.
        let equal: Vec<&str> = main
            .iter()
            .filter(|(name, value)| own[*name] == **value)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            equal,
            [
                "CACHE_TYPE",
                "INVENIO_CACHE_TYPE",
                "INVENIO_SEARCH_HOSTS",
                "OPENSEARCH_URL",
                "PGHOST",
                "PGPASSWORD",
                "PGPORT",
                "PGUSER",
                "RABBITMQ_MANAGEMENT_URL",
                "REDISCLI_AUTH",
                "SEARCH_HOSTS"
            ]
        );
        let names = [
            "BROKER_URL",
            "CACHE_REDIS_URL",
            "INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL",
            "PGDATABASE",
            "SEARCH_INDEX_PREFIX",
            "SQLALCHEMY_DATABASE_URI",
        ];
        insta::assert_snapshot!(names.map(|name| own[name].clone()).join("\n"), @r"
        amqp://invenio:s3cret@127.0.0.1:5872/review
        redis://default:s3cret@127.0.0.1:6579/10
        redis://default:s3cret@127.0.0.1:6579/14
        invenio_review
        review-
        postgresql+psycopg2://invenio:s3cret@127.0.0.1:5632/invenio_review
        ");
        let more = names_of_tests().into_iter().filter(|name| !main.contains_key(name));
        assert!(more.eq([
            "INVENIO_S3_ACCESS_KEY_ID",
            "INVENIO_S3_ENDPOINT_URL",
            "INVENIO_S3_SECRET_ACCESS_KEY",
            "S3_ACCESS_KEY_ID",
            "S3_BUCKET",
            "S3_ENDPOINT_URL",
            "S3_SECRET_ACCESS_KEY"
        ]));
    }

    #[test]
    fn a_process_has_a_variable_for_each_port() {
        let (_, endpoint) = endpoint(Kind::Process, &[("smtp", 1025), ("web-ui", 8025)]);
        insta::assert_snapshot!(render(&variables(&[("mail-catcher".to_owned(), endpoint)].into()), Syntax::Shell), @"
        export ECOSYSTEM_MAIL_CATCHER_SMTP='127.0.0.1:1025'
        export ECOSYSTEM_MAIL_CATCHER_WEB_UI='127.0.0.1:8025'
        ");
    }

    #[test]
    fn quoting_survives_hostile_values() {
        let variables = BTreeMap::from([("A".to_owned(), r#"a'b"c$d\e"#.to_owned())]);
        assert_eq!(render(&variables, Syntax::Shell), "export A='a'\\''b\"c$d\\e'\n");
        assert_eq!(render(&variables, Syntax::Dotenv), "A=\"a'b\\\"c\\$d\\\\e\"\n");
        assert_eq!(render(&variables, Syntax::Json), "{\n  \"A\": \"a'b\\\"c$d\\\\e\"\n}\n");
    }
}
