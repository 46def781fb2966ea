//! The report in a few lines, for a terminal.

use attribution_lds::Estimator;
use report::{ReportData, Verdict};

/// What came out, primary behaviour first and only.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The primary behaviour in plain language.
    pub behavior: String,
    /// Each contributor's share, best first.
    pub shares: Vec<Share>,
    /// Why a contributor may have no interval.
    pub no_interval: &'static str,
    /// Sentences: how sure, how far to trust, what removal does, what it cost.
    pub verdicts: Vec<String>,
}

/// One contributor's share.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Who.
    pub name: String,
    /// The score.
    pub value: f64,
    /// Its confidence interval, if it is bounded.
    pub interval: Option<(f64, f64)>,
}

impl Summary {
    /// The summary of a report of scores by `estimator`.
    pub(crate) fn of(data: &ReportData, estimator: Estimator) -> Self {
        let no_interval = match estimator {
            Estimator::LeaveOneOut | Estimator::AddOneIn => "one model each",
            _ => "too few coalitions",
        };
        let Some(primary) = data.behaviors.iter().find(|behavior| behavior.primary) else {
            return Self { behavior: String::new(), shares: Vec::new(), no_interval, verdicts: Vec::new() };
        };
        let mut scores: Vec<_> = primary.scores.iter().collect();
        scores.sort_by_key(|score| score.rank);
        let shares = scores
            .into_iter()
            .map(|score| Share {
                name: data.contributors[score.contributor].name.clone(),
                value: score.value.get().unwrap_or(f64::NAN),
                interval: score.interval.map(|interval| (interval.low, interval.high)),
            })
            .collect();
        let verdict = Verdict::of(data, primary);
        let verdicts = vec![verdict.certainty, verdict.trust, verdict.removal, verdict.cost];
        Self { behavior: primary.name.clone(), shares, no_interval, verdicts }
    }
}
