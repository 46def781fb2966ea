//! An autoencoder of the study's own images, which gives the latent space of latent models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use data::{BatchSource, View};
use diffusion_core::Device;
use diffusion_core::autoencoder::{Autoencoder, Reconstruction, folder};
use diffusion_core::samplers::SampledImages;
use diffusion_core::training::{Trainer, checkpoint_exists};
use removal::Coalition;
use streams::{Streams, subset};

use crate::config::{StudyConfig, require};
use crate::error::StudyError;
use crate::execute::train_to;
use crate::progress::Progress;
use crate::samples::write_sheet;
use crate::training_log::log_folder;
use crate::unlearning::{Goal, Saves};

/// Images that latents are measured on, at most; a seeded choice of them beyond.
const MEASURED: usize = 512;
/// Images whose reconstructions are shown: a row of a sheet.
const SHOWN: usize = 16;
/// Images of which the first codes are latents.
const CODEBOOK_IMAGES: usize = 64;

/// A finished autoencoder.
#[derive(Debug, Clone)]
pub struct TrainedAutoencoder {
    /// Hash of configuration and weights.
    pub hash: String,
    /// Number of weights and biases, codes included.
    pub parameters: usize,
    /// Seconds its training took, over all its starts.
    pub seconds: f64,
    /// Mean squared error of decoded images, values in [-1, 1]: of held-out images where there are any.
    pub reconstruction_error: f64,
    /// Peak signal-to-noise ratio of that error, in decibels.
    pub psnr: f64,
    /// Codes that stand for at least one position of the measured training images.
    pub codes_used: usize,
    /// What latents are multiplied by before they are diffused: one over their standard deviation.
    pub scaling_factor: f64,
    /// A sheet of images, with their reconstructions below them.
    pub pictures: PathBuf,
}

