//! Manifests, whatever is in them: no panic, problems with lines that exist, the same result twice, and later layers win.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::super::{Ecosystem, Flags, Layer, Problem, resolve};

fn fixed(cases: u32, seed: u64) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// Pieces that manifests are made of, good and bad; put together at random they break every rule there is.
const PIECES: [&str; 56] = [
    "[services.redis]",
    "[services]",
    "[services.",
    "[[services.redis]]",
    "[profiles]",
    "[profile",
    "]",
    "release = \"documented\"",
    "release = \"nope\"",
    "bind = \"127.0.0.1\"",
    "bind = \"0.0.0.0\"",
    "bind = \"::1\"",
    "bind",
    "=",
    "port_offset = 100",
    "port_offset = 65535",
    "port_offset = -1",
    "seed = \"demo\"",
    "core = [\"redis\"]",
    "core = [\"@mine\"]",
    "mine = [\"@core\", \"kafka\"]",
    "mine = [",
    "kind = \"redis\"",
    "kind = \"process\"",
    "kind = \"oracle\"",
    "ports = { redis = 6579 }",
    "ports = { redis = 0 }",
    "ports.redis = 5632",
    "ports = 1",
    "ports.sql = 99999999999999999999",
    "settings = { maxmemory = \"64mb\" }",
    "settings.port = 1",
    "settings.\"a b\" = 1",
    "settings.a.b = 1",
    "image = \"x\"",
    "from = \"path\"",
    "from = 3",
    "plugins = [\"rabbitmq_mqtt\"]",
    "plugins = [[]]",
    "heap = \"512m\"",
    "heap = \"512\"",
    "modules = [\"geo\"]",
    "services.cache = { kind = \"redis\" }",
    "services.control.kind = \"redis\"",
    "services.x = {",
    "\"\"\"",
    "'''",
    "\"",
    "{",
    "}}",
    ",",
    "# note",
    "\u{feff}",
    "\u{0}",
    "a.b.c = 1979-05-27T07:32:00Z",
    "\"\\u0000\" = 0x1F",
];

fn text() -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", " ", ""]);
    let pieces = vec((prop::sample::select(PIECES.to_vec()), end), 0..14)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, end)| [piece, end]).collect());
    prop_oneof![4 => pieces, 1 => any::<String>(), 1 => "[a-z=\\[\\]{}\"'.,# \n0-9-]{0,80}"]
}

fn resolved(first: &str, second: &str) -> Result<Ecosystem, Vec<Problem>> {
    let layers = [Layer { name: "first", text: first }, Layer { name: "second", text: second }];
    resolve(&layers, &Flags::default())
}

/// A manifest without a fault, as values that can be told apart, and its text.
fn good() -> impl Strategy<Value = (Vec<(usize, u16)>, String)> {
    const KEYS: [&str; 5] = [
        "port_offset",
        "services.redis.ports.redis",
        "services.redis.settings.maxclients",
        "services.redis.settings.timeout",
        "services.postgresql.settings.max_connections",
    ];
    vec((0..KEYS.len(), 1..5_000_u16), 0..6).prop_map(|mut values| {
        values.sort_unstable();
        values.dedup_by_key(|(key, _)| *key);
        let lines: Vec<String> =
            values.iter().map(|(key, value)| format!("{} = {value}\n", KEYS[*key])).collect();
        (values, lines.concat())
    })
}

fn value(ecosystem: &Ecosystem, key: usize) -> Option<String> {
    let setting = |service: &str, name: &str| {
        ecosystem.services[service].settings.get(name).map(|setting| setting.value.clone())
    };
    match key {
        0 => Some(ecosystem.port_offset.value.to_string()),
        1 => Some(ecosystem.services["redis"].ports["redis"].value.to_string()),
        2 => setting("redis", "maxclients"),
        3 => setting("redis", "timeout"),
        _ => setting("postgresql", "max_connections"),
    }
}

proptest! {
    #![proptest_config(fixed(250, 17))]

    #[test]
    fn every_problem_has_a_line_that_exists_and_a_way_out(first in text(), second in text()) {
        let once = resolved(&first, &second);
        prop_assert_eq!(&once, &resolved(&first, &second));
        for problem in once.err().into_iter().flatten() {
            // An editor shows one line more than there are line breaks.
            let lines = |text: &str| 1 + text.matches('\n').count();
            let exist = match problem.file.as_str() {
                "first" => lines(&first),
                "second" => lines(&second),
                file => return Err(TestCaseError::fail(format!("a problem of {file}"))),
            };
            prop_assert!(problem.line.is_some_and(|line| (1..=exist).contains(&line)), "{:?}", problem);
            prop_assert!(!problem.what.is_empty() && !problem.way_out.is_empty(), "{:?}", problem);
            let one_line = |text: &str| !text.chars().any(char::is_control);
            prop_assert!(one_line(&problem.what) && one_line(&problem.way_out), "{:?}", problem);
        }
    }
}

proptest! {
    #![proptest_config(fixed(50, 19))]

    #[test]
    fn a_later_layer_wins_value_by_value((low, first) in good(), (high, second) in good()) {
        let both = resolved(&first, &second).unwrap();
        let (none, nothing) = (resolved("", "").unwrap(), Vec::new());
        for key in 0..5 {
            let said = |layer: &Vec<(usize, u16)>| {
                layer.iter().find(|(name, _)| *name == key).map(|(_, number)| number.to_string())
            };
            let expected = said(&high).or_else(|| said(&low)).or_else(|| said(&nothing)).or_else(|| value(&none, key));
            prop_assert_eq!(value(&both, key), expected, "key {}", key);
        }
    }
}
