//! "Did you mean": the known word nearest to what was typed. No dictionary, no case folding beyond ASCII.

/// The nearest of the known words, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody meant a word of this length, and comparing takes the product of the lengths.
    if typed.len() > 64 {
        return None;
    }
    let typed = typed.to_ascii_lowercase();
    let limit = match typed.chars().count() {
        0..=2 => 0,
        3..=5 => 2,
        _ => 3,
    };
    let begins = |word: &str| typed.len() > 2 && word.starts_with(&typed);
    known
        .into_iter()
        // The difference of the lengths is the least that the distance can be; most words need no closer look.
        .filter(|word| word.len().abs_diff(typed.len()) <= limit || begins(word))
        .map(|word| (distance(&typed, word), word))
        .filter(|(distance, word)| *distance <= limit || begins(word))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// A way out: the nearest word, else all of them.
pub(crate) fn way_out<'a>(typed: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    nearest(typed, known.clone()).map_or_else(
        || format!("known here: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
        |word| format!("did you mean `{word}`?"),
    )
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["ports", "settings", "image", "postgresql", "port_offset"];

    #[test]
    fn slips_of_the_finger_are_recognised() {
        for (typed, meant) in [
            ("prots", "ports"),
            ("port", "ports"),
            ("setings", "settings"),
            ("Image", "image"),
            ("postgres", "postgresql"),
            ("port-offset", "port_offset"),
        ] {
            assert_eq!(nearest(typed, KNOWN), Some(meant), "{typed}");
        }
    }

    #[test]
    fn other_words_are_not() {
        for typed in ["", "x", "kafka", "mysql", "heap"] {
            assert_eq!(nearest(typed, KNOWN), None, "{typed}");
        }
        assert_eq!(way_out("kafka", ["redis", "minio"]), "known here: redis, minio");
    }

    #[test]
    fn a_swap_counts_once() {
        assert_eq!(distance("prots", "ports"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
