//! A file of lines, read block by block: never more than a block of it is in memory, and what was read is digested on the way.

use std::fs::File;
use std::io::{BufRead, Read};

use ecosystem_core::artifact::hex;
use ecosystem_core::failure::Failure;
use ecosystem_core::pack::{Content, FilePath};
use sha2::{Digest as _, Sha256};

use super::pack::invalid;

/// How much is read at a time.
const BLOCK: usize = 256 * 1024;
/// A longer line is no row and no document: servers refuse it.
const MAX_LINE: usize = 32 * 1024 * 1024;

/// A file that is being read.
pub(super) struct Blocks<'a> {
    path: &'a FilePath,
    file: File,
    buffer: Vec<u8>,
    /// What of the buffer was given out, and goes with the next call.
    given: usize,
    ended: bool,
    hash: Sha256,
    bytes: u64,
    lines: u64,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(path: &'a FilePath, file: File) -> Self {
        let buffer = Vec::with_capacity(2 * BLOCK);
        Self { path, file, buffer, given: 0, ended: false, hash: Sha256::new(), bytes: 0, lines: 0 }
    }

    /// The next whole lines, each with its end; only the last one of a file may lack it. `None`: that was all.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Block<'_>>> {
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            if let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') {
                self.given = end + 1;
                break;
            }
            if self.ended {
                self.given = self.buffer.len();
                break;
            }
            if self.buffer.len() > MAX_LINE {
                let text =
                    format!("{}, line {}: longer than {} MB", self.path, self.lines + 1, MAX_LINE >> 20);
                return Err(invalid(text).into());
            }
            let read = (&mut self.file)
                .take(BLOCK as u64)
                .read_to_end(&mut self.buffer)
                .map_err(|error| invalid(format!("{} cannot be read: {error}", self.path)))?;
            self.ended = read == 0;
        }
        if self.given == 0 {
            return Ok(None);
        }
        let bytes = &self.buffer[..self.given];
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        let first = self.lines;
        // Empty lines stand for nothing.
        self.lines += Lines(bytes).filter(|line| !line.is_empty()).count() as u64;
        Ok(Some(Block { bytes, first, lines: self.lines }))
    }

    /// What the file holds, once it was read to its end.
    pub(super) fn content(self) -> Content {
        Content { bytes: self.bytes, lines: self.lines, sha256: hex(&self.hash.finalize()) }
    }

    /// Fails where what was read is not what was digested before.
    pub(super) fn confirm(self, known: &Content) -> Result<(), Failure> {
        let path = self.path;
        if self.content() == *known {
            return Ok(());
        }
        Err(invalid(format!(
            "{path} is not what the pack says of it: it was damaged, or changed while it was read"
        )))
    }
}

/// Some whole lines.
pub(super) struct Block<'a> {
    pub(super) bytes: &'a [u8],
    /// How many lines of the file came before it.
    pub(super) first: u64,
    /// How many lines of the file there are up to its end.
    pub(super) lines: u64,
}

impl<'a> Block<'a> {
    /// Its lines without their ends; empty ones are left out.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Lines(self.bytes).filter(|line| !line.is_empty())
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let all = self.0;
        // The standard library looks for the end of a line many bytes at a time, in every build.
        let length = self.0.skip_until(b'\n').unwrap_or(0);
        let line = all.get(..length).filter(|line| !line.is_empty())?;
        Some(line.strip_suffix(b"\n").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn blocks(text: &[u8]) -> (Vec<String>, Content) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        let path = FilePath::try_from("x".to_owned()).unwrap();
        let mut blocks = Blocks::new(&path, file);
        let mut lines = Vec::new();
        while let Some(block) = blocks.next().unwrap() {
            assert_eq!(block.first, lines.len() as u64);
            lines.extend(block.lines().map(|line| String::from_utf8(line.to_vec()).unwrap()));
            assert_eq!(block.lines, lines.len() as u64);
        }
        (lines, blocks.content())
    }

    #[test]
    fn every_line_comes_once_and_empty_ones_do_not() {
        let (lines, content) = blocks(b"a\n\nb\nlast");
        assert_eq!(lines, ["a", "b", "last"]);
        assert_eq!((content.bytes, content.lines), (9, 3));
        assert_eq!(blocks(b"").1.lines, 0);
    }

    #[test]
    fn lines_are_whole_across_blocks() {
        let lines: Vec<String> = (0..60_000).map(|n| format!("line {n} of many")).collect();
        let text = lines.join("\n") + "\n";
        let (lines, content) = blocks(text.as_bytes());
        assert_eq!(lines.len(), 60_000);
        assert_eq!(lines[59_999], "line 59999 of many");
        assert_eq!(content.sha256, hex(&Sha256::digest(text.as_bytes())));
        let long = "x".repeat(3 * BLOCK);
        assert_eq!(blocks(format!("{long}\ny").as_bytes()).0, [long.as_str(), "y"]);
    }
}
