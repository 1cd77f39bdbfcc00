//! The words about data: packs and checkpoints.

use clap::{Args, Subcommand};
use ecosystem_core::pack::Part;

#[derive(Debug, Clone, Args)]
pub struct Seed {
    /// A pack of the folder `seeds` [default: the one of the manifest, else demo]
    pub pack: Option<String>,
    /// Load into this store only, and leave the others as they are; may be given several times
    #[arg(long, value_name = "STORE", value_parser = clap::builder::PossibleValuesParser::new(Part::ALL.map(Part::name)))]
    pub only: Vec<String>,
    /// Make the indices anew from the tables in the database, as the pack's `from_rows` say, instead of from its documents
    #[arg(long, conflicts_with = "only")]
    pub from_database: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Reset {
    /// A pack of the folder `seeds` [default: the one of the manifest, else demo]
    pub pack: Option<String>,
    /// Print what would be deleted, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Checkpoint {
    /// Copy the data of all services, with the servers stopped for it
    ///
    /// What ran is started again and waited for. Where the file system can, files are shared until one of them changes (XFS, Btrfs).
    Save(Save),
    /// Put the data of a checkpoint in the place of what is there now; asks first
    ///
    /// The old data or the new, never a mix: interrupted, by whatever, it has not begun, or the next command finishes it.
    Restore(Restore),
    /// List checkpoints
    List,
    /// Delete a checkpoint; asks first
    Delete(Delete),
}

#[derive(Debug, Clone, Args)]
pub struct Save {
    /// The name of the checkpoint: small letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print what would be stopped and started, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// The name of the checkpoint
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print what would be stopped and started, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// The name of the checkpoint
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
