//! Feature extractors: from 8-bit images to the features and logits of a pretrained classifier.

mod conv;
mod efficientnet_lite0;
mod resize;
mod spec;
mod squeezenet;
mod weights;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::Array2;

use self::efficientnet_lite0::EfficientNetLite0;
use self::resize::Resizer;
pub use self::spec::{ExtractorNetwork, ExtractorSpec};
use self::squeezenet::SqueezeNet;
use self::weights::Weights;
use crate::{BehaviorError, Samples};

/// Features and logits of a set of images, one row an image.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[N, features]`: the network's last feature maps, averaged over space.
    pub features: Array2<f32>,
    /// `[N, 1000]`: the scores of the ImageNet classes, before the softmax.
    pub logits: Array2<f32>,
}

#[derive(Debug)]
enum Network {
    SqueezeNet(SqueezeNet),
    EfficientNetLite0(EfficientNetLite0),
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
    /// Loads the network of `spec` from `directory`, in the file [`ExtractorNetwork::file_name`].
    ///
    /// Gradients are never tracked: an autodiff device is used without its autodiff.
    ///
    /// # Errors
    /// An input size out of range, and a weights file that is missing, cut short or another network's.
    pub fn load(spec: ExtractorSpec, directory: &Path, device: &Device) -> Result<Self, BehaviorError> {
        Self::load_file(spec, &directory.join(spec.network.file_name()), device)
    }

    /// Loads the network of `spec` from the file at `path`; else as [`FeatureExtractor::load`].
    pub fn load_file(spec: ExtractorSpec, path: &Path, device: &Device) -> Result<Self, BehaviorError> {
        spec.validate()?;
        let device = device.clone().without_autodiff();
        let mut weights = Weights::read(spec.network.title(), path)?;
        let network = match spec.network {
            ExtractorNetwork::SqueezeNet => Network::SqueezeNet(SqueezeNet::load(&mut weights, &device)?),
            ExtractorNetwork::Lite0 => {
                Network::EfficientNetLite0(EfficientNetLite0::load(&mut weights, &device)?)
            }
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
        let size = self.spec.size();
        let resizer = Resizer::new(samples.height(), samples.width(), size);
        let planes = self.spec.network.planes();
        let mut features = Vec::with_capacity(count * self.spec.network.features());
        let mut logits = Vec::with_capacity(count * ExtractorNetwork::CLASSES);
        for start in (0..count).step_by(batch_size) {
            let batch = samples.slice(start, batch_size);
            let mut input = vec![0.0; batch.len() * 3 * size * size];
            for (image, out) in batch.images().zip(input.chunks_exact_mut(3 * size * size)) {
                resizer.write(image, &planes, out);
            }
            let input = TensorData::new(input, [batch.len(), 3, size, size]);
            let input = Tensor::from_data(input, &self.device);
            let (batch_features, batch_logits) = match &self.network {
                Network::SqueezeNet(network) => network.forward(input),
                Network::EfficientNetLite0(network) => network.forward(input),
            };
            read_rows("features", batch_features, start, &mut features)?;
            read_rows("logits", batch_logits, start, &mut logits)?;
            progress(start + batch.len(), count);
        }
        Ok(Features { features: rows(features, count)?, logits: rows(logits, count)? })
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
