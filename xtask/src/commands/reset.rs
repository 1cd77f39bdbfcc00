//! `reset`: back to the state right after a pack was loaded, with nothing restarted.
//!
//! The new database is made and loaded beside the present one and takes its place when it is whole; indices and queues are replaced; what was
//! loaded is kept for the next time; the caches are emptied at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ecosystem_core::catalog::Kind as Service;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::pack::Part;
use ecosystem_core::place::Place;
use ecosystem_core::reset::{Journal, Way};
use serde::Serialize;

use crate::cli::{Global, Reset};
use crate::client::rabbitmq::Management;
use crate::context::Context;
use crate::event::{Event, Events, Section, Task};
use crate::output::{self, Report};
use crate::reset::{self, Doomed, OpenSearch, PostgreSql, Redis};
use crate::seed::{self, Counts, Outcome, Pack, PartReport};
use crate::stack::Stack;
use crate::sys::{interrupt, parallel};
use crate::tenant;

#[derive(Debug, Serialize)]
struct Done {
    pack: String,
    /// Nothing was done.
    dry_run: bool,
    stores: Vec<Row>,
    /// By service, why it stays as it is.
    left_out: BTreeMap<String, String>,
    took_ms: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    store: &'static str,
    way: Way,
    /// What was deleted, or would be.
    deletes: String,
    /// Its indices, or queues and exchanges.
    names: Vec<String>,
    /// What it holds now, by table, index or queue.
    counts: Counts,
}

/// A store of the main instance.
struct Store {
    name: &'static str,
    endpoint: Endpoint,
    /// What the pack has for it.
    part: Option<Part>,
    of: Of,
    way: Way,
    /// What was kept is not what the pack says: it is kept anew.
    stale: bool,
    doomed: Doomed,
    /// What it holds in the end.
    counts: Counts,
}

enum Of {
    PostgreSql(Box<PostgreSql>),
    OpenSearch(OpenSearch),
    Rabbitmq(Management),
    Redis(Redis),
    /// The buckets of the pack.
    Objects(Box<Pack>),
}

/// Goes back, after asking.
pub fn run(context: &Context, global: &Global, args: &Reset, events: &dyn Events) -> anyhow::Result<()> {
    let begin = Instant::now();
    let stack = Stack::open(context, global)?;
    stack.refuse_copy()?;
    let place = stack.set_up()?;
    let pack = stack.open_pack(&stack.pack(args.pack.as_deref())?, events)?;
    if args.dry_run || !args.yes {
        let (stores, left_out) = look(context, &stack, &place, &pack)?;
        if args.dry_run {
            return output::report(&done(&pack, true, stores, left_out, begin), global.format);
        }
        confirm(context, &place, &pack, &stores, &left_out)?;
    }
    let _lock = stack.lock(context, "reset", &[], events)?;
    let (stores, left_out) = look(context, &stack, &place, &pack)?;
    for part in stores.iter().filter(|store| store.way == Way::Loaded).filter_map(|store| store.part) {
        // Whatever can be wrong with it is found while everything is there yet.
        pack.check(part)?;
    }
    interrupt::check()?;
    reset::begin(&place, &pack.manifest.name)?;
    let stores = carry_out(&pack, stores, events).inspect_err(|_| {
        let journal = Journal { pack: pack.manifest.name.clone() };
        events.emit(Event::Warning(journal.says(&context.program)));
    })?;
    reset::end(&place)?;
    output::report(&done(&pack, false, stores, left_out, begin), global.format)
}

