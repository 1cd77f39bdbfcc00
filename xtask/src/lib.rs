//! The acting half of Invenio Ecosystem: it observes, carries out plans and prints. Deciding is the business of `ecosystem-core`.
//!
//! Layers, each using only those below it: `commands`, `output` (what a person meets) · `engine`, `seed`, `snapshot` (work) ·
//! `provision`, `backend`, `client` (effects) · `event`, `sys` (mechanisms). `tests/it/tidy.rs` holds them to it.

pub mod client;
pub mod event;
pub mod provision;
pub mod seed;
pub mod sys;
