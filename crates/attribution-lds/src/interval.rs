//! Confidence intervals and what they were made by.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::AttributionError;

/// A confidence interval. A bound that the data does not give is infinite (`null` in serialized form).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Lower bound.
    #[serde(with = "lower_bound")]
    pub lower: f64,
    /// Upper bound.
    #[serde(with = "upper_bound")]
    pub upper: f64,
}

impl Interval {
    /// The interval that says nothing.
    pub const UNBOUNDED: Interval = Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };

    /// `center` plus and minus `half_width`; unbounded for an infinite half width.
    pub(crate) fn around(center: f64, half_width: f64) -> Interval {
        Interval { lower: center - half_width, upper: center + half_width }
    }

    /// Whether the value lies in it, bounds included.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// Upper minus lower bound.
    pub fn width(&self) -> f64 {
        self.upper - self.lower
    }

    /// Whether both bounds are known.
    pub fn is_bounded(&self) -> bool {
        self.width().is_finite()
    }
}

/// How intervals were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Student t around the least-squares estimate, with the HC3 sandwich variance.
    Sandwich,
    /// Percentiles of the estimates from resampled coalitions.
    Bootstrap {
        /// Number of resamples.
        resamples: usize,
    },
    /// Welch's t for a difference of two means.
    Welch,
    /// Student t around a mean over independent draws, pairs of draws or permutations.
    Sampling,
}

/// One interval for each contributor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// How they were made.
    pub method: IntervalMethod,
    /// Their confidence level, for instance 0.95: for each contributor by itself, not for all of them at once.
    pub level: f64,
    /// The intervals, by contributor.
    pub intervals: Vec<Interval>,
    /// Standard errors, by contributor; infinite (serialized as `null`) where the data gives none.
    #[serde(with = "upper_bounds")]
    pub standard_errors: Vec<f64>,
}

impl Intervals {
    /// Intervals that say nothing, for n contributors.
    pub(crate) fn unbounded(method: IntervalMethod, level: f64, n: usize) -> Intervals {
        Intervals {
            method,
            level,
            intervals: vec![Interval::UNBOUNDED; n],
            standard_errors: vec![f64::INFINITY; n],
        }
    }
}

/// The bootstrap's length and seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 1,000 resamples, seed 0.
    fn default() -> Bootstrap {
        Bootstrap { resamples: 1000, seed: 0 }
    }
}

impl Bootstrap {
    pub(crate) fn check(&self) -> Result<(), AttributionError> {
        if self.resamples < 2 {
            let value = self.resamples as f64;
            return Err(AttributionError::OutOfRange { setting: "resamples", value, range: "at least 2" });
        }
        Ok(())
    }
}

pub(crate) fn check_level(level: f64) -> Result<(), AttributionError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(AttributionError::OutOfRange {
        setting: "the confidence level",
        value: level,
        range: "between 0 and 1",
    })
}

/// The factor of a two-sided Student t interval; infinite without degrees of freedom.
pub(crate) fn student_factor(level: f64, degrees_of_freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, degrees_of_freedom) {
        Ok(student) if degrees_of_freedom > 0.0 => student.inverse_cdf(0.5 + level / 2.0),
        _ => f64::INFINITY,
    }
}

/// The means of independent units' estimates `[unit][place]` and Student's t intervals around them; unbounded for one unit.
pub(crate) fn student_intervals(
    method: IntervalMethod,
    level: f64,
    n: usize,
    units: &[Vec<f64>],
) -> (Vec<f64>, Intervals) {
    let count = units.len() as f64;
    let mut values = vec![0.0; n];
    let mut squares = vec![0.0; n];
    for unit in units {
        values.iter_mut().zip(unit).for_each(|(value, one)| *value += one / count);
    }
    for unit in units {
        for ((square, one), value) in squares.iter_mut().zip(unit).zip(&values) {
            *square += (one - value).powi(2);
        }
    }
    if units.len() < 2 {
        return (values, Intervals::unbounded(method, level, n));
    }
    let factor = student_factor(level, count - 1.0);
    let standard_errors: Vec<f64> =
        squares.iter().map(|square| (square / (count - 1.0) / count).sqrt()).collect();
    let intervals = values.iter().zip(&standard_errors);
    let intervals = intervals.map(|(value, error)| Interval::around(*value, factor * error)).collect();
    (values, Intervals { method, level, intervals, standard_errors })
}

