//! When there are enough draws.

use removal::RemovalDistribution;
use serde::{Deserialize, Serialize};

use crate::{Attribution, AttributionError, Bootstrap, Observations, rank_stability, split_half};

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
        #[serde(default = "default_splits")]
        splits: usize,
        /// Seed of the halvings.
        #[serde(default)]
        seed: u64,
    },
    /// The ranking stays under resampling: the mean of Kendall's tau ([`crate::RankStability::kendall_tau`]) is at least this.
    KendallTau {
        /// The least agreement, -1..1.
        least: f64,
        /// Bootstrap resamples.
        #[serde(default = "default_resamples")]
        resamples: usize,
        /// Seed of the resampling.
        #[serde(default)]
        seed: u64,
    },
    /// The top of the ranking stays under resampling ([`crate::RankStability::top_agreement`]).
    TopAgreement {
        /// How many contributors are the top.
        top: usize,
        /// The least share of them that stays, 0..1.
        least: f64,
        /// Bootstrap resamples.
        #[serde(default = "default_resamples")]
        resamples: usize,
        /// Seed of the resampling.
        #[serde(default)]
        seed: u64,
    },
}

fn default_splits() -> usize {
    50
}

fn default_resamples() -> usize {
    200
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
    /// Checks the rule's numbers.
    ///
    /// # Errors
    /// [`AttributionError::OutOfRange`] names the one that is out of its range.
    pub fn validate(&self) -> Result<(), AttributionError> {
        let refuse = |setting, value, range| Err(AttributionError::OutOfRange { setting, value, range });
        let (least, repeats, top) = match *self {
            StoppingRule::HalfWidth { most } if !(most > 0.0 && most.is_finite()) => {
                return refuse("most", most, "positive and finite");
            }
            StoppingRule::HalfWidth { .. } => return Ok(()),
            StoppingRule::RankStability { least, splits, .. } => (least, splits.saturating_add(1), 1),
            StoppingRule::KendallTau { least, resamples, .. } => (least, resamples, 1),
            StoppingRule::TopAgreement { top, least, resamples, .. } => (least, resamples, top),
        };
        if !(least > 0.0 && least <= 1.0) {
            return refuse("least", least, "above 0 and at most 1");
        }
        if repeats < 2 {
            return refuse("splits or resamples", repeats as f64, "at least 1 split, or 2 resamples");
        }
        if top == 0 {
            return refuse("top", 0.0, "at least 1");
        }
        Ok(())
    }

    /// Whether the observations, drawn from `distribution`, are enough. `score` is any estimator, as for [`split_half`]; of it,
    /// intervals are used by `half_width` and values by the others. The answer depends on the arguments alone.
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
    ///     let distribution = RemovalDistribution::Shapley;
    ///     let observations = game.observe(distribution, draws, &Streams::new(1))?;
    ///     rule.check(&observations, distribution, |part| shap.fit(part))
    /// };
    /// assert!(!enough(4)?.reached && enough(5000)?.reached);
    /// # Ok::<(), attribution_lds::AttributionError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`StoppingRule::validate`], and of `score` on all observations and, for `rank_stability`, on halves.
    pub fn check(
        &self,
        observations: &Observations,
        distribution: RemovalDistribution,
        score: impl Fn(&Observations) -> Result<Attribution, AttributionError> + Sync,
    ) -> Result<Stopping, AttributionError> {
        self.validate()?;
        let values = |part: &Observations| Ok(score(part)?.values);
        let agreement = |measured: Result<f64, AttributionError>, least: f64| match measured {
            Ok(measured) => Ok(Stopping { reached: measured >= least, measured: Some(measured) }),
            Err(AttributionError::Undefined { .. }) => Ok(Stopping { reached: false, measured: None }),
            Err(error) => Err(error),
        };
        let resampled = |top: usize, resamples: usize, seed: u64| {
            rank_stability(observations, distribution, top, Bootstrap { resamples, seed }, values)
        };
        match *self {
            StoppingRule::HalfWidth { most } => {
                let attribution = score(observations)?;
                let widths = attribution.intervals().iter().map(|interval| interval.width() / 2.0);
                let widest = widths.fold(f64::NEG_INFINITY, f64::max);
                let measured = widest.is_finite().then_some(widest);
                Ok(Stopping { reached: measured.is_some_and(|widest| widest <= most), measured })
            }
            StoppingRule::RankStability { least, splits, seed } => {
                let found = split_half(observations, distribution, splits, seed, values);
                agreement(found.map(|found| found.full_length), least)
            }
            StoppingRule::KendallTau { least, resamples, seed } => {
                agreement(resampled(1, resamples, seed).map(|found| found.kendall_tau), least)
            }
            StoppingRule::TopAgreement { top, least, resamples, seed } => {
                agreement(resampled(top, resamples, seed).map(|found| found.top_agreement), least)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use removal::Coalition;
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, KernelShap};

    #[test]
    fn ranks_that_agree_stop_and_few_draws_do_not() {
        let shap = KernelShap { bootstrap: None, ..KernelShap::default() };
        let distribution = RemovalDistribution::Shapley;
        let clear = |c: &Coalition| c.members().map(|i| (i * i) as f64).sum::<f64>().powf(1.3);
        let check = |rule: StoppingRule, draws| {
            let observations = FnGame::new(8, clear).observe(distribution, draws, &Streams::new(2)).unwrap();
            rule.check(&observations, distribution, |part| shap.fit(part)).unwrap()
        };
        for rule in [
            StoppingRule::RankStability { least: 0.95, splits: 10, seed: 0 },
            StoppingRule::KendallTau { least: 0.9, resamples: 20, seed: 0 },
            StoppingRule::TopAgreement { top: 2, least: 0.9, resamples: 20, seed: 0 },
        ] {
            assert!(check(rule, 600).reached && !check(rule, 6).reached, "{rule:?}");
        }
        let width = check(StoppingRule::HalfWidth { most: 1e9 }, 5);
        assert_eq!(width, Stopping { reached: false, measured: None });
    }

    #[test]
    fn rules_are_read_with_their_defaults_and_numbers_out_of_range_are_named() {
        let read = |text: &str| serde_json::from_str::<StoppingRule>(text).unwrap();
        let tau = read(r#"{ "kendall_tau": { "least": 0.9 } }"#);
        assert_eq!(tau, StoppingRule::KendallTau { least: 0.9, resamples: 200, seed: 0 });
        assert!(tau.validate().is_ok());
        for (text, name) in [
            (r#"{ "half_width": { "most": 0.0 } }"#, "most is 0"),
            (r#"{ "rank_stability": { "least": 1.5 } }"#, "least is 1.5"),
            (r#"{ "rank_stability": { "least": 0.5, "splits": 0 } }"#, "splits"),
            (r#"{ "kendall_tau": { "least": 0.5, "resamples": 1 } }"#, "resamples"),
            (r#"{ "top_agreement": { "top": 0, "least": 0.5 } }"#, "top is 0"),
        ] {
            let message = read(text).validate().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
