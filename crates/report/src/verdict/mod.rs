//! Plain-language answers, computed from the numbers.
//!
//! Every sentence is plain text; a terminal can print it as well as the page. A sentence about a number that is missing
//! says so.

mod certainty;
mod contribution;
mod cost;
mod origin;
mod removal;
mod trust;

pub use trust::{Standing, standing};

pub(crate) use contribution::{adds_up, best_first};
pub(crate) use trust::standing_in_words;

use crate::{BehaviorReport, ReportData};

/// One answer for each of the report's questions, for one behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Who contributed how much?
    pub contribution: String,
    /// How sure are we?
    pub certainty: String,
    /// Can these scores be trusted?
    pub trust: String,
    /// What happens without the top or the bottom contributors?
    pub removal: String,
    /// What did it cost?
    pub cost: String,
    /// How was it made?
    pub origin: String,
}

impl Verdict {
    /// The answers for one behaviour of a report.
    pub fn of(data: &ReportData, behavior: &BehaviorReport) -> Self {
        Verdict {
            contribution: contribution::sentence(data, behavior),
            certainty: certainty::sentence(data, behavior),
            trust: trust::sentence(behavior),
            removal: removal::sentence(behavior),
            cost: cost::sentence(&data.costs),
            origin: origin::sentence(data),
        }
    }
}

/// The confidence level, as "95 %".
pub(crate) fn level(behavior: &BehaviorReport) -> String {
    let percentage = behavior.confidence * 100.0;
    let decimals = usize::from((percentage - percentage.round()).abs() > 1e-6);
    format!("{percentage:.decimals$}\u{a0}%")
}
