//! Feature extractors: from 8-bit images to the features and logits of a pretrained classifier.

mod aesthetic;
mod bicubic;
mod clip;
mod conv;
mod efficientnet_lite0;
mod files;
mod inception;
mod resize;
mod spec;
mod squeezenet;
mod weights;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::Array2;

pub use self::aesthetic::AestheticHead;
use self::bicubic::resized_square;
use self::clip::Clip;
use self::efficientnet_lite0::EfficientNetLite0;
pub use self::files::WeightFiles;
use self::files::remedy;
use self::inception::Inception;
use self::resize::{Plane, Resizer};
pub use self::spec::{ExtractorNetwork, ExtractorSpec};
use self::squeezenet::SqueezeNet;
use self::weights::Weights;
use crate::{BehaviorError, Samples};

/// Features and logits of a set of images, one row an image.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[N, features]`: the network's last feature maps, averaged over space; of CLIP the projected image features.
    pub features: Array2<f32>,
    /// `[N, classes]`: the scores of the classes, before the softmax; without columns for CLIP, which has no classes.
    pub logits: Array2<f32>,
}

#[derive(Debug)]
enum Network {
    SqueezeNet(SqueezeNet),
    EfficientNetLite0(EfficientNetLite0),
    Inception(Inception),
    Clip(Clip),
}

/// A pretrained network, ready to turn images into [`Features`] on one device.
#[derive(Debug)]
pub struct FeatureExtractor {
    spec: ExtractorSpec,
    network: Network,
    device: Device,
    sha256: String,
}

impl FeatureExtractor {
    /// Loads the network of `spec` from its file.
    ///
    /// Gradients are never tracked: an autodiff device is used without its autodiff.
    ///
    /// # Errors
    /// An input size out of range, and a weights file that is not named, missing, cut short or another network's.
    pub fn load(spec: ExtractorSpec, files: &WeightFiles, device: &Device) -> Result<Self, BehaviorError> {
        Self::load_file(spec, &files.of(spec.network)?, device)
    }

    /// Loads the network of `spec` from the file at `path`; else as [`FeatureExtractor::load`].
    pub fn load_file(spec: ExtractorSpec, path: &Path, device: &Device) -> Result<Self, BehaviorError> {
        spec.validate()?;
        let device = device.clone().without_autodiff();
        let mut weights = Weights::read(spec.network.title(), path, remedy(spec.network))?;
        let network = match spec.network {
            ExtractorNetwork::SqueezeNet => Network::SqueezeNet(SqueezeNet::load(&mut weights, &device)?),
            ExtractorNetwork::Lite0 => {
                Network::EfficientNetLite0(EfficientNetLite0::load(&mut weights, &device)?)
            }
            ExtractorNetwork::Inception => Network::Inception(Inception::load(&mut weights, &device)?),
            ExtractorNetwork::Clip => Network::Clip(Clip::load(&mut weights, &device)?),
        };
        Ok(Self { spec, network, device, sha256: weights.finish()? })
    }

    /// What was loaded.
    pub fn spec(&self) -> ExtractorSpec {
        self.spec
    }

    /// The SHA-256 of the weights file, in hexadecimal digits.
    pub fn weights_sha256(&self) -> &str {
        &self.sha256
    }

