//! The image tower of CLIP: "Learning transferable visual models from natural language supervision", Radford et al. 2021, arXiv
//! 2103.00020. A vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929).

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Tensor, TensorData};

use super::weights::Weights;
use crate::BehaviorError;

const LAYER_NORM_EPSILON: f64 = 1e-5;
/// Channels of one attention head in every published model.
const HEAD: usize = 64;

/// Under which names a state dict holds the tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// As OpenAI's code names it: `visual.conv1.weight`.
    OpenAi,
    /// As Hugging Face's `CLIPModel` and `CLIPVisionModelWithProjection` do: `vision_model.embeddings...`.
    HuggingFace,
}

/// An affine map; weight `[outputs, inputs]`.
#[derive(Module, Debug)]
struct Affine {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Affine {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        kernels::linear(x, self.weight.val(), Some(self.bias.val()))
    }
}

#[derive(Module, Debug)]
struct Norm {
    gain: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

impl Norm {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.gain.val(), Some(self.shift.val()), LAYER_NORM_EPSILON)
    }
}

/// Attention, then a perceptron, each after a norm and with a residual connection.
#[derive(Module, Debug)]
struct Layer {
    before_attention: Norm,
    query: Affine,
    key: Affine,
    value: Affine,
    output: Affine,
    before_perceptron: Norm,
    wide: Affine,
    narrow: Affine,
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let heads = width / HEAD;
        let normed = self.before_attention.forward(x.clone());
        let [q, k, v] = [&self.query, &self.key, &self.value]
            .map(|part| part.forward(normed.clone()).reshape([batch, length, heads, HEAD]).swap_dims(1, 2));
        let attended = kernels::attention(q, k, v, 1.0 / (HEAD as f64).sqrt());
        let attended = attended.swap_dims(1, 2).reshape([batch, length, width]);
        let x = x + self.output.forward(attended);
        let hidden = self.wide.forward(self.before_perceptron.forward(x.clone()));
        // The cheap form of GELU that CLIP was trained with.
        let hidden = hidden.clone() * sigmoid(hidden.mul_scalar(1.702));
        x + self.narrow.forward(hidden)
    }
}

/// The tower, for inference.
#[derive(Module, Debug)]
pub(super) struct Clip {
    patches: Param<Tensor<4>>,
    class: Param<Tensor<1>>,
    positions: Param<Tensor<2>>,
    before: Norm,
    layers: Vec<Layer>,
    after: Norm,
    /// `[embedding, width]`.
    projection: Param<Tensor<2>>,
}

/// Tensors of the file on the device.
struct Reader<'a> {
    weights: &'a mut Weights,
    device: &'a Device,
}

