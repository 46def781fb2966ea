//! A forward pass that carries the origin of channels instead of numbers.

use std::collections::BTreeMap;

use diffusion_core::unet::layout::{Layer, LayerKind, Layout};
use diffusion_core::{DiffusionError, UNet2DConfig};

use super::coupling::{Channels, Coupling};
use super::{Group, Side, Slice};
use crate::SparsifyError;

/// The groups of the network that `layout` lays out for `config`.
pub(super) fn groups(config: &UNet2DConfig, layout: &Layout) -> Result<Vec<Group>, SparsifyError> {
    let mut walk = Walk {
        layout,
        coupling: Coupling::default(),
        widths: Vec::new(),
        slices: Vec::new(),
        blocks: Vec::new(),
    };
    walk.network(config)?;
    walk.finish()
}

struct Walk<'a> {
    layout: &'a Layout,
    coupling: Coupling,
    /// Width of the [`Channels`] in the order of their making.
    widths: Vec<usize>,
    slices: Vec<(Channels, Slice)>,
    /// Demands that channels fall into so many blocks.
    blocks: Vec<(Channels, usize)>,
}

impl Walk<'_> {
    fn network(&mut self, config: &UNet2DConfig) -> Result<(), SparsifyError> {
        let hidden = self.layer("time_embedding.linear_1", &[])?;
        let time = self.layer("time_embedding.linear_2", &[hidden])?;

        let mut x = self.layer("conv_in", &[])?;
        let mut skips = vec![x];
        for level in 0..config.levels() {
            let prefix = format!("down_blocks.{level}");
            for i in 0..config.layers_per_block {
                x = self.resnet(&format!("{prefix}.resnets.{i}"), &[x], time)?;
                self.attention(&format!("{prefix}.attentions.{i}"), x)?;
                skips.push(x);
            }
            let name = format!("{prefix}.downsamplers.0.conv");
            if self.layout.layer(&name).is_some() {
                x = self.layer(&name, &[x])?;
                skips.push(x);
            }
        }

        x = self.resnet("mid_block.resnets.0", &[x], time)?;
        self.attention("mid_block.attentions.0", x)?;
        x = self.resnet("mid_block.resnets.1", &[x], time)?;

        for i in 0..config.levels() {
            let prefix = format!("up_blocks.{i}");
            for j in 0..=config.layers_per_block {
                let name = format!("{prefix}.resnets.{j}");
                let skip =
                    skips.pop().ok_or_else(|| unexpected(&name, "has no skip connection left to read"))?;
                x = self.resnet(&name, &[x, skip], time)?;
                self.attention(&format!("{prefix}.attentions.{j}"), x)?;
            }
            let name = format!("{prefix}.upsamplers.0.conv");
            if self.layout.layer(&name).is_some() {
                x = self.layer(&name, &[x])?;
            }
        }
        self.read("conv_norm_out", Side::Norm, &[x])?;
        self.read("conv_out", Side::Input, &[x])?;
        Ok(())
    }

    fn resnet(&mut self, prefix: &str, x: &[Channels], time: Channels) -> Result<Channels, SparsifyError> {
        self.read(&format!("{prefix}.norm1"), Side::Norm, x)?;
        let hidden = self.layer(&format!("{prefix}.conv1"), x)?;
        let shift = self.layer(&format!("{prefix}.time_emb_proj"), &[time])?;
        self.coupling.join(hidden, shift);
        self.read(&format!("{prefix}.norm2"), Side::Norm, &[hidden])?;
        let y = self.layer(&format!("{prefix}.conv2"), &[hidden])?;
        let shortcut = format!("{prefix}.conv_shortcut");
        let residual = match x {
            _ if self.layout.layer(&shortcut).is_some() => self.layer(&shortcut, x)?,
            [stream] => *stream,
            _ => return Err(unexpected(prefix, "adds its output to a concatenation")),
        };
        self.coupling.join(residual, y);
        Ok(y)
    }

    /// The attention block of this name, if the network has it; its output is added to `x`.
    fn attention(&mut self, prefix: &str, x: Channels) -> Result<(), SparsifyError> {
        let Some(block) = self.layout.attentions().iter().find(|block| block.name == prefix) else {
            return Ok(());
        };
        self.read(&format!("{prefix}.group_norm"), Side::Norm, &[x])?;
        let query = self.layer(&format!("{prefix}.to_q"), &[x])?;
        let key = self.layer(&format!("{prefix}.to_k"), &[x])?;
        let value = self.layer(&format!("{prefix}.to_v"), &[x])?;
        self.coupling.join(query, key);
        // Nothing but custom ties values to queries; they must be equally wide for it.
        if block.query == block.value {
            self.coupling.join(query, value);
        }
        self.blocks.extend([(query, block.heads), (value, block.heads)]);
        let output = self.layer(&format!("{prefix}.to_out.0"), &[value])?;
        self.coupling.join(x, output);
        Ok(())
    }

    /// A convolution or linear layer that reads `inputs` side by side (none: something that is never pruned).
    fn layer(&mut self, name: &str, inputs: &[Channels]) -> Result<Channels, SparsifyError> {
        let outputs = self.read(name, Side::Input, inputs)?.outputs;
        let written = self.coupling.add();
        self.widths.push(outputs);
        self.slices.push((written, Slice { layer: name.to_owned(), side: Side::Output, offset: 0 }));
        Ok(written)
    }

    /// Notes that a layer reads `inputs` side by side.
    fn read(&mut self, name: &str, side: Side, inputs: &[Channels]) -> Result<&Layer, SparsifyError> {
        let layer = self.layout.layer(name).ok_or_else(|| unexpected(name, "is not in the layout"))?;
        let mut offset = 0;
        for &channels in inputs {
            self.slices.push((channels, Slice { layer: name.to_owned(), side, offset }));
            if let LayerKind::GroupNorm { groups } = layer.kind {
                self.blocks.push((channels, groups));
            }
            offset += self.width(channels);
        }
        Ok(layer)
    }

    fn width(&self, channels: Channels) -> usize {
        self.widths[channels.index()]
    }

    fn finish(self) -> Result<Vec<Group>, SparsifyError> {
        let mut groups: BTreeMap<Channels, Group> = BTreeMap::new();
        for (channels, slice) in &self.slices {
            let first = self.coupling.first(*channels);
            groups
                .entry(first)
                .or_insert_with(|| Group {
                    // The slice that makes channels is noted before any that reads them.
                    name: slice.layer.clone(),
                    channels: self.width(first),
                    blocks: 1,
                    slices: Vec::new(),
                })
                .slices
                .push(slice.clone());
        }
        for (channels, blocks) in &self.blocks {
            if let Some(group) = groups.get_mut(&self.coupling.first(*channels)) {
                group.blocks = least_common_multiple(group.blocks, *blocks);
            }
        }
        for Group { name, channels, blocks, .. } in groups.values() {
            if !channels.is_multiple_of(*blocks) {
                // The layout has checked every norm and head by itself, and whatever shares channels with them.
                return Err(unexpected(
                    name,
                    &format!("has {channels} channels, which are not {blocks} equal blocks"),
                ));
            }
        }
        Ok(groups.into_values().collect())
    }
}

/// The layout lists other layers than this walk expects.
fn unexpected(layer: &str, reason: &str) -> SparsifyError {
    DiffusionError::Architecture { layer: layer.to_owned(), reason: reason.to_owned() }.into()
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
