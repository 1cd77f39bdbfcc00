//! What the pages of an application are built from beside its packages: the folder `assets` of its project, or the least that InvenioRDM asks for.

use camino::Utf8Path;

use crate::sys::fs::{create_private_dir, write_atomic};

/// What a new repository has there, by its path below `assets`. A folder ends with a slash.
const LEAST: [(&str, &str); 6] = [
    ("less/theme.config", include_str!("theme.config")),
    ("less/site/globals/site.overrides", ""),
    ("less/site/globals/site.variables", ""),
    ("templates/custom_fields/", ""),
    ("templates/search/", ""),
    ("js/invenio_app_rdm/overridableRegistry/mapping.js", "export const overriddenComponents = {};\n"),
];

/// Lays it into the instance, where the application looks for it. `site` is the project, where the application has one.
pub fn lay_assets(instance: &Utf8Path, site: Option<&Utf8Path>) -> anyhow::Result<()> {
    let target = instance.join("assets");
    if let Some(own) = site.map(|site| site.join("assets")).filter(|own| own.is_dir()) {
        return copy(&own, &target);
    }
    for (path, text) in LEAST {
        let path = target.join(path);
        if path.as_str().ends_with('/') {
            create_private_dir(&path)?;
            continue;
        }
        if let Some(folder) = path.parent() {
            create_private_dir(folder)?;
        }
        write_atomic(&path, text.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Copies a tree over what is there. Links are followed, as `invenio-cli` does.
fn copy(from: &Utf8Path, to: &Utf8Path) -> anyhow::Result<()> {
    create_private_dir(to)?;
    for entry in from.read_dir_utf8()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(entry.path(), &target)?;
        } else {
            write_atomic(&target, &std::fs::read(entry.path())?, 0o600)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_its_own_and_another_one_the_least() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let least = root.join("least");
        lay_assets(&least, None).unwrap();
        assert!(least.join("assets/templates/custom_fields").is_dir());
        let theme = std::fs::read_to_string(least.join("assets/less/theme.config")).unwrap();
        assert!(theme.contains("@siteFolder"));

        let site = root.join("site");
        create_private_dir(&site.join("assets/less")).unwrap();
        write_atomic(&site.join("assets/less/theme.config"), b"own", 0o600).unwrap();
        let instance = root.join("instance");
        lay_assets(&instance, Some(&site)).unwrap();
        assert_eq!(std::fs::read_to_string(instance.join("assets/less/theme.config")).unwrap(), "own");
        assert!(!instance.join("assets/templates").exists());
    }
}
