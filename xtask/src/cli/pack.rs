//! The words of `pack`.

use clap::{Args, Subcommand};
use ecosystem_core::synthetic::{MAX, MIN};

#[derive(Debug, Clone, Subcommand)]
pub enum Pack {
    /// Make a new pack of invented records in the folder `seeds`
    ///
    /// Records, identifiers and vocabularies look like those of an Invenio repository. The same number and the same `--rng` make the same
    /// bytes on every machine. A folder that is there already is never written over.
    New(New),
    /// Make a pack of what runs: tables, indices, exchanges and queues, as they are now
    ///
    /// Set an application up once, wait until its workers have done everything, and capture it: loading the pack replaces the set-up. Each store is
    /// read as of one moment, and nothing is changed. Messages, caches and files are not in it; for all of that there is `checkpoint`.
    Capture(Capture),
    /// Make one compressed file of a pack: `seeds/NAME.tar.zst` from the folder `seeds/NAME`
    ///
    /// The same pack is the same bytes on every machine. It is read back before it gets its name, and nothing is written over. The folder can then
    /// be removed, and has to be before the pack is used: with both there, `seed` and `up` cannot know which of them is meant.
    Archive(Archive),
    /// Compare database, search and broker with a pack
    ///
    /// Every row by its key and every document by its id, with all that is in them. Exit status 1 where something is missing, is more than the
    /// pack has, or differs, and where rows and documents do not stand for the same things; the first 20 of each are named.
    Verify(Verify),
}

#[derive(Debug, Clone, Args)]
pub struct New {
    /// What it is called: a-z, 0-9 and dashes
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How many records: from 10 to 1000000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(MIN)..=i64::from(MAX)))]
    pub synthetic: u32,
    /// Where the random numbers begin: another number invents other records
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub rng: u64,
}

#[derive(Debug, Clone, Args)]
pub struct Capture {
    /// What it is called: a-z, 0-9 and dashes
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What is in it, for those who find it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// First wait until no queue holds a message, so that no worker has anything left to do
    #[arg(long)]
    pub quiesce: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Archive {
    /// A folder of the folder `seeds`
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// A pack of the folder `seeds` [default: the one of the manifest, else demo]
    pub pack: Option<String>,
}
