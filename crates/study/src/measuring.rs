//! The measures of a study: prepared when first used, since reference images take time to embed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use behavior::measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig};
use behavior::{
    AestheticHead, Behavior, ExtractorSpec, FeatureExtractor, Ingredients, Measurer, Needs, Samples,
    ScoreDetail,
};
use data::{ContributorKey, Dataset, Split, View};
use diffusion_core::samplers::SampledImages;
use diffusion_core::schedule::NoiseSchedule;
use diffusion_core::{Denoiser, Device, UNet2DModel};
use ledger::Value;
use streams::{Streams, subset};

use crate::config::StudyConfig;
use crate::error::StudyError;

/// Training images that distances, manifolds and clusters refer to, at most; a seeded choice of them beyond.
const MAX_REFERENCES: usize = 5000;
/// What a vector of losses by contributor is called in a record.
const BY_CONTRIBUTOR: &str = "by_contributor";

/// Measures models one at a time: extraction uses all threads by itself.
pub(crate) struct Measuring {
    measurer: Mutex<Option<Measurer>>,
    extractors: Vec<(String, String)>,
    /// Reference images of their own, with their hash.
    reference: Option<(Dataset, String)>,
    /// Pictures of the full model by repetition, for local behaviours.
    of_full: Mutex<BTreeMap<u64, Arc<SampledImages>>>,
}

impl Measuring {
    /// Checks that the weights of all extractors in use can be read.
    pub fn new(config: &StudyConfig, device: &Device) -> Result<Self, StudyError> {
        let needs = || config.behaviors.iter().map(Behavior::needs);
        let mut specs: Vec<ExtractorSpec> = needs().filter_map(Needs::extractor).collect();
        specs.sort_unstable();
        specs.dedup();
        let files = config.measures.weight_files(&config.weights);
        let mut extractors = specs
            .into_iter()
            .map(|spec| {
                let extractor = FeatureExtractor::load(spec, &files, device)?;
                Ok((spec.to_string(), extractor.weights_sha256().to_owned()))
            })
            .collect::<Result<Vec<_>, StudyError>>()?;
        // That a head or labels are named is checked where they are used.
        if let Some(file) = files.aesthetic_head.as_ref().filter(|_| needs().any(|n| n == Needs::Aesthetic)) {
            extractors.push(("aesthetic_head".to_owned(), AestheticHead::load(file)?.sha256().to_owned()));
        }
        for behavior in &config.behaviors {
            if let Behavior::Command { name } = behavior
                && let Some(command) = config.measures.commands.get(name.as_str())
            {
                extractors.push((behavior.key(), command.identity_sha256()));
            }
        }
        if config.behaviors.contains(&Behavior::DiffusionLoss) && config.data.held_out == 0.0 {
            return Err(StudyError::InvalidKey {
                key: "data.held_out",
                value: "0".to_owned(),
                allowed: "above 0 where `diffusion_loss` is measured: it is the loss on held-out images",
            });
        }
        let reference = config.measures.open_reference(config.data.resolution, config.data.channels)?;
        let reference = match reference {
            Some(dataset) => {
                let hash = dataset.content_hash()?;
                Some((dataset, hash))
            }
            None => None,
        };
        Ok(Self { measurer: Mutex::new(None), extractors, reference, of_full: Mutex::new(BTreeMap::new()) })
    }

    /// The full model's pictures from the noise of a repetition: sampled when first asked for.
    pub fn pictures_of_full(
        &self,
        repetition: u64,
        sample: impl FnOnce() -> Result<SampledImages, StudyError>,
    ) -> Result<Arc<SampledImages>, StudyError> {
        // A worker that panicked while sampling left no pictures.
        let mut kept = self.of_full.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pictures) = kept.get(&repetition) {
            return Ok(pictures.clone());
        }
        let pictures = Arc::new(sample()?);
        kept.insert(repetition, pictures.clone());
        Ok(pictures)
    }

    /// Hash of the weights of each extractor in use, of the aesthetic head and of commands.
    pub fn extractors(&self) -> &[(String, String)] {
        &self.extractors
    }

    /// Hash of the reference images, where they are not the training images.
    pub fn reference_hash(&self) -> Option<&str> {
        self.reference.as_ref().map(|(_, hash)| hash.as_str())
    }

    /// The images that distances, manifolds and clusters refer to.
    pub fn reference(&self, split: &Split) -> View {
        self.reference.as_ref().map_or_else(|| split.train.clone(), |(dataset, _)| dataset.all())
    }

    /// All behaviours of a model and its samples, by key; losses by contributor under `<key>_by_contributor`.
    pub fn measure(
        &self,
        model: &UNet2DModel,
        samples: &SampledImages,
        prepare: impl FnOnce() -> Result<Measurer, StudyError>,
    ) -> Result<BTreeMap<String, Value>, StudyError> {
        // A worker that panicked while measuring leaves nothing half-done behind the lock.
        let mut turn = self.measurer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let measurer = match &mut *turn {
            Some(measurer) => measurer,
            empty => empty.insert(prepare()?),
        };
        let samples = Samples::new(&samples.pixels, samples.shape)?;
        let prediction = |x, t| model.predict_noise(x, t);
        let mut values = BTreeMap::new();
        for score in measurer.measure(&samples, Some(&prediction), &mut |_, _, _| {})? {
            let key = score.behavior.key();
            match &score.detail {
                Some(ScoreDetail::PerContributor { losses }) => {
                    if let Some(losses) = losses.iter().copied().collect::<Option<Vec<f64>>>() {
                        values.insert(by_contributor_key(&key), Value::from(losses));
                    }
                }
                Some(ScoreDetail::Labels { counts, accuracy }) => {
                    let counts: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
                    values.insert(format!("{key}_counts"), Value::from(counts));
                    values.insert(format!("{key}_accuracy"), Value::from(*accuracy));
                }
                Some(ScoreDetail::Numbers { numbers }) => {
                    for (name, list) in numbers {
                        let value = match list[..] {
                            [one] => Value::from(one),
                            _ => Value::from(list.clone()),
                        };
                        values.insert(format!("{key}_{name}"), value);
                    }
                }
                _ => {}
            }
            values.insert(key, Value::from(score.value));
        }
        Ok(values)
    }
}

