//! Few numbers told as one: median and spread, percentiles.

/// Median and spread of the runs of one measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// See [`median`].
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Summary {
    /// None of an empty slice.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        Some(Self { median: median(values)?, least: *sorted.first()?, most: *sorted.last()? })
    }
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted.get(middle).copied()
    } else {
        Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
    }
}

/// The smallest value that `percent` % of the values do not exceed (nearest rank).
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let rank = (values.len() * percent).div_ceil(100);
    sorted(values).get(rank.max(1) - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn one_outlier_among_a_hundred_is_not_yet_the_99th_percentile() {
        let mut values: Vec<f64> = (1..=99).map(f64::from).collect();
        values.insert(0, 1000.0);
        assert_eq!(percentile(&values, 99), Some(99.0));
        assert_eq!(percentile(&values, 100), Some(1000.0));
        assert_eq!(percentile(&[5.0], 99), Some(5.0));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn a_summary_has_the_spread() {
        let summary = Summary::of(&[2.0, 1.0, 30.0]);
        assert_eq!(summary, Some(Summary { median: 2.0, least: 1.0, most: 30.0 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
