//! Arrays in.

use attribution_lds::UtilityTable;
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use removal::Coalition;

use crate::error::value_error;

/// Numbers of any array-like, as `float64`.
fn floats<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<PyReadonlyArrayDyn<'py, f64>> {
    let asarray = value.py().import("numpy")?.getattr("asarray")?;
    let converted = asarray
        .call1((value, "float64"))
        .map_err(|error| value_error(format!("{what} must be an array of numbers: {error}")))?;
    let array: Bound<'py, PyArrayDyn<f64>> =
        converted.cast_into().map_err(|error| value_error(error.to_string()))?;
    Ok(array.readonly())
}

/// A vector of finite or other numbers.
pub fn vector(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<f64>> {
    let array = floats(value, what)?;
    match array.shape() {
        [] | [_] => Ok(array.as_array().iter().copied().collect()),
        shape => Err(value_error(format!("{what} must have one dimension, it has the shape {shape:?}"))),
    }
}

/// Rows of numbers: a vector is one row.
pub fn rows(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Vec<f64>>> {
    let array = floats(value, what)?;
    let numbers: Vec<f64> = array.as_array().iter().copied().collect();
    match *array.shape() {
        [_] => Ok(vec![numbers]),
        [count, _] if count > 0 => {
            Ok(numbers.chunks(numbers.len().div_ceil(count).max(1)).map(<[f64]>::to_vec).collect())
        }
        ref shape => Err(value_error(format!(
            "{what} must be one row of numbers or one row a test set, it has the shape {shape:?}"
        ))),
    }
}

/// One coalition a row of a 0/1 array `[m, n]`.
pub fn coalitions(masks: &Bound<'_, PyAny>) -> PyResult<Vec<Coalition>> {
    // Booleans as they are: eight times smaller than numbers.
    if let Ok(array) = masks.extract::<PyReadonlyArray2<'_, bool>>() {
        let rows = array.as_array();
        return rows.outer_iter().map(|row| members(row.len(), row.iter().map(|&is_in| Ok(is_in)))).collect();
    }
    let array = floats(masks, "masks")?;
    let [_, n] = *array.shape() else {
        return Err(value_error(format!(
            "masks must have the shape [coalitions, contributors], it has {:?}",
            array.shape()
        )));
    };
    let numbers = array.as_array();
    let mut coalitions = Vec::new();
    for (place, row) in numbers.outer_iter().enumerate() {
        let is_in = row.iter().enumerate().map(|(contributor, &number)| match number {
            0.0 => Ok(false),
            1.0 => Ok(true),
            other => Err(value_error(format!("masks[{place}, {contributor}] is {other}, must be 0 or 1"))),
        });
        coalitions.push(members(n, is_in)?);
    }
    Ok(coalitions)
}

fn members(n: usize, is_in: impl Iterator<Item = PyResult<bool>>) -> PyResult<Coalition> {
    let mut members = Vec::new();
    for (contributor, is_in) in is_in.enumerate() {
        if is_in? {
            members.push(contributor);
        }
    }
    Coalition::from_members(n, members).map_err(value_error)
}

/// Coalitions with their utilities.
pub fn table(coalitions: &[Coalition], utilities: &[f64]) -> PyResult<UtilityTable> {
    if coalitions.len() != utilities.len() {
        return Err(value_error(format!(
            "there are {} masks and {} utilities: one utility a mask is needed",
            coalitions.len(),
            utilities.len()
        )));
    }
    let n = coalitions.first().map_or(0, Coalition::n);
    let pairs = coalitions.iter().cloned().zip(utilities.iter().copied());
    UtilityTable::from_pairs(n, pairs).map_err(value_error)
}