/// What the losses by contributor of a behaviour are called in records.
pub(crate) fn by_contributor_key(key: &str) -> String {
    format!("{key}_{BY_CONTRIBUTOR}")
}

/// The label of each of these images, as a number, and the number of labels: values of the columns, in the order of their names.
fn labels_of(
    dataset: &Dataset,
    columns: &ContributorKey,
    images: &[usize],
) -> Result<(Vec<usize>, usize), StudyError> {
    let name = |image: usize| -> Result<Vec<&str>, StudyError> {
        columns
            .columns()
            .iter()
            .map(|column| {
                dataset.field(image, column).ok_or_else(|| StudyError::InvalidKey {
                    key: "measures.labels",
                    value: column.clone(),
                    allowed: "columns of the reference images' table",
                })
            })
            .collect()
    };
    let all = images.iter().map(|&image| name(image)).collect::<Result<Vec<_>, _>>()?;
    let names: std::collections::BTreeSet<&Vec<&str>> = all.iter().collect();
    let number: BTreeMap<&Vec<&str>, usize> = names.into_iter().zip(0..).collect();
    Ok((all.iter().map(|name| number[name]).collect(), number.len()))
}

/// Embeds the reference images and fixes the noises of the held-out loss.
pub(crate) fn prepare_measurer(
    config: &StudyConfig,
    references: &View,
    split: &Split,
    schedule: &NoiseSchedule,
    device: &Device,
) -> Result<Measurer, StudyError> {
    let streams = Streams::new(config.seed).child("measures", 0);
    let places = match references.len() {
        n if n > MAX_REFERENCES => subset(&mut streams.rng("reference images", 0), n, MAX_REFERENCES),
        n => (0..n).collect(),
    };
    let indices: Vec<usize> = places.iter().map(|&place| references.indices()[place]).collect();
    let (pixels, shape) = rgb_images(references.dataset(), &indices)?;
    let reference = Samples::new(&pixels, shape)?;
    let needs_held_out = config.behaviors.contains(&Behavior::DiffusionLoss);
    let held_out = needs_held_out
        .then(|| held_out_loss(&split.held_out, config.measures.noises, schedule, streams, device));
    let held_out = held_out.transpose()?;
    let needs_labels = config.behaviors.iter().any(|b| matches!(b.needs(), Needs::Labels(_)));
    let labels = config.measures.labels.as_ref().filter(|_| needs_labels);
    let labels = labels.map(|columns| labels_of(references.dataset(), columns, &indices)).transpose()?;
    let weights = config.measures.weight_files(&config.weights);
    let ingredients = Ingredients {
        reference: Some(reference),
        labels: labels.as_ref().map(|(labels, classes)| (labels.as_slice(), *classes)),
        held_out,
        weights: &weights,
        commands: config.measures.commands.clone(),
    };
    Ok(Measurer::prepare(&config.behaviors, ingredients, device, &mut |_, _, _| {})?)
}

/// The loss on fixed noisy versions of the images of a view.
pub(crate) fn held_out_loss(
    view: &View,
    noises: usize,
    schedule: &NoiseSchedule,
    streams: Streams,
    device: &Device,
) -> Result<HeldOutLoss, StudyError> {
    let batch = view.load(0..view.len())?;
    let dataset = view.dataset();
    let [_, channels, height, width] = batch.shape;
    let images = HeldOutImages {
        pixels: batch.pixels,
        shape: [channels, height, width],
        contributor: batch.indices.iter().filter_map(|&image| dataset.owner(image)).collect(),
        contributors: dataset.contributors().len(),
    };
    let config = HeldOutLossConfig { noises, ..HeldOutLossConfig::default() };
    Ok(HeldOutLoss::new(images, config, schedule.clone(), streams, device)?)
}

/// Images by number as 8-bit RGB, `[images, height, width, 3]`.
pub(crate) fn rgb_images(dataset: &Dataset, indices: &[usize]) -> Result<(Vec<u8>, [usize; 4]), StudyError> {
    let (width, height) = dataset.size();
    let mut pixels = Vec::with_capacity(indices.len() * (width * height * 3) as usize);
    for &index in indices {
        pixels.extend_from_slice(&dataset.image(index)?);
    }
    Ok((pixels, [indices.len(), height as usize, width as usize, 3]))
}
