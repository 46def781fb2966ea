//! What a report says, as plain data.
//!
//! [`ReportData`] is filled by whoever ran the study and is all that the page knows: the renderer computes sentences
//! and pictures from it and adds no number of its own. Contributors are named by their index in
//! [`ReportData::contributors`] everywhere else.

mod behavior;
mod check;
mod comparison;
mod costs;
mod header;
mod models;
mod number;
mod picture;
mod provenance;
mod trust;

pub use behavior::{BehaviorReport, ContributorScore, Diagnostic, Direction, assign_ranks};
pub use comparison::{ComparedKind, ComparedMethod, Comparison};
pub use costs::{Costs, StageCost, StagePurpose};
pub use header::{DatasetInfo, Header, Note, NoteLevel};
pub use models::{CoalitionModel, Contributor, HelpMatrix, Model, Models, PrunedModel};
pub use number::{Estimate, Interval, Number};
pub use picture::Picture;
pub use provenance::{Failure, NamedHash, Provenance};
pub use trust::{Counterfactual, LdsReport, MethodLds, RemovalOrder, ScatterPoint};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the layout of `report.json`; raised when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// Everything that one report says.
///
/// Serialised without the bytes of its pictures, it is `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportData {
    /// The layout's version: [`FORMAT`].
    pub format: u32,
    /// Title, origin and warnings.
    pub header: Header,
    /// The people (or groups) whose images trained the model. Every `contributor` index elsewhere points here.
    pub contributors: Vec<Contributor>,
    /// One entry for each model behaviour that was attributed; exactly one is `primary`.
    pub behaviors: Vec<BehaviorReport>,
    /// The models, with what they draw.
    pub models: Models,
    /// Who helps whom: scores on each contributor's held-out images, if they were measured.
    pub help: Option<HelpMatrix>,
    /// Many methods at equal compute, if they were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// What it cost in time.
    pub costs: Costs,
    /// Settings, hashes, seeds and counts.
    pub provenance: Provenance,
}
