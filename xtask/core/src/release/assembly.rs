//! How OpenSearch is put together from jars, as data: which jars make the server, and which make each module and plugin.
//!
//! Fetching the jars and laying them out is `xtask/src/provision/opensearch.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::failure::{Failure, Kind};

/// The assembly of one OpenSearch version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assembly {
    /// The jars of `lib/`, as `group:artifact:version`.
    pub lib: Vec<String>,
    /// What the distribution calls modules: `modules/<name>/`.
    pub modules: BTreeMap<String, Component>,
    /// What is added by name: `plugins/<name>/`.
    pub plugins: BTreeMap<String, Component>,
}

/// A module or a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub classname: String,
    /// The modules whose classes it uses.
    #[serde(default)]
    pub extends: Vec<String>,
    pub jars: Vec<String>,
    /// The content of `plugin-security.policy`, where it needs rights of its own.
    pub policy: Option<String>,
}

impl Assembly {
    /// The assembly of a version; `None` where this program does not know how.
    pub fn of(version: &str) -> Option<Self> {
        (version == "2.3.0").then(|| match toml::from_str(include_str!("opensearch-2.3.0.toml")) {
            Ok(assembly) => assembly,
            Err(error) => unreachable!("the built-in assembly does not parse: {error}"),
        })
    }

    /// The jars of everything that can be laid out.
    pub fn all_jars(&self) -> impl Iterator<Item = &str> {
        let components = self.modules.values().chain(self.plugins.values()).flat_map(|c| &c.jars);
        self.lib.iter().chain(components).map(String::as_str)
    }

    /// The modules and plugins to lay out: those asked for, and the modules that they extend. All unknown names at once.
    pub fn select(&self, modules: &[String], plugins: &[String]) -> Result<Selection<'_>, Failure> {
        let unknown: Vec<String> = modules
            .iter()
            .filter(|name| !self.modules.contains_key(*name))
            .map(|name| format!("module {name}"))
            .chain(
                plugins
                    .iter()
                    .filter(|n| !self.plugins.contains_key(*n))
                    .map(|name| format!("plugin {name}")),
            )
            .collect();
        if !unknown.is_empty() {
            let list =
                |names: &BTreeMap<String, Component>| names.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("OpenSearch cannot be assembled with {}", unknown.join(", "));
            return Err(Failure::new(Kind::Manifest, "component-unknown", message)
                .hint(format!("modules: {}", list(&self.modules)))
                .hint(format!("plugins: {}", list(&self.plugins))));
        }
        let mut names: BTreeSet<&str> = modules.iter().map(String::as_str).collect();
        let mut todo: Vec<&Component> = modules.iter().map(|m| &self.modules[m]).collect();
        todo.extend(plugins.iter().map(|p| &self.plugins[p]));
        while let Some(component) = todo.pop() {
            for needed in &component.extends {
                if names.insert(needed) {
                    todo.push(&self.modules[needed]);
                }
            }
        }
        let pick = |all: &'_ BTreeMap<String, Component>, name: &str| {
            all.get_key_value(name).map(|(n, _)| n.clone())
        };
        Ok(Selection {
            assembly: self,
            modules: names.iter().filter_map(|name| pick(&self.modules, name)).collect(),
            plugins: plugins.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
        })
    }
}

/// The part of an assembly that is wanted.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    assembly: &'a Assembly,
    /// Sorted, without repetition.
    pub modules: Vec<String>,
    pub plugins: Vec<String>,
}

impl Selection<'_> {
    /// Every folder of the layout with its component: `modules/geo`.
    pub fn folders(&self) -> impl Iterator<Item = (String, &str, &Component)> {
        let modules = self.modules.iter().map(|name| ("modules", name, &self.assembly.modules[name]));
        let plugins = self.plugins.iter().map(|name| ("plugins", name, &self.assembly.plugins[name]));
        modules
            .chain(plugins)
            .map(|(kind, name, component)| (format!("{kind}/{name}"), name.as_str(), component))
    }

    /// The jars of `lib/`.
    pub fn lib(&self) -> &[String] {
        &self.assembly.lib
    }

    /// Every jar that is needed, once.
    pub fn jars(&self) -> BTreeSet<&str> {
        let components = self.folders().flat_map(|(_, _, component)| &component.jars);
        self.assembly.lib.iter().chain(components).map(String::as_str).collect()
    }
}

/// `plugin-descriptor.properties` of a module or plugin.
pub fn descriptor(name: &str, component: &Component, version: &str) -> String {
    format!(
        "description={name}\nversion={version}\nname={name}\nclassname={}\njava.version=11\nopensearch.version={version}\n\
         extended.plugins={}\nhas.native.controller=false\n",
        component.classname,
        component.extends.join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn modules_bring_what_they_extend() {
        let assembly = Assembly::of("2.3.0").unwrap();
        let selection = assembly.select(&names(&["analysis-common", "geo"]), &[]).unwrap();
        assert_eq!(selection.modules, ["analysis-common", "geo", "lang-painless"]);
        assert!(selection.jars().contains("org.ow2.asm:asm-util:9.3"));
    }

    #[test]
    fn plugins_get_a_folder_of_their_own() {
        let assembly = Assembly::of("2.3.0").unwrap();
        let selection = assembly.select(&names(&["geo"]), &names(&["analysis-icu"])).unwrap();
        let folders: Vec<_> = selection.folders().map(|(folder, ..)| folder).collect();
        assert_eq!(folders, ["modules/geo", "plugins/analysis-icu"]);
    }

    #[test]
    fn unknown_names_arrive_together() {
        let assembly = Assembly::of("2.3.0").unwrap();
        let failure = assembly.select(&names(&["geos"]), &names(&["analysis-phonetic"])).unwrap_err();
        assert_eq!(
            failure.message,
            "OpenSearch cannot be assembled with module geos, plugin analysis-phonetic"
        );
    }

    #[test]
    fn every_extended_module_exists_and_no_jar_is_in_lib_as_well() {
        let assembly = Assembly::of("2.3.0").unwrap();
        for (name, component) in assembly.modules.iter().chain(&assembly.plugins) {
            assert!(component.extends.iter().all(|other| assembly.modules.contains_key(other)), "{name}");
            assert!(component.jars.iter().all(|jar| !assembly.lib.contains(jar)), "{name}");
        }
        assert_eq!(assembly.lib.len(), 36);
        assert_eq!(Assembly::of("9.9.9"), None);
    }
}
