//! How sure are we?

use maud::{Markup, html};

use super::{View, panels};
use crate::format::{Decimals, counted};
use crate::verdict::level;
use crate::ReportData;

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
            (behavior.interval_method) "): they cover chance in which coalitions were drawn, not what the method gets wrong."
        }
        @if !behavior.diagnostics.is_empty() {
            dl class="figures" {
                @for diagnostic in &behavior.diagnostics {
                    div {
                        dt { (diagnostic.name) }
                        dd {
                            strong {
                                (Decimals::for_values(diagnostic.value.get()).number(diagnostic.value))
                            }
                            span { (diagnostic.explanation) }
                        }
                    }
                }
            }
        }
    }
}
