//! apt as an unprivileged user: its own state below the store, nothing of the system's touched. What is fetched is decided elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::redact::without_logins;

use super::packages::{self, Package};
use crate::event::{Events, Section, Task, Unit};
use crate::provision::archive;
use crate::provision::cause::{self, Cause};
use crate::provision::watch::{size, watch};
use crate::sys;
use crate::sys::cmd::{Cmd, Output};

/// A private apt. Its state is not safe for two at once: hold the store's lock `apt`.
pub(super) struct Apt<'a> {
    folder: Utf8PathBuf,
    store: Utf8PathBuf,
    stall: Duration,
    events: &'a dyn Events,
}

impl<'a> Apt<'a> {
    /// Prepares the state folder.
    pub(super) fn open(store: &Utf8Path, stall: Duration, events: &'a dyn Events) -> anyhow::Result<Self> {
        let folder = store.join("cache/apt");
        sys::fs::create_private_dir(&folder.join("state/lists/partial"))?;
        sys::fs::create_private_dir(&folder.join("cache/archives/partial"))?;
        sys::fs::write_atomic(&folder.join("state/status"), b"", 0o600)?;
        sys::fs::write_atomic(&folder.join("apt.conf"), configuration(&folder).as_bytes(), 0o600)?;
        Ok(Self { folder, store: store.to_owned(), stall, events })
    }

    fn command(&self, args: &[&str]) -> Cmd {
        let conf = self.folder.join("apt.conf");
        // `-c` is read after the system's own files, APT_CONFIG before them: some systems switch the package cache off there.
        Cmd::new("apt-get")
            .args(["-c", conf.as_str()])
            .args(args.iter().copied())
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .cwd(&self.folder)
            .limit(Duration::from_hours(2))
    }

