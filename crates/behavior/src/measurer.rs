use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::behavior::{Behavior, CommandName, Needs, Statistic};
use crate::extractor::{AestheticHead, ExtractorSpec, FeatureExtractor, Features, WeightFiles};
use crate::measure::cluster_entropy::ReferenceClusters;
use crate::measure::command::CommandConfig;
use crate::measure::density_coverage::density_coverage;
use crate::measure::frechet_distance::{FrechetReference, Gaussian};
use crate::measure::held_out_loss::HeldOutLoss;
use crate::measure::inception_score::inception_score;
use crate::measure::label_entropy::LabelledReference;
use crate::measure::percentile::percentile;
use crate::measure::pixel_properties::{background_fraction, brightness, colourfulness, saturation};
use crate::measure::precision_recall::Manifold;
use crate::{BehaviorError, Samples};

/// A network's noise prediction: `(x_t [batch, channels, height, width], timesteps [batch])` to the noise, of `x_t`'s
/// shape.
pub type NoisePrediction<'a> = &'a dyn Fn(Tensor<4>, Tensor<1, Int>) -> Tensor<4>;

/// Called while features are extracted, with the extractor, the images done and all images.
pub type Progress<'a> = &'a mut dyn FnMut(ExtractorSpec, usize, usize);

/// A measured behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What was measured.
    pub behavior: Behavior,
    /// The value.
    pub value: f64,
    /// The number of samples (for the held-out loss, of noisy images): scores of different N do not compare.
    pub n_samples: usize,
    /// What more there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<ScoreDetail>,
}

/// What some behaviours say beside their value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreDetail {
    /// Of the cluster entropy.
    Clusters {
        /// Samples in each cluster.
        counts: Vec<usize>,
        /// Shares of the samples in each cluster.
        proportions: Vec<f64>,
    },
    /// Of the Fréchet distance.
    Frechet {
        /// Whether there were no more samples than features: the distance is then biased upwards.
        rank_deficient: bool,
    },
    /// Of the demographic entropy.
    Labels {
        /// Samples told to have each label.
        counts: Vec<usize>,
        /// The share of the reference images whose label the others tell.
        accuracy: f64,
    },
    /// Of a user's command.
    Numbers {
        /// What it printed beside the value.
        numbers: BTreeMap<String, Vec<f64>>,
    },
    /// Of the held-out diffusion loss.
    PerContributor {
        /// The mean loss of each contributor's held-out images; none for a contributor without any.
        losses: Vec<Option<f64>>,
    },
}

impl Score {
    /// The score's name with its number of samples, as in `is_lite0, N = 1024`.
    pub fn label(&self) -> String {
        format!("{}, N = {}", self.behavior, self.n_samples)
    }
}

/// What behaviours are measured with, besides the samples.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The images that distances, manifolds and clusters refer to: usually the training images, or a random subset of them.
    pub reference: Option<Samples<'a>>,
    /// The label of each reference image, in `0..labels`, and the number of labels.
    pub labels: Option<(&'a [usize], usize)>,
    /// The fixed noisy images of [`Behavior::DiffusionLoss`].
    pub held_out: Option<HeldOutLoss>,
    /// Where the weights of the extractors are.
    pub weights: &'a WeightFiles,
    /// The user's commands, by name.
    pub commands: BTreeMap<String, CommandConfig>,
}

impl<'a> Ingredients<'a> {
    /// Weights alone.
    pub fn new(weights: &'a WeightFiles) -> Self {
        Self { reference: None, labels: None, held_out: None, weights, commands: BTreeMap::new() }
    }
}

/// An extractor and what the requested behaviours need of the reference images.
#[derive(Debug)]
struct Prepared {
    extractor: FeatureExtractor,
    frechet: Option<FrechetReference>,
    /// By number of neighbours.
    manifolds: BTreeMap<usize, Manifold>,
    /// By number of clusters.
    clusters: BTreeMap<usize, ReferenceClusters>,
    /// By number of neighbours, with how often the classifier is right.
    labelled: BTreeMap<usize, (LabelledReference, f64)>,
}

