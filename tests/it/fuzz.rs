//! Every parser of foreign bytes, on the seeds of the fuzz targets and on many small changes to them. The same changes on every machine.
//!
//! What is checked is in `fuzz/targets.rs`. Longer, and guided by coverage: `cargo +nightly fuzz run`, see `fuzz/Cargo.toml`.

#[path = "../../fuzz/targets.rs"]
#[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
mod targets;

use std::collections::BTreeSet;

use crate::support::repository;

/// How many changed inputs a target gets. Those that work on files take longer.
const CHANGES: usize = 1_000;
const CHANGES_WITH_FILES: usize = 300;
const WITH_FILES: [&str; 5] = ["archive", "bundle", "pack", "tar", "zip"];

/// Pieces that parsers look for.
const PIECES: [&[u8]; 20] = [
    b"\n",
    b"\r\n",
    b"\0",
    b"..",
    b"../",
    b"/",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b":",
    b"-1",
    b"$",
    b"*",
    b"18446744073709551616",
    b"\xff\xff\xff\xff",
    b"\x1b[2J",
    b"\xc3",
];

/// A generator of numbers with a fixed beginning (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }

    /// One to eight small changes: bits, pieces that parsers look for, cuts, repetitions, parts of other seeds.
    fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(8) {
            let at = self.roll(bytes.len() + 1);
            match self.roll(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
                1 => drop(bytes.splice(at..at, PIECES[self.roll(PIECES.len())].iter().copied())),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + 1 + self.roll(16)).min(bytes.len());
                    bytes.drain(at..end.max(at));
                }
                4 => {
                    let end = (at + 1 + self.roll(32)).min(bytes.len());
                    let part = bytes[at..end.max(at)].to_vec();
                    for _ in 0..self.roll(4) {
                        bytes.splice(at..at, part.iter().copied());
                    }
                }
                _ => {
                    let other = &seeds[self.roll(seeds.len())];
                    let from = self.roll(other.len() + 1);
                    bytes.splice(at..at, other[from..].iter().copied().take(64));
                }
            }
        }
        bytes.truncate(64 * 1024);
        bytes
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = repository().join("fuzz/seeds").join(target);
    let mut files: Vec<_> =
        folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().path().to_owned()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn check(name: &str, target: targets::Target, changes: usize) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let changed = (0..changes).map(|_| dice.change(&seeds));
    for bytes in seeds.iter().cloned().chain([vec![]]).chain(changed) {
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            let why = panic.downcast_ref::<String>().map_or("it panics", String::as_str);
            panic!("{name} fails on {} bytes: {why}\n{}", bytes.len(), bytes.escape_ascii());
        }
    }
}

#[test]
fn no_parser_of_foreign_bytes_fails() {
    for (name, target) in targets::ALL {
        if !WITH_FILES.contains(&name) {
            check(name, target, CHANGES);
        }
    }
}

#[test]
fn no_archive_or_pack_reaches_beyond_its_folder() {
    for (name, target) in targets::ALL.iter().filter(|(name, _)| WITH_FILES.contains(name)) {
        check(name, *target, CHANGES_WITH_FILES);
    }
}

#[test]
fn every_target_can_be_fuzzed() {
    let manifest = std::fs::read_to_string(repository().join("fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let bins: BTreeSet<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    assert_eq!(bins, targets::ALL.iter().map(|(name, _)| *name).collect());
}
