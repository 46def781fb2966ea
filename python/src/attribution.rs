//! Scores, as Python sees them.

use attribution_lds::{Attribution as Fit, Intervals};
use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;

use crate::arrays::coalitions;
use crate::error::value_error;

/// One score a contributor, and how far to trust it.
#[pyclass(frozen, module = "tribute")]
pub struct Attribution {
    /// The library's own.
    pub fit: Fit,
    /// The penalty that a datamodel chose.
    pub penalty: Option<f64>,
    /// Its error.
    pub leave_one_out_error: Option<f64>,
}

impl From<Fit> for Attribution {
    fn from(fit: Fit) -> Self {
        Self { penalty: fit.penalty, leave_one_out_error: None, fit }
    }
}

#[pymethods]
impl Attribution {
    /// The estimator's name.
    #[getter]
    fn estimator(&self) -> &'static str {
        self.fit.estimator.name()
    }

    /// The scores ``[n]``, in units of the utility.
    #[getter]
    fn values<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.fit.values)
    }

    /// The predicted utility of the empty coalition.
    #[getter]
    fn intercept(&self) -> f64 {
        self.fit.intercept
    }

    /// What a coalition's size adds to the prediction, by size ``[n + 1]``; empty if nothing.
    #[getter]
    fn size_effect<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.fit.size_effect)
    }

    /// Closed-form intervals ``[n, 2]`` (lower, upper), infinite where the data says nothing; None if the estimator has none.
    #[getter]
    fn intervals<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<f64>>>> {
        bounds(py, self.fit.closed_form.as_ref())
    }

    /// Bootstrap intervals ``[n, 2]``; None if the estimator has none.
    #[getter]
    fn bootstrap_intervals<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<f64>>>> {
        bounds(py, self.fit.bootstrap.as_ref())
    }

    /// Standard errors ``[n]`` of the closed form.
    #[getter]
    fn standard_errors<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f64>>> {
        self.fit.closed_form.as_ref().map(|intervals| PyArray1::from_slice(py, &intervals.standard_errors))
    }

    /// Standard errors ``[n]`` of the bootstrap.
    #[getter]
    fn bootstrap_standard_errors<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f64>>> {
        self.fit.bootstrap.as_ref().map(|intervals| PyArray1::from_slice(py, &intervals.standard_errors))
    }

    /// Independent directions that the rows determine.
    #[getter]
    fn rank(&self) -> usize {
        self.fit.diagnostics.rank
    }

    /// Independent directions needed.
    #[getter]
    fn full_rank(&self) -> usize {
        self.fit.diagnostics.full_rank
    }

    /// Whether the equations were singular and a pseudo-inverse chose among many solutions.
    #[getter]
    fn pseudo_inverse(&self) -> bool {
        self.fit.diagnostics.pseudo_inverse
    }

    /// Contributors whose score the rows do not determine.
    #[getter]
    fn unidentified(&self) -> Vec<usize> {
        self.fit.diagnostics.unidentified.clone()
    }

    /// What to know before trusting the numbers, in sentences.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.fit.diagnostics.warnings()
    }

    /// The penalty that a datamodel chose; None for other estimators.
    #[getter]
    fn alpha(&self) -> Option<f64> {
        self.penalty
    }

    /// Mean squared leave-one-out error of `datamodel`; None for other estimators.
    #[getter]
    fn leave_one_out_error(&self) -> Option<f64> {
        self.leave_one_out_error
    }

    /// The utility ``[m]`` that the scores predict for coalitions ``[m, n]``: intercept + masks @ values + size effect.
    ///
    /// Raises:
    ///     ValueError: if the masks are not of n contributors, or not 0/1.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        masks: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let coalitions = coalitions(masks)?;
        let n = self.fit.values.len();
        if let Some(other) = coalitions.iter().find(|coalition| coalition.n() != n) {
            return Err(value_error(format!("masks are of {} contributors, the scores of {n}", other.n())));
        }
        let predicted: Vec<f64> = coalitions.iter().map(|coalition| self.fit.predict(coalition)).collect();
        Ok(PyArray1::from_vec(py, predicted))
    }

    fn __repr__(&self) -> String {
        format!("Attribution(estimator={:?}, values={:?})", self.estimator(), self.fit.values)
    }
}

fn bounds<'py>(
    py: Python<'py>,
    intervals: Option<&Intervals>,
) -> PyResult<Option<Bound<'py, PyArray2<f64>>>> {
    let Some(intervals) = intervals else { return Ok(None) };
    let rows: Vec<Vec<f64>> = intervals.intervals.iter().map(|i| vec![i.lower, i.upper]).collect();
    Ok(Some(PyArray2::from_vec2(py, &rows)?))
}
