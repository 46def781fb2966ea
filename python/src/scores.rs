//! How well scores predict retrained models.

use attribution_lds::{Bootstrap, Interval, LdsSettings, UtilityTable, predict_additive};
use numpy::PyArray1;
use pyo3::prelude::*;
use removal::Coalition;

use crate::arrays::{coalitions, rows, table, vector};
use crate::attribution::Attribution;
use crate::error::value_error;

/// A linear datamodel score, of each test set and on average.
#[pyclass(frozen, module = "tribute")]
pub struct Lds(attribution_lds::Lds);

#[pymethods]
impl Lds {
    /// Mean over the test sets, -100..100.
    #[getter]
    fn mean(&self) -> f64 {
        self.0.mean
    }

    /// The score of each test set ``[k]``.
    #[getter]
    fn sets<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.0.sets)
    }

    /// 1.96 sd / sqrt(k) over the k test sets; None for one set.
    #[getter]
    fn half_width(&self) -> Option<f64> {
        self.0.half_width
    }

    /// Bootstrap interval (lower, upper) of the mean over the test coalitions.
    #[getter]
    fn interval(&self) -> (f64, f64) {
        pair(self.0.interval)
    }

    /// Confidence level of the interval.
    #[getter]
    fn level(&self) -> f64 {
        self.0.level
    }

    /// Standard deviation of the mean over the bootstrap's resamples.
    #[getter]
    fn standard_error(&self) -> Option<f64> {
        self.0.bootstrapped.standard_error
    }

    /// Different coalitions in all sets together.
    #[getter]
    fn coalitions(&self) -> usize {
        self.0.coalitions
    }

    fn __repr__(&self) -> String {
        format!("Lds(mean={}, sets={:?}, interval={:?})", self.0.mean, self.0.sets, pair(self.0.interval))
    }
}

/// The LDS of one scoring minus that of another.
#[pyclass(frozen, module = "tribute")]
pub struct LdsDifference(attribution_lds::LdsDifference);

#[pymethods]
impl LdsDifference {
    /// Mean over the test sets, -200..200.
    #[getter]
    fn mean(&self) -> f64 {
        self.0.mean
    }

    /// Paired bootstrap interval (lower, upper).
    #[getter]
    fn interval(&self) -> (f64, f64) {
        pair(self.0.interval)
    }

    /// Confidence level of the interval.
    #[getter]
    fn level(&self) -> f64 {
        self.0.level
    }

    fn __repr__(&self) -> String {
        format!("LdsDifference(mean={}, interval={:?})", self.0.mean, pair(self.0.interval))
    }
}

/// How far independently seeded retrainings agree: what no score can be expected to beat.
#[pyclass(frozen, module = "tribute")]
pub struct NoiseCeiling(attribution_lds::NoiseCeiling);

#[pymethods]
impl NoiseCeiling {
    /// Number of seeds, k.
    #[getter]
    fn seeds(&self) -> usize {
        self.0.seeds
    }

    /// Coalitions that all seeds have.
    #[getter]
    fn coalitions(&self) -> usize {
        self.0.coalitions
    }

    /// 100 rho: mean Spearman correlation over pairs of seeds.
    #[getter]
    fn between_retrainings(&self) -> f64 {
        self.0.between_retrainings
    }

    /// Bootstrap interval (lower, upper) of `between_retrainings`.
    #[getter]
    fn interval(&self) -> (f64, f64) {
        pair(self.0.interval)
    }

    /// 100 sqrt(rho): the best prediction's expected score against one retraining.
    #[getter]
    fn attainable(&self) -> f64 {
        self.0.attainable
    }

    /// `interval` carried through the root.
    #[getter]
    fn attainable_interval(&self) -> (f64, f64) {
        pair(self.0.attainable_interval)
    }

    /// Spearman-Brown reliability of the mean of k seeds, times 100.
    #[getter]
    fn mean_of_seeds(&self) -> f64 {
        self.0.mean_of_seeds
    }

    /// 100 times the root of that reliability.
    #[getter]
    fn attainable_by_mean(&self) -> f64 {
        self.0.attainable_by_mean
    }

    /// Confidence level of the intervals.
    #[getter]
    fn level(&self) -> f64 {
        self.0.level
    }

    fn __repr__(&self) -> String {
        format!(
            "NoiseCeiling(attainable={}, between_retrainings={})",
            self.0.attainable, self.0.between_retrainings
        )
    }
}

/// Linear datamodel score (Park et al. 2023): 100 times Spearman's correlation between predicted and true utilities of test
/// coalitions whose models were really retrained::
///
///     LDS = 100 spearman(masks @ scores, utilities)
///
/// Args:
///     scores: an Attribution, or scores ``[n]`` made elsewhere.
///     masks: 0/1 array ``[t, n]`` of test coalitions. Keep training coalitions out of them.
///     utilities: ``[t]``, or ``[k, t]`` for k retrainings of the same coalitions: then the mean over the k sets is reported,
///         with half_width = 1.96 sd / sqrt(k).
///     level, bootstrap, seed: of the bootstrap interval over the test coalitions.
///
/// Raises:
///     ValueError: if the correlation is undefined (constant utilities or predictions, fewer than three coalitions), saying why.
#[pyfunction]
#[pyo3(signature = (scores, masks, utilities, *, level=0.95, bootstrap=1000, seed=0))]
pub fn lds(
    py: Python<'_>,
    scores: &Bound<'_, PyAny>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<Lds> {
    let sets = Sets::new(masks, utilities)?;
    let predictions = sets.predictions(scores)?;
    let settings = settings(level, bootstrap, seed);
    let predict = |coalition: &Coalition| sets.look_up(&predictions, coalition);
    let score = py.detach(|| attribution_lds::lds(predict, &sets.tables, &settings));
    Ok(Lds(score.map_err(value_error)?))
}

