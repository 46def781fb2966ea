//! Evidence: predictions against retrained models, and counterfactual removals.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Estimate, Interval, Number};

/// How well scores predict models that were really retrained on coalitions.
///
/// The linear datamodel score (LDS) is Spearman's rank correlation between predicted and true utilities of test
/// coalitions. In these data it lies in -1..=1; the page shows it times 100, as the field does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LdsReport {
    /// What the truth is, in one sentence of plain text ("retrained from scratch on half of the contributors").
    pub truth: String,
    /// Number of test coalitions.
    pub test_coalitions: u64,
    /// Number of retrainings, with other seeds, of each test coalition.
    pub retraining_seeds: u64,
    /// The method whose scores the report shows.
    pub ours: MethodLds,
    /// What it must beat: images per contributor, feature similarity, retraining at equal compute.
    pub baselines: Vec<MethodLds>,
    /// The noise ceiling: Spearman's correlation between independently seeded retrainings of the same coalitions.
    pub ceiling: Estimate,
    /// One point for each test coalition.
    pub points: Vec<ScatterPoint>,
}

/// One method's LDS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MethodLds {
    /// Its name in plain language, for example "Images per contributor".
    pub name: String,
    /// How it makes its scores, in one sentence.
    pub explanation: String,
    /// Its LDS, in -1..=1.
    pub lds: Estimate,
    /// Our LDS minus this method's, with a paired interval over the same test coalitions; `not_measured` for ours, or
    /// if it was not computed. The verdict rests on it where it exists.
    pub difference: Estimate,
    /// How many coalitions were trained for these scores, if any were.
    pub coalitions: Option<u64>,
    /// The compute it used, in seconds.
    pub seconds: Number,
}

/// A test coalition: what the scores predict and what retraining gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScatterPoint {
    /// The predicted utility, in the behaviour's unit (if the scores have no intercept, up to a constant).
    pub predicted: Number,
    /// The utility of the retrained model, averaged over seeds.
    pub actual: Number,
    /// How many contributors the coalition has.
    pub coalition_size: usize,
    /// What to call it in a tooltip, for example its mask or its members.
    pub label: String,
}

/// What happened to the behaviour when contributors were removed and the model was retrained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counterfactual {
    /// The fraction of contributors that was removed, in (0, 1).
    pub fraction: f64,
    /// Which of them.
    pub order: RemovalOrder,
    /// The contributors who were removed.
    pub removed: Vec<usize>,
    /// The behaviour of the model retrained without them.
    pub value: Number,
    /// The behaviour of the model retrained with everybody, which it is compared with.
    pub reference: Number,
    /// `(value - reference) / |reference|`.
    pub relative_change: Number,
    /// The interval of the relative change over retraining seeds, if there were several.
    pub interval: Option<Interval>,
    /// Number of retrainings behind `value`.
    pub retraining_seeds: u64,
}

/// Who is removed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovalOrder {
    /// From rank 1 downwards.
    Top,
    /// From the last rank upwards.
    Bottom,
    /// By chance.
    Random,
}
