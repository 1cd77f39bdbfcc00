//! One file from an address, by the system's `curl`: gone on with where it was cut, and handed out only when its checksum is the right one.
//!
//! Deliberately not here: TLS, proxies and their certificates, which are the business of `curl` and its environment, and what is in the file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::artifact::hex;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::model::{Archive, Sum};
use sha2::{Digest, Sha256, Sha512};

use super::archive::is_page;
use super::cause::Cause;
use super::host::{self, Host};
use super::store::Store;
use super::watch::watch;
use crate::event::{Events, Section, Task, Unit};
use crate::sys;
use crate::sys::cmd::{Cmd, Output};

/// How often a connection that was cut is made again by itself, as long as each brings something.
const ATTEMPTS: usize = 5;

/// A file that is wanted, and where a part of it waits for the rest.
pub(super) struct Download<'a> {
    archive: &'a Archive,
    store: &'a Store,
    host: &'a Host,
    folder: Utf8PathBuf,
}

/// How one run of curl ended.
enum Ended {
    Whole,
    /// Something arrived, and then nothing more.
    Cut,
    /// What is there is no beginning of what the server has now.
    Another,
    Failed(Failure),
}

impl<'a> Download<'a> {
    pub(super) fn new(archive: &'a Archive, store: &'a Store, host: &'a Host) -> Self {
        let short: String = archive.sum.digits().chars().take(16).collect();
        // By its checksum: whoever is to bring these bytes, they are the same.
        let folder = store.root().join("cache/archives").join(short);
        Self { archive, store, host, folder }
    }

