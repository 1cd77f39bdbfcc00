//! Which services a command means: names, a profile, or the default profile. Nothing here starts anything.

use std::collections::BTreeMap;

use super::{Ecosystem, Service, suggest};
use crate::catalog::Kind;
use crate::failure::{Failure, Kind as FailureKind};

/// The profile of a command that names none.
const DEFAULT_PROFILE: &str = "core";

impl Ecosystem {
    /// The services that were asked for, each once: by name, of a profile, else of the profile `core`.
    pub fn select(&self, profile: Option<&str>, names: &[String]) -> Result<Vec<&Service>, Failure> {
        let mut wanted: Vec<&str> = Vec::new();
        let profile = profile.or_else(|| names.is_empty().then_some(DEFAULT_PROFILE));
        for profile in profile.into_iter().chain(names.iter().filter_map(|name| name.strip_prefix('@'))) {
            wanted.extend(self.profile(profile)?.iter().map(String::as_str));
        }
        wanted.extend(names.iter().filter(|name| !name.starts_with('@')).map(String::as_str));

        let mut selected: Vec<&Service> = Vec::new();
        for name in wanted {
            let service = self.services.get(name).ok_or_else(|| self.unknown(name))?;
            if !selected.iter().any(|seen| seen.name == service.name) {
                selected.push(service);
            }
        }
        match not_yet(&selected) {
            Some(failure) => Err(failure),
            None => Ok(selected),
        }
    }

    /// The services with everything that they start after, which comes before them, and who needs each that was brought along.
    pub fn with_needed<'a>(
        &'a self,
        selected: &[&'a Service],
    ) -> Result<(Vec<&'a Service>, BTreeMap<String, String>), Failure> {
        let (mut all, mut needed_by) = (Vec::new(), BTreeMap::new());
        for service in selected {
            self.bring(service, &mut all);
        }
        for service in &all {
            for name in service.after().iter().filter(|name| !selected.iter().any(|s| s.name == **name)) {
                needed_by.entry(name.clone()).or_insert_with(|| service.name.clone());
            }
        }
        match not_yet(&all) {
            Some(failure) => Err(failure),
            None => Ok((all, needed_by)),
        }
    }

    /// Adds a service behind what it starts after. A model has no circles.
    fn bring<'a>(&'a self, service: &'a Service, all: &mut Vec<&'a Service>) {
        if all.iter().any(|seen| seen.name == service.name) {
            return;
        }
        for needed in service.after().iter().filter_map(|name| self.services.get(name)) {
            self.bring(needed, all);
        }
        all.push(service);
    }

    fn profile(&self, name: &str) -> Result<&[String], Failure> {
        self.profiles.get(name).map(Vec::as_slice).ok_or_else(|| {
            let known = self.profiles.keys().map(String::as_str);
            Failure::new(FailureKind::Usage, "unknown-profile", format!("there is no profile `{name}`"))
                .hint(suggest::way_out(name, known))
        })
    }

    fn unknown(&self, name: &str) -> Failure {
        let hint = if self.profiles.contains_key(name) {
            format!("`{name}` is a profile: say --profile {name}")
        } else {
            suggest::way_out(name, self.services.keys().map(String::as_str))
        };
        Failure::new(FailureKind::Usage, "unknown-service", format!("there is no service `{name}`"))
            .hint(hint)
    }
}

/// What gives a server that no registry of packages has.
const ARCHIVE_WAY_OUT: &str =
    "write `get` and `sha512` of its official archive into its section of ecosystem.toml, or take `via` out";