/// The percentile interval of resampled estimates, where `undefined` further resamples gave no estimate. Each of those
/// counts as infinitely low for the lower bound and infinitely high for the upper one: the interval never gets
/// narrower for lack of data. Percentiles interpolate linearly (NumPy's default, Hyndman & Fan type 7).
pub(crate) fn percentile_interval(mut estimates: Vec<f64>, undefined: usize, level: f64) -> Interval {
    estimates.sort_by(f64::total_cmp);
    let total = estimates.len() + undefined;
    if total == 0 {
        return Interval::UNBOUNDED;
    }
    let position = (total - 1) as f64 * (1.0 - level) / 2.0;
    let (below, share) = (position.floor() as usize, position.fract());
    // `at(k)` is the k-th smallest (or, from the other end, largest) with the undefined ones first.
    let bound = |at: &dyn Fn(usize) -> f64, infinite: f64| {
        if below < undefined || below - undefined >= estimates.len() {
            return infinite;
        }
        let near = at(below - undefined);
        let far = at((below + 1 - undefined).min(estimates.len() - 1));
        near + share * (far - near)
    };
    let last = estimates.len().saturating_sub(1);
    Interval {
        lower: bound(&|place| estimates[place], f64::NEG_INFINITY),
        upper: bound(&|place| estimates[last - place], f64::INFINITY),
    }
}

macro_rules! bound_as_option {
    ($name:ident, $infinite:expr) => {
        mod $name {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
                value.is_finite().then_some(*value).serialize(serializer)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
                Ok(Option::deserialize(deserializer)?.unwrap_or($infinite))
            }
        }
    };
}

bound_as_option!(lower_bound, f64::NEG_INFINITY);
bound_as_option!(upper_bound, f64::INFINITY);

mod upper_bounds {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.is_finite().then_some(*value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.unwrap_or(f64::INFINITY)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_as_numpy_computes_them() {
        // numpy.percentile([0, ..., 10], [2.5, 97.5]) = [0.25, 9.75].
        let estimates: Vec<f64> = (0..11).rev().map(f64::from).collect();
        let interval = percentile_interval(estimates, 0, 0.95);
        assert!(
            (interval.lower - 0.25).abs() < 1e-12 && (interval.upper - 9.75).abs() < 1e-12,
            "{interval:?}"
        );
    }

    #[test]
    fn undefined_resamples_only_widen() {
        let estimates: Vec<f64> = (0..1000).map(f64::from).collect();
        let all = percentile_interval(estimates.clone(), 0, 0.95);
        let some = percentile_interval(estimates[10..990].to_vec(), 20, 0.95);
        assert!(some.lower <= all.lower && some.upper >= all.upper && some.is_bounded(), "{some:?}");
        assert_eq!(percentile_interval(estimates[30..].to_vec(), 30, 0.95), Interval::UNBOUNDED);
        assert_eq!(percentile_interval(vec![], 5, 0.95), Interval::UNBOUNDED);
    }

    #[test]
    fn student_factors() {
        // scipy.stats.t.ppf(0.975, 7) and t.ppf(0.95, 2.5).
        assert!((student_factor(0.95, 7.0) - 2.364_624_251_592_785).abs() < 1e-9);
        assert!((student_factor(0.90, 2.5) - 2.558_218_614_135_935_5).abs() < 1e-9);
        assert_eq!(student_factor(0.95, 0.0), f64::INFINITY);
    }

    #[test]
    fn infinite_bounds_survive_json() {
        let interval = Interval { lower: f64::NEG_INFINITY, upper: 2.0 };
        let text = serde_json::to_string(&interval).unwrap();
        assert_eq!(text, r#"{"lower":null,"upper":2.0}"#);
        assert_eq!(serde_json::from_str::<Interval>(&text).unwrap(), interval);
    }
}
