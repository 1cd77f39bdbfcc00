//! What the verbs of the command line do. A command never uses another one, and only `output` prints.

pub mod check;
pub mod checkpoint;
pub mod clients;
pub mod completions;
pub mod dev;
pub mod down;
pub mod env;
pub mod explain;
pub mod init;
pub mod list;
pub mod logs;
pub mod man;
pub mod open;
pub mod pack;
pub mod provision;
pub mod render;
pub mod report;
pub mod reset;
pub mod search;
pub mod seed;
pub mod shell;
pub mod snapshot;
pub mod status;
pub mod tenant;
pub mod test;
pub mod up;
