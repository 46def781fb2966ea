//! The latent space of a study: from images to latents, and from what is sampled to images.

use std::collections::{BTreeMap, BTreeSet};

use data::{Dataset, LatentFiles, LatentPlace, Latents, scale_to_planes};
use diffusion_core::autoencoder::store::{LatentStore, encoded_data_hash, image_name};
use diffusion_core::autoencoder::{Autoencoder, Bottleneck, folder};
use diffusion_core::pipeline;
use diffusion_core::samplers::{SampledImages, planar_values};
use diffusion_core::{Device, DiffusionError};
use streams::{Streams, standard_normal};

use crate::config::{LatentConfig, Posterior, Precompute};
use crate::error::StudyError;
use crate::progress::{Progress, Task, Unit};

/// Images whose latents share a file, and that are lost at most when encoding is interrupted.
const SHARD: usize = 256;
/// Ends the name of a mirrored image.
const MIRRORED: &str = "-mirrored";

/// Pictures as models take them.
pub(crate) struct ModelInputs {
    /// Row-major `[images, channels, height, width]`.
    pub values: Vec<f32>,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
}

/// An image whose latents are wanted.
struct Wanted {
    name: String,
    image: usize,
    mirrored: bool,
}

/// Those that are not there; equal images have one latent.
fn missing(wanted: &[Wanted], is_there: impl Fn(&str) -> bool) -> Vec<&Wanted> {
    let mut seen = BTreeSet::new();
    wanted.iter().filter(|one| !is_there(&one.name) && seen.insert(one.name.as_str())).collect()
}

/// What `of` gives for the name of each image, and of each mirrored one where those are wanted.
fn sides<T>(names: &[String], wanted: &[Wanted], of: impl Fn(&str) -> T) -> (Vec<T>, Option<Vec<T>>) {
    let side = |suffix: &str| names.iter().map(|name| of(&format!("{name}{suffix}"))).collect();
    let mirrored = wanted.iter().any(|one| one.mirrored).then(|| side(MIRRORED));
    (side(""), mirrored)
}

/// An autoencoder, and how a study uses it.
pub(crate) struct LatentSpace {
    model: Autoencoder,
    /// Of the autoencoder as its folder has it.
    hash: String,
    config: LatentConfig,
    seed: u64,
    /// Side of the images in pixels.
    resolution: usize,
}

impl LatentSpace {
    /// Reads the autoencoder, from its folder or from that of a model or pipeline that works on its latents.
    ///
    /// # Errors
    /// [`StudyError::Latent`] for a folder that cannot be read, an autoencoder of other than colour images, and settings that do
    /// not fit it.
    pub fn open(
        config: &LatentConfig,
        seed: u64,
        resolution: usize,
        device: &Device,
    ) -> Result<Self, StudyError> {
        let wrong = |source| StudyError::Section { section: "latent", source };
        let model = pipeline::autoencoder(&config.model)
            .and_then(|found| folder::read(found.as_ref().unwrap_or(&config.model), device))
            .map_err(|source| StudyError::Autoencoder {
                path: config.model.clone(),
                source: Box::new(source),
            })?;
        let hash = folder::hash(&model)?;
        let about = model.config();
        about.latent_side(resolution).map_err(wrong)?;
        if (about.in_channels, about.out_channels) != (3, 3) {
            return Err(StudyError::InvalidKey {
                key: "latent.model",
                value: format!("an autoencoder of {} to {} channels", about.in_channels, about.out_channels),
                allowed: "one of 3 channels: images are RGB",
            });
        }
        let gaussian = matches!(about.bottleneck, Bottleneck::Gaussian { .. });
        if config.posterior == Posterior::Sample && (!gaussian || config.tiling) {
            return Err(StudyError::InvalidKey {
                key: "latent.posterior",
                value: "`sample`".to_owned(),
                allowed: "`mean` for a VQModel and with `latent.tiling`",
            });
        }
        let model = match config.scaling_factor {
            Some(factor) => model.with_scaling_factor(factor),
            None => model,
        };
        Ok(Self { model, hash, config: config.clone(), seed, resolution })
    }

    /// The autoencoder as the study uses it: with the study's scaling factor.
    pub fn autoencoder(&self) -> &Autoencoder {
        &self.model
    }

