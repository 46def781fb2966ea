//! Every layer of a UNet by name and width, worked out from its configuration.
//!
//! The layout is the one place that knows how widths follow from `block_out_channels` and `pruned_channels`: the
//! network is built from it, weights are checked against it, and parameters and multiply-accumulates counted on it.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{DownBlockType, UNet2DConfig, UpBlockType};
use crate::DiffusionError;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A square convolution; weight `[outputs, inputs, kernel, kernel]`.
    Conv {
        /// Side of the kernel.
        kernel: usize,
        /// Step in both directions.
        stride: usize,
        /// Zeros added on each side.
        padding: usize,
    },
    /// An affine map; weight `[outputs, inputs]`.
    Linear,
    /// Normalisation of groups of channels; weight `[outputs]`.
    GroupNorm {
        /// Number of groups.
        groups: usize,
    },
}

/// Where a layer's output lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// One vector an image (the time embedding).
    Vector,
    /// A feature map at this level: the input's height and width halved this many times.
    Map {
        /// 0 is the finest.
        level: usize,
    },
}

/// A layer with parameters `{name}.weight` and `{name}.bias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The name of the layer in diffusers, such as `mid_block.resnets.0.conv1`.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Where its output lives.
    pub site: Site,
}

impl Layer {
    /// Shape of `{name}.weight`, in PyTorch's layout.
    pub fn weight_shape(&self) -> Vec<usize> {
        match self.kind {
            LayerKind::Conv { kernel, .. } => vec![self.outputs, self.inputs, kernel, kernel],
            LayerKind::Linear => vec![self.outputs, self.inputs],
            LayerKind::GroupNorm { .. } => vec![self.outputs],
        }
    }

    /// Number of weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.weight_shape().iter().product::<usize>() + self.outputs
    }
}

/// The widths inside an attention block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionWidths {
    /// The name of the block in diffusers, such as `mid_block.attentions.0`.
    pub name: String,
    /// Number of heads.
    pub heads: usize,
    /// Channels of a head before any pruning; scores are divided by its square root.
    pub head_dim: usize,
    /// Width of queries and keys, all heads together.
    pub query: usize,
    /// Width of the values, all heads together.
    pub value: usize,
    /// The level at which it works.
    pub level: usize,
}

/// All layers of a UNet, in the order in which data first reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    layers: Vec<Layer>,
    attentions: Vec<AttentionWidths>,
    by_name: BTreeMap<String, usize>,
}

impl Layout {
    /// Works out the layers of a configuration, and checks that they fit.
    ///
    /// # Errors
    /// [`DiffusionError::ConfigKey`] for a value out of range, [`DiffusionError::Architecture`] for the first layer
    /// whose width does not fit.
    pub fn of(config: &UNet2DConfig) -> Result<Self, DiffusionError> {
        config.check_keys()?;
        let mut walk = Walk { config, layers: Vec::new(), attentions: Vec::new(), used: BTreeSet::new() };
        walk.network()?;
        if let Some(name) = config.pruned_channels.keys().find(|name| !walk.used.contains(name.as_str())) {
            return misfit(
                name,
                "is named in pruned_channels, but can be pruned in no network of this shape".to_owned(),
            );
        }
        Ok(Self::from_parts(walk.layers, walk.attentions))
    }

    /// The layout of a network with these layers and attention blocks.
    pub(crate) fn from_parts(layers: Vec<Layer>, attentions: Vec<AttentionWidths>) -> Self {
        let by_name = layers.iter().enumerate().map(|(i, layer)| (layer.name.clone(), i)).collect();
        Self { layers, attentions, by_name }
    }

    /// All layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// All attention blocks.
    pub fn attentions(&self) -> &[AttentionWidths] {
        &self.attentions
    }

