//! Which slices of which layers must shrink together.

mod coupling;
mod walk;

use std::collections::BTreeMap;

use diffusion_core::UNet2DConfig;
use diffusion_core::unet::layout::{LayerKind, Layout};

use crate::SparsifyError;

/// The side of a layer on which channels can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The outputs of a convolution or linear layer: axis 0 of its weight, and its bias.
    Output,
    /// The inputs of a convolution or linear layer: axis 1 of its weight.
    Input,
    /// The channels of a group norm: its weight and bias.
    Norm,
}

/// As many consecutive channels of one layer as its [`Group`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The layer, by its diffusers name.
    pub layer: String,
    /// Inputs, outputs, or the channels of a norm.
    pub side: Side,
    /// The channel of the layer that is channel 0 of the group. Not 0 only behind the concatenations of the expanding
    /// path, where one layer reads the channels of several groups one after the other.
    pub offset: usize,
}

impl Slice {
    /// The parameters that lose channels, each with the axis along which it does.
    pub fn parameters(&self) -> Vec<(String, usize)> {
        let weight = format!("{}.weight", self.layer);
        match self.side {
            Side::Input => vec![(weight, 1)],
            Side::Output | Side::Norm => vec![(weight, 0), (format!("{}.bias", self.layer), 0)],
        }
    }
}

/// Channels that can only be removed together: channel `c` of the group is channel `offset + c` of each slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The first layer, in the order of the data, that writes these channels.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Equal blocks into which the channels fall, of which each must keep the same number of channels: the groups of
    /// the norms that see these channels (least common multiple), the heads of an attention's queries, keys and
    /// values, and 1 where neither is.
    pub blocks: usize,
    /// The slices, in the order of the data.
    pub slices: Vec<Slice>,
}

impl Group {
    /// Whether a group norm sees these channels. Where none does, the pruned network computes exactly what the
    /// unpruned one does with the weights and biases of the removed outputs at zero; a norm's statistics, however,
    /// change with the channels that it sees.
    pub fn is_normalised(&self) -> bool {
        self.slices.iter().any(|slice| slice.side == Side::Norm)
    }
}

/// The groups of a UNet.
///
/// Coupled are: the summands of each residual connection, so that a level's residual stream is one group from the
/// convolution that opens it to every reader, skip connections included; the first convolution of a residual block
/// with the projection of the time embedding that is added to it; an attention block's queries, keys and values with
/// the inputs of its output projection; the two layers of the time embedding, and that embedding with all its
/// projections. The network's own inputs and outputs are in no group.
///
/// ```
/// use diffusion_core::UNet2DConfig;
/// use sparsify::{DependencyGraph, Side};
///
/// let graph = DependencyGraph::of(&UNet2DConfig::small(16, &[16, 32]))?;
/// let stem = graph.group("conv_in").unwrap();
/// assert_eq!((stem.channels, stem.blocks), (16, 4));
/// // The stem is read again behind the 32 channels that come from below.
/// let skip = stem.slices.iter().find(|s| s.layer == "up_blocks.1.resnets.0.conv1").unwrap();
/// assert_eq!((skip.side, skip.offset), (Side::Input, 32));
/// # Ok::<(), sparsify::SparsifyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DependencyGraph {
    layout: Layout,
    groups: Vec<Group>,
}

impl DependencyGraph {
    /// The groups of this architecture, pruned already or not.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if the configuration is not valid.
    pub fn of(config: &UNet2DConfig) -> Result<Self, SparsifyError> {
        let layout = Layout::of(config)?;
        let groups = walk::groups(config, &layout)?;
        Ok(Self { layout, groups })
    }

