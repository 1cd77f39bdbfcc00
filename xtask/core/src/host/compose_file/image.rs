//! Which server an image of somebody's Compose file is, and what its ports are called here.

use super::habits::is_unpinned;
use crate::catalog::Kind;

/// An image of a server that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    pub kind: Kind,
    /// The last part of its name: `elasticsearch-oss`.
    pub name: &'a str,
    /// It is the image that a release names, or a mirror's copy of it, whose settings and folders are known.
    pub official: bool,
    /// The version that it names, if that is one.
    pub tag: Option<&'a str>,
}

/// Images by the last part of their name, with their whole name where they are those of the releases.
const IMAGES: [(&str, Kind, &str); 14] = [
    ("postgres", Kind::Postgresql, "postgres"),
    ("postgresql", Kind::Postgresql, ""),
    ("postgis", Kind::Postgresql, ""),
    ("redis", Kind::Redis, "redis"),
    ("valkey", Kind::Redis, ""),
    ("rabbitmq", Kind::Rabbitmq, "rabbitmq"),
    ("opensearch", Kind::Opensearch, "opensearchproject/opensearch"),
    ("elasticsearch", Kind::Opensearch, ""),
    ("elasticsearch-oss", Kind::Opensearch, ""),
    ("opensearch-dashboards", Kind::Dashboards, "opensearchproject/opensearch-dashboards"),
    ("kibana", Kind::Dashboards, ""),
    ("kibana-oss", Kind::Dashboards, ""),
    ("pgadmin4", Kind::Pgadmin, "dpage/pgadmin4"),
    ("minio", Kind::Minio, "minio/minio"),
];

/// The longest name of an image that is believed.
const LONGEST: usize = 255;

/// What an image is. A name that no registry would take, and one with a variable in it that nothing tells, is none but for its version.
pub fn known(image: &str) -> Option<Known<'_>> {
    let (name, _) = image.split_once('@').unwrap_or((image, ""));
    // The address of a registry may have a port.
    let behind = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = name[behind..].find(':').map_or(name, |colon| &name[..behind + colon]);
    let last = &name[behind..];
    let (_, kind, official) = IMAGES.into_iter().find(|(known, ..)| *known == last)?;
    let whole =
        image.len() <= LONGEST && image.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    let tag = (whole && !is_unpinned(image)).then(|| image[name.len()..].trim_start_matches(':'));
    Some(Known {
        kind,
        name: last,
        official: !official.is_empty() && without_registry(name) == official,
        tag,
    })
}

/// The name of an image without the address of the registry, or of the mirror, that has it.
fn without_registry(name: &str) -> &str {
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let name = name.split_once('/').filter(|(first, _)| is_host(first)).map_or(name, |(_, rest)| rest);
    let name = name.strip_prefix("docker/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// The ports within a container of this kind, and what they are called here.
pub const fn roles(kind: Kind) -> &'static [(u16, &'static str)] {
    match kind {
        Kind::Postgresql => &[(5432, "sql")],
        Kind::Redis => &[(6379, "redis")],
        Kind::Rabbitmq => &[(5672, "amqp"), (15672, "http"), (4369, "epmd"), (25672, "distribution")],
        Kind::Opensearch => &[(9200, "http"), (9300, "cluster")],
        Kind::Dashboards => &[(5601, "http")],
        Kind::Pgadmin => &[(80, "http"), (443, "https")],
        Kind::Minio => &[(9000, "s3"), (9001, "console")],
        Kind::Invenio | Kind::Process => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_field_are_known() {
        let told = |image: &str| match known(image) {
            None => format!("{image:<62} -"),
            Some(known) => {
                let of = if known.official { "official" } else { known.name };
                format!("{image:<62} {} {of} {}", known.kind, known.tag.unwrap_or("?"))
            }
        };
        let images = [
            "postgres:15-alpine",
            "postgres",
            "docker.io/library/postgres:14.13",
            "public.ecr.aws/docker/library/redis:7",
            "registry.example.org:5000/postgres:12.4",
            "registry.example.org/team/postgres:12.4",
            "bitnami/postgresql:16",
            "postgis/postgis:16-3.4",
            "redis:latest",
            "redis:${REDIS_VERSION}",
            "redis:7@sha256:0123",
            "redis@sha256:0123",
            "valkey/valkey:8",
            "rabbitmq:3.8-management",
            "opensearchproject/opensearch:2.18.0",
            "bitnami/opensearch:2",
            "docker.elastic.co/elasticsearch/elasticsearch-oss:7.9.3",
            "docker.elastic.co/kibana/kibana-oss:7.9.3",
            "opensearchproject/opensearch-dashboards:2.3.0",
            "dpage/pgadmin4:6",
            "quay.io/minio/minio:RELEASE.2022-10-24T18-35-07Z",
            "minio/mc:latest",
            "mysql:8",
            "mher/flower:2.0.1",
            "my-redis:1",
            "redis:7\" # x",
            "",
        ];
        insta::assert_snapshot!(images.map(told).join("\n"), @r#"
        postgres:15-alpine                                             postgresql official 15-alpine
        postgres                                                       postgresql official ?
        docker.io/library/postgres:14.13                               postgresql official 14.13
        public.ecr.aws/docker/library/redis:7                          redis official 7
        registry.example.org:5000/postgres:12.4                        postgresql official 12.4
        registry.example.org/team/postgres:12.4                        postgresql postgres 12.4
        bitnami/postgresql:16                                          postgresql postgresql 16
        postgis/postgis:16-3.4                                         postgresql postgis 16-3.4
        redis:latest                                                   redis official ?
        redis:${REDIS_VERSION}                                         redis official ?
        redis:7@sha256:0123                                            redis official 7@sha256:0123
        redis@sha256:0123                                              redis official @sha256:0123
        valkey/valkey:8                                                redis valkey 8
        rabbitmq:3.8-management                                        rabbitmq official 3.8-management
        opensearchproject/opensearch:2.18.0                            opensearch official 2.18.0
        bitnami/opensearch:2                                           opensearch opensearch 2
        docker.elastic.co/elasticsearch/elasticsearch-oss:7.9.3        opensearch elasticsearch-oss 7.9.3
        docker.elastic.co/kibana/kibana-oss:7.9.3                      dashboards kibana-oss 7.9.3
        opensearchproject/opensearch-dashboards:2.3.0                  dashboards official 2.3.0
        dpage/pgadmin4:6                                               pgadmin official 6
        quay.io/minio/minio:RELEASE.2022-10-24T18-35-07Z               minio official RELEASE.2022-10-24T18-35-07Z
        minio/mc:latest                                                -
        mysql:8                                                        -
        mher/flower:2.0.1                                              -
        my-redis:1                                                     -
        redis:7" # x                                                   redis official ?
                                                                       -
        "#);
    }
}
