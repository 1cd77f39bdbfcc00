//! `man`: the manual pages, from the same data as `--help`.

use anyhow::Context as _;
use camino::Utf8PathBuf;
use clap::CommandFactory;
use serde::Serialize;

use crate::cli::{Cli, Global, Man};
use crate::context::Context;
use crate::output::{self, Report};
use crate::sys::fs::create_private_dir;

#[derive(Debug, Serialize)]
struct Pages {
    folder: String,
    files: Vec<String>,
}

/// Prints the main page, or writes all of them into a folder.
pub fn run(context: &Context, global: &Global, args: &Man) -> anyhow::Result<()> {
    let Some(folder) = &args.output else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return output::text(&String::from_utf8_lossy(&page));
    };
    let folder: Utf8PathBuf = context.cwd.join(folder);
    create_private_dir(&folder)?;
    clap_mangen::generate_to(Cli::command(), &folder)
        .with_context(|| format!("cannot write into {folder}"))?;
    let entries = folder.read_dir_utf8()?.flatten().map(|entry| entry.file_name().to_owned());
    let mut files: Vec<String> = entries.filter(|name| is_page(name)).collect();
    files.sort();
    output::report(&Pages { folder: folder.into_string(), files }, global.format)
}

fn is_page(name: &str) -> bool {
    name.starts_with("ecosystem") && name.strip_suffix(".1").is_some()
}

impl Report for Pages {
    fn human(&self) -> String {
        format!("Wrote {} pages to {}.\n", self.files.len(), self.folder)
    }
}
