//! Where the system's loader finds the shared libraries that Invenio loads; Python is not started for it.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::host::Finding;
use ecosystem_core::host::libraries::{Found, LIBRARIES, Library, loader_cache};
use ecosystem_core::tool::System;

use crate::context::Context;
use crate::sys::cmd::Cmd;

const LIMIT: Duration = Duration::from_secs(5);

/// Where a loader looks that keeps no list.
const FOLDERS: [&str; 6] =
    ["/usr/local/lib", "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/run/current-system/sw/lib"];

/// Where Homebrew keeps libraries. Python of the system looks into the first one.
const BREW: [&str; 2] = ["/usr/local/lib", "/opt/homebrew/lib"];

/// Looks for all of them.
pub(super) fn check(context: &Context, system: System) -> Vec<Finding> {
    let paths = library_paths(context);
    let cache = if system == System::MacOs { None } else { cache(context) };
    let find = |library: &Library| find(library, cache.as_ref(), &paths, system);
    LIBRARIES.iter().map(|library| library.judge(&find(library), system)).collect()
}

fn find(
    library: &Library,
    cache: Option<&BTreeMap<String, String>>,
    paths: &[Utf8PathBuf],
    system: System,
) -> Found {
    if let Some((_, path)) = cache.and_then(|cache| cache.iter().find(|(name, _)| library.is(name))) {
        return Found::At(path.clone());
    }
    let (listed, brew) = (cache.is_some(), system == System::MacOs);
    let folders = FOLDERS.iter().map(|folder| Utf8Path::new(*folder)).filter(|_| !listed);
    if let Some(path) =
        paths.iter().map(Utf8PathBuf::as_path).chain(folders).find_map(|f| in_folder(library, f))
    {
        return Found::At(path.into_string());
    }
    let far = BREW.iter().filter(|_| brew).find_map(|f| in_folder(library, Utf8Path::new(*f)));
    match far {
        Some(path) => {
            let folder = path.parent().map(ToString::to_string).unwrap_or_default();
            Found::OutOfReach { path: path.into_string(), folder }
        }
        None => Found::Nowhere,
    }
}

fn in_folder(library: &Library, folder: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut found: Vec<Utf8PathBuf> = folder
        .read_dir_utf8()
        .ok()?
        .flatten()
        .filter(|entry| library.is(entry.file_name()))
        .map(camino::Utf8DirEntry::into_path)
        .collect();
    found.sort();
    found.into_iter().find(|path| path.exists())
}

/// The list of glibc's loader; `None` where the loader keeps none, as on Alpine and NixOS.
fn cache(context: &Context) -> Option<BTreeMap<String, String>> {
    // For ordinary users of Debian it is not on PATH.
    let known = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].map(Utf8PathBuf::from);
    let program = context.find("ldconfig").or_else(|| known.into_iter().find(|path| path.exists()))?;
    let output = Cmd::new(program.as_str()).args(["-p"]).env("LC_ALL", "C").limit(LIMIT).run().ok()?;
    output.ok().then(|| loader_cache(&output.stdout, std::env::consts::ARCH))
}

/// The folders that a variable names for the loader.
fn library_paths(context: &Context) -> Vec<Utf8PathBuf> {
    let folders = context.library_path.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(Utf8PathBuf::from).collect()
}
