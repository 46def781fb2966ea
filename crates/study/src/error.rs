//! Errors of a study.

use std::path::PathBuf;

use diffusion_core::schedule::BetaSchedule;
use diffusion_core::{DiffusionError, NoiseScheduleConfig};
use thiserror::Error;

use crate::config::DatasetPreset;
use crate::work::Stage;

fn preset_names() -> String {
    DatasetPreset::ALL.map(DatasetPreset::name).join(", ")
}

/// A forward process by its keys in the study file.
fn words(forward: &NoiseScheduleConfig) -> String {
    let NoiseScheduleConfig { num_train_timesteps, beta_schedule, beta_start, beta_end } = forward;
    let name = match beta_schedule {
        BetaSchedule::Linear => "linear",
        BetaSchedule::ScaledLinear => "scaled_linear",
        BetaSchedule::Cosine => {
            return format!("num_train_timesteps = {num_train_timesteps}, beta_schedule = \"cosine\"");
        }
    };
    format!(
        "num_train_timesteps = {num_train_timesteps}, beta_schedule = \"{name}\", beta_start = {beta_start}, beta_end = {beta_end}"
    )
}

/// Why a study did not run to its end.
#[derive(Debug, Error)]
pub enum StudyError {
    /// The study file cannot be read.
    #[error("cannot read the study file {path}: {source}")]
    ReadStudy {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The study file is not TOML, or has unknown or missing keys.
    #[error("{path}: {source}")]
    ParseStudy {
        /// The file.
        path: PathBuf,
        /// Line, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A word that names no preset.
    #[error("unknown data set `{word}`; known are {known}", known = preset_names())]
    UnknownPreset {
        /// What was written.
        word: String,
    },
    /// Neither a study file nor a preset.
    #[error("which study? give a study file, or a data set's name with --dataset and its images with --data")]
    NoStudy,
    /// A word that names no stage.
    #[error("unknown stage `{word}`; known are train, prune, condition, coalitions, retrain")]
    UnknownStage {
        /// What was written.
        word: String,
    },
    /// A slice beyond the number of slices.
    #[error("slice {index} of {of} does not exist: slices are 0 to {last}", last = of.saturating_sub(1))]
    BadSlice {
        /// The slice.
        index: usize,
        /// Number of slices.
        of: usize,
    },
    /// A file that holds no work list.
    #[error("{path} is no work list: {reason}; write it with `tribute plan`")]
    BadWorkList {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A study file that is not the one that the list was made from.
    #[error(
        "{path} is not what it was when the work was planned: write the list again with `tribute plan`, or put the file back"
    )]
    PlanOutdated {
        /// The study file in the folder of the results.
        path: PathBuf,
    },
    /// A cluster refuses, or its settings are wrong.
    #[error(transparent)]
    Cluster(#[from] cluster::ClusterError),
    /// A stage whose models are not there yet.
    #[error("stage `{stage}` is not finished; do it first: tribute work --stage {stage} --index 0")]
    StageNotReady {
        /// The stage that is missing.
        stage: Stage,
    },
    /// Not an assignment to a key of a study.
    #[error("`{assignment}` sets no key of a study: write KEY=VALUE, such as train.steps=1000")]
    BadOverride {
        /// What was written.
        assignment: String,
    },
    /// A number that TOML has no form for.
    #[error(
        "the option for `{key}` is too large a number for a study: it must be at most 9223372036854775807"
    )]
    UnfitOverride {
        /// The key.
        key: String,
    },
    /// A value is out of its range.
    #[error("`{key}` is {value}, must be {allowed}")]
    InvalidKey {
        /// The key with its section.
        key: &'static str,
        /// What the file says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// A value of a section with settings of another layer is out of its range.
    #[error("in [{section}]: {source}")]
    Section {
        /// The section of the study file.
        section: &'static str,
        /// The key and what is allowed.
        source: DiffusionError,
    },
    /// A stopping rule whose numbers are out of their range.
    #[error("in `coalitions.until`: {source}")]
    StoppingRule {
        /// The number and what is allowed.
        source: attribution_lds::AttributionError,
    },
    /// An estimator whose values the study's draws do not give.
    #[error(
        "`coalitions.estimator` is {estimator}, which does not estimate from draws of `coalitions.distribution` {distribution}: \
         it needs one of {accepted}; leave the estimator out for the one that suits the distribution"
    )]
    EstimatorOfDraws {
        /// The estimator.
        estimator: String,
        /// The study's distribution.
        distribution: String,
        /// Those that the estimator accepts.
        accepted: String,
    },
    /// Not one draw for each contributor.
    #[error(
        "`{key}` is {count}, must be {contributors}: {distribution} has one draw for each of the {contributors} \
         contributors, and every one is needed"
    )]
    WrongCount {
        /// The key.
        key: &'static str,
        /// The study's distribution.
        distribution: String,
        /// What the study file says.
        count: usize,
        /// Number of contributors.
        contributors: usize,
    },
    /// The network's shape does not fit together.
    #[error("in [model]: {source}")]
    Model {
        /// The key and what is allowed.
        source: DiffusionError,
    },
    /// The pruning ratio or the importance does not fit the network.
    #[error("in [prune]: {0}")]
    Prune(#[from] sparsify::SparsifyError),
    /// Channels are to be ranked by images, and there is no study to take them from.
    #[error(
        "`{pruner}` ranks channels by gradients on images: give a study file with --study, or a data set's name with \
         --dataset and its images with --data"
    )]
    NoGradientImages {
        /// How channels are to be ranked.
        pruner: sparsify::Importance,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The autoencoder cannot be used.
    #[error(
        "the autoencoder of `latent.model` cannot be read: {source}; give the folder of a diffusers VQModel or AutoencoderKL, or \
         train one with tribute-train --model vqvae --out {path}"
    )]
    Autoencoder {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        source: Box<DiffusionError>,
    },
    /// Latents are to be reused that were never made.
    #[error(
        "{path} has no latents of {missing} of {wanted} images, the first of them image {image} ({name}): the images are others, \
         or encoding was interrupted; run once with `latent.precompute = \"save\"` (--precompute_stage save)"
    )]
    LatentsMissing {
        /// The folder of latents.
        path: PathBuf,
        /// Images without latents.
        missing: usize,
        /// Images in all.
        wanted: usize,
        /// The first one without.
        image: usize,
        /// The name that follows from its pixels.
        name: String,
    },
    /// Coalitions cannot be drawn.
    #[error(transparent)]
    Removal(#[from] removal::RemovalError),
    /// The data changed after the study began.
    #[error(
        "the images of this study, or its autoencoder, changed: {path} was begun with data {before}, now they hash to {now}; \
         put the images back, or start a new study in another folder"
    )]
    DataChanged {
        /// The study's folder.
        path: PathBuf,
        /// Hash when the study began.
        before: String,
        /// Hash now.
        now: String,
    },
    /// A folder holds something else than a study.
    #[error("{path} is not the folder of a study: {reason}; choose an empty or new folder")]
    NotAStudy {
        /// The folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A folder whose study was asked for holds none.
    #[error(
        "{path} holds no study: {reason}; give the folder that `tribute run` or `tribute demo` wrote its results to (its \
         --out, `runs/<name of the study>` when left out)"
    )]
    NoStudyFolder {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A command's settings are out of range.
    #[error("[measures.commands.{name}]: {source}")]
    CommandSettings {
        /// The command's name.
        name: String,
        /// What is wrong.
        source: Box<behavior::BehaviorError>,
    },
    /// Behaviours are about pictures of the full model, which is not there.
    #[error(
        "`{key}` compares with the full model's pictures, and the full model is not there: give its folder with --full"
    )]
    NoFullModel {
        /// The first such behaviour.
        key: String,
    },
    /// A model was trained with another forward process than the study's.
    #[error(
        "{path} was trained with {}, and the study's [diffusion] says {}: set [diffusion] to the model's, or choose \
         another model",
        words(model),
        words(study)
    )]
    OtherForwardProcess {
        /// The model folder.
        path: PathBuf,
        /// Its forward process.
        model: Box<NoiseScheduleConfig>,
        /// The study's.
        study: Box<NoiseScheduleConfig>,
    },
    /// The model of `train.load` cannot be read.
    #[error(
        "the model of `train.load`, {path}, cannot be read: {source}; give a model folder of Tribute, or what diffusers' \
         `save_pretrained` writes for an unconditional pipeline or its UNet2DModel"
    )]
    Loaded {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: Box<DiffusionError>,
    },
    /// The model of `train.load` has another architecture than `[model]`.
    #[error(
        "the network of `train.load`, {path}, has {key} = {loaded}, and the study's [model] says {study}: leave [model] out, which \
         takes the loaded network as it is, or load another model"
    )]
    OtherNetwork {
        /// The folder.
        path: PathBuf,
        /// The first key of `config.json` that differs.
        key: String,
        /// Its value in the folder, as JSON.
        loaded: String,
        /// Its value by the study, as JSON.
        study: String,
    },
    /// The model of `train.load` is of images or latents of another size than the study's.
    #[error(
        "the network of `train.load`, {path}, is of {loaded} numbers (channels x height x width), and the study's {what} have \
         {study}: set `data.resolution` (and `data.channels`, 1 for grey) to what the model was trained with, or load another model"
    )]
    OtherSize {
        /// The folder.
        path: PathBuf,
        /// Its shape.
        loaded: String,
        /// Images or latents.
        what: &'static str,
        /// Their shape.
        study: String,
    },
    /// A model works on latents of another autoencoder than the study's, or on latents scaled by another factor.
    #[error(
        "{path} works on latents of {autoencoder}, times {:?}, and the study on those of {study}, times {:?}: they are not the \
         same. Set `latent.model` to {path} (and leave `latent.scaling_factor` out), or choose another model",
        factors[0],
        factors[1]
    )]
    OtherAutoencoder {
        /// The model folder.
        path: PathBuf,
        /// Its autoencoder.
        autoencoder: PathBuf,
        /// The study's `latent.model`.
        study: PathBuf,
        /// Scaling factors of both, in this order.
        factors: [f64; 2],
    },
    /// A model works on latents, and the study on pixels.
    #[error(
        "{path} works on latents of {autoencoder}, and the study on pixels: write [latent] with model = {path:?} into the study, \
         or choose another model"
    )]
    NoLatentSpace {
        /// The model folder.
        path: PathBuf,
        /// Its autoencoder.
        autoencoder: PathBuf,
    },
    /// A model of grey images with a study of colours, or the other way round.
    #[error(
        "{} is a network of {model} channels, but the study's images have {study}: `data.channels` is 1 for grey and 3 for colour",
        path.display()
    )]
    OtherChannels {
        /// The model folder.
        path: PathBuf,
        /// Its channels.
        model: usize,
        /// Those of the study's images.
        study: usize,
    },
    /// Training, sampling or a model folder failed.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The unlearning method failed.
    #[error(transparent)]
    Unlearn(#[from] unlearn::UnlearnError),
    /// Measuring failed.
    #[error(transparent)]
    Behavior(#[from] behavior::BehaviorError),
    /// A comparison method failed.
    #[error(transparent)]
    Influence(#[from] influence::InfluenceError),
    /// Records cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The scores cannot be estimated.
    #[error(transparent)]
    Attribution(#[from] attribution_lds::AttributionError),
    /// The report cannot be made.
    #[error(transparent)]
    Report(#[from] report::ReportError),
    /// A line of a file of records is none.
    #[error(
        "{path} line {line} is not a whole, unaltered record ({reason}); write the file again with `tribute export`"
    )]
    BadRecordLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A record lacks a behaviour of the study.
    #[error("the record of run {run} has no `{key}`; delete the record and start the study again")]
    MissingBehavior {
        /// The run.
        run: String,
        /// The behaviour.
        key: String,
    },
    /// A folder of samples is damaged.
    #[error("{path} holds no samples: {reason}; make them anew with tribute-sample")]
    BadSamples {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of the study cannot be written or read.
    #[error("cannot {action} {path}: {source}{}", diffusion_core::remedy(source))]
    Io {
        /// What was tried ("write", "read").
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The study cannot be written as TOML.
    #[error("the study cannot be written as TOML: {source}")]
    NotToml {
        /// What TOML has no form for.
        source: toml::ser::Error,
    },
    /// Results cannot be written as JSON.
    #[error("a result cannot be written as JSON: {source}")]
    NotJson {
        /// What JSON has no form for.
        source: serde_json::Error,
    },
    /// Some runs failed every time.
    #[error(
        "{failed} of {total} runs failed; `tribute status` names them and the reasons; the same command tries them again"
    )]
    RunsFailed {
        /// Runs without a record.
        failed: usize,
        /// Runs in all.
        total: usize,
    },
    /// The user asked to stop.
    #[error("stopped; everything finished so far is kept, and the same command continues from here")]
    Stopped,
}

impl StudyError {
    /// Whether the cause is in the command line or a configuration file (exit code 2), not in running (exit code 1).
    pub fn is_configuration(&self) -> bool {
        if let Self::Data(error) = self {
            return error.is_about_settings();
        }
        if let Self::Prune(error) = self {
            return error.is_about_settings();
        }
        if let Self::Unlearn(error) = self {
            return error.is_configuration();
        }
        if let Self::Cluster(error) = self {
            return error.is_configuration();
        }
        matches!(
            self,
            Self::ReadStudy { .. }
                | Self::PlanOutdated { .. }
                | Self::UnknownPreset { .. }
                | Self::NoStudy
                | Self::UnknownStage { .. }
                | Self::BadSlice { .. }
                | Self::BadWorkList { .. }
                | Self::BadOverride { .. }
                | Self::UnfitOverride { .. }
                | Self::ParseStudy { .. }
                | Self::InvalidKey { .. }
                | Self::Section { .. }
                | Self::StoppingRule { .. }
                | Self::EstimatorOfDraws { .. }
                | Self::WrongCount { .. }
                | Self::Model { .. }
                | Self::OtherForwardProcess { .. }
                | Self::OtherAutoencoder { .. }
                | Self::Loaded { .. }
                | Self::OtherNetwork { .. }
                | Self::OtherSize { .. }
                | Self::NoLatentSpace { .. }
                | Self::OtherChannels { .. }
                | Self::Autoencoder { .. }
                | Self::CommandSettings { .. }
                | Self::NoFullModel { .. }
                | Self::Diffusion(DiffusionError::NoSuchNumbers { .. })
                // The study file says what users bring.
                | Self::Behavior(behavior::BehaviorError::Missing { .. })
                | Self::Removal(_)
                | Self::NotAStudy { .. }
                | Self::NoStudyFolder { .. }
                | Self::Influence(
                    influence::InfluenceError::UnknownMethod { .. }
                        | influence::InfluenceError::Parameter { .. }
                        | influence::InfluenceError::Singular { .. }
                )
                | Self::NoGradientImages { .. }
        )
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
