//! How much each channel of a group matters.

mod channel_sums;
mod magnitude;
mod random;
mod taylor;

use std::fmt;
use std::str::FromStr;

use diffusion_core::StateDict;
use serde::{Deserialize, Serialize};
use streams::Streams;

use crate::{DependencyGraph, SparsifyError};

/// What ranks the channels of a group; those of least importance go first.
///
/// In the formulas, the group has `K` slices `k` in convolutions and linear layers; `W_k[c]` are the weights of channel `c`
/// there (all that make the output `c`, or all that read the input `c`) and `G_k[c]` the gradients of the diffusion loss
/// with respect to them, added up over timesteps ([`accumulate_gradients`](crate::accumulate_gradients)). Every score is
/// divided by its mean over the group's channels. Biases and the weights of norms do not count. A layer that reads the
/// group's channels twice counts once in `K` with both parts in the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Importance {
    /// The size of the weights: `s(c) = 1/K sum_k sum W_k[c]^2`.
    ///
    /// This is `MagnitudeImportance(p=2, group_reduction="mean", normalizer="mean")` of Torch-Pruning, where the name "L2
    /// norm" stands for its square.
    #[default]
    Magnitude,
    /// The change of the loss, to first order, if the channel's weights are removed: `s(c) = 1/K sum_k |sum W_k[c] G_k[c]|`
    /// (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", <https://arxiv.org/abs/1906.10771>: the
    /// first-order criterion for sets of weights, with the absolute value in place of the square).
    ///
    /// This is `TaylorImportance(multivariable=True)` of Torch-Pruning.
    Taylor,
    /// As [`Importance::Taylor`] with each weight's term on its own, `s(c) = 1/K sum_k sum |W_k[c] G_k[c]|`, and with
    /// gradients that are added up only until the loss of a timestep falls under a share of the largest loss so far
    /// (Fang et al. 2023, "Structural Pruning for Diffusion Models", <https://arxiv.org/abs/2305.10924>).
    ///
    /// This is `TaylorImportance(multivariable=False)` of Torch-Pruning.
    #[serde(rename = "diff-pruning", alias = "diff_pruning")]
    DiffPruning,
    /// Ranks by lot: what any other importance has to beat.
    Random,
    /// As [`Importance::Random`], and the weights of what is left are drawn afresh: a small network that has learned
    /// nothing, to tell what pruning keeps from what its size alone gives.
    Reinit,
}

/// What channels are ranked by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The network's parameters.
    pub weights: &'a StateDict,
    /// The gradients of a loss with respect to them, by the same names, for the importances that need them.
    pub gradients: Option<&'a StateDict>,
    /// Where random ranks come from.
    pub streams: Streams,
}

impl<'a> Evidence<'a> {
    /// Weights with gradients.
    #[must_use]
    pub fn with_gradients(self, gradients: &'a StateDict) -> Self {
        Self { gradients: Some(gradients), ..self }
    }
}

impl<'a> From<&'a StateDict> for Evidence<'a> {
    /// Weights alone; random ranks are those of seed 0.
    fn from(weights: &'a StateDict) -> Self {
        Self { weights, gradients: None, streams: Streams::new(0) }
    }
}

impl Importance {
    /// All of them.
    pub const ALL: [Importance; 5] = [
        Importance::Magnitude,
        Importance::Taylor,
        Importance::DiffPruning,
        Importance::Random,
        Importance::Reinit,
    ];

    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        match self {
            Importance::Magnitude => "magnitude",
            Importance::Taylor => "taylor",
            Importance::DiffPruning => "diff-pruning",
            Importance::Random => "random",
            Importance::Reinit => "reinit",
        }
    }

    /// Whether channels are ranked by gradients, and so by images.
    pub fn needs_gradients(self) -> bool {
        matches!(self, Importance::Taylor | Importance::DiffPruning)
    }

    /// Whether the gradients are added up only until the loss falls under a share of the largest one.
    pub fn stops_at_threshold(self) -> bool {
        self == Importance::DiffPruning
    }

    /// The importance of every channel: one list for each of [`DependencyGraph::groups`], in their order.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if weights or gradients are not those of the graph's network,
    /// [`SparsifyError::NoGradients`] if they are needed and not given, [`SparsifyError::NonFinite`] if a weight or
    /// gradient is NaN, infinite, or so large that its square or product is.
    pub fn scores<'a>(
        self,
        graph: &DependencyGraph,
        evidence: impl Into<Evidence<'a>>,
    ) -> Result<Vec<Vec<f64>>, SparsifyError> {
        let Evidence { weights, gradients, streams } = evidence.into();
        let shapes = graph.layout().parameter_shapes();
        weights.check_shapes(&shapes)?;
        let terms = match self {
            Importance::Magnitude => return magnitude::scores(graph, weights),
            Importance::Random | Importance::Reinit => return Ok(random::scores(graph, &streams)),
            Importance::Taylor => taylor::Terms::OfChannels,
            Importance::DiffPruning => taylor::Terms::OfWeights,
        };
        let gradients = gradients.ok_or(SparsifyError::NoGradients { importance: self })?;
        gradients.check_shapes(&shapes)?;
        taylor::scores(graph, weights, gradients, terms)
    }
}

impl fmt::Display for Importance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Importance {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        let name = text.replace('_', "-");
        Self::ALL.into_iter().find(|importance| importance.name() == name).ok_or_else(|| {
            SparsifyError::UnknownImportance {
                given: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use diffusion_core::UNet2DConfig;

    use super::*;

    #[test]
    fn names_round_trip() {
        for importance in Importance::ALL {
            assert_eq!(importance.to_string().parse::<Importance>().unwrap(), importance);
            assert_eq!(serde_json::to_value(importance).unwrap(), importance.name());
        }
        assert_eq!("diff_pruning".parse::<Importance>().unwrap(), Importance::DiffPruning);
        let read: Importance = serde_json::from_str("\"diff_pruning\"").unwrap();
        assert_eq!(read, Importance::DiffPruning);
        let error = "magnitud".parse::<Importance>().unwrap_err().to_string();
        assert!(error.contains("`magnitud`") && error.contains("magnitude"), "{error}");
    }

    #[test]
    fn gradients_that_are_needed_must_be_there_and_fit() {
        let config = UNet2DConfig::small(16, &[16, 32]);
        let graph = DependencyGraph::of(&config).unwrap();
        let weights = diffusion_core::unet::initial_weights(&config, &Streams::new(0)).unwrap();
        for importance in [Importance::Taylor, Importance::DiffPruning] {
            let error = importance.scores(&graph, &weights).unwrap_err().to_string();
            assert!(error.contains(importance.name()) && error.contains("gradients"), "{error}");
            let mut fewer = weights.clone();
            fewer.remove("conv_in.weight");
            let evidence = Evidence::from(&weights).with_gradients(&fewer);
            let error = importance.scores(&graph, evidence).unwrap_err().to_string();
            assert!(error.contains("conv_in.weight"), "{error}");
        }
    }
}
