//! Who contributed how much?

use super::level;
use crate::format::{Decimals, list, percent};
use crate::{BehaviorReport, ContributorScore, Direction, ReportData};

/// The scores from rank 1 downwards; equal ranks in the order of the contributors.
pub(crate) fn best_first(behavior: &BehaviorReport) -> Vec<&ContributorScore> {
    let mut scores: Vec<&ContributorScore> = behavior.scores.iter().collect();
    scores.sort_by_key(|score| (score.rank, score.contributor));
    scores
}

/// `v(all) - v(none)`, if it is not zero and the scores add up to it within 1 %: only then is a share meaningful.
pub(crate) fn adds_up(behavior: &BehaviorReport) -> Option<f64> {
    let total = behavior.value_all.get()? - behavior.value_none.get()?;
    let sum: Option<f64> = behavior.scores.iter().map(|score| score.value.get()).sum();
    (total != 0.0 && (sum? - total).abs() <= 0.01 * total.abs()).then_some(total)
}

pub(super) fn sentence(data: &ReportData, behavior: &BehaviorReport) -> String {
    let ranked = best_first(behavior);
    let name =
        |score: &ContributorScore| data.contributors.get(score.contributor).map_or("", |c| c.name.as_str());
    let Some((first, value)) = ranked.first().and_then(|score| Some((*score, score.value.get()?))) else {
        return "The contributors' scores were not measured.".to_owned();
    };
    let decimals = crate::page::score_decimals(behavior);
    let measured: Vec<&&ContributorScore> =
        ranked.iter().filter(|score| score.value.get().is_some()).collect();
    let leaders: Vec<&str> = measured.iter().filter(|s| s.rank == 1).map(|s| name(s)).collect();
    let deed = match (behavior.direction, value > 0.0) {
        (Direction::HigherIsBetter, true) => "raised",
        (Direction::LowerIsBetter, false) if value < 0.0 => "lowered",
        (Direction::Neutral, true) => "raised",
        _ => return nobody_helped(behavior, first, name(first), decimals),
    };
    let unit = behavior.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let mut details = Vec::new();
    if let Some(interval) = first.interval {
        details.push(format!("{} interval {}", level(behavior), decimals.interval(interval)));
    }
    if let Some(total) = adds_up(behavior) {
        details.push(format!("{} of what all contributors add together", percent(value / total)));
    }
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) };
    let mut text = format!(
        "{} {deed} \u{201c}{}\u{201d} most, by {}{unit}{details}.",
        list(&leaders),
        behavior.name,
        decimals.show(value.abs()),
    );
    let next: Vec<&str> = measured.iter().filter(|s| s.rank > 1).take(2).map(|s| name(s)).collect();
    if let Some(last) = measured.last().filter(|s| s.rank > 3) {
        let score = last.value.get().map(|v| decimals.signed(v)).unwrap_or_default();
        text += &format!(" Next: {}. Last: {} with {score}{unit}.", list(&next), name(last));
    }
    text
}

/// When even the first score points the wrong way or is zero.
fn nobody_helped(
    behavior: &BehaviorReport,
    first: &ContributorScore,
    name: &str,
    decimals: Decimals,
) -> String {
    let best = first.value.get().map(|v| decimals.signed(v)).unwrap_or_default();
    let wish = match behavior.direction {
        Direction::HigherIsBetter | Direction::Neutral => "raised",
        Direction::LowerIsBetter => "lowered",
    };
    format!("Nobody {wish} \u{201c}{}\u{201d}; the best score is {best}, by {name}.", behavior.name)
}
