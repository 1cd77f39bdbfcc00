//! A place id, whatever the project's folder is called: it goes into names of clusters, nodes and users.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

proptest! {
    #![proptest_config(Config {
        cases: 1_000, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn an_id_is_a_plain_word_whatever_the_folder_is_called(
        name in prop_oneof![any::<String>(), "[a-zA-Z0-9 ._-]{0,40}"], random: [u8; 3]
    ) {
        let id = place_id(Utf8Path::new(&name), random);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        prop_assert!(id.len() <= 24 && id.chars().all(plain), "{}", id);
        prop_assert!(!id.starts_with('-') && !id.ends_with('-') && !id.contains("--"), "{}", id);
        // The random part is there, whole.
        let [a, b, c] = random;
        prop_assert!(id.ends_with(&format!("-{a:02x}{b:02x}{c:02x}")), "{}", id);
    }
}
