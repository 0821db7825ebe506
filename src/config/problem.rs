//! A mistake in a configuration, with its place.

use std::fmt;

/// One mistake. A file is reported with all of its mistakes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1; `None` when something is missing altogether.
    pub line: Option<usize>,
    /// What is wrong and what would be right, for people.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The known word closest to `word`, if it is close enough to be a slip of the fingers.
pub(super) fn did_you_mean<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Half of a short word, up to three slips in a long one.
    let allowed = (word.chars().count() / 2).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, case ignored.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (done, right_char) in right.to_lowercase().chars().enumerate() {
        let mut next = vec![done + 1];
        for ((left_char, above), diagonal) in left.iter().zip(row.iter().skip(1)).zip(&row) {
            let before = next.last().copied().unwrap_or(done + 1);
            let replaced = diagonal + usize::from(*left_char != right_char);
            next.push(replaced.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_usual_ones() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("Hold", "hold"), 0);
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(did_you_mean("adress", &["name", "address"]), Some("address"));
        assert_eq!(
            did_you_mean("max_conections", &["max_connections", "max_backend"]),
            Some("max_connections")
        );
        assert_eq!(did_you_mean("colour", &["name", "address"]), None);
    }
}
