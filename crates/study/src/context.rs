//! What every run of a study shares: images, network shape, schedule, measures and streams.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use behavior::Behavior;
use data::{Batches, Channels, Dataset, Split};
use diffusion_core::autoencoder::Autoencoder;
use diffusion_core::pipeline::Companions;
use diffusion_core::samplers::{SampledImages, initial_noise, planar_values, sample_values};
use diffusion_core::schedule::NoiseSchedule;
use diffusion_core::training::TrainingConfig;
use diffusion_core::{Denoiser, Device, DiffusionError, StateDict, TensorF32, UNet2DConfig, UNet2DModel};
use ledger::Value;
use removal::Coalition;
use streams::Streams;
use unlearn::{Method, MethodOn, UnlearnError};

use crate::config::StudyConfig;
use crate::error::StudyError;
use crate::fitting::{require_same_autoencoder, require_same_forward_process};
use crate::latent::{LatentSpace, ModelInputs};
use crate::layout::StudyDir;
use crate::loaded::LoadedModel;
use crate::local::local_study_behaviors;
use crate::measuring::{Measuring, prepare_measurer};
use crate::models::TrainedModel;
use crate::progress::{Progress, Task, Unit};
use crate::proxy::Proxy;
use crate::runs::{Recipe, Run, RunSettings};

/// A study whose file is valid and whose images are open. Clones share images and measures.
#[derive(Clone)]
pub struct Context {
    /// The study file.
    pub config: StudyConfig,
    /// The full architecture.
    pub unet: UNet2DConfig,
    /// The forward process.
    pub schedule: NoiseSchedule,
    /// Images and contributors.
    pub dataset: Dataset,
    /// Training and held-out images.
    pub split: Split,
    /// Where the models live, without autodiff.
    pub device: Device,
    /// The device in words, as records name it.
    pub device_name: String,
    /// Hash of images, contributors, key and resolution; in latent space also of the autoencoder and its use.
    pub data_hash: String,
    latent: Option<Arc<LatentSpace>>,
    /// What the full model starts from, if not from fresh weights.
    loaded: Option<Arc<LoadedModel>>,
    measuring: Arc<Measuring>,
    /// The network that stands for the models of coalitions, once it is made.
    proxy: Arc<OnceLock<Proxy>>,
}

impl Context {
    /// Opens images and feature extractors.
    ///
    /// # Errors
    /// Images or weights that cannot be read, and settings that do not fit them.
    pub fn open(config: StudyConfig, device: Device, device_name: String) -> Result<Self, StudyError> {
        Self::open_with(config, device, device_name, &crate::progress::Silent)
    }

    /// As [`open`](Self::open), telling how far it is: in latent space, images are encoded.
    ///
    /// # Errors
    /// As [`open`](Self::open); an autoencoder or latents that cannot be read or do not fit; [`StudyError::Stopped`] if the user
    /// asked to stop.
    pub fn open_with(
        config: StudyConfig,
        device: Device,
        device_name: String,
        progress: &dyn Progress,
    ) -> Result<Self, StudyError> {
        config.validate()?;
        let schedule = config
            .diffusion
            .build()
            .map_err(|source| StudyError::Section { section: "diffusion", source })?;
        let resolution = config.data.resolution;
        let latent = config.latent.as_ref();
        let latent =
            latent.map(|latent| LatentSpace::open(latent, config.seed, resolution, &device)).transpose()?;
        let pixels = [config.data.channels.count(), resolution, resolution];
        let shape = latent.as_ref().map_or(Ok(pixels), LatentSpace::shape)?;
        let loaded = match &config.train.load {
            None => None,
            Some(path) => {
                require_same_forward_process(&config, &schedule, path)?;
                let used = latent.as_ref().map(LatentSpace::autoencoder);
                require_same_autoencoder(&config, used, &device, path)?;
                Some(Arc::new(LoadedModel::read(path, &config, shape, &device)?))
            }
        };
        let unet = match &loaded {
            Some(loaded) => loaded.model.config().clone(),
            None => config.model.unet(shape[0], shape[1])?,
        };
        let mut dataset = config.data.open()?;
        // Broken files fail now, not in the middle of a training.
        dataset.preload()?;
        let streams = Streams::new(config.seed);
        let mut data_hash = dataset.content_hash()?;
        if let Some(latent) = &latent {
            dataset = latent.encode(&dataset, config.data.horizontal_flip, progress)?;
            data_hash = latent.data_hash(&data_hash);
        }
        let split = dataset.split(config.data.held_out, &streams)?;
        let latent = latent.map(Arc::new);
        let measuring = Arc::new(Measuring::new(&config, &device)?);
        let proxy = Arc::default();
        Ok(Self {
            config,
            unet,
            schedule,
            dataset,
            split,
            device,
            device_name,
            data_hash,
            latent,
            loaded,
            measuring,
            proxy,
        })
    }

    /// The same images, network and measures with another way to make the models of coalitions.
    pub(crate) fn with_method(&self, on: MethodOn) -> Self {
        let mut context = self.clone();
        context.config.unlearn.method = on.method;
        context.config.unlearn.parent = on.parent;
        context.proxy = Arc::default();
        context
    }

