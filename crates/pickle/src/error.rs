use thiserror::Error;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct PickleError {
    /// What is wrong, and at which byte of a pickle.
    pub reason: String,
}

impl From<String> for PickleError {
    fn from(reason: String) -> Self {
        Self { reason }
    }
}

impl From<&str> for PickleError {
    fn from(reason: &str) -> Self {
        Self { reason: reason.to_owned() }
    }
}