    /// The features and logits of every image of `samples`, in order.
    ///
    /// Images are resized to the input size as the crate's front page describes. `progress` is called after every batch
    /// with the number of images done and the number of all.
    ///
    /// # Errors
    /// An empty set, a NaN or an infinity in the result (with the image's index), or a failure of the device.
    pub fn extract(
        &self,
        samples: &Samples,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Features, BehaviorError> {
        self.extract_batched(samples, self.spec.batch_size(), progress)
    }

    fn extract_batched(
        &self,
        samples: &Samples,
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Features, BehaviorError> {
        let count = samples.len();
        if count == 0 {
            return Err(BehaviorError::TooFewSamples {
                measure: "feature extraction",
                what: "images",
                needed: 1,
                found: 0,
            });
        }
        let size = match &self.network {
            Network::Clip(clip) => clip.size(),
            _ => self.spec.size(),
        };
        let preprocessing = self.preprocessing(samples);
        let planes = self.spec.network.planes();
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(batch_size) {
            let batch = samples.slice(start, batch_size);
            let mut input = vec![0.0; batch.len() * 3 * size * size];
            for (image, out) in batch.images().zip(input.chunks_exact_mut(3 * size * size)) {
                preprocessing.write(image, &planes, out);
            }
            let input = TensorData::new(input, [batch.len(), 3, size, size]);
            let input = Tensor::from_data(input, &self.device);
            let (batch_features, batch_logits) = match &self.network {
                Network::SqueezeNet(network) => network.forward(input),
                Network::EfficientNetLite0(network) => network.forward(input),
                Network::Inception(network) => network.forward(input),
                Network::Clip(network) => {
                    read_rows("features", network.forward(input), start, &mut features)?;
                    progress(start + batch.len(), count);
                    continue;
                }
            };
            read_rows("features", batch_features, start, &mut features)?;
            read_rows("logits", batch_logits, start, &mut logits)?;
            progress(start + batch.len(), count);
        }
        Ok(Features { features: rows(features, count)?, logits: rows(logits, count)? })
    }

    fn preprocessing(&self, samples: &Samples) -> Preprocessing {
        let (height, width, size) = (samples.height(), samples.width(), self.spec.size());
        match &self.network {
            Network::SqueezeNet(_) | Network::EfficientNetLite0(_) => {
                Preprocessing::Bilinear(Resizer::new(height, width, size))
            }
            Network::Inception(_) => Preprocessing::Bilinear(Resizer::aliased(height, width, size)),
            Network::Clip(clip) => Preprocessing::Bicubic { shape: [height, width], size: clip.size() },
        }
    }
}

/// From an 8-bit image to a network's input.
enum Preprocessing {
    /// In float, to a square.
    Bilinear(Resizer),
    /// In 8 bits, the square in the middle.
    Bicubic { shape: [usize; 2], size: usize },
}

impl Preprocessing {
    /// Writes `image` into `out` `[3, size, size]`, plane `p` as `planes[p]` says.
    fn write(&self, image: &[u8], planes: &[Plane; 3], out: &mut [f32]) {
        match self {
            Self::Bilinear(resizer) => resizer.write(image, planes, out),
            Self::Bicubic { shape, size } => {
                let square = resized_square(image, *shape, *size);
                for (plane, out) in planes.iter().zip(out.chunks_exact_mut(size * size)) {
                    let pixels = square.iter().skip(plane.channel).step_by(3);
                    for (value, &pixel) in out.iter_mut().zip(pixels) {
                        *value = plane.scale * f32::from(pixel) + plane.shift;
                    }
                }
            }
        }
    }
}

/// Appends the finite rows of `tensor`, whose first row is image `start`, to `out`.
fn read_rows(
    what: &'static str,
    tensor: Tensor<2>,
    start: usize,
    out: &mut Vec<f32>,
) -> Result<(), BehaviorError> {
    let [_, width] = tensor.dims();
    let device = |reason: String| BehaviorError::Device { what, reason };
    let data = tensor.try_into_data().map_err(|error| device(format!("{error:?}")))?.convert::<f32>();
    let values = data.as_slice::<f32>().map_err(|error| device(format!("{error:?}")))?;
    if let Some(position) = values.iter().position(|value| !value.is_finite()) {
        let value = f64::from(values[position]);
        return Err(BehaviorError::NotFinite { what, image: start + position / width, value });
    }
    out.extend_from_slice(values);
    Ok(())
}

fn rows(values: Vec<f32>, count: usize) -> Result<Array2<f32>, BehaviorError> {
    let width = values.len() / count;
    Array2::from_shape_vec((count, width), values)
        .map_err(|error| BehaviorError::Device { what: "features", reason: error.to_string() })
}
