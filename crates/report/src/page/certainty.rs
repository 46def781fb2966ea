//! How sure are we?

use maud::{Markup, html};

use super::{View, panels};
use crate::format::{Decimals, counted};
use crate::verdict::level;
use crate::{Number, ReportData};

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Markup {
    super::section("certainty", 2, "How sure are we?", panels(views, |view| body(data, view)))
}

fn body(data: &ReportData, view: &View<'_>) -> Markup {
    let behavior = view.behavior;
    html! {
        p class="verdict" { (view.verdict.certainty) }
        p class="lead" {
            "The scores are estimated by " (behavior.method) " from " (counted(behavior.coalitions, "coalition")) " of "
            (counted(data.contributors.len() as u64, "contributor")) ", each measured on "
            (counted(behavior.samples, "sample")) ". Intervals hold at " (level(behavior)) " ("
            (behavior.interval_method) "): they cover chance in which coalitions were drawn, not what the "
            "method gets wrong."
        }
        @if !behavior.diagnostics.is_empty() {
            dl class="figures" {
                @for diagnostic in &behavior.diagnostics {
                    div {
                        dt { (diagnostic.name) }
                        dd {
                            strong {
                                (two_digits(diagnostic.value))
                            }
                            span { (diagnostic.explanation) }
                        }
                    }
                }
            }
        }
    }
}

/// Two significant digits, or one more where the first is small.
fn two_digits(value: Number) -> String {
    Decimals::for_resolution(value.get().map_or(f64::NAN, |v| v.abs() / 5.0)).number(value)
}
