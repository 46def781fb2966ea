//! What happens without the top or the bottom contributors?

use crate::format::{percent, signed_percent};
use crate::{BehaviorReport, Counterfactual, Direction, RemovalOrder};

pub(super) fn sentence(behavior: &BehaviorReport) -> String {
    let change = |order: RemovalOrder, fraction: Option<f64>| {
        behavior
            .counterfactuals
            .iter()
            .filter(|c| c.order == order && c.relative_change.get().is_some())
            .filter(|c| fraction.is_none_or(|f| (f - c.fraction).abs() < 1e-9))
            .max_by(|a, b| a.fraction.total_cmp(&b.fraction))
    };
    let Some(top) = change(RemovalOrder::Top, None) else {
        return "Not measured: no model was retrained without the top contributors.".to_owned();
    };
    let mut text = format!(
        "Retrained without the top {} of contributors, \u{201c}{}\u{201d} changed by {}",
        percent(top.fraction),
        behavior.name,
        shown(top)
    );
    match change(RemovalOrder::Bottom, Some(top.fraction)) {
        Some(bottom) => {
            text += &format!("; without the bottom {}, by {}.", percent(bottom.fraction), shown(bottom))
        }
        None => text += ".",
    }
    let Some(bottom) = change(RemovalOrder::Bottom, Some(top.fraction)) else { return text };
    let good = |c: &Counterfactual| c.relative_change.get().map(|v| behavior.direction.goodness(v));
    if let (Some(top), Some(bottom)) = (good(top), good(bottom)) {
        let expectation = match behavior.direction {
            Direction::Neutral => "moves it further down",
            Direction::HigherIsBetter | Direction::LowerIsBetter => "hurts more",
        };
        text += &match top < bottom {
            true => format!(" As the scores say, losing the top contributors {expectation}."),
            false => format!(
                " This contradicts the scores, by which losing the top contributors {}.",
                expectation.replace("moves", "should move").replace("hurts", "should hurt")
            ),
        };
    }
    text
}

fn shown(removal: &Counterfactual) -> String {
    removal.relative_change.get().map(signed_percent).unwrap_or_default()
}
