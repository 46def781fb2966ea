//! From observed coalitions to scores.

use attribution_lds::{
    Banzhaf, Bootstrap, Datamodel, Estimator, FitSettings, KernelShap, Lasso, Observations, Weighting,
    banzhaf_sample_reuse,
};
use pyo3::prelude::*;

use crate::arrays::{coalitions, table, vector};
use crate::attribution::Attribution;
use crate::draws::distribution_of;
use crate::error::value_error;

/// Shapley values by Kernel SHAP with the efficiency constraint.
///
/// With masks X ``[m, n]``, utilities y ``[m]``, A = X'X/m, b = X'(y - v0)/m, v1 = v(all) and v0 = v(none)::
///
///     phi = A^+ (b - 1 (1'A^+ b - (v1 - v0)) / (1'A^+ 1))
///
/// (Lundberg & Lee 2017; Covert & Lee 2021, eq. 7): the least-squares fit of y - v0 by X phi among all phi that sum to v1 - v0.
/// Coalitions must be drawn from the Shapley distribution (`draw("shapley", ...)`), or weighted by it.
///
/// Args:
///     masks: 0/1 array ``[m, n]``, one coalition a row. Empty and full ones are left out.
///     utilities: ``[m]``.
///     full: v(all): one number, or those of several runs, whose mean counts and whose spread is in the intervals.
///     none: v(none), likewise.
///     weighting: "as_drawn", or "shapley_kernel" for coalitions that were enumerated or drawn uniformly.
///     size_adjusted: first take out what coalitions of one size have in common, h(s) = a + b s/n + c/s; less noise where
///         v(none) is far from everything else.
///     level: confidence level of the intervals.
///     bootstrap: resamples behind the bootstrap intervals; 0 for closed-form intervals only.
///     seed: of the bootstrap.
///
/// Returns:
///     Attribution: values, closed-form (HC3 sandwich) and bootstrap intervals, predictions.
///
/// Raises:
///     ValueError: for arrays of wrong shapes, numbers that are not finite, or too few contributors.
#[pyfunction]
#[pyo3(signature = (masks, utilities, full, none, *, weighting="as_drawn", size_adjusted=false, level=0.95, bootstrap=1000, seed=0))]
#[allow(clippy::too_many_arguments)]
pub fn shapley(
    py: Python<'_>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    full: &Bound<'_, PyAny>,
    none: &Bound<'_, PyAny>,
    weighting: &str,
    size_adjusted: bool,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<Attribution> {
    let weighting = match weighting {
        "as_drawn" => Weighting::AsDrawn,
        "shapley_kernel" => Weighting::ShapleyKernel,
        other => {
            return Err(value_error(format!(
                "weighting is {other:?}, must be \"as_drawn\" or \"shapley_kernel\""
            )));
        }
    };
    let observations = observations(masks, utilities, full, none)?;
    let bootstrap = resampling(bootstrap, seed);
    let estimator = KernelShap { weighting, level, bootstrap, ..KernelShap::default() };
    let fit = py.detach(|| match size_adjusted {
        true => estimator.fit_size_adjusted(&observations),
        false => estimator.fit(&observations),
    });
    Ok(fit.map_err(value_error)?.into())
}

/// A datamodel (Ilyas et al. 2022) with squared penalty::
///
///     min over a, beta of  |y - a - X beta|^2 + alpha |beta|^2
///
/// alpha is chosen by exact leave-one-out cross-validation, as scikit-learn's `RidgeCV` does.
///
/// Args:
///     masks: 0/1 array ``[m, n]``.
///     utilities: ``[m]``.
///     alphas: penalties to choose from; 100 evenly in 0.01..10 when None.
///
/// Returns:
///     Attribution: with `alpha` and `leave_one_out_error`; without intervals, as ridge is biased by design.
#[pyfunction]
#[pyo3(signature = (masks, utilities, *, alphas=None))]
pub fn datamodel(
    py: Python<'_>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    alphas: Option<&Bound<'_, PyAny>>,
) -> PyResult<Attribution> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    let estimator = match alphas {
        Some(alphas) => Datamodel { alphas: vector(alphas, "alphas")? },
        None => Datamodel::default(),
    };
    let fit = py.detach(|| estimator.fit(&table)).map_err(value_error)?;
    Ok(Attribution {
        penalty: Some(fit.alpha),
        leave_one_out_error: Some(fit.leave_one_out_error),
        fit: fit.attribution,
    })
}