/// The stores that run, what they hold, and why others are left out.
fn look(
    context: &Context,
    stack: &Stack,
    place: &Place,
    pack: &Pack,
) -> anyhow::Result<(Vec<Store>, BTreeMap<String, String>)> {
    let running = stack.running_by_name(context)?;
    let (servers, mut left_out) = tenant::servers(&running);
    let mut all = servers.clone();
    for service in stack.site.ecosystem.services.values() {
        let (name, known) = (&service.name, ecosystem_core::tenant::holds(service.kind));
        if service.kind == Service::Minio {
            // It is no part of what is emptied: other buckets than the pack's stay.
            all.remove(name);
            left_out.remove(name);
            match running.get(name) {
                _ if pack.manifest.buckets().next().is_none() => {
                    left_out.insert(name.clone(), "the pack has no buckets, and others stay".to_owned());
                }
                Some(endpoint) => drop(all.insert(name.clone(), endpoint.clone())),
                None => drop(left_out.insert(name.clone(), "it does not run".to_owned())),
            }
        } else if known && !servers.contains_key(name) {
            left_out.entry(name.clone()).or_insert_with(|| "it does not run".to_owned());
        }
    }
    let tenants: BTreeSet<String> = tenant::look(place, &servers)?.into_keys().collect();
    let endpoints: Vec<Endpoint> = Stack::by_kind(&all).into_values().collect();
    let looked = parallel::map(&endpoints, |endpoint| open(endpoint, place, pack, &tenants));
    Ok((looked.into_iter().collect::<anyhow::Result<_>>()?, left_out))
}

fn open(
    endpoint: &Endpoint,
    place: &Place,
    pack: &Pack,
    tenants: &BTreeSet<String>,
) -> anyhow::Result<Store> {
    let name = endpoint.kind.name();
    let part = pack.manifest.parts().into_iter().find(|part| part.name() == name);
    let digest = part.map(|part| pack.digest(part)).unwrap_or_default();
    let of_pack = &pack.manifest.name;
    let (of, doomed, baseline) = match endpoint.kind {
        Service::Postgresql => {
            let mut store = PostgreSql::open(endpoint, place, of_pack, &digest)?;
            let (doomed, baseline) = (store.look()?, part.is_some() && store.has_baseline()?);
            (Of::PostgreSql(Box::new(store)), doomed, baseline)
        }
        Service::Opensearch => {
            let of_pack = (&pack.manifest, pack.templates()?);
            let store = OpenSearch::open(endpoint, tenants, of_pack, &digest)?;
            let (doomed, baseline) = (store.look()?, part.is_some() && store.has_baseline());
            (Of::OpenSearch(store), doomed, baseline)
        }
        Service::Rabbitmq => {
            let broker = Management::open(endpoint)?;
            let doomed = reset::declared(&broker)?;
            (Of::Rabbitmq(broker), doomed, false)
        }
        Service::Minio => {
            let strays = seed::strays(pack, endpoint, false)?;
            let text = format!("{strays} objects that the pack did not bring, or not so");
            let names = pack.manifest.buckets().map(|bucket| format!("bucket {}", bucket.name)).collect();
            (Of::Objects(Box::new(pack.clone())), Doomed { text, names }, false)
        }
        _ => {
            let mut store = Redis::open(endpoint)?;
            let doomed = store.look()?;
            (Of::Redis(store), doomed, false)
        }
    };
    let way = match part {
        None => Way::Emptied,
        Some(_) if baseline => Way::Baseline,
        Some(_) => Way::Loaded,
    };
    let endpoint = endpoint.clone();
    Ok(Store { name, endpoint, part, of, way, stale: false, doomed, counts: Counts::new() })
}

fn confirm(
    context: &Context,
    place: &Place,
    pack: &Pack,
    stores: &[Store],
    left_out: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let name = &pack.manifest.name;
    let mut text = format!("Going back to the pack {name} deletes, of {}:\n", place.root);
    for store in stores {
        let _ = writeln!(text, "  {:<12} {}", store.name, listed(&store.doomed.text, &store.doomed.names));
    }
    for (service, why) in left_out {
        let _ = writeln!(text, "  {service:<12} nothing: {why}");
    }
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new(Kind::Usage, "needs-yes", format!("{text}that needs a yes"));
        return Err(failure
            .hint(format!("{{program}} reset {name} --yes"))
            .hint("to be able to come back: {program} checkpoint save before-reset")
            .into());
    }
    let question =
        format!("{text}To be able to come back: {} checkpoint save before-reset\nGo on?", context.program);
    if output::agreed(&question)? {
        return Ok(());
    }
    Err(Failure::new(Kind::Interrupted, "not-confirmed", "nothing was changed").into())
}

