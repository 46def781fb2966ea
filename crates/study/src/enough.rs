//! Draws until the scores are sure enough: `coalitions.until`.

use std::fs;
use std::sync::{Mutex, PoisonError};

use attribution_lds::{Stopping, StoppingRule};
use behavior::Behavior;
use ledger::RunId;
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

/// Where the draws of a study ended: `stopped.json`, which is there once that is known.
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
    Ok(stopped(dir)?.map(|stopped| stopped.draws))
}

fn stopped(dir: &StudyDir) -> Result<Option<Stopped>, StudyError> {
    let path = dir.stopped();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StudyError::io("read", &path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| StudyError::NotAStudy {
        path: dir.root().to_owned(),
        reason: format!("stopped.json: {error}"),
    })
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

/// The rule of a study that draws until its scores are sure enough.
struct Rule<'a> {
    context: &'a Context,
    plan: &'a CoalitionPlan,
    parent: &'a str,
    rule: StoppingRule,
    primary: &'a Behavior,
}

impl<'a> Rule<'a> {
    /// `None` for a study that makes all its draws.
    fn of(context: &'a Context, plan: &'a CoalitionPlan, parent: &'a str) -> Option<Self> {
        let rule = context.config.coalitions.until?;
        let primary = context.config.behaviors.first()?;
        Some(Self { context, plan, parent, rule, primary })
    }

    /// The numbers of draws at which it is asked: those with a run of their own to score.
    fn looks(&self) -> Vec<usize> {
        let config = &self.context.config.coalitions;
        let n = self.context.contributors();
        let mut looks = looks(n, config.distribution.unit_size(n), config.count);
        looks.retain(|&draws| !self.plan.first(draws).training.is_empty());
        looks
    }

    /// How it stands after the first `draws` draws, all of whose runs have records: the same on every machine. `None` where they
    /// are too few for the estimator, and more may be enough.
    fn check(&self, records: &Records, draws: usize) -> Result<Option<Stopped>, StudyError> {
        let config = &self.context.config.coalitions;
        let part = self.plan.first(draws);
        let utilities = Utilities::new(self.context, records, &part, self.parent);
        let make = |coalition: &_| Run::unlearned(Clone::clone(coalition), self.parent);
        let observations = utilities.observed(&self.primary.key(), make)?;
        let rule = self.rule;
        match rule.check(&observations, config.distribution, |some| utilities.fit(some)) {
            Ok(stopping) => Ok(Some(Stopped { draws, allowed: config.count, rule, stopping })),
            Err(_) if draws < config.count => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes the runs behind the scores, all or until the study's rule holds for the primary behaviour, and gives the plan that was
/// made. The same records stop at the same draw, so an interrupted study continues to where it would have ended, and so does one
/// whose records were made anywhere.
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
    let Some(rule) = Rule::of(context, plan, parent) else {
        forget_end(dir)?;
        driver.run("coalitions", &plan.score_runs(n, parent))?;
        return Ok((plan.clone(), None));
    };
    let asked = (rule.rule, context.config.coalitions.count);
    if stopped(dir)?.is_some_and(|found| (found.rule, found.allowed) != asked) {
        forget_end(dir)?;
    }
    let mut last = None;
    for draws in rule.looks() {
        let part = plan.first(draws);
        driver.run("coalitions", &part.score_runs(n, parent))?;
        let Some(stopped) = rule.check(records, draws)? else { continue };
        let reached = stopped.stopping.reached;
        last = Some((part, Some(stopped)));
        if reached {
            progress.note(&enough(draws, context));
            break;
        }
    }
    if let Some((_, Some(stopped))) = &last {
        write_json(&dir.stopped(), stopped)?;
    }
    Ok(last.unwrap_or_else(|| (plan.clone(), None)))
}

fn enough(draws: usize, context: &Context) -> String {
    format!("{draws} of {} draws are enough", context.config.coalitions.count)
}

/// Forgets where the draws ended, for a study that makes all of them or is planned anew.
///
/// # Errors
/// A file that cannot be removed.
pub(crate) fn forget_end(dir: &StudyDir) -> Result<(), StudyError> {
    match fs::remove_file(dir.stopped()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StudyError::io("remove", &dir.stopped())(error))
        }
        _ => Ok(()),
    }
}

/// Asks a study's rule while its coalitions are made on many machines, none of which knows of the others.
///
/// The rule is asked at the same numbers of draws as by [`draw_enough`], once all the records of a look are there, whoever made
/// them. Until then, machines make coalitions of later looks rather than wait; the scores are those of the look that ends the
/// draws, so that such records change nothing.
pub(crate) struct Watch<'a> {
    rule: Rule<'a>,
    records: &'a Records,
    dir: &'a StudyDir,
    /// The runs behind the scores, in the order of their draws.
    ids: Vec<RunId>,
    /// Numbers of draws, each with the number of the runs that it needs.
    looks: Vec<(usize, usize)>,
    place: Mutex<Place>,
}

/// How far a [`Watch`] has seen.
#[derive(Default)]
struct Place {
    /// Runs from the first on that have a record.
    present: usize,
    /// Looks that were not enough.
    passed: usize,
    /// Whether the rule holds.
    met: bool,
}

impl<'a> Watch<'a> {
    /// `None` for a study that makes all its draws.
    ///
    /// # Errors
    /// Settings that cannot be written as JSON.
    pub fn new(
        context: &'a Context,
        dir: &'a StudyDir,
        records: &'a Records,
        plan: &'a CoalitionPlan,
        parent: &'a str,
    ) -> Result<Option<Self>, StudyError> {
        let Some(rule) = Rule::of(context, plan, parent) else { return Ok(None) };
        let (n, settings) = (context.contributors(), context.run_settings());
        // Those of fewer draws are the first of those of more.
        let runs = plan.score_runs(n, parent);
        let ids = runs.iter().map(|run| run.id(&settings)).collect::<Result<_, _>>()?;
        let looks = rule.looks().into_iter();
        let looks = looks.map(|draws| (draws, plan.first(draws).score_runs(n, parent).len())).collect();
        Ok(Some(Self { rule, records, dir, ids, looks, place: Mutex::default() }))
    }

    /// Whether the records that are there end the draws; the first to see it leaves `stopped.json`, which says so to the others and
    /// is the same from all.
    ///
    /// # Errors
    /// Those of the estimator and of files.
    pub fn is_met(&self, progress: &dyn Progress) -> Result<bool, StudyError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        while let (false, Some(&(draws, needed))) = (place.met, self.looks.get(place.passed)) {
            while place.present < needed && self.records.has(self.ids[place.present]) {
                place.present += 1;
            }
            if place.present < needed {
                break;
            }
            place.passed += 1;
            let Some(stopped) = self.rule.check(self.records, draws)? else { continue };
            place.met = stopped.stopping.reached;
            if place.met || place.passed == self.looks.len() {
                write_json(&self.dir.stopped(), &stopped)?;
            }
            if place.met {
                progress.note(&enough(draws, self.rule.context));
            }
        }
        Ok(place.met)
    }
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
