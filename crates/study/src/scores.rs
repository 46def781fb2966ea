//! From records to scores, and to how far the scores can be trusted.

use std::collections::BTreeMap;

use attribution_lds::{
    Attribution, AttributionError, Bootstrap, FitSettings, Lds, LdsDifference, LdsSettings, NoiseCeiling,
    Observations, RankStability, SplitHalf, UtilityTable, lds, lds_difference, noise_ceiling,
    predict_additive, rank_stability, split_half,
};
use behavior::{Behavior, Direction};
use removal::{Coalition, RemovalDistribution};

use crate::context::Context;
use crate::error::StudyError;
use crate::plan::{CoalitionPlan, test_seeds};
use crate::records::Records;
use crate::runs::Run;

/// Random halvings of the draws for the stability of ranks.
const SPLITS: usize = 50;
/// Resamples of the draws for the same.
const RESAMPLES: usize = 200;
/// Contributors that count as the top there.
const TOP: usize = 3;

/// Utilities of the runs of a study, behaviour by behaviour.
pub(crate) struct Utilities<'a> {
    context: &'a Context,
    records: &'a Records,
    plan: &'a CoalitionPlan,
    parent: &'a str,
}

/// One scoring method, judged by the test coalitions. `Err` holds why it has no value.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// Its linear datamodel score.
    pub lds: Result<Lds, String>,
    /// Our score minus this one, on the same coalitions.
    pub difference: Option<LdsDifference>,
}

/// All that is known about one behaviour.
#[derive(Debug, Clone)]
pub(crate) struct Evaluated {
    /// The behaviour.
    pub behavior: Behavior,
    /// Which way it is better.
    pub direction: Direction,
    /// Scores from the study's cheap runs.
    pub ours: Attribution,
    /// Agreement of ranks between random halves of the draws.
    pub split_half: Option<SplitHalf>,
    /// Agreement of ranks with those from resampled draws.
    pub stability: Option<RankStability>,
    /// v(all) and v(none).
    pub endpoints: (f64, f64),
    /// Agreement of independently seeded retrainings.
    pub ceiling: Result<NoiseCeiling, String>,
    /// Our scores.
    pub judged: Judged,
    /// The baselines by name.
    pub baselines: BTreeMap<Baseline, Judged>,
    /// Test coalitions with the predicted utility and the mean of the retrained ones.
    pub points: Vec<(Coalition, f64, f64)>,
}

/// Trivial scores that a method must beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Baseline {
    /// Number of training images.
    ImageCount,
    /// Mean cosine similarity of the contributor's images to the full model's samples.
    FeatureSimilarity,
    /// Scores from retrained models at equal compute.
    Retrained,
}

impl Evaluated {
    /// Our scores with the sign that makes more better.
    pub fn goodness(&self) -> Vec<f64> {
        let sign = if self.direction == Direction::LowerIsBetter { -1.0 } else { 1.0 };
        self.ours.values.iter().map(|value| sign * value).collect()
    }
}

impl<'a> Utilities<'a> {
    /// Utilities from the records of a study whose method starts from `parent`.
    pub fn new(context: &'a Context, records: &'a Records, plan: &'a CoalitionPlan, parent: &'a str) -> Self {
        Self { context, records, plan, parent }
    }

    /// A behaviour's value in the record of a run; component `component` if it is a vector.
    pub fn value(&self, run: &Run, key: &str, component: usize) -> Result<f64, StudyError> {
        let id = run.id(&self.context.run_settings())?;
        let record = self.records.get(id)?;
        let value = record.behaviors.get(key).and_then(|value| value.as_slice().get(component).copied());
        value.ok_or_else(|| StudyError::MissingBehavior { run: id.short(), key: key.to_owned() })
    }