    /// `[channels, height, width]` of the latents.
    pub fn shape(&self) -> Result<[usize; 3], StudyError> {
        let side = self.model.config().latent_side(self.resolution)?;
        Ok([self.model.config().channels(), side, side])
    }

    /// What the hash of the images becomes with the latents in their place.
    pub fn data_hash(&self, images: &str) -> String {
        let factor = self.model.config().scaling_factor;
        encoded_data_hash(images, &self.hash, &format!("{}, times {factor:?}", self.encoding()))
    }

    /// What latents depend on besides image and autoencoder.
    fn encoding(&self) -> String {
        let kind = match self.config.posterior {
            Posterior::Mean => "mean".to_owned(),
            Posterior::Sample => format!("sample of seed {}", self.seed),
        };
        if self.is_tiled() { format!("{kind} in tiles") } else { kind }
    }

    fn is_tiled(&self) -> bool {
        self.config.tiling && self.resolution > self.model.config().sample_size
    }

    /// The data set with latents in place of pixels; with `mirror`, mirrored images have theirs, too.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop; shards of something else, or damaged; images that are missing from
    /// them and are to be there.
    pub fn encode(
        &self,
        dataset: &Dataset,
        mirror: bool,
        progress: &dyn Progress,
    ) -> Result<Dataset, StudyError> {
        let mut names = Vec::with_capacity(dataset.len());
        for image in 0..dataset.len() {
            names.push(image_name(dataset.size(), &dataset.image(image)?));
        }
        let mut wanted = Vec::new();
        for (image, name) in names.iter().enumerate() {
            wanted.push(Wanted { name: name.clone(), image, mirrored: false });
            if mirror {
                wanted.push(Wanted { name: format!("{name}{MIRRORED}"), image, mirrored: true });
            }
        }
        let encoded = match self.config.precompute {
            Some(mode) => self.stored(mode, dataset, &names, &wanted, progress)?,
            None => self.in_memory(dataset, &names, &wanted, progress)?,
        };
        Ok(dataset.with_latents(encoded)?)
    }

    /// The latents of all that are wanted, encoded now and held in memory.
    fn in_memory(
        &self,
        dataset: &Dataset,
        names: &[String],
        wanted: &[Wanted],
        progress: &dyn Progress,
    ) -> Result<Latents, StudyError> {
        let shape = self.shape()?;
        let size: usize = shape.iter().product();
        let mut latents: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        self.encode_missing(dataset, &missing(wanted, |_| false), progress, &mut |names, values| {
            let each = values.chunks_exact(size.max(1)).map(<[f32]>::to_vec);
            latents.extend(names.into_iter().zip(each));
            Ok(())
        })?;
        let (plain, mirrored) = sides(names, wanted, |name| latents[name].as_slice());
        let joined = |of_images: Vec<&[f32]>| -> Vec<f32> {
            let mut values = of_images.concat();
            self.model.scale_values(&mut values);
            values
        };
        Ok(Latents::new(dataset.len(), shape, joined(plain), mirrored.map(joined))?)
    }

    /// The latents of all that are wanted, in the folder; those that it lacks are encoded first. They stay there: batches read them.
    fn stored(
        &self,
        mode: Precompute,
        dataset: &Dataset,
        names: &[String],
        wanted: &[Wanted],
        progress: &dyn Progress,
    ) -> Result<Latents, StudyError> {
        let store = LatentStore::new(&self.config.folder, &self.hash, &self.encoding(), self.shape()?);
        let all: BTreeSet<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
        let mut found = store.find(|name| all.contains(name))?;
        let missing = missing(wanted, |name| found.places.contains_key(name));
        if let (Precompute::Reuse, Some(first)) = (mode, missing.first()) {
            return Err(StudyError::LatentsMissing {
                path: self.config.folder.clone(),
                missing: missing.len(),
                wanted: wanted.len(),
                image: first.image,
                name: first.name.clone(),
            });
        }
        self.encode_missing(dataset, &missing, progress, &mut |names, values| {
            Ok(store.write(names, &values, &mut found)?)
        })?;
        let (plain, mirrored) = sides(names, wanted, |name| {
            let (file, offset) = found.places[name];
            LatentPlace { file, offset }
        });
        let files = LatentFiles { paths: found.files, plain, mirrored, scaling: self.model.scaling() };
        Ok(Latents::in_files(self.shape()?, files))
    }

