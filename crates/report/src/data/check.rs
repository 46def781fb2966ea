//! Checks that report data do not contradict themselves.

use std::collections::BTreeSet;

use super::behavior::strictly_better;
use super::{BehaviorReport, Estimate, FORMAT, Interval, LdsReport, ReportData};
use crate::ReportError;

type Check = Result<(), ReportError>;

impl ReportData {
    /// Checks indices, ranks, ranges and shapes, so that the page cannot show a contradiction.
    ///
    /// # Errors
    /// [`ReportError::Invalid`] names the first field that is wrong and what would be right.
    pub fn validate(&self) -> Check {
        require(self.format == FORMAT, "format", || {
            format!("is {}, this version writes {FORMAT}", self.format)
        })?;
        require(!self.contributors.is_empty(), "contributors", || {
            "is empty; a report needs at least one".into()
        })?;
        let mut names = BTreeSet::new();
        for (index, contributor) in self.contributors.iter().enumerate() {
            let place = format!("contributors[{index}].name");
            require(!contributor.name.trim().is_empty(), &place, || {
                "is empty; give the name to credit".into()
            })?;
            require(names.insert(&contributor.name), &place, || {
                format!("\"{}\" occurs twice; join the two contributors or tell them apart", contributor.name)
            })?;
        }
        self.check_behaviors()?;
        self.check_models()?;
        if let Some(help) = &self.help {
            let n = self.contributors.len();
            let square = help.scores.len() == n && help.scores.iter().all(|row| row.len() == n);
            require(square, "help.scores", || {
                format!("must be {n} x {n}, one row and column a contributor")
            })?;
        }
        if let Some(comparison) = &self.comparison {
            let estimates =
                comparison.ceilings.iter().chain(comparison.methods.iter().flat_map(|method| &method.lds));
            for (key, estimate) in estimates {
                let place = format!("comparison[\"{key}\"]");
                require(self.behaviors.iter().any(|behavior| behavior.key == *key), &place, || {
                    "names no behaviour of the report".into()
                })?;
                let outside = estimate.value().is_some_and(|value| !(-1.0..=1.0).contains(&value));
                require(!outside, &place, || "must lie in -1..=1, as rank correlations do".into())?;
            }
        }
        Ok(())
    }

    fn check_behaviors(&self) -> Check {
        let primaries = self.behaviors.iter().filter(|b| b.primary).count();
        require(primaries == 1, "behaviors", || {
            format!("{primaries} of {} are primary; mark exactly one", self.behaviors.len())
        })?;
        let mut keys = BTreeSet::new();
        for behavior in &self.behaviors {
            let place = format!("behaviors[\"{}\"]", behavior.key);
            require(keys.insert(&behavior.key), &place, || "occurs twice; keys are unique".into())?;
            let level = behavior.confidence;
            require(level > 0.0 && level < 1.0, &format!("{place}.confidence"), || {
                format!("is {level}, must lie in (0, 1), for example 0.95")
            })?;
            self.check_scores(behavior, &place)?;
            if let Some(lds) = &behavior.lds {
                check_lds(lds, &format!("{place}.lds"))?;
            }
            for (index, removal) in behavior.counterfactuals.iter().enumerate() {
                let place = format!("{place}.counterfactuals[{index}]");
                let fraction = removal.fraction;
                require(fraction > 0.0 && fraction < 1.0, &format!("{place}.fraction"), || {
                    format!("is {fraction}, must lie in (0, 1)")
                })?;
                self.check_indices(&removal.removed, &format!("{place}.removed"))?;
                check_interval(removal.interval, &format!("{place}.interval"))?;
            }
        }
        Ok(())
    }

    fn check_scores(&self, behavior: &BehaviorReport, place: &str) -> Check {
        let indices: Vec<usize> = behavior.scores.iter().map(|s| s.contributor).collect();
        self.check_indices(&indices, &format!("{place}.scores"))?;
        require(indices.len() == self.contributors.len(), &format!("{place}.scores"), || {
            format!(
                "has {} scores for {} contributors; give one each",
                indices.len(),
                self.contributors.len()
            )
        })?;
        let good = |value: Option<f64>| value.map(|v| behavior.direction.goodness(v));
        for (index, score) in behavior.scores.iter().enumerate() {
            let own = good(score.value.get());
            let place = format!("{place}.scores[{index}]");
            let better =
                behavior.scores.iter().filter(|other| strictly_better(good(other.value.get()), own)).count();
            require(score.rank == better + 1, &format!("{place}.rank"), || {
                format!("is {}, but {better} scores are better; `assign_ranks` fills it", score.rank)
            })?;
            check_interval(score.interval, &format!("{place}.interval"))?;
            if let Some([best, worst]) = score.rank_interval {
                require(
                    1 <= best && best <= worst && worst <= indices.len(),
                    &format!("{place}.rank_interval"),
                    || format!("is [{best}, {worst}], must be [best, worst] within 1..={}", indices.len()),
                )?;
            }
        }
        Ok(())
    }

    fn check_models(&self) -> Check {
        if let Some(pruned) = &self.models.pruned {
            require(pruned.ratio > 0.0 && pruned.ratio < 1.0, "models.pruned.ratio", || {
                format!("is {}, must lie in (0, 1)", pruned.ratio)
            })?;
        }
        for (index, model) in self.models.coalitions.iter().enumerate() {
            self.check_indices(&model.members, &format!("models.coalitions[{index}].members"))?;
        }
        Ok(())
    }

    /// Every index names a contributor, and none twice.
    fn check_indices(&self, indices: &[usize], place: &str) -> Check {
        let mut seen = BTreeSet::new();
        for &index in indices {
            require(index < self.contributors.len(), place, || {
                format!("names contributor {index}, but there are only {}", self.contributors.len())
            })?;
            require(seen.insert(index), place, || format!("names contributor {index} twice"))?;
        }
        Ok(())
    }
}

fn check_lds(lds: &LdsReport, place: &str) -> Check {
    check_correlation(&lds.ceiling, 1.0, &format!("{place}.ceiling"))?;
    check_correlation(&lds.ours.lds, 1.0, &format!("{place}.ours.lds"))?;
    for (index, baseline) in lds.baselines.iter().enumerate() {
        let place = format!("{place}.baselines[{index}]");
        check_correlation(&baseline.lds, 1.0, &format!("{place}.lds"))?;
        check_correlation(&baseline.difference, 2.0, &format!("{place}.difference"))?;
    }
    Ok(())
}

fn check_correlation(estimate: &Estimate, largest: f64, place: &str) -> Check {
    if let Estimate::Measured { value, interval } = estimate {
        require(value.abs() <= largest + 1e-9, place, || {
            format!("is {value}, must lie in -{largest}..={largest} (not times 100)")
        })?;
        check_interval(*interval, place)?;
    }
    Ok(())
}

fn check_interval(interval: Option<Interval>, place: &str) -> Check {
    match interval {
        Some(Interval { low, high }) => require(Interval::new(low, high).is_some(), place, || {
            format!("is {low}..{high}; both ends must be finite and in order, or there is no interval")
        }),
        None => Ok(()),
    }
}

fn require(holds: bool, place: &str, problem: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(ReportError::invalid(place, problem())) }
}
