//! Renderings of the model: files and texts that are derived from it, each pure and each testable by its output.

pub mod schema;
