//! Archives of packs: what comes out is what went in, and archives that lie are refused and leave nothing behind.

use std::os::unix::fs::PermissionsExt as _;

use ecosystem_core::pack::{FILE, Part};

use super::*;
use crate::event::Silent;
use crate::sys::fs::write_atomic;

const MANIFEST: &str =
    "format = 1\nname = \"x\"\ndescription = \"\"\n[rabbitmq]\ndefinitions = \"broker/d.json\"\n";
const DEFINITIONS: &str = "{\"queues\": [{\"name\": \"q\"}]}";
const GOOD: [(&str, &str); 2] = [("broker/d.json", DEFINITIONS), (FILE, MANIFEST)];

struct Fixture {
    _folder: tempfile::TempDir,
    seeds: Utf8PathBuf,
    unpacked: Utf8PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        std::fs::create_dir(root.join("seeds")).unwrap();
        Self { _folder: folder, seeds: root.join("seeds"), unpacked: root.join("packs") }
    }

    fn folder(&self) {
        for (path, text) in GOOD {
            write_atomic(&self.seeds.join("x").join(path), text.as_bytes(), 0o600).unwrap();
        }
    }

    /// Puts an archive there, whatever it is.
    fn archive(&self, bytes: &[u8]) {
        write_atomic(&self.seeds.join("x.tar.zst"), bytes, 0o600).unwrap();
    }

    fn open(&self) -> anyhow::Result<Pack> {
        find(&self.seeds, "x")?.open(&self.unpacked, &Silent)
    }

    /// Why it is refused, after making sure that nothing of it is left.
    #[track_caller]
    fn refused(&self, limits: &Limits) -> String {
        let path = self.seeds.join("x.tar.zst");
        let error = super::open("x", &path, &self.unpacked, limits, &Silent).unwrap_err();
        assert_eq!(entries(&self.unpacked), Vec::<String>::new(), "{error:#}");
        let failure = error.downcast_ref::<Failure>().unwrap_or_else(|| panic!("{error:#}"));
        assert_eq!(failure.code, "pack-invalid", "{failure}");
        assert!(failure.message.contains("x.tar.zst") || failure.message.contains(FILE), "{failure}");
        failure.message.clone()
    }
}

fn entries(folder: &Utf8Path) -> Vec<String> {
    let names =
        folder.read_dir_utf8().into_iter().flatten().map(|entry| entry.unwrap().file_name().to_owned());
    names.filter(|name| name != LOCK).collect()
}

/// One member, whose path and kind may be anything.
fn member(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, text: &str) {
    let mut header = tar::Header::new_gnu();
    // `set_path` refuses what these tests are about.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name_literal(FILE).unwrap();
    }
    header.set_cksum();
    tar.append(&header, text.as_bytes()).unwrap();
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        member(&mut tar, path, tar::EntryType::Regular, text);
    }
    tar.into_inner().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = zstd::Encoder::new(Vec::new(), 3).unwrap();
    frame.include_checksum(true).unwrap();
    std::io::copy(&mut &bytes[..], &mut frame).unwrap();
    frame.finish().unwrap()
}