/// Measures a fixed list of behaviours on any number of sample sets; loads networks and embeds the reference images once.
#[derive(Debug)]
pub struct Measurer {
    behaviors: Vec<Behavior>,
    prepared: BTreeMap<ExtractorSpec, Prepared>,
    held_out: Option<HeldOutLoss>,
    head: Option<AestheticHead>,
    commands: BTreeMap<CommandName, CommandConfig>,
}

impl Measurer {
    /// Prepares `behaviors`, in whose order scores will come; a behaviour named twice is measured once.
    ///
    /// [`Behavior::Local`] is left out: it is about pairs of pictures, for which
    /// [`image_similarity`](crate::measure::image_similarity) has functions.
    ///
    /// # Errors
    /// A behaviour whose reference images, labels, held-out images, weights or command are missing, weights that cannot be
    /// loaded, too few reference images, and anything that a measure refuses.
    pub fn prepare(
        behaviors: &[Behavior],
        ingredients: Ingredients<'_>,
        device: &Device,
        progress: Progress,
    ) -> Result<Self, BehaviorError> {
        let Ingredients { reference, labels, held_out, weights, commands } = ingredients;
        let mut unique: Vec<Behavior> = Vec::with_capacity(behaviors.len());
        for behavior in behaviors {
            if !unique.contains(behavior) && behavior.needs() != Needs::FullModel {
                unique.push(*behavior);
            }
        }
        let missing = |behavior: &Behavior, what, remedy| {
            Err(BehaviorError::Missing { behavior: behavior.key(), what, remedy })
        };
        let mut plan: BTreeMap<ExtractorSpec, Vec<Behavior>> = BTreeMap::new();
        let mut head = None;
        let mut named = BTreeMap::new();
        for behavior in &unique {
            if let Some(spec) = behavior.needs().extractor() {
                plan.entry(spec).or_default().push(*behavior);
            }
            match behavior.needs() {
                Needs::Pixels | Needs::Extractor(_) | Needs::FullModel => {}
                Needs::Reference(_) | Needs::Labels(_) if reference.is_none() => {
                    return missing(
                        behavior,
                        "reference images",
                        "give the training images or a subset of them",
                    );
                }
                Needs::Reference(_) => {}
                Needs::Labels(_) if labels.is_none() => {
                    return missing(
                        behavior,
                        "the labels of the reference images",
                        "name the columns that hold them with `measures.labels`",
                    );
                }
                Needs::Labels(_) => {}
                Needs::Aesthetic => match &weights.aesthetic_head {
                    None => {
                        return missing(
                            behavior,
                            "an aesthetic head",
                            "name the file of a linear head on CLIP's features with `measures.aesthetic_head`",
                        );
                    }
                    Some(file) if head.is_none() => head = Some(AestheticHead::load(file)?),
                    Some(_) => {}
                },
                Needs::Command(name) => match commands.get(name.as_str()) {
                    None => {
                        return missing(
                            behavior,
                            "a command of this name",
                            "say what to run in `[measures.commands.NAME]`",
                        );
                    }
                    Some(command) => {
                        command.validate()?;
                        named.insert(name, command.clone());
                    }
                },
                Needs::Model if held_out.is_none() => {
                    return missing(
                        behavior,
                        "held-out images",
                        "hold out a share of the images from training",
                    );
                }
                Needs::Model => {}
            }
        }
        let mut prepared = BTreeMap::new();
        for (spec, behaviors) in plan {
            let extractor = FeatureExtractor::load(spec, weights, device)?;
            prepared
                .insert(spec, Prepared::new(extractor, &behaviors, reference.as_ref(), labels, progress)?);
        }
        Ok(Self { behaviors: unique, prepared, held_out, head, commands: named })
    }

    /// What is measured, in the order of the scores.
    pub fn behaviors(&self) -> &[Behavior] {
        &self.behaviors
    }

    /// The extractors in use, each with the SHA-256 of its weights file.
    pub fn extractors(&self) -> Vec<(ExtractorSpec, &str)> {
        self.prepared.iter().map(|(spec, prepared)| (*spec, prepared.extractor.weights_sha256())).collect()
    }

