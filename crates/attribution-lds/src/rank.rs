//! Ranks and their correlation.

use crate::Undefined;

/// Ranks from 1; equal values share the mean of their ranks.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // `+ 0.0` makes -0 equal to 0 for the total order, as it is for `==`.
    order.sort_by(|&one, &two| (values[one] + 0.0).total_cmp(&(values[two] + 0.0)));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for group in order.chunk_by(|&one, &two| values[one] == values[two]) {
        let rank = below as f64 + (group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|&place| ranks[place] = rank);
        below += group.len();
    }
    ranks
}

/// Rows in the order of their values, of which ranks follow in one pass however often each row occurs.
pub(crate) struct RankOrder {
    /// Rows, the smallest value first.
    rows: Vec<u32>,
    /// Where each run of equal values ends.
    ends: Vec<u32>,
}

impl RankOrder {
    pub(crate) fn of(values: &[f64]) -> RankOrder {
        // Rows of a table, which is far below 2^32.
        let mut rows: Vec<u32> = (0..values.len() as u32).collect();
        let value = |row: u32| values[row as usize] + 0.0;
        rows.sort_by(|&one, &two| value(one).total_cmp(&value(two)));
        let mut ends = Vec::new();
        for group in rows.chunk_by(|&one, &two| value(one) == value(two)) {
            ends.push(ends.last().copied().unwrap_or_default() + group.len() as u32);
        }
        RankOrder { rows, ends }
    }

    /// When row r occurs `counts[r]` times, `total` in all: twice the difference of each row's average rank from the mean
    /// rank, a whole number, into `deviations`; and the sum of their squares over all occurrences.
    pub(crate) fn deviations(&self, counts: &[u32], total: u64, deviations: &mut Vec<f64>) -> f64 {
        deviations.resize(counts.len(), 0.0);
        let (mut below, mut start, mut squares) = (0u64, 0usize, 0.0);
        for &end in &self.ends {
            let group = &self.rows[start..end as usize];
            let size: u64 = group.iter().map(|&row| u64::from(counts[row as usize])).sum();
            let deviation = (2 * below + size) as f64 - total as f64;
            group.iter().for_each(|&row| deviations[row as usize] = deviation);
            squares += size as f64 * deviation * deviation;
            below += size;
            start = end as usize;
        }
        squares
    }
}

/// Spearman's rank correlation, in -1..1: the Pearson correlation of the average ranks.
///
/// # Errors
/// It is [`Undefined`], not 0, for fewer than three pairs or where one side is constant.
///
/// # Panics
/// Never; of lists of different lengths, the longer one's rest is ignored.
pub fn spearman(predicted: &[f64], utilities: &[f64]) -> Result<f64, Undefined> {
    let pairs = predicted.len().min(utilities.len());
    if pairs < 3 {
        return Err(Undefined::TooFew(pairs));
    }
    let [one, two] = [predicted, utilities].map(|values| average_ranks(&values[..pairs]));
    let center = (pairs + 1) as f64 / 2.0;
    let product = |one: &[f64], two: &[f64]| -> f64 {
        one.iter().zip(two).map(|(one, two)| (one - center) * (two - center)).sum()
    };
    let (spread_one, spread_two) = (product(&one, &one), product(&two, &two));
    if spread_two == 0.0 {
        return Err(Undefined::ConstantUtilities);
    }
    if spread_one == 0.0 {
        return Err(Undefined::ConstantPredictions);
    }
    Ok((product(&one, &two) / (spread_one * spread_two).sqrt()).clamp(-1.0, 1.0))
}

/// Kendall's rank correlation tau-b, in -1..1 (Kendall 1945): of all pairs of places, those that both lists order alike less
/// those that they order differently, over the geometric mean of the numbers of pairs that each list orders at all.
///
/// # Errors
/// It is [`Undefined`], not 0, for fewer than two entries or where one side is constant.
///
/// # Panics
/// Never; of lists of different lengths, the longer one's rest is ignored.
pub fn kendall_tau(predicted: &[f64], utilities: &[f64]) -> Result<f64, Undefined> {
    let count = predicted.len().min(utilities.len());
    if count < 2 {
        return Err(Undefined::TooFew(count));
    }
    let order = |one: f64, two: f64| i64::from(one > two) - i64::from(one < two);
    let (mut alike, mut by_predicted, mut by_utilities) = (0i64, 0i64, 0i64);
    for i in 0..count {
        for j in 0..i {
            let (one, two) = (order(predicted[i], predicted[j]), order(utilities[i], utilities[j]));
            alike += one * two;
            by_predicted += one * one;
            by_utilities += two * two;
        }
    }
    if by_utilities == 0 {
        return Err(Undefined::ConstantUtilities);
    }
    if by_predicted == 0 {
        return Err(Undefined::ConstantPredictions);
    }
    Ok(alike as f64 / (by_predicted as f64 * by_utilities as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, -0.0, 0.0, 3.0]), [5.0, 3.0, 5.0, 1.5, 1.5, 5.0]);
        assert_eq!(average_ranks(&[]), [0.0; 0]);
    }

    #[test]
    fn undefined_is_said() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]), Err(Undefined::ConstantUtilities));
        assert_eq!(spearman(&[4.0, 4.0, 4.0], &[1.0, 2.0, 3.0]), Err(Undefined::ConstantPredictions));
        assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0]), Err(Undefined::TooFew(2)));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 1e9]), Ok(1.0));
    }

    /// scipy.stats.kendalltau of SciPy 1.
    #[test]
    fn kendalls_tau_is_scipys() {
        let tau = |one: &[f64], two: &[f64]| kendall_tau(one, two);
        let ties = tau(&[1.0, 2.0, 2.0, 3.0, 5.0, 4.0], &[2.0, 1.0, 3.0, 3.0, 4.0, 9.0]).unwrap();
        assert!((ties - 0.642_857_142_857_142_9).abs() < 1e-15, "{ties}");
        assert!((tau(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap() - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(tau(&[1.0, 2.0], &[7.0, -1.0]), Ok(-1.0));
        assert_eq!(tau(&[1.0, 2.0], &[1.0, 1.0]), Err(Undefined::ConstantUtilities));
        assert_eq!(tau(&[1.0, 1.0], &[1.0, 2.0]), Err(Undefined::ConstantPredictions));
        assert_eq!(tau(&[1.0], &[1.0]), Err(Undefined::TooFew(1)));
    }

    proptest! {
        #[test]
        fn any_increasing_map_keeps_it(pairs in prop::collection::vec((-50i32..50, -50i32..50), 4..40)) {
            let (one, two): (Vec<f64>, Vec<f64>) =
                pairs.iter().map(|&(one, two)| (f64::from(one), f64::from(two))).unzip();
            let stretched: Vec<f64> = one.iter().map(|value| (value / 10.0).exp() * 7.0 - 3.0).collect();
            let reversed: Vec<f64> = one.iter().map(|value| -value).collect();
            if let Ok(correlation) = spearman(&one, &two) {
                prop_assert!((-1.0..=1.0).contains(&correlation));
                prop_assert_eq!(spearman(&stretched, &two), Ok(correlation));
                prop_assert!((spearman(&reversed, &two).unwrap() + correlation).abs() < 1e-12);
                prop_assert!((spearman(&two, &one).unwrap() - correlation).abs() < 1e-12);
            }
        }
    }
}