#[test]
fn a_pack_comes_out_as_it_went_in_and_the_same_pack_is_the_same_bytes() {
    let (one, other) = (Fixture::new(), Fixture::new());
    one.folder();
    // Other times and modes, and files in another order.
    for (path, text) in GOOD.iter().rev() {
        write_atomic(&other.seeds.join("x").join(path), text.as_bytes(), 0o644).unwrap();
    }
    let folder = one.open().unwrap();
    let made = archive(&one.seeds, "x", &Silent).unwrap();
    assert_eq!((made.files, made.unpacked_bytes), (2, (MANIFEST.len() + DEFINITIONS.len()) as u64));
    assert_eq!(archive(&other.seeds, "x", &Silent).unwrap().sha256, made.sha256);
    let bytes = std::fs::read(&made.file).unwrap();
    assert_eq!(bytes, std::fs::read(other.seeds.join("x.tar.zst")).unwrap());
    assert_eq!(made.bytes, bytes.len() as u64);
    assert_eq!(std::fs::metadata(&made.file).unwrap().permissions().mode() & 0o777, 0o644);

    let ambiguous = one.open().unwrap_err();
    assert_eq!(ambiguous.downcast_ref::<Failure>().unwrap().code, "pack-ambiguous");
    let again = archive(&one.seeds, "x", &Silent).unwrap_err();
    assert_eq!(again.downcast_ref::<Failure>().unwrap().code, "pack-exists");
    assert_eq!(entries(&one.seeds).len(), 2);

    std::fs::remove_dir_all(one.seeds.join("x")).unwrap();
    let unpacked = one.open().unwrap();
    assert_eq!(unpacked.digest(Part::Rabbitmq), folder.digest(Part::Rabbitmq));
    let there = one.unpacked.join(format!("x-{}", &made.sha256[..DIGITS]));
    assert_eq!(entries(&one.unpacked), [there.file_name().unwrap()]);
    assert_eq!(std::fs::read_to_string(there.join("broker/d.json")).unwrap(), DEFINITIONS);
    for (path, mode) in [(there.clone(), 0o700), (there.join("broker"), 0o700), (there.join(FILE), 0o600)] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn an_archive_is_unpacked_once_and_older_ones_of_its_name_go() {
    let fixture = Fixture::new();
    fixture.archive(&zstd(&tar(&GOOD)));
    fixture.open().unwrap();
    let first = entries(&fixture.unpacked);
    // What was unpacked is used: a file that is only there shows it.
    write_atomic(&fixture.unpacked.join(&first[0]).join("only-here"), b"", 0o600).unwrap();
    fixture.open().unwrap();
    assert!(fixture.unpacked.join(&first[0]).join("only-here").exists());
    // Damaged, it is unpacked anew.
    write_atomic(&fixture.unpacked.join(&first[0]).join(FILE), b"", 0o600).unwrap();
    fixture.open().unwrap();
    assert!(!fixture.unpacked.join(&first[0]).join("only-here").exists());

    for other in ["x-y-0123456789abcdef", "x-0123456789abcde", "xx-0123456789abcdef", ".unpacking-1"] {
        std::fs::create_dir(fixture.unpacked.join(other)).unwrap();
    }
    fixture.archive(&zstd(&tar(&[GOOD[0], GOOD[1], ("README.md", "more")])));
    fixture.open().unwrap();
    let mut left = entries(&fixture.unpacked);
    left.sort();
    assert!(!left.contains(&first[0]) && !left.contains(&".unpacking-1".to_owned()), "{left:?}");
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn several_at_once_unpack_it_once() {
    let fixture = Fixture::new();
    fixture.archive(&zstd(&tar(&GOOD)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fixture.open().unwrap());
        }
    });
    assert_eq!(entries(&fixture.unpacked).len(), 1);
}

#[test]
fn what_people_pack_by_hand_is_read() {
    let prefixed = |prefix: &str| {
        let files: Vec<_> = GOOD.iter().map(|(path, text)| (format!("{prefix}{path}"), *text)).collect();
        let mut tar = tar::Builder::new(Vec::new());
        for folder in [prefix.to_owned(), format!("{prefix}broker/")] {
            if !folder.is_empty() {
                member(&mut tar, &folder, tar::EntryType::Directory, "");
            }
        }
        for (path, text) in &files {
            member(&mut tar, path, tar::EntryType::Regular, text);
        }
        tar.into_inner().unwrap()
    };
    for prefix in ["", "./", "x/", "./x/"] {
        let fixture = Fixture::new();
        fixture.archive(&zstd(&prefixed(prefix)));
        fixture.open().unwrap_or_else(|error| panic!("{prefix:?}: {error:#}"));
        assert_eq!(entries(&fixture.unpacked).len(), 1);
    }
    // GNU tar fills its last record with zeros.
    let fixture = Fixture::new();
    let mut padded = prefixed("");
    padded.resize(padded.len().next_multiple_of(10_240), 0);
    fixture.archive(&zstd(&padded));
    fixture.open().unwrap();
    fixture.archive(&zstd(&prefixed("y/")));
    assert!(fixture.open().unwrap_err().to_string().contains("there is no pack.toml in it"));
}

