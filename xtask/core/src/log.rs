//! Reading servers' logs: when a line was written and how bad it is, from the line alone.
//!
//! Every server has a format of its own. They are told apart by what they look like, not by whose log it is, so that a log in which two
//! programs write is read as well. Times are UTC: servers are started with `TZ=UTC`.

mod stamp;

use serde::{Serialize, Serializer};

pub use stamp::Time;

/// How bad a line is, by its server's own word. Ordered: later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    /// The server, or one of its connections, ends because of it.
    Fatal,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was written. A line without a time belongs to the one before, and has its time.
    #[serde(serialize_with = "time")]
    pub at: Option<Time>,
    /// How bad it is; of the line before, where it belongs to that one.
    pub level: Option<Level>,
    pub text: String,
    /// It is the beginning of an entry, not its continuation.
    #[serde(skip)]
    pub head: bool,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn time<S: Serializer>(at: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

/// The supervisor's mark at every start of a process: `=== started NAME, pid PID, 2026-11-24T22:05:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started<'a> {
    pub name: &'a str,
    pub pid: u32,
    pub at: Time,
}

/// Reads the mark of a start; `None` where the line is another one.
pub fn started(line: &str) -> Option<Started<'_>> {
    let mut parts = line.strip_prefix(crate::marker::BEGIN)?.splitn(3, ", ");
    let name = parts.next()?;
    let pid = parts.next()?.strip_prefix("pid ")?.parse().ok()?;
    let (at, rest) = stamp::iso(parts.next()?)?;
    rest.trim().is_empty().then_some(Started { name, pid, at })
}

/// When a process ended, by the supervisor's mark: `=== ended NAME, exit status 1, 2026-11-24T22:05:00Z`.
fn ended(line: &str) -> Option<Time> {
    let mut parts = line.strip_prefix(crate::marker::END)?.splitn(3, ", ").skip(2);
    let (at, rest) = stamp::iso(parts.next()?)?;
    rest.trim().is_empty().then_some(at)
}

/// Reads a log line by line, and remembers which entry a line without a time belongs to.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    at: Option<Time>,
    level: Option<Level>,
}

impl Reader {
    /// The next line.
    pub fn line(&mut self, text: &str) -> Line {
        let text = text.trim_end();
        let mut head = true;
        match head_of(text) {
            Some(Head { at, level, continues: false }) => (self.at, self.level) = (Some(at), level),
            // PostgreSQL gives DETAIL, HINT and STATEMENT a time of their own.
            Some(Head { at, continues: true, .. }) => (self.at, head) = (Some(at), false),
            // Before a server can write its log properly, it says without a time what is wrong.
            None if BROKEN.iter().any(|start| text.starts_with(start)) => self.level = Some(Level::Error),
            None => head = false,
        }
        Line { at: self.at, level: self.level, text: text.to_owned(), head }
    }

    /// The lines of a text. Those at its beginning that belong to an entry further up get the time of the first that has one.
    pub fn lines(&mut self, text: &str) -> Vec<Line> {
        let mut lines: Vec<Line> = text.lines().map(|line| self.line(line)).collect();
        if let Some(first) = lines.iter().position(|line| line.at.is_some()) {
            let at = lines[first].at;
            for line in &mut lines[..first] {
                line.at = at;
            }
        }
        lines
    }
}

/// The lines of a container, each of which stands behind the time when the engine got it: that time counts for all of them.
pub fn stamped<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Line> {
    let mut reader = Reader::default();
    let one = |line: &str| {
        let (at, text) = line.split_once(' ').unwrap_or((line, ""));
        Line { at: Time::read(at), ..reader.line(&plain(text)) }
    };
    lines.into_iter().map(one).collect()
}

/// The text without the colours that servers write where they take their output for a terminal.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        let end = part.find(|c: char| ('@'..='~').contains(&c)).map_or(part.len(), |at| at + 1);
        plain + &part[end..]
    })
}

/// How a line without a time begins that says why a program does not start.
const BROKEN: [&str; 8] = [
    "*** FATAL",
    "FATAL",
    "Exception in thread",
    "uncaught exception",
    "BOOT FAILED",
    "Traceback (most recent call last)",
    "postgres: ",
    "ecosystem: ",
];

/// What the beginning of an entry says.
struct Head {
    at: Time,
    level: Option<Level>,
    continues: bool,
}

fn head_of(line: &str) -> Option<Head> {
    if let Some(at) = started(line).map(|started| started.at).or_else(|| ended(line)) {
        return Some(Head { at, level: Some(Level::Notice), continues: false });
    }
    // The prompt of PostgreSQL's single-user mode, which made the data folder, stands before the server's first line.
    let line = line.trim_start_matches("backend> ");
    redis(line).or_else(|| epmd(line)).or_else(|| dated(line))
}

