//! Certificates: where they are, what they are good for, when one is made anew. Making them is `xtask/src/site/tls.rs`.
//!
//! One authority a user, so that trusting it once serves every checkout, and one certificate a project. The authority can vouch for this
//! machine's loopback alone.

use core::net::IpAddr;

use camino::{Utf8Path, Utf8PathBuf};

use crate::artifact::Key;
use crate::log::Time;
use crate::place::Place;

/// How long an authority holds.
pub const AUTHORITY_DAYS: i64 = 3650;

/// How long a certificate of a project holds at most. Browsers refuse more than 398 days.
pub const CERTIFICATE_DAYS: i64 = 397;

/// A certificate is made anew when it holds for fewer days than this.
pub const RENEW_DAYS: i64 = 30;

/// One day in seconds.
pub const DAY: i64 = 86_400;

/// What the authority may vouch for, as people read it.
pub const PERMITTED: [&str; 4] = ["localhost", "*.localhost", "127.0.0.0/8", "::1"];

/// A certificate and its key, each a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: Utf8PathBuf,
    pub key: Utf8PathBuf,
}

impl Pair {
    fn below(folder: &Utf8Path) -> Self {
        Self { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
    }
}

/// The folder of the user's authority, beside the registry of places.
pub fn authority_folder(store: &Utf8Path) -> Utf8PathBuf {
    store.join("authority")
}

/// The user's authority.
pub fn authority(store: &Utf8Path) -> Pair {
    Pair::below(&authority_folder(store))
}

/// The certificate of a project, with that of its authority behind it in the same file.
pub fn certificate(place: &Place) -> Pair {
    Pair::below(&place.state.join("tls"))
}

/// The name of an authority, from its public key: two of them are told apart where they are listed.
pub fn authority_name(public_key: &str) -> String {
    let key = Key::of([public_key]).to_string();
    format!("Invenio Ecosystem local authority {}", &key[..8])
}

/// A name that only the certificate in this file has: who answers to it is this project's server, and not another checkout's.
pub fn own_name(certificate: &Utf8Path) -> String {
    format!("{}.localhost", Key::of([certificate.as_str()]))
}

/// The names that a certificate is made for. An address beyond loopback is not among them: the authority could not vouch for it, and the
/// whole certificate would be refused.
pub fn names(certificate: &Utf8Path, bind: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned).into();
    if bind.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) && !names.iter().any(|n| n == bind) {
        names.push(bind.to_owned());
    }
    names.push(own_name(certificate));
    names
}

/// What was found out about the certificate of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it ends, in seconds since 1970; `None` where that cannot be read.
    pub until: Option<i64>,
    /// The key in the other file is its own.
    pub key_fits: bool,
    /// A client that trusts the authority alone accepts it, for every name that it should have.
    pub accepted: bool,
}

/// Why the certificate of a project is made anew; `None` where it is good.
pub fn why_anew(seen: Option<&Seen>, now: i64) -> Option<&'static str> {
    let Some(seen) = seen else { return Some("there was none") };
    match seen.until {
        None => Some("it was damaged"),
        Some(_) if !seen.key_fits => Some("its key was another one's"),
        Some(until) if until < now => Some("it had ended"),
        Some(until) if until - now < RENEW_DAYS * DAY => Some("it was about to end"),
        // Before its names: what ends is not accepted either.
        Some(_) if !seen.accepted => Some("the authority or the names have changed"),
        Some(_) => None,
    }
}

/// When a certificate that is made now begins and ends. A clock that is a little behind accepts it too; nothing outlives its authority.
pub fn lifetime(now: i64, authority_until: i64) -> (i64, i64) {
    let begin = now - DAY;
    (begin, (begin + CERTIFICATE_DAYS * DAY).min(authority_until))
}

/// From when until when a certificate holds, in seconds since 1970, read from its DER form.
pub fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version, where it is told, the serial number, the algorithm and the issuer.
    for _ in 0..if rest.first() == Some(&0xa0) { 4 } else { 3 } {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (kind, from, rest) = element(validity)?;
    let from = seconds(kind, from)?;
    let (kind, until, _) = element(rest)?;
    Some((from, seconds(kind, until)?))
}

/// Tag, content and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, or with four digits of the year.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (century, text) = match (tag, text.len()) {
        (0x17, 12) => (if text < "50" { "20" } else { "19" }, text),
        (0x18, 14) => text.split_at(2),
        _ => return None,
    };
    let part = |at: usize| &text[at..at + 2];
    let (year, month, day) = (part(0), part(2), part(4));
    let (hour, minute, second) = (part(6), part(8), part(10));
    Time::read(&format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z")).map(Time::seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_796_000_000;

    #[test]
    fn a_certificate_is_made_anew_when_it_is_of_no_use_and_before_it_ends() {
        let good = Seen { until: Some(NOW + RENEW_DAYS * DAY), key_fits: true, accepted: true };
        let why = |seen: Seen| why_anew(Some(&seen), NOW);
        assert_eq!(why(good.clone()), None);
        assert_eq!(why_anew(None, NOW), Some("there was none"));
        assert_eq!(why(Seen { until: None, ..good.clone() }), Some("it was damaged"));
        assert_eq!(why(Seen { key_fits: false, ..good.clone() }), Some("its key was another one's"));
        assert_eq!(
            why(Seen { accepted: false, ..good.clone() }),
            Some("the authority or the names have changed")
        );
        let until = Some(NOW + RENEW_DAYS * DAY - 1);
        assert_eq!(why(Seen { until, ..good.clone() }), Some("it was about to end"));
        assert_eq!(why(Seen { until: Some(NOW - 1), accepted: false, ..good }), Some("it had ended"));
    }

    #[test]
    fn a_certificate_lives_as_long_as_browsers_accept_and_its_authority_does() {
        let (begin, end) = lifetime(NOW, NOW + AUTHORITY_DAYS * DAY);
        assert!(begin < NOW && end - begin == CERTIFICATE_DAYS * DAY);
        assert_eq!(lifetime(NOW, NOW + DAY).1, NOW + DAY);
    }

    #[test]
    fn names_are_those_of_loopback_and_one_of_its_own() {
        let file = Utf8Path::new("/p/.ecosystem/tls/cert.pem");
        let own = own_name(file);
        assert_eq!(names(file, "127.0.0.1"), ["localhost", "127.0.0.1", "::1", &own]);
        assert_eq!(names(file, "127.0.0.2"), ["localhost", "127.0.0.1", "::1", "127.0.0.2", &own]);
        for beyond in ["0.0.0.0", "192.0.2.1", "::", "localhost", "example.org"] {
            assert_eq!(names(file, beyond), names(file, "::1"), "{beyond}");
        }
        assert_ne!(own, own_name("/other/.ecosystem/tls/cert.pem".into()));
    }

    #[test]
    fn dates_are_read_in_both_forms() {
        assert_eq!(seconds(0x17, b"700101000000Z"), Some(0));
        assert_eq!(seconds(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(0x17, b"500101000000Z"), Some(-631_152_000));
        assert_eq!(seconds(0x18, b"20000229120000Z"), Some(951_825_600));
        assert_eq!(seconds(0x18, b"20261129220000Z"), Some(1_795_989_600));
        for wrong in
            ["", "Z", "700101000000", "701301000000Z", "7001010000+0Z", "70010100000Z", "70010100é00Z"]
        {
            assert_eq!(seconds(0x17, wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x03\x30\x01\x02", b"\x30\x84\xff\xff\xff\xff", b"hello"]
        {
            assert_eq!(validity(bytes), None);
        }
    }
}