/// A datamodel (Ilyas et al. 2022) with absolute penalty::
///
///     min over a, beta of  |y - a - X beta|^2 / (2 m) + alpha |beta|_1
///
/// by coordinate descent; alpha by 5-fold cross-validation, as scikit-learn's `LassoCV` does.
///
/// Args:
///     masks: 0/1 array ``[m, n]``.
///     utilities: ``[m]``.
///     alphas: penalties to choose from; scikit-learn's grid of 100 when None.
///     level: confidence level of the intervals: percentiles of refits on resampled rows, of the shrunk coefficients.
///     bootstrap: resamples; 0 for no intervals.
///     seed: of the bootstrap.
#[pyfunction]
#[pyo3(signature = (masks, utilities, *, alphas=None, level=0.95, bootstrap=1000, seed=0))]
pub fn lasso(
    py: Python<'_>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    alphas: Option<&Bound<'_, PyAny>>,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<Attribution> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    let alphas = alphas.map_or(Ok(Vec::new()), |alphas| vector(alphas, "alphas"))?;
    let bootstrap = resampling(bootstrap, seed);
    let estimator = Lasso { alphas, level, bootstrap, ..Lasso::default() };
    Ok(py.detach(|| estimator.fit(&table)).map_err(value_error)?.into())
}

/// Banzhaf values: the means of v(S + i) - v(S) over all S, from coalitions drawn uniformly.
///
/// By least squares, they are the slopes of the fit of y by X with an intercept (Hammer & Holzman 1992). By maximum sample reuse
/// (Wang & Jia 2023), they are::
///
///     beta_i = mean of y over the rows with i - mean of y over the rows without i
///
/// Args:
///     masks: 0/1 array ``[m, n]``; the empty and the full coalition are rows like any other.
///     utilities: ``[m]``.
///     sample_reuse: whether by maximum sample reuse.
///     level: confidence level of the intervals.
#[pyfunction]
#[pyo3(signature = (masks, utilities, *, sample_reuse=false, level=0.95))]
pub fn banzhaf(
    py: Python<'_>,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    sample_reuse: bool,
    level: f64,
) -> PyResult<Attribution> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    let fit = py.detach(|| match sample_reuse {
        true => banzhaf_sample_reuse(&table, level),
        false => Banzhaf { level }.fit(&table),
    });
    Ok(fit.map_err(value_error)?.into())
}

