//! The project on disk: which folder it is, what its manifest says, and the state that belongs to it.

pub mod logs;
mod operation;
pub mod places;
mod state;
pub mod tls;

use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::Key;
use ecosystem_core::catalog;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Ecosystem, Flags, Layer, Origin, Sourced, failure, resolve};
use ecosystem_core::release::{self, Detected};

pub use operation::{Holder, Lock};
pub use state::{Secrets, State};

use crate::sys::fs::{Unreadable, read_at_most};

/// The manifest, committed with the project.
pub const MANIFEST: &str = "ecosystem.toml";
/// One person's own layer on top of it, ignored by git.
pub const LOCAL: &str = "ecosystem.local.toml";
/// Exactly what is fetched for a project.
pub const LOCK: &str = "ecosystem.lock";
/// The configuration of an application, in the folder of its project.
const CONFIGURATION: &str = "invenio.cfg";
/// The state folder of a project, unless `ECOSYSTEM_STATE` says otherwise.
pub const STATE: &str = ".ecosystem";
/// The longest manifest that is read, in bytes: one of 200 services has half of it.
const LONGEST: u64 = 64 << 10;

/// A project as a command finds it.
#[derive(Debug)]
pub struct Site {
    /// The folder of the manifest, or the working directory where there is none.
    pub root: Utf8PathBuf,
    /// Whether it has a manifest at all.
    pub manifest: bool,
    pub ecosystem: Ecosystem,
}

impl Site {
    /// Finds the project that `start` belongs to and reads what it wants; where the manifest is broken, that is the built-in defaults, and
    /// what is wrong comes beside it: for some commands it is the end, others only look at what runs. Which release the project is made for is
    /// read here.
    pub fn open(start: &Utf8Path, flags: Flags) -> anyhow::Result<(Self, Option<Failure>)> {
        let root = find_root(start).unwrap_or(start).to_owned();
        refuse_strangers(start, &root)?;
        let texts = [MANIFEST, LOCAL].map(|name| (name, read_at_most(&root.join(name), LONGEST)));
        let (mut layers, mut broken) = (Vec::new(), None);
        for (name, text) in &texts {
            match text {
                Ok(Some(text)) => layers.push(Layer { name, text }),
                Ok(None) => {}
                Err(error) => broken = broken.or_else(|| Some(unreadable(error))),
            }
        }
        let manifest = layers.iter().any(|layer| layer.name == MANIFEST);
        let flags = Flags { project: detect_release(&root), ..flags };
        let ecosystem = match (resolve(&layers, &flags), broken.is_some()) {
            (Ok(ecosystem), false) => ecosystem,
            (resolved, _) => {
                broken = broken.or_else(|| resolved.err().map(|problems| failure(&problems)));
                // It may be the release that is unknown, as after a newer build of this program.
                let asked = flags.port_offset.or(flags.earlier.port_offset);
                let nothing = Flags { port_offset: asked, ..Flags::default() };
                resolve(&[], &nothing).map_err(|problems| failure(&problems))?
            }
        };
        let mut ecosystem = ecosystem;
        find_sites(&mut ecosystem, &root);
        Ok((Self { root, manifest, ecosystem }, broken))
    }

    /// What the project says to everybody: without the layer of one person, and without what an earlier command was told.
    pub fn shared(&self, release: Option<String>) -> anyhow::Result<Ecosystem> {
        let text = read_at_most(&self.root.join(MANIFEST), LONGEST).map_err(|error| unreadable(&error))?;
        let layers: Vec<Layer<'_>> = text.iter().map(|text| Layer { name: MANIFEST, text }).collect();
        let flags = Flags { release, project: detect_release(&self.root), ..Flags::default() };
        resolve(&layers, &flags).map_err(|problems| failure(&problems).into())
    }
}

