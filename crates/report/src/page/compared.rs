//! All methods side by side, within the question of trust.

use std::cmp::Ordering;

use maud::{Markup, html};

use super::View;
use super::track::Scale;
use super::trust::{estimate, track};
use crate::format::{NOT_MEASURED, count, duration, memory, signed_percent, times};
use crate::{ComparedKind, ComparedMethod, Comparison, Estimate};

/// The methods by their LDS for this behaviour, best first, and what each cost.
pub(super) fn compared(comparison: &Comparison, view: &View<'_>) -> Markup {
    let key = &view.behavior.key;
    let missing = Estimate::NotMeasured;
    let mut rows: Vec<(&ComparedMethod, &Estimate)> =
        comparison.methods.iter().map(|method| (method, method.lds.get(key).unwrap_or(&missing))).collect();
    rows.sort_by(|(_, a), (_, b)| match (a.value(), b.value()) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
    let ceiling = comparison.ceilings.get(key).and_then(Estimate::value);
    let ends = rows.iter().flat_map(|(_, e)| {
        [e.value(), e.interval().map(|i| i.low), e.interval().map(|i| i.high)].into_iter().flatten()
    });
    let scale = Scale::holding(ends.chain(ceiling).chain([1.0]));
    html! {
        h3 class="sub" { "Every method at the same compute" }
        p class="lead" { (comparison.explanation) }
        div class="methods compared" {
            @if let Some(scale) = scale { div class="method axis-row" { (scale.axis(100.0)) } }
            ul class="plain" {
                @for (method, lds) in &rows {
                    li class="method" {
                        h3 { (method.name) }
                        (estimate(lds))
                        @if let Some(scale) = scale { (track(scale, lds, fill(method.kind), ceiling)) }
                    }
                }
            }
            p class="legend" {
                @for (kind, words) in KINDS {
                    @if rows.iter().any(|(method, _)| method.kind == kind) {
                        span { i class=(format!("swatch {}", fill(kind))) {} (words) }
                    }
                }
                @if ceiling.is_some() { span { i class="swatch dashed" {} "noise ceiling" } }
            }
        }
        details {
            summary { "What each method does and costs" }
            div class="wide" { (costs(comparison, &rows, view.behavior.primary)) }
        }
    }
}

const KINDS: [(ComparedKind, &str); 4] = [
    (ComparedKind::Coalitions, "from models of coalitions"),
    (ComparedKind::Gradients, "from gradients"),
    (ComparedKind::Similarity, "from alikeness"),
    (ComparedKind::Trivial, "from counts"),
];

fn fill(kind: ComparedKind) -> &'static str {
    match kind {
        ComparedKind::Coalitions => "for",
        ComparedKind::Gradients => "against",
        ComparedKind::Similarity => "alike-bar",
        ComparedKind::Trivial => "quiet-bar",
    }
}

fn costs(comparison: &Comparison, rows: &[(&ComparedMethod, &Estimate)], primary: bool) -> Markup {
    let share = |method: &ComparedMethod| match method.macs.get() {
        Some(macs) if comparison.budget_macs > 0.0 => times(macs / comparison.budget_macs),
        _ => NOT_MEASURED.to_owned(),
    };
    html! {
        table class="numbers" {
            caption class="visually-hidden" { "What each method does and costs" }
            thead { tr {
                th scope="col" { "Method" }
                th scope="col" class="n" { "Models made" }
                th scope="col" class="n" { "Compute, of the budget" }
                th scope="col" class="n" { "Time" }
                th scope="col" class="n" { "Peak memory" }
                @if primary { th scope="col" class="n" { "Counterfactual area" } }
            } }
            tbody {
                @for (method, _) in rows {
                    tr {
                        th scope="row" { (method.name) span class="quiet" { (method.explanation) } }
                        td class="n" { (method.models.map_or_else(|| "0".to_owned(), count)) }
                        td class="n" { (share(method)) }
                        td class="n" { (duration(method.seconds)) }
                        td class="n" { (method.peak_memory_bytes.map_or_else(|| NOT_MEASURED.to_owned(), memory)) }
                        @if primary {
                            td class="n" {
                                (method.counterfactual_area.get().map_or_else(|| NOT_MEASURED.to_owned(), signed_percent))
                            }
                        }
                    }
                }
            }
        }
    }
}
