//! What holds for every parser of foreign bytes, whatever the bytes: one function a parser. It panics where something does not hold.
//!
//! Used by the fuzz targets beside it and by `tests/it/fuzz.rs`.

use std::io::{BufReader, Cursor, Read};

use camino::Utf8Path;
use ecosystem::client::amqp::{Frame, Reader};
use ecosystem::client::http::Reply;
use ecosystem::client::rabbitmq::Definitions;
use ecosystem::client::{resp, s3};
use ecosystem::event::Silent;
use ecosystem::provision::{Gav, Lock, parse_uris, unbundle, unpack, untar, zip_member};
use ecosystem::seed::{Pack, archive::find};
use ecosystem::sys::control::{self, Request, Response};
use ecosystem_core::host::compose_file::{File, Variables, changed, describe, scan, siblings};
use ecosystem_core::log::{Reader as LogReader, interleave, matches, period, started};
use ecosystem_core::model::{Flags, Format, Layer, resolve};
use ecosystem_core::pack::{self, Part};
use ecosystem_core::render::init::from_compose;
use ecosystem_core::tool::Version;

/// What must hold for some bytes.
pub(crate) type Target = fn(&[u8]);

/// Every target by name.
pub(crate) const ALL: [(&str, Target); 18] = [
    ("amqp", amqp),
    ("archive", archive),
    ("bundle", bundle),
    ("compose", compose),
    ("control", control),
    ("definitions", definitions),
    ("gav", gav),
    ("http", http),
    ("lock", lock),
    ("log", log),
    ("manifest", manifest),
    ("pack", pack),
    ("resp", resp),
    ("s3", s3),
    ("tar", tar),
    ("uris", uris),
    ("version", version),
    ("zip", zip),
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Compose file: what is told has a line that exists, what is changed opens nothing and takes no line away, and the manifest that says the
/// same is one.
pub(crate) fn compose(bytes: &[u8]) {
    let text = text(bytes);
    let before = scan(&text);
    let lines = 1 + text.matches('\n').count();
    let told = before.open.iter().map(|binding| binding.line).chain(before.unread.iter().map(|u| u.line));
    assert!(told.into_iter().all(|line| (1..=lines).contains(&line)), "{before:?}");
    let new = changed(&text, &before);
    let without_change = before.open.iter().filter(|binding| binding.change.is_none()).count();
    assert!(new.matches('\n').count() >= lines - 1);
    assert!(before.open.len() > without_change || new == text);
    assert!(scan(&new).open.len() <= before.open.len(), "{new}");

    assert!(siblings(&text).iter().all(|name| !name.contains('/') && !name.starts_with('.')));
    let described = describe(&[File { name: "f", text: &text, named: true }], &Variables::new());
    let told =
        described.services.iter().map(|service| &service.at).chain(described.unread.iter().map(|(at, _)| at));
    assert!(told.into_iter().all(|at| (1..=lines).contains(&at.line)), "{described:?}");
    let nothing = resolve(&[], &Flags::default()).expect("the release is a whole model");
    match from_compose(&nothing, &described, &["f"]) {
        Ok(manifest) => {
            let read = resolve(&[Layer { name: "m", text: &manifest.text }], &Flags::default());
            assert!(
                read.is_ok_and(|read| read.bind.value == "127.0.0.1" && read.warnings.is_empty()),
                "{}",
                manifest.text
            );
        }
        Err(failure) => assert_eq!(failure.code, "nothing-to-take-over"),
    }
}

/// `ecosystem.toml`: every problem has a line that exists, and the same text means the same twice.
pub(crate) fn manifest(bytes: &[u8]) {
    let text = text(bytes);
    let read = || resolve(&[Layer { name: "m", text: &text }], &Flags::default());
    let once = read();
    assert_eq!(once, read());
    let lines = 1 + text.matches('\n').count();
    for problem in once.err().into_iter().flatten() {
        assert!(problem.line.is_some_and(|line| (1..=lines).contains(&line)), "{problem:?}");
        assert!(!problem.what.chars().any(char::is_control), "{problem:?}");
    }
}

/// `ecosystem.lock`: what is accepted is printed so that it reads back the same, and holds nothing but plain words.
pub(crate) fn lock(bytes: &[u8]) {
    let Ok(lock) = Lock::parse(&text(bytes), "x") else { return };
    let plain = |word: &str| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || "+.-:~=_".contains(c)) && !word.starts_with('-')
    };
    let pins = lock.debian.iter().flat_map(|(name, pins)| std::iter::once(name).chain(pins));
    assert!(pins.chain(lock.maven.keys()).all(|word| plain(word)), "{lock:?}");
    let printed = lock.print();
    assert_eq!(Lock::parse(&printed, "x").as_ref(), Ok(&lock), "{printed}");
}

