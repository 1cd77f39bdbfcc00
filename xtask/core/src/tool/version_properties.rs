//! Versions, whatever a program prints: reading never fails badly, printing reads back the same, and ranges keep the order.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

fn fixed() -> Config {
    Config { cases: 1_000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}

/// Text that looks like a version most of the time.
fn printed() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "v?[0-9]{1,3}(\\.[0-9]{1,3}){0,3}([-.~+]?(rc|alpha|beta|nightly|dev|pre|a|b|desktop)?[0-9]{0,4})?",
        1 => "[v0-9.~+ a-z-]{0,24}",
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..30_u64, 1 => Just(u64::MAX)]
}

fn range() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["", "=", ">", ">=", "<", "<=", "~", "^"]);
    let bound = (operator, number(), proptest::option::of((number(), proptest::option::of(number()))));
    let bound = bound.prop_map(|(operator, major, rest)| match rest {
        None => format!("{operator}{major}"),
        Some((minor, None)) => format!("{operator}{major}.{minor}"),
        Some((minor, Some(patch))) => format!("{operator}{major}.{minor}.{patch}"),
    });
    proptest::collection::vec(bound, 1..3).prop_map(|bounds| bounds.join(", "))
}

fn rank(version: &Version) -> ([u64; 3], bool) {
    (version.triple(), version.pre.is_none())
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn what_is_printed_reads_back_the_same(text in printed()) {
        if let Some(version) = Version::read(&text) {
            let again = Version::read(&version.to_string());
            prop_assert_eq!(again.as_ref(), Some(&version), "{} became {}", text, version);
            // What follows a version does not change it.
            prop_assert_eq!(Version::read(&format!("{version} and more")), Some(version));
        }
    }

    #[test]
    fn of_two_versions_the_later_one_never_lies_lower(a in printed(), b in printed(), range in range()) {
        let (Some(a), Some(b)) = (Version::read(&a), Version::read(&b)) else { return Ok(()) };
        let range = VersionReq::parse(&range).unwrap();
        let (low, high) = if rank(&a) <= rank(&b) { (a, b) } else { (b, a) };
        prop_assert!(low.within(&range) <= high.within(&range), "{} and {} in {}", low, high, range);
    }

    #[test]
    fn a_release_within_a_range_is_within_it_for_semver_too(
        triple in (0..30_u64, 0..30_u64, 0..30_u64), range in range()
    ) {
        let (major, minor, patch) = triple;
        let ours = Version::read(&format!("{major}.{minor}.{patch}")).unwrap();
        let range = VersionReq::parse(&range).unwrap();
        let theirs = range.matches(&semver::Version::new(major, minor, patch));
        prop_assert_eq!(ours.within(&range) == Ordering::Equal, theirs, "{} in {}", ours, range);
    }

    #[test]
    fn every_range_can_be_said(range in range(), anything: String) {
        prop_assert!(!in_words(&range).is_empty());
        in_words(&anything);
    }
}
