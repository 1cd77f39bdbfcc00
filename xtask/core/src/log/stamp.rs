//! Points in time as logs write them, without a library: the formats are few, and all of them are UTC or say how far they are from it.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// A point in time: microseconds since 1970, UTC. Prints as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

const SECOND: i64 = 1_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Time {
    /// So many seconds since 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// The seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// `2026-11-24`.
    pub fn day(self) -> String {
        self.to_string().chars().take(10).collect()
    }

    /// Reads `2026-11-24T22:05:00.123456789Z`.
    pub fn read(text: &str) -> Option<Self> {
        iso(text).map(|(at, _)| at)
    }

    /// Milliseconds from this time to another one; 0 where that is earlier.
    pub fn milliseconds_until(self, later: Self) -> u64 {
        u64::try_from(later.0.saturating_sub(self.0) / 1_000).unwrap_or(0)
    }

    /// The time so many seconds before.
    #[must_use]
    pub fn before(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND)))
    }

    fn new(date: (i64, i64, i64), clock: (i64, i64, i64), micros: i64) -> Option<Self> {
        let ((year, month, day), (hour, minute, second)) = (date, clock);
        let fits = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        fits.then_some(Self(seconds * SECOND + micros))
    }
}

impl Time {
    /// `2026-11-24T22:05:00Z`.
    pub fn to_the_second(self) -> String {
        let text = self.to_string();
        text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let (day, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date(day);
        let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that a leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that is so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// Reads from the beginning of a text, piece by piece.
struct Scan<'a>(Peekable<Chars<'a>>);

impl Scan<'_> {
    /// A number of exactly so many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        (0..count).try_fold(0, |number, _| Some(number * 10 + i64::from(self.0.next()?.to_digit(10)?)))
    }

    /// A day of the month, which may be padded with a blank.
    fn day(&mut self) -> Option<i64> {
        while self.0.next_if_eq(&' ').is_some() {}
        let first = i64::from(self.0.next()?.to_digit(10)?);
        let second = self.0.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10));
        Some(second.map_or(first, |second| first * 10 + i64::from(second)))
    }

    fn month(&mut self) -> Option<i64> {
        let name: String = self.0.by_ref().take(3).collect();
        MONTHS.iter().position(|month| *month == name).and_then(|index| i64::try_from(index + 1).ok())
    }

    fn one_of(&mut self, allowed: &str) -> Option<char> {
        self.0.next_if(|c| allowed.contains(*c))
    }

    fn clock(&mut self) -> Option<(i64, i64, i64)> {
        let hour = self.digits(2)?;
        self.one_of(":")?;
        let minute = self.digits(2)?;
        self.one_of(":")?;
        Some((hour, minute, self.digits(2)?))
    }

    /// `.160`, `,831`, `.076054`, or nothing.
    fn micros(&mut self) -> i64 {
        if self.one_of(".,").is_none() {
            return 0;
        }
        let (mut micros, mut unit) = (0, SECOND / 10);
        while let Some(digit) = self.0.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
            micros += i64::from(digit) * unit;
            unit /= 10;
        }
        micros
    }

    /// How far a time is from UTC: `+00:00`, `-0530`. Names of zones are not known; servers here write UTC.
    fn offset(&mut self) -> Option<i64> {
        let Some(sign) = self.one_of("+-") else { return Some(0) };
        let hours = self.digits(2)?;
        self.one_of(":");
        let seconds = (hours * 60 + self.digits(2)?) * 60;
        Some(if sign == '-' { -seconds } else { seconds })
    }
}

fn scan(text: &str) -> Scan<'_> {
    Scan(text.chars().peekable())
}

fn rest(scan: Scan<'_>) -> String {
    scan.0.collect()
}

/// `2026-11-24 22:09:01.160 GMT …`, `2026-11-24T22:09:01,831…`, `2026-11-24 22:09:02.076054+00:00 …`; then what follows.
pub(super) fn iso(text: &str) -> Option<(Time, String)> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut scan = scan(text);
    let year = scan.digits(4)?;
    scan.one_of("-/")?;
    let month = scan.digits(2)?;
    scan.one_of("-/")?;
    let day = scan.digits(2)?;
    scan.one_of(" T")?;
    let clock = scan.clock()?;
    let micros = scan.micros();
    if scan.one_of("Z").is_none() {
        let blank = scan.0.clone().next() == Some(' ');
        // `2026-11-24 22:09:01 +0000`, but not `2026-11-24 22:09:01 - text`.
        let mut ahead = Scan(scan.0.clone());
        if blank {
            ahead.0.next();
        }
        if let Some(offset) = ahead.offset() {
            let time = Time::new((year, month, day), clock, micros)?;
            return Some((
                Time(time.0 - offset * SECOND),
                rest(if offset == 0 && blank { scan } else { ahead }),
            ));
        }
    }
    Some((Time::new((year, month, day), clock, micros)?, rest(scan)))
}

/// `24 Nov 2026 22:09:00.922 …`
pub(super) fn day_first(text: &str) -> Option<(Time, String)> {
    let mut scan = scan(text);
    let day = scan.day()?;
    scan.one_of(" ")?;
    let month = scan.month()?;
    scan.one_of(" ")?;
    let year = scan.digits(4)?;
    scan.one_of(" ")?;
    let clock = scan.clock()?;
    let micros = scan.micros();
    Some((Time::new((year, month, day), clock, micros)?, rest(scan)))
}

/// `Tue Nov 24 22:09:00 2026…`, as C's `ctime` writes it.
pub(super) fn weekday_first(text: &str) -> Option<(Time, String)> {
    let (_, text) = text.split_once(' ')?;
    let mut scan = scan(text);
    let month = scan.month()?;
    let day = scan.day()?;
    scan.one_of(" ")?;
    let clock = scan.clock()?;
    scan.one_of(" ")?;
    let year = scan.digits(4)?;
    Some((Time::new((year, month, day), clock, 0)?, rest(scan)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
        assert_eq!((days(1970, 1, 1), days(2000, 2, 29), date(20_781)), (0, 11_016, (2026, 11, 24)));
    }

    #[test]
    fn times_are_read_in_every_form_and_in_utc() {
        let read = |text: &str| iso(text).map(|(time, rest)| format!("{time}|{rest}"));
        let ok = |text: &str| read(text).unwrap();
        assert_eq!(ok("2026-11-24 22:09:01.160 GMT [1] LOG:"), "2026-11-24T22:09:01.160000Z| GMT [1] LOG:");
        assert_eq!(ok("2026-11-24T22:09:01,831][WARN ]"), "2026-11-24T22:09:01.831000Z|][WARN ]");
        assert_eq!(ok("2026-11-24 22:09:02.076054+00:00 [info]"), "2026-11-24T22:09:02.076054Z| [info]");
        assert_eq!(ok("2026-11-25 00:09:02 +0200] [1]"), "2026-11-24T22:09:02.000000Z|] [1]");
        assert_eq!(ok("2026-11-24T22:05:00Z"), "2026-11-24T22:05:00.000000Z|");
        assert_eq!(ok("2026-11-24 22:05:00 - text"), "2026-11-24T22:05:00.000000Z| - text");
        for wrong in ["", "2026", "2026-13-01 00:00:00", "2026-01-01 24:00:00", "2026-01-01x00:00:00", "–"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