/// Where applications have projects of their own: as the manifest says, else where Invenio's own tools would look.
fn find_sites(ecosystem: &mut Ecosystem, root: &Utf8Path) {
    for service in ecosystem.services.values_mut().filter(|service| service.kind == catalog::Kind::Invenio) {
        match &mut service.site {
            Some(site) => site.value = root.join(&site.value),
            None if root.join(CONFIGURATION).is_file() => {
                let origin = Origin::File { name: CONFIGURATION.to_owned(), line: 1 };
                service.site = Some(Sourced { value: root.to_owned(), origin });
            }
            None => {}
        }
        service.configuration = service.site.as_ref().and_then(|site| {
            let text = read_at_most(&site.value.join(CONFIGURATION), LONGEST).ok().flatten()?;
            Some(Key::of([text.as_str()]).to_string())
        });
        // The pack of a release is what its own application has in its stores.
        if service.site.is_some() {
            service.pack = service.pack.take().filter(|pack| !matches!(pack.origin, Origin::Release(_)));
        }
    }
}

/// What the files of the application name. One that cannot be read is the application's business.
pub fn detect_release(root: &Utf8Path) -> Option<Detected> {
    let texts = release::FILES.map(|name| (name, read_at_most(&root.join(name), LONGEST).ok().flatten()));
    let texts: Vec<(&str, &str)> =
        texts.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))).collect();
    release::detect(&texts)
}

/// A link where this program makes, writes or deletes: a repository could bring one along that leads anywhere.
pub fn link_refused(link: &Utf8Path) -> Failure {
    let message = format!("{link} is a link; nothing is made or deleted behind it");
    Failure::new(Kind::Host, "state-is-a-link", message)
        .hint("remove the link; ECOSYSTEM_STATE names another place for the whole state folder")
}

/// Refuses files that another user has put above the folder where the person is, such as `/tmp/ecosystem.toml`.
fn refuse_strangers(start: &Utf8Path, root: &Utf8Path) -> anyhow::Result<()> {
    let owner = |path: &Utf8Path| std::fs::metadata(path).map(|meta| meta.uid()).ok();
    let (me, here) = (rustix::process::geteuid().as_raw(), owner(start));
    for path in [MANIFEST, LOCAL, LOCK].map(|name| root.join(name)) {
        let Some(owner) = owner(&path) else { continue };
        if !is_trusted(owner, me, here) {
            let message =
                format!("{path} belongs to user {owner}, who is neither you nor the owner of {start}");
            return Err(Failure::new(Kind::Manifest, "manifest-of-another-user", message)
                .hint("go into that user's folder if you mean it, or put an ecosystem.toml of your own, empty or not, where you are")
                .into());
        }
    }
    Ok(())
}

/// Oneself, root, and whoever owns the folder that one went into: in a container that is often somebody else.
fn is_trusted(owner: u32, me: u32, here: Option<u32>) -> bool {
    owner == me || owner == 0 || Some(owner) == here
}

/// A manifest that cannot even be read.
fn unreadable(error: &Unreadable) -> Failure {
    let place = error.line.map_or_else(|| error.path.to_string(), |line| format!("{}:{line}", error.path));
    Failure::new(Kind::Manifest, "manifest-unreadable", format!("{place} cannot be read: {}", error.why))
        .hint("put a text file there, or take it away: without it the built-in defaults hold")
}

/// The nearest folder upwards that has a manifest or a state folder.
pub fn find_root(start: &Utf8Path) -> Option<&Utf8Path> {
    start
        .ancestors()
        .find(|folder| is_there(&folder.join(MANIFEST)) || is_there(&folder.join(STATE).join("place.toml")))
}

/// Whether there is anything of this name. A link that leads nowhere is there: it is told about, not passed over.
fn is_there(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_trusted;

    #[test]
    fn a_manifest_is_ours_roots_or_of_whoever_owns_the_folder_that_one_is_in() {
        let (me, root, other) = (1000, 0, 1001);
        assert!(is_trusted(me, me, Some(root)));
        assert!(is_trusted(root, me, Some(me)));
        assert!(is_trusted(other, me, Some(other)));
        // `/tmp/ecosystem.toml`, seen from `/tmp` and from a folder of one's own below it; by an ordinary user and by root.
        assert!(!is_trusted(other, me, Some(root)) && !is_trusted(other, me, Some(me)));
        assert!(!is_trusted(other, root, Some(root)) && !is_trusted(other, me, None));
    }
}