/// How many names a person reads.
const SHOWN: usize = 12;

fn listed(text: &str, names: &[String]) -> String {
    // A name comes from a server, and may hold anything.
    let first = names.iter().take(SHOWN).map(|name| harmless(name)).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => text.to_owned(),
        all if all > SHOWN => format!("{text}: {first} and {} more", all - SHOWN),
        _ => format!("{text}: {first}"),
    }
}

/// Every store by itself, all at once: what one waits for does not hold up the others. Which of them is ready first does not matter, because
/// the journal tells of all of them.
fn carry_out(pack: &Pack, stores: Vec<Store>, events: &dyn Events) -> anyhow::Result<Vec<Store>> {
    let stores: Vec<Mutex<Store>> = stores.into_iter().map(Mutex::new).collect();
    let gone = parallel::map(&stores, |store| locked(store).go_back(pack, events));
    let reports: Vec<Option<PartReport>> = gone.into_iter().collect::<anyhow::Result<_>>()?;
    let reports = reports.into_iter().flatten().map(|report| (report.part, report)).collect();
    seed::compare(pack, &reports, events)?;
    let mut stores: Vec<Store> =
        stores.into_iter().map(|store| store.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    // Last: what applications have asked for meanwhile may have brought old data back into the caches.
    for store in &mut stores {
        if let Of::Redis(caches) = &mut store.of {
            caches.empty()?;
        }
    }
    Ok(stores)
}

impl Store {
    /// Everything that is to be done with this one.
    fn go_back(&mut self, pack: &Pack, events: &dyn Events) -> anyhow::Result<Option<PartReport>> {
        let task = Task::start(events, Section::Reset, self.name);
        let said = self.clear(events)?;
        task.finish(said);
        let mut report = self.part.map(|part| self.load(pack, part, events)).transpose()?.flatten();
        // What was kept may hold what somebody wrote while it was kept.
        if let Some(part) = self.part.filter(|_| self.way == Way::Baseline)
            && report.as_ref().is_some_and(|report| report.counts != pack.expected(part))
        {
            events.emit(Event::Warning(format!(
                "{}: what was kept is not the pack, so the pack is loaded anew",
                self.name
            )));
            pack.check(part)?;
            (self.way, self.stale) = (Way::Loaded, true);
            self.clear(events)?;
            report = self.load(pack, part, events)?;
            self.stale = true;
        }
        self.keep(events);
        interrupt::check()?;
        if let Of::PostgreSql(database) = &mut self.of {
            database.swap()?;
            database.finish()?;
        }
        Ok(report)
    }

    /// Loads the pack, or looks at what was put back as at anything else that was loaded.
    fn load(&mut self, pack: &Pack, part: Part, events: &dyn Events) -> anyhow::Result<Option<PartReport>> {
        let endpoint = match &self.of {
            Of::PostgreSql(database) => database.beside(),
            _ => self.endpoint.clone(),
        };
        let report = seed::seed(pack, &BTreeMap::from([(self.name.to_owned(), endpoint)]), events)?;
        let report = report.parts.into_iter().find(|report| report.part == part);
        if let Some(report) = &report {
            self.counts = report.counts.clone();
            if report.outcome == Outcome::Loaded {
                self.stale = self.way == Way::Baseline;
                self.way = Way::Loaded;
            }
        }
        Ok(report)
    }

    /// Empties it, or puts back what was kept. Of PostgreSQL nothing changes yet but beside the present database.
    fn clear(&mut self, events: &dyn Events) -> anyhow::Result<&'static str> {
        let baseline = self.way == Way::Baseline;
        match &mut self.of {
            Of::PostgreSql(database) => database.prepare(baseline)?,
            Of::OpenSearch(search) if baseline => {
                if let Err(reason) = search.bring_back()? {
                    events.emit(Event::Warning(format!(
                        "opensearch: what was kept cannot be put back, so the pack is loaded anew: {reason}"
                    )));
                    return Ok(Way::Emptied.says());
                }
            }
            Of::OpenSearch(search) => search.empty()?,
            Of::Rabbitmq(broker) => {
                let left = broker.clear()?;
                if left > 0 {
                    events.emit(Event::Warning(format!(
                        "rabbitmq: {left} queues that belong to open connections stay until those are closed"
                    )));
                }
            }
            Of::Redis(caches) => caches.empty()?,
            Of::Objects(pack) => drop(seed::strays(pack, &self.endpoint, true)?),
        }
        Ok(if baseline { Way::Baseline.says() } else { Way::Emptied.says() })
    }

    /// Keeps what was loaded, and finishes that where it was interrupted. Where it does not work the next time takes longer, and that is all.
    fn keep(&mut self, events: &dyn Events) {
        let kept = match &mut self.of {
            _ if self.way == Way::Emptied => Ok(Ok(())),
            Of::PostgreSql(database) => database.keep(self.stale).map(Ok),
            Of::OpenSearch(search) if self.way == Way::Baseline => search.forget_older().map(Ok),
            Of::OpenSearch(search) => search.keep(self.stale),
            Of::Rabbitmq(_) | Of::Redis(_) | Of::Objects(_) => Ok(Ok(())),
        };
        let reason = match kept {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(error) => format!("{error:#}"),
        };
        let text = format!(
            "{}: nothing could be kept, so the next `reset` loads the pack anew: {reason}",
            self.name
        );
        events.emit(Event::Warning(text));
    }
}

