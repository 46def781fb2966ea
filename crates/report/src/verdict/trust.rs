//! Can these scores be trusted?

use crate::format::{correlation, correlations, list};
use crate::{BehaviorReport, Estimate, LdsReport, MethodLds};

/// How our LDS stands against another method's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Ahead, and the interval of the difference excludes zero.
    ClearlyAhead,
    /// Ahead, but the difference is within its uncertainty.
    Ahead,
    /// Exactly equal.
    Level,
    /// Behind, but the difference is within its uncertainty.
    Behind,
    /// Behind, and the interval of the difference excludes zero.
    ClearlyBehind,
    /// One of the two is missing or undefined.
    Unknown,
}

/// How `ours` stands against `other`.
///
/// The paired difference decides where it was measured. Without it, "clearly" needs two intervals that do not touch.
pub fn standing(ours: &MethodLds, other: &MethodLds) -> Standing {
    let (Some(a), Some(b)) = (ours.lds.value(), other.lds.value()) else { return Standing::Unknown };
    let (difference, clear) = match (&other.difference, ours.lds.interval(), other.lds.interval()) {
        (Estimate::Measured { value, interval }, _, _) => {
            (*value, interval.is_some_and(|i| !i.contains(0.0)))
        }
        (_, Some(x), Some(y)) => (a - b, x.low > y.high || y.low > x.high),
        _ => (a - b, false),
    };
    match (difference, clear) {
        (d, true) if d > 0.0 => Standing::ClearlyAhead,
        (d, true) if d < 0.0 => Standing::ClearlyBehind,
        (d, false) if d > 0.0 => Standing::Ahead,
        (d, false) if d < 0.0 => Standing::Behind,
        _ => Standing::Level,
    }
}

/// What a table says about a standing, from our side.
pub(crate) fn standing_in_words(standing: Standing) -> &'static str {
    match standing {
        Standing::ClearlyAhead => "clearly behind our scores",
        Standing::Ahead => "behind our scores, but within the uncertainty",
        Standing::Level => "level with our scores",
        Standing::Behind => "ahead of our scores, but within the uncertainty",
        Standing::ClearlyBehind => "clearly ahead of our scores",
        Standing::Unknown => "cannot be compared",
    }
}

pub(super) fn sentence(behavior: &BehaviorReport) -> String {
    let Some(lds) = &behavior.lds else {
        return "Not tested: no model was retrained to check these scores against.".to_owned();
    };
    let ours = &lds.ours.name;
    let value = match &lds.ours.lds {
        Estimate::Measured { value, .. } => *value,
        Estimate::Undefined { reason } => {
            return format!(
                "Not known: the LDS of {ours} is undefined because {reason}. {}",
                ceiling(lds, None)
            );
        }
        Estimate::NotMeasured => return format!("Not known: the LDS of {ours} was not measured."),
    };
    let interval = lds.ours.lds.interval();
    let bounds = interval.map(|i| format!(" (interval {})", correlations(i))).unwrap_or_default();
    let first = match interval {
        Some(i) if i.high < 0.0 => format!(
            "No. {ours} orders retrained models the wrong way round: LDS {} of 100{bounds}.",
            correlation(value)
        ),
        Some(i) if i.contains(0.0) => format!(
            "Not on this evidence. {ours} reaches an LDS of {} of 100{bounds}, which cannot be told from guessing.",
            correlation(value)
        ),
        _ if value <= 0.0 => format!(
            "No. {ours} does not order retrained models better than guessing: LDS {} of 100{bounds}.",
            correlation(value)
        ),
        _ => format!(
            "{ours} orders models that were really retrained with an LDS of {} of 100{bounds}.",
            correlation(value)
        ),
    };
    format!("{first} {} {}", ceiling(lds, Some(value)), baselines(lds))
}

fn ceiling(lds: &LdsReport, ours: Option<f64>) -> String {
    match &lds.ceiling {
        Estimate::NotMeasured => {
            "The noise ceiling was not measured, so it is unknown how much a perfect score could reach."
                .to_owned()
        }
        Estimate::Undefined { reason } => format!("The noise ceiling is undefined because {reason}."),
        Estimate::Measured { value, interval } => {
            if *value <= 0.0 || interval.is_some_and(|i| i.low <= 0.0) {
                return format!(
                    "Retraining twice with other seeds hardly agrees with itself (noise ceiling {}), so this behaviour \
                     cannot tell good scores from bad ones here.",
                    correlation(*value)
                );
            }
            let reached = ours.is_some_and(|ours| ours >= *value);
            let addition = if reached { ", which these scores reach" } else { "" };
            format!(
                "A perfect score could reach about {}{addition}: that is how well retraining with another seed agrees \
                 with itself.",
                correlation(*value)
            )
        }
    }
}

