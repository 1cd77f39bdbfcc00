//! Bundles that lie: each is refused, and nothing of it reaches the store.

use ecosystem_core::artifact::{Facts, Installed, Key};

use super::super::write;
use super::*;
use crate::event::Silent;
use crate::provision::store::Built;

fn here() -> Platform {
    Platform { system: "linux".into(), machine: "x86_64".into(), suite: "bookworm".into() }
}

struct Fixture {
    _folder: tempfile::TempDir,
    from: Store,
    to: Store,
    file: camino::Utf8PathBuf,
}

impl Fixture {
    fn new() -> (Self, List) {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let (from, to) = (Store::at(&root.join("from")), Store::at(&root.join("to")));
        let id = Id { name: "redis".into(), version: "7".into(), key: Key::of(["x"]) };
        let made = from
            .ensure(&id, &Silent, |folder| {
                sys::fs::write_atomic(&folder.join("bin/server"), b"program", 0o700)?;
                sys::fs::write_atomic(&folder.join("etc/conf"), b"text", 0o600)?;
                std::fs::create_dir(folder.join("empty"))?;
                std::os::unix::fs::symlink("server", folder.join("bin/link"))?;
                std::os::unix::fs::symlink("/etc/hostname", folder.join("bin/outside"))?;
                let paths = BTreeMap::from([("server".to_owned(), folder.join("bin/server"))]);
                Ok(Built { facts: Facts { paths, ..Facts::default() }, ..Built::default() })
            })
            .unwrap();
        let list = write::list(&from, std::iter::once(made), here(), BTreeMap::new()).unwrap();
        (Self { _folder: folder, from, to, file: root.join("x.tar") }, list)
    }

    fn write(&self, list: &List) {
        let _earlier = std::fs::remove_file(&self.file);
        write::write(&self.from, list, &self.file, &Silent).unwrap();
    }

    fn adopt(&self) -> anyhow::Result<Bundled> {
        Ok(adopt(&self.to, &self.file, &here(), &BTreeMap::new(), &Silent)?.0)
    }

    /// The code of the refusal, after making sure that the store is as empty as before.
    #[track_caller]
    fn refused(&self) -> &'static str {
        let error = self.adopt().unwrap_err();
        let left: Vec<_> =
            entries(self.to.root()).into_iter().filter(|name| name.starts_with("redis")).collect();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(entries(&self.to.root().join("tmp")), Vec::<String>::new());
        error.downcast_ref::<Failure>().unwrap_or_else(|| panic!("{error:#}")).code
    }
}

fn entries(folder: &Utf8Path) -> Vec<String> {
    folder.read_dir_utf8().into_iter().flatten().map(|entry| entry.unwrap().file_name().to_owned()).collect()
}

fn installed(list: &mut List) -> &mut Installed {
    &mut list.entries[0].record.installed
}

#[test]
fn a_bundle_arrives_whole_and_only_once() {
    let (fixture, list) = Fixture::new();
    fixture.write(&list);
    let first = fixture.adopt().unwrap();
    assert_eq!((first.entries[0].files, first.entries[0].present), (2, false));
    let folder = fixture.to.root().join(&list.entries[0].folder);
    assert_eq!(std::fs::read(folder.join("bin/link")).unwrap(), b"program");
    assert!(folder.join("empty").is_dir());
    assert!(folder.join("bin/outside").symlink_metadata().is_err(), "links to the system stay behind");
    let record = fixture.to.clone().thorough(true).record(&folder).unwrap();
    assert_eq!(record.unwrap().installed.root, "");
    let again = fixture.adopt().unwrap();
    assert!(again.entries[0].present && again.sha256 == first.sha256);
    let bytes = std::fs::read(&fixture.file).unwrap();
    assert_eq!(archive::sha256(&fixture.file).unwrap().0, first.sha256);
    fixture.write(&list);
    assert_eq!(std::fs::read(&fixture.file).unwrap(), bytes, "the same content is the same bytes");
}

#[test]
fn a_bundle_cannot_slip_options_to_apt() {
    let (fixture, mut list) = Fixture::new();
    for (pin, code) in [("-oAPT::Update::Pre-Invoke::=id", "bundle-invalid"), ("redis", "bundle-invalid")] {
        list.resolved.insert("bookworm.amd64.redis".into(), vec!["redis=7".into(), pin.into()]);
        fixture.write(&list);
        assert_eq!(fixture.refused(), code, "{pin}");
    }
}

#[test]
fn a_bundle_that_was_cut_anywhere_is_refused() {
    let (fixture, list) = Fixture::new();
    fixture.write(&list);
    let whole = std::fs::read(&fixture.file).unwrap();
    // The last two blocks only say that this is the end.
    for length in (0..whole.len() - 1024 - 512).step_by(300) {
        sys::fs::write_atomic(&fixture.file, &whole[..length], 0o600).unwrap();
        assert_eq!(fixture.refused(), "bundle-invalid", "{length} of {}", whole.len());
    }
}

#[test]
fn a_bundle_with_a_changed_byte_is_refused() {
    let (fixture, list) = Fixture::new();
    fixture.write(&list);
    let whole = std::fs::read(&fixture.file).unwrap();
    let at = whole.windows(7).rposition(|bytes| bytes == b"program").unwrap();
    let mut changed = whole.clone();
    changed[at] = b'P';
    sys::fs::write_atomic(&fixture.file, &changed, 0o600).unwrap();
    assert_eq!(fixture.refused(), "bundle-invalid");
}

