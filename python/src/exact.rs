//! Games small enough to know all of.

use attribution_lds::{AttributionError, exact_banzhaf as banzhaf, exact_shapley as shapley};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::arrays::vector;
use crate::error::value_error;

/// Shapley values from the utilities of all 2^n coalitions (n <= 20)::
///
///     phi_i = sum over S without i of  |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S))
///
/// Args:
///     utilities: ``[2**n]``; bit i of the index tells whether contributor i is in.
#[pyfunction]
pub fn exact_shapley<'py>(
    py: Python<'py>,
    utilities: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    exact(py, utilities, shapley)
}

/// Banzhaf values from the utilities of all 2^n coalitions (n <= 20)::
///
///     beta_i = mean over S without i of  v(S + i) - v(S)
///
/// Args:
///     utilities: ``[2**n]``; bit i of the index tells whether contributor i is in.
#[pyfunction]
pub fn exact_banzhaf<'py>(
    py: Python<'py>,
    utilities: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    exact(py, utilities, banzhaf)
}

fn exact<'py>(
    py: Python<'py>,
    utilities: &Bound<'py, PyAny>,
    values: impl Fn(usize, &[f64]) -> Result<Vec<f64>, AttributionError> + Sync,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let utilities = vector(utilities, "utilities")?;
    if !utilities.len().is_power_of_two() {
        return Err(value_error(format!(
            "utilities has {} entries, must have 2^n: one for every coalition",
            utilities.len()
        )));
    }
    let n = utilities.len().trailing_zeros() as usize;
    let values = py.detach(|| values(n, &utilities)).map_err(value_error)?;
    Ok(PyArray1::from_vec(py, values))
}