/// The one line about services that stand in the manifest before this program can run them.
fn not_yet(selected: &[&Service]) -> Option<Failure> {
    let nothing = |service: &&&Service| !service.runs() && service.kind.takes_archive();
    if let Some(service) = selected.iter().find(nothing) {
        let message = format!(
            "services.{}: no registry of packages has {}, and nothing says where to get it",
            service.name, service.kind
        );
        return Some(Failure::new(FailureKind::Host, "archive-unnamed", message).hint(ARCHIVE_WAY_OUT));
    }
    let waiting: Vec<String> = selected
        .iter()
        .filter(|service| !service.runs())
        .map(|service| format!("{} ({})", service.name, service.kind.purpose()))
        .collect();
    if waiting.is_empty() {
        return None;
    }
    let running: Vec<&str> =
        Kind::ALL.into_iter().filter(|kind| kind.is_contained()).map(Kind::name).collect();
    Some(
        Failure::new(
            FailureKind::Host,
            "service-not-yet",
            format!("this version cannot start {} yet", waiting.join(" and ")),
        )
        .hint(format!("what it can start: {}", running.join(", "))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flags, Layer, resolve};

    fn select(text: &str, profile: Option<&str>, names: &[&str]) -> Result<String, Failure> {
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let selected = ecosystem.select(profile, &names)?;
        Ok(selected.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn without_a_wish_it_is_the_core() {
        assert_eq!(select("", None, &[]).unwrap(), "postgresql redis rabbitmq opensearch");
        assert_eq!(select("profiles.core = [\"redis\"]", None, &[]).unwrap(), "redis");
    }

    #[test]
    fn names_are_taken_as_they_come_and_once() {
        assert_eq!(select("", None, &["redis", "postgresql", "redis"]).unwrap(), "redis postgresql");
        assert_eq!(select("profiles.a = [\"redis\"]", Some("a"), &["rabbitmq"]).unwrap(), "redis rabbitmq");
        assert_eq!(select("profiles.a = [\"redis\"]", None, &["@a"]).unwrap(), "redis");
    }

    #[test]
    fn a_second_service_of_a_kind_has_its_own_name() {
        let text = "services.cache = { kind = \"redis\", ports = { redis = 7000 } }";
        assert_eq!(select(text, None, &["cache"]).unwrap(), "cache");
    }

    #[test]
    fn services_of_later_versions_say_what_they_are_in_one_line() {
        let text = "services.invenio = { via = \"compose\" }";
        let failure = select(text, None, &["minio", "redis", "invenio"]).unwrap_err();
        assert_eq!((failure.code, failure.kind), ("service-not-yet", FailureKind::Host));
        assert_eq!(failure.message.lines().count(), 1);
        insta::assert_snapshot!(format!("{failure}\n{}", failure.hints.join("\n")), @r"
        this version cannot start invenio (the Invenio application) yet
        what it can start: postgresql, redis, rabbitmq, opensearch, dashboards, pgadmin, minio
        ");
        assert_eq!(select(text, Some("app"), &[]).unwrap_err().code, "service-not-yet");
        assert_eq!(select("", None, &["minio", "pgadmin"]).unwrap(), "minio pgadmin");
    }

    #[test]
    fn what_a_process_starts_after_is_brought_along_and_comes_first() {
        let text = "[services.worker]\nkind = \"process\"\ncommand = [\"w\"]\nafter = [\"web\", \"redis\"]\n\
                    [services.web]\nkind = \"process\"\ncommand = [\"w\"]\nafter = [\"rabbitmq\"]\n";
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let selected = ecosystem.select(None, &["worker".into(), "redis".into()]).unwrap();
        let (all, needed_by) = ecosystem.with_needed(&selected).unwrap();
        assert_eq!(
            all.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(),
            ["rabbitmq", "web", "redis", "worker"]
        );
        let needed_by: Vec<_> = needed_by.iter().map(|(name, by)| format!("{name} by {by}")).collect();
        assert_eq!(needed_by, ["rabbitmq by web", "web by worker"]);
    }

    #[test]
    fn what_cannot_be_started_cannot_be_brought_along() {
        let text = "services.web = { kind = \"process\", command = [\"w\"], after = [\"invenio\"] }\n\
                    services.invenio.via = \"compose\"";
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let selected = ecosystem.select(None, &["web".into()]).unwrap();
        assert_eq!(ecosystem.with_needed(&selected).unwrap_err().code, "service-not-yet");
    }

    #[test]
    fn words_that_are_nothing_get_the_nearest_that_is() {
        let hint = |profile, names: &[&str]| {
            let failure = select("", profile, names).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage);
            format!("{failure}; {}", failure.hints.join(" "))
        };
        assert_eq!(hint(None, &["postgres"]), "there is no service `postgres`; did you mean `postgresql`?");
        assert_eq!(
            hint(None, &["core"]),
            "there is no service `core`; `core` is a profile: say --profile core"
        );
        assert_eq!(hint(Some("apps"), &[]), "there is no profile `apps`; did you mean `app`?");
    }
}
