//! Steps that are about containers, and what is to be known of a container while somebody waits for it.

use anyhow::Context;
use ecosystem_core::catalog::container::Contained;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::plan::Action;
use ecosystem_core::seen::{Phase, Seen};
use ecosystem_core::shortage::OUT_OF_MEMORY;

use super::Engine;
use super::failures::out_of_memory;
use super::wait::name_settings;
use crate::backend::compose::Compose;
use crate::event::{Section, Task};

/// As many of the last lines of a log are shown.
const SHOWN: usize = 12;
/// As many are searched for the reason why a server ended.
const SEARCHED: usize = 400;

impl Engine<'_> {
    fn compose(&self) -> anyhow::Result<&Compose> {
        self.compose.context("a plan with containers is carried out without an engine")
    }

    /// Carries out one step. Starting is shown service by service, while they are waited for.
    pub(super) fn with_containers(&self, action: &Action) -> anyhow::Result<()> {
        let compose = self.compose()?;
        match action {
            Action::Pull(image) => compose.pull(image, self.events)?,
            Action::Apply(services) => {
                let task = Task::start(self.events, Section::Start, "containers");
                let made_by =
                    |service: &String| Some((service.clone(), self.contained.get(service)?.made_by.clone()?));
                compose.apply(services, &services.iter().filter_map(made_by).collect())?;
                task.finish(format!("made or started: {}", services.join(", ")));
            }
            Action::Resume(services) => {
                let task = Task::start(self.events, Section::Start, "containers");
                compose.resume(services)?;
                task.finish(format!("started: {}", services.join(", ")));
            }
            Action::Halt(services) | Action::Remove { services, .. } => {
                let title = if services.is_empty() { "network".to_owned() } else { services.join(", ") };
                let task = Task::start(self.events, Section::Stop, title);
                match action {
                    Action::Remove { all: true, .. } => compose.remove_all()?,
                    Action::Remove { .. } => compose.remove(services)?,
                    _ => compose.halt(services)?,
                }
                task.finish(if matches!(action, Action::Halt(_)) {
                    "stopped"
                } else {
                    "stopped and removed"
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn seen(&self, service: &str) -> anyhow::Result<Option<Seen>> {
        Ok(self.compose()?.containers()?.remove(service))
    }

    /// Fails where a container is not going to become ready: it ended, and whatever starts it again will not help. `applied`: this plan has made or
    /// started it.
    pub(super) fn look_at_container(
        &self,
        service: &str,
        contained: &Contained,
        applied: bool,
        restarts: &mut Option<u32>,
    ) -> anyhow::Result<()> {
        let seen = self.seen(service)?;
        let now = seen.as_ref().map_or(0, |seen| seen.restarts);
        // One that was started here has begun at none; what happened to others before is over.
        let before = *restarts.get_or_insert(if applied { 0 } else { now });
        let how = match seen.as_ref().map(|seen| &seen.phase) {
            Some(Phase::Running) if now <= before => return Ok(()),
            Some(Phase::Paused) => {
                let name = seen.map(|seen| seen.name).unwrap_or_default();
                let message = format!("{service}: somebody has paused its container, so it cannot answer");
                return Err(Failure::new(Kind::Service, "service-stopped", message)
                    .hint(format!("let it go on: docker unpause {name}"))
                    .into());
            }
            Some(Phase::Running | Phase::Created) => "the engine had to start it again".to_owned(),
            Some(Phase::Restarting { how } | Phase::Ended { how }) => how.clone(),
            None => "somebody has removed its container".to_owned(),
        };
        let failure = if how == OUT_OF_MEMORY {
            out_of_memory(service, service)
        } else {
            let log = self.quoted(service);
            let message = format!("{service} ended before it was ready: {how}\n{log}");
            Failure::new(Kind::Service, "service-ended", message)
                .hint(format!("the whole log: {{program}} logs {service}"))
        };
        let failure = name_settings(&contained.settings, &self.last_words(service), failure);
        if applied {
            // Nobody waits any more: the engine would try again without end.
            self.compose()?.halt(&[service.to_owned()])?;
        }
        Err(failure.into())
    }

    /// The failure of a service that answers on its port, and whose container does not have that port.
    pub(super) fn container_without_port(
        &self,
        service: &str,
        contained: &Contained,
    ) -> anyhow::Result<Option<Failure>> {
        let seen = self.seen(service)?.filter(Seen::runs);
        let leads_there =
            |port: &u16| seen.as_ref().is_some_and(|seen| seen.ports.iter().any(|(own, _)| own == port));
        let Some(port) = contained.endpoint.ports.values().find(|port| !leads_there(port)) else {
            return Ok(None);
        };
        let message =
            format!("port {port} of {service} does not lead to its container: somebody else answers there");
        Ok(Some(
            Failure::new(Kind::Service, "service-not-ours", message)
                .hint("who holds the port: {program} check"),
        ))
    }

    pub(super) fn container_timed_out(
        &self,
        service: &str,
        contained: &Contained,
        last: &str,
    ) -> anyhow::Error {
        let failure = self.too_late(service, last, &self.quoted(service));
        name_settings(&contained.settings, &self.last_words(service), failure).into()
    }

    /// The last lines of its log. What cannot be read is left out: something else is being told already.
    fn lines(&self, service: &str, count: usize) -> Vec<String> {
        let read = || {
            let Some(seen) = self.seen(service)? else { return Ok(Vec::new()) };
            self.compose()?.log(&seen.id, Some(count), None)
        };
        let lines: anyhow::Result<Vec<String>> = read();
        let text = |line: String| line.split_once(' ').map_or(String::new(), |(_, text)| text.to_owned());
        lines.unwrap_or_default().into_iter().map(text).collect()
    }

    fn last_words(&self, service: &str) -> String {
        self.lines(service, SEARCHED).join("\n")
    }

    /// The end of its log, set off from the message.
    fn quoted(&self, service: &str) -> String {
        let lines: Vec<String> =
            self.lines(service, SHOWN).iter().map(|line| format!("  | {}", harmless(line))).collect();
        if lines.is_empty() {
            return "  its container has written nothing".to_owned();
        }
        format!("  its container ends with\n{}", lines.join("\n"))
    }
}
