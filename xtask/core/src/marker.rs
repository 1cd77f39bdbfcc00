//! The line that the supervisor writes into the log of a process at every start of it, so that one run can be told from the next.

/// How the line begins. What a process prints itself can begin like that too; nothing but a wrong quotation comes of it.
const BEGIN: &str = "=== started ";

/// The line for a start at this time, in seconds since 1970 in UTC: `=== started redis, pid 4711, 2026-11-24T22:05:00Z`.
pub fn line(id: &str, pid: u32, seconds: u64) -> String {
    format!("{BEGIN}{id}, pid {pid}, {}", utc(seconds))
}

/// Whether a line of a log is one.
pub fn is_marker(line: &str) -> bool {
    line.starts_with(BEGIN)
}

/// What the last run has written: everything behind the last marker, all of it where a log no longer reaches back to one.
pub fn last_run(text: &str) -> &str {
    let mut behind = text;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, next) = rest.split_once('\n').unwrap_or((rest, ""));
        if is_marker(line) {
            behind = next;
        }
        rest = next;
    }
    behind
}

/// `2026-11-24T22:05:00Z`. The calendar is Hinnant's `civil_from_days`: years that begin in March put the leap day last.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time % 3_600 / 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_exactly_this() {
        assert_eq!(line("redis", 4711, 1_795_557_900), "=== started redis, pid 4711, 2026-11-24T22:05:00Z");
        assert!(is_marker(&line("rabbitmq/epmd", 1, 0)));
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
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn only_the_last_run_counts() {
        let first = line("mail", 1, 0);
        let second = line("mail", 2, 9);
        assert_eq!(last_run(&format!("{first}\nold\n{second}\nnew\nmore")), "new\nmore");
        assert_eq!(last_run(&format!("{first}\nold\n{second}\n")), "");
        assert_eq!(last_run(&format!("old\n{second}")), "");
        assert_eq!(last_run("the beginning was cut\nnew\n"), "the beginning was cut\nnew\n");
        assert_eq!(last_run(""), "");
    }
}
