//! What did it cost?

use crate::format::{counted, duration, times};
use crate::{Costs, Number, StagePurpose};

pub(super) fn sentence(costs: &Costs) -> String {
    let Some(spent) = seconds_for(costs, &[StagePurpose::Preparation, StagePurpose::Scores]) else {
        return "The time of the scores was not measured.".to_owned();
    };
    let replaced: Vec<_> = costs.stages.iter().filter(|stage| stage.replaces_retraining).collect();
    let runs: u64 = replaced.iter().map(|stage| stage.runs).sum();
    let own: Option<f64> = replaced.iter().map(|stage| stage.seconds.get()).sum();
    let preparation = seconds_for(costs, &[StagePurpose::Preparation]).unwrap_or(0.0);
    let (Some(retraining), Some(own), true) = (costs.retraining_seconds.get(), own, runs > 0) else {
        return format!("The scores took {} of computing.", duration(Number::from(spent)));
    };
    let instead = spent - preparation - own + retraining * runs as f64;
    let comparison = match instead / spent {
        ratio if ratio >= 1.0 => format!("{} as long", times(ratio)),
        _ => "less".to_owned(),
    };
    format!(
        "The scores took {} of computing for {}; retraining each from scratch would have taken {}, {comparison}.",
        duration(Number::from(spent)),
        counted(runs, "coalition"),
        duration(Number::from(instead)),
    )
}

/// The seconds of all stages of these purposes; nothing if none exists or one of them was not measured.
pub(crate) fn seconds_for(costs: &Costs, purposes: &[StagePurpose]) -> Option<f64> {
    let mut stages = costs.stages.iter().filter(|stage| purposes.contains(&stage.purpose)).peekable();
    stages.peek()?;
    stages.map(|stage| stage.seconds.get()).sum()
}
