//! `dev prove manifests`: whatever stands in place of a manifest or lock file is refused by name, at once, and within little memory.
//!
//! Every round lays one bad file into an empty project and runs `up --dry-run` there, as a person would.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::Utf8Path;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Counts, Trial};
use crate::context::Context;
use crate::sys::cmd::Cmd;
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::os;

/// A manifest is refused within this. The best of a few tries counts: the machine may be busy with something else.
const SOON: Duration = Duration::from_millis(100);
const TRIES: usize = 5;
/// A build that is not optimised has to end, that is all.
const EVER: Duration = Duration::from_secs(20);
/// How much memory of its own the program may have, in bytes. The kernel gives it no more.
const MEMORY: u64 = 64 << 20;
/// The most that a person is to read, in bytes.
const READABLE: usize = 16 << 10;
/// Just below the longest manifest that is read at all.
const LONG: usize = (64 << 10) - 64;

/// One thing that stands in place of a file.
struct Case {
    name: &'static str,
    file: &'static str,
    what: Object,
    /// What the message has to hold, besides the name of the file.
    says: &'static str,
}

enum Object {
    Bytes(Vec<u8>),
    /// A file of this length that takes no room.
    Sparse(u64),
    Folder,
    Pipe,
    Socket,
    Link(&'static str),
}

/// The proof: every case in turn.
pub(super) struct Manifests<'a> {
    context: &'a Context,
    cases: Vec<Case>,
    next: usize,
    before: Rlimit,
}

impl<'a> Manifests<'a> {
    /// Collects the cases, and takes the memory away: what this process starts from now on has no more than it may have.
    pub(super) fn new(context: &'a Context) -> anyhow::Result<Self> {
        let before = getrlimit(Resource::Data);
        setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), ..before })
            .context("cannot limit memory")?;
        Ok(Self { context, cases: cases(), next: 0, before })
    }
}

impl Drop for Manifests<'_> {
    fn drop(&mut self) {
        // It was allowed before.
        let _restored = setrlimit(Resource::Data, self.before);
    }
}

impl Trial for Manifests<'_> {
    const NAME: &'static str = "manifests";
    const ROUNDS: usize = 90;

    fn round(&mut self, _random: &mut fastrand::Rng, counts: &mut Counts) -> anyhow::Result<()> {
        let case = &self.cases[self.next % self.cases.len()];
        self.next += 1;
        let folder = tempfile::tempdir()?;
        let root = utf8(folder.path().canonicalize()?)?;
        lay(&root, case).with_context(|| format!("cannot make {}", case.name))?;
        let took = refuse(self.context, &root, case).with_context(|| case.name.to_owned())?;
        counts.add(case.file);
        counts.highest("milliseconds at most", usize::try_from(took.as_millis()).unwrap_or(usize::MAX));
        Ok(())
    }

    fn recover(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Runs the program in a project with a bad file, and judges its answer. Returns how long that took.
fn refuse(context: &Context, root: &Utf8Path, case: &Case) -> anyhow::Result<Duration> {
    let limit = if cfg!(debug_assertions) { EVER } else { SOON };
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let begin = Instant::now();
        let output = Cmd::new(os::this_program()?)
            .args(["up", "--dry-run"])
            .env("ECOSYSTEM_STATE", "")
            .env("ECOSYSTEM_STORE", context.store()?.into_string())
            .env("CI", "1")
            .cwd(root)
            .limit(EVER)
            .run()?;
        best = best.min(begin.elapsed());
        let said = output.stderr.trim();
        anyhow::ensure!(!output.timed_out, "it did not end within {EVER:?}");
        anyhow::ensure!(output.status == 4, "exit status {} instead of 4: {said}", output.status);
        for part in [case.file, case.says] {
            anyhow::ensure!(said.contains(part), "`{part}` is missing in: {said}");
        }
        anyhow::ensure!(said.len() <= READABLE, "{} bytes are no message for a person", said.len());
        let raw = said.chars().find(|c| c.is_control() && *c != '\n');
        anyhow::ensure!(raw.is_none(), "the message holds the control character {raw:?}");
        anyhow::ensure!(!root.join(".ecosystem").exists(), "a plan made a state folder");
        if best <= limit {
            return Ok(best);
        }
    }
    anyhow::bail!("it took {best:?} in the best of {TRIES} tries; {limit:?} are allowed")
}

