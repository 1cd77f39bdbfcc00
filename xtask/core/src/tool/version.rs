//! Versions as programs print them, and the ranges that a release accepts.
//!
//! Not semver: `3.12` and `v24.1.0` do not parse as such, and `7.1.1-43`, a patch level, would count as a pre-release
//! and fail `>=7.1`. Only what is accepted is written as a semver requirement, because people can read that.

use std::cmp::Ordering;
use std::fmt;

use semver::{Comparator, Op, VersionReq};
use serde::{Serialize, Serializer};

/// A version: up to three numbers, then a pre-release or a patch level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// One to three numbers, as many as were printed.
    numbers: Vec<u64>,
    /// `rc1`, `nightly20201021`: comes before the version itself.
    pre: Option<String>,
    /// ImageMagick's `-62`: comes after the version itself.
    patch_level: Option<u64>,
}

/// How words begin that mark a pre-release.
const PRE: [&str; 8] = ["rc", "alpha", "beta", "nightly", "dev", "pre", "a", "b"];

impl Version {
    /// Reads a version at the beginning of a text; what follows it may be anything.
    pub fn read(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let mut numbers = Vec::new();
        loop {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                break;
            }
            numbers.push(rest[..digits].parse().ok()?);
            rest = &rest[digits..];
            match rest.strip_prefix('.') {
                Some(next) if numbers.len() < 3 && next.starts_with(|c: char| c.is_ascii_digit()) => {
                    rest = next;
                }
                _ => break,
            }
        }
        if numbers.is_empty() {
            return None;
        }
        let suffix = rest.trim_start_matches(['-', '.', '~']);
        let word =
            &suffix[..suffix.len() - suffix.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len()];
        let patch_level =
            rest.strip_prefix('-').filter(|_| numbers.len() == 3).and_then(|_| word.parse().ok());
        Some(Self { numbers, pre: is_pre(word).then(|| word.to_owned()), patch_level })
    }

    /// Where it lies: below the range, in it, or above it.
    pub fn within(&self, range: &VersionReq) -> Ordering {
        let (mut below, mut above) = (false, false);
        for bound in &range.comparators {
            let (from, until) = bounds(bound);
            below |= from.is_some_and(|from| self.cmp_to(from) == Ordering::Less);
            // A pre-release of the first version beyond a range is beyond it, too: 3.10.0rc1 is no Python 3.9.
            above |= until.is_some_and(|until| self.triple() >= until);
        }
        match (below, above) {
            (true, _) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Equal,
        }
    }

    /// The first number.
    pub fn major(&self) -> u64 {
        self.triple()[0]
    }

    /// The second number; 0 where it was not printed.
    pub fn minor(&self) -> u64 {
        self.triple()[1]
    }

    fn triple(&self) -> [u64; 3] {
        std::array::from_fn(|index| self.numbers.get(index).copied().unwrap_or(0))
    }

    fn cmp_to(&self, other: [u64; 3]) -> Ordering {
        let before = if self.pre.is_some() { Ordering::Less } else { Ordering::Equal };
        self.triple().cmp(&other).then(before)
    }
}

fn is_pre(word: &str) -> bool {
    PRE.iter()
        .any(|pre| word.strip_prefix(pre).is_some_and(|number| number.chars().all(|c| c.is_ascii_digit())))
}

/// The first version that a comparator accepts, and the first beyond it.
fn bounds(bound: &Comparator) -> (Option<[u64; 3]>, Option<[u64; 3]>) {
    let this = [bound.major, bound.minor.unwrap_or(0), bound.patch.unwrap_or(0)];
    // The first version that no longer starts with the numbers that were written.
    let after = |number: u64| number.saturating_add(1);
    let next = match (bound.minor, bound.patch) {
        (None, _) => [after(bound.major), 0, 0],
        (Some(minor), None) => [bound.major, after(minor), 0],
        (Some(minor), Some(patch)) => [bound.major, minor, after(patch)],
    };
    match bound.op {
        Op::Greater => (Some(next), None),
        Op::GreaterEq => (Some(this), None),
        Op::Less => (None, Some(this)),
        Op::LessEq => (None, Some(next)),
        Op::Caret => {
            let until =
                if bound.major > 0 || bound.minor.is_none() { [after(bound.major), 0, 0] } else { next };
            (Some(this), Some(until))
        }
        Op::Tilde => (Some(this), Some(bound.minor.map_or(next, |minor| [bound.major, after(minor), 0]))),
        _ => (Some(this), Some(next)),
    }
}

