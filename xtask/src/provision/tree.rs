//! Finding things in unpacked trees, whose folder names carry versions.

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

use crate::sys;

/// The real folders in a folder, sorted; links are left out.
pub(super) fn folders(folder: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(sys::fs::utf8(entry.path())?);
        }
    }
    found.sort();
    Ok(found)
}

/// The one path that fits a pattern, in which a component may end in `*`. The last in order, where several fit: the newest version.
pub(super) fn glob_one(root: &Utf8Path, pattern: &str) -> anyhow::Result<Utf8PathBuf> {
    let mut path = root.to_owned();
    for part in pattern.split('/') {
        path = match part.strip_suffix('*') {
            Some(prefix) => folders(&path)?
                .into_iter()
                .rfind(|folder| folder.file_name().is_some_and(|name| name.starts_with(prefix)))
                .with_context(|| format!("nothing in {path} fits {part}"))?,
            None => path.join(part),
        };
    }
    anyhow::ensure!(
        path.exists(),
        "{path} is not there: the package is laid out in a way this program does not know"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_folder_names_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir_all(root.join("lib/erts-13.1/bin")).unwrap();
        std::fs::create_dir_all(root.join("lib/other")).unwrap();
        assert_eq!(glob_one(root, "lib/erts-*/bin").unwrap(), root.join("lib/erts-13.1/bin"));
        assert!(glob_one(root, "lib/none-*/bin").is_err());
        assert!(glob_one(root, "lib/erts-*/x").is_err());
    }
}
