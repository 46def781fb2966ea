//! Which runs a study needs.

use std::collections::BTreeSet;

use removal::{ActiveDraws, Coalition, RemovalDistribution, unique_draws};
use streams::Streams;

use crate::config::{CoalitionChoice, StudyConfig};
use crate::context::Context;
use crate::error::StudyError;
use crate::runs::Run;

/// Stream of the training draws.
pub(crate) const TRAINING_DRAWS: &str = "training coalitions";
/// Stream of the draws that are retrained for the baseline.
pub(crate) const BASELINE_DRAWS: &str = "retraining baseline";

/// The coalitions of a study. They depend on the study's seed and the number of contributors alone.
#[derive(Debug, Clone, PartialEq)]
pub struct CoalitionPlan {
    /// Every draw in order, test coalitions among them.
    pub drawn: Vec<Coalition>,
    /// Draws that the scores are estimated from; a repeated draw stands here twice and is run once.
    pub training: Vec<Coalition>,
    /// Training draws left out because they are test coalitions.
    pub dropped: usize,
    /// Distinct test coalitions, retrained to judge the scores.
    pub test: Vec<Coalition>,
    /// Draws retrained for the baseline at equal compute.
    pub baseline: Vec<Coalition>,
}

impl CoalitionPlan {
    /// Draws the coalitions of `context`'s study.
    ///
    /// The test coalitions are drawn first, so a study with more training coalitions is judged by the same test.
    ///
    /// # Errors
    /// If the distribution has too few coalitions for this number of contributors.
    pub fn draw(context: &Context) -> Result<Self, StudyError> {
        let config = &context.config;
        let n = context.contributors();
        config.coalitions.fits(n, config.evaluation.retrain_coalitions)?;
        let streams = Streams::new(config.seed);
        let alpha = config.evaluation.datamodel_alpha;
        let test_streams = streams.child("test coalitions", 0);
        let test: Vec<Coalition> = unique_draws(
            &RemovalDistribution::Datamodel { alpha },
            n,
            &test_streams,
            config.evaluation.test_coalitions,
        )?
        .into_iter()
        .map(|draw| draw.coalition)
        .collect();
        let held_out: BTreeSet<&Coalition> = test.iter().collect();
        let drawn = draw_many(config, n, TRAINING_DRAWS, config.coalitions.count)?;
        let mut baseline = draw_many(config, n, BASELINE_DRAWS, config.evaluation.retrain_coalitions)?;
        baseline.retain(|coalition| !held_out.contains(coalition));
        let plan = Self { training: Vec::new(), dropped: 0, test, baseline, drawn };
        Ok(plan.first(config.coalitions.count))
    }

    /// The same with no more than the first `draws` draws.
    pub fn first(&self, draws: usize) -> Self {
        let held_out: BTreeSet<&Coalition> = self.test.iter().collect();
        let drawn: Vec<Coalition> = self.drawn.iter().take(draws).cloned().collect();
        let training: Vec<Coalition> =
            drawn.iter().filter(|coalition| !held_out.contains(coalition)).cloned().collect();
        let dropped = drawn.len() - training.len();
        Self { training, dropped, drawn, test: self.test.clone(), baseline: self.baseline.clone() }
    }

    /// The runs behind the scores: nobody, everybody, and each distinct training coalition.
    pub fn score_runs(&self, n: usize, parent: &str) -> Vec<Run> {
        let everybody = Run::unlearned(Coalition::full(n), parent);
        let draws = self.training.iter().map(|coalition| Run::unlearned(coalition.clone(), parent));
        distinct([Run::null(n), everybody].into_iter().chain(draws))
    }

    /// The retrainings of the test coalitions, seed by seed; seed 0 is the full model's.
    pub fn test_runs(&self, seeds: usize) -> Vec<Run> {
        let seeds = test_seeds(seeds);
        seeds.flat_map(|seed| self.test.iter().map(move |c| Run::retrained(c.clone(), seed))).collect()
    }

    /// The retrainings of the baseline.
    pub fn baseline_runs(&self) -> Vec<Run> {
        distinct(self.baseline.iter().map(|c| Run::retrained(c.clone(), 0)))
    }
}

fn draw_many(config: &StudyConfig, n: usize, name: &str, count: usize) -> Result<Vec<Coalition>, StudyError> {
    let mut sequence = Sequence::new(config, n, name, config.coalitions.distribution)?;
    (0..count).map(|_| sequence.next_coalition()).collect()
}

/// The draws of a stream, one after the other: chosen if the study chooses and they are of its own distribution.
pub(crate) enum Sequence {
    /// As they come.
    Drawn { distribution: RemovalDistribution, n: usize, streams: Streams, next: u64 },
    /// Chosen.
    Active(Box<ActiveDraws>),
}

impl Sequence {
    /// Begins with draw 0 of the stream `name`.
    ///
    /// # Errors
    /// A distribution that does not fit the number of contributors or leaves no choice.
    pub fn new(
        config: &StudyConfig,
        n: usize,
        name: &str,
        distribution: RemovalDistribution,
    ) -> Result<Self, StudyError> {
        let streams = Streams::new(config.seed).child(name, 0);
        let coalitions = &config.coalitions;
        Ok(match coalitions.choice {
            CoalitionChoice::Active if distribution == coalitions.distribution => {
                Self::Active(Box::new(ActiveDraws::new(distribution, n, &streams, coalitions.candidates)?))
            }
            _ => Self::Drawn { distribution, n, streams, next: 0 },
        })
    }

    /// The next coalition.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::draw`].
    pub fn next_coalition(&mut self) -> Result<Coalition, StudyError> {
        Ok(match self {
            Self::Active(draws) => draws.next_draw()?.coalition,
            Self::Drawn { distribution, n, streams, next } => {
                *next += 1;
                distribution.draw(*n, streams, *next - 1)?.coalition
            }
        })
    }
}

/// Which of a study's draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    /// Those behind the scores.
    Scores,
    /// Those that are retrained for the baseline at equal compute.
    Baseline,
}

/// The coalitions that a study of `n` contributors draws, in order, repeats and test coalitions among them.
///
/// # Errors
/// If the distribution does not fit the number of contributors.
pub fn drawn_coalitions(config: &StudyConfig, n: usize, draws: Draws) -> Result<Vec<Coalition>, StudyError> {
    let (name, count) = match draws {
        Draws::Scores => (TRAINING_DRAWS, config.coalitions.count),
        Draws::Baseline => (BASELINE_DRAWS, config.evaluation.retrain_coalitions),
    };
    draw_many(config, n, name, count)
}

/// The repetitions that test coalitions are retrained with: 1, 2, ..., all different from the full model's.
pub fn test_seeds(count: usize) -> impl Iterator<Item = u64> {
    1..=count as u64
}

/// The runs without repeats, in order.
fn distinct(runs: impl IntoIterator<Item = Run>) -> Vec<Run> {
    let mut kept: Vec<Run> = Vec::new();
    for run in runs {
        if !kept.contains(&run) {
            kept.push(run);
        }
    }
    kept
}
