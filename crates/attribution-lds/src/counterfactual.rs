//! What happens to the behavior without the top or bottom contributors.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::error::finite;
use crate::interval::{check_level, student_factor};
use crate::observations::{mean, variance};
use crate::{AttributionError, Interval};

/// Which end of the ranking is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The contributors with the highest scores.
    Top,
    /// The contributors with the lowest scores.
    Bottom,
}

/// A model to retrain: all but one end of the ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterfactualRemoval {
    /// Which end.
    pub end: End,
    /// The fraction asked for.
    pub fraction: f64,
    /// Who is removed, from the end inwards.
    pub removed: Vec<usize>,
    /// Who remains: the coalition to retrain.
    pub remaining: Coalition,
}

/// The coalitions to retrain for a counterfactual evaluation, at fractions such as 0.2, 0.4, 0.6: each fraction at the top,
/// then each at the bottom. The number removed is fraction times n, rounded (halves up), at least 1 and at most n - 1.
/// Contributors with equal scores are taken in the order of their numbers.
///
/// # Errors
/// [`AttributionError::TooFewContributors`] for n < 2, [`AttributionError::OutOfRange`] for a fraction outside of (0, 1),
/// [`AttributionError::NotFinite`] for a score.
pub fn counterfactual_removals(
    scores: &[f64],
    fractions: &[f64],
) -> Result<Vec<CounterfactualRemoval>, AttributionError> {
    let n = scores.len();
    if n < 2 {
        return Err(AttributionError::TooFewContributors {
            what: "a counterfactual removal",
            needed: 2,
            found: n,
        });
    }
    for (contributor, &score) in scores.iter().enumerate() {
        finite(score, || format!("the score of contributor {contributor}"))?;
    }
    if let Some(&value) = fractions.iter().find(|fraction| !(**fraction > 0.0 && **fraction < 1.0)) {
        let (setting, range) = ("a fraction to remove", "between 0 and 1, both excluded");
        return Err(AttributionError::OutOfRange { setting, value, range });
    }
    let mut removals = Vec::with_capacity(2 * fractions.len());
    for end in [End::Top, End::Bottom] {
        let mut order: Vec<usize> = (0..n).collect();
        // Stable sorts: equal scores stay in the order of their numbers.
        match end {
            End::Top => order.sort_by(|&one, &two| scores[two].total_cmp(&scores[one])),
            End::Bottom => order.sort_by(|&one, &two| scores[one].total_cmp(&scores[two])),
        }
        for &fraction in fractions {
            let count = ((fraction * n as f64).round() as usize).clamp(1, n - 1);
            let removed = order[..count].to_vec();
            let remaining = Coalition::from_members(n, order[count..].iter().copied())?;
            removals.push(CounterfactualRemoval { end, fraction, removed, remaining });
        }
    }
    Ok(removals)
}

/// A relative change of a behavior.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativeChange {
    /// (changed - full) / |full|: -0.1 is a tenth less.
    pub change: f64,
    /// Its interval over retraining seeds; `None` unless both sides have two runs or more.
    pub interval: Option<Interval>,
}

/// The relative change from the runs of the full model to the runs of a model without some contributors:
/// `(mean(changed) - mean(full)) / |mean(full)|`. With two runs or more on both sides, an interval by the delta method,
/// `Var = s_changed^2 / (k_changed full^2) + changed^2 s_full^2 / (k_full full^4)`, with Student's t at the smaller number of
/// runs less 1.
///
/// # Errors
/// [`AttributionError::ChangeFromZero`], [`AttributionError::Empty`] for a side without runs,
/// [`AttributionError::NotFinite`], [`AttributionError::OutOfRange`] for the level.
pub fn relative_change(
    full: &[f64],
    changed: &[f64],
    level: f64,
) -> Result<RelativeChange, AttributionError> {
    check_level(level)?;
    for (runs, name) in [(full, "the full model"), (changed, "the changed model")] {
        if runs.is_empty() {
            return Err(AttributionError::Empty { what: format!("runs of {name}") });
        }
        for &run in runs {
            finite(run, || format!("a run of {name}"))?;
        }
    }
    let (before, after) = (mean(full), mean(changed));
    if before == 0.0 {
        return Err(AttributionError::ChangeFromZero);
    }
    let change = (after - before) / before.abs();
    let interval = match (variance(full), variance(changed)) {
        (Some(of_full), Some(of_changed)) => {
            let of_full = of_full / full.len() as f64 * (after / before.powi(2)).powi(2);
            let of_changed = of_changed / changed.len() as f64 / before.powi(2);
            let factor = student_factor(level, (full.len().min(changed.len()) - 1) as f64);
            Some(Interval::around(change, factor * (of_full + of_changed).sqrt()))
        }
        _ => None,
    };
    Ok(RelativeChange { change, interval })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_ranking() {
        let scores = [0.5, -1.0, 0.5, 3.0, 0.0];
        let removals = counterfactual_removals(&scores, &[0.2, 0.4, 0.6]).unwrap();
        let removed: Vec<_> = removals.iter().map(|removal| removal.removed.as_slice()).collect();
        assert_eq!(removed, [&[3][..], &[3, 0], &[3, 0, 2], &[1], &[1, 4], &[1, 4, 0]]);
        assert_eq!(removals[1].end, End::Top);
        assert_eq!(removals[1].remaining, Coalition::from_members(5, [1, 2, 4]).unwrap());
        // Somebody is removed and somebody remains, whatever the fraction.
        let extreme = counterfactual_removals(&[1.0, 2.0], &[0.01, 0.99]).unwrap();
        assert!(extreme.iter().all(|removal| removal.removed.len() == 1 && removal.remaining.len() == 1));
    }

    #[test]
    fn changes_are_relative_to_the_size() {
        assert_eq!(relative_change(&[2.0], &[1.5], 0.95).unwrap().change, -0.25);
        // From -2 to -1.5 the behavior rises.
        assert_eq!(relative_change(&[-2.0], &[-1.5], 0.95).unwrap().change, 0.25);
        let change = relative_change(&[2.0, 2.2, 1.8], &[1.4, 1.6, 1.5], 0.95).unwrap();
        // By hand: sd 0.2 and 0.1, means 2 and 1.5, t(2) = 4.302653.
        let error = (0.01 / 3.0 / 4.0 + 2.25 * 0.04 / 3.0 / 16.0f64).sqrt();
        let interval = change.interval.unwrap();
        assert!((interval.upper - (-0.25 + 4.302_652_729_7 * error)).abs() < 1e-6, "{interval:?}");
    }

    #[test]
    fn bad_input_is_refused() {
        assert_eq!(relative_change(&[0.0], &[1.0], 0.95), Err(AttributionError::ChangeFromZero));
        assert!(matches!(relative_change(&[1.0], &[], 0.95), Err(AttributionError::Empty { .. })));
        assert!(matches!(
            counterfactual_removals(&[1.0], &[0.5]),
            Err(AttributionError::TooFewContributors { .. })
        ));
        for fraction in [0.0, 1.0, -0.1, f64::NAN] {
            let error = counterfactual_removals(&[1.0, 2.0], &[fraction]).unwrap_err();
            assert!(matches!(error, AttributionError::OutOfRange { .. }));
        }
        assert!(matches!(
            counterfactual_removals(&[1.0, f64::NAN], &[0.5]),
            Err(AttributionError::NotFinite { .. })
        ));
    }
}