    /// Makes the network that the study's method samples for all coalitions, if that is its method, and tells the seconds its
    /// training took.
    ///
    /// # Errors
    /// As [`Proxy::make`].
    pub(crate) fn prepare_proxy(
        &self,
        dir: &StudyDir,
        parent: &TrainedModel,
        progress: &dyn Progress,
    ) -> Result<f64, StudyError> {
        if self.config.unlearn.method != Method::Conditional {
            return Ok(0.0);
        }
        let folder = Proxy::folder(self, dir, &parent.hash)?;
        Ok(self.proxy_in(&folder, &parent.model, &parent.hash, progress)?.seconds)
    }

    /// The network that stands for the models of all coalitions, made in `folder` from the parent of this hash.
    ///
    /// # Errors
    /// As [`Proxy::make`].
    pub(crate) fn proxy_in(
        &self,
        folder: &Path,
        parent: &UNet2DModel,
        hash: &str,
        progress: &dyn Progress,
    ) -> Result<&Proxy, StudyError> {
        if let Some(proxy) = self.proxy.get() {
            return Ok(proxy);
        }
        let made = Proxy::make(self, folder, parent, hash, progress)?;
        Ok(self.proxy.get_or_init(|| made))
    }

    /// The network that stands for the models of coalitions.
    ///
    /// # Errors
    /// If [`Self::proxy_in`] has not made it.
    pub(crate) fn proxy(&self) -> Result<&Proxy, StudyError> {
        Ok(self.proxy.get().ok_or(UnlearnError::NoCoalitionModel)?)
    }

