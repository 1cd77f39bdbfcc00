//! Why a download or a write did not work, told from what the package clients print and from what the system answers. Pure but for one look
//! at the free space of a disk.

use std::io::ErrorKind;

use camino::Utf8Path;
use ecosystem_core::failure::{Failure, Kind};

/// What stood in the way. Each has a code, a reason for people, and one next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A name has no address, or there is no way to any address.
    NoNetwork(String),
    /// The name is known, and nobody answers there.
    NobodyThere(String),
    /// An answer with an HTTP status other than success.
    Status(u16, String),
    /// A page for people where a file should be.
    Page(String),
    /// The connection ended in the middle of a file.
    Cut(String),
    /// The file is not the one that the index promises.
    Changed(String),
    /// No byte arrived for this many seconds.
    Stalled(u64),
    DiskFull,
    NotWritable(String),
    /// The package client's own configuration cannot be read.
    Settings(String),
}

/// The cause in what a package client printed; `None` where it says nothing that is known.
pub(super) fn of(text: &str) -> Option<Cause> {
    let line_with = |words: &[&str]| {
        text.lines().find(|line| {
            let low = line.to_ascii_lowercase();
            words.iter().any(|word| low.contains(word))
        })
    };
    if line_with(&["no space left on device", "disk quota exceeded", "wrote only"]).is_some() {
        return Some(Cause::DiskFull);
    }
    if let Some(line) = line_with(&["read-only file system", "permission denied"]) {
        return Some(Cause::NotWritable(line.trim().to_owned()));
    }
    if let Some(line) = line_with(&["non-readable settings", "non-parseable settings"]) {
        return Some(Cause::Settings(line.trim().trim_start_matches("[FATAL] ").to_owned()));
    }
    if let Some(line) = line_with(&["nosplit", "network require authentication"]) {
        return Some(Cause::Page(address(line)));
    }
    if let Some((status, line)) = text.lines().find_map(|line| Some((status(line)?, line))) {
        // apt puts the address before the status, on the line with its verdict.
        return Some(Cause::Status(status, address(line)));
    }
    let no_name = [
        "could not resolve",
        "temporary failure",
        "name or service not known",
        "unknown host",
        "unknownhost",
        "nodename nor servname",
        "network is unreachable",
        "no route to host",
    ];
    if let Some(line) = line_with(&no_name) {
        return Some(Cause::NoNetwork(address(line)));
    }
    if let Some(line) = line_with(&[
        "connection refused",
        "could not connect",
        "unable to connect",
        "timed out",
        "connection timeout",
    ]) {
        return Some(Cause::NobodyThere(address(line)));
    }
    if let Some(line) = line_with(&[
        "premature end",
        "closed connection",
        "connection reset",
        "connection failed",
        "undetermined error",
        "unexpected end of file from server",
    ]) {
        return Some(Cause::Cut(address(line)));
    }
    if let Some(line) = line_with(&["hash sum mismatch", "unexpected size", "checksum validation failed"]) {
        return Some(Cause::Changed(address(line)));
    }
    line_with(&["could not find artifact", "was not found in http"])
        .map(|line| Cause::Status(404, address(line)))
}

/// `status: 500 …` of Maven, `  404  Not Found` of apt.
fn status(line: &str) -> Option<u16> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    let number = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|code| (400..600).contains(code))
    };
    if let Some(code) = after("status: ").or_else(|| after("status code: ")).and_then(number) {
        return Some(code);
    }
    let verdict = line.starts_with("E: Failed to fetch ") || line.starts_with("W: Failed to fetch ");
    if verdict { after("  ").and_then(number) } else { None }
}

