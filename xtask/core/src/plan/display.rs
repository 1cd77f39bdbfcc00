//! Plans and obstacles as a person reads them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Cause, Holder, Obstacle, Plan};
use crate::failure::{Failure, Kind};

/// A plan as `--dry-run` prints it, with the milliseconds that each step took last time where known.
pub fn render(plan: &Plan, last: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    let width = plan.steps.iter().map(|s| s.action.title().len()).max().unwrap_or(0);
    for step in &plan.steps {
        let title = step.action.title();
        let took = last
            .get(&title)
            .map(|ms| format!("  (last time {}.{:02} s)", ms / 1000, ms % 1000 / 10))
            .unwrap_or_default();
        let _ = writeln!(text, "{:>3}  {title:width$}  {}{took}", step.id + 1, because(&step.cause));
        if let Cause::Drifted { changes } = &step.cause {
            for change in changes {
                let none = "not set".to_owned();
                let (was, now) = (change.was.as_ref().unwrap_or(&none), change.now.as_ref().unwrap_or(&none));
                let _ = writeln!(text, "       {}: {was} → {now}", change.path);
            }
        }
    }
    text
}

fn because(cause: &Cause) -> String {
    match cause {
        Cause::Missing => "not there yet".to_owned(),
        Cause::Ended { how } => format!("it ended by itself: {how}"),
        Cause::Drifted { .. } => "what runs is not what is wanted".to_owned(),
        Cause::OtherBuild { build } => {
            format!("it was started by build {build}, which speaks another protocol")
        }
        Cause::Follows => "follows".to_owned(),
        Cause::Requested => "asked for".to_owned(),
    }
}

/// All obstacles as one failure; `None` where there are none. One block per owner, not per port.
pub fn obstacles_failure(obstacles: &[Obstacle]) -> Option<Failure> {
    let (mut ports, mut data) = (BTreeMap::<Option<&Holder>, Vec<(u16, String)>>::new(), Vec::new());
    for obstacle in obstacles {
        match obstacle {
            Obstacle::PortTaken { service, role, port, holder } => {
                let what = if service == role { service.clone() } else { format!("{service} {role}") };
                ports.entry(holder.as_ref()).or_default().push((*port, what));
            }
            Obstacle::OtherData { service, folder, made_by, wanted } => {
                data.push((service, folder, made_by, wanted));
            }
        }
    }
    let mut text = String::new();
    let mut hints = Vec::new();
    for (holder, wanted) in &ports {
        let list: Vec<String> = wanted.iter().map(|(port, what)| format!("{port} ({what})")).collect();
        let (noun, verb) = if list.len() == 1 { ("port", "is") } else { ("ports", "are") };
        let _ = write!(text, "{noun} {} {verb} held by ", list.join(", "));
        if let Some(Holder { pid, command, cwd, place }) = holder {
            let _ = write!(text, "pid {pid}: {command}");
            if let Some(cwd) = cwd {
                let _ = write!(text, "\n  in {cwd}");
            }
            if let Some(place) = place {
                let _ = write!(text, "\n  it belongs to the stack of {place}");
                let hint = format!("stop the other stack: {{program}} down -C '{place}'");
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
        } else {
            let port = wanted.first().map_or(0, |(port, _)| *port);
            let _ = write!(text, "a process of another user; `sudo ss -ltnp 'sport = :{port}'` names it");
        }
        text.push('\n');
    }
    for (service, folder, made_by, wanted) in &data {
        let _ = writeln!(
            text,
            "the data of {service} was made by {made_by} and cannot be used by {wanted}\n  {folder}"
        );
        hints.push(format!("start {service} afresh, losing its data: {{program}} down --data {service}"));
    }
    if !ports.is_empty() {
        hints.push("run on other ports from now on: {program} up --port-offset 100".to_owned());
    }
    let code = if ports.is_empty() { "data-other-version" } else { "port-taken" };
    (!obstacles.is_empty()).then(|| Failure {
        kind: Kind::Service,
        code,
        message: format!("nothing was started\n{}", text.trim_end()),
        hints,
    })
}
