//! What a service of a Compose file says beside its ports: image, heap, plugins and settings, and all that stays behind.

use std::collections::{BTreeMap, BTreeSet};

use super::adopt::Draft;
use super::left::{Reason, Rest, plain};
use super::{key, list, quoted};
use crate::catalog::{self, Kind};
use crate::host::compose_file::{self, Text, Where};
use crate::model::Ecosystem;
use crate::release::{self, assembly::Assembly};

/// Lines of a manifest.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Before the ports.
    pub(super) first: Vec<String>,
    /// Behind them.
    pub(super) then: Vec<String>,
}

/// What switches the login of OpenSearch off.
const OPEN: [&str; 2] = ["DISABLE_SECURITY_PLUGIN", "plugins.security.disabled"];
/// So many settings of a service are taken over.
const SETTINGS: usize = 60;
/// The plugin of RabbitMQ that images have in their name.
const MANAGEMENT: &str = "rabbitmq_management";

/// The lines of a service; what has none is put with the rest.
pub(super) fn values(draft: &mut Draft<'_>, ecosystem: &Ecosystem, rest: &mut Rest) -> Lines {
    let mut lines =
        Lines { first: image(draft, &ecosystem.release.value).into_iter().collect(), then: Vec::new() };
    let (mut settings, mut plugins) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in &draft.service.environment {
        match variable(draft, name, &value.text) {
            Means::AsHere => {}
            Means::Heap(heap) => lines.then.extend(differing_heap(draft, &heap)),
            Means::Plugins => plugins
                .extend(plugin_names(draft.known.kind, &value.text).map(|plugin| (plugin, value.at.clone()))),
            Means::Setting => drop(settings.insert(name.clone(), value.text.clone())),
            Means::Nothing(reason) => {
                rest.push(reason, &value.at, &format!("{name} of {}", draft.service.name));
            }
        }
    }
    if draft.known.name == "opensearch"
        && !OPEN.iter().any(|name| draft.service.environment.get(*name).is_some_and(|v| v.text == "true"))
    {
        draft.notes.push("it may ask for a login there; OpenSearch has none here, and no HTTPS".to_owned());
    }
    command(draft, &mut settings, &mut plugins, rest);
    while settings.len() > SETTINGS {
        settings.pop_last();
    }
    lines.then.extend(plugins_line(draft, plugins, rest));
    if !settings.is_empty() {
        let pairs: Vec<String> =
            settings.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
        lines.then.push(format!("settings = {{ {} }}", pairs.join(", ")));
    }
    for (name, at) in &draft.service.others {
        if let Some(reason) = key_reason(name) {
            rest.push(reason, at, &format!("{name} of {}", draft.service.name));
        }
    }
    lines
}

/// The image, where it is one that keeps the contract of the release's and has another version.
fn image(draft: &mut Draft<'_>, release: &str) -> Option<String> {
    let (kind, known) = (draft.known.kind, draft.known);
    let written = draft.service.image.as_ref().map_or("", |image| image.text.as_str());
    let pinned = draft.release.image.as_ref().map_or("", |image| image.value.as_str()).to_owned();
    let bare = written.strip_prefix("docker.io/").unwrap_or(written);
    let bare = bare.strip_prefix("library/").unwrap_or(bare);
    if bare == pinned {
        return None;
    }
    let note = match known.name {
        "elasticsearch" | "elasticsearch-oss" => {
            Some(format!("Elasticsearch there; this project runs OpenSearch: {pinned}"))
        }
        "kibana" | "kibana-oss" => Some(format!("Kibana there; OpenSearch Dashboards here: {pinned}")),
        _ if draft.service.builds => {
            Some(format!("its image is made from a folder there; here it is {pinned}"))
        }
        _ if !known.official => Some(format!(
            "{} is made otherwise than the image of the release; here it is {pinned}",
            plain(written)
        )),
        _ if known.tag.is_none()
            && compose_file::known(&pinned).is_none_or(|pinned| pinned.tag.is_none()) =>
        {
            return None;
        }
        _ if known.tag.is_none() => Some(format!("no version is named there; here it is {pinned}")),
        _ => None,
    };
    if let Some(note) = note {
        draft.notes.push(note);
        return None;
    }
    if kind.runs() {
        draft.notes.push(natively(draft, release));
    }
    Some(format!("image = {}", quoted(written)))
}

/// An image is for containers: what runs without one, and which release has the version that the image has.
fn natively(draft: &Draft<'_>, release: &str) -> String {
    let kind = draft.known.kind;
    let version =
        draft.release.get.as_ref().map(|purl| purl.value.rsplit_once('@').map(|(_, version)| version));
    let runs = match version {
        Some(Some(version)) => format!("as a process it is {version}, of release {release}"),
        Some(None) => "as a process it is the version of the system".to_owned(),
        None => {
            return "the image is what `up --backend compose` runs; it runs as a container only".to_owned();
        }
    };
    let major = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned();
    let there = draft.known.tag.map(major).filter(|major| !major.is_empty());
    let other = there.filter(|there| version.flatten().is_some_and(|here| major(here) != *there));
    match other.as_ref().map(|other| release::with(&format!("{kind} {other}"))) {
        None => format!("the image is what `up --backend compose` runs; {runs}"),
        Some(Some(with)) => {
            format!(
                "the image is what `up --backend compose` runs; {runs}; release {with} has {}",
                other.unwrap_or_default()
            )
        }
        Some(None) => {
            format!(
                "the image is what `up --backend compose` runs; {runs}, and no release has {}",
                other.unwrap_or_default()
            )
        }
    }
}

