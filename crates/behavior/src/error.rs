use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong while features are extracted and behaviours are measured.
#[derive(Debug, Error)]
pub enum BehaviorError {
    /// A sample set whose pixels do not fill its shape, or that is not RGB.
    #[error(
        "a sample set of shape {shape:?} with {pixels} bytes is not [N, H, W, 3]: give 8-bit RGB images, H and W at \
         least 1, exactly N * H * W * 3 bytes"
    )]
    SampleShape {
        /// The shape given, `[N, H, W, C]`.
        shape: [usize; 4],
        /// The number of bytes given.
        pixels: usize,
    },

    /// Fewer samples than the measure is defined for.
    #[error("{measure} needs at least {needed} {what}, and there are {found}: sample more images")]
    TooFewSamples {
        /// The measure.
        measure: &'static str,
        /// What is counted, such as `samples` or `reference images`.
        what: &'static str,
        /// The least number that is enough.
        needed: usize,
        /// The number given.
        found: usize,
    },

    /// More reference images than the quadratic memory of the clustering allows.
    #[error(
        "{found} reference images are too many for Ward clustering, whose memory grows with their square: give at most \
         {limit}, for instance a random subset"
    )]
    TooManyReferences {
        /// The largest number accepted.
        limit: usize,
        /// The number given.
        found: usize,
    },

    /// A parameter outside its range.
    #[error("{name} = {value} is out of range: it must be {valid}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// The value given.
        value: String,
        /// The valid range, in words.
        valid: String,
    },

    /// A NaN or an infinity among features, logits or pixels.
    #[error(
        "{what} of image {image} hold {value}: the images or the network's weights are damaged, or the model that made the \
         images has diverged"
    )]
    NotFinite {
        /// The array, such as `features` or `logits`.
        what: &'static str,
        /// The index of the image (the row).
        image: usize,
        /// The offending value.
        value: f64,
    },

    /// A feature vector of length zero, for which cosine similarity is undefined.
    #[error(
        "the features of {what} {image} are all zero, so its cosine similarity is undefined: choose another extractor or \
         a larger input size"
    )]
    ZeroFeatures {
        /// Which set, such as `sample` or `reference image`.
        what: &'static str,
        /// The index of the image in its set.
        image: usize,
    },

    /// Two arrays that must agree in one dimension and do not.
    #[error("{what}: expected {expected}, found {found}: {remedy}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// The value that would be right.
        expected: usize,
        /// The value found.
        found: usize,
        /// What to do.
        remedy: &'static str,
    },

    /// A behaviour name that cannot be read.
    #[error("`{name}` is no behaviour ({reason}): write for instance {examples}")]
    UnknownBehavior {
        /// The name given.
        name: String,
        /// Why it was refused.
        reason: String,
        /// Valid names.
        examples: &'static str,
    },

    /// A behaviour that needs something the caller did not supply.
    #[error("{behavior} needs {what}: {remedy}")]
    Missing {
        /// The behaviour's name.
        behavior: String,
        /// What is missing.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },

    /// The weights file cannot be read at all.
    #[error("cannot read the weights of {network} from {path}: {source}; {remedy}")]
    WeightsUnreadable {
        /// The network.
        network: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// Where to get the file.
        remedy: &'static str,
    },

    /// The weights file is cut short or of another format.
    #[error("{path} is no whole {kind} file ({reason}): copy the weights of {network} again; {remedy}")]
    WeightsDamaged {
        /// The network.
        network: &'static str,
        /// The file.
        path: PathBuf,
        /// What it was taken for.
        kind: &'static str,
        /// The parser's reason.
        reason: String,
        /// Where to get the file.
        remedy: &'static str,
    },

    /// A user's command did not measure.
    #[error("the command of `{behavior}` ({command}) {reason}")]
    Command {
        /// The behaviour.
        behavior: String,
        /// The program and its arguments.
        command: String,
        /// What went wrong, and what to do.
        reason: String,
    },

    /// The weights file is readable but belongs to another network.
    #[error("{path} does not hold the weights of {network}: tensor `{key}` {problem}")]
    WeightsForeign {
        /// The network.
        network: &'static str,
        /// The file.
        path: PathBuf,
        /// The tensor's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The framework failed to run an operation or to hand back its result.
    #[error("the device failed while computing {what}: {reason}")]
    Device {
        /// What was being computed.
        what: &'static str,
        /// The framework's reason.
        reason: String,
    },

    /// A numerical routine did not converge.
    #[error("{routine} did not converge on a {size} x {size} matrix: check the features for extreme values")]
    NoConvergence {
        /// The routine.
        routine: &'static str,
        /// The matrix's size.
        size: usize,
    },

    /// Random numbers could not be drawn.
    #[error("cannot draw the fixed noises of the held-out diffusion loss: {0}")]
    Draw(String),
}
