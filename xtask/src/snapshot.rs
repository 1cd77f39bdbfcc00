//! Comparing and accepting documents with insta, outside of a test.
//!
//! insta takes its orders from the environment, reads it once, and panics at a difference: it therefore runs in a process of its own
//! (`__snapshot`). Without orders it would leave `.snap.new` files behind and speak of `cargo insta`.

use std::collections::BTreeMap;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::sys::cmd::Cmd;
use crate::sys::fs::{create_private_dir, read_optional, write_atomic};
use crate::sys::os;

/// The hidden first argument that makes this program compare.
pub const COMPARE: &str = "__snapshot";

/// Documents by name, and where their accepted versions are.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    folder: Utf8PathBuf,
    documents: BTreeMap<String, String>,
}

/// A document that is not as accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub name: String,
    /// It was never accepted.
    pub new: bool,
    /// What changed, line by line.
    pub diff: String,
}

/// Compares documents with the accepted ones in `folder`; with `accept` the present ones become the accepted ones.
/// `scratch` is a private folder.
pub fn compare(
    documents: BTreeMap<String, String>,
    folder: &Utf8Path,
    scratch: &Utf8Path,
    accept: bool,
) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (name, text) in &documents {
        let accepted = read_optional(&file(folder, name))?.map(|text| contents(&text));
        if accepted.as_deref().map(str::trim_end) != Some(text.trim_end()) {
            let diff = similar::TextDiff::from_lines(accepted.as_deref().unwrap_or_default(), text)
                .unified_diff()
                .context_radius(2)
                .header("accepted", "present")
                .to_string();
            differences.push(Difference { name: name.clone(), new: accepted.is_none(), diff });
        }
    }
    create_private_dir(scratch)?;
    let order = scratch.join("snapshot.json");
    write_atomic(&order, &serde_json::to_vec(&Order { folder: folder.to_owned(), documents })?, 0o600)?;
    let output = Cmd::new(os::this_program()?)
        .args([COMPARE, order.as_str()])
        .env("INSTA_UPDATE", if accept { "always" } else { "no" })
        .env("INSTA_FORCE_PASS", "0")
        .env("INSTA_OUTPUT", "none")
        .env("INSTA_WORKSPACE_ROOT", folder.as_str())
        .env("RUST_BACKTRACE", "0")
        .run()?;
    std::fs::remove_file(&order)?;
    // insta has the last word; what is shown of a difference is ours.
    let equal = output.ok();
    anyhow::ensure!(
        accept == equal || equal == differences.is_empty(),
        "the comparison went wrong (status {}): {}",
        output.status,
        output.stderr.trim_end()
    );
    Ok(differences)
}

/// The process of its own: compares every document, and fails at the first that differs.
pub fn run(order: &Utf8Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(order).with_context(|| format!("cannot read {order}"))?;
    let Order { folder, documents } = serde_json::from_str(&text)?;
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(folder.as_std_path());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, document) in documents {
            insta::assert_snapshot!(name, document);
        }
    });
    Ok(())
}

/// Where insta keeps an accepted document.
pub fn file(folder: &Utf8Path, name: &str) -> Utf8PathBuf {
    folder.join(format!("{name}.snap"))
}

/// The document in a snapshot file: what follows its header.
fn contents(file: &str) -> String {
    let mut parts = file.splitn(3, "---\n");
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(_), Some(document)) => document.to_owned(),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_not_part_of_the_document() {
        assert_eq!(contents("---\nsource: x\n---\nredis\n---\nend\n"), "redis\n---\nend\n");
        assert_eq!(contents("no header\n"), "no header\n");
    }
}
