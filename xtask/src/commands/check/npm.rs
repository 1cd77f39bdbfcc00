//! The version of npm from its own package, where that says that it runs on the Node at hand: starting npm takes longer than all other tools.
//!
//! Whatever is not exactly as npm installs itself is left to npm, and so is one that does not run on this Node: it says so itself.

use std::cmp::Ordering;

use camino::Utf8Path;
use ecosystem_core::tool::Version;
use semver::VersionReq;
use serde::Deserialize;

use crate::sys::fs::read_at_most;

/// The longest package file that is read, in bytes.
const LONGEST: u64 = 256 << 10;

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    engines: Engines,
}

#[derive(Debug, Deserialize)]
struct Engines {
    node: String,
}

/// The version that belongs to this script; `None` where only npm itself can tell. `node` is asked for the version of Node where it counts.
pub(super) fn version(script: &Utf8Path, node: impl FnOnce() -> Option<Version>) -> Option<String> {
    let script = script.canonicalize_utf8().ok()?;
    let root = script.parent()?.parent()?;
    if script.strip_prefix(root).ok()? != "bin/npm-cli.js" || !root.join("lib").is_dir() {
        return None;
    }
    let text = read_at_most(&root.join("package.json"), LONGEST).ok()??;
    let package: Package = serde_json::from_str(&text).ok()?;
    (package.name == "npm" && runs_on(&package.engines.node, &node()?)).then_some(package.version)
}

/// Whether a range in npm's own notation holds a version: alternatives between `||`, of conditions between blanks. What is written in
/// any other way holds nothing.
fn runs_on(range: &str, node: &Version) -> bool {
    range.split("||").any(|alternative| {
        let conditions: Vec<&str> = alternative.split_whitespace().collect();
        VersionReq::parse(&conditions.join(", ")).is_ok_and(|range| node.within(&range) == Ordering::Equal)
    })
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::sys::fs::write_atomic;

    fn node(version: &str) -> Version {
        Version::read(version).unwrap()
    }

    #[test]
    fn ranges_of_npm_are_understood_or_hold_nothing() {
        // As npm 6, 7, 10 and 11 have them.
        for (range, version, runs) in [
            ("6 >=6.2.0 || 8 || >=9.3.0", "14.19.3", true),
            ("6 >=6.2.0 || 8 || >=9.3.0", "7.1.0", false),
            (">=10", "14.19.3", true),
            ("^18.17.0 || >=20.5.0", "18.20.1", true),
            ("^18.17.0 || >=20.5.0", "19.1.0", false),
            ("^20.17.0 || >=22.9.0", "14.19.3", false),
            ("14 - 16", "14.19.3", false),
            (">= 14", "14.19.3", false),
            ("", "14.19.3", false),
            ("latest", "14.19.3", false),
        ] {
            assert_eq!(runs_on(range, &node(version)), runs, "{version} in {range}");
        }
    }

    #[test]
    fn the_version_is_read_from_the_package_that_the_script_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
        let npm = root.join("lib/node_modules/npm");
        std::fs::create_dir_all(npm.join("bin")).unwrap();
        std::fs::create_dir_all(npm.join("lib")).unwrap();
        std::fs::create_dir_all(root.join("bin")).unwrap();
        write_atomic(&npm.join("bin/npm-cli.js"), b"#!/usr/bin/env node\n", 0o755).unwrap();
        let package = |text: &str| write_atomic(&npm.join("package.json"), text.as_bytes(), 0o644).unwrap();
        let script = root.join("bin/npm");
        std::os::unix::fs::symlink("../lib/node_modules/npm/bin/npm-cli.js", &script).unwrap();
        let on = |version: &str| super::version(&script, || Some(node(version)));

        package(r#"{"name": "npm", "version": "6.14.17", "engines": {"node": "6 >=6.2.0 || 8 || >=9.3.0"}}"#);
        assert_eq!(on("v14.19.3").as_deref(), Some("6.14.17"));
        assert_eq!(super::version(&script, || None), None, "no Node");
        package(r#"{"name": "npm", "version": "11.19.1", "engines": {"node": "^20.17.0 || >=22.9.0"}}"#);
        assert_eq!(on("14.19.3"), None, "it does not run on this one, and says so itself");
        for text in [
            r#"{"name": "npm", "version": "1"}"#,
            r#"{"name": "cnpm", "version": "1", "engines": {"node": "14"}}"#,
            "{",
            "",
        ] {
            package(text);
            assert_eq!(on("14.19.3"), None, "{text}");
        }
        std::fs::remove_file(&script).unwrap();
        write_atomic(&script, b"#!/bin/sh\nexec volta run npm\n", 0o755).unwrap();
        assert_eq!(on("14.19.3"), None, "a shim");
    }
}