/// What a variable of the environment means here.
enum Means {
    /// What is so here, anyway.
    AsHere,
    Heap(String),
    Plugins,
    Setting,
    Nothing(Reason),
}

fn variable(draft: &Draft<'_>, name: &str, value: &str) -> Means {
    const HERE: [(&str, &str); 7] = [
        ("discovery.type", "single-node"),
        ("DISABLE_SECURITY_PLUGIN", "true"),
        ("DISABLE_INSTALL_DEMO_CONFIG", "true"),
        ("DISABLE_SECURITY_DASHBOARDS_PLUGIN", "true"),
        ("plugins.security.disabled", "true"),
        ("plugins.security.ssl.http.enabled", "false"),
        ("xpack.security.enabled", "false"),
    ];
    let kind = draft.known.kind;
    let lower = name.to_ascii_lowercase();
    if HERE.contains(&(name, value)) || (kind == Kind::Dashboards && name.ends_with("_HOSTS")) {
        return Means::AsHere;
    }
    if kind == Kind::Opensearch
        && ["OPENSEARCH_JAVA_OPTS", "ES_JAVA_OPTS", "OPENSEARCH_HEAP_SIZE", "ELASTICSEARCH_HEAP_SIZE"]
            .contains(&name)
    {
        return heap(value).map_or(Means::Nothing(Reason::Environment), Means::Heap);
    }
    if ["OPENSEARCH_PLUGINS", "RABBITMQ_PLUGINS"].contains(&name) {
        return Means::Plugins;
    }
    if catalog::is_secret_setting(&lower) || lower.ends_with("_key") || lower.ends_with("cookie") {
        return Means::Nothing(Reason::Passwords);
    }
    let of_opensearch = kind == Kind::Opensearch && draft.known.official && name.contains('.');
    if of_opensearch && is_setting_of_opensearch(name) && is_setting(kind, name, value) {
        return Means::Setting;
    }
    let names = ["user", "username", "_db", "database", "email", "vhost"];
    let named = names.iter().any(|end| lower.ends_with(end));
    Means::Nothing(if named { Reason::Names } else { Reason::Environment })
}

/// Whether a setting of OpenSearch holds without its plugins, for a single node that others start.
fn is_setting_of_opensearch(name: &str) -> bool {
    const NOT: [&str; 6] = ["plugins.", "xpack.", "bootstrap.", "node.", "knn.", "cluster.initial_"];
    !NOT.iter().any(|begin| name.starts_with(begin))
}

/// Whether a setting can stand in a manifest as it is.
fn is_setting(kind: Kind, name: &str, value: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain = |c: char| !c.is_control() && !"'\"\\".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(fits)
        && !catalog::is_reserved(kind, name)
        && !catalog::is_secret_setting(&name.to_ascii_lowercase())
        && (1..=200).contains(&value.len())
        && value.trim() == value
        && value.chars().all(plain)
}

/// The heap of Java options: what `-Xmx` says.
fn heap(text: &str) -> Option<String> {
    let size = text.split_whitespace().rev().find_map(|word| word.strip_prefix("-Xmx"));
    let size = size.unwrap_or(text.trim()).to_ascii_lowercase();
    megabytes(&size).map(|_| size)
}

fn megabytes(size: &str) -> Option<u32> {
    let (digits, unit) = size.split_at_checked(size.len().checked_sub(1)?)?;
    let sensible = (1..=6).contains(&digits.len())
        && digits.chars().all(|c| c.is_ascii_digit())
        && !digits.starts_with('0');
    let factor = match unit {
        "m" => 1,
        "g" => 1024,
        _ => return None,
    };
    sensible.then(|| digits.parse::<u32>().ok())?.map(|number| number.saturating_mul(factor))
}

fn differing_heap(draft: &Draft<'_>, heap: &str) -> Option<String> {
    let known = draft.release.heap.as_ref().and_then(|heap| megabytes(&heap.value.to_ascii_lowercase()));
    (megabytes(heap) != known).then(|| format!("heap = {}", quoted(heap)))
}

/// Names of plugins within a text: those that RabbitMQ's begin like, all words of OpenSearch's list.
fn plugin_names(kind: Kind, text: &str) -> impl Iterator<Item = String> {
    let fits = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (c == '-' && kind == Kind::Opensearch)
    };
    let words = text.split(move |c| !fits(c)).filter(move |word| match kind {
        Kind::Rabbitmq => word.strip_prefix("rabbitmq_").is_some_and(|rest| !rest.is_empty()),
        _ => !word.is_empty(),
    });
    words.map(ToOwned::to_owned).collect::<Vec<_>>().into_iter()
}