/// The last address that a line names: Maven tells the repository before the file.
fn address(line: &str) -> String {
    let starts = line.match_indices("http://").chain(line.match_indices("https://")).map(|(at, _)| at);
    let Some(start) = starts.max() else { return "a mirror".to_owned() };
    let rest = &line[start..];
    let end = rest.find(|c: char| c.is_whitespace() || "),'\"".contains(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches([':', '/', '.']).to_owned()
}

impl Cause {
    /// The failure of this cause with a message.
    fn with(&self, message: String) -> Failure {
        match self {
            Self::NoNetwork(_) => Failure::new(Kind::Host, "network-down", message),
            Self::NobodyThere(_) => Failure::new(Kind::Host, "mirror-unreachable", message),
            Self::Status(404 | 410, _) => Failure::new(Kind::Host, "mirror-lacks", message),
            Self::Status(..) => Failure::new(Kind::Host, "mirror-refused", message),
            Self::Page(_) => Failure::new(Kind::Host, "network-login", message),
            Self::Cut(_) => Failure::new(Kind::Host, "download-cut", message),
            Self::Changed(_) => Failure::new(Kind::Host, "mirror-changed", message),
            Self::Stalled(_) => Failure::new(Kind::Host, "download-stalled", message),
            Self::DiskFull => Failure::new(Kind::Host, "disk-full", message),
            Self::NotWritable(_) => Failure::new(Kind::Host, "store-unwritable", message),
            Self::Settings(_) => Failure::new(Kind::Host, "client-settings", message),
        }
    }

    fn reason(&self, store: &Utf8Path) -> String {
        match self {
            Self::NoNetwork(address) => {
                format!("{address} cannot be reached: there is no network, or it has no such name")
            }
            Self::NobodyThere(address) => format!("nobody answers at {address}"),
            Self::Status(404 | 410, address) => format!("{address} does not have it (status 404)"),
            Self::Status(status, address) => format!("{address} answers with status {status}"),
            Self::Page(address) => format!("{address} answers with a web page instead of the file"),
            Self::Cut(address) => format!("the connection to {address} ended in the middle of a file"),
            Self::Changed(address) => {
                format!("{address} has another file than its own index says; it was thrown away")
            }
            Self::Stalled(seconds) => format!("no byte has arrived for {seconds} s"),
            Self::DiskFull => format!("there is no space left on the disk of {store}{}", free(store)),
            Self::NotWritable(line) => format!("the store {store} cannot be written: {line}"),
            Self::Settings(line) => line.clone(),
        }
    }

    fn hint(&self, client: &str) -> String {
        let mirrors = if client == "mvn" { "~/.m2/settings.xml" } else { "/etc/apt" };
        match self {
            Self::NoNetwork(_) => format!(
                "connect to the network and repeat the command, or bring a bundle: `{{program}} provision --from FILE`; \
                 a proxy has to be known in {mirrors}"
            ),
            Self::NobodyThere(_) => format!("look at the mirror or proxy in {mirrors}, then repeat the command"),
            Self::Status(404 | 410, _) => {
                format!("the mirror in {mirrors} is not complete: use another one, then repeat the command")
            }
            Self::Status(401 | 403 | 407, _) => format!("give {mirrors} a login for it, then repeat the command"),
            Self::Status(..) => format!("repeat the command later, or use another mirror in {mirrors}"),
            Self::Page(_) => "log in to this network in a browser, then repeat the command".to_owned(),
            Self::Cut(_) | Self::Stalled(_) => "repeat the command: what was fetched is kept".to_owned(),
            Self::Changed(_) => {
                "open that address in a browser: where a page to log in comes, log in; else the mirror is being updated: wait a few \
                 minutes. Then repeat the command"
                    .to_owned()
            }
            Self::DiskFull => {
                "make room (`{program} provision --clean` removes what no project needs), then repeat the command"
                    .to_owned()
            }
            Self::NotWritable(_) => "give the folder to your user, or name another one: ECOSYSTEM_STORE=/some/folder".to_owned(),
            Self::Settings(_) => "mend that file, then repeat the command".to_owned(),
        }
    }

    /// The error for a person: what could not be done, and by which client.
    pub(super) fn failure(&self, client: &str, what: &str, store: &Utf8Path) -> Failure {
        self.with(format!("{client} could not {what}: {}", self.reason(store))).hint(self.hint(client))
    }
}

/// Names the cause of an error of the file system on the store. Others stay as they are.
pub(super) fn explain(error: anyhow::Error, store: &Utf8Path) -> anyhow::Error {
    if error.is::<Failure>() {
        return error;
    }
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    // Whatever was to be read or written below it: it is no folder.
    let blocked = (store.exists() && !store.is_dir()).then_some(ErrorKind::NotADirectory);
    let Some(kind) = blocked.or(kind) else { return error };
    let chain = format!("{error:#}");
    let cause = match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::DiskFull,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied if chain.contains(store.as_str()) => {
            Cause::NotWritable(chain.clone())
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists if chain.contains(store.as_str()) => {
            let message = format!("something else is where the store {store} needs a folder: {chain}");
            return Failure::new(Kind::Host, "store-blocked", message)
                .hint("move it away, then repeat the command")
                .into();
        }
        _ => return error,
    };
    // Its words name the file.
    let message = match &cause {
        Cause::DiskFull => format!("{}: {chain}", cause.reason(store)),
        _ => cause.reason(store),
    };
    cause.with(message).hint(cause.hint("the store")).into()
}

/// How much is free, where that can be asked.
fn free(folder: &Utf8Path) -> String {
    let known = folder.ancestors().find(|folder| folder.exists());
    match known.and_then(|folder| rustix::fs::statvfs(folder.as_std_path()).ok()) {
        Some(disk) => format!(" ({} MB are free)", disk.f_bavail * disk.f_frsize / 1_000_000),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the clients print (apt 2.6, Maven 3.8), shortened.
    #[test]
    fn causes_are_read_from_what_clients_print() {
        let url = "http://127.0.0.1:1/x.jar";
        let is = |text: &str, cause: Cause| assert_eq!(of(text), Some(cause), "{text}");
        let maven = |reason: &str| {
            format!(
                "[ERROR] Failed to execute goal x: Could not transfer artifact a:b:jar:1 from/to central (http://127.0.0.1:1): {reason} -> [Help 1]"
            )
        };
        is(
            &maven(&format!("transfer failed for {url}, status: 500 Internal Server Error")),
            Cause::Status(500, url.into()),
        );
        is(
            &maven(&format!(
                "transfer failed for {url}: Connect to 127.0.0.1:1 [/127.0.0.1] failed: Connection refused"
            )),
            Cause::NobodyThere(url.into()),
        );
        is(
            &maven(&format!("transfer failed for {url}: no-such-host.invalid: Name or service not known")),
            Cause::NoNetwork(url.into()),
        );
        is(
            &maven(
                "GET request of: x from central failed: Premature end of Content-Length delimited message body",
            ),
            Cause::Cut("http://127.0.0.1:1".into()),
        );
        is(&maven("GET request of: x from central failed: No space left on device"), Cause::DiskFull);
        is(
            "[ERROR] Could not find artifact a:b:jar:1 in central (http://127.0.0.1:1) -> [Help 1]",
            Cause::Status(404, "http://127.0.0.1:1".into()),
        );

        let apt = |reason: &str| format!("E: Failed to fetch http://h/p.deb  {reason}");
        let deb = || "http://h/p.deb".to_owned();
        is(&apt("404  Not Found [IP: 127.0.0.1 1]"), Cause::Status(404, deb()));
        is(&apt("500  Internal Server Error [IP: 127.0.0.1 1]"), Cause::Status(500, deb()));
        is(&apt("Error reading from server. Remote end closed connection [IP: 1]"), Cause::Cut(deb()));
        is(&apt("Hash Sum mismatch"), Cause::Changed(deb()));
        is(&apt("Could not resolve 'h'").replace("E:", "W:"), Cause::NoNetwork(deb()));
        is(
            &apt("Could not connect to h:80 (1.2.3.4). - connect (111: Connection refused)"),
            Cause::NobodyThere(deb()),
        );
        is(&apt("Error writing to file - write (28: No space left on device)"), Cause::DiskFull);
        is(
            "E: The repository 'http://h x' is not signed. Clearsigned file isn't valid, got 'NOSPLIT' (does the network require authentication?)",
            Cause::Page("http://h".into()),
        );
        assert_eq!(of("E: something new"), None);
    }

    #[test]
    fn errors_of_the_file_system_are_named() {
        let error =
            |kind: ErrorKind| anyhow::Error::from(std::io::Error::from(kind)).context("cannot write /s/x");
        let code = |kind| {
            let error = explain(error(kind), "/s".into());
            error.downcast_ref::<Failure>().map(|failure| failure.code)
        };
        assert_eq!(code(ErrorKind::StorageFull), Some("disk-full"));
        assert_eq!(code(ErrorKind::ReadOnlyFilesystem), Some("store-unwritable"));
        assert_eq!(code(ErrorKind::NotADirectory), Some("store-blocked"));
        assert_eq!(code(ErrorKind::BrokenPipe), None);
        let elsewhere = explain(error(ErrorKind::PermissionDenied), "/other".into());
        assert!(!elsewhere.is::<Failure>());
    }
}