    /// Measures every behaviour on `samples` and, for [`Behavior::DiffusionLoss`], on the model's `prediction`; the
    /// samples pass each extractor once.
    ///
    /// # Errors
    /// [`BehaviorError::Missing`] if a prediction is needed and absent, and anything that a measure refuses.
    pub fn measure(
        &self,
        samples: &Samples,
        prediction: Option<NoisePrediction>,
        progress: Progress,
    ) -> Result<Vec<Score>, BehaviorError> {
        let mut features = BTreeMap::new();
        for (spec, prepared) in &self.prepared {
            let extracted =
                prepared.extractor.extract(samples, &mut |done, all| progress(*spec, done, all))?;
            features.insert(*spec, extracted);
        }
        self.behaviors
            .iter()
            .filter(|behavior| behavior.needs() != Needs::FullModel)
            .map(|&behavior| {
                let pixels = |measure: fn(&Samples) -> Result<f64, BehaviorError>| {
                    Ok(Score { behavior, value: measure(samples)?, n_samples: samples.len(), detail: None })
                };
                match behavior {
                    Behavior::Colourfulness => pixels(colourfulness),
                    Behavior::Brightness => pixels(brightness),
                    Behavior::Saturation => pixels(saturation),
                    Behavior::Background => pixels(background_fraction),
                    Behavior::DiffusionLoss => self.model_score(prediction),
                    Behavior::Aesthetic { statistic } => self.aesthetic_score(statistic, &features),
                    Behavior::Command { name } => self.command_score(name, samples),
                    Behavior::Local { .. } => Err(unprepared(behavior)),
                    Behavior::InceptionScore { extractor }
                    | Behavior::FrechetDistance { extractor }
                    | Behavior::Precision { extractor, .. }
                    | Behavior::Recall { extractor, .. }
                    | Behavior::Density { extractor, .. }
                    | Behavior::Coverage { extractor, .. }
                    | Behavior::DemographicEntropy { extractor, .. }
                    // Both maps hold every extractor that a behaviour of this list names.
                    | Behavior::ClusterEntropy { extractor, .. } => {
                        self.prepared[&extractor].score(behavior, &features[&extractor])
                    }
                }
            })
            .collect()
    }

    fn aesthetic_score(
        &self,
        statistic: Statistic,
        features: &BTreeMap<ExtractorSpec, Features>,
    ) -> Result<Score, BehaviorError> {
        let behavior = Behavior::Aesthetic { statistic };
        let clip = behavior.needs().extractor().and_then(|spec| features.get(&spec));
        let (Some(head), Some(Features { features, .. })) = (&self.head, clip) else {
            return Err(unprepared(behavior));
        };
        let scores = head.scores(features.view())?;
        let value = match statistic {
            Statistic::Mean => Some(scores.iter().sum::<f64>() / scores.len() as f64),
            Statistic::Percentile90 => percentile(&scores, 90.0),
        };
        // Extraction refuses empty sets.
        let value = value.ok_or_else(|| unprepared(behavior))?;
        Ok(Score { behavior, value, n_samples: scores.len(), detail: None })
    }

    fn command_score(&self, name: CommandName, samples: &Samples) -> Result<Score, BehaviorError> {
        let behavior = Behavior::Command { name };
        let command = self.commands.get(&name).ok_or_else(|| unprepared(behavior))?;
        let output = command.measure(&behavior.key(), samples)?;
        let numbers = output.numbers;
        let detail = (!numbers.is_empty()).then_some(ScoreDetail::Numbers { numbers });
        Ok(Score { behavior, value: output.value, n_samples: samples.len(), detail })
    }

    fn model_score(&self, prediction: Option<NoisePrediction>) -> Result<Score, BehaviorError> {
        let (Some(held_out), Some(prediction)) = (&self.held_out, prediction) else {
            return Err(BehaviorError::Missing {
                behavior: Behavior::DiffusionLoss.key(),
                what: "the model's noise prediction",
                remedy: "measure it where the model is at hand, not on stored samples",
            });
        };
        let losses = held_out.evaluate(prediction)?;
        Ok(Score {
            behavior: Behavior::DiffusionLoss,
            value: losses.total,
            n_samples: held_out.draws(),
            detail: Some(ScoreDetail::PerContributor { losses: losses.per_contributor }),
        })
    }
}

