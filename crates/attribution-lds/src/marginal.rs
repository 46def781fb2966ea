//! Leave-one-out and add-one-in.

use removal::Coalition;

use crate::attribution::{Attribution, Diagnostics};
use crate::interval::{check_level, student_factor};
use crate::observations::{mean, variance};
use crate::{AttributionError, Estimator, Interval, IntervalMethod, Intervals, Observations};

/// LOO scores: v(all) - v(all without i).
///
/// Runs of one coalition, in one row or several, are averaged. If every coalition involved has two runs or more, the
/// closed-form intervals are Welch's t at `level`; otherwise there are none.
///
/// # Errors
/// [`AttributionError::MissingCoalitions`] naming the contributors whose coalition was not observed,
/// [`AttributionError::OutOfRange`] for a level outside of (0, 1).
pub fn leave_one_out(observations: &Observations, level: f64) -> Result<Attribution, AttributionError> {
    let runs = runs_of(observations, Estimator::LeaveOneOut)?;
    let pairs = runs.iter().map(|without| (observations.full_runs(), without.as_slice()));
    let mut attribution = differences(observations, Estimator::LeaveOneOut, level, pairs)?;
    // Anchored at v(all), so that the prediction of the full coalition is right.
    attribution.intercept = observations.full() - attribution.values.iter().sum::<f64>();
    Ok(attribution)
}

/// AOI scores: v({i}) - v(none). Runs and intervals as in [`leave_one_out`].
///
/// # Errors
/// As [`leave_one_out`].
pub fn add_one_in(observations: &Observations, level: f64) -> Result<Attribution, AttributionError> {
    let runs = runs_of(observations, Estimator::AddOneIn)?;
    let pairs = runs.iter().map(|with| (with.as_slice(), observations.none_runs()));
    differences(observations, Estimator::AddOneIn, level, pairs)
}

/// The runs of each contributor's coalition.
fn runs_of(observations: &Observations, estimator: Estimator) -> Result<Vec<Vec<f64>>, AttributionError> {
    let n = observations.n();
    let mut runs = vec![Vec::new(); n];
    for row in observations.draws().rows() {
        let contributor = match estimator {
            Estimator::LeaveOneOut => only_member(&row.coalition().complement()),
            _ => only_member(row.coalition()),
        };
        if let Some(contributor) = contributor {
            runs[contributor].extend_from_slice(row.runs());
        }
    }
    let missing: Vec<usize> = (0..n).filter(|&contributor| runs[contributor].is_empty()).collect();
    if missing.is_empty() {
        return Ok(runs);
    }
    let (estimator, needed) = match estimator {
        Estimator::LeaveOneOut => ("leave-one-out", "the coalition of all others"),
        _ => ("add-one-in", "the coalition of that contributor alone"),
    };
    Err(AttributionError::MissingCoalitions { estimator, needed, missing })
}

fn only_member(coalition: &Coalition) -> Option<usize> {
    coalition.members().next().filter(|_| coalition.len() == 1)
}

fn differences<'a>(
    observations: &Observations,
    estimator: Estimator,
    level: f64,
    pairs: impl Iterator<Item = (&'a [f64], &'a [f64])>,
) -> Result<Attribution, AttributionError> {
    check_level(level)?;
    let mut values = Vec::new();
    let mut bounds = Vec::new();
    for (with, without) in pairs {
        values.push(mean(with) - mean(without));
        bounds.push(welch(with, without, level));
    }
    let bounds: Option<Vec<(Interval, f64)>> = bounds.into_iter().collect();
    let closed_form = bounds.map(|bounds| {
        let (intervals, standard_errors) = bounds.into_iter().unzip();
        Intervals { method: IntervalMethod::Welch, level, intervals, standard_errors }
    });
    let n = observations.n();
    let constant_utilities = values.iter().all(|value| *value == 0.0);
    let diagnostics = Diagnostics {
        contributors: n,
        draws: n,
        distinct_coalitions: n,
        left_out: 0,
        rank: n,
        full_rank: n,
        constant_utilities,
        ..Diagnostics::default()
    };
    let intercept = observations.none();
    Ok(Attribution {
        estimator,
        values,
        intercept,
        size_effect: Vec::new(),
        penalty: None,
        closed_form,
        bootstrap: None,
        diagnostics,
    })
}

/// Welch's interval of mean(with) - mean(without), and its standard error; `None` if a side has fewer than two runs.
pub(crate) fn welch(with: &[f64], without: &[f64], level: f64) -> Option<(Interval, f64)> {
    let parts = [with, without].map(|runs| variance(runs).map(|variance| variance / runs.len() as f64));
    let [Some(one), Some(two)] = parts else { return None };
    let error = (one + two).sqrt();
    let freedom = (one + two).powi(2)
        / (one.powi(2) / (with.len() - 1) as f64 + two.powi(2) / (without.len() - 1) as f64);
    // Runs without any spread have no error at all.
    let half_width = if error == 0.0 { 0.0 } else { student_factor(level, freedom) * error };
    Some((Interval::around(mean(with) - mean(without), half_width), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FnGame, Game, UtilityTable};
    use removal::RemovalDistribution;
    use streams::Streams;

    #[test]
    fn the_definitions() {
        let game = FnGame::new(4, |c: &Coalition| c.members().map(|i| (i + 1) as f64).sum::<f64>().powi(2));
        let streams = Streams::new(0);
        let loo = leave_one_out(&game.observe(RemovalDistribution::Loo, 4, &streams).unwrap(), 0.95).unwrap();
        assert_eq!(loo.values, [100.0 - 81.0, 100.0 - 64.0, 100.0 - 49.0, 100.0 - 36.0]);
        assert!((loo.predict(&Coalition::full(4)) - 100.0).abs() < 1e-12);
        assert_eq!(loo.closed_form, None);
        let aoi =
            add_one_in(&game.observe(RemovalDistribution::AddOneIn, 4, &streams).unwrap(), 0.95).unwrap();
        assert_eq!(aoi.values, [1.0, 4.0, 9.0, 16.0]);
    }

    #[test]
    fn who_is_missing_is_said() {
        let mut table = UtilityTable::new(3);
        table.push(Coalition::from_members(3, [0, 2]).unwrap(), 1.0).unwrap();
        let observations = Observations::new(table, vec![1.0], vec![0.0]).unwrap();
        let message = leave_one_out(&observations, 0.95).unwrap_err().to_string();
        assert!(message.contains("[0, 2]") && message.contains("all others"), "{message}");
    }

    #[test]
    fn welch_as_scipy() {
        // scipy.stats.ttest_ind([3, 4, 5.5], [1, 2.5], equal_var=False).confidence_interval(0.95)
        let (interval, error) = welch(&[3.0, 4.0, 5.5], &[1.0, 2.5], 0.95).unwrap();
        assert!(
            (interval.lower - WELCH[0]).abs() < 1e-7 && (interval.upper - WELCH[1]).abs() < 1e-7,
            "{interval:?}"
        );
        assert!((error - WELCH[2]).abs() < 1e-12);
        assert_eq!(welch(&[1.0], &[1.0, 2.0], 0.95), None);
    }

    const WELCH: [f64; 3] = [-1.206962885440805, 6.040296218774139, 1.044163673845139];
}
