//! Kernel SHAP with a control variate: what every coalition of a size has in common.

use ndarray::{Array1, Array2};

use crate::attribution::Attribution;
use crate::least_squares::invert;
use crate::observations::variance;
use crate::upper::Upper;
use crate::{AttributionError, Interval, KernelShap, Observations, UtilityTable};

/// Functions of the coalition size s that the common part is fitted with: 1, s/n and 1/s.
const BASIS: usize = 3;

impl KernelShap {
    /// As [`KernelShap::fit`], after taking from each utility what coalitions of its size have in common.
    ///
    /// A symmetric game h(|S|) gives everybody the same Shapley value, (h(n) - h(0))/n, whatever h is in between. By
    /// linearity, phi(v) = phi(v - h) + (v(all) - v(none))/n for every h with h(0) = v(none) and h(n) = v(all). Here
    /// h(s) = a + b s/n + c/s for 0 < s < n, fitted by least squares to the observed utilities. Kernel SHAP then sees
    /// v - h, which is 0 at both ends and small between, so its residuals, which are its variance, are those of who is in
    /// a coalition, not of how far v(none) is from everything else. For a fixed h the estimate has the same expectation;
    /// fitting three numbers to the same draws leaves a bias of the order of 1/m.
    ///
    /// This is the control variate of regression-adjusted estimators (Witter, Liu & Musco 2025,
    /// <https://arxiv.org/abs/2506.11849>) with a function of the size alone. It matters where v(none) is the utility of an
    /// untrained model: without it, the step from none to one contributor is noise in everybody's score.
    ///
    /// Intervals take h as given. Several runs of v(all) or v(none) add their variance / n^2.
    ///
    /// ```
    /// use attribution_lds::{FnGame, Game, KernelShap};
    /// use removal::{Coalition, RemovalDistribution};
    /// use streams::Streams;
    ///
    /// // Nobody is worth 100; a first contributor brings that to about 0. Contributor 3 adds 1.
    /// let value = |c: &Coalition| if c.is_empty() { 100.0 } else { f64::from(u8::from(c.contains(3))) };
    /// let observations = FnGame::new(6, value).observe(RemovalDistribution::Shapley, 80, &Streams::new(1))?;
    /// let shapley = KernelShap::default().fit_size_adjusted(&observations)?;
    /// assert!((shapley.values[3] - shapley.values[0] - 1.0).abs() < 0.05);
    /// # Ok::<(), attribution_lds::AttributionError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`KernelShap::fit`].
    pub fn fit_size_adjusted(&self, observations: &Observations) -> Result<Attribution, AttributionError> {
        size_adjusted(observations, |centered| self.fit(centered))
    }
}

/// [`KernelShap::fit_size_adjusted`] by any fit of what is left of the utilities.
pub(crate) fn size_adjusted(
    observations: &Observations,
    fit: impl Fn(&Observations) -> Result<Attribution, AttributionError>,
) -> Result<Attribution, AttributionError> {
    let n = observations.n();
    let common = common_part(observations.draws());
    let (none, full) = (observations.none(), observations.full());
    let mut centered = UtilityTable::new(n);
    for row in observations.draws().rows() {
        let size = row.coalition().len();
        let h = if size == 0 {
            none
        } else if size == n {
            full
        } else {
            common[size]
        };
        let runs = row.runs().iter().map(|utility| utility - h).collect();
        centered.push_times(row.coalition().clone(), runs, row.times())?;
    }
    let mut attribution = fit(&Observations::new(centered, vec![0.0], vec![0.0])?)?;

    let share = (full - none) / n as f64;
    attribution.values.iter_mut().for_each(|value| *value += share);
    let ends: f64 = [observations.full_runs(), observations.none_runs()]
        .iter()
        .filter_map(|runs| Some(variance(runs)? / runs.len() as f64))
        .sum();
    let end_variance = ends / (n * n) as f64;
    for intervals in [&mut attribution.closed_form, &mut attribution.bootstrap].into_iter().flatten() {
        for (interval, error) in intervals.intervals.iter_mut().zip(&mut intervals.standard_errors) {
            let wider = (*error * *error + end_variance).sqrt();
            let scale = if *error > 0.0 && error.is_finite() { wider / *error } else { 1.0 };
            let center = (interval.upper + interval.lower) / 2.0;
            if interval.is_bounded() {
                let half = (interval.upper - interval.lower) / 2.0 * scale;
                *interval = Interval { lower: center - half + share, upper: center + half + share };
            }
            *error = wider;
        }
    }
    attribution.intercept = none;
    attribution.size_effect = (0..=n)
        .map(|size| {
            let additive = none + size as f64 * share;
            if size == 0 || size == n { 0.0 } else { common[size] - additive }
        })
        .collect();
    attribution.diagnostics.endpoint_runs =
        Some((observations.full_runs().len(), observations.none_runs().len()));
    attribution.diagnostics.constant_utilities = observations.draws().is_constant();
    Ok(attribution)
}