/// A reply of Redis is never larger than what was sent.
pub(crate) fn resp(bytes: &[u8]) {
    fn size(reply: &resp::Reply) -> usize {
        match reply {
            resp::Reply::Status(text) | resp::Reply::Error(text) | resp::Reply::Text(text) => text.len(),
            resp::Reply::Integer(_) | resp::Reply::Nothing => 0,
            resp::Reply::Array(items) => items.iter().map(|item| 1 + size(item)).sum(),
        }
    }
    let mut input = BufReader::with_capacity(16, bytes);
    while let Ok(reply) = resp::reply(&mut input) {
        // A byte that is not UTF-8 becomes three.
        assert!(size(&reply) <= 3 * bytes.len(), "{reply:?}");
    }
}

/// Frames of AMQP are written as they were read; values never reach beyond their frame.
pub(crate) fn amqp(bytes: &[u8]) {
    let mut input = bytes;
    while let Ok(frame) = Frame::read(&mut input) {
        let written = frame.encode();
        let read = &bytes[..bytes.len() - input.len()];
        assert!(read.ends_with(&written));
        let _start = values(&frame.payload);
    }
    let _start = values(bytes);
}

/// The values of Connection.Start, and one of each other kind.
fn values(payload: &[u8]) -> std::io::Result<()> {
    let mut reader = Reader(payload);
    reader.short()?;
    reader.short()?;
    reader.octet()?;
    let table = reader.table()?;
    assert!(format!("{table:?}").len() < 16 * (payload.len() + 64));
    reader.long_text()?;
    reader.short_text()?;
    reader.long()?;
    Ok(())
}

/// The first byte chooses the status; the rest is a body. What a person is shown of it is short.
pub(crate) fn http(bytes: &[u8]) {
    let [status, body @ ..] = bytes else { return };
    let reply = Reply { status: 100 + u16::from(*status), body: body.to_vec() };
    assert!(!reply.reason().is_empty());
    if reply.json().is_err() {
        assert!(reply.reason().chars().count() <= 204, "{}", reply.reason());
    }
}

/// An answer of an object store: whatever it is, it is read or refused, and a page that goes on says where.
pub(crate) fn s3(bytes: &[u8]) {
    let _names = s3::buckets(bytes);
    let _id = s3::begun(bytes);
    let _ids = s3::unfinished(bytes, "a");
    if let Ok(page) = s3::page(bytes) {
        assert!(page.objects.len() <= bytes.len() / "<Contents/>".len());
    }
}

/// Definitions of RabbitMQ can be read again once they are written.
pub(crate) fn definitions(bytes: &[u8]) {
    let Ok(definitions) = serde_json::from_slice::<Definitions>(bytes) else { return };
    let written = serde_json::to_vec(&definitions).expect("values of JSON can be written");
    assert!(serde_json::from_slice::<Definitions>(&written).is_ok());
}

/// A pack: the manifest, then after a line of dashes what is in each of its files. Nothing in it leads out of its folder.
pub(crate) fn pack(bytes: &[u8]) {
    let all = text(bytes);
    let (manifest, content) = all.split_once("\n---\n").unwrap_or((&all, ""));
    let Ok(parsed) = pack::Manifest::parse(manifest) else { return };
    let folder = tempfile::tempdir().expect("a folder for a pack");
    let root = Utf8Path::from_path(folder.path()).expect("a path in UTF-8");
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        let parent = path.parent().expect("a file has a folder");
        // Two files of a manifest may not fit beside each other: one is the folder of the other.
        let _in_the_way = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text));
        assert!(path.components().all(|part| part.as_str() != ".."), "{path}");
    };
    write(pack::FILE, manifest);
    for path in Part::ALL.into_iter().flat_map(|part| parsed.files(part)) {
        assert!(!path.as_str().starts_with('/'), "{path}");
        if path.as_str() != pack::FILE {
            write(path.as_str(), content);
        }
    }
    let Ok(read) = Pack::open(root) else { return };
    for part in read.manifest.parts() {
        assert_eq!(read.digest(part).len(), 64);
        read.expected(part);
        // Refused or not, it ends.
        let _refused = read.check(part);
    }
}

