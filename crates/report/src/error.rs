//! What can be wrong with a report.

use thiserror::Error;

/// Why a report could not be made.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The data contradict themselves or break a documented range.
    #[error("report data, {place}: {problem}")]
    Invalid {
        /// The field, as a path into the data.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The bytes of a picture are no PNG file.
    #[error(
        "picture \"{description}\": its {bytes} bytes do not begin as a PNG file does; encode it as PNG first"
    )]
    NotAPng {
        /// The picture's description.
        description: String,
        /// How many bytes were given.
        bytes: usize,
    },
    /// Pixels and shape do not fit.
    #[error(
        "picture \"{description}\": {found} bytes do not make a non-empty 8-bit RGB image of shape {shape:?}"
    )]
    PixelCount {
        /// The picture's description.
        description: String,
        /// The shape that was asked for.
        shape: Vec<usize>,
        /// How many bytes were given.
        found: usize,
    },
    /// A picture could not be encoded.
    #[error("a picture could not be encoded as PNG: {0}")]
    Encode(#[from] png::EncodingError),
    /// A plot could not be drawn.
    #[error("plot \"{plot}\" could not be drawn: {reason}")]
    Plot {
        /// The plot's title.
        plot: String,
        /// What the plotting library said.
        reason: String,
    },
    /// The data could not be written as JSON.
    #[error("report.json could not be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl ReportError {
    pub(crate) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        ReportError::Invalid { place: place.into(), problem: problem.into() }
    }
}
