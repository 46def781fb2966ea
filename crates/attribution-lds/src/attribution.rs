//! Scores of contributors, and how far to trust them.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::{Estimator, Interval, Intervals, LargeSolve};

/// One score a contributor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// Which estimator gave them.
    pub estimator: Estimator,
    /// The scores, by contributor, in units of the utility.
    pub values: Vec<f64>,
    /// The predicted utility of the empty coalition.
    pub intercept: f64,
    /// What a coalition's size adds to the prediction, by size 0..=n; empty if nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub size_effect: Vec<f64>,
    /// The penalty that was chosen; `None` for estimators without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// Intervals by formula; `None` if the estimator has none.
    pub closed_form: Option<Intervals>,
    /// Intervals by bootstrap; `None` if none was asked for.
    pub bootstrap: Option<Intervals>,
    /// How far to trust the scores.
    pub diagnostics: Diagnostics,
}

impl Attribution {
    /// The utility that the scores predict for a coalition: intercept plus the sum of its members' scores, plus what its
    /// size adds.
    pub fn predict(&self, coalition: &Coalition) -> f64 {
        let by_size = self.size_effect.get(coalition.len()).copied().unwrap_or(0.0);
        self.intercept + predict_additive(&self.values, coalition) + by_size
    }

    /// The intervals to show: the closed form, else the bootstrap; none if the estimator has neither.
    pub fn intervals(&self) -> &[Interval] {
        self.closed_form.as_ref().or(self.bootstrap.as_ref()).map_or(&[], |intervals| &intervals.intervals)
    }
}

/// The sum of the members' scores: the prediction of any additive score, up to a constant that no rank depends on.
/// Members beyond the list count nothing.
pub fn predict_additive(values: &[f64], coalition: &Coalition) -> f64 {
    coalition.members().filter_map(|member| values.get(member)).sum()
}

/// What an estimate rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnostics {
    /// Contributors, n.
    pub contributors: usize,
    /// Rows used.
    pub draws: usize,
    /// Different coalitions among them.
    pub distinct_coalitions: usize,
    /// Rows not used, because the estimator has no use for the empty and the full coalition as draws.
    pub left_out: usize,
    /// Independent directions that the rows determine.
    pub rank: usize,
    /// Independent directions needed: n, less 1 under the efficiency constraint.
    pub full_rank: usize,
    /// Whether the normal equations were singular and a pseudo-inverse chose among many solutions.
    pub pseudo_inverse: bool,
    /// Contributors whose score the rows do not determine.
    pub unidentified: Vec<usize>,
    /// Whether there are too few different coalitions to see how noisy they are, so that all intervals are unbounded.
    pub no_residual: bool,
    /// Whether all utilities used are equal.
    pub constant_utilities: bool,
    /// Bootstrap resamples whose normal equations were singular; each widens the interval.
    pub singular_resamples: usize,
    /// Runs behind v(all) and v(none), where the estimator uses them; one run counts as exact in intervals.
    pub endpoint_runs: Option<(usize, usize)>,
    /// How the iterations went, where the game was too large for its rows to be held as numbers. `rank` is then an upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large: Option<LargeSolve>,
}

impl Diagnostics {
    /// What a reader should know before trusting the numbers, in sentences; none if nothing is wrong.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(solve) = self.large {
            warnings.push(format!(
                "{} contributors in {} draws were solved on bit masks by {} conjugate gradients, which give no intervals.",
                self.contributors, self.draws, solve.iterations
            ));
            if !solve.converged {
                warnings.push(format!(
                    "They did not converge: the gradient is still {:.1e} of what it was at first. Take another estimator, or a \
                     datamodel, whose penalty helps.",
                    solve.residual
                ));
            }
        }
        if self.pseudo_inverse {
            warnings.push(format!(
                "{} draws ({} different coalitions) determine {} of {} directions: scores of {} of {} contributors are one \
                 choice of many (the one closest to equal shares), and their intervals are unbounded. Add coalitions.",
                self.draws,
                self.distinct_coalitions,
                self.rank,
                self.full_rank,
                self.unidentified.len(),
                self.contributors
            ));
        }
        if self.no_residual {
            warnings.push(format!(
                "{} different coalitions are no more than the {} unknowns they determine, so the noise cannot be seen and \
                 all intervals are unbounded. Add coalitions.",
                self.distinct_coalitions, self.rank
            ));
        }
        if self.constant_utilities {
            warnings.push("All utilities are equal: the behavior does not depend on who is in.".into());
        }
        if self.left_out > 0 {
            warnings.push(format!(
                "{} draws are the empty or the full coalition and were left out.",
                self.left_out
            ));
        }
        if self.singular_resamples > 0 && !self.pseudo_inverse {
            warnings.push(format!(
                "{} bootstrap resamples were singular and count as unbounded: the intervals are wider for it. More \
                 coalitions help.",
                self.singular_resamples
            ));
        }
        if let Some((full, none)) = self.endpoint_runs
            && full.min(none) < 2
        {
            warnings.push(format!(
                    "v(all) and v(none) rest on {full} and {none} runs; an endpoint with one run counts as exact, so \
                     intervals leave out its noise."
                ));
        }
        warnings
    }
}
