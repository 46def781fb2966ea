//! What can go wrong in this crate.

use std::path::PathBuf;

/// What to do about an error of the operating system, where that is plain; with what goes before it in a sentence.
pub fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => "; nothing half-written was left, free some space and run again",
        ReadOnlyFilesystem | PermissionDenied => "; make the place accessible, or choose another one",
        _ => "",
    }
}

/// Every error of `diffusion-core`. Each message says what was wrong, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried, as a verb: `read`, `write`, `create`...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },

    /// A file is not safetensors, or was cut short.
    #[error(
        "{origin} is not a whole safetensors file ({reason}); it was cut short, altered, or is of another kind: \
         copy or make it again"
    )]
    NotSafetensors {
        /// The file.
        origin: String,
        /// What the reader stumbled over.
        reason: String,
    },

    /// A `.bin` file is no state dict of `torch.save` that can be read without running code.
    #[error(
        "{} is not a state dict that can be read ({reason}); in Python, `save_pretrained(folder)` writes the model anew as \
         safetensors, which are read, too", path.display()
    )]
    NotTorch {
        /// The file.
        path: PathBuf,
        /// What the reader stumbled over.
        reason: String,
    },

    /// A tensor is stored in a number type that is not read.
    #[error(
        "{origin}: tensor `{tensor}` is stored as {dtype}; F32, F16, BF16 and F64 are read: convert the file first"
    )]
    UnsupportedDtype {
        /// The file.
        origin: String,
        /// The tensor's name.
        tensor: String,
        /// Its number type as the file names it.
        dtype: String,
    },

    /// A tensor's data do not fill its shape.
    #[error("a tensor of shape {shape:?} needs {expected} values, but {actual} were given")]
    TensorSize {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Product of the shape.
        expected: usize,
        /// Number of values given.
        actual: usize,
    },

    /// A state dict lacks a tensor that the architecture needs.
    #[error(
        "the weights have no tensor `{tensor}`, which the architecture needs; \
         the config and the weights must come from the same model"
    )]
    MissingTensor {
        /// The missing key.
        tensor: String,
    },

    /// A state dict has a tensor that the architecture has no place for.
    #[error(
        "the weights hold a tensor `{tensor}`, for which the architecture has no place; \
         the config and the weights must come from the same model"
    )]
    UnexpectedTensor {
        /// The surplus key.
        tensor: String,
    },

    /// A tensor has another shape than the architecture needs.
    #[error(
        "tensor `{tensor}` has shape {actual:?}, but the architecture needs {expected:?}; \
         the config and the weights must come from the same model"
    )]
    ShapeMismatch {
        /// The key.
        tensor: String,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape found.
        actual: Vec<usize>,
    },

    /// An index along a tensor's axis is out of range, or the axis does not exist.
    #[error("cannot select index {index} along axis {axis} of a tensor of shape {shape:?}")]
    Selection {
        /// The axis.
        axis: usize,
        /// The first offending index.
        index: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },

    /// An optimiser's file and its settings differ in bits.
    #[error(
        "{origin} holds {saved}-bit optimiser states, but the settings ask for {wanted} bits: \
         set optimizer.bits = {saved}, or train anew"
    )]
    OptimizerBits {
        /// The file.
        origin: String,
        /// Bits in the file.
        saved: u8,
        /// Bits by the settings.
        wanted: u8,
    },

    /// The processes of a data-parallel training lost each other.
    #[error("data-parallel training stopped: {reason}")]
    Ranks {
        /// Which rank failed, and how.
        reason: String,
    },

    /// A file is no shard of latents, or one of another autoencoder.
    #[error("{} has no latents for this study: {reason}", path.display())]
    LatentShard {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },

    /// Something is wrong with the content of a file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<DiffusionError>,
    },

    /// A model cannot be written over what is at its place.
    #[error("cannot write a model to {}: {reason}", path.display())]
    NotAModelFolder {
        /// The folder.
        path: PathBuf,
        /// What is in the way, and what to do.
        reason: String,
    },

    /// A folder has no weights.
    #[error("{} holds no weights: there is neither {file}, nor shards of it, nor a variant in half precision, nor one of these as .bin", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// The usual name of the weights' file.
        file: String,
    },

    /// An index of weights in several files does not fit the files.
    #[error("{} cannot be followed: {reason}", path.display())]
    BadShards {
        /// The index.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },

    /// A pipeline folder is of a kind that is not supported, or damaged.
    #[error("{} is not a pipeline that can be used: {reason}", path.display())]
    BadPipeline {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A `config.json` is not a JSON object.
    #[error(
        "{origin} is not a JSON object ({reason}); it should be the config.json of a diffusers UNet2DModel"
    )]
    NotAConfig {
        /// The file.
        origin: String,
        /// What the JSON reader stumbled over.
        reason: String,
    },

    /// A `config.json` has a key of the wrong type or with an unsupported value, lacks one, or has an unknown one.
    #[error("config key `{key}`: {reason}")]
    ConfigKey {
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },

    /// The layer widths of an architecture do not fit together.
    #[error("layer `{layer}`: {reason}")]
    Architecture {
        /// The layer, by its diffusers name.
        layer: String,
        /// What does not fit, and what would be right.
        reason: String,
    },

    /// An input tensor has a shape that the network cannot take.
    #[error("{what} has shape {actual:?}, but {expected} is needed")]
    InputShape {
        /// The tensor.
        what: &'static str,
        /// What would be right.
        expected: String,
        /// The shape given.
        actual: Vec<usize>,
    },

    /// A setting is out of its range, or an argument does not fit the others.
    #[error("`{key}` {reason}")]
    Setting {
        /// The setting, as configuration files name it.
        key: String,
        /// What is wrong with it, and what would be right; continues the sentence that the key begins.
        reason: String,
    },

    /// A 16-bit type that the device does not compute with.
    #[error(
        "`mixed_precision` is `{precision}`, but the device `{device}` has no numbers of that type: set it to `no` \
         (--mixed_precision no), or choose another device with --device, such as `cpu`"
    )]
    NoSuchNumbers {
        /// The setting's value.
        precision: &'static str,
        /// The device.
        device: String,
    },

    /// The device failed to run or to deliver a computation.
    #[error("the device failed: {reason}")]
    Device {
        /// What the backend said.
        reason: String,
    },

    /// `--device` names a kind of device that does not exist.
    #[error("unknown device `{given}`; use cpu, flex, ndarray, wgpu, wgpu:<i>, cuda or cuda:<i>")]
    UnknownDevice {
        /// The text given.
        given: String,
    },

    /// The chosen backend was not compiled in.
    #[error(
        "device `{device}` needs the cargo feature `{feature}`, which this build lacks; \
         build with `--features {feature}`, or use `--device cpu`"
    )]
    BackendMissing {
        /// The device asked for.
        device: String,
        /// The cargo feature that adds its backend.
        feature: &'static str,
    },

    /// The machine has no such device.
    #[error("device `{device}` does not exist here: {reason}; use one of: {present}")]
    NoSuchDevice {
        /// The device asked for.
        device: String,
        /// What was looked for and not found.
        reason: String,
        /// The devices that this build can use here.
        present: String,
    },

    /// The images could not be read.
    #[error(transparent)]
    Data(#[from] data::DataError),

    /// Training left the range of sensible numbers. The parameters are those before the step.
    #[error(
        "training stopped at step {step}: the {what} is {value}; \
         lower the learning rate or continue from the last checkpoint with other settings"
    )]
    Diverged {
        /// The step (from 0) whose update was not made.
        step: u64,
        /// Which number: `loss` or `gradient norm`.
        what: &'static str,
        /// Its value.
        value: f32,
    },

    /// A model's samples are not numbers.
    #[error("the sample of image index {image} holds NaN or infinite values; the model has diverged")]
    NonFiniteSample {
        /// The image's index.
        image: u64,
    },

    /// The caller asked to stop before the work was complete.
    #[error("stopped as asked, with {done} of {total} {unit} done")]
    Stopped {
        /// Finished units.
        done: usize,
        /// All units.
        total: usize,
        /// What is counted.
        unit: &'static str,
    },

    /// A checkpoint is incomplete, altered, or not a checkpoint.
    #[error("{} is not a usable checkpoint: {reason}", path.display())]
    BadCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },

    /// A checkpoint was made with other settings or for another model.
    #[error(
        "the checkpoint {} was made with `{key}` = {saved}, but this run has {current}; \
         use the same settings, or another folder to start afresh", path.display()
    )]
    CheckpointMismatch {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The first differing setting, as a dotted path.
        key: String,
        /// Its value in the checkpoint, as JSON.
        saved: String,
        /// Its value in this run, as JSON.
        current: String,
    },
}

impl DiffusionError {
    /// Says in which file the error is, unless it says so itself; for use in `map_err`.
    pub(crate) fn in_file(path: &std::path::Path) -> impl FnOnce(Self) -> Self {
        let path = path.to_owned();
        move |error| match error {
            Self::NotAConfig { .. }
            | Self::NotSafetensors { .. }
            | Self::NotTorch { .. }
            | Self::UnsupportedDtype { .. }
            | Self::NoWeights { .. }
            | Self::BadShards { .. }
            | Self::BadPipeline { .. }
            | Self::Io { .. } => error,
            other => Self::InFile { path, source: Box::new(other) },
        }
    }

    /// A [`DiffusionError::Setting`]: ``"`{key}` {reason}"``.
    pub(crate) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), reason: reason.into() }
    }

    /// An [`DiffusionError::Io`] for `path`, for use in `map_err`.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