    /// Draws with multiplicity, and the endpoints, from runs made by `make`.
    fn observations(
        &self,
        draws: &[Coalition],
        make: impl Fn(&Coalition) -> Run,
        key: &str,
        component: usize,
    ) -> Result<Observations, StudyError> {
        let n = self.context.contributors();
        let value = |coalition: &Coalition| self.value(&make(coalition), key, component);
        let mut table = UtilityTable::new(n);
        if draws_orders(self.context.config.coalitions.distribution) {
            // A row's place in its order counts, so that a repeat stands twice.
            for coalition in draws {
                table.push(coalition.clone(), value(coalition)?)?;
            }
        } else {
            let mut times: BTreeMap<&Coalition, u32> = BTreeMap::new();
            for coalition in draws {
                *times.entry(coalition).or_default() += 1;
            }
            // In the order of first draws, so that a larger study has a smaller one's table as its beginning.
            for coalition in draws {
                if let Some(times) = times.remove(coalition) {
                    table.push_times(coalition.clone(), vec![value(coalition)?], times)?;
                }
            }
        }
        let full = self.value(&make(&Coalition::full(n)), key, component)?;
        let none = self.value(&Run::null(n), key, component)?;
        Ok(Observations::new(table, vec![full], vec![none])?)
    }

    /// Observations from the plan's training draws, each from the run that `make` gives.
    pub fn observed(&self, key: &str, make: impl Fn(&Coalition) -> Run) -> Result<Observations, StudyError> {
        self.observations(&self.plan.training, make, key, 0)
    }

    /// Observations from the study's cheap runs.
    pub fn unlearned(&self, key: &str, component: usize) -> Result<Observations, StudyError> {
        self.observations(&self.plan.training, |c| Run::unlearned(c.clone(), self.parent), key, component)
    }

    /// Observations from the retrained baseline draws; `None` if there are none.
    fn retrained(&self, key: &str) -> Result<Option<Observations>, StudyError> {
        if self.plan.baseline.is_empty() {
            return Ok(None);
        }
        self.observations(&self.plan.baseline, |c| Run::retrained(c.clone(), 0), key, 0).map(Some)
    }

    /// The retrained test coalitions, a table for each seed.
    pub fn tests(&self, key: &str) -> Result<Vec<UtilityTable>, StudyError> {
        let n = self.context.contributors();
        test_seeds(self.context.config.evaluation.test_seeds)
            .map(|seed| {
                let mut table = UtilityTable::new(n);
                for coalition in &self.plan.test {
                    table.push(
                        coalition.clone(),
                        self.value(&Run::retrained(coalition.clone(), seed), key, 0)?,
                    )?;
                }
                Ok(table)
            })
            .collect()
    }

    /// Scores by the study's estimator.
    pub fn fit(&self, observations: &Observations) -> Result<Attribution, AttributionError> {
        let config = &self.context.config;
        self.fit_with(
            observations,
            Some(Bootstrap { resamples: config.coalitions.bootstrap, seed: config.seed }),
        )
    }

    /// The scores alone: no bootstrap.
    fn quick(&self, observations: &Observations) -> Result<Vec<f64>, AttributionError> {
        Ok(self.fit_with(observations, None)?.values)
    }

    fn fit_with(
        &self,
        observations: &Observations,
        bootstrap: Option<Bootstrap>,
    ) -> Result<Attribution, AttributionError> {
        let coalitions = &self.context.config.coalitions;
        let settings = FitSettings { level: coalitions.confidence, bootstrap, ..FitSettings::default() };
        attribution_lds::fit(coalitions.estimator(), observations, coalitions.distribution, &settings)
    }