/// h(s) for 0..=n from the rows with 0 < s < n; the entries for 0 and n are not used.
fn common_part(draws: &UtilityTable) -> Vec<f64> {
    let n = draws.n();
    let basis = |size: usize| -> [f64; BASIS] { [1.0, size as f64 / n as f64, 1.0 / size.max(1) as f64] };
    let mut gram = Array2::<f64>::zeros((BASIS, BASIS));
    let mut cross = Array1::<f64>::zeros(BASIS);
    for row in draws.rows() {
        let size = row.coalition().len();
        if size == 0 || size == n {
            continue;
        }
        let x = basis(size);
        let weight = f64::from(row.times());
        for i in 0..BASIS {
            cross[i] += weight * x[i] * row.mean();
            for j in 0..BASIS {
                gram[[i, j]] += weight * x[i] * x[j];
            }
        }
    }
    let coefficients = invert(&Upper::of(&gram)).matrix.dot(&cross);
    (0..=n).map(|size| basis(size).iter().zip(&coefficients).map(|(x, c)| x * c).sum()).collect()
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use crate::{Bootstrap, FnGame, Game, KernelShap, exact_shapley, utility_of_all};

    const N: usize = 8;

    /// Far from everything without anybody, then additive with an interaction.
    fn jump(c: &Coalition) -> f64 {
        if c.is_empty() {
            return 200.0;
        }
        let additive: f64 = c.members().map(|i| i as f64).sum();
        additive + if c.contains(0) && c.contains(7) { 3.0 } else { 0.0 }
    }

    fn errors(draws: usize, repetitions: u64) -> (f64, f64, usize) {
        let game = FnGame::new(N, jump);
        let truth = exact_shapley(N, &utility_of_all(N, jump).unwrap()).unwrap();
        let (mut plain, mut adjusted, mut covered) = (0.0, 0.0, 0);
        for seed in 0..repetitions {
            let observations =
                game.observe(RemovalDistribution::Shapley, draws, &Streams::new(seed)).unwrap();
            let estimator = KernelShap { bootstrap: None, ..KernelShap::default() };
            let square =
                |values: &[f64]| values.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            plain += square(&estimator.fit(&observations).unwrap().values);
            let fit = estimator.fit_size_adjusted(&observations).unwrap();
            adjusted += square(&fit.values);
            let intervals = fit.closed_form.unwrap().intervals;
            covered +=
                intervals.iter().zip(&truth).filter(|(interval, value)| interval.contains(**value)).count();
            assert!((fit.values.iter().sum::<f64>() - (jump(&Coalition::full(N)) - 200.0)).abs() < 1e-8);
        }
        (plain / repetitions as f64, adjusted / repetitions as f64, covered)
    }

    #[test]
    fn the_step_from_nobody_is_no_noise() {
        let (plain, adjusted, _) = errors(100, 40);
        assert!(
            adjusted < plain / 100.0,
            "squared error {adjusted} against {plain} without the control variate"
        );
    }

    #[test]
    fn it_converges_to_the_shapley_values() {
        let (_, few, _) = errors(100, 20);
        let (_, many, _) = errors(1600, 20);
        assert!(many < few / 8.0, "squared error {few} at 100 draws, {many} at 1600");
    }

    #[test]
    fn intervals_cover() {
        let (_, _, covered) = errors(120, 100);
        let rate = covered as f64 / (100 * N) as f64;
        assert!((0.90..=0.99).contains(&rate), "{rate} of nominal 0.95");
    }

    #[test]
    fn predictions_follow_the_size_and_both_ends() {
        let game = FnGame::new(N, jump);
        let observations = game.observe(RemovalDistribution::Shapley, 200, &Streams::new(5)).unwrap();
        let settings =
            KernelShap { bootstrap: Some(Bootstrap { resamples: 50, seed: 1 }), ..KernelShap::default() };
        let fit = settings.fit_size_adjusted(&observations).unwrap();
        assert!((fit.predict(&Coalition::empty(N)) - 200.0).abs() < 1e-9);
        assert!((fit.predict(&Coalition::full(N)) - jump(&Coalition::full(N))).abs() < 1e-8);
        let middle = Coalition::from_members(N, [1, 2, 5, 7]).unwrap();
        assert!((fit.predict(&middle) - jump(&middle)).abs() < 2.0, "{}", fit.predict(&middle));
        assert!(fit.bootstrap.unwrap().intervals.iter().all(|interval| interval.is_bounded()));
    }
}