    /// The layer of this name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.by_name.get(name).map(|&i| &self.layers[i])
    }

    /// Names and shapes of all parameters.
    pub fn parameter_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.layers
            .iter()
            .flat_map(|layer| {
                [
                    (format!("{}.weight", layer.name), layer.weight_shape()),
                    (format!("{}.bias", layer.name), vec![layer.outputs]),
                ]
            })
            .collect()
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(Layer::parameter_count).sum()
    }

    /// Multiply-accumulates of one forward pass of one image of `height` x `width`.
    ///
    /// A convolution costs `outputs * inputs * kernel^2` at each output position, a linear layer `outputs * inputs` at
    /// each position, and attention over `P` positions `P^2 (query + value)` for its two matrix products. Norms,
    /// activations, biases and additions are not counted.
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] if height and width cannot be halved once for each level after the first.
    pub fn macs(&self, height: usize, width: usize) -> Result<u64, DiffusionError> {
        let coarsest = self.layers.iter().map(|layer| match layer.site {
            Site::Map { level } => level,
            Site::Vector => 0,
        });
        let step = 1usize << coarsest.max().unwrap_or(0);
        if height == 0 || width == 0 || !height.is_multiple_of(step) || !width.is_multiple_of(step) {
            return Err(DiffusionError::InputShape {
                what: "the image",
                expected: format!("a height and width that are multiples of {step}"),
                actual: vec![height, width],
            });
        }
        let positions = |level: usize| ((height >> level) * (width >> level)) as u64;
        let layers: u64 = self
            .layers
            .iter()
            .map(|layer| {
                let places = match layer.site {
                    Site::Map { level } => positions(level),
                    Site::Vector => 1,
                };
                match layer.kind {
                    LayerKind::GroupNorm { .. } => 0,
                    _ => layer.weight_shape().iter().product::<usize>() as u64 * places,
                }
            })
            .sum();
        let attention: u64 = self
            .attentions
            .iter()
            .map(|block| positions(block.level).pow(2) * (block.query + block.value) as u64)
            .sum();
        Ok(layers + attention)
    }
}

/// An error about one layer.
fn misfit<T>(layer: &str, reason: String) -> Result<T, DiffusionError> {
    Err(DiffusionError::Architecture { layer: layer.to_owned(), reason })
}

/// A feature map's channels: as the unpruned network has them, and as they are.
#[derive(Clone, Copy)]
struct Width {
    full: usize,
    kept: usize,
}

/// The walk through the network that lists its layers.
struct Walk<'a> {
    config: &'a UNet2DConfig,
    layers: Vec<Layer>,
    attentions: Vec<AttentionWidths>,
    used: BTreeSet<&'a str>,
}