#[test]
fn members_that_lie_are_refused_and_leave_nothing_behind() {
    let file = tar::EntryType::Regular;
    let cases = [
        ("/etc/evil", file, "it holds `/etc/evil`: the path of a file"),
        ("../evil", file, "it holds `../evil`: the path"),
        ("a/../../evil", file, "the path of a file"),
        ("x/../../evil", file, "the path of a file"),
        ("./../evil", file, "the path of a file"),
        (".git/hooks/evil", file, "the path of a file"),
        ("a\\b", file, "the path of a file"),
        ("a\u{1b}[2J", file, "the path of a file"),
        ("a b", file, "the path of a file"),
        ("", file, "the path of a file"),
        ("../evil/", tar::EntryType::Directory, "the path of a file"),
        ("/", tar::EntryType::Directory, "the path of a file"),
        ("link", tar::EntryType::Symlink, "`link`, which is a link"),
        ("link", tar::EntryType::Link, "`link`, which is a hard link"),
        ("device", tar::EntryType::Block, "which is a device"),
        ("device", tar::EntryType::Char, "which is a device"),
        ("pipe", tar::EntryType::Fifo, "which is a named pipe"),
        ("other", tar::EntryType::XGlobalHeader, "which is no plain file"),
        ("broker/d.json", file, "it holds broker/d.json twice"),
        ("broker", file, "broker as a file and as a folder"),
        ("pack.toml/x", file, "pack.toml as a file and as a folder"),
    ];
    for (path, kind, told) in cases {
        let fixture = Fixture::new();
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in GOOD {
            member(&mut tar, path, file, text);
        }
        member(&mut tar, path, kind, "");
        fixture.archive(&zstd(&tar.into_inner().unwrap()));
        let why = fixture.refused(&LIMITS);
        assert!(why.contains(told) && !why.contains('\u{1b}'), "{path}: {why}");
    }
    let fixture = Fixture::new();
    fixture.archive(&zstd(&tar(&[("x/pack.toml", MANIFEST), ("x/broker/d.json", DEFINITIONS), ("y", "")])));
    assert!(fixture.refused(&LIMITS).contains("y lies beside the pack"));
    fixture.archive(&zstd(&tar(&GOOD[..1])));
    assert!(fixture.refused(&LIMITS).contains("there is no pack.toml in it"));
    // The pack itself is looked at before it gets its name.
    fixture.archive(&zstd(&tar(&GOOD[1..])));
    assert!(fixture.refused(&LIMITS).contains("x.tar.zst/broker/d.json cannot be read"));
    fixture.archive(&zstd(&tar(&[(FILE, "format = 9")])));
    assert!(fixture.refused(&LIMITS).contains(FILE));
}

#[test]
fn an_archive_that_was_cut_or_changed_anywhere_is_refused() {
    let fixture = Fixture::new();
    let whole = zstd(&tar(&GOOD));
    fixture.archive(&whole);
    let good = fixture.open().unwrap().digest(Part::Rabbitmq);
    std::fs::remove_dir_all(&fixture.unpacked).unwrap();
    for length in 0..whole.len() {
        fixture.archive(&whole[..length]);
        assert!(fixture.refused(&LIMITS).contains("no whole archive"), "{length} of {}", whole.len());
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fixture.archive(&changed);
        // Bits of the frame that mean nothing may differ.
        match fixture.open() {
            Ok(pack) => assert_eq!(pack.digest(Part::Rabbitmq), good, "{at}"),
            Err(_) => drop(fixture.refused(&LIMITS)),
        }
        let _nothing_there = std::fs::remove_dir_all(&fixture.unpacked);
    }
    for more in [&b"more"[..], &[0; 600], &zstd(b""), &whole] {
        fixture.archive(&[&whole, more].concat());
        assert!(fixture.refused(&LIMITS).contains("something follows behind its frame"));
    }
    let mut tar = tar(&GOOD);
    // The two blocks that end it, and a member that is shorter than it says.
    for length in [tar.len() - 1024, tar.len() - 512, 600] {
        fixture.archive(&zstd(&tar[..length]));
        assert!(fixture.refused(&LIMITS).contains("no whole archive"), "{length}");
    }
    tar.extend(b"more");
    fixture.archive(&zstd(&tar));
    assert!(fixture.refused(&LIMITS).contains("something follows behind it"));
    for text in [&b""[..], b"a pack", b"\x1f\x8b\x08\x00", &tar] {
        fixture.archive(text);
        assert!(fixture.refused(&LIMITS).contains("no whole archive"));
    }
}

