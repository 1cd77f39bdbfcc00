//! RabbitMQ as unpacked: where Erlang and the broker are, and what each of its plugins needs.

use std::collections::BTreeMap;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Facts, Plugin};

use super::debian;
use super::tree::{folders, glob_one};

/// Finds everything that a direct start takes. `root` is the folder that holds `usr`.
pub(super) fn inspect(root: &Utf8Path) -> anyhow::Result<Facts> {
    let erlang = glob_one(root, "usr/lib/erlang")?;
    let home = glob_one(root, "usr/lib/rabbitmq/lib/rabbitmq_server-*")?;
    Ok(Facts { libraries: debian::libraries(root), ..facts(&home, &erlang)? })
}

/// The same for a broker and an Erlang that lie anywhere.
pub(super) fn facts(home: &Utf8Path, erlang: &Utf8Path) -> anyhow::Result<Facts> {
    let bin = glob_one(erlang, "erts-*/bin")?;
    let paths = [
        ("erlexec", bin.join("erlexec")),
        ("epmd", bin.join("epmd")),
        ("erlang", erlang.to_owned()),
        ("erts-bin", bin),
        ("home", home.to_owned()),
    ];
    let mut plugins = BTreeMap::new();
    for folder in folders(&home.join("plugins"))? {
        // A plugin without an application file is no Erlang application (RabbitMQ's own README lies there too).
        if let Some((name, needs)) = application(&folder)? {
            plugins.insert(name, Plugin { folder, needs });
        }
    }
    anyhow::ensure!(plugins.contains_key("rabbit"), "{home} has no plugin named rabbit");
    Ok(Facts {
        paths: paths.into_iter().map(|(role, path)| (role.to_owned(), path)).collect(),
        libraries: Vec::new(),
        plugins,
    })
}

/// The version of the broker: its plugins bear it in their names.
pub(super) fn version(facts: &Facts) -> Option<String> {
    let name = facts.plugins.get("rabbit")?.folder.file_name()?;
    Some(name.strip_prefix("rabbit-")?.to_owned())
}

/// The name and needs in `ebin/<name>.app` of a plugin folder.
fn application(folder: &Utf8Path) -> anyhow::Result<Option<(String, Vec<String>)>> {
    let Ok(entries) = std::fs::read_dir(folder.join("ebin")) else { return Ok(None) };
    for entry in entries {
        let path = crate::sys::fs::utf8(entry?.path())?;
        if let (Some(name), Some("app")) = (path.file_stem(), path.extension()) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            return Ok(Some((name.to_owned(), needs(&text))));
        }
    }
    Ok(None)
}

/// The list after `applications` in an Erlang application file. Enough of the syntax for what Erlang's own tools write.
fn needs(app: &str) -> Vec<String> {
    let list = app
        .match_indices("{applications")
        .map(|(at, key)| app[at + key.len()..].trim_start())
        .find_map(|rest| rest.strip_prefix(',')?.trim_start().strip_prefix('['))
        .and_then(|rest| rest.split_once(']'));
    let Some((list, _)) = list else { return Vec::new() };
    let names =
        list.lines().map(|line| line.split('%').next().unwrap_or(line)).flat_map(|line| line.split(','));
    names.map(|name| name.trim().trim_matches('\'').to_owned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_application_files() {
        let text = "{application, 'rabbitmq_management', [\n\t{registered, [applications]},\n\
                    \t{applications, [kernel,stdlib, 'ranch',% a comment\n  rabbit ]},\n\t{env, []}\n]}.";
        assert_eq!(needs(text), ["kernel", "stdlib", "ranch", "rabbit"]);
        assert_eq!(needs("{application, x, [{applications,[]}]}."), Vec::<String>::new());
        assert_eq!(needs("{application, x, []}."), Vec::<String>::new());
    }
}