impl Walk<'_> {
    fn network(&mut self) -> Result<(), DiffusionError> {
        let config = self.config;
        let widths = &config.block_out_channels;
        let levels = config.levels();

        let time = config.time_embed_dim();
        let hidden = self.linear("time_embedding.linear_1", widths[0], time, Site::Vector)?;
        let time = self.linear("time_embedding.linear_2", hidden.kept, time, Site::Vector)?.kept;

        let mut x = self.conv("conv_in", config.in_channels, widths[0], 3, 1, 1, 0)?;
        let mut skips = vec![x];
        for (level, block) in config.down_block_types.iter().enumerate() {
            let prefix = format!("down_blocks.{level}");
            for i in 0..config.layers_per_block {
                x = self.resnet(&format!("{prefix}.resnets.{i}"), x, widths[level], time, level)?;
                if *block == DownBlockType::AttnDownBlock2D {
                    self.attention(&format!("{prefix}.attentions.{i}"), x, config.norm_num_groups, level)?;
                }
                skips.push(x);
            }
            if level + 1 < levels {
                let name = format!("{prefix}.downsamplers.0.conv");
                x = self.conv(&name, x.kept, widths[level], 3, 2, config.downsample_padding, level + 1)?;
                skips.push(x);
            }
        }

        let coarsest = levels - 1;
        x = self.resnet("mid_block.resnets.0", x, x.full, time, coarsest)?;
        if config.add_attention {
            let groups = config.attn_norm_num_groups.unwrap_or(config.norm_num_groups);
            self.attention("mid_block.attentions.0", x, groups, coarsest)?;
        }
        x = self.resnet("mid_block.resnets.1", x, x.full, time, coarsest)?;

        for (i, block) in config.up_block_types.iter().enumerate() {
            let prefix = format!("up_blocks.{i}");
            let level = coarsest - i;
            for j in 0..=config.layers_per_block {
                // The contracting path pushed `1 + levels * (layers_per_block + 1) - 1` maps: one for each of these.
                let skip = skips.pop().expect("as many skips as expanding residual blocks");
                let joined = Width { full: x.full + skip.full, kept: x.kept + skip.kept };
                x = self.resnet(&format!("{prefix}.resnets.{j}"), joined, widths[level], time, level)?;
                if *block == UpBlockType::AttnUpBlock2D {
                    self.attention(&format!("{prefix}.attentions.{j}"), x, config.norm_num_groups, level)?;
                }
            }
            if level > 0 {
                x = self.conv(
                    &format!("{prefix}.upsamplers.0.conv"),
                    x.kept,
                    widths[level],
                    3,
                    1,
                    1,
                    level - 1,
                )?;
            }
        }

        self.norm("conv_norm_out", x.kept, config.norm_num_groups, 0)?;
        let kind = LayerKind::Conv { kernel: 3, stride: 1, padding: 1 };
        self.push("conv_out", kind, x.kept, config.out_channels, Site::Map { level: 0 });
        Ok(())
    }

    /// Two convolutions with a residual connection, which has a 1 x 1 convolution where the full widths differ.
    fn resnet(
        &mut self,
        prefix: &str,
        x: Width,
        outputs: usize,
        time: usize,
        level: usize,
    ) -> Result<Width, DiffusionError> {
        let groups = self.config.norm_num_groups;
        self.norm(&format!("{prefix}.norm1"), x.kept, groups, level)?;
        let hidden = self.conv(&format!("{prefix}.conv1"), x.kept, outputs, 3, 1, 1, level)?;
        let name = format!("{prefix}.time_emb_proj");
        let shift = self.linear(&name, time, outputs, Site::Vector)?;
        require_equal(&name, shift.kept, &format!("{prefix}.conv1"), hidden.kept)?;
        self.norm(&format!("{prefix}.norm2"), hidden.kept, groups, level)?;
        let name = format!("{prefix}.conv2");
        let y = self.conv(&name, hidden.kept, outputs, 3, 1, 1, level)?;
        if x.full == outputs {
            require_equal(&name, y.kept, "its residual input", x.kept)?;
        } else {
            let shortcut = format!("{prefix}.conv_shortcut");
            let residual = self.conv(&shortcut, x.kept, outputs, 1, 1, 0, level)?;
            require_equal(&shortcut, residual.kept, &name, y.kept)?;
        }
        Ok(y)
    }

    /// Multi-head self-attention with a residual connection.
    fn attention(
        &mut self,
        prefix: &str,
        x: Width,
        groups: usize,
        level: usize,
    ) -> Result<(), DiffusionError> {
        let head_dim = self.config.head_dim(x.full);
        let heads = self.config.heads(x.full);
        if heads == 0 {
            return misfit(
                prefix,
                format!(
                    "has {} channels, fewer than attention_head_dim = {head_dim}: use a smaller one",
                    x.full
                ),
            );
        }
        let site = Site::Map { level };
        self.norm(&format!("{prefix}.group_norm"), x.kept, groups, level)?;
        let mut widths = [0; 3];
        for (width, part) in widths.iter_mut().zip(["to_q", "to_k", "to_v"]) {
            let name = format!("{prefix}.{part}");
            *width = self.linear(&name, x.kept, heads * head_dim, site)?.kept;
            if !width.is_multiple_of(heads) {
                return misfit(&name, format!("{width} channels do not divide into {heads} heads"));
            }
        }
        let [query, key, value] = widths;
        require_equal(&format!("{prefix}.to_k"), key, &format!("{prefix}.to_q"), query)?;
        let name = format!("{prefix}.to_out.0");
        let y = self.linear(&name, value, x.full, site)?;
        require_equal(&name, y.kept, "its residual input", x.kept)?;
        self.attentions.push(AttentionWidths {
            name: prefix.to_owned(),
            heads,
            head_dim,
            query,
            value,
            level,
        });
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The numbers of a convolution, in PyTorch's order.
    fn conv(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        level: usize,
    ) -> Result<Width, DiffusionError> {
        let kept = self.kept(name, outputs)?;
        self.push(name, LayerKind::Conv { kernel, stride, padding }, inputs, kept, Site::Map { level });
        Ok(Width { full: outputs, kept })
    }

    fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        site: Site,
    ) -> Result<Width, DiffusionError> {
        let kept = self.kept(name, outputs)?;
        self.push(name, LayerKind::Linear, inputs, kept, site);
        Ok(Width { full: outputs, kept })
    }

    fn norm(
        &mut self,
        name: &str,
        channels: usize,
        groups: usize,
        level: usize,
    ) -> Result<(), DiffusionError> {
        if !channels.is_multiple_of(groups) {
            return misfit(
                name,
                format!(
                    "{channels} channels do not divide into {groups} groups; widths must be multiples of {groups}"
                ),
            );
        }
        self.push(name, LayerKind::GroupNorm { groups }, channels, channels, Site::Map { level });
        Ok(())
    }

    fn push(&mut self, name: &str, kind: LayerKind, inputs: usize, outputs: usize, site: Site) {
        self.layers.push(Layer { name: name.to_owned(), kind, inputs, outputs, site });
    }

    /// The output channels that pruning has left of `full`.
    fn kept(&mut self, name: &str, full: usize) -> Result<usize, DiffusionError> {
        match self.config.pruned_channels.get_key_value(name) {
            None => Ok(full),
            Some((key, &kept)) if (1..=full).contains(&kept) => {
                self.used.insert(key);
                Ok(kept)
            }
            Some((_, kept)) => {
                misfit(name, format!("pruned_channels gives it {kept} channels; 1 to {full} are possible"))
            }
        }
    }
}