type Plugins = BTreeSet<(String, Where)>;

/// The plugins, where they differ from the release's.
fn plugins_line(draft: &Draft<'_>, visible: Plugins, rest: &mut Rest) -> Option<String> {
    let (kind, release) = (draft.known.kind, &draft.release.plugins.value);
    let mut wanted: BTreeSet<String> = release.iter().cloned().collect();
    let image = draft.service.image.as_ref().map_or("", |image| image.text.as_str());
    let plain_image = draft.known.official && draft.known.tag.is_some() && !draft.service.builds;
    if kind == Kind::Rabbitmq
        && plain_image
        && !image.contains("management")
        && !draft.wanted.contains_key("http")
    {
        wanted.remove(MANAGEMENT);
    }
    let assembly = draft
        .release
        .get
        .as_ref()
        .and_then(|purl| purl.value.rsplit_once('@'))
        .and_then(|(_, version)| Assembly::of(version).ok());
    for (plugin, at) in visible {
        let missing = kind == Kind::Opensearch
            && assembly.as_ref().is_some_and(|known| !known.plugins.contains_key(&plugin));
        if missing || catalog::listens_by_itself(kind, &plugin) || wanted.len() > 50 {
            rest.push(Reason::Plugins, &at, &format!("{plugin} of {}", draft.service.name));
        } else {
            wanted.insert(plugin);
        }
    }
    let differs = wanted != release.iter().cloned().collect();
    let has_plugins = matches!(kind, Kind::Rabbitmq | Kind::Opensearch);
    (differs && has_plugins).then(|| format!("plugins = {}", list(&wanted.into_iter().collect::<Vec<_>>())))
}

/// What the command of a container says in the server's own words.
fn command(
    draft: &Draft<'_>,
    settings: &mut BTreeMap<String, String>,
    plugins: &mut Plugins,
    rest: &mut Rest,
) {
    let (kind, words) = (draft.known.kind, draft.service.command.as_slice());
    let Some(first) = words.first() else { return };
    let mut left = None;
    match (kind, first.text.as_str()) {
        (Kind::Minio, _) => return,
        (Kind::Rabbitmq, _) => {
            let found = words
                .iter()
                .flat_map(|word| plugin_names(kind, &word.text).map(|plugin| (plugin, word.at.clone())));
            let before = plugins.len();
            plugins.extend(found);
            if plugins.len() == before {
                left = Some(Reason::Commands);
            }
        }
        (Kind::Postgresql | Kind::Redis, program)
            if program.starts_with('-') || ["postgres", "redis-server"].contains(&program) =>
        {
            let words = if program.starts_with('-') { words } else { &words[1..] };
            for (name, value) in options(kind, words) {
                if catalog::is_secret_setting(&name.to_ascii_lowercase()) {
                    left = left.or(Some(Reason::Passwords));
                } else if is_setting(kind, &name, &value) {
                    settings.insert(name, value);
                } else {
                    left = Some(Reason::Commands);
                }
            }
        }
        _ => left = Some(Reason::Commands),
    }
    if let Some(reason) = left {
        rest.push(reason, &first.at, &format!("command of {}", draft.service.name));
    }
}

/// `-c name=value` of PostgreSQL, `--name value` of Redis. What is neither comes back as a name that is none.
fn options(kind: Kind, words: &[Text]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut words = words.iter().map(|word| word.text.as_str()).peekable();
    while let Some(word) = words.next() {
        let pair = match kind {
            Kind::Postgresql if word == "-c" => words.next().and_then(|pair| pair.split_once('=')),
            Kind::Postgresql => word
                .strip_prefix("--")
                .or_else(|| word.strip_prefix("-c"))
                .and_then(|pair| pair.split_once('=')),
            _ => match word.strip_prefix("--").filter(|name| !name.is_empty()) {
                Some(name) => {
                    let mut values = Vec::new();
                    while let Some(value) = words.next_if(|value| !value.starts_with("--")) {
                        values.push(value);
                    }
                    found.push((name.to_owned(), values.join(" ")));
                    continue;
                }
                None => None,
            },
        };
        found.push(pair.map_or_else(Default::default, |(name, value)| {
            (name.trim().to_owned(), value.trim().to_owned())
        }));
    }
    found
}

/// Why a key of a service stays behind; the order of starting is this program's own, and an image that is made is told with the image.
fn key_reason(key: &str) -> Option<Reason> {
    Some(match key {
        "depends_on" => return None,
        "volumes" | "volumes_from" | "tmpfs" | "secrets" | "configs" => Reason::Data,
        "networks" | "network_mode" | "hostname" | "container_name" | "links" | "expose" | "dns"
        | "extra_hosts" | "domainname" => Reason::Networks,
        "restart" => Reason::Restart,
        "healthcheck" => Reason::Health,
        "env_file" => Reason::Environment,
        "entrypoint" => Reason::Commands,
        _ => Reason::Containers,
    })
}
