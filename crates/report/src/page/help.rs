//! Who helps whom.

use maud::{Markup, html};

use crate::format::{Decimals, NOT_MEASURED};
use crate::{HelpMatrix, ReportData};

/// Larger tables show colours and tooltips only.
const WITH_NUMBERS: usize = 14;

pub(super) fn matrix(data: &ReportData, matrix: &HelpMatrix) -> Markup {
    let values = || matrix.scores.iter().flatten().filter_map(|n| n.get());
    let largest = values().fold(0.0f64, |m, v| m.max(v.abs()));
    // Two digits for the largest: numbers are shown in a power of ten that makes them short.
    let unit = if largest > 0.0 { 10f64.powf(largest.log10().floor() - 1.0) } else { 1.0 };
    let decimals = Decimals::for_ticks(&[0.0]);
    let intensity = if largest > 0.0 { 100.0 / largest } else { 0.0 };
    let name = |index: usize| data.contributors.get(index).map_or("", |c| c.name.as_str());
    let small = data.contributors.len() <= WITH_NUMBERS;
    html! {
        h3 class="sub" { "Who helps whom" }
        p class="lead" {
            (strongest(data, matrix)) " " (matrix.explanation)
            " Each row is a helper, each column the person whose held-out images were tested: blue lowers "
            "their loss (helps), "
            "orange raises it. Numbers are in units of " (Decimals::for_ticks(&[unit]).show(unit)) "."
        }
        div class="wide" role="region" aria-label="Who helps whom" tabindex="0" {
            table class=(if small { "matrix" } else { "matrix dense" }) {
                thead { tr {
                    th scope="col" { span class="visually-hidden" { "Helper" } }
                    @for column in 0..data.contributors.len() {
                        th scope="col" class="turned" { span { bdi { (name(column)) } } }
                    }
                } }
                tbody {
                    @for (row, scores) in matrix.scores.iter().enumerate() {
                        tr {
                            th scope="row" { bdi { (name(row)) } }
                            @for (column, score) in scores.iter().enumerate() {
                                @let shown = score.get().map_or_else(
                                    || NOT_MEASURED.to_owned(),
                                    |value| decimals.signed(value / unit),
                                );
                                @let strength = score.get().map_or(0.0, |value| value.abs() * intensity);
                                @let kind = if score.get().is_some_and(|v| v > 0.0) { "harms" } else { "helps" };
                                td class=(kind) style=(format!("--strength:{strength:.0}%"))
                                    title=(format!("{} \u{2192} {}: {shown}", name(row), name(column))) {
                                    span class=(if small { "" } else { "visually-hidden" }) { (shown) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The strongest help between two different contributors.
fn strongest(data: &ReportData, matrix: &HelpMatrix) -> String {
    let others = matrix.scores.iter().enumerate().flat_map(|(row, scores)| {
        scores
            .iter()
            .enumerate()
            .filter(move |(column, _)| *column != row)
            .map(move |(column, s)| (row, column, s))
    });
    let best = others
        .filter_map(|(row, column, score)| Some((row, column, score.get().filter(|v| *v < 0.0)?)))
        .min_by(|a, b| a.2.total_cmp(&b.2));
    let name = |index: usize| data.contributors.get(index).map_or("", |c| c.name.as_str());
    match best {
        Some((helper, helped, _)) => {
            format!("The strongest help between two people: {} for {}.", name(helper), name(helped))
        }
        None => "No contributor\u{2019}s presence lowers another\u{2019}s held-out loss.".to_owned(),
    }
}
