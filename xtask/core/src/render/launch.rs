//! A launch as a person reads it, and as `snapshot` compares it: the same text on every machine.
//!
//! Nothing is replaced in finished text. The launch is computed again for a place, a secret and an installation that have no particulars;
//! `launch` is pure, so what comes out differs from the real one in those alone.

use std::fmt::Write;

use camino::Utf8PathBuf;

use crate::artifact::{Installation, Installed};
use crate::catalog::{Inputs, Launch, launch};
use crate::endpoint::Secret;
use crate::model::{Service, Sourced};
use crate::place::Place;
use crate::process::{Content, RunAs};

/// How a service is launched, without what differs from machine to machine: paths, the port offset, the heap, secrets, the user.
pub fn portable(service: &Service, bind: &str, installed: &Installation) -> String {
    let mut service = service.clone();
    if let Some(heap) = &service.heap {
        service.heap = Some(Sourced { value: "{heap}".to_owned(), origin: heap.origin.clone() });
    }
    let place = Place {
        id: "{id}".to_owned(),
        root: "{project}".into(),
        state: "{state}".into(),
        store: "{store}".into(),
        offset: 0,
    };
    let installed = installed.iter().map(|(name, i)| (name.clone(), nowhere(i))).collect();
    let secret = Secret::new("{secret}");
    let inputs = Inputs {
        service: &service,
        place: &place,
        bind,
        installed: &installed,
        run_as: RunAs::Me,
        secret: &secret,
    };
    render(&launch(inputs))
}

/// The same installation in a folder that is named after it.
fn nowhere(installed: &Installed) -> Installed {
    let top: Utf8PathBuf = format!("{{{}}}", installed.name).into();
    let moved = |path: &Utf8PathBuf| match path.strip_prefix(&installed.root) {
        Ok(rest) if !installed.root.as_str().is_empty() => top.join(rest),
        // Something of the host: where it lies there says nothing.
        _ => top.join(path.file_name().unwrap_or_default()),
    };
    let mut copy = installed.clone();
    copy.root.clone_from(&top);
    for path in copy.facts.paths.values_mut() {
        *path = moved(path);
    }
    for path in &mut copy.facts.libraries {
        // The last part names the architecture.
        *path = moved(path).with_file_name("{arch}");
    }
    for plugin in copy.facts.plugins.values_mut() {
        plugin.folder = moved(&plugin.folder);
    }
    copy
}

/// A launch as text: processes, then files. Secret files are shown too, so only a launch with a placeholder for its secret may come here.
fn render(launch: &Launch) -> String {
    let mut text = String::new();
    for process in &launch.processes {
        let stop = process.stop;
        let _ = writeln!(
            text,
            "process {} (stops by {:?} within {} ms)",
            process.id(),
            stop.signal,
            stop.grace_ms
        );
        for word in &process.argv {
            let _ = writeln!(text, "  {word}");
        }
        for (name, value) in &process.env {
            let _ = writeln!(text, "  {name}={value}");
        }
    }
    for file in &launch.files {
        match &file.content {
            Content::Link(target) => {
                let _ = writeln!(text, "link {} -> {target}", file.path);
            }
            Content::Folder => {
                let _ = writeln!(text, "folder {}", file.path);
            }
            Content::Cookie(_) => {
                let _ = writeln!(text, "file {} (a secret of its own)", file.path);
            }
            Content::Text(content) | Content::Secret(content) => {
                let _ = writeln!(text, "file {}", file.path);
                for line in content.lines() {
                    let _ = writeln!(text, "  {line}");
                }
            }
        }
    }
    text
}
