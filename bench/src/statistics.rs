//! Medians, and ratios that drift cancels out of.
//!
//! Never here: units.

/// The middle of the values, or the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, upper))
}

/// The median of the ratios of each round, not the ratio of two medians: what slowed a round down slowed both. Rounds
/// where one of both is missing or the base is 0 don't count.
#[must_use]
pub fn ratio(values: &[Option<f64>], base: &[Option<f64>]) -> Option<f64> {
    pairs(values, base, |value, base| (base > 0.0).then(|| value / base))
}

/// The median of the differences of each round.
#[must_use]
pub fn added(values: &[Option<f64>], base: &[Option<f64>]) -> Option<f64> {
    pairs(values, base, |value, base| Some(value - base))
}

fn pairs(values: &[Option<f64>], base: &[Option<f64>], of: impl Fn(f64, f64) -> Option<f64>) -> Option<f64> {
    let both = values.iter().zip(base).filter_map(|(value, base)| of((*value)?, (*base)?));
    median(&both.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn drift_cancels_out() {
        // The machine gets twice as slow in every round; the second is always at half of the first.
        let (one, two) = ([Some(4.0), Some(8.0), Some(16.0)], [Some(2.0), Some(4.0), Some(8.0)]);
        assert_eq!(ratio(&two, &one), Some(0.5));
        assert_eq!(added(&one, &two), Some(4.0));
        assert_eq!(ratio(&one, &[Some(0.0), None, Some(4.0)]), Some(4.0));
    }
}