/// Whether some version with this first number is within the range. A range that cannot be read excludes none.
pub fn accepts_major(accept: &str, major: u64) -> bool {
    let Ok(range) = VersionReq::parse(accept) else { return true };
    range.comparators.iter().map(bounds).all(|(from, until)| {
        from.is_none_or(|from| from < [major.saturating_add(1), 0, 0])
            && until.is_none_or(|until| until > [major, 0, 0])
    })
}

/// A range for people: `3.9`, `20.10 or newer`, `17 to 23`; the requirement itself where there is no shorter way.
pub fn in_words(accept: &str) -> String {
    let Ok(range) = VersionReq::parse(accept) else { return accept.to_owned() };
    let written = |c: &Comparator| {
        let numbers = [Some(c.major), c.minor, c.patch];
        numbers.into_iter().flatten().map(|n| n.to_string()).collect::<Vec<_>>().join(".")
    };
    match range.comparators.as_slice() {
        [one] if matches!(one.op, Op::GreaterEq) => format!("{} or newer", written(one)),
        [one] if matches!(one.op, Op::Caret) => written(one),
        [from, until] if from.op == Op::GreaterEq && until.op == Op::Less => {
            let (_, next) = bounds(&Comparator { op: Op::Exact, ..from.clone() });
            if bounds(until).1 == next {
                written(from)
            } else if let (Some(last), None) = (until.major.checked_sub(1), until.minor) {
                format!("{} to {last}", written(from))
            } else {
                format!("{} or newer, but older than {}", written(from), written(until))
            }
        }
        _ => accept.to_owned(),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join("."))?;
        if let Some(pre) = &self.pre {
            write!(f, "-{pre}")?;
        }
        self.patch_level.map_or(Ok(()), |level| write!(f, "-{level}"))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[path = "version_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Version::read(text).map(|version| version.to_string())
    }

    fn within(version: &str, range: &str) -> Ordering {
        Version::read(version).unwrap().within(&VersionReq::parse(range).unwrap())
    }

    #[test]
    fn versions_are_read_from_what_is_not_semver() {
        for (text, version) in [
            ("3.12", "3.12"),
            ("v24.1.0", "24.1.0"),
            ("7.1.1-43 Q16", "7.1.1-43"),
            ("3.9.18+", "3.9.18"),
            ("10.0rc1", "10.0-rc1"),
            ("20.10.24+dfsg1, build", "20.10.24"),
            ("2.37.1.windows.1", "2.37.1"),
            ("2.29.1-desktop.1", "2.29.1"),
            ("15.0.0-nightly20201021", "15.0.0-nightly20201021"),
            ("2.39.0.rc1", "2.39.0-rc1"),
            ("20", "20"),
            ("1.2.3.4", "1.2.3"),
        ] {
            assert_eq!(read(text).as_deref(), Some(version), "{text}");
        }
        for text in ["", "v", "dev", "-1", ".5", "99999999999999999999999.1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_range_has_two_ends() {
        use Ordering::{Equal, Greater, Less};
        for (version, range, lies) in [
            ("3.9", ">=3.9, <3.10", Equal),
            ("3.9.99", ">=3.9, <3.10", Equal),
            ("3.10.0rc1", ">=3.9, <3.10", Greater),
            ("3.9.0rc1", ">=3.9, <3.10", Less),
            ("2.7.18", ">=3.9, <3.10", Less),
            ("7.1.1-43", ">=7.1", Equal),
            ("7.0.11-1", ">=7.1", Less),
            ("20.2.0", ">=20.10", Less),
            ("12.22.0", "12", Equal),
            ("13.0", "12", Greater),
            ("2.3.9", "~2.3", Equal),
            ("2.4", "~2.3", Greater),
            ("2.3.1", "=2.3.0", Greater),
            ("24", ">=17, <24", Greater),
            ("23.0.2", ">=17, <24", Equal),
            ("5", ">4, <=6.1", Equal),
            ("4.9", ">4, <=6.1", Less),
            ("6.1.9", ">4, <=6.1", Equal),
            ("6.2", ">4, <=6.1", Greater),
        ] {
            assert_eq!(within(version, range), lies, "{version} in {range}");
        }
    }

    #[test]
    fn ranges_are_said_in_words() {
        for (range, words) in [
            (">=3.9, <3.10", "3.9"),
            (">=14, <15", "14"),
            (">=20.10", "20.10 or newer"),
            (">=17, <24", "17 to 23"),
            (">=3.6, <3.10", "3.6 or newer, but older than 3.10"),
            ("12", "12"),
            ("whatever", "whatever"),
        ] {
            assert_eq!(in_words(range), words);
        }
    }
}