/// An archive of a pack, and the same bytes as what comes out of its frame: it is unpacked as a whole or not at all, and nothing is made beside it.
pub(crate) fn archive(bytes: &[u8]) {
    // One frame with a window of 1 MB, in blocks that are stored as they are.
    let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    let blocks: Vec<&[u8]> = bytes.chunks(128 << 10).collect();
    for (number, block) in blocks.iter().enumerate() {
        let last = number + 1 == blocks.len();
        let header = u32::try_from(block.len() << 3).expect("a block is small") | u32::from(last);
        stored.extend(&header.to_le_bytes()[..3]);
        stored.extend(*block);
    }
    for bytes in [bytes, &stored] {
        let outside = tempfile::tempdir().expect("a folder for a project");
        let outside = Utf8Path::from_path(outside.path()).expect("a path in UTF-8");
        let (seeds, unpacked) = (outside.join("seeds"), outside.join("packs"));
        std::fs::create_dir(&seeds).expect("a folder for packs");
        std::fs::write(seeds.join("x.tar.zst"), bytes).expect("a file for an archive");
        let read = find(&seeds, "x").expect("there is one").open(&unpacked, &Silent);
        assert_eq!(seeds.read_dir_utf8().expect("the folder is there").count(), 1);
        assert!(outside.read_dir_utf8().expect("the folder is there").count() <= 2);
        let entries = unpacked.read_dir_utf8().into_iter().flatten().flatten();
        let made = entries.filter(|entry| entry.file_name() != "lock").count();
        assert_eq!(made, usize::from(read.is_ok()), "{read:?}");
        leads_nowhere_else(&unpacked, &unpacked);
        if let Ok(pack) = read {
            for part in pack.manifest.parts() {
                let _refused = pack.check(part);
            }
        }
    }
}

/// Messages of the control socket, in both directions.
pub(crate) fn control(bytes: &[u8]) {
    let mut input = Cursor::new(bytes);
    // Every message takes at least a byte.
    while input.position() < bytes.len() as u64 {
        let _read: Result<Option<Request>, _> = control::receive(&mut input);
    }
    let _read: Result<Option<Response>, _> = control::receive(&mut Cursor::new(bytes));
}

/// What apt prints: every package that is read from it is `package=version`, and no option.
pub(crate) fn uris(bytes: &[u8]) {
    for package in parse_uris(&text(bytes)) {
        let pin = package.pin();
        assert!(pin.starts_with(|c: char| c.is_ascii_alphanumeric()), "{pin}");
        assert!(pin.chars().all(|c| c.is_ascii_alphanumeric() || "+.-:~=".contains(c)), "{pin}");
    }
}

/// Coordinates of Maven print as they were read, and never lead out of a folder.
pub(crate) fn gav(bytes: &[u8]) {
    let text = text(bytes);
    let Ok(gav) = Gav::parse(&text) else { return };
    assert_eq!(gav.to_string(), text);
    let parts = |path: &str| path.split('/').map(ToOwned::to_owned).collect::<Vec<_>>();
    assert!(parts(&gav.folder()).iter().all(|part| part != ".." && part != "."), "{}", gav.folder());
    assert!(!gav.folder().starts_with('/') && !gav.file_name().contains('/'));
}

/// Versions read back as they are printed.
pub(crate) fn version(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(version) = Version::read(&text) {
        assert_eq!(Version::read(&version.to_string()), Some(version), "{text}");
    }
}

/// Whatever a tar archive holds, nothing outside of its folder is made, changed or linked to.
pub(crate) fn tar(bytes: &[u8]) {
    let outside = tempfile::tempdir().expect("a folder for an archive");
    let outside = Utf8Path::from_path(outside.path()).expect("a path in UTF-8");
    let (canary, inside) = (outside.join("canary"), outside.join("inside"));
    std::fs::write(&canary, "sings").expect("a file beside the archive");
    std::fs::create_dir(&inside).expect("a folder for its content");
    let unpacked = untar(bytes, &inside, "x.tar").is_ok();
    assert_eq!(std::fs::read_to_string(&canary).ok().as_deref(), Some("sings"));
    assert_eq!(outside.read_dir_utf8().expect("the folder is there").count(), 2);
    if unpacked {
        leads_nowhere_else(&inside, &inside.canonicalize_utf8().expect("the folder is there"));
    }
}

