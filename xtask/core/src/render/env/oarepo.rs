//! Settings in the form of OARepo's file `variables`: hosts, ports and logins one by one, which its `invenio.cfg` puts together.
//!
//! Names are those of nrp-devtools 1.0.28. It knows no password of Redis and no limiter of requests: the whole URLs of Invenio, which win over
//! what is put together, go with them.

use std::collections::BTreeMap;

use super::{login, variables};
use crate::catalog::Kind;
use crate::endpoint::Endpoint;
use crate::tenant::MAIN_PREFIX;

/// What OARepo's `invenio.cfg` reads, and everything of Invenio's own that it cannot say.
pub fn oarepo(endpoints: &BTreeMap<String, Endpoint>) -> BTreeMap<String, String> {
    let mut all = variables(endpoints);
    all.retain(|name, _| name.starts_with("INVENIO_"));
    for endpoint in endpoints.values() {
        all.extend(parts(endpoint).into_iter().map(|(name, value)| (format!("INVENIO_{name}"), value)));
    }
    all
}

fn parts(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let endpoint = &endpoint.of_application();
    let (user, password) = login(endpoint);
    let (user, password) = (user.to_owned(), password.to_owned());
    let host = endpoint.host.clone();
    let port = |role: &str| endpoint.ports.get(role).map(u16::to_string).unwrap_or_default();
    match endpoint.kind {
        Kind::Postgresql => vec![
            ("DATABASE_HOST", host),
            ("DATABASE_PORT", port("sql")),
            ("DATABASE_USER", user),
            ("DATABASE_PASSWORD", password),
            ("DATABASE_DBNAME", endpoint.database.clone().unwrap_or_default()),
        ],
        Kind::Redis => {
            let first: u32 = endpoint.database.as_deref().and_then(|first| first.parse().ok()).unwrap_or(0);
            let database = |n: u32| (first + n).to_string();
            vec![
                ("REDIS_HOST", host),
                ("REDIS_PORT", port("redis")),
                ("REDIS_CACHE_DB", database(0)),
                ("REDIS_SESSION_DB", database(1)),
                ("REDIS_CELERY_RESULT_DB", database(2)),
                ("REDIS_COMMUNITIES_CACHE_DB", database(4)),
            ]
        }
        Kind::Rabbitmq => vec![
            ("RABBIT_HOST", host),
            ("RABBIT_PORT", port("amqp")),
            ("RABBIT_ADMIN_PORT", port("http")),
            ("RABBIT_USER", user),
            ("RABBIT_PASSWORD", password),
        ],
        Kind::Opensearch => vec![
            ("OPENSEARCH_HOST", host),
            ("OPENSEARCH_PORT", port("http")),
            ("OPENSEARCH_CLUSTER_PORT", port("cluster")),
            ("OPENSEARCH_USE_SSL", "False".to_owned()),
            ("OPENSEARCH_VERIFY_CERTS", "False".to_owned()),
            ("OPENSEARCH_ASSERT_HOSTNAME", "False".to_owned()),
            ("OPENSEARCH_SHOW_WARN", "False".to_owned()),
            ("OPENSEARCH_CA_CERTS_PATH", String::new()),
            ("SEARCH_INDEX_PREFIX", endpoint.database.as_deref().unwrap_or(MAIN_PREFIX).to_owned()),
        ],
        Kind::Dashboards => {
            vec![("OPENSEARCH_DASHBOARD_HOST", host), ("OPENSEARCH_DASHBOARD_PORT", port("http"))]
        }
        Kind::Minio => vec![
            ("S3_PROTOCOL", "http".to_owned()),
            ("S3_HOST", host),
            ("S3_PORT", port("s3")),
            ("S3_PORT1", port("console")),
            ("S3_ACCESS_KEY", user),
            ("S3_SECRET_KEY", password),
        ],
        Kind::Invenio => vec![
            ("UI_HOST", host.clone()),
            ("UI_PORT", port("https")),
            ("API_HOST", host),
            ("API_PORT", port("https")),
        ],
        Kind::Pgadmin | Kind::Process => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Secret;

    #[test]
    fn every_part_has_the_name_that_oarepo_reads() {
        let endpoint = |kind: Kind, ports: &[(&str, u16)]| {
            let endpoint = Endpoint {
                kind,
                host: "127.0.0.1".into(),
                ports: ports.iter().map(|(role, port)| ((*role).into(), *port)).collect(),
                user: Some("me".into()),
                secret: Some(Secret::new("s3cret")),
                database: None,
                identity: "x".into(),
                watched: None,
                storage: crate::endpoint::Storage::default(),
            };
            (kind.name().to_owned(), endpoint)
        };
        let all = oarepo(&BTreeMap::from([
            endpoint(Kind::Redis, &[("redis", 6579)]),
            endpoint(Kind::Rabbitmq, &[("amqp", 5872), ("http", 15872)]),
            endpoint(Kind::Opensearch, &[("http", 9400), ("cluster", 9800)]),
            endpoint(Kind::Minio, &[("s3", 9000), ("console", 9001)]),
        ]));
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        insta::assert_snapshot!(names.join(" "), @"INVENIO_ACCOUNTS_SESSION_REDIS_URL INVENIO_BROKER_URL INVENIO_CACHE_REDIS_URL INVENIO_CACHE_TYPE INVENIO_CELERY_BROKER_URL INVENIO_CELERY_RESULT_BACKEND INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL INVENIO_IIIF_CACHE_REDIS_URL INVENIO_OPENSEARCH_ASSERT_HOSTNAME INVENIO_OPENSEARCH_CA_CERTS_PATH INVENIO_OPENSEARCH_CLUSTER_PORT INVENIO_OPENSEARCH_HOST INVENIO_OPENSEARCH_PORT INVENIO_OPENSEARCH_SHOW_WARN INVENIO_OPENSEARCH_USE_SSL INVENIO_OPENSEARCH_VERIFY_CERTS INVENIO_RABBIT_ADMIN_PORT INVENIO_RABBIT_HOST INVENIO_RABBIT_PASSWORD INVENIO_RABBIT_PORT INVENIO_RABBIT_USER INVENIO_RATELIMIT_STORAGE_URI INVENIO_REDIS_CACHE_DB INVENIO_REDIS_CELERY_RESULT_DB INVENIO_REDIS_COMMUNITIES_CACHE_DB INVENIO_REDIS_HOST INVENIO_REDIS_PORT INVENIO_REDIS_SESSION_DB INVENIO_S3_ACCESS_KEY INVENIO_S3_ACCESS_KEY_ID INVENIO_S3_ENDPOINT_URL INVENIO_S3_HOST INVENIO_S3_PORT INVENIO_S3_PORT1 INVENIO_S3_PROTOCOL INVENIO_S3_SECRET_ACCESS_KEY INVENIO_S3_SECRET_KEY INVENIO_SEARCH_HOSTS INVENIO_SEARCH_INDEX_PREFIX");
    }
}
