//! What an OpenSearch consists of: which jars, modules and plugins, and the files that describe them to the server. Data and selection only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::failure::{Failure, Kind};

/// One version of OpenSearch, as it is assembled. Artifacts are `group:artifact:version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assembly {
    pub version: String,
    pub lib: Vec<String>,
    #[serde(rename = "module")]
    pub modules: BTreeMap<String, Part>,
    #[serde(rename = "plugin", default)]
    pub plugins: BTreeMap<String, Part>,
}

/// A module or a plugin: they differ only in the folder they lie in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub description: String,
    pub classname: String,
    pub artifact: String,
    /// What else belongs into its folder.
    #[serde(default)]
    pub jars: Vec<String>,
    /// Modules whose classes it uses.
    #[serde(default)]
    pub extends: Vec<String>,
    /// What the security manager allows it.
    #[serde(default)]
    pub policy: Option<String>,
}

/// The parts that a service asked for, with the modules that these need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'a> {
    pub assembly: &'a Assembly,
    pub modules: BTreeMap<&'a str, &'a Part>,
    pub plugins: BTreeMap<&'a str, &'a Part>,
}

const BUILT_IN: [&str; 3] = [
    include_str!("opensearch-2.3.0.toml"),
    include_str!("opensearch-2.17.1.toml"),
    include_str!("opensearch-2.19.5.toml"),
];

impl Assembly {
    /// How this version is assembled.
    pub fn of(version: &str) -> Result<Self, Failure> {
        let mut known = Vec::new();
        for text in BUILT_IN {
            let assembly: Self = toml::from_str(text).map_err(|error| {
                Failure::new(
                    Kind::Bug,
                    "assembly-invalid",
                    format!("a built-in assembly cannot be read: {error}"),
                )
            })?;
            if assembly.version == version {
                return Ok(assembly);
            }
            known.push(assembly.version);
        }
        let message = format!("OpenSearch {version} cannot be assembled natively");
        Err(Failure::new(Kind::Manifest, "opensearch-unknown", message)
            .hint(format!("known versions: {}", known.join(", "))))
    }

    /// The wanted modules and plugins and what they extend. Every unknown name is reported, with the known ones.
    pub fn select(&self, modules: &[String], plugins: &[String]) -> Result<Selection<'_>, Failure> {
        let mut unknown = Vec::new();
        let mut chosen = Selection { assembly: self, modules: BTreeMap::new(), plugins: BTreeMap::new() };
        let mut todo: Vec<&str> = modules.iter().map(String::as_str).collect();
        for name in plugins {
            match self.plugins.get_key_value(name) {
                Some((name, part)) => {
                    chosen.plugins.insert(name, part);
                    todo.extend(part.extends.iter().map(String::as_str));
                }
                None => unknown.push(format!("plugin `{name}`")),
            }
        }
        while let Some(name) = todo.pop() {
            match self.modules.get_key_value(name) {
                Some((name, part)) => {
                    if chosen.modules.insert(name, part).is_none() {
                        todo.extend(part.extends.iter().map(String::as_str));
                    }
                }
                None => unknown.push(format!("module `{name}`")),
            }
        }
        if unknown.is_empty() {
            return Ok(chosen);
        }
        unknown.sort();
        let list = |parts: &BTreeMap<String, Part>| parts.keys().cloned().collect::<Vec<_>>().join(", ");
        let message = format!("OpenSearch {} has no {}", self.version, unknown.join(", no "));
        Err(Failure::new(Kind::Manifest, "opensearch-part-unknown", message)
            .hint(format!("known modules: {}", list(&self.modules)))
            .hint(format!("known plugins: {}", list(&self.plugins))))
    }
}

impl Selection<'_> {
    /// Every artifact that is needed, once.
    pub fn artifacts(&self) -> BTreeSet<&str> {
        let parts = self.modules.values().chain(self.plugins.values());
        let theirs = parts.flat_map(|part| std::iter::once(&part.artifact).chain(&part.jars));
        self.assembly.lib.iter().chain(theirs).map(String::as_str).collect()
    }
}

impl Part {
    /// The text of `plugin-descriptor.properties`.
    pub fn descriptor(&self, name: &str, version: &str) -> String {
        format!(
            "description={}\nversion={version}\nname={name}\nclassname={}\njava.version=11\n\
             opensearch.version={version}\nextended.plugins={}\nhas.native.controller=false\n",
            self.description,
            self.classname,
            self.extends.join(","),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_module_extends_comes_along() {
        let assembly = Assembly::of("2.3.0").unwrap();
        let chosen = assembly.select(&names(&["analysis-common"]), &names(&["analysis-icu"])).unwrap();
        assert_eq!(chosen.modules.keys().copied().collect::<Vec<_>>(), ["analysis-common", "lang-painless"]);
        assert_eq!(chosen.plugins.keys().copied().collect::<Vec<_>>(), ["analysis-icu"]);
        assert!(chosen.artifacts().contains("com.ibm.icu:icu4j:70.1"));
        assert!(!chosen.artifacts().iter().any(|gav| gav.contains("netty")));
    }

    #[test]
    fn all_unknown_names_are_reported_with_the_known_ones() {
        let assembly = Assembly::of("2.3.0").unwrap();
        let failure = assembly.select(&names(&["geo", "nope"]), &names(&["analysis-phonetic"])).unwrap_err();
        assert_eq!(failure.message, "OpenSearch 2.3.0 has no module `nope`, no plugin `analysis-phonetic`");
        assert!(failure.hints[0].contains("transport-netty4") && failure.hints[1].contains("analysis-icu"));
        assert_eq!(Assembly::of("9.9").unwrap_err().code, "opensearch-unknown");
    }

    #[test]
    fn the_table_is_whole() {
        let assembly = Assembly::of("2.3.0").unwrap();
        assert_eq!(assembly.lib.len(), 36);
        let all: Vec<_> = assembly.modules.keys().cloned().collect();
        let chosen = assembly.select(&all, &names(&["analysis-icu"])).unwrap();
        assert_eq!(chosen.modules.len(), 13);
        for gav in chosen.artifacts() {
            assert_eq!(gav.split(':').count(), 3, "{gav}");
        }
        let descriptor = assembly.modules["ingest-common"].descriptor("ingest-common", "2.3.0");
        assert!(descriptor.contains("extended.plugins=lang-painless\n"));
    }
}