#[test]
fn paths_that_leave_are_refused() {
    type Lie = fn(&mut List);
    let lies: [(&str, Lie); 9] = [
        ("absolute", |list| list.entries[0].members[0].path = "/tmp/evil".into()),
        ("up", |list| list.entries[0].members[0].path = "../evil".into()),
        ("a folder that is none", |list| list.entries[0].members[1].path = "other/x".into()),
        ("twice", |list| {
            let again = list.entries[0].members[0].clone();
            list.entries[0].members.push(again);
        }),
        ("the record itself", |list| list.entries[0].members[0].path = RECORD.into()),
        ("entry", |list| list.entries[0].folder = "../redis".into()),
        ("version", |list| installed(list).version = "../7".into()),
        ("absolute fact", |list| {
            installed(list).facts.paths.insert("server".into(), "/bin/sh".into());
        }),
        ("fact that goes up", |list| installed(list).facts.libraries.push("../../lib".into())),
    ];
    for (name, lie) in lies {
        let (fixture, mut list) = Fixture::new();
        let honest = write_raw(&list);
        lie(&mut list);
        fixture.raw(&list, &honest);
        assert_eq!(fixture.refused(), "archive-hostile", "{name}");
    }
}

#[test]
fn links_that_leave_are_refused() {
    for target in ["/etc/passwd", "../../evil", "../../../..", "", "link/..", "server/../../etc"] {
        let (fixture, mut list) = Fixture::new();
        let honest = write_raw(&list);
        for member in &mut list.entries[0].members {
            if let MemberKind::Link { target: present } = &mut member.kind {
                *present = target.into();
            }
        }
        fixture.raw(&list, &honest);
        assert_eq!(fixture.refused(), "archive-hostile", "{target}");
    }
}

#[test]
fn members_that_are_not_what_the_list_says_are_refused() {
    let kinds = [tar::EntryType::Char, tar::EntryType::Fifo, tar::EntryType::Link, tar::EntryType::Symlink];
    for kind in kinds {
        let (fixture, list) = Fixture::new();
        let mut members = write_raw(&list);
        let file = members.iter_mut().find(|(_, kind, _)| kind.is_file()).unwrap();
        file.1 = kind;
        fixture.raw(&list, &members);
        assert_eq!(fixture.refused(), "bundle-invalid", "{kind:?}");
    }
    let (fixture, list) = Fixture::new();
    let mut members = write_raw(&list);
    members.push(("redis-7-more/x".to_owned(), tar::EntryType::Regular, b"more".to_vec()));
    fixture.raw(&list, &members);
    assert_eq!(fixture.refused(), "bundle-invalid");
}

#[test]
fn a_bundle_for_another_machine_or_of_another_format_is_refused() {
    let (fixture, mut list) = Fixture::new();
    list.platform.suite = "trixie".into();
    fixture.write(&list);
    assert_eq!(fixture.refused(), "bundle-other-platform");
    list.format = 2;
    fixture.write(&list);
    assert_eq!(fixture.refused(), "bundle-other-version");
}

#[test]
fn jars_that_the_lock_does_not_know_are_refused() {
    let (fixture, mut list) = Fixture::new();
    installed(&mut list).name = "opensearch".into();
    let folder = list.entries[0].folder.replace("redis", "opensearch");
    list.entries[0].folder = folder;
    for member in &mut list.entries[0].members {
        if member.path == "etc/conf" {
            member.path = "etc/x.jar".into();
        }
    }
    fixture.raw(&list, &[]);
    assert_eq!(fixture.refused(), "artifact-changed");
}

/// Name, type and content of each member that the list promises.
type Raw = (String, tar::EntryType, Vec<u8>);

fn write_raw(list: &List) -> Vec<Raw> {
    let mut members = Vec::new();
    for entry in &list.entries {
        for member in &entry.members {
            let name = format!("{}/{}", entry.folder, member.path);
            members.push(match &member.kind {
                MemberKind::Folder => (name, tar::EntryType::Directory, vec![]),
                MemberKind::Link { .. } => (name, tar::EntryType::Symlink, vec![]),
                MemberKind::File { .. } if member.path == "bin/server" => {
                    (name, tar::EntryType::Regular, b"program".to_vec())
                }
                MemberKind::File { .. } => (name, tar::EntryType::Regular, b"text".to_vec()),
            });
        }
    }
    members
}

impl Fixture {
    /// Writes a bundle byte by byte, as somebody with bad intentions would.
    fn raw(&self, list: &List, members: &[Raw]) {
        let mut builder = tar::Builder::new(Vec::new());
        let mut append = |name: &str, kind, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            if kind == tar::EntryType::Symlink || kind == tar::EntryType::Link {
                header.set_link_name_literal("server").unwrap();
            }
            header.set_cksum();
            builder.append(&header, content).unwrap();
        };
        append(LIST, tar::EntryType::Regular, &serde_json::to_vec(list).unwrap());
        for (name, kind, content) in members {
            append(name, *kind, content);
        }
        sys::fs::write_atomic(&self.file, &builder.into_inner().unwrap(), 0o600).unwrap();
    }
}