/// A behaviour that was not named when the measurer was prepared.
fn unprepared(behavior: Behavior) -> BehaviorError {
    BehaviorError::Missing {
        behavior: behavior.key(),
        what: "its reference statistics",
        remedy: "name it when the measurer is prepared",
    }
}

impl Prepared {
    fn new(
        extractor: FeatureExtractor,
        behaviors: &[Behavior],
        reference: Option<&Samples>,
        labels: Option<(&[usize], usize)>,
        progress: Progress,
    ) -> Result<Self, BehaviorError> {
        let mut prepared = Self {
            extractor,
            frechet: None,
            manifolds: BTreeMap::new(),
            clusters: BTreeMap::new(),
            labelled: BTreeMap::new(),
        };
        let refers = |behavior: &Behavior| matches!(behavior.needs(), Needs::Reference(_) | Needs::Labels(_));
        let needed = behaviors.iter().any(refers);
        let Some(reference) = reference.filter(|_| needed) else { return Ok(prepared) };
        let spec = prepared.extractor.spec();
        let Features { features, .. } =
            prepared.extractor.extract(reference, &mut |done, all| progress(spec, done, all))?;
        let features = features.view();
        for behavior in behaviors {
            match *behavior {
                Behavior::FrechetDistance { .. } => {
                    prepared.frechet = Some(FrechetReference::new(Gaussian::fit(features)?));
                }
                Behavior::Precision { k, .. }
                | Behavior::Recall { k, .. }
                | Behavior::Density { k, .. }
                | Behavior::Coverage { k, .. }
                    if !prepared.manifolds.contains_key(&k) =>
                {
                    prepared.manifolds.insert(k, Manifold::new(features, k)?);
                }
                Behavior::ClusterEntropy { clusters, .. } => {
                    prepared.clusters.insert(clusters, ReferenceClusters::new(features, clusters)?);
                }
                Behavior::DemographicEntropy { k, .. } => {
                    if let Some((labels, classes)) = labels {
                        let reference = LabelledReference::new(features, labels, classes, k)?;
                        let accuracy = reference.accuracy();
                        prepared.labelled.insert(k, (reference, accuracy));
                    }
                }
                _ => {}
            }
        }
        Ok(prepared)
    }

    fn score(&self, behavior: Behavior, extracted: &Features) -> Result<Score, BehaviorError> {
        let Features { features, logits } = extracted;
        let unprepared = || unprepared(behavior);
        let (value, detail) = match behavior {
            Behavior::InceptionScore { .. } => (inception_score(logits.view())?, None),
            Behavior::FrechetDistance { .. } => {
                let reference = self.frechet.as_ref().ok_or_else(unprepared)?;
                let rank_deficient = features.nrows() <= features.ncols();
                (reference.distance(features.view())?, Some(ScoreDetail::Frechet { rank_deficient }))
            }
            Behavior::Precision { k, .. } => {
                (self.manifolds.get(&k).ok_or_else(unprepared)?.coverage(features.view())?, None)
            }
            Behavior::Recall { k, .. } => {
                let reference = self.manifolds.get(&k).ok_or_else(unprepared)?;
                (Manifold::new(features.view(), k)?.coverage_of_manifold(reference)?, None)
            }
            Behavior::Density { k, .. } | Behavior::Coverage { k, .. } => {
                let reference = self.manifolds.get(&k).ok_or_else(unprepared)?;
                let found = density_coverage(reference, features.view())?;
                let density = matches!(behavior, Behavior::Density { .. });
                (if density { found.density } else { found.coverage }, None)
            }
            Behavior::DemographicEntropy { k, .. } => {
                let (reference, accuracy) = self.labelled.get(&k).ok_or_else(unprepared)?;
                let entropy = reference.entropy(features.view())?;
                (entropy.bits, Some(ScoreDetail::Labels { counts: entropy.counts, accuracy: *accuracy }))
            }
            Behavior::ClusterEntropy { clusters, .. } => {
                let entropy =
                    self.clusters.get(&clusters).ok_or_else(unprepared)?.entropy(features.view())?;
                let detail =
                    ScoreDetail::Clusters { counts: entropy.counts, proportions: entropy.proportions };
                (entropy.bits, Some(detail))
            }
            _ => return Err(unprepared()),
        };
        Ok(Score { behavior, value, n_samples: features.nrows(), detail })
    }
}
