//! What the blocks of a network are built from.

use burn::tensor::Device;

use super::config::UNet2DConfig;
use super::layout::{AttentionWidths, LayerKind, Layout};
use crate::nn::{Conv2d, GroupNorm, Linear};
use crate::{DiffusionError, StateDict};

/// A configuration, its layout, and weights that fit it.
pub(crate) struct Parts<'a, C = UNet2DConfig> {
    pub(crate) config: &'a C,
    norm_eps: f64,
    layout: &'a Layout,
    weights: &'a StateDict,
    device: &'a Device,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// If the weights are not exactly those of the layout.
    pub(super) fn new(
        config: &'a UNet2DConfig,
        layout: &'a Layout,
        weights: &'a StateDict,
        device: &'a Device,
    ) -> Result<Self, DiffusionError> {
        weights.check_shapes(&layout.parameter_shapes())?;
        Ok(Self::of_network(config, config.norm_eps, layout, weights, device))
    }
}

impl<'a, C> Parts<'a, C> {
    /// Parts of a network of any configuration; layers that the weights lack are errors when they are asked for.
    pub(crate) fn of_network(
        config: &'a C,
        norm_eps: f64,
        layout: &'a Layout,
        weights: &'a StateDict,
        device: &'a Device,
    ) -> Self {
        Self { config, norm_eps, layout, weights, device }
    }

    /// Whether the network has a layer of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.layout.layer(name).is_some()
    }

    pub(crate) fn conv(&self, name: &str) -> Result<Conv2d, DiffusionError> {
        match self.layout.layer(name).map(|layer| layer.kind) {
            Some(LayerKind::Conv { stride, padding, .. }) => {
                Conv2d::load(self.weights, name, stride, padding, self.device)
            }
            _ => absent(name),
        }
    }

    pub(crate) fn linear(&self, name: &str) -> Result<Linear, DiffusionError> {
        match self.layout.layer(name).map(|layer| layer.kind) {
            Some(LayerKind::Linear) => Linear::load(self.weights, name, self.device),
            _ => absent(name),
        }
    }

    pub(crate) fn norm(&self, name: &str) -> Result<GroupNorm, DiffusionError> {
        match self.layout.layer(name).map(|layer| layer.kind) {
            Some(LayerKind::GroupNorm { groups }) => {
                GroupNorm::load(self.weights, name, groups, self.norm_eps, self.device)
            }
            _ => absent(name),
        }
    }

    /// The widths of an attention block, where the network has one of this name.
    pub(crate) fn attention(&self, name: &str) -> Option<&AttentionWidths> {
        self.layout.attentions().iter().find(|block| block.name == name)
    }
}

fn absent<T>(name: &str) -> Result<T, DiffusionError> {
    Err(DiffusionError::Architecture { layer: name.to_owned(), reason: "is not in the layout".to_owned() })
}
