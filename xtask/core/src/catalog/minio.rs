//! MinIO: how it runs as a container. This version does not run it natively.

use super::Access;
use super::container::{Container, password};
use crate::model::Service;

pub(super) fn access() -> Access {
    Access { user: Some("invenio"), database: None, authenticated: true, identity: String::new() }
}

pub(super) fn container(service: &Service) -> Container {
    let mut container = Container::new("/data", 1024)
        .with("MINIO_ROOT_USER", "invenio")
        // MinIO takes nothing shorter than eight characters.
        .with("MINIO_ROOT_PASSWORD", password(service, "invenio-dev"));
    container.command = ["server", "/data", "--console-address", ":9001"].map(str::to_owned).to_vec();
    // Images of some years have curl, others only MinIO's own client.
    container.healthy = "curl -fsS http://127.0.0.1:9000/minio/health/ready || mc ready local".into();
    container
}
