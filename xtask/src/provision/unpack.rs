//! Unpacking an archive that somebody publishes: whatever its format, it cannot leave its folder and cannot fill the disk.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::Format;

use super::archive::{hostile, untar_within};
use crate::sys;

/// What an archive may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    entries: u64,
    bytes: u64,
}

impl Budget {
    /// Without a bound: for what this program has made, or what was checked otherwise.
    pub(super) const NONE: Self = Self { entries: u64::MAX, bytes: u64::MAX };

    /// For an archive of this size. Programs shrink to a third or a tenth; what grows a hundredfold was made to fill disks.
    pub(super) fn of(size: u64) -> Self {
        Self { entries: 1_000_000, bytes: size.saturating_mul(60).clamp(64 << 20, 16 << 30) }
    }

    /// Takes one member of this size out of it.
    pub(super) fn take(&mut self, bytes: u64, name: &str) -> Result<(), Failure> {
        if let (Some(entries), Some(bytes)) = (self.entries.checked_sub(1), self.bytes.checked_sub(bytes)) {
            *self = Self { entries, bytes };
            return Ok(());
        }
        let message = format!("{name} becomes far more than an archive of its size should");
        Err(Failure::new(Kind::Host, "archive-too-large", message)
            .hint("do not use it, and tell whoever gave it to you"))
    }
}

/// Unpacks a file into an empty folder. `read` is told how many of its bytes were read so far.
pub fn unpack(
    file: &Utf8Path,
    format: Format,
    folder: &Utf8Path,
    name: &str,
    mut read: impl FnMut(u64),
) -> anyhow::Result<()> {
    let opened = File::open(file).with_context(|| format!("cannot open {file}"))?;
    let size = opened.metadata().with_context(|| format!("cannot look at {file}"))?.len();
    let budget = Budget::of(size);
    if format == Format::Zip {
        return unzip(BufReader::new(opened), folder, name, budget, read);
    }
    let mut done = 0;
    let counted = Counted {
        source: BufReader::new(opened),
        read: move |bytes| {
            done += bytes;
            read(done);
        },
    };
    // Beside the files there are their headers, and a stream that never ends is none.
    let longest = budget.bytes.saturating_add(2 << 30);
    let mut stream: Box<dyn Read> = match format {
        Format::TarXz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(counted).take(longest)),
        _ => Box::new(flate2::read::MultiGzDecoder::new(counted).take(longest)),
    };
    let result = untar_within(&mut stream, folder, name, budget);
    // What proves that nothing was cut stands behind the last file.
    let result = result.and_then(|()| Ok(std::io::copy(&mut stream, &mut std::io::sink()).map(drop)?));
    result.map_err(|error| damaged(error, name))
}

/// What cannot be read is named; a disk that is full is something else.
fn damaged(error: anyhow::Error, name: &str) -> anyhow::Error {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let unreadable = matches!(
        io,
        Some(ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other)
    );
    if error.is::<Failure>() || !unreadable {
        return error;
    }
    Failure::new(Kind::Host, "archive-damaged", format!("{name} cannot be unpacked: {error:#}"))
        .hint("it is what its checksum says: ask whoever publishes it, or correct `get`")
        .into()
}

/// A stream that tells how much of it was read.
struct Counted<R, F> {
    source: R,
    read: F,
}

impl<R: Read, F: FnMut(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        (self.read)(count as u64);
        Ok(count)
    }
}