/// A frame of blocks of 128 KB that are all zero, four bytes each, and a window of `8 KB << exponent`.
fn bomb(blocks: usize, exponent: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (exponent + 3) << 3];
    for left in (0..blocks).rev() {
        let header: u32 = (128 << 10 << 3) | (1 << 1) | u32::from(left == 0);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn what_unpacks_to_too_much_is_refused_on_the_way() {
    let fixture = Fixture::new();
    let large = Limits { bytes: 1 << 30, ..LIMITS };
    fixture.archive(&zstd(&tar(&GOOD)));
    for (limits, told) in [
        (Limits { entries: 1, ..LIMITS }, "more than 1 files"),
        (Limits { bytes: 100, ..LIMITS }, "too large"),
        (Limits { ratio: 2, small: 1024, ..LIMITS }, "unpacks to more than 2 times its size"),
    ] {
        assert!(fixture.refused(&limits).contains(told), "{told}: {}", fixture.refused(&limits));
    }
    let size = |size: u64, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_path("large").unwrap();
        header.set_size(size);
        header.set_cksum();
        [header.as_bytes(), content].concat()
    };
    // Said in its header, before anything of it is unpacked; the largest number of all as well.
    for said in [17 << 30, u64::MAX >> 1] {
        fixture.archive(&zstd(&size(said, b"")));
        assert!(fixture.refused(&LIMITS).contains("more than the 16640 MB"), "{}", fixture.refused(&LIMITS));
    }
    // 256 MB of zeros in 8 KB, announced and not, as content and as a name that a reader of tar would hold in memory.
    let zeros = bomb(2048, 0);
    fixture.archive(&zeros);
    fixture.refused(&large);
    let mut packed = zstd(&size(256 << 20, b""));
    packed.extend(&zeros);
    fixture.archive(&packed);
    fixture.refused(&large);
    let mut frame = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let sent = std::io::copy(&mut &size(256 << 20, &vec![0; 1 << 20])[..], &mut frame).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), (256 << 20) - sent), &mut frame).unwrap();
    fixture.archive(&frame.finish().unwrap());
    assert!(
        fixture.refused(&large).contains("unpacks to more than 500 times"),
        "{}",
        fixture.refused(&large)
    );
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let mut tar = tar::Builder::new(Vec::new());
        member(&mut tar, "name", kind, &"a".repeat(1 << 20));
        fixture.archive(&zstd(&tar.into_inner().unwrap()));
        let why = fixture.refused(&LIMITS);
        assert!(why.contains("what lies between its files is longer"), "{why}");
    }
    // A window of 16 MB would be made before a byte comes out.
    fixture.archive(&bomb(1, 11));
    assert!(fixture.refused(&LIMITS).contains("more than 8 MB of memory"), "{}", fixture.refused(&LIMITS));
    fixture.archive(&bomb(1, 10));
    assert!(!fixture.refused(&LIMITS).contains("memory"));
}

#[test]
fn only_a_regular_file_is_an_archive_and_names_are_plain() {
    let fixture = Fixture::new();
    let path = fixture.seeds.join("x.tar.zst");
    std::fs::create_dir(&path).unwrap();
    assert!(fixture.refused(&LIMITS).contains("it is a folder"));
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(fixture.refused(&LIMITS).contains("it is a device"));
    for name in ["", ".", "..", "../seeds/x", "a/b", "a\\b", "y"] {
        assert_eq!(find(&fixture.seeds, name).unwrap_err().code, "no-such-pack", "{name}");
    }
    assert_eq!(find(&fixture.seeds, "y").unwrap_err().hints, ["packs: rdm-12, x"]);
}

#[test]
fn what_would_be_lost_with_the_folder_is_not_left_out() {
    let fixture = Fixture::new();
    fixture.folder();
    let folder = fixture.seeds.join("x");
    write_atomic(&folder.join(".hidden/a"), b"", 0o600).unwrap();
    write_atomic(&folder.join("ž"), b"", 0o600).unwrap();
    let error = archive(&fixture.seeds, "x", &Silent).unwrap_err().to_string();
    assert!(error.contains("\n  .hidden/a\n  ž"), "{error}");
    std::fs::remove_dir_all(folder.join(".hidden")).unwrap();
    std::fs::remove_file(folder.join("ž")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("out")).unwrap();
    let error = archive(&fixture.seeds, "x", &Silent).unwrap_err().to_string();
    assert!(error.contains("leads out of the pack"), "{error}");
    assert_eq!(entries(&fixture.seeds), ["x"]);
}
