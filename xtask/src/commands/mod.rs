//! What the verbs of the command line do. Each builds one report; nothing here prints, and no command uses another one.

pub mod check;