    /// Scores and judges one behaviour. `similarity` holds each contributor's mean feature similarity.
    pub fn evaluate(&self, behavior: Behavior, similarity: &[f64]) -> Result<Evaluated, StudyError> {
        let key = behavior.key();
        let observations = self.unlearned(&key, 0)?;
        let ours = self.fit(&observations)?;
        let retrained = self.retrained(&key)?.map(|observations| self.fit(&observations));
        let config = &self.context.config;
        let distribution = config.coalitions.distribution;
        let quick = |part: &Observations| self.quick(part);
        let split_half = split_half(&observations, distribution, SPLITS, config.seed, quick).ok();
        let direction = self.context.config.measures.direction(&behavior);
        let sign = if direction == Direction::LowerIsBetter { -1.0 } else { 1.0 };
        let goodness = |part: &Observations| {
            Ok(self.quick(part)?.into_iter().map(|value| sign * value).collect::<Vec<f64>>())
        };
        let bootstrap = Bootstrap { resamples: RESAMPLES, seed: config.seed };
        let stability = rank_stability(&observations, distribution, TOP, bootstrap, goodness).ok();

        let tests = self.tests(&key)?;
        let settings = LdsSettings {
            level: self.context.config.coalitions.confidence,
            bootstrap: Bootstrap {
                resamples: self.context.config.coalitions.bootstrap,
                seed: self.context.config.seed,
            },
        };
        let ceiling = noise_ceiling(&tests, &settings).map_err(|error| error.to_string());
        let predict_ours = |coalition: &Coalition| ours.predict(coalition);
        let judged = Judged { lds: reason(lds(predict_ours, &tests, &settings)), difference: None };

        let counts: Vec<f64> = self.training_images().iter().map(|&count| count as f64).collect();
        // More images, or more alike images, should do more of what is good.
        let signed = |values: &[f64]| values.iter().map(|value| sign * value).collect::<Vec<f64>>();
        let mut baselines = BTreeMap::new();
        let mut judge = |baseline, values: Vec<f64>| {
            let predict = |coalition: &Coalition| predict_additive(&values, coalition);
            let difference = lds_difference(predict_ours, predict, &tests, &settings).ok();
            baselines.insert(baseline, Judged { lds: reason(lds(predict, &tests, &settings)), difference });
        };
        judge(Baseline::ImageCount, signed(&counts));
        judge(Baseline::FeatureSimilarity, signed(similarity));
        match retrained {
            Some(Ok(retrained)) => judge(Baseline::Retrained, retrained.values),
            Some(Err(error)) => {
                let judged = Judged { lds: Err(error.to_string()), difference: None };
                baselines.insert(Baseline::Retrained, judged);
            }
            None => {}
        }
        let points = self.points(&ours, &tests);
        let endpoints = (observations.full(), observations.none());
        Ok(Evaluated {
            behavior,
            direction,
            ours,
            split_half,
            stability,
            endpoints,
            ceiling,
            judged,
            baselines,
            points,
        })
    }

    /// Number of training images of each contributor.
    pub fn training_images(&self) -> Vec<usize> {
        self.context.training_images()
    }

    fn points(&self, ours: &Attribution, tests: &[UtilityTable]) -> Vec<(Coalition, f64, f64)> {
        let seeds = tests.len() as f64;
        self.plan
            .test
            .iter()
            .enumerate()
            .map(|(row, coalition)| {
                let actual = tests.iter().map(|table| table.rows()[row].mean()).sum::<f64>() / seeds;
                (coalition.clone(), ours.predict(coalition), actual)
            })
            .collect()
    }

    /// Scores of every contributor for the loss on every contributor's held-out images:
    /// `[contributor][whose images]`.
    pub fn help_matrix(&self, key: &str) -> Result<Vec<Vec<f64>>, StudyError> {
        let n = self.context.contributors();
        let columns = (0..n)
            .map(|component| Ok(self.quick(&self.unlearned(key, component)?)?))
            .collect::<Result<Vec<Vec<f64>>, StudyError>>()?;
        Ok((0..n).map(|i| columns.iter().map(|column| column[i]).collect()).collect())
    }
}

/// Whether draws are the beginnings of orders.
fn draws_orders(distribution: RemovalDistribution) -> bool {
    matches!(distribution, RemovalDistribution::Permutation | RemovalDistribution::PermutationAntithetic)
}

/// Why there is no number, as text.
fn reason<T>(result: Result<T, AttributionError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
