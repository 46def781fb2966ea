//! The contributors, and the models that were trained on their images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Number, Picture};

/// Who supplied a group of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contributor {
    /// The name that is credited.
    pub name: String,
    /// How many training images they contributed.
    pub images: u64,
    /// A few of their works, one picture each (4 to 8 look well).
    pub works: Vec<Picture>,
}

/// The models of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// The model trained on everybody's images: the one whose behaviour is attributed.
    pub full: Model,
    /// The pruned model that coalitions are fine-tuned from, if the study prunes.
    pub pruned: Option<PrunedModel>,
    /// A few coalitions' models, chosen to show what absence does.
    pub coalitions: Vec<CoalitionModel>,
}

/// One trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Number of parameters.
    pub parameters: u64,
    /// Multiply-accumulates of one forward pass for one image.
    pub macs: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// The training loss at the end (mean squared error of the predicted noise).
    pub final_loss: Number,
    /// Training time in seconds.
    pub seconds: Number,
    /// A grid of its samples.
    pub samples: Option<Picture>,
}

/// The pruned and fine-tuned model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrunedModel {
    /// The fraction of channels that was removed from each group, in (0, 1).
    pub ratio: f64,
    /// The model after pruning and fine-tuning; its size is compared with [`Models::full`].
    pub model: Model,
}

/// A model of one coalition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoalitionModel {
    /// How it was made, for example "sparsified fine-tuning" or "retrained from scratch".
    pub method: String,
    /// The contributors whose images it was trained on; everybody else is absent.
    pub members: Vec<usize>,
    /// A grid of its samples, from the same noise as the full model's grid.
    pub samples: Picture,
}

/// Who helps whom: the score of each contributor for the loss on each contributor's held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelpMatrix {
    /// `scores[i][j]`: how much contributor `i`'s presence changes the loss on the held-out images of contributor `j`.
    /// A negative number lowers the loss: `i` helps `j`. Square, in the order of the contributors.
    pub scores: Vec<Vec<Number>>,
    /// What the numbers are, in one sentence of plain text (estimator, number of coalitions, unit).
    pub explanation: String,
}
