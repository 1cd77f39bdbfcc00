//! What the lock file of an application's own project says is to be installed. Nothing of the project is executed.

use serde_json::Value;

/// What Pipenv has locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// Lines of a requirements file, each with the checksums of its files.
    pub hashed: Vec<String>,
    /// Lines without a checksum: other projects in folders, and repositories.
    pub others: Vec<String>,
    /// The series of Python that it was locked for: `3.9`.
    pub python: Option<String>,
}

/// Reads a `Pipfile.lock`; only what an application runs with, without what is for its development alone.
pub fn pipfile_lock(text: &str) -> Result<Locked, String> {
    let lock: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Some(packages) = lock["default"].as_object() else {
        return Err("it has no section `default`".to_owned());
    };
    let python = lock.pointer("/_meta/requires/python_version").and_then(Value::as_str);
    let mut locked = Locked { python: python.map(str::to_owned), ..Locked::default() };
    for (name, package) in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let extras: Vec<&str> =
            package["extras"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
        let editable = if package["editable"].as_bool() == Some(true) { "-e " } else { "" };
        if let Some(path) = package["path"].as_str() {
            locked.others.push(format!("{editable}{path}{extras}"));
        } else if let Some(git) = package["git"].as_str() {
            locked.others.push(format!("{name}{extras} @ git+{git}@{}", text("ref")));
        } else {
            let markers = text("markers");
            let markers = if markers.is_empty() { String::new() } else { format!(" ; {markers}") };
            let hashes = package["hashes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let hashes: Vec<String> = hashes.map(|hash| format!(" --hash={hash}")).collect();
            let line = format!("{name}{extras}{}{markers}{}", text("version"), hashes.concat());
            if hashes.is_empty() { locked.others.push(line) } else { locked.hashed.push(line) }
        }
    }
    if let Some(wrong) = locked.hashed.iter().chain(&locked.others).find(|line| line.contains(['\n', '\r'])) {
        return Err(format!("`{}` is no requirement", wrong.escape_debug()));
    }
    Ok(locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_becomes_requirements() {
        let text = r#"{"_meta": {"requires": {"python_version": "3.9"}}, "default": {
            "invenio-app-rdm": {"extras": ["opensearch2"], "hashes": ["sha256:ab", "sha256:cd"], "version": "==12.1.0",
                                "markers": "python_version >= '3.7'"},
            "my-site": {"editable": true, "path": "./site"},
            "fork": {"git": "https://example.org/fork.git", "ref": "0a1b"}},
            "develop": {"pytest": {"version": "==8"}}}"#;
        let locked = pipfile_lock(text).unwrap();
        assert_eq!(locked.python.as_deref(), Some("3.9"));
        assert_eq!(
            locked.hashed,
            [
                "invenio-app-rdm[opensearch2]==12.1.0 ; python_version >= '3.7' --hash=sha256:ab --hash=sha256:cd"
            ]
        );
        assert_eq!(locked.others, ["-e ./site", "fork @ git+https://example.org/fork.git@0a1b"]);
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        assert!(pipfile_lock("x").is_err());
        assert!(pipfile_lock("{}").is_err());
        let text = r#"{"default": {"a": {"version": "==1\n--index-url=evil", "hashes": ["sha256:ab"]}}}"#;
        assert!(pipfile_lock(text).unwrap_err().contains("no requirement"));
    }
}
