//! The acting half of Invenio Ecosystem: it observes, carries out plans and prints. Deciding is the business of `ecosystem-core`.
//!
//! Layers, each using only those below it: `cli`, `context`, `stack`, `commands`, `output` (what a person meets) · `engine`, `seed`,
//! `snapshot`, `checkpoint`, `tenant`, `reset`, `app` (work) · `provision`, `backend`, `client`, `site` (effects) · `event`, `sys` (mechanisms). `tests/it/tidy.rs` holds them to it.

pub mod app;
pub mod backend;
pub mod checkpoint;
pub mod cli;
pub mod client;
pub mod commands;
pub mod context;
pub mod engine;
pub mod event;
pub mod output;
pub mod provision;
pub mod reset;
pub mod seed;
pub mod site;
pub mod snapshot;
pub mod stack;
pub mod sys;
pub mod tenant;
