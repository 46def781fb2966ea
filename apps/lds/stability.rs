//! How far the ranks of contributors would stay with other draws.

use attribution_lds::{
    AttributionError, Bootstrap, Observations, RankStability, SplitHalf, rank_stability, split_half,
};
use serde_json::{Value as Json, json};

use crate::arguments::Arguments;
use crate::estimate::Estimation;
use crate::judge::defined;

/// Random halvings.
const SPLITS: usize = 20;
/// Bootstrap resamples.
const RESAMPLES: usize = 100;
/// Halvings of a large game, each of which takes two fits.
const SPLITS_OF_LARGE: usize = 2;

/// Agreement of the ranks between parts of the draws, or why there is none.
pub struct Stability {
    split_half: Result<SplitHalf, AttributionError>,
    /// `None` for large games, where it takes too long.
    resampled: Option<Result<RankStability, AttributionError>>,
}

impl Stability {
    /// Scores halves and resamples of the draws.
    pub fn of(observations: &Observations, estimation: &Estimation, arguments: &Arguments) -> Self {
        let large = estimation.estimator.has_large_form()
            && estimation.settings.is_large(observations.n(), observations.draws().len());
        let splits = if large { SPLITS_OF_LARGE } else { SPLITS };
        let score = |part: &Observations| estimation.values(part);
        let bootstrap = Bootstrap { resamples: RESAMPLES, seed: arguments.seed };
        Self {
            split_half: split_half(observations, estimation.distribution, splits, arguments.seed, score),
            resampled: (!large).then(|| {
                rank_stability(observations, estimation.distribution, arguments.top, bootstrap, score)
            }),
        }
    }

    /// All of it as JSON.
    ///
    /// # Errors
    /// If a number has no JSON form, which none has.
    pub fn to_json(&self) -> anyhow::Result<Json> {
        let resampled = match &self.resampled {
            Some(resampled) => defined(resampled)?,
            None => json!({ "undefined": "a large game: every resample would take a fit of its own" }),
        };
        Ok(json!({ "split_half": defined(&self.split_half)?, "resampled": resampled }))
    }
}
