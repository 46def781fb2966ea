//! What happens without some of the contributors?

use maud::{Markup, html};

use super::{View, gallery, help, panels, value_decimals};
use crate::format::{Decimals, NOT_MEASURED, counted, list, percent, signed_percent};
use crate::plot::removal_bars;
use crate::{BehaviorReport, Counterfactual, RemovalOrder, ReportData, ReportError};

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Result<Markup, ReportError> {
    let plots: Vec<Option<Markup>> = views
        .iter()
        .map(|view| removal_bars(view.behavior, &view.id("removals")))
        .collect::<Result<_, _>>()?;
    let body = html! {
        (panels(views, |view| body(data, view, plots.get(view.index).and_then(Option::as_ref))))
        (gallery::gallery(data))
        @if let Some(matrix) = &data.help { (help::matrix(data, matrix)) }
    };
    Ok(super::section("removal", 4, "What happens without some of them?", body))
}

fn body(data: &ReportData, view: &View<'_>, plot: Option<&Markup>) -> Markup {
    let behavior = view.behavior;
    html! {
        p class="verdict" { (view.verdict.removal) }
        @if !behavior.counterfactuals.is_empty() {
            div class="two" {
                figure {
                    @match plot {
                        Some(plot) => (plot),
                        None => p class="quiet" { "Changes: " (NOT_MEASURED) "." },
                    }
                    p class="legend" {
                        @for order in [RemovalOrder::Top, RemovalOrder::Random, RemovalOrder::Bottom] {
                            @if behavior.counterfactuals.iter().any(|c| c.order == order) {
                                span {
                                    i class=(format!("swatch {}", swatch(order))) {}
                                    (order_in_words(order)) " removed"
                                }
                            }
                        }
                    }
                    figcaption {
                        "Change of \u{201c}" (behavior.name) "\u{201d} against the model retrained with everybody."
                    }
                }
                (table(data, behavior))
            }
        }
    }
}

fn table(data: &ReportData, behavior: &BehaviorReport) -> Markup {
    let mut rows: Vec<&Counterfactual> = behavior.counterfactuals.iter().collect();
    rows.sort_by(|a, b| {
        (a.order, a.fraction).partial_cmp(&(b.order, b.fraction)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let decimals = rows
        .iter()
        .find_map(|row| row.reference.get())
        .map_or_else(|| value_decimals(behavior), |reference| Decimals::for_values([reference]));
    html! {
        div {
            table class="numbers" {
                caption class="visually-hidden" { "True values after removal" }
                thead { tr {
                    th scope="col" { "Removed" }
                    th scope="col" class="n" { "Value" }
                    th scope="col" class="n" { "With all" }
                    th scope="col" class="n" { "Change" }
                } }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { (order_in_words(row.order)) " " (percent(row.fraction)) }
                            td class="n" { (decimals.number(row.value)) }
                            td class="n" { (decimals.number(row.reference)) }
                            td class="n" {
                                strong { (change(row)) }
                            }
                        }
                    }
                }
            }
            details {
                summary { "Who was removed" }
                dl class="pairs" {
                    @for row in &rows {
                        div {
                            dt { (order_in_words(row.order)) " " (percent(row.fraction)) }
                            dd { (who(data, row)) }
                        }
                    }
                }
            }
        }
    }
}

fn change(removal: &Counterfactual) -> String {
    removal.relative_change.get().map_or_else(|| NOT_MEASURED.to_owned(), signed_percent)
}

/// The removed contributors, and how often the model was retrained without them.
fn who(data: &ReportData, removal: &Counterfactual) -> String {
    let interval = removal.interval.map(|interval| {
        format!(
            ", interval of the change {} to {}",
            signed_percent(interval.low),
            signed_percent(interval.high)
        )
    });
    format!(
        "{} ({}{})",
        names(data, &removal.removed),
        counted(removal.retraining_seeds, "retraining"),
        interval.unwrap_or_default()
    )
}

/// The names behind indices, "a, b and c".
pub(super) fn names(data: &ReportData, indices: &[usize]) -> String {
    let names: Vec<&str> =
        indices.iter().filter_map(|&i| data.contributors.get(i)).map(|c| c.name.as_str()).collect();
    list(&names)
}

fn order_in_words(order: RemovalOrder) -> &'static str {
    match order {
        RemovalOrder::Top => "Top",
        RemovalOrder::Bottom => "Bottom",
        RemovalOrder::Random => "Random",
    }
}

fn swatch(order: RemovalOrder) -> &'static str {
    match order {
        RemovalOrder::Top => "for",
        RemovalOrder::Bottom => "against",
        RemovalOrder::Random => "quiet-bar",
    }
}