    fn url(&self) -> &'a str {
        &self.archive.url.value
    }

    /// What people know it by.
    fn name(&self) -> &'a str {
        let path = self.url().split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or(path)
    }

    fn part(&self) -> Utf8PathBuf {
        self.folder.join("part")
    }

    /// How much of it is here.
    fn have(&self) -> u64 {
        std::fs::metadata(self.part()).map_or(0, |meta| meta.len())
    }

    /// A file of this machine, where the address is one.
    fn local(&self) -> Option<Utf8PathBuf> {
        self.url().strip_prefix("file://").map(|path| decoded(path).into())
    }

    /// Whether nothing has to be fetched.
    pub(super) fn is_at_hand(&self) -> bool {
        self.local().is_some() || self.matches(&self.part()).is_ok_and(|same| same)
    }

    /// The file, with the right checksum. The caller holds the lock of what is made from it.
    pub(super) fn get(&self, events: &dyn Events) -> anyhow::Result<Utf8PathBuf> {
        if let Some(path) = self.local() {
            return self.of_this_machine(path);
        }
        let part = self.part();
        if self.have() > 0 && self.matches(&part)? {
            return Ok(part);
        }
        if self.host.find("curl").is_none() {
            let line = self.host.family().install("curl", "curl", "curl");
            return Err(host::missing("curl", self.url(), line).into());
        }
        sys::fs::create_private_dir(&self.folder)?;
        let task = Task::start(events, Section::Fetch, self.name());
        let begin = self.have();
        let (mut joined, mut cuts) = (begin > 0, 0);
        loop {
            let before = self.have();
            match self.attempt(&task)? {
                Ended::Whole if self.matches(&part)? => break,
                // Two halves of two files: asked for once more, from the start.
                Ended::Whole if joined => joined = false,
                Ended::Whole => return Err(self.refused(&part)?.into()),
                Ended::Another if before > 0 => joined = false,
                Ended::Cut if self.have() > before && cuts < ATTEMPTS => {
                    (joined, cuts) = (true, cuts + 1);
                    continue;
                }
                Ended::Cut | Ended::Another => {
                    return Err(self.failure(&Cause::Cut(self.url().to_owned())).into());
                }
                Ended::Failed(failure) => return Err(failure.into()),
            }
            self.forget()?;
        }
        let size = self.have();
        task.progress(size, Some(size), Unit::Bytes);
        task.finish(match begin {
            0 => format!("{} MB", size / 1_000_000),
            begin => format!("{} MB, of which {} MB were there", size / 1_000_000, begin / 1_000_000),
        });
        Ok(part)
    }

    /// Removes what was fetched: it is of no use beside what was made from it.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.folder))
            }
            _ => Ok(()),
        }
    }

    fn of_this_machine(&self, path: Utf8PathBuf) -> anyhow::Result<Utf8PathBuf> {
        if !path.is_file() {
            let message = format!("{}: there is no file {path}", self.archive.url.origin);
            return Err(Failure::new(Kind::Host, "archive-missing", message)
                .hint("download it to there, or correct `get`")
                .into());
        }
        if self.matches(&path)? { Ok(path) } else { Err(self.changed(&path, "it was left alone")?.into()) }
    }

    /// Runs curl once, from where the last one ended.
    fn attempt(&self, task: &Task<'_>) -> anyhow::Result<Ended> {
        let (have, headers) = (self.have(), self.folder.join("headers"));
        let validator = self.folder.join("validator");
        let known = sys::fs::read_optional(&validator)?.filter(|_| have > 0);
        // A file, because whoever looks at the processes of this machine reads their command lines.
        let configuration = self.folder.join("curl.conf");
        let text = configuration_of(self.url(), &self.folder, have, known.as_deref());
        sys::fs::write_atomic(&configuration, text.as_bytes(), 0o600)?;
        sys::fs::remove_optional(&headers)?;
        let command = Cmd::new("curl")
            .args(["--disable", "--config", configuration.as_str()])
            .cwd(&self.folder)
            .limit(Duration::from_hours(12));
        // Kept as soon as it is known: this program may be killed at any time.
        let keep = |answer: &Answer| match &answer.validator {
            _ if !answer.is_file() => Ok(()),
            Some(text) => sys::fs::write_atomic(&validator, text.as_bytes(), 0o600),
            None => sys::fs::remove_optional(&validator),
        };
        let mut seen = Answer::default();
        let output = watch(command, self.host.stall, &[&self.folder], || {
            if !seen.is_file() {
                seen = Answer::read(&headers);
                // Where it cannot be, the checksum says in the end whether the parts fit.
                let _known_later = keep(&seen);
            }
            task.progress(self.have(), seen.total, Unit::Bytes);
        })?;
        let answer = Answer::read(&headers);
        keep(&answer)?;
        let Some(output) = output else {
            return Ok(Ended::Failed(self.failure(&Cause::Stalled(self.host.stall.as_secs()))));
        };
        Ok(self.judge(&output, &answer))
    }

    /// What the exit status of curl means.
    fn judge(&self, output: &Output, answer: &Answer) -> Ended {
        let host = || host_of(self.url()).to_owned();
        let cause = match output.status {
            0 => return Ended::Whole,
            // The server sent all of it although the rest was asked for: what it has is another file by now, or it knows no ranges.
            33 | 36 => return Ended::Another,
            16 | 18 | 52 | 55 | 56 | 92 => return Ended::Cut,
            5 | 6 => Cause::NoNetwork(host()),
            7 | 28 => Cause::NobodyThere(host()),
            22 => Cause::Status(answer.status, self.url().to_owned()),
            23 if disk_is_full(self.store.root()) => Cause::DiskFull,
            23 => Cause::NotWritable(reason(output).to_owned()),
            35 | 51 | 53 | 54 | 58 | 59 | 60 | 77 | 80 | 82 | 83 | 90 | 91 => {
                let message = format!("curl does not trust {}: {}", host(), reason(output));
                return Ended::Failed(Failure::new(Kind::Host, "certificate-refused", message).hint(
                    "where a proxy of your network looks into connections, name its authority: CURL_CA_BUNDLE=/its/certificate.pem",
                ));
            }
            _ => {
                let message = format!("curl could not fetch {}: {}", self.url(), reason(output));
                return Ended::Failed(Failure::new(Kind::Host, "download-failed", message).hint(format!(
                    "correct `get` ({}), or download it yourself and name it: get = \"file:///…\"",
                    self.archive.url.origin
                )));
            }
        };
        Ended::Failed(self.failure(&cause))
    }

    /// The same failures as those of package clients, with the way out of this one.
    fn failure(&self, cause: &Cause) -> Failure {
        let origin = &self.archive.url.origin;
        let hint = match cause {
            Cause::NoNetwork(_) => format!(
                "connect to the network and repeat the command; a proxy is taken from https_proxy. Or download it elsewhere and name it in {origin}: get = \"file:///…\""
            ),
            Cause::NobodyThere(_) | Cause::Status(..) => {
                format!("look at `get` in {origin}: open that address in a browser, then repeat the command")
            }
            _ => return cause.failure("curl", &format!("fetch {}", self.url()), self.store.root()),
        };
        let failure = cause.failure("curl", &format!("fetch {}", self.url()), self.store.root());
        Failure { hints: vec![hint], ..failure }
    }

    /// What was fetched is something else, and goes.
    fn refused(&self, part: &Utf8Path) -> anyhow::Result<Failure> {
        let failure = if is_page(part) {
            self.failure(&Cause::Page(host_of(self.url()).to_owned()))
        } else {
            self.changed(part, "it was thrown away")?
        };
        self.forget()?;
        Ok(failure)
    }

    fn changed(&self, file: &Utf8Path, fate: &str) -> anyhow::Result<Failure> {
        let (sum, origin) = (&self.archive.sum, &self.archive.url.origin);
        let got = checksum(file, sum)?;
        let message = format!(
            "{} is not what {origin} says: its {} should be {}, and is {got}; {fate}",
            self.url(),
            sum.name(),
            sum.digits()
        );
        Ok(Failure::new(Kind::Host, "archive-changed", message)
            .hint("compare both with what its publisher names: correct the manifest, or do not use the file"))
    }

    fn matches(&self, file: &Utf8Path) -> anyhow::Result<bool> {
        Ok(file.is_file() && checksum(file, &self.archive.sum)? == self.archive.sum.digits())
    }
}

/// The checksum of a file, of the kind of the other one.
fn checksum(path: &Utf8Path, kind: &Sum) -> anyhow::Result<String> {
    match kind {
        Sum::Sha256(_) => digest::<Sha256>(path),
        Sum::Sha512(_) => digest::<Sha512>(path),
    }
}

