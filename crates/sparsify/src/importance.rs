//! How much each channel of a group matters.

mod magnitude;

use std::fmt;
use std::str::FromStr;

use diffusion_core::StateDict;
use serde::{Deserialize, Serialize};

use crate::{DependencyGraph, SparsifyError};

/// What ranks the channels of a group; those of least importance go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Importance {
    /// The size of the weights.
    ///
    /// With `K` slices `k` of the group in convolutions and linear layers, and `W_k[c]` the weights of channel `c` there
    /// (all that make the output `c`, or all that read the input `c`),
    ///
    /// `s(c) = 1/K sum_k sum W_k[c]^2`, divided by the mean of `s` over the group's channels.
    ///
    /// Biases and the weights of norms do not count. A layer that reads the group's channels twice counts once in `K`
    /// with both parts in the sum. This is `MagnitudeImportance(p=2, group_reduction="mean", normalizer="mean")` of
    /// Torch-Pruning, where the name "L2 norm" stands for its square.
    #[default]
    Magnitude,
}

impl Importance {
    /// All of them.
    pub const ALL: [Importance; 1] = [Importance::Magnitude];

    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        match self {
            Importance::Magnitude => "magnitude",
        }
    }

    /// The importance of every channel: one list for each of [`DependencyGraph::groups`], in their order.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if the weights are not those of the graph's network, [`SparsifyError::NonFinite`] if
    /// one of them is NaN, infinite, or so large that its square is.
    pub fn scores(
        self,
        graph: &DependencyGraph,
        weights: &StateDict,
    ) -> Result<Vec<Vec<f64>>, SparsifyError> {
        weights.check_shapes(&graph.layout().parameter_shapes())?;
        match self {
            Importance::Magnitude => magnitude::scores(graph, weights),
        }
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
        Self::ALL.into_iter().find(|importance| importance.name() == text).ok_or_else(|| {
            SparsifyError::UnknownImportance {
                given: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for importance in Importance::ALL {
            assert_eq!(importance.to_string().parse::<Importance>().unwrap(), importance);
            assert_eq!(serde_json::to_value(importance).unwrap(), importance.name());
        }
        let error = "magnitud".parse::<Importance>().unwrap_err().to_string();
        assert!(error.contains("`magnitud`") && error.contains("magnitude"), "{error}");
    }
}
