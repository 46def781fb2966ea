//! Comparing estimators at the same cost.

/// How many of the runs, in their order, a budget pays for: the largest count whose times sum to at most
/// `budget_seconds`. To compare with another method at equal compute, cut its draws with
/// [`crate::UtilityTable::first`].
///
/// ```
/// use attribution_lds::runs_within;
///
/// assert_eq!(runs_within(100.0, [40.0, 45.0, 30.0, 5.0]), 2);
/// ```
pub fn runs_within(budget_seconds: f64, run_seconds: impl IntoIterator<Item = f64>) -> usize {
    let mut spent = 0.0;
    let affordable = run_seconds.into_iter().take_while(|seconds| {
        spent += seconds;
        spent <= budget_seconds
    });
    affordable.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        assert_eq!(runs_within(10.0, [5.0, 5.0, 5.0]), 2);
        assert_eq!(runs_within(4.0, [5.0, 1.0]), 0);
        assert_eq!(runs_within(1e9, [5.0, 1.0]), 2);
        assert_eq!(runs_within(f64::NAN, [5.0]), 0);
    }
}