fn baselines(lds: &LdsReport) -> String {
    let describe = |method: &MethodLds| {
        let value = method.lds.value().map(correlation).unwrap_or_default();
        format!("{} ({value})", method.name)
    };
    let of = |wanted: &[Standing]| -> Vec<String> {
        let fits = |m: &&MethodLds| wanted.contains(&standing(&lds.ours, m));
        lds.baselines.iter().filter(fits).map(describe).collect()
    };
    let (beaten, ahead) = (of(&[Standing::ClearlyAhead]), of(&[Standing::Ahead]));
    let (level, behind, worse) =
        (of(&[Standing::Level]), of(&[Standing::Behind]), of(&[Standing::ClearlyBehind]));
    if beaten.len() + ahead.len() + level.len() + behind.len() + worse.len() == 0 {
        return "No baseline could be compared, so it is unknown whether something simpler would do as well."
            .to_owned();
    }
    let mut parts = Vec::new();
    if !worse.is_empty() {
        parts.push(format!("It does not beat the baselines: {} clearly predicts better.", list(&worse)));
    }
    let as_good: Vec<String> = behind.into_iter().chain(level).collect();
    if !as_good.is_empty() {
        let lead = if worse.is_empty() { "It does not beat every baseline: " } else { "" };
        let verb = if as_good.len() == 1 { "does" } else { "do" };
        parts.push(format!("{lead}{} {verb} at least as well.", list(&as_good)));
    }
    if !ahead.is_empty() {
        parts.push(format!("It is ahead of {}, but within the uncertainty.", list(&ahead)));
    }
    if !beaten.is_empty() {
        let everything = parts.is_empty();
        let word =
            if everything { "It clearly beats every baseline compared: " } else { "It clearly beats " };
        parts.push(format!("{word}{}.", list(&beaten)));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interval, Number};

    fn method(name: &str, lds: Estimate, difference: Estimate) -> MethodLds {
        MethodLds {
            name: name.to_owned(),
            explanation: String::new(),
            lds,
            difference,
            coalitions: None,
            seconds: Number::MISSING,
        }
    }

    fn measured(value: f64, low: f64, high: f64) -> Estimate {
        Estimate::measured(value, Interval::new(low, high))
    }

    fn report(ours: Estimate, ceiling: Estimate, baselines: Vec<MethodLds>) -> LdsReport {
        LdsReport {
            truth: String::new(),
            test_coalitions: 32,
            retraining_seeds: 2,
            ours: method("sFT-Shapley", ours, Estimate::NotMeasured),
            baselines,
            ceiling,
            points: Vec::new(),
        }
    }

    #[test]
    fn the_paired_difference_decides_and_disjoint_intervals_stand_in_for_it() {
        let ours = method("ours", measured(0.6, 0.4, 0.7), Estimate::NotMeasured);
        let against = |lds, difference| standing(&ours, &method("other", lds, difference));
        assert_eq!(against(measured(0.5, 0.3, 0.6), measured(0.1, 0.05, 0.2)), Standing::ClearlyAhead);
        assert_eq!(against(measured(0.5, 0.3, 0.6), Estimate::NotMeasured), Standing::Ahead);
        assert_eq!(against(measured(0.2, 0.1, 0.3), Estimate::NotMeasured), Standing::ClearlyAhead);
        assert_eq!(against(measured(0.65, 0.5, 0.8), measured(-0.05, -0.1, 0.1)), Standing::Behind);
        assert_eq!(against(measured(0.9, 0.8, 0.95), Estimate::NotMeasured), Standing::ClearlyBehind);
        assert_eq!(against(Estimate::measured(0.6, None), Estimate::NotMeasured), Standing::Level);
        assert_eq!(against(Estimate::undefined("constant"), Estimate::NotMeasured), Standing::Unknown);
    }

    #[test]
    fn a_ceiling_near_zero_says_that_nothing_can_be_told() {
        let text = ceiling(&report(measured(0.3, 0.1, 0.5), measured(0.1, -0.1, 0.3), vec![]), Some(0.3));
        assert!(text.contains("hardly agrees with itself"), "{text}");
    }

    #[test]
    fn baselines_are_sorted_into_beaten_and_not_beaten() {
        let rivals = vec![
            method("Images", measured(0.2, 0.1, 0.3), Estimate::NotMeasured),
            method("Similarity", measured(0.7, 0.6, 0.8), measured(-0.1, -0.2, -0.02)),
        ];
        let text = baselines(&report(measured(0.6, 0.4, 0.7), Estimate::NotMeasured, rivals));
        assert_eq!(
            text,
            "It does not beat the baselines: Similarity (70) clearly predicts better. It clearly beats Images (20)."
        );
    }
}