    /// Whether package lists were fetched before.
    pub(super) fn has_lists(&self) -> bool {
        let entries = std::fs::read_dir(self.folder.join("state/lists")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    }

    /// Fetches the package lists of every source that the system is configured with. A source may fail while the others are enough: what
    /// was wrong is returned, for the case that something is missing afterwards.
    pub(super) fn update(&self) -> anyhow::Result<Option<Failure>> {
        let task = Task::start(self.events, Section::Fetch, "package lists");
        let lists = self.folder.join("state/lists");
        let what = "fetch the package lists";
        let command = self.command(&["update", "-q"]);
        let output =
            watch(command, self.stall, &[&lists], || task.progress(size(&lists), None, Unit::Bytes))?;
        let Some(output) = output else { return Err(self.stalled(what).into()) };
        let failed = !output.ok() || output.stderr.contains("Failed to fetch");
        let trouble = failed.then(|| self.failed(what, &output));
        match trouble {
            Some(failure) if !self.has_lists() => Err(failure.into()),
            Some(failure) if failure.code == "disk-full" => Err(failure.into()),
            trouble => {
                task.finish("");
                Ok(trouble)
            }
        }
    }

    /// What installing this would fetch on a machine that has nothing at all. `None`: there is no such package.
    pub(super) fn closure(&self, roots: &[&str]) -> anyhow::Result<Option<Vec<Package>>> {
        let args = ["install", "--print-uris", "-qq", "-y", "--no-install-recommends"];
        let output = self.command(&[&args[..], roots].concat()).run()?;
        if output.ok() {
            return Ok(Some(packages::parse_uris(&output.stdout)));
        }
        if output.stderr.contains("Unable to locate") || output.stderr.contains("no installation candidate") {
            return Ok(None);
        }
        Err(self.failed("resolve", &output).into())
    }

    /// The files of exactly these versions. `None`: at least one is gone.
    pub(super) fn locate(&self, pins: &[String]) -> anyhow::Result<Option<Vec<Package>>> {
        let mut args = vec!["download", "--print-uris", "-qq"];
        args.extend(pins.iter().map(String::as_str));
        let output = self.command(&args).run()?;
        if output.ok() {
            return Ok(Some(packages::parse_uris(&output.stdout)));
        }
        if output.stderr.contains("was not found") || output.stderr.contains("Unable to locate") {
            return Ok(None);
        }
        Err(self.failed("look up packages", &output).into())
    }

    /// Downloads exactly these versions into a folder, where files of an earlier attempt may lie. apt checks what it fetches against its
    /// signed lists; what lies there already is checked here, because apt goes by its size alone.
    pub(super) fn download(&self, pins: &[String], folder: &Utf8Path, title: &str) -> anyhow::Result<()> {
        let located = self.locate(pins)?.unwrap_or_default();
        for package in &located {
            let file = folder.join(&package.file);
            if file.exists() && archive::sha256(&file).ok().map(|(sha256, _)| sha256) != package.sha256 {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {file}"))?;
            }
        }
        let total: u64 = located.iter().map(|package| package.size).sum();
        let task = Task::start(self.events, Section::Fetch, title);
        let mut args = vec!["download", "-q"];
        args.extend(pins.iter().map(String::as_str));
        let command = self.command(&args).cwd(folder);
        let what = format!("fetch {title}");
        let output = watch(command, self.stall, &[folder], || {
            task.progress(size(folder), Some(total), Unit::Bytes);
        })?;
        let Some(output) = output else { return Err(self.stalled(&what).into()) };
        if !output.ok() {
            return Err(self.failed(&what, &output).into());
        }
        task.progress(total, Some(total), Unit::Bytes);
        task.finish("");
        Ok(())
    }

    fn stalled(&self, what: &str) -> Failure {
        Cause::Stalled(self.stall.as_secs()).failure("apt", what, &self.store)
    }

    fn failed(&self, what: &str, output: &Output) -> Failure {
        if output.stderr.contains("cache file is corrupted")
            || output.stderr.contains("Unable to parse package file")
        {
            // Lists that cannot be read would be in the way for ever. An unsigned source takes a page for people as a list.
            let _gone = std::fs::remove_dir_all(self.folder.join("state/lists"));
            return Cause::Page("a package source of this machine".to_owned()).failure(
                "apt",
                what,
                &self.store,
            );
        }
        failed(what, output, &self.store)
    }
}

fn configuration(folder: &Utf8Path) -> String {
    format!(
        "// Written by ecosystem; changes are lost.\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::status \"{folder}/state/status\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\n\
         Debug::NoLocking \"true\";\n\
         // Everything belongs to the current user; there is no other one to drop to.\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         // Hooks of the system tidy the system's folders.\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

/// Unpacks a package file. Its maintainer scripts are not run.
pub(super) fn unpack(package: &Utf8Path, into: &Utf8Path, store: &Utf8Path) -> anyhow::Result<()> {
    let output = Cmd::new("dpkg").args(["-x", package.as_str(), into.as_str()]).leashed().run()?;
    if !output.ok() {
        let what = format!("unpack {}", package.file_name().unwrap_or_default());
        return Err(failed(&what, &output, store).into());
    }
    Ok(())
}

fn failed(what: &str, output: &Output, store: &Utf8Path) -> Failure {
    // The address of a mirror may hold a login.
    let stderr = without_logins(&output.stderr);
    if let Some(cause) = cause::of(&stderr) {
        return cause.failure("apt", what, store);
    }
    let errors: BTreeSet<&str> =
        stderr.lines().filter(|line| line.starts_with("E:") || line.starts_with("dpkg")).collect();
    let reason = if output.timed_out {
        "it took longer than 2 hours".to_owned()
    } else if errors.is_empty() {
        format!("it ended with status {}\n{}", output.status, stderr.trim_end())
    } else {
        errors.into_iter().collect::<Vec<_>>().join("\n")
    };
    Failure::new(Kind::Host, "debian-failed", format!("apt could not {what}: {reason}"))
        .hint("is this machine online? `apt-get update` shows the same problem for the system's own apt")
}

/// The package files that a download left in a folder.
pub(super) fn files(folder: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))? {
        let path = sys::fs::utf8(entry?.path())?;
        if path.extension() == Some("deb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_store_with_spaces_is_quoted() {
        let text = super::configuration("/home/a b/store".into());
        assert!(text.contains("Dir::State \"/home/a b/store/state\";"));
    }
}