/// `6289:M 24 Nov 2026 22:09:00.922 * Ready to accept connections`
fn redis(line: &str) -> Option<Head> {
    let (process, rest) = line.split_once(' ')?;
    let (pid, role) = process.split_once(':')?;
    if pid.is_empty() || !pid.bytes().all(|b| b.is_ascii_digit()) || role.len() != 1 {
        return None;
    }
    let (at, rest) = stamp::day_first(rest)?;
    let (mark, text) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
    let level = match mark {
        "." => Level::Debug,
        "-" => Level::Info,
        "*" => Level::Notice,
        // Redis knows no higher level than this one, and says with it what it says at every start and end, too.
        "#" if ANNOUNCEMENTS.iter().any(|start| text.starts_with(start)) => Level::Notice,
        "#" => Level::Warning,
        _ => return None,
    };
    Some(Head { at, level: Some(level), continues: false })
}

const ANNOUNCEMENTS: [&str; 7] = [
    "oO0OoO0OoO0Oo",
    "Redis version=",
    "Configuration loaded",
    "Server initialized",
    "User requested shutdown",
    "Redis is now ready to exit",
    "Received SIG",
];

/// `epmd: Tue Nov 24 22:09:00 2026: got partial packet`
fn epmd(line: &str) -> Option<Head> {
    let (at, _) = stamp::weekday_first(line.strip_prefix("epmd: ")?)?;
    Some(Head { at, level: None, continues: false })
}

/// A line that begins with a date, in brackets or not: PostgreSQL, RabbitMQ, OpenSearch, and most that are written today.
fn dated(line: &str) -> Option<Head> {
    let (at, rest) = stamp::iso(line.strip_prefix('[').unwrap_or(line))?;
    // The level is one of the next few words: `[info] <0.1.0>`, `[6350] LOG:`, `][WARN ][o.o.n.Node] [node-1]`.
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let word =
        words.take(4).find_map(|word| WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)));
    let (level, continues) = match word {
        // The answer to everybody who asks while PostgreSQL starts or ends, this program first of all.
        Some((_, Some(Level::Fatal))) if BUSY.iter().any(|words| rest.ends_with(words)) => {
            (Some(Level::Notice), false)
        }
        Some((_, level)) => (*level, level.is_none()),
        None => (None, false),
    };
    Some(Head { at, level, continues })
}

/// How PostgreSQL says, as a fatal error of the client's session, that it cannot be used for a moment.
const BUSY: [&str; 2] = ["the database system is starting up", "the database system is shutting down"];

/// The words of servers for levels. `None`: the line adds something to the one before.
const WORDS: [(&str, Option<Level>); 29] = [
    ("trace", Some(Level::Debug)),
    ("debug", Some(Level::Debug)),
    ("debug1", Some(Level::Debug)),
    ("debug2", Some(Level::Debug)),
    ("debug3", Some(Level::Debug)),
    ("debug4", Some(Level::Debug)),
    ("debug5", Some(Level::Debug)),
    ("info", Some(Level::Info)),
    ("log", Some(Level::Info)),
    ("notice", Some(Level::Notice)),
    ("warn", Some(Level::Warning)),
    ("warning", Some(Level::Warning)),
    ("err", Some(Level::Error)),
    ("error", Some(Level::Error)),
    ("crit", Some(Level::Fatal)),
    ("critical", Some(Level::Fatal)),
    ("alert", Some(Level::Fatal)),
    ("emerg", Some(Level::Fatal)),
    ("emergency", Some(Level::Fatal)),
    ("severe", Some(Level::Fatal)),
    ("panic", Some(Level::Fatal)),
    ("fatal", Some(Level::Fatal)),
    ("detail", None),
    ("hint", None),
    ("context", None),
    ("statement", None),
    ("query", None),
    ("location", None),
    ("backtrace", None),
];

/// Lays the lines of several logs between each other by time. Every log stays in its own order; lines without any time come first.
pub fn interleave<T>(logs: Vec<Vec<(Option<Time>, T)>>) -> Vec<T> {
    let mut all = Vec::new();
    for log in logs {
        // Clocks are set back, and processes of one server overtake each other.
        let mut latest = None;
        for (at, line) in log {
            latest = latest.max(at);
            all.push((latest, line));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, line)| line).collect()
}

/// Whether a line holds the text. Capitals count only where the text has some.
pub fn matches(line: &str, text: &str) -> bool {
    if text.chars().any(char::is_uppercase) {
        line.contains(text)
    } else {
        line.to_lowercase().contains(text)
    }
}

/// A period as people type it: `30s`, `10m`, `2h`, `1d`, in seconds.
pub fn period(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no period; write 30s, 10m, 2h or 1d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).filter(|seconds| *seconds < 1 << 40).ok_or_else(wrong)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
