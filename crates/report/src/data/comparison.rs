//! Many methods on one study, at equal compute.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Estimate, Number};

/// Methods that scored the same contributors, judged by the same retrained models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// How the compute was made equal, in plain text.
    pub explanation: String,
    /// What everybody who trains models may spend, in multiply-accumulates of the networks.
    pub budget_macs: f64,
    /// The noise ceiling by behaviour key.
    pub ceilings: BTreeMap<String, Estimate>,
    /// The methods, in any order.
    pub methods: Vec<ComparedMethod>,
}

/// One way to score contributors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComparedMethod {
    /// Its name, for example "gd + Kernel SHAP".
    pub name: String,
    /// How it makes its scores, in one sentence.
    pub explanation: String,
    /// What its scores come from.
    pub kind: ComparedKind,
    /// Models that were made for its scores, if it makes any.
    pub models: Option<u64>,
    /// Multiply-accumulates that it spent, if they are counted.
    pub macs: Number,
    /// Seconds that it took.
    pub seconds: Number,
    /// The largest resident memory of the process while it ran, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Its LDS by behaviour key, in -1..=1.
    pub lds: BTreeMap<String, Estimate>,
    /// Area between the behaviour without the bottom and without the top contributors, for the primary behaviour, relative
    /// to the full model's; more is better.
    pub counterfactual_area: Number,
}

/// What scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparedKind {
    /// Models of coalitions.
    Coalitions,
    /// Gradients of the full model.
    Gradients,
    /// Alikeness of images.
    Similarity,
    /// Nothing but counts.
    Trivial,
}
