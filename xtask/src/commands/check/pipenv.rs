//! The version of Pipenv from the metadata of its package, beside the interpreter that its script names: starting it takes half a second.
//!
//! Whatever is not exactly as pip leaves it is left to Pipenv itself.

use camino::{Utf8Path, Utf8PathBuf};

use crate::sys::fs::read_at_most;

/// The longest script that pip writes, with room to spare, in bytes.
const SCRIPT: u64 = 16 << 10;

/// The version that belongs to this script; `None` where only Pipenv itself can tell.
pub(super) fn version(script: &Utf8Path) -> Option<String> {
    let text = read_at_most(&script.canonicalize_utf8().ok()?, SCRIPT).ok()??;
    let interpreter = interpreter(&text)?;
    // A version that does not start any more is none.
    let real = interpreter.canonicalize_utf8().ok()?;
    let prefix = interpreter.parent()?.parent()?;
    let series =
        |path: &Utf8Path| path.file_name().filter(|name| name.starts_with("python3.")).map(str::to_owned);
    let wanted = series(&interpreter).or_else(|| series(&real));
    let mut found = Vec::new();
    for folder in prefix.join("lib").read_dir_utf8().ok()?.flatten() {
        let name = folder.file_name();
        if !name.starts_with("python3.") || wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let packages = folder.path().join("site-packages");
        if !packages.join("pipenv/__init__.py").exists() {
            continue;
        }
        let entries = packages.read_dir_utf8().ok()?.flatten();
        let versions = entries.filter_map(|entry| {
            let version = entry.file_name().strip_prefix("pipenv-")?.strip_suffix(".dist-info")?.to_owned();
            entry.path().join("METADATA").exists().then_some(version)
        });
        found.extend(versions);
    }
    // Several of them are a half-finished upgrade.
    if found.len() == 1 { found.pop() } else { None }
}

/// The interpreter of a script that pip wrote. One whose path is too long, or has blanks, stands on the second line.
fn interpreter(script: &str) -> Option<Utf8PathBuf> {
    if !script.contains("from pipenv import cli") && !script.contains("from pipenv.cli import cli") {
        return None;
    }
    let mut lines = script.lines();
    let first = lines.next()?.strip_prefix("#!")?.trim();
    let path = if first == "/bin/sh" {
        lines.next()?.strip_prefix("'''exec' ")?.split_once(" \"$0\"")?.0.trim_matches('"')
    } else {
        first
    };
    let path = Utf8Path::new(path);
    let python = path.file_name()?.starts_with("python");
    (path.is_absolute() && python).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    const BODY: &str =
        "import re\nimport sys\nfrom pipenv import cli\nif __name__ == '__main__':\n    sys.exit(cli())\n";

    /// An environment as `venv` and pip leave it, with this first line of the script.
    struct Env {
        _folder: tempfile::TempDir,
        root: Utf8PathBuf,
    }

    impl Env {
        fn new(shebang: impl Fn(&Utf8Path) -> String) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap().join("a b");
            let env = Self { _folder: folder, root };
            env.file("bin/python3.9", "");
            std::os::unix::fs::symlink("python3.9", env.root.join("bin/python")).unwrap();
            env.file("bin/pipenv", &format!("{}\n{BODY}", shebang(&env.root)));
            env.file("lib/python3.9/site-packages/pipenv/__init__.py", "");
            env.file("lib/python3.9/site-packages/pipenv-2022.9.24.dist-info/METADATA", "Name: pipenv\n");
            env
        }

        fn file(&self, name: &str, text: &str) {
            let path = self.root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_atomic(&path, text.as_bytes(), 0o755).unwrap();
        }

        fn version(&self) -> Option<String> {
            version(&self.root.join("bin/pipenv"))
        }
    }

    #[test]
    fn the_version_is_read_beside_the_interpreter() {
        let plain = Env::new(|root| format!("#!{root}/bin/python"));
        assert_eq!(plain.version().as_deref(), Some("2022.9.24"));
        let quoted =
            Env::new(|root| format!("#!/bin/sh\n'''exec' \"{root}/bin/python3.9\" \"$0\" \"$@\"\n' '''"));
        assert_eq!(quoted.version().as_deref(), Some("2022.9.24"));
        // As pipx and uv do it.
        let link = plain.root.join("link");
        std::os::unix::fs::symlink(plain.root.join("bin/pipenv"), &link).unwrap();
        assert_eq!(version(&link).as_deref(), Some("2022.9.24"));
        // Another Python of the same prefix has another one.
        plain.file("lib/python3.11/site-packages/pipenv/__init__.py", "");
        plain.file("lib/python3.11/site-packages/pipenv-2023.1.1.dist-info/METADATA", "");
        assert_eq!(plain.version().as_deref(), Some("2022.9.24"));
    }

    #[test]
    fn what_is_not_as_pip_leaves_it_is_left_to_pipenv() {
        let good = || Env::new(|root| format!("#!{root}/bin/python"));
        for shebang in ["#!/usr/bin/env python3", "#!/bin/bash", "", "#!python", "#!/bin/sh"] {
            assert_eq!(Env::new(|_| shebang.to_owned()).version(), None, "{shebang}");
        }
        let env = good();
        env.file("lib/python3.9/site-packages/pipenv-2023.1.1.dist-info/METADATA", "");
        assert_eq!(env.version(), None, "two versions at once");
        let env = good();
        std::fs::remove_file(env.root.join("bin/python3.9")).unwrap();
        assert_eq!(env.version(), None, "an interpreter that is gone");
        let env = good();
        std::fs::remove_dir_all(env.root.join("lib/python3.9/site-packages/pipenv")).unwrap();
        assert_eq!(env.version(), None, "metadata without the package");
        let env = good();
        env.file("bin/pipenv", "#!/bin/sh\nexec true\n");
        assert_eq!(env.version(), None, "a wrapper");
    }
}