    /// Encodes images shard by shard; `keep` gets the names and latents of each.
    fn encode_missing(
        &self,
        dataset: &Dataset,
        missing: &[&Wanted],
        progress: &dyn Progress,
        keep: &mut dyn FnMut(Vec<String>, Vec<f32>) -> Result<(), StudyError>,
    ) -> Result<(), StudyError> {
        if missing.is_empty() {
            return Ok(());
        }
        let task =
            Task { label: "encode images".to_owned(), total: missing.len() as u64, unit: Unit::Images };
        let mut bar = progress.begin(task);
        let mut done = 0;
        for shard in missing.chunks(SHARD) {
            let mut names = Vec::with_capacity(shard.len());
            let mut values = Vec::new();
            for batch in shard.chunks(self.config.batch_size) {
                if progress.stop_requested() {
                    return Err(StudyError::Stopped);
                }
                names.extend(batch.iter().map(|one| one.name.clone()));
                values.extend(self.encode_batch(dataset, batch)?);
                done += batch.len();
                bar.advance(done as u64, "");
            }
            keep(names, values)?;
        }
        Ok(())
    }

    fn encode_batch(&self, dataset: &Dataset, batch: &[&Wanted]) -> Result<Vec<f32>, StudyError> {
        let (width, height) = dataset.size();
        let (width, height) = (width as usize, height as usize);
        let mut pixels = vec![0.0; batch.len() * 3 * width * height];
        for (place, one) in batch.iter().enumerate() {
            let bytes = dataset.image(one.image)?;
            let planes = &mut pixels[place * 3 * width * height..][..3 * width * height];
            scale_to_planes(&bytes, one.mirrored, width, planes);
        }
        let noise = match self.config.posterior {
            Posterior::Mean => None,
            Posterior::Sample => {
                let size: usize = self.shape()?.iter().product();
                let streams = Streams::new(self.seed).child("latent posterior", 0);
                let of_image = |one: &&Wanted| standard_normal(&mut streams.rng(&one.name, 0), size);
                Some(batch.iter().flat_map(of_image).collect::<Vec<f32>>())
            }
        };
        let shape = [batch.len(), 3, height, width];
        Ok(self.model.encode_values(&pixels, shape, noise.as_deref(), self.is_tiled())?)
    }

    /// The latents, as they are diffused, of 8-bit RGB images `[images, height, width, 3]`; each the mean of its distribution.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode_pictures(&self, pictures: &SampledImages) -> Result<ModelInputs, StudyError> {
        let [_, height, width, channels] = pictures.shape;
        let plane = height * width;
        let mut latents = Vec::new();
        for batch in pictures.pixels.chunks(self.config.batch_size * plane * channels) {
            let count = batch.len() / (plane * channels);
            let values = planar_values(batch, [channels, height, width]);
            let shape = [count, channels, height, width];
            latents.extend(self.model.encode_values(&values, shape, None, self.is_tiled())?);
        }
        self.model.scale_values(&mut latents);
        Ok(ModelInputs { values: latents, shape: self.shape()? })
    }

    /// The images of what was sampled, `[images, channels, height, width]`.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop; [`DiffusionError::NonFiniteSample`] for an image with NaN.
    pub fn decode(
        &self,
        mut diffused: Vec<f32>,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<SampledImages, StudyError> {
        self.model.unscale_values(&mut diffused);
        let [channels, height, width] = self.shape()?;
        let size = channels * height * width;
        let count = diffused.len() / size.max(1);
        let task = Task { label: format!("{label}: decode"), total: count as u64, unit: Unit::Images };
        let mut bar = progress.begin(task);
        let picture = 3 * self.resolution * self.resolution;
        let mut values = Vec::with_capacity(count * picture);
        for batch in diffused.chunks(self.config.batch_size * size) {
            if progress.stop_requested() {
                return Err(StudyError::Stopped);
            }
            let shape = [batch.len() / size, channels, height, width];
            values.extend(self.model.decode_values(batch, shape, self.is_tiled())?);
            bar.advance((values.len() / picture) as u64, "");
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(DiffusionError::NonFiniteSample { image: (place / picture) as u64 }.into());
        }
        Ok(SampledImages::from_values(&values, [count, 3, self.resolution, self.resolution]))
    }
}
