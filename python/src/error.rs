//! Errors as Python has them: bad input is a `ValueError` with the library's words.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

/// A `ValueError` with the message of any error.
pub fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