fn digest<D: Digest>(path: &Utf8Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let (mut hash, mut buffer) = (D::new(), vec![0; 128 * 1024]);
    loop {
        sys::interrupt::check()?;
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {path}"))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// What curl says of an error, without the advice that it adds to some.
fn reason(output: &Output) -> &str {
    let said = output.stderr.lines().find_map(|line| Some(line.strip_prefix("curl: (")?.split_once(") ")?.1));
    said.unwrap_or_else(|| output.last_line())
}

/// What curl is told.
fn configuration_of(url: &str, folder: &Utf8Path, have: u64, validator: Option<&str>) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    // What was asked for encrypted is not taken unencrypted from wherever the server points to.
    let schemes = quoted(if url.starts_with("https:") { "=https" } else { "=http,https" });
    let mut text = format!(
        "url = {}\noutput = {}\ndump-header = {}\nproto = {schemes}\nproto-redir = {schemes}\n",
        quoted(url),
        quoted(folder.join("part").as_str()),
        quoted(folder.join("headers").as_str()),
    );
    text.push_str("fail\nlocation\nmax-redirs = 10\nsilent\nshow-error\ngloboff\nno-buffer\nnetrc-optional\nconnect-timeout = 30\n");
    if have > 0 {
        let _ = writeln!(text, "continue-at = {have}");
        if let Some(validator) = validator.map(str::trim).filter(|text| !text.is_empty()) {
            let _ = writeln!(text, "header = {}", quoted(&format!("If-Range: {validator}")));
        }
    }
    text
}

/// What a server said of the file, in the last of its answers: the others are redirections.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Of the whole file.
    total: Option<u64>,
    /// By which a server knows whether its file is still the same.
    validator: Option<String>,
}

impl Answer {
    fn read(headers: &Utf8Path) -> Self {
        sys::fs::read_at_most(headers, 1 << 20)
            .ok()
            .flatten()
            .map_or_else(Self::default, |text| Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let mut answer = Self::default();
        let (mut length, mut range, mut modified) = (None, None, None);
        for line in text.lines() {
            if line.starts_with("HTTP/") {
                answer = Self::default();
                (length, range, modified) = (None, None, None);
                answer.status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "content-range" => range = value.rsplit_once('/').and_then(|(_, total)| total.parse().ok()),
                // A weak one is no promise about bytes.
                "etag" if !value.starts_with("W/") => answer.validator = Some(value.to_owned()),
                "last-modified" => modified = Some(value.to_owned()),
                _ => {}
            }
        }
        answer.total = if answer.status == 206 { range } else { length };
        answer.validator = answer.validator.or(modified).filter(|text| !text.contains(char::is_control));
        answer
    }

    /// Whether it came with the file, or a part of it.
    fn is_file(&self) -> bool {
        matches!(self.status, 200 | 206)
    }
}

/// `127.0.0.1:8080` of an address.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The path of an address, with `%20` as what it stands for.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the disk has nothing left to speak of. curl does not tell why it could not write.
fn disk_is_full(folder: &Utf8Path) -> bool {
    let known = folder.ancestors().find(|folder| folder.exists());
    known
        .and_then(|folder| rustix::fs::statvfs(folder.as_std_path()).ok())
        .is_some_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts_and_redirections_do_not() {
        let text = "HTTP/1.1 302 Found\r\nETag: \"a\"\r\nContent-Length: 5\r\nLocation: /x\r\n\r\n\
                    HTTP/2 206\r\netag: \"b\"\r\ncontent-length: 10\r\ncontent-range: bytes 90-99/100\r\n\r\n";
        let answer = Answer { status: 206, total: Some(100), validator: Some("\"b\"".into()) };
        assert_eq!(Answer::of(text), answer);
        let weak = "HTTP/1.1 200 OK\nETag: W/\"b\"\nLast-Modified: Mon, 05 Jan 2026 10:00:00 GMT\nContent-Length: 7\n";
        let answer = Answer::of(weak);
        assert_eq!(
            (answer.total, answer.validator.as_deref()),
            (Some(7), Some("Mon, 05 Jan 2026 10:00:00 GMT"))
        );
        assert_eq!(Answer::of(""), Answer::default());
    }

    #[test]
    fn nothing_of_a_path_ends_a_line_of_what_curl_is_told() {
        let text = configuration_of("https://h/a.zip", "/a \"b\\".into(), 0, Some("\"e\""));
        assert!(text.contains("output = \"/a \\\"b\\\\/part\"\n"), "{text}");
        assert!(text.contains("proto-redir = \"=https\"\n") && !text.contains("continue-at"), "{text}");
        let text = configuration_of("http://h/a.zip", "/a".into(), 12, Some("\"e\""));
        assert!(text.contains("continue-at = 12\nheader = \"If-Range: \\\"e\\\"\"\n"), "{text}");
    }

    #[test]
    fn paths_are_read_as_a_browser_writes_them() {
        assert_eq!(decoded("/a%20b/%C4%8D%2"), "/a b/č%2");
        assert_eq!(host_of("http://127.0.0.1:80/x"), "127.0.0.1:80");
    }
}