fn locked(store: &Mutex<Store>) -> std::sync::MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn done(
    pack: &Pack,
    dry_run: bool,
    stores: Vec<Store>,
    left_out: BTreeMap<String, String>,
    begin: Instant,
) -> Done {
    let row = |store: Store| Row {
        store: store.name,
        way: store.way,
        deletes: store.doomed.text,
        names: store.doomed.names,
        counts: store.counts,
    };
    Done {
        pack: pack.manifest.name.clone(),
        dry_run,
        stores: stores.into_iter().map(row).collect(),
        left_out,
        took_ms: seed::millis(begin),
    }
}

impl Report for Done {
    fn human(&self) -> String {
        let mut text = String::new();
        for row in &self.stores {
            if self.dry_run {
                let deletes = listed(&row.deletes, &row.names);
                let _ = writeln!(text, "  {:<12} deletes {deletes}; then {}", row.store, row.way.says());
            } else {
                let holds: u64 = row.counts.values().sum();
                let holds = if row.counts.is_empty() { String::new() } else { format!("{holds} ") };
                let unit = match row.store {
                    "postgresql" if !row.counts.is_empty() => "rows",
                    "opensearch" if !row.counts.is_empty() => "documents",
                    "rabbitmq" if !row.counts.is_empty() => "queues",
                    "minio" if !row.counts.is_empty() => "objects",
                    _ => "",
                };
                let _ =
                    writeln!(text, "  {:<12} {:<16} {}", row.store, format!("{holds}{unit}"), row.way.says());
            }
        }
        for (service, why) in &self.left_out {
            let _ = writeln!(text, "  {service:<12} left as it is: {why}");
        }
        if self.dry_run {
            let _ = writeln!(text, "Nothing was changed.");
        } else {
            let _ = writeln!(text, "Back at the pack {}: {}", self.pack, output::seconds(self.took_ms));
        }
        text
    }
}
