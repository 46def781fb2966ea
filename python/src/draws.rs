//! Coalitions to try.

use numpy::PyArray2;
use pyo3::prelude::*;
use removal::RemovalDistribution;
use streams::Streams;

use crate::error::value_error;

/// Draws coalitions.
///
/// =========================  ===========================================================================================
/// "shapley"                  size s with probability proportional to 1/(s (n - s)), then a uniform subset of that size
/// "shapley_paired"           the same, each followed by its complement
/// "leverage"                 all sizes 1..n-1 alike, then a uniform subset (leverage scores of Kernel SHAP's rows)
/// "leverage_paired"          the same, each followed by its complement
/// "permutation"              the first 1, 2, ..., n-1 of a random order, then of the next one
/// "permutation_antithetic"   the same, each order followed by itself backwards
/// "datamodel"                exactly floor(alpha n) contributors
/// "uniform"                  everybody with probability 1/2 (for Banzhaf values)
/// "loo"                      all but one, in turn
/// "add_one_in"               one alone, in turn
/// =========================  ===========================================================================================
///
/// Args:
///     distribution: one of these.
///     contributors: n.
///     count: m.
///     alpha: of "datamodel".
///     seed: the same seed gives the same draws, and the first draws of a longer call.
///
/// Returns:
///     bool array ``[m, n]``.
#[pyfunction]
#[pyo3(signature = (distribution, contributors, count, *, alpha=0.5, seed=0))]
pub fn draw<'py>(
    py: Python<'py>,
    distribution: &str,
    contributors: usize,
    count: usize,
    alpha: f64,
    seed: u64,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let distribution = distribution_of(distribution, Some(alpha))?;
    let streams = Streams::new(seed);
    let mut rows = Vec::with_capacity(count);
    for index in 0..count as u64 {
        let coalition = distribution.draw(contributors, &streams, index).map_err(value_error)?.coalition;
        rows.push(
            (0..contributors).map(|contributor| coalition.contains(contributor)).collect::<Vec<bool>>(),
        );
    }
    if rows.is_empty() {
        return Ok(PyArray2::zeros(py, [0, contributors], false));
    }
    Ok(PyArray2::from_vec2(py, &rows)?)
}

/// A distribution by its name; "datamodel" with this alpha, 0.5 if None.
pub fn distribution_of(name: &str, alpha: Option<f64>) -> PyResult<RemovalDistribution> {
    match name {
        "datamodel" => Ok(RemovalDistribution::Datamodel { alpha: alpha.unwrap_or(0.5) }),
        other => other.parse().map_err(value_error),
    }
}