/// Unpacks a zip file. Links are refused: archives of programs for Linux and macOS that have some are tar archives.
fn unzip(
    source: impl Read + std::io::Seek,
    folder: &Utf8Path,
    name: &str,
    mut budget: Budget,
    mut read: impl FnMut(u64),
) -> anyhow::Result<()> {
    let unreadable = |error: zip::result::ZipError| {
        let message = format!("{name} cannot be unpacked: {error}");
        Failure::new(Kind::Host, "archive-damaged", message)
            .hint("it is what its checksum says: ask whoever publishes it, or correct `get`")
    };
    let mut zip = zip::ZipArchive::new(source).map_err(unreadable)?;
    let mut done = 0;
    for index in 0..zip.len() {
        sys::interrupt::check()?;
        let mut member = zip.by_index(index).map_err(unreadable)?;
        let said = member.name().map_or_else(|_| String::new(), std::borrow::Cow::into_owned);
        // A path from the root would be taken as one from the folder.
        let path = member.enclosed_name().filter(|_| !member.is_symlink() && !said.starts_with(['/', '\\']));
        let Some(path) = path else { return Err(hostile(name, said.as_ref())) };
        let target = folder.as_std_path().join(&path);
        if member.is_dir() {
            budget.take(0, name)?;
            std::fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
            continue;
        }
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let mode = if member.unix_mode().is_some_and(|mode| mode & 0o100 != 0) { 0o755 } else { 0o644 };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&target)
            .with_context(|| format!("cannot make {}", target.display()))?;
        // Not what it says of itself: what comes out.
        let mut bounded = (&mut member).take(budget.bytes.saturating_add(1));
        let written = std::io::copy(&mut bounded, &mut file).map_err(anyhow::Error::from);
        let written =
            written.with_context(|| format!("{said} in {name}")).map_err(|error| damaged(error, name))?;
        budget.take(written, name)?;
        done += member.compressed_size();
        read(done);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Unpacks these bytes; the code of the failure, and what lies in the folder afterwards.
    fn tried(bytes: &[u8], format: Format) -> (Option<&'static str>, Vec<String>) {
        let outside = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(outside.path()).unwrap();
        let (file, folder) = (root.join("x"), root.join("in"));
        crate::sys::fs::write_atomic(&file, bytes, 0o600).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let code = unpack(&file, format, &folder, "x", |_| {})
            .err()
            .map(|error| error.downcast_ref::<Failure>().unwrap_or_else(|| panic!("{error:#}")).code);
        let names = |folder: &Utf8Path| -> Vec<String> {
            let entries = folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
            let mut names: Vec<_> = entries.collect();
            names.sort();
            names
        };
        assert_eq!(names(root), ["in", "x"], "nothing came out");
        (code, names(&folder))
    }

    fn zipped(members: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content, mode) in members {
            let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tarred(name: &str, size: u64) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, std::io::repeat(0).take(size)).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn every_format_is_unpacked() {
        let tar = tarred("a", 10);
        assert_eq!(tried(&gzipped(&tar), Format::TarGz), (None, vec!["a".to_owned()]));
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&tar[..], 1).read_to_end(&mut xz).unwrap();
        assert_eq!(tried(&xz, Format::TarXz), (None, vec!["a".to_owned()]));
        let zip = zipped(&[("b/c", b"text", 0o755)]);
        assert_eq!(tried(&zip, Format::Zip), (None, vec!["b".to_owned()]));
    }

    #[test]
    fn a_zip_file_cannot_leave_its_folder() {
        for name in ["../evil", "/evil", "a/../../evil"] {
            assert_eq!(
                tried(&zipped(&[(name, b"x", 0o644)]), Format::Zip).0,
                Some("archive-hostile"),
                "{name}"
            );
        }
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.add_symlink("link", "..", zip::write::SimpleFileOptions::default()).unwrap();
        let link = writer.finish().unwrap().into_inner();
        assert_eq!(tried(&link, Format::Zip), (Some("archive-hostile"), vec![]));
    }

    #[test]
    fn what_was_made_to_fill_a_disk_is_refused() {
        let size = 70 << 20;
        assert_eq!(tried(&gzipped(&tarred("a", size)), Format::TarGz).0, Some("archive-too-large"));
        let zeros = vec![0; usize::try_from(size).unwrap()];
        assert_eq!(tried(&zipped(&[("a", &zeros, 0o644)]), Format::Zip).0, Some("archive-too-large"));
    }

    #[test]
    fn what_is_no_archive_or_ends_too_early_is_damaged() {
        let whole = gzipped(&tarred("a", 5000));
        assert_eq!(tried(&whole[..whole.len() - 12], Format::TarGz).0, Some("archive-damaged"));
        assert_eq!(tried(b"nothing", Format::TarGz).0, Some("archive-damaged"));
        assert_eq!(tried(b"nothing", Format::TarXz).0, Some("archive-damaged"));
        assert_eq!(tried(b"nothing", Format::Zip).0, Some("archive-damaged"));
    }
}