    /// The groups, in the order of the data.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The layers of the network.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The convolutions and linear layers: position in the layout by name.
    pub(crate) fn weighted_layers(&self) -> BTreeMap<&str, usize> {
        let layers = self.layout.layers().iter().enumerate();
        layers
            .filter(|(_, layer)| !matches!(layer.kind, LayerKind::GroupNorm { .. }))
            .map(|(i, layer)| (layer.name.as_str(), i))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn configs() -> Vec<UNet2DConfig> {
        let small = UNet2DConfig::small(16, &[16, 32, 32]);
        vec![
            UNet2DConfig::cifar(),
            UNet2DConfig::celeba_latent(),
            UNet2DConfig::mnist(),
            UNet2DConfig { add_attention: false, layers_per_block: 3, ..small.clone() },
            UNet2DConfig { attention_head_dim: Some(4), ..small.clone().with_attention_at(&[0, 2]) },
            UNet2DConfig { attn_norm_num_groups: Some(16), ..small },
            UNet2DConfig::small(8, &[8]),
        ]
    }

    /// Every channel of every layer side is in exactly one slice, save the network's inputs and outputs.
    #[test]
    fn slices_tile_every_layer() {
        for config in configs() {
            let graph = DependencyGraph::of(&config).unwrap();
            let mut covered: BTreeMap<(&str, Side), Vec<(usize, usize)>> = BTreeMap::new();
            for group in graph.groups() {
                for slice in &group.slices {
                    covered
                        .entry((&slice.layer, slice.side))
                        .or_default()
                        .push((slice.offset, group.channels));
                }
            }
            for layer in graph.layout().layers() {
                let sides: &[(Side, usize)] = match layer.kind {
                    LayerKind::GroupNorm { .. } => &[(Side::Norm, layer.outputs)],
                    _ => &[(Side::Input, layer.inputs), (Side::Output, layer.outputs)],
                };
                for &(side, width) in sides {
                    let fixed = match side {
                        Side::Input => ["conv_in", "time_embedding.linear_1"].contains(&layer.name.as_str()),
                        Side::Output => layer.name == "conv_out",
                        Side::Norm => false,
                    };
                    let mut pieces = covered.remove(&(&layer.name, side)).unwrap_or_default();
                    pieces.sort_unstable();
                    let end = pieces.iter().fold(0, |end, &(offset, channels)| {
                        assert_eq!(offset, end, "{} {side:?}", layer.name);
                        end + channels
                    });
                    assert_eq!(end, if fixed { 0 } else { width }, "{} {side:?}", layer.name);
                }
            }
            assert!(covered.is_empty());
        }
    }

    #[test]
    fn names_are_unique_and_blocks_divide() {
        for config in configs() {
            let graph = DependencyGraph::of(&config).unwrap();
            let names: BTreeSet<&str> = graph.groups().iter().map(|group| group.name.as_str()).collect();
            assert_eq!(names.len(), graph.groups().len());
            for group in graph.groups() {
                assert!(group.channels.is_multiple_of(group.blocks), "{}", group.name);
                assert_eq!(graph.group(&group.name), Some(group));
            }
        }
    }

    #[test]
    fn blocks_are_norm_groups_heads_or_one() {
        let config = UNet2DConfig { attention_head_dim: Some(8), ..UNet2DConfig::small(16, &[16, 32]) };
        let graph = DependencyGraph::of(&config).unwrap();
        let blocks = |name: &str| graph.group(name).unwrap().blocks;
        assert_eq!(blocks("conv_in"), 4);
        assert_eq!(blocks("mid_block.resnets.0.conv1"), 4);
        assert_eq!(blocks("mid_block.attentions.0.to_q"), 4);
        assert_eq!(blocks("time_embedding.linear_1"), 1);
        // The last stream before an upsampling convolution meets no norm.
        let stream = graph.group("up_blocks.0.resnets.1.conv2").unwrap();
        assert_eq!((stream.blocks, stream.is_normalised()), (1, false));
        let config = UNet2DConfig { attn_norm_num_groups: Some(6), ..UNet2DConfig::small(16, &[16, 24]) };
        let graph = DependencyGraph::of(&config).unwrap();
        assert_eq!(graph.group("down_blocks.1.resnets.0.conv2").unwrap().blocks, 12);
    }

    #[test]
    fn the_time_embedding_reaches_every_residual_block() {
        let graph = DependencyGraph::of(&UNet2DConfig::small(16, &[16, 32])).unwrap();
        let readers = &graph.group("time_embedding.linear_2").unwrap().slices;
        assert_eq!(readers.iter().filter(|s| s.layer.ends_with("time_emb_proj")).count(), 8);
        assert_eq!(readers[1].parameters(), [("down_blocks.0.resnets.0.time_emb_proj.weight".to_owned(), 1)]);
        assert_eq!(readers[0].parameters().len(), 2);
    }

    #[test]
    fn pruned_widths_are_followed() {
        let widths = [
            ("conv_in", 12),
            ("down_blocks.0.resnets.0.conv2", 12),
            ("up_blocks.0.upsamplers.0.conv", 20),
            ("mid_block.attentions.0.to_q", 30),
            ("mid_block.attentions.0.to_k", 30),
        ];
        let pruned_channels = widths.map(|(name, width)| (name.to_owned(), width)).into_iter().collect();
        let config = UNet2DConfig { pruned_channels, ..UNet2DConfig::small(16, &[16, 32]) };
        let graph = DependencyGraph::of(&config).unwrap();
        let stem = graph.group("conv_in").unwrap();
        assert_eq!(stem.channels, 12);
        let skip = stem.slices.iter().find(|slice| slice.layer == "up_blocks.1.resnets.0.norm1").unwrap();
        assert_eq!((skip.side, skip.offset), (Side::Norm, 20));
        // Values may have another width than queries and keys: then they are a group of their own.
        assert_eq!(graph.group("mid_block.attentions.0.to_q").unwrap().channels, 30);
        assert_eq!(graph.group("mid_block.attentions.0.to_v").unwrap().channels, 32);
    }
}