/// Trains an autoencoder on all training images by the study's `[vqvae]`, and leaves it in `folder` in diffusers' layout, with the
/// averaged weights. Its checkpoints are in `<folder>-training`, pictures in `<folder>-log`; an unfinished training continues.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop (the checkpoint is saved); images that cannot be read or do not fit the
/// autoencoder; those of training and of files.
pub fn train_autoencoder(
    config: &StudyConfig,
    device: &Device,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TrainedAutoencoder, StudyError> {
    let settings = &config.vqvae;
    require(config.data.channels.is_rgb(), "data.channels", 1, "3 for autoencoders, which take colours")?;
    let about = settings.autoencoder(config.data.resolution)?;
    let dataset = config.data.open()?;
    dataset.preload()?;
    let streams = Streams::new(config.seed).child("autoencoder", 0);
    let split = dataset.split(config.data.held_out, &Streams::new(config.seed))?;
    let batches = split.train.batches(streams.child("batches", 0), config.data.horizontal_flip)?;
    let checkpoint = beside(folder, "-training");
    let identity = BTreeMap::from([("data".to_owned(), dataset.content_hash()?)]);

    let model = Autoencoder::new(&about, device, &streams.child("initial weights", 0))?;
    let model = if checkpoint_exists(&checkpoint) {
        model
    } else {
        let first = batches.batch(0, CODEBOOK_IMAGES)?;
        model.with_codebook_of_values(&first.pixels, first.shape, &streams)?
    };
    let training = config.vqvae_optimization().clone();
    let mut trainer = Trainer::for_task(model, training, settings.task(), streams.child("training", 0))?
        .with_identity(identity);
    if checkpoint_exists(&checkpoint) {
        trainer = trainer.restore(&checkpoint)?;
    }
    if trainer.step() < settings.steps {
        let goal = Goal {
            folder: Some(&checkpoint),
            saves: Saves::Steps(config.train.checkpoint_every),
            steps: settings.steps,
            last: settings.steps,
            images: &Coalition::full(dataset.contributors().len()),
            repetition: 0,
            label: "train the autoencoder",
            metrics: None,
        };
        train_to(&mut trainer, &batches, &goal, progress)?;
    }
    finish(&trainer, &split.train, &split.held_out, &streams, folder)
}

/// Measures the averaged weights, and writes them with the scale of their latents.
fn finish(
    trainer: &Trainer<Autoencoder, Reconstruction>,
    train: &View,
    held_out: &View,
    streams: &Streams,
    folder: &Path,
) -> Result<TrainedAutoencoder, StudyError> {
    let model = trainer.ema_model()?;
    let batch_size = trainer.batch_size();
    let (mut values, mut codes) = (Vec::new(), BTreeSet::new());
    for batch in chosen(train, streams).chunks(batch_size) {
        let images = images_at(train, batch)?;
        let (latents, used) = model.latents_and_codes(&images.0, images.1)?;
        values.extend(latents);
        codes.extend(used);
    }
    let scaling_factor = 1.0 / standard_deviation(&values);
    let model = model.with_scaling_factor(scaling_factor);
    let measured = if held_out.is_empty() { train } else { held_out };
    let (mut squares, mut count) = (0.0, 0usize);
    for batch in chosen(measured, streams).chunks(batch_size) {
        let (images, shape) = images_at(measured, batch)?;
        for (one, other) in reconstructed(&model, &images, shape)?.iter().zip(&images) {
            squares += f64::from(one.clamp(-1.0, 1.0) - other).powi(2);
        }
        count += images.len();
    }
    let error = squares / count.max(1) as f64;
    let pictures = log_folder(folder).join("reconstructions.png");
    let log = log_folder(folder);
    std::fs::create_dir_all(&log).map_err(StudyError::io("create", &log))?;
    // A whole row of the sheet, whatever the number of images.
    let shown: Vec<usize> = chosen(measured, streams).into_iter().cycle().take(SHOWN).collect();
    let (images, [count, channels, height, width]) = images_at(measured, &shown)?;
    let mut sheet = images.clone();
    sheet.extend(reconstructed(&model, &images, [count, channels, height, width])?);
    write_sheet(&pictures, &SampledImages::from_values(&sheet, [2 * count, channels, height, width]))?;
    folder::write(folder, &model)?;
    Ok(TrainedAutoencoder {
        hash: folder::hash(&model)?,
        parameters: model.state_dict()?.parameter_count(),
        seconds: trainer.elapsed_seconds(),
        reconstruction_error: error,
        // The range of values is 2.
        psnr: 10.0 * (4.0 / error).log10(),
        codes_used: codes.len(),
        scaling_factor,
        pictures,
    })
}

fn reconstructed(model: &Autoencoder, images: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, StudyError> {
    let latents = model.encode_values(images, shape, None, false)?;
    let [count, _, height, width] = shape;
    let factor = model.config().factor();
    let latent_shape = [count, model.config().channels(), height / factor, width / factor];
    Ok(model.decode_values(&latents, latent_shape, false)?)
}

/// Places of a view's images that are measured, ascending.
fn chosen(view: &View, streams: &Streams) -> Vec<usize> {
    let mut places = match view.len() {
        n if n > MEASURED => subset(&mut streams.rng("measured images", 0), n, MEASURED),
        n => (0..n).collect(),
    };
    places.sort_unstable();
    places
}

/// Images at places of a view, with their shape.
fn images_at(view: &View, places: &[usize]) -> Result<(Vec<f32>, [usize; 4]), StudyError> {
    let (mut pixels, mut shape) = (Vec::new(), [0; 4]);
    for &place in places {
        let one = view.load(place..place + 1)?;
        shape = one.shape;
        pixels.extend(one.pixels);
    }
    shape[0] = places.len();
    Ok((pixels, shape))
}

fn standard_deviation(values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    // Latents that are all equal need no scale.
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

/// `folder` with an ending on its name.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    folder.with_file_name(format!("{name}{ending}"))
}
