//! The words of `dev`, which only those who work on this project type.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Dev {
    /// Measure, interleaved with peers; prints medians
    #[command(subcommand)]
    Bench(Bench),
    /// Prove what this project promises, by many random rounds against the real servers
    Prove(Prove),
}

#[derive(Debug, Clone, Args)]
pub struct Prove {
    /// What is proven [default: everything]
    #[arg(value_enum, value_name = "PROOF")]
    pub proofs: Vec<Proof>,
    /// Rounds of each, instead of as many as the documentation speaks of
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Where the random numbers begin; a failure names its own
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What can be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Proof {
    /// Signals for the program, its supervisor, launchers and servers at random moments leave nothing behind and lose nothing
    Kill,
    /// Nothing counts as ready that is not ours, whoever comes to our ports and whenever
    Starts,
    /// A pack whose loading is cut short by SIGKILL at random moments is the same in the end
    Seed,
    /// Whatever stands in place of a manifest or lock file is refused by name, at once, within little memory
    Manifests,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// An application set up by `app setup`, by the documented commands, and from its pack until the first search over https
    App {
        /// Rounds of each; one takes three minutes
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// `check` on this machine, on which it must find no problem
    Check {
        /// Rounds of each
        #[arg(long, default_value_t = 21)]
        rounds: usize,
        /// A command that checks the same with the tools of the same PATH and must succeed
        #[arg(long, value_name = "COMMAND")]
        against: Option<String>,
    },
    /// What `shell` adds to a command, and the toolchain into an empty store
    Tools {
        /// Rounds of each; downloads are done in a seventh of them
        #[arg(long, default_value_t = 21)]
        rounds: usize,
        /// A command that fetches the same by bare package clients
        #[arg(long, value_name = "COMMAND")]
        against: Option<String>,
    },
    /// `up` with containers against `docker compose up --wait` on the same file; takes a container engine
    Containers {
        /// Rounds of each
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// MinIO until it is ready with its bucket and account, against the same program by bare hands
    Minio {
        /// Rounds of each
        #[arg(long, default_value_t = 11)]
        rounds: usize,
    },
    /// A pack into empty servers, `pack verify` and `reset`, against a snapshot and a template by hand
    Pack {
        /// The folder of the pack, such as one that was captured
        #[arg(value_name = "FOLDER")]
        pack: Utf8PathBuf,
        /// Rounds of each
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// `seed` of a synthetic pack against `psql` with the same rows, a replay of prepared `_bulk` bodies, and opensearch-py
    Seed(SeedBench),
    /// A cold and a repeated `up`, `down`, and how late a ready server is noticed
    Up {
        /// Rounds of each
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// A program that starts the same servers by bare hands and prints `… all SECONDS` a round
        #[arg(long, value_name = "COMMAND")]
        against: Option<String>,
    },
}

#[derive(Debug, Clone, Args)]
pub struct SeedBench {
    /// Rounds of each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Records of the pack
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub records: u32,
    /// A Python with opensearch-py; without one its helpers are left out, and the report says so
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: String,
    /// Measure what a record costs in packs of these sizes instead
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "records")]
    pub sizes: Vec<u32>,
    /// Draw these costs into a file, as SVG
    #[arg(long, value_name = "FILE", requires = "sizes")]
    pub plot: Option<Utf8PathBuf>,
}