/// Any estimator by its name, from draws of a distribution in their order.
///
/// ==============================  ======================================================================================
/// "kernel_shap"                   Shapley values, as `shapley`; weighs rows as the distribution asks
/// "kernel_shap_size_adjusted"     the same after taking out what coalitions of one size have in common
/// "permutation"                   Shapley values by permutation sampling
/// "sample_reuse"                  Shapley values by maximum sample reuse
/// "regression_adjusted"           the same, adjusted by a linear surrogate (Witter, Liu & Musco 2025)
/// "tree_adjusted"                 the same, adjusted by boosted trees
/// "beta_shapley"                  Beta-Shapley values (Kwon & Zou 2022)
/// "banzhaf"                       Banzhaf values by least squares
/// "banzhaf_sample_reuse"          Banzhaf values by maximum sample reuse
/// "datamodel", "lasso"            regressions with squared and absolute penalty
/// "leave_one_out", "add_one_in"   v(all) - v(all without i); v({i}) - v(none)
/// "exact_shapley"                 Shapley values from all 2^n coalitions
/// "exact_banzhaf"                 Banzhaf values from all 2^n coalitions
/// ==============================  ======================================================================================
///
/// Args:
///     estimator: one of these.
///     masks: 0/1 array ``[m, n]`` as `draw` gave them.
///     utilities: ``[m]``.
///     full: v(all), one or several runs.
///     none: v(none), likewise.
///     distribution: where the masks are from; what suits the estimator best when None. See `draw`.
///     beta: alpha and beta of "beta_shapley"; (16, 1) when None, which looks at small coalitions first.
///     level: confidence level of intervals.
///     bootstrap: resamples, where the estimator has a bootstrap; 0 for none.
///     seed: of the bootstrap.
///
/// Raises:
///     ValueError: for an estimator that does not take draws of this distribution, too, saying which it takes.
#[pyfunction]
#[pyo3(signature = (estimator, masks, utilities, full, none, *, distribution=None, beta=None, level=0.95, bootstrap=1000, seed=0))]
#[allow(clippy::too_many_arguments)]
pub fn fit(
    py: Python<'_>,
    estimator: &str,
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    full: &Bound<'_, PyAny>,
    none: &Bound<'_, PyAny>,
    distribution: Option<&str>,
    beta: Option<(f64, f64)>,
    level: f64,
    bootstrap: usize,
    seed: u64,
) -> PyResult<Attribution> {
    let estimator: Estimator = estimator.parse().map_err(value_error)?;
    let distribution = match distribution {
        Some(name) => distribution_of(name, None)?,
        None => estimator.usual_distribution(),
    };
    let observations = observations(masks, utilities, full, none)?;
    let mut settings =
        FitSettings { level, bootstrap: resampling(bootstrap, seed), ..FitSettings::default() };
    if let Some((alpha, beta)) = beta {
        settings.beta_shapley_alpha = alpha;
        settings.beta_shapley_beta = beta;
    }
    let fit = py.detach(|| attribution_lds::fit(estimator, &observations, distribution, &settings));
    Ok(fit.map_err(value_error)?.into())
}

/// LOO scores: v(all) - v(all without i).
///
/// Args:
///     masks: 0/1 array ``[m, n]`` with the coalition of all others for every contributor.
///     utilities: ``[m]``.
///     full: v(all), one or several runs.
///     none: v(none); it changes no score.
///     level: confidence level; intervals (Welch) need several runs of every coalition.
#[pyfunction]
#[pyo3(signature = (masks, utilities, full, none=None, *, level=0.95))]
pub fn leave_one_out(
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    full: &Bound<'_, PyAny>,
    none: Option<&Bound<'_, PyAny>>,
    level: f64,
) -> PyResult<Attribution> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    let none = none.map_or(Ok(vec![0.0]), |none| vector(none, "none"))?;
    let observations = Observations::new(table, vector(full, "full")?, none).map_err(value_error)?;
    Ok(attribution_lds::leave_one_out(&observations, level).map_err(value_error)?.into())
}

/// AOI scores: v({i}) - v(none).
///
/// Args:
///     masks: 0/1 array ``[m, n]`` with every contributor alone.
///     utilities: ``[m]``.
///     none: v(none), one or several runs.
///     full: v(all); it changes no score.
///     level: confidence level; intervals (Welch) need several runs of every coalition.
#[pyfunction]
#[pyo3(signature = (masks, utilities, none, full=None, *, level=0.95))]
pub fn add_one_in(
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    none: &Bound<'_, PyAny>,
    full: Option<&Bound<'_, PyAny>>,
    level: f64,
) -> PyResult<Attribution> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    let full = full.map_or(Ok(vec![0.0]), |full| vector(full, "full"))?;
    let observations = Observations::new(table, full, vector(none, "none")?).map_err(value_error)?;
    Ok(attribution_lds::add_one_in(&observations, level).map_err(value_error)?.into())
}

fn observations(
    masks: &Bound<'_, PyAny>,
    utilities: &Bound<'_, PyAny>,
    full: &Bound<'_, PyAny>,
    none: &Bound<'_, PyAny>,
) -> PyResult<Observations> {
    let table = table(&coalitions(masks)?, &vector(utilities, "utilities")?)?;
    Observations::new(table, vector(full, "full")?, vector(none, "none")?).map_err(value_error)
}

/// No resamples, no bootstrap.
fn resampling(resamples: usize, seed: u64) -> Option<Bootstrap> {
    (resamples > 0).then_some(Bootstrap { resamples, seed })
}