impl Reader<'_> {
    fn take<const D: usize>(
        &mut self,
        key: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, BehaviorError> {
        let array = self.weights.take(key, &shape)?;
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(array.data, shape), self.device)))
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm, BehaviorError> {
        Ok(Norm {
            gain: self.take(&format!("{name}.weight"), [width])?,
            shift: self.take(&format!("{name}.bias"), [width])?,
        })
    }

    fn affine(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Affine, BehaviorError> {
        Ok(Affine {
            weight: self.take(&format!("{name}.weight"), [outputs, inputs])?,
            bias: self.take(&format!("{name}.bias"), [outputs])?,
        })
    }

    /// Queries, keys and values in one matrix, as PyTorch's multi-head attention keeps them.
    fn three(&mut self, name: &str, width: usize) -> Result<[Affine; 3], BehaviorError> {
        let weight = self.weights.take(&format!("{name}.in_proj_weight"), &[3 * width, width])?;
        let bias = self.weights.take(&format!("{name}.in_proj_bias"), &[3 * width])?;
        Ok([0, 1, 2].map(|part| {
            let rows = weight.data[part * width * width..(part + 1) * width * width].to_vec();
            let shift = bias.data[part * width..(part + 1) * width].to_vec();
            Affine {
                weight: Param::from_tensor(Tensor::from_data(
                    TensorData::new(rows, [width, width]),
                    self.device,
                )),
                bias: Param::from_tensor(Tensor::from_data(TensorData::new(shift, [width]), self.device)),
            }
        }))
    }

    fn layer(
        &mut self,
        naming: Naming,
        index: usize,
        width: usize,
        hidden: usize,
    ) -> Result<Layer, BehaviorError> {
        let (path, parts) = match naming {
            Naming::OpenAi => (
                format!("visual.transformer.resblocks.{index}"),
                ["ln_1", "attn", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"],
            ),
            Naming::HuggingFace => (
                format!("vision_model.encoder.layers.{index}"),
                ["layer_norm1", "self_attn", "self_attn.out_proj", "layer_norm2", "mlp.fc1", "mlp.fc2"],
            ),
        };
        let [norm1, attention, output, norm2, wide, narrow] = parts.map(|part| format!("{path}.{part}"));
        let [query, key, value] = match naming {
            Naming::OpenAi => self.three(&attention, width)?,
            Naming::HuggingFace => {
                let mut part = |name| self.affine(&format!("{attention}.{name}"), width, width);
                [part("q_proj")?, part("k_proj")?, part("v_proj")?]
            }
        };
        Ok(Layer {
            before_attention: self.norm(&norm1, width)?,
            query,
            key,
            value,
            output: self.affine(&output, width, width)?,
            before_perceptron: self.norm(&norm2, width)?,
            wide: self.affine(&wide, width, hidden)?,
            narrow: self.affine(&narrow, hidden, width)?,
        })
    }
}

impl Clip {
    /// Reads the tower; its sizes are those of the file's tensors. The text tower, which such files usually have, too, is left.
    pub fn load(weights: &mut Weights, device: &Device) -> Result<Self, BehaviorError> {
        let (naming, conv) = if weights.has("visual.conv1.weight") {
            (Naming::OpenAi, "visual.conv1.weight")
        } else {
            (Naming::HuggingFace, "vision_model.embeddings.patch_embedding.weight")
        };
        weights.ignore(|key| {
            let own = match naming {
                Naming::OpenAi => key.starts_with("visual."),
                Naming::HuggingFace => {
                    (key.starts_with("vision_model.") && !key.ends_with("position_ids"))
                        || key.starts_with("visual_projection.")
                }
            };
            !own
        });
        let [width, _, patch, _] = weights.shape::<4>(conv)?;
        let [class, positions, before, after] = match naming {
            Naming::OpenAi => {
                ["visual.class_embedding", "visual.positional_embedding", "visual.ln_pre", "visual.ln_post"]
            }
            Naming::HuggingFace => [
                "vision_model.embeddings.class_embedding",
                "vision_model.embeddings.position_embedding.weight",
                // As it is spelled there.
                "vision_model.pre_layrnorm",
                "vision_model.post_layernorm",
            ],
        };
        let [places, _] = weights.shape::<2>(positions)?;
        let side = places.saturating_sub(1).isqrt();
        if side * side + 1 != places || side == 0 || width % HEAD != 0 || width == 0 {
            let problem = format!(
                "is for {places} places of {width} channels: a square of patches and one more, and a multiple of {HEAD} channels, \
                 are needed"
            );
            return Err(weights.foreign(positions, problem));
        }
        let (layer_prefix, hidden_key) = match naming {
            Naming::OpenAi => {
                ("visual.transformer.resblocks.", "visual.transformer.resblocks.0.mlp.c_fc.bias")
            }
            Naming::HuggingFace => {
                ("vision_model.encoder.layers.", "vision_model.encoder.layers.0.mlp.fc1.bias")
            }
        };
        let numbers =
            weights.keys().filter_map(|key| key.strip_prefix(layer_prefix)?.split('.').next()?.parse().ok());
        let layers = numbers.max().map_or(0, |last: usize| last + 1);
        let [hidden] = weights.shape::<1>(hidden_key)?;
        let mut read = Reader { weights, device };
        let projection = match naming {
            Naming::OpenAi => {
                let [_, embedding] = read.weights.shape::<2>("visual.proj")?;
                let projection = read.take("visual.proj", [width, embedding])?;
                Param::from_tensor(projection.val().transpose())
            }
            Naming::HuggingFace => {
                let [embedding, _] = read.weights.shape::<2>("visual_projection.weight")?;
                read.take("visual_projection.weight", [embedding, width])?
            }
        };
        Ok(Self {
            patches: read.take(conv, [width, 3, patch, patch])?,
            class: read.take(class, [width])?,
            positions: read.take(positions, [places, width])?,
            before: read.norm(before, width)?,
            layers: (0..layers).map(|i| read.layer(naming, i, width, hidden)).collect::<Result<_, _>>()?,
            after: read.norm(after, width)?,
            projection,
        })
    }

    /// The side of the square images that it takes.
    pub fn size(&self) -> usize {
        let [places, _] = self.positions.val().dims();
        let [_, _, patch, _] = self.patches.val().dims();
        (places - 1).isqrt() * patch
    }

    /// `[batch, 3, size, size]`, less CLIP's mean and over its deviation, to image features `[batch, embedding]`, not normalised.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let [width, _, patch, _] = self.patches.val().dims();
        let [places, _] = self.positions.val().dims();
        let x = kernels::conv2d(x, self.patches.val(), None, patch, 0);
        let [batch, ..] = x.dims();
        let x = x.reshape([batch, width, places - 1]).swap_dims(1, 2);
        let class = self.class.val().reshape([1, 1, width]).expand([batch, 1, width]);
        let x = Tensor::cat(vec![class, x], 1) + self.positions.val().unsqueeze::<3>();
        let x = self.layers.iter().fold(self.before.forward(x), |x, layer| layer.forward(x));
        let first = x.slice([0..batch, 0..1, 0..width]).reshape([batch, width]);
        kernels::linear(self.after.forward(first), self.projection.val(), None)
    }
}
