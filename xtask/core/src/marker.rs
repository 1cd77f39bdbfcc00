//! The lines that the supervisor writes into the log of a process at every start and end of it, so that one run can be told from the next.

use crate::log::Time;

/// How the line begins. What a process prints itself can begin like that too; nothing but a wrong quotation comes of it.
pub(crate) const BEGIN: &str = "=== started ";
pub(crate) const END: &str = "=== ended ";

/// The line for a start at this time, in seconds since 1970 in UTC: `=== started redis, pid 4711, 2026-11-24T22:05:00Z`.
pub fn line(id: &str, pid: u32, seconds: u64) -> String {
    format!("{BEGIN}{id}, pid {pid}, {}", at(seconds))
}

/// The line for an end at this time: `=== ended redis, exit status 1, 2026-11-24T22:05:00Z`.
pub fn end_line(id: &str, how: &str, seconds: u64) -> String {
    format!("{END}{id}, {how}, {}", at(seconds))
}

fn at(seconds: u64) -> String {
    Time::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).to_the_second()
}

/// Whether a line of a log is one of them: what stands before it is no word of a process that runs.
pub fn is_marker(line: &str) -> bool {
    line.starts_with(BEGIN) || line.starts_with(END)
}

/// What the last run has written: everything behind the last start, all of it where a log no longer reaches back to one.
pub fn last_run(text: &str) -> &str {
    let mut behind = text;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, next) = rest.split_once('\n').unwrap_or((rest, ""));
        if line.starts_with(BEGIN) {
            behind = next;
        }
        rest = next;
    }
    // Its end is told by those who quote it.
    let last = behind.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    if behind[last..].starts_with(END) { &behind[..last] } else { behind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_exactly_this() {
        assert_eq!(line("redis", 4711, 1_795_557_900), "=== started redis, pid 4711, 2026-11-24T22:05:00Z");
        assert!(is_marker(&line("rabbitmq/epmd", 1, 0)));
        let end = end_line("redis", "signal 9", 1_795_557_900);
        assert_eq!(end, "=== ended redis, signal 9, 2026-11-24T22:05:00Z");
        assert!(is_marker(&end));
    }

    #[test]
    fn times_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Time::from_seconds(seconds).to_the_second(), text);
        }
    }

    #[test]
    fn only_the_last_run_counts() {
        let first = line("mail", 1, 0);
        let second = line("mail", 2, 9);
        assert_eq!(last_run(&format!("{first}\nold\n{second}\nnew\nmore")), "new\nmore");
        assert_eq!(last_run(&format!("{first}\nold\n{second}\n")), "");
        let end = end_line("mail", "exit status 1", 10);
        assert_eq!(last_run(&format!("{first}\nold\n{end}\n{second}\nnew\n{end}\n")), "new\n");
        assert_eq!(last_run(&format!("{second}\n{end}\n")), "");
        assert_eq!(
            last_run(&format!("{second}\nnew\n{end}\nof a child\n")),
            format!("new\n{end}\nof a child\n")
        );
        assert_eq!(last_run(&format!("old\n{second}")), "");
        assert_eq!(last_run("the beginning was cut\nnew\n"), "the beginning was cut\nnew\n");
        assert_eq!(last_run(""), "");
    }
}