/// The difference lds(first) - lds(second) with a paired bootstrap interval over the test coalitions.
///
/// Args:
///     first, second: as the scores of `lds`.
///     masks, utilities, level, bootstrap, seed: as for `lds`.
#[pyfunction]
#[pyo3(signature = (first, second, masks, utilities, *, level=0.95, bootstrap=1000, seed=0))]
#[allow(clippy::too_many_arguments)]
pub fn lds_difference(
    py: Python<'_>,
    first: &Bound<'_, PyAny>,
    second: &Bound<'_, PyAny>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<LdsDifference> {
    let sets = Sets::new(masks, utilities)?;
    let (one, two) = (sets.predictions(first)?, sets.predictions(second)?);
    let settings = settings(level, bootstrap, seed);
    let difference = py.detach(|| {
        let predict = |predictions: &'_ [f64]| {
            let predictions = predictions.to_vec();
            let sets = &sets;
            move |coalition: &Coalition| sets.look_up(&predictions, coalition)
        };
        attribution_lds::lds_difference(predict(&one), predict(&two), &sets.tables, &settings)
    });
    Ok(LdsDifference(difference.map_err(value_error)?))
}

/// The noise ceiling from k >= 2 retrainings of the same coalitions: with rho the mean Spearman correlation over all pairs of
/// seeds, 100 sqrt(rho) is what the best possible prediction scores against one retraining (correction for attenuation).
///
/// Args:
///     masks: 0/1 array ``[t, n]``.
///     utilities: ``[k, t]``, one row a seed.
///     level, bootstrap, seed: of the bootstrap interval over coalitions.
#[pyfunction]
#[pyo3(signature = (masks, utilities, *, level=0.95, bootstrap=1000, seed=0))]
pub fn noise_ceiling(
    py: Python<'_>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<NoiseCeiling> {
    let sets = Sets::new(masks, utilities)?;
    let settings = settings(level, bootstrap, seed);
    let ceiling = py.detach(|| attribution_lds::noise_ceiling(&sets.tables, &settings));
    Ok(NoiseCeiling(ceiling.map_err(value_error)?))
}

/// Spearman's rank correlation in -1..1, ties sharing the mean of their ranks.
///
/// Raises:
///     ValueError: where it is undefined (fewer than three pairs, a constant side): never 0 or NaN.
#[pyfunction]
pub fn spearman(predicted: &Bound<'_, PyAny>, utilities: &Bound<'_, PyAny>) -> PyResult<f64> {
    let (one, two) = (vector(predicted, "predicted")?, vector(utilities, "utilities")?);
    if one.len() != two.len() {
        return Err(value_error(format!("predicted has {} entries, utilities {}", one.len(), two.len())));
    }
    if let Some(place) = one.iter().chain(&two).position(|number| !number.is_finite()) {
        return Err(value_error(format!("entry {} is not finite", place % one.len())));
    }
    attribution_lds::spearman(&one, &two).map_err(value_error)
}

/// Test coalitions with one table of utilities a set.
struct Sets {
    coalitions: Vec<Coalition>,
    places: std::collections::BTreeMap<Coalition, usize>,
    tables: Vec<UtilityTable>,
}

impl Sets {
    fn new(masks: &Bound<'_, PyAny>, utilities: &Bound<'_, PyAny>) -> PyResult<Self> {
        let coalitions = coalitions(masks)?;
        let utilities = rows(utilities, "utilities")?;
        let tables = utilities.iter().map(|set| table(&coalitions, set)).collect::<PyResult<_>>()?;
        let places =
            coalitions.iter().cloned().enumerate().map(|(place, coalition)| (coalition, place)).collect();
        Ok(Self { coalitions, places, tables })
    }

    /// A prediction for each coalition.
    fn predictions(&self, scores: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
        let n = self.coalitions.first().map_or(0, Coalition::n);
        let fits = |found: usize| {
            if found == n {
                Ok(())
            } else {
                Err(value_error(format!("there are {found} scores, the masks are of {n} contributors")))
            }
        };
        if let Ok(attribution) = scores.cast::<Attribution>() {
            let fit = &attribution.get().fit;
            fits(fit.values.len())?;
            return Ok(self.coalitions.iter().map(|coalition| fit.predict(coalition)).collect());
        }
        let values = vector(scores, "scores")?;
        fits(values.len())?;
        Ok(self.coalitions.iter().map(|coalition| predict_additive(&values, coalition)).collect())
    }

    fn look_up(&self, predictions: &[f64], coalition: &Coalition) -> f64 {
        // Only coalitions of the tables are asked for, and all of those are in `places`.
        predictions[self.places[coalition]]
    }
}

fn settings(level: f64, resamples: usize, seed: u64) -> LdsSettings {
    LdsSettings { level, bootstrap: Bootstrap { resamples, seed } }
}

fn pair(interval: Interval) -> (f64, f64) {
    (interval.lower, interval.upper)
}
