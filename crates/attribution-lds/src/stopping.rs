//! When there are enough draws.

use serde::{Deserialize, Serialize};

use crate::{Attribution, AttributionError, Observations, split_half};

/// Draw until this holds. A rule that is asked after every few draws stops a little early at times, as any sequential look at
/// an interval does: ask at widely spaced sizes (each half as large again as the one before, for instance).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoppingRule {
    /// Every contributor's interval is at most this to either side, in units of the utility.
    HalfWidth {
        /// The largest half width.
        most: f64,
    },
    /// Rankings from halves of the draws agree: the mean of Spearman's correlation over random halvings, stepped up to the
    /// full length ([`crate::SplitHalf::full_length`]), is at least this.
    RankStability {
        /// The least agreement, -1..1.
        least: f64,
        /// Random halvings.
        splits: usize,
        /// Seed of the halvings.
        seed: u64,
    },
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopping {
    /// Whether it holds.
    pub reached: bool,
    /// The largest half width (`None` where one is unbounded), or the agreement (`None` where there is none).
    pub measured: Option<f64>,
}

impl StoppingRule {
    /// Whether the observations are enough. `score` is any estimator, as for [`split_half`]; of it, intervals are used by
    /// `half_width` and values by `rank_stability`. The answer depends on the arguments alone.
    ///
    /// ```
    /// use attribution_lds::{FnGame, Game, KernelShap, StoppingRule};
    /// use removal::{Coalition, RemovalDistribution};
    /// use streams::Streams;
    ///
    /// let game = FnGame::new(5, |c: &Coalition| (c.len() as f64).sqrt() + f64::from(u8::from(c.contains(1))));
    /// let rule = StoppingRule::HalfWidth { most: 0.1 };
    /// let shap = KernelShap { bootstrap: None, ..KernelShap::default() };
    /// let enough = |draws: usize| {
    ///     let observations = game.observe(RemovalDistribution::Shapley, draws, &Streams::new(1))?;
    ///     rule.check(&observations, |part| shap.fit(part))
    /// };
    /// assert!(!enough(4)?.reached && enough(5000)?.reached);
    /// # Ok::<(), attribution_lds::AttributionError>(())
    /// ```
    ///
    /// # Errors
    /// Those of `score` on all observations and, for `rank_stability`, on halves; [`AttributionError::OutOfRange`] for no
    /// splits.
    pub fn check(
        &self,
        observations: &Observations,
        score: impl Fn(&Observations) -> Result<Attribution, AttributionError>,
    ) -> Result<Stopping, AttributionError> {
        match *self {
            StoppingRule::HalfWidth { most } => {
                let attribution = score(observations)?;
                let widths = attribution.intervals().iter().map(|interval| interval.width() / 2.0);
                let widest = widths.fold(f64::NEG_INFINITY, f64::max);
                let measured = widest.is_finite().then_some(widest);
                Ok(Stopping { reached: measured.is_some_and(|widest| widest <= most), measured })
            }
            StoppingRule::RankStability { least, splits, seed } => {
                match split_half(observations, splits, seed, |half| Ok(score(half)?.values)) {
                    Ok(agreement) => {
                        let measured = agreement.full_length;
                        Ok(Stopping { reached: measured >= least, measured: Some(measured) })
                    }
                    Err(AttributionError::Undefined { .. }) => {
                        Ok(Stopping { reached: false, measured: None })
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, KernelShap};

    #[test]
    fn ranks_that_agree_stop_and_scores_that_are_equal_do_not() {
        let shap = KernelShap { bootstrap: None, ..KernelShap::default() };
        let rule = StoppingRule::RankStability { least: 0.95, splits: 10, seed: 0 };
        let check = |game: &dyn Fn(&Coalition) -> f64, draws| {
            let observations =
                FnGame::new(8, game).observe(RemovalDistribution::Shapley, draws, &Streams::new(2)).unwrap();
            rule.check(&observations, |part| shap.fit(part)).unwrap()
        };
        let clear = |c: &Coalition| c.members().map(|i| (i * i) as f64).sum::<f64>().powf(1.3);
        assert!(check(&clear, 600).reached && !check(&clear, 6).reached);
        let few = FnGame::new(8, clear).observe(RemovalDistribution::Shapley, 5, &Streams::new(2)).unwrap();
        let width = StoppingRule::HalfWidth { most: 1e9 }.check(&few, |part| shap.fit(part)).unwrap();
        assert_eq!(width, Stopping { reached: false, measured: None });
    }
}