/// Layers whose outputs are added must be equally wide.
fn require_equal(layer: &str, width: usize, other: &str, other_width: usize) -> Result<(), DiffusionError> {
    if width == other_width {
        return Ok(());
    }
    misfit(
        layer,
        format!(
            "has {width} channels, but {other} has {other_width}; they are added, so prune both to the same width"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pruned(widths: &[(&str, usize)]) -> Result<Layout, DiffusionError> {
        let pruned_channels = widths.iter().map(|(name, width)| ((*name).to_owned(), *width)).collect();
        Layout::of(&UNet2DConfig { pruned_channels, ..UNet2DConfig::small(16, &[16, 32]) })
    }

    #[test]
    fn parameter_counts_of_the_published_networks() {
        // `sum(p.numel() for p in UNet2DModel(...).parameters())` in diffusers 0.42.1.
        for (config, count) in [
            (UNet2DConfig::cifar(), 35_746_307),
            (UNet2DConfig::celeba_latent(), 274_056_163),
            (UNet2DConfig::mnist(), 61_524_481),
        ] {
            assert_eq!(Layout::of(&config).unwrap().parameter_count(), count);
        }
    }

    #[test]
    fn macs_of_one_level_by_hand() {
        let config = UNet2DConfig { time_embedding_dim: Some(8), ..UNet2DConfig::small(4, &[4]) };
        // Two linears of the time embedding, and the five residual blocks' projections of it.
        let vectors = 4 * 8 + 8 * 8 + 5 * 8 * 4;
        // 3 -> 4 and 4 -> 3, six convolutions 4 -> 4, then two blocks 8 -> 4 -> 4 with shortcuts 8 -> 4.
        let convolutions = 9 * (2 * 12 + 6 * 16 + 2 * (32 + 16)) + 2 * 32;
        // Four projections at 16 positions, and the two products of 16 x 16 positions.
        let attention = 16 * 4 * 16 + 16 * 16 * 8;
        assert_eq!(Layout::of(&config).unwrap().macs(4, 4).unwrap(), vectors + 16 * convolutions + attention);
        let two_levels = Layout::of(&UNet2DConfig::small(16, &[16, 32])).unwrap();
        assert!(two_levels.macs(16, 15).unwrap_err().to_string().contains("multiples of 2"));
    }

    #[test]
    fn input_widths_follow_pruned_outputs() {
        let layout = pruned(&[
            ("conv_in", 12),
            ("down_blocks.0.resnets.0.conv2", 12),
            ("down_blocks.0.resnets.0.conv1", 8),
            ("down_blocks.0.resnets.0.time_emb_proj", 8),
            ("mid_block.attentions.0.to_q", 20),
            ("mid_block.attentions.0.to_k", 20),
            ("time_embedding.linear_2", 40),
        ])
        .unwrap();
        let inputs = |name: &str| layout.layer(name).unwrap().inputs;
        assert_eq!(inputs("down_blocks.0.resnets.0.conv1"), 12);
        assert_eq!(inputs("down_blocks.0.resnets.0.norm2"), 8);
        assert_eq!(inputs("down_blocks.0.downsamplers.0.conv"), 12);
        assert_eq!(inputs("mid_block.resnets.1.time_emb_proj"), 40);
        // Unpruned 16 from below, 12 from the skip.
        assert_eq!(inputs("up_blocks.1.resnets.1.norm1"), 28);
        assert_eq!(inputs("up_blocks.1.resnets.1.conv_shortcut"), 28);
        assert_eq!((layout.attentions()[0].query, layout.attentions()[0].value), (20, 32));
    }

    #[test]
    fn widths_that_do_not_fit_are_named() {
        let cases: [(&[(&str, usize)], &str); 8] = [
            (&[("conv_in", 12)], "`down_blocks.0.resnets.0.conv2`"),
            (&[("mid_block.resnets.0.conv1", 28)], "`mid_block.resnets.0.time_emb_proj`"),
            (&[("up_blocks.0.resnets.0.conv_shortcut", 28)], "`up_blocks.0.resnets.0.conv_shortcut`"),
            (&[("mid_block.attentions.0.to_q", 28)], "`mid_block.attentions.0.to_k`"),
            (&[("up_blocks.0.upsamplers.0.conv", 30)], "`up_blocks.1.resnets.0.norm1`"),
            (&[("conv_in", 0)], "1 to 16"),
            (&[("conv_out", 2)], "`conv_out`"),
            (&[("down_blocks.7.resnets.0.conv1", 8)], "`down_blocks.7.resnets.0.conv1`"),
        ];
        for (widths, needle) in cases {
            let error = pruned(widths).unwrap_err().to_string();
            assert!(error.contains(needle), "{widths:?}: {error}");
        }
        let config = UNet2DConfig { norm_num_groups: 5, ..UNet2DConfig::small(16, &[16, 32]) };
        assert!(config.validate().unwrap_err().to_string().contains("5 groups"));
        let config = UNet2DConfig { attention_head_dim: Some(64), ..UNet2DConfig::small(16, &[16, 32]) };
        assert!(config.validate().unwrap_err().to_string().contains("attention_head_dim"));
        let config = UNet2DConfig { attention_head_dim: Some(8), ..UNet2DConfig::small(16, &[16, 32]) };
        let odd = [("to_q", 30), ("to_k", 30)].map(|(p, w)| (format!("mid_block.attentions.0.{p}"), w));
        let error =
            UNet2DConfig { pruned_channels: odd.into_iter().collect(), ..config }.validate().unwrap_err();
        assert!(error.to_string().contains("4 heads"), "{error}");
    }
}
