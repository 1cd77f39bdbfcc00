//! The compose backend against a real container engine, with stand-ins for the images of the release.

mod checkpoint;
mod engine;
mod faults;
mod whole;
