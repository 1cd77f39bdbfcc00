//! What runs the servers where nobody has said it: decided at the first `up`, told with its reason, and kept.

use ecosystem_core::catalog::Kind;
use ecosystem_core::model::{Asked, Backend, Origin, Service};

use crate::backend::compose;
use crate::context::Context;
use crate::provision::possible;
use crate::stack::Stack;

/// Containers, where one of these servers can run in no other way and there is Docker; `None` where processes do, or somebody has decided.
pub(super) fn choose(context: &Context, stack: &Stack, services: &[&Service]) -> Option<Backend> {
    if !matches!(stack.site.ecosystem.backend.origin, Origin::Release(_)) {
        return None;
    }
    let host = context.provisioning();
    let natively = |service: &&Service| service.kind == Kind::Process || possible(service, &host).is_ok();
    // Without Docker it is for the one that cannot be had to say why.
    let fit = || compose::fit(context.find("docker").as_deref().map(camino::Utf8Path::as_str)).is_ok();
    (!services.iter().all(natively) && fit()).then_some(Backend::Compose)
}

/// The same stack with what was chosen.
pub(super) fn chosen(asked: &Asked, backend: Backend) -> Asked {
    Asked { backend: Some(backend), ..asked.clone() }
}

/// What a person is told of it.
pub(super) fn told(stack: &Stack, services: &[&Service], choice: Option<Backend>) -> String {
    let of = |backend: Backend| -> Vec<&str> {
        let of = services.iter().filter(|s| s.backend.value == backend && s.kind != Kind::Process);
        of.map(|service| service.name.as_str()).collect()
    };
    let containers = of(Backend::Compose);
    let why = match (&stack.site.ecosystem.backend.origin, choice) {
        (_, Some(_)) => " (not all of them can run in another way)".to_owned(),
        (Origin::Release(_), None) => String::new(),
        (origin, None) => format!(" ({origin})"),
    };
    if containers.is_empty() {
        return format!("native: the servers run as processes of yours, without a container engine{why}");
    }
    if of(Backend::Native).is_empty() {
        return format!("compose: the servers run as containers, by Docker Compose{why}");
    }
    format!("native: as processes of yours; as containers: {}", containers.join(", "))
}
