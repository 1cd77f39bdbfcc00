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
    let decided = |service: &Service| matches!(service.backend.origin, Origin::File { .. });
    let natively = |service: &&Service| {
        service.kind == Kind::Process || decided(service) || possible(service, &host).is_ok()
    };
    // Without Docker it is for the one that cannot be had to say why.
    let fit = || compose::fit(context.find("docker").as_deref()).is_ok();
    (!services.iter().all(natively) && fit()).then_some(Backend::Compose)
}

/// The same stack with what was chosen.
pub(super) fn chosen(asked: &Asked, backend: Backend) -> Asked {
    Asked { backend: Some(backend), ..asked.clone() }
}

/// What a person is told of it.
pub(super) fn told(stack: &Stack, services: &[&Service], choice: Option<Backend>) -> String {
    let chosen = &stack.site.ecosystem.backend;
    let why = |service: &Service| match &service.backend.origin {
        _ if choice == Some(service.backend.value) => "not all of them can run in another way".to_owned(),
        Origin::Release(_) if service.backend.value != chosen.value => "it runs in no other way".to_owned(),
        Origin::Release(_) => String::new(),
        origin => origin.to_string(),
    };
    let mut parts = Vec::new();
    for (backend, how) in [
        (Backend::Native, "the servers run as processes of yours, without a container engine"),
        (Backend::Compose, "the servers run as containers, by Docker Compose"),
        (Backend::External, "somebody else runs them"),
    ] {
        let of: Vec<&&Service> =
            services.iter().filter(|s| s.backend.value == backend && s.kind != Kind::Process).collect();
        let Some(first) = of.first() else { continue };
        let why =
            Some(why(first)).filter(|why| !why.is_empty()).map_or(String::new(), |why| format!(" ({why})"));
        parts.push((
            of.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
            format!("{backend}: {how}{why}"),
        ));
    }
    match parts.as_slice() {
        [] => "native: programs of the project's own".to_owned(),
        [(_, all)] => all.clone(),
        several => {
            let lines = several.iter().map(|(names, how)| format!("{how}: {names}"));
            lines.collect::<Vec<_>>().join("\n           ")
        }
    }
}