    /// Checks that the device can compute as each of these trainings asks, before any of them begins.
    ///
    /// # Errors
    /// [`DiffusionError::NoSuchNumbers`], by the name that the user gave the device.
    pub(crate) fn can_train<'a>(
        &self,
        trainings: impl IntoIterator<Item = &'a TrainingConfig>,
    ) -> Result<(), StudyError> {
        for training in trainings {
            training.mixed_precision.require_on(&self.device, &self.device_name)?;
        }
        Ok(())
    }

    /// Number of training images of each contributor.
    pub fn training_images(&self) -> Vec<usize> {
        let train = &self.split.train;
        let mut counts = vec![0; self.contributors()];
        for owner in train.indices().iter().filter_map(|&image| train.dataset().owner(image)) {
            counts[owner] += 1;
        }
        counts
    }

    /// Number of contributors.
    pub fn contributors(&self) -> usize {
        self.dataset.contributors().len()
    }

    /// What the keys of all runs share.
    pub fn run_settings(&self) -> RunSettings<'_> {
        RunSettings {
            config: &self.config,
            unet: &self.unet,
            data_hash: &self.data_hash,
            loaded: self.loaded_hash().map(String::as_str),
            extractors: self.measuring.extractors(),
            reference: self.measuring.reference_hash(),
        }
    }

    /// The streams of an independent repetition. Coalitions of one repetition share their noise (common random
    /// numbers), so that differences between them are not those of the noise.
    pub fn streams(&self, repetition: u64) -> Streams {
        Streams::new(self.config.seed).child("repetition", repetition)
    }

    /// The autoencoder on whose latents the study's models work, with the study's scaling factor; `None` where they are of pixels.
    pub fn autoencoder(&self) -> Option<&Autoencoder> {
        self.latent.as_ref().map(|latent| latent.autoencoder())
    }

    /// The model that the full model starts from, if the study loads one.
    pub(crate) fn loaded(&self) -> Option<&LoadedModel> {
        self.loaded.as_deref()
    }

    /// Hash of configuration and weights of the model that the full model starts from, if the study loads one.
    pub fn loaded_hash(&self) -> Option<&String> {
        self.loaded.as_ref().map(|loaded| &loaded.hash)
    }

    /// The run of the full model.
    pub fn full_run(&self) -> Run {
        let everybody = Coalition::full(self.contributors());
        match &self.loaded {
            None => Run::retrained(everybody, 0),
            Some(loaded) => {
                let recipe = Recipe::Loaded { hash: loaded.hash.clone() };
                Run { coalition: everybody, recipe }
            }
        }
    }

    /// The run that retrains on everybody, where that does not make the full model: retrained models are compared with it.
    pub(crate) fn everybody_retrained(&self) -> Option<Run> {
        self.loaded.as_ref().map(|_| Run::retrained(Coalition::full(self.contributors()), 0))
    }

    /// What the folders of the study's models hold beside the network.
    pub fn companions(&self) -> Companions<'_> {
        Companions { forward: self.schedule.config(), autoencoder: self.autoencoder() }
    }

    /// The streams of training: data order, noise and timesteps.
    pub(crate) fn training_streams(&self, repetition: u64) -> Streams {
        let seed = self.config.train.seed.unwrap_or(self.config.seed);
        Streams::new(seed).child("repetition", repetition)
    }

    /// A freshly initialised network of the full architecture.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fresh_model(&self, repetition: u64) -> Result<UNet2DModel, DiffusionError> {
        let streams = self.streams(repetition).child("initial weights", 0);
        UNet2DModel::new(&self.unet, &self.device, &streams)
    }

    /// Training batches of a coalition's images.
    ///
    /// # Errors
    /// If the coalition has no images.
    pub fn batches(&self, coalition: &Coalition, repetition: u64) -> Result<Batches, StudyError> {
        let view = self.split.train.restricted_to(coalition)?;
        Ok(view.batches(
            self.training_streams(repetition).child("batches", 0),
            self.config.data.horizontal_flip,
        )?)
    }

    /// The study's samples of a model with averaged weights, as RGB pictures.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop; a model that gives NaN.
    pub fn sample(
        &self,
        model: &UNet2DModel,
        repetition: u64,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<SampledImages, StudyError> {
        let indices: Vec<u64> = (0..self.config.sample.count as u64).collect();
        let streams = self.streams(repetition).child("samples", 0);
        let task =
            Task { label: format!("{label}: sample"), total: indices.len() as u64, unit: Unit::Images };
        let mut bar = progress.begin(task);
        let process = self.config.sample.process();
        let samples = sample_values(model, &self.schedule, &process, &indices, &streams, &mut |state| {
            bar.advance(state.images_done as u64, "");
            if progress.stop_requested() {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        });
        drop(bar);
        let values = match samples {
            Err(DiffusionError::Stopped { .. }) => return Err(StudyError::Stopped),
            other => other?,
        };
        self.pictures(values, model.sample_shape(), label, progress)
    }

    /// What a network of samples of `shape` `[channels, height, width]` made, one after the other, as RGB pictures: decoded
    /// where models are of latents.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop; NaN among the values.
    pub(crate) fn pictures(
        &self,
        values: Vec<f32>,
        shape: [usize; 3],
        label: &str,
        progress: &dyn Progress,
    ) -> Result<SampledImages, StudyError> {
        if let Some(latent) = &self.latent {
            return latent.decode(values, label, progress);
        }
        let [channels, height, width] = shape;
        let count = values.len() / shape.iter().product::<usize>();
        Ok(SampledImages::from_values(&values, [count, channels, height, width]).into_rgb())
    }

    /// The noise that the study's samples of a model start from, as a tensor `noise` `[images, channels, height, width]`.
    ///
    /// # Errors
    /// If the number of images does not fit the shape; it always does.
    pub fn initial_noise(&self, model: &UNet2DModel, repetition: u64) -> Result<StateDict, StudyError> {
        let indices: Vec<u64> = (0..self.config.sample.count as u64).collect();
        let shape = model.sample_shape();
        let values = initial_noise(shape, &indices, &self.streams(repetition).child("samples", 0));
        let [channels, height, width] = shape;
        let noise = TensorF32::new([indices.len(), channels, height, width], values)?;
        Ok(StateDict::from_iter([("noise".to_owned(), noise)]))
    }

    /// RGB pictures as the study's models take them: their latents, their luma (the channels of grey pictures are equal), or
    /// themselves.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn inputs_of(&self, pictures: &SampledImages) -> Result<ModelInputs, StudyError> {
        if let Some(latent) = &self.latent {
            return latent.encode_pictures(pictures);
        }
        let [_, height, width, _] = pictures.shape;
        let shape = [self.unet.in_channels, height, width];
        let values = match self.config.data.channels {
            Channels::Rgb => planar_values(&pictures.pixels, shape),
            Channels::Grey => {
                let grey: Vec<u8> = pictures.pixels.iter().step_by(3).copied().collect();
                planar_values(&grey, shape)
            }
        };
        Ok(ModelInputs { values, shape })
    }

    /// All behaviours of a model and its samples, which were made from the noise of `repetition`. `full` loads the full model, whose
    /// pictures local behaviours compare with; it is called at most once, and not without such behaviours.
    ///
    /// # Errors
    /// NaN among features or pixels; a device that fails; those of `full`.
    pub fn measure(
        &self,
        model: &UNet2DModel,
        samples: &SampledImages,
        repetition: u64,
        full: &dyn Fn() -> Result<UNet2DModel, StudyError>,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Value>, StudyError> {
        let mut behaviors = self.measuring.measure(model, samples, || {
            let references = self.measuring.reference(&self.split);
            prepare_measurer(&self.config, &references, &self.split, &self.schedule, &self.device)
        })?;
        if self.local_behavior().is_some() {
            let of_full = self
                .measuring
                .pictures_of_full(repetition, || self.sample(&full()?, repetition, "full model", progress))?;
            behaviors.extend(local_study_behaviors(self, model, samples, &of_full)?);
        }
        Ok(behaviors)
    }

    /// The first of the study's behaviours that is about pictures of the full model.
    pub fn local_behavior(&self) -> Option<&Behavior> {
        self.config.behaviors.iter().find(|behavior| matches!(behavior, Behavior::Local { .. }))
    }

    /// The error of a measuring without the full model, for local behaviours.
    pub fn no_full_model(&self) -> StudyError {
        StudyError::NoFullModel { key: self.local_behavior().map(Behavior::key).unwrap_or_default() }
    }
}
