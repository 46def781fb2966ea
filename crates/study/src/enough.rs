//! Draws until the scores are sure enough: `coalitions.until`.

use std::fs;

use attribution_lds::{Stopping, StoppingRule};
use serde::{Deserialize, Serialize};

use crate::begun::write_json;
use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::parts::PartDriver;
use crate::plan::CoalitionPlan;
use crate::progress::Progress;
use crate::records::Records;
use crate::runs::Run;
use crate::scores::Utilities;

/// Where the draws of a study ended: `stopped.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// Draws made.
    pub draws: usize,
    /// Draws that the study file allows.
    pub allowed: usize,
    /// The rule.
    pub rule: StoppingRule,
    /// How it stood after these draws.
    pub stopping: Stopping,
}

/// Where the draws of the study in a folder ended; `None` if it makes all of them, or has not come to that.
///
/// # Errors
/// A file that cannot be read or holds something else.
pub fn stopped_draws(dir: &StudyDir) -> Result<Option<usize>, StudyError> {
    let path = dir.stopped();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StudyError::io("read", &path)(error)),
    };
    let stopped: Stopped = serde_json::from_slice(&bytes).map_err(|error| StudyError::NotAStudy {
        path: dir.root().to_owned(),
        reason: format!("stopped.json: {error}"),
    })?;
    Ok(Some(stopped.draws))
}

/// Numbers of draws at which the rule is asked: twice the contributors first, each half as large again as the one before,
/// whole units of what the distribution draws together, and `count` last.
fn looks(contributors: usize, unit: usize, count: usize) -> Vec<usize> {
    let mut looks = Vec::new();
    let mut draws = 2 * contributors.max(1);
    while draws < count {
        looks.push(draws.next_multiple_of(unit.max(1)));
        draws += draws.div_ceil(2);
    }
    looks.retain(|&draws| draws < count);
    looks.push(count);
    looks.dedup();
    looks
}

/// Makes the runs behind the scores, all or until the study's rule holds for the primary behaviour, and gives the plan that was
/// made. The same records stop at the same draw, so an interrupted study continues to where it would have ended.
///
/// # Errors
/// Those of the runs and of the estimator.
pub(crate) fn draw_enough(
    driver: &mut PartDriver<'_>,
    context: &Context,
    dir: &StudyDir,
    records: &Records,
    plan: &CoalitionPlan,
    parent: &str,
    progress: &dyn Progress,
) -> Result<(CoalitionPlan, Option<Stopped>), StudyError> {
    let n = context.contributors();
    let config = &context.config.coalitions;
    let (Some(rule), Some(primary)) = (config.until, context.config.behaviors.first()) else {
        if dir.stopped().is_file() {
            fs::remove_file(dir.stopped()).map_err(StudyError::io("remove", &dir.stopped()))?;
        }
        driver.run("coalitions", &plan.score_runs(n, parent))?;
        return Ok((plan.clone(), None));
    };
    let mut last = None;
    for draws in looks(n, config.distribution.unit_size(n), config.count) {
        let part = plan.first(draws);
        if part.training.is_empty() {
            continue;
        }
        driver.run("coalitions", &part.score_runs(n, parent))?;
        let stopping = {
            let utilities = Utilities::new(context, records, &part, parent);
            let make = |coalition: &_| Run::unlearned(Clone::clone(coalition), parent);
            let observations = utilities.observed(&primary.key(), make)?;
            rule.check(&observations, config.distribution, |some| utilities.fit(some))
        };
        let stopping = match stopping {
            Ok(stopping) => stopping,
            // Too few draws for the estimator: more may be enough.
            Err(_) if draws < config.count => continue,
            Err(error) => return Err(error.into()),
        };
        let stopped = Stopped { draws, allowed: config.count, rule, stopping };
        write_json(&dir.stopped(), &stopped)?;
        let reached = stopping.reached;
        last = Some((part, Some(stopped)));
        if reached {
            progress.note(&format!("{draws} of {} draws are enough", config.count));
            break;
        }
    }
    Ok(last.unwrap_or_else(|| (plan.clone(), None)))
}

impl Stopped {
    /// For a reader of the report.
    pub(crate) fn in_words(&self) -> String {
        let measured = self.stopping.measured.map_or_else(|| "undefined".to_owned(), |m| format!("{m:.4}"));
        let goal = match self.rule {
            StoppingRule::HalfWidth { most } => {
                format!("every interval at most {most} to either side; the widest is {measured}")
            }
            StoppingRule::RankStability { least, .. } => {
                format!("ranks from halves that agree by {least}; they agree by {measured}")
            }
            StoppingRule::KendallTau { least, .. } => {
                format!("Kendall's tau of {least} under resampling; it is {measured}")
            }
            StoppingRule::TopAgreement { top, least, .. } => {
                format!("{least} of the first {top} staying under resampling; {measured} stay")
            }
        };
        let end = if self.stopping.reached { "were enough" } else { "were not enough" };
        format!("{} of {} draws {end}. Asked for: {goal}.", self.draws, self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_widely_spaced_whole_units_and_end_with_all() {
        assert_eq!(looks(4, 1, 40), [8, 12, 18, 27, 40]);
        assert_eq!(looks(4, 2, 40), [8, 12, 18, 28, 40]);
        assert_eq!(looks(4, 3, 40), [9, 12, 18, 27, 40]);
        assert_eq!(looks(4, 1, 6), [6]);
        assert_eq!(looks(4, 1, 8), [8]);
    }
}