fn lay(root: &Utf8Path, case: &Case) -> anyhow::Result<()> {
    let path = root.join(case.file);
    if case.file != "ecosystem.toml" {
        // Below the ports that the kernel gives to clients; nothing is started.
        write_atomic(&root.join("ecosystem.toml"), b"port_offset = 6900\n", 0o600)?;
    }
    match &case.what {
        Object::Bytes(bytes) => write_atomic(&path, bytes, 0o600)?,
        Object::Sparse(length) => std::fs::File::create(&path)?.set_len(*length)?,
        Object::Folder => std::fs::create_dir(&path)?,
        Object::Pipe => anyhow::ensure!(Cmd::new("mkfifo").args([&path]).run()?.ok(), "no pipe"),
        // Dropped, the name stays.
        Object::Socket => drop(std::os::unix::net::UnixListener::bind(&path)?),
        Object::Link(target) => std::os::unix::fs::symlink(target, &path)?,
    }
    if !matches!(case.what, Object::Link(_)) {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Everything that is tried.
fn cases() -> Vec<Case> {
    let manifest = |name, says, text: String| Case {
        name,
        file: "ecosystem.toml",
        what: Object::Bytes(text.into_bytes()),
        says,
    };
    let mut all = Vec::new();
    for file in ["ecosystem.toml", "ecosystem.local.toml", "ecosystem.lock"] {
        let case = |name, what, says| Case { name, file, what, says };
        all.extend([
            case("a folder", Object::Folder, "it is a folder"),
            case("a pipe", Object::Pipe, "it is a named pipe"),
            case("a socket", Object::Socket, "it is a socket"),
            case("a device", Object::Link("/dev/zero"), "it is a device"),
            case("a link to nowhere", Object::Link("nowhere"), "a link to nowhere, where nothing is"),
            case("a link to itself", Object::Link(file), "ymbolic link"),
            case("a gigabyte", Object::Sparse(1 << 30), "it is longer than"),
            case("zeros", Object::Sparse(1 << 12), ""),
            case("not UTF-8", Object::Bytes(b"a = 1\nb = \"\xff\xfe\"\n".to_vec()), "not UTF-8"),
            case("a program", Object::Bytes(b"\x7fELF\x02\x01\x01\0\0\0".to_vec()), ""),
            case("torn", Object::Bytes(b"[services.redis\nimage = \"red".to_vec()), ""),
            case("a merge", Object::Bytes(b"<<<<<<< HEAD\na = 1\n=======\n".to_vec()), ""),
        ]);
    }
    all.extend([
        manifest("1 MB of unknown keys", "it is longer than", filled(1 << 20, "", |i| format!("k{i}=1\n"))),
        manifest("unknown keys", "ecosystem.toml:1: unknown key", long("", |i| format!("k{i}=1\n"))),
        manifest("unknown tables", "more", long("", |i| format!("[a{i}]\n"))),
        manifest("unknown ports", "more", long("[services.redis.ports]\n", |i| format!("a{i}=1\n"))),
        manifest("one line, no key", "more", long("", |_| "=\n".to_owned())),
        manifest("quotes", "more", long("", |_| "\"\n".to_owned())),
        manifest("a duplicate key", ":2: this is not TOML: duplicate", "seed=\"a\"\nseed=\"b\"\n".to_owned()),
        manifest("duplicate keys", "duplicate key", long("", |_| "bind=\"127.0.0.1\"\n".to_owned())),
        manifest("lists in lists", "recurs", format!("bind = {}", "[".repeat(LONG - 7))),
        manifest("lists in lists, closed", "recurs", nested("bind = ", "[", "]")),
        manifest("tables in tables", "recurs", nested("bind = ", "{a=", "}")),
        manifest("a long path", "recurs", format!("a{} = 1\n", ".a".repeat(LONG / 2 - 4))),
        manifest("a long header", "recurs", format!("[a{}]\n", ".a".repeat(LONG / 2 - 4))),
        manifest("100,000 levels", "it is longer than", nested_by(100_000, "bind = ", "[", "]")),
        manifest("tables in lists", "unknown key", long("", |_| "[[a]]\n".to_owned())),
        manifest("a long key", "unknown key", format!("{} = 1\n", "a".repeat(LONG - 5))),
        manifest("a long text", "…", format!("bind = \"{}\"\n", "1".repeat(LONG - 10))),
        manifest("a long number", "port_offset", format!("port_offset = {}\n", "9".repeat(LONG - 15))),
        manifest("a text without end", "not TOML", format!("bind = \"\"\"{}", "\n".repeat(LONG - 11))),
        manifest(
            "profiles in a chain",
            "at most 200",
            long("[profiles]\n", |i| format!("p{i}=[\"@p{}\"]\n", i + 1)),
        ),
        manifest("every profile in every other", "contain themselves", web(60)),
        manifest("a profile of profiles, doubling", "unknown service", doubling(100)),
        manifest(
            "a profile of strangers",
            "more",
            long("[profiles]\nx=[\n", |i| format!("\"a{i}\",\n")) + "]\n",
        ),
        manifest("a profile that holds itself", "@a → @a", "[profiles]\na = [\"@a\"]\n".to_owned()),
        manifest("services", "at most 200", long("", |i| format!("[services.a{i}]\nkind=\"redis\"\n"))),
        manifest("services on one port", "more", many_services(199)),
        manifest("a port twice", ":4: services.rabbitmq.ports.amqp is 6579", ports_twice()),
        manifest("NUL", ":1: this is not TOML", "bind = \"\0\"\n".to_owned()),
        manifest("an escaped NUL", ":1: bind is the text", "bind = \"\\u0000\"\n".to_owned()),
        manifest("CRLF", ":2: unknown key `relase`", "bind = \"127.0.0.1\"\r\nrelase = \"x\"\r\n".to_owned()),
        manifest("a byte order mark", ":1: unknown key `relase`", "\u{feff}relase = \"x\"\n".to_owned()),
        manifest("old line ends", ":1: this is not TOML", "a = 1\rb = 2\r".to_owned()),
        manifest("colours", "unknown key", "\"\\u001b[31m\" = 1\n".to_owned()),
    ]);
    for (name, written) in NAMES {
        let text = format!("[services.\"{written}\"]\nkind = \"redis\"\n");
        all.push(manifest(name, "is not a name in services", text));
    }
    let long = "a".repeat(300);
    all.push(manifest("300 characters", "is not a name", format!("[services.{long}]\nkind = \"redis\"\n")));
    all
}

/// What a service cannot be called, as it is written in TOML.
const NAMES: [(&str, &str); 10] = [
    ("a way out", "../../etc"),
    ("an option", "-rf"),
    ("a command", "a;b"),
    ("a variable", "${x}"),
    ("an emoji", "🐘"),
    ("a space", "a b"),
    ("nothing", ""),
    ("two lines", "a\\nb"),
    ("a point", "."),
    ("capitals", "CON"),
];

/// Lines until the manifest is as long as one can be.
fn long(head: &str, line: impl Fn(usize) -> String) -> String {
    filled(LONG, head, line)
}

fn filled(length: usize, head: &str, line: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    let mut lines = (0..).map(line);
    while let Some(line) = lines.next().filter(|line| text.len() + line.len() < length) {
        text.push_str(&line);
    }
    text
}

fn nested(head: &str, open: &str, close: &str) -> String {
    nested_by((LONG - head.len() - 2) / (open.len() + close.len()), head, open, close)
}

fn nested_by(levels: usize, head: &str, open: &str, close: &str) -> String {
    format!("{head}{}1{}\n", open.repeat(levels), close.repeat(levels))
}

fn web(count: usize) -> String {
    let others = |i: usize| {
        let names: Vec<String> = (0..count).filter(|j| *j != i).map(|j| format!("\"@p{j}\"")).collect();
        names.join(",")
    };
    (0..count).fold("[profiles]\n".to_owned(), |text, i| text + &format!("p{i}=[{}]\n", others(i)))
}

fn doubling(count: usize) -> String {
    let text = "[profiles]\np0=[\"nobody\"]\n".to_owned();
    (1..count).fold(text, |text, i| text + &format!("p{i}=[\"@p{0}\",\"@p{0}\"]\n", i - 1))
}

fn many_services(count: usize) -> String {
    (0..count).fold(String::new(), |text, i| text + &format!("[services.a{i}]\nkind=\"redis\"\n"))
}

fn ports_twice() -> String {
    "[services.redis]\nports = { redis = 6579 }\n[services.rabbitmq]\nports = { amqp = 6579 }\n".to_owned()
}