fn leads_nowhere_else(folder: &Utf8Path, root: &Utf8Path) {
    // An archive can make a folder that cannot be read.
    for entry in folder.read_dir_utf8().into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            let real = entry.path().canonicalize_utf8();
            assert!(real.is_err() || real.is_ok_and(|real| real.starts_with(root)), "{}", entry.path());
        } else if kind.is_dir() {
            leads_nowhere_else(entry.path(), root);
        }
    }
}

/// A bundle comes into the store as a whole or not at all, and nothing beside the store is made, changed or linked to.
pub(crate) fn bundle(bytes: &[u8]) {
    let outside = tempfile::tempdir().expect("a folder for a bundle");
    let outside = Utf8Path::from_path(outside.path()).expect("a path in UTF-8");
    let (file, store) = (outside.join("x.tar"), outside.join("store"));
    std::fs::write(&file, bytes).expect("a file for a bundle");
    std::fs::create_dir(&store).expect("a folder for its content");
    let entries = |folder: &Utf8Path| -> Vec<String> {
        let found = folder.read_dir_utf8().into_iter().flatten().flatten();
        found.map(|entry| entry.file_name().to_owned()).collect()
    };
    let taken = unbundle(&store, &file);
    assert_eq!(entries(outside).len(), 2, "something was made beside the store");
    assert!(entries(&store.join("tmp")).is_empty(), "something was left behind");
    let made = entries(&store).into_iter().filter(|name| name != "locks" && name != "tmp").count();
    match taken {
        Ok(taken) => assert_eq!((made, taken.bytes), (taken.entries.len(), bytes.len() as u64)),
        Err(error) => assert_eq!(made, 0, "refused, and there all the same: {error:#}"),
    }
    leads_nowhere_else(&store, &store.canonicalize_utf8().expect("the folder is there"));
}

/// Lines of servers' logs: none is lost, times print as they are read, and logs that are laid between each other keep their order.
pub(crate) fn log(bytes: &[u8]) {
    let text = text(bytes);
    let lines = LogReader::default().lines(&text);
    assert!(lines.iter().map(|line| line.text.as_str()).eq(text.lines().map(str::trim_end)));
    let dated = lines.iter().filter(|line| line.at.is_some()).count();
    assert!(dated == 0 || dated == lines.len(), "a line belongs to the one before");
    for at in lines.iter().filter_map(|line| line.at) {
        let printed = at.to_string();
        // Years of four digits, which are all that a log can name; its distance from UTC may lead beyond them.
        if printed.starts_with(|c: char| c.is_ascii_digit()) && printed.find('-') == Some(4) {
            assert_eq!(LogReader::default().line(&printed).at, Some(at), "{printed}");
            let mark = format!("=== started x, pid 1, {printed}");
            assert_eq!(started(&mark).map(|started| started.at), Some(at), "{printed}");
        }
    }
    let _period = period(&text);
    assert!(lines.iter().all(|line| matches(&line.text, "")));
    let half = lines.len() / 2;
    let numbered = |from: usize, part: &[ecosystem_core::log::Line]| -> Vec<_> {
        part.iter().enumerate().map(|(index, line)| (line.at, from + index)).collect()
    };
    let merged = interleave(vec![numbered(0, &lines[..half]), numbered(half, &lines[half..])]);
    assert_eq!(merged.len(), lines.len());
    let (first, second): (Vec<usize>, Vec<usize>) = merged.into_iter().partition(|index| *index < half);
    assert!(first.is_sorted() && second.is_sorted());
}

/// A member of a zip file is read to its end, or refused; all of it stays in its folder.
pub(crate) fn zip(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder for an archive");
    let path = Utf8Path::from_path(folder.path()).expect("a path in UTF-8").join("x.jar");
    std::fs::write(&path, bytes).expect("a file for an archive");
    let _size = zip_member(&path, "t", |member| {
        let mut content = Vec::new();
        Ok(member.take(LIMIT).read_to_end(&mut content)?)
    });
    let inside = path.with_file_name("inside");
    std::fs::create_dir(&inside).expect("a folder for its content");
    let _unpacked = unpack(&path, Format::Zip, &inside, "x.zip", |_| {});
    let root = inside.canonicalize_utf8().expect("the folder is there");
    leads_nowhere_else(&inside, &root);
    assert_eq!(root.parent().and_then(|outside| outside.read_dir_utf8().ok()).map(Iterator::count), Some(2));
}
