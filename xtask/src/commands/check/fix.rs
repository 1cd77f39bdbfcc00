//! `check --fix`: what is safe to put right, and only in files of the person's own. Nothing is done as root, nothing without being told.

use std::io::IsTerminal;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::host::compose_file::changed;
use serde::Serialize;

use super::containers;
use super::project::Project;
use crate::output;
use crate::site::places;
use crate::sys::fs::write_atomic;

/// Something that was put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fixed {
    pub what: String,
    /// The file as it was.
    pub backup: Option<Utf8PathBuf>,
}

/// Puts right what can be.
pub(super) fn fix(project: &Project, yes: bool) -> anyhow::Result<Vec<Fixed>> {
    let mut fixed = Vec::new();
    if let Some(place) = &project.place {
        for gone in places::forget_gone(&place.store)? {
            fixed.push(Fixed {
                what: format!("forgot the stack of {}, which is gone", gone.root),
                backup: None,
            });
        }
    }
    for file in containers::files(project) {
        fixed.extend(close(&file, yes)?);
    }
    Ok(fixed)
}

/// Keeps the ports of a Compose file to this machine, if the person agrees to the difference.
fn close(file: &Utf8Path, yes: bool) -> anyhow::Result<Option<Fixed>> {
    // A repository could come with a link that leads anywhere.
    if file.is_symlink() {
        return Ok(None);
    }
    let Ok((text, scan)) = containers::read(file) else { return Ok(None) };
    let new = changed(&text, &scan);
    if new == text {
        return Ok(None);
    }
    if !yes {
        let diff = similar::TextDiff::from_lines(&text, &new);
        let diff =
            diff.unified_diff().context_radius(1).header(file.as_str(), "for this machine only").to_string();
        if !std::io::stdin().is_terminal() {
            let message = format!("changing {file} needs a yes\n{}", diff.trim_end());
            return Err(Failure::new(Kind::Usage, "needs-yes", message)
                .hint("{program} check --fix --yes")
                .into());
        }
        if !output::agreed(&format!("{diff}\nChange {file} so, and keep the present one beside it?"))? {
            return Ok(None);
        }
    }
    // The question may have stood for long.
    if containers::read(file).map_or(true, |(now, _)| now != text) {
        let message = format!("{file} was changed meanwhile; nothing was done to it");
        return Err(Failure::new(Kind::Finding, "file-changed", message)
            .hint("{program} check --fix")
            .into());
    }
    let backup = unused(file)?;
    let mode = mode(file)?;
    write_atomic(&backup, text.as_bytes(), mode)?;
    write_atomic(file, new.as_bytes(), mode)?;
    Ok(Some(Fixed { what: format!("{file}: its ports are for this machine only"), backup: Some(backup) }))
}

/// A name beside a file that nothing has yet.
fn unused(file: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let names =
        std::iter::once(".before".to_owned()).chain((2..100).map(|number| format!(".before-{number}")));
    let mut paths = names.map(|name| Utf8PathBuf::from(format!("{file}{name}")));
    let unused = paths.find(|path| path.symlink_metadata().is_err());
    unused.with_context(|| format!("a hundred files beside {file} are earlier ones of it; remove some"))
}

fn mode(file: &Utf8Path) -> anyhow::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(file)?.mode() & 0o777)
}
