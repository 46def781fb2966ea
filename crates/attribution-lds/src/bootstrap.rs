//! Resampling with a stream of its own for each resample, so that the numbers do not depend on the number of threads.

use rayon::prelude::*;
use streams::{ChaCha12Rng, Streams, below};

use crate::interval::percentile_interval;
use crate::{Bootstrap, IntervalMethod, Intervals};

/// The random numbers of one resample.
pub(crate) struct Resample(ChaCha12Rng);

impl Resample {
    /// Resample `index` of a bootstrap.
    pub(crate) fn new(settings: Bootstrap, index: usize) -> Resample {
        Resample(Streams::new(settings.seed).rng("bootstrap", index as u64))
    }

    /// How often each of `rows` rows occurs in a sample of `rows` with replacement.
    pub(crate) fn counts(&mut self, rows: usize) -> Vec<u32> {
        let mut counts = vec![0; rows];
        for _ in 0..rows {
            counts[below(&mut self.0, rows as u64) as usize] += 1;
        }
        counts
    }

    /// The mean of a sample with replacement from at least one value; of one value, itself.
    pub(crate) fn mean(&mut self, values: &[f64]) -> f64 {
        let total: f64 =
            values.iter().map(|_| values[below(&mut self.0, values.len() as u64) as usize]).sum();
        total / values.len() as f64
    }
}

/// Percentile intervals for n estimates, refitted on each resample; `None` from `refit` for one without an estimate.
/// Also gives how many those were. The standard errors are the estimates' standard deviations, infinite if any is
/// undefined.
pub(crate) fn resample_intervals(
    settings: Bootstrap,
    level: f64,
    n: usize,
    refit: impl Fn(&mut Resample) -> Option<Vec<f64>> + Sync,
) -> (Intervals, usize) {
    let fits: Vec<Vec<f64>> = (0..settings.resamples)
        .into_par_iter()
        .filter_map(|index| refit(&mut Resample::new(settings, index)))
        .collect();
    let undefined = settings.resamples - fits.len();
    let mut intervals = Vec::with_capacity(n);
    let mut standard_errors = Vec::with_capacity(n);
    for place in 0..n {
        let estimates: Vec<f64> = fits.iter().map(|fit| fit[place]).collect();
        let variance = if undefined > 0 { None } else { crate::observations::variance(&estimates) };
        standard_errors.push(variance.map_or(f64::INFINITY, f64::sqrt));
        intervals.push(percentile_interval(estimates, undefined, level));
    }
    let method = IntervalMethod::Bootstrap { resamples: settings.resamples };
    (Intervals { method, level, intervals, standard_errors }, undefined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_numbers_has_its_known_error() {
        let values: Vec<f64> = (0..200).map(f64::from).collect();
        let settings = Bootstrap { resamples: 4000, seed: 1 };
        let (intervals, undefined) =
            resample_intervals(settings, 0.95, 1, |resample| Some(vec![resample.mean(&values)]));
        assert_eq!(undefined, 0);
        // The bootstrap variance of a mean is the variance (divisor m) over m: (m^2 - 1)/12/m.
        let expected = ((200f64.powi(2) - 1.0) / 12.0 / 200.0).sqrt();
        assert!((intervals.standard_errors[0] / expected - 1.0).abs() < 0.05);
        let interval = intervals.intervals[0];
        assert!((interval.width() / (2.0 * 1.96 * expected) - 1.0).abs() < 0.1, "{interval:?}");
        assert!(interval.contains(99.5));
    }

    #[test]
    fn counts_add_up_and_depend_on_the_index_only() {
        let settings = Bootstrap { resamples: 2, seed: 5 };
        let counts = Resample::new(settings, 1).counts(50);
        assert_eq!(counts.iter().sum::<u32>(), 50);
        assert_eq!(counts, Resample::new(Bootstrap { resamples: 9, seed: 5 }, 1).counts(50));
        assert_ne!(counts, Resample::new(settings, 0).counts(50));
    }
}
