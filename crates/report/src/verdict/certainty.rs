//! How sure are we?

use super::{best_first, level};
use crate::format::{count, counted};
use crate::{BehaviorReport, ContributorScore, ReportData};

pub(super) fn sentence(data: &ReportData, behavior: &BehaviorReport) -> String {
    let with_interval =
        behavior.scores.iter().filter(|s| s.value.get().is_some() && s.interval.is_some()).count();
    if with_interval == 0 {
        return "The uncertainty of the scores was not measured.".to_owned();
    }
    let clear = behavior.scores.iter().filter(|s| s.interval.is_some_and(|i| !i.contains(0.0))).count();
    let mut text = match clear {
        0 => format!(
            "At {} confidence, no contributor\u{2019}s score can be told from zero: the order may be chance.",
            level(behavior)
        ),
        _ => format!(
            "At {} confidence, {} of {} scores can be told from zero.",
            level(behavior),
            count(clear as u64),
            count(behavior.scores.len() as u64)
        ),
    };
    if let Some(first) = first_place(data, behavior) {
        text.push(' ');
        text += &first;
    }
    if behavior.coalitions < behavior.scores.len() as u64 {
        text += &format!(
            " Only {} for {}: fewer than the unknowns, so the intervals understate the doubt.",
            counted(behavior.coalitions, "coalition"),
            counted(behavior.scores.len() as u64, "contributor"),
        );
    }
    text
}

/// Whether the first place is settled, from rank intervals or else from the scores' intervals.
fn first_place(data: &ReportData, behavior: &BehaviorReport) -> Option<String> {
    let ranked = best_first(behavior);
    let (first, second) = (ranked.first()?, ranked.get(1)?);
    first.value.get()?;
    let name = |score: &ContributorScore| data.contributors.get(score.contributor).map(|c| c.name.as_str());
    let winner = name(first)?;
    if second.rank == 1 {
        return Some("The first place is shared.".to_owned());
    }
    if let Some([_, worst]) = first.rank_interval {
        return Some(match worst {
            1 => format!("{winner}\u{2019}s first place is settled."),
            _ => format!("The first place is not settled: {winner} could be as low as place {worst}."),
        });
    }
    let (a, b) = (first.interval?, second.interval?);
    let apart = a.low > b.high || a.high < b.low;
    Some(match apart {
        true => format!("{winner}\u{2019}s first place is clear of {}.", name(second)?),
        false => {
            format!(
                "The first place is not settled: the intervals of {winner} and {} overlap.",
                name(second)?
            )
        }
    })
}
