//! Text made from the model: settings for applications, schemas, documentation. Pure, so that generated files can be checked.

pub mod compose;
pub mod env;
pub mod init;
pub mod launch;
pub mod page;
pub mod plot;
pub mod releases;
pub mod schema;
