//! Settings for a shell, whatever they hold: what a shell reads is the value. The shell is modelled here; a real one is asked in `tests/it`.

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// What a POSIX shell makes of lines of assignments: quotes and backslashes, and nothing else. `None`: it would do something else.
fn shell(text: &str, prefix: &str) -> Option<BTreeMap<String, String>> {
    let (mut found, mut rest) = (BTreeMap::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix(prefix)?.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        loop {
            match chars.next()?.1 {
                '\n' => break,
                '\'' => loop {
                    match chars.next()?.1 {
                        '\'' => break,
                        c => value.push(c),
                    }
                },
                '"' => loop {
                    match chars.next()?.1 {
                        '"' => break,
                        '\\' => match chars.next()?.1 {
                            c @ ('\\' | '"' | '$' | '`') => value.push(c),
                            '\n' => {}
                            c => value.extend(['\\', c]),
                        },
                        '$' | '`' => return None,
                        c => value.push(c),
                    }
                },
                '\\' => value.push(chars.next()?.1),
                c if c.is_ascii_alphanumeric() => value.push(c),
                _ => return None,
            }
        }
        found.insert(name.to_owned(), value);
        rest = chars.as_str();
    }
    Some(found)
}

fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    let hostile = "[a-z'\"\\\\$`!\n\t ;&|<>(){}*?#~=%-]{0,24}";
    let value = prop_oneof![hostile, any::<String>()].prop_map(|text| text.replace('\0', ""));
    btree_map("[A-Z][A-Z_]{0,8}", value, 0..5)
}

proptest! {
    #![proptest_config(Config {
        cases: 1_000, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn a_shell_reads_back_every_word(word in "[a-z'\"\\\\$`! ;&|<>(){}*?#~=%-]{0,24}") {
        let text = format!("W={}\n", crate::process::quoted(&word));
        // A word without quotes is letters and a few signs that mean nothing to a shell.
        if text.contains('\'') {
            prop_assert_eq!(shell(&text, ""), Some([("W".to_owned(), word)].into()), "{}", text);
        } else {
            prop_assert_eq!(text, format!("W={word}\n"));
        }
    }

    #[test]
    fn a_shell_reads_back_every_value(variables in variables()) {
        let text = render(&variables, Syntax::Shell);
        prop_assert_eq!(shell(&text, "export "), Some(variables.clone()), "{}", text);
        let text = render(&variables, Syntax::Dotenv);
        prop_assert_eq!(shell(&text, ""), Some(variables.clone()), "{}", text);
        let json: BTreeMap<String, String> = serde_json::from_str(&render(&variables, Syntax::Json)).unwrap();
        prop_assert_eq!(json, variables);
    }
}
