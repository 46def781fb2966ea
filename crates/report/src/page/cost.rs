//! What did it cost?

use maud::{Markup, html};

use super::View;
use crate::format::{count, duration, times};
use crate::{Number, ReportData, StageCost, StagePurpose};

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Markup {
    let costs = &data.costs;
    let verdict = views.first().map(|view| view.verdict.cost.as_str()).unwrap_or_default();
    let body = html! {
        p class="verdict" { (verdict) }
        p class="lead" {
            "Times add up all workers and their threads. One retraining from scratch takes "
            strong { (duration(costs.retraining_seconds)) } " (" (costs.retraining_source) ")."
        }
        table class="numbers stacked" role="table" {
            caption class="visually-hidden" { "Time of each stage" }
            thead role="rowgroup" { tr role="row" {
                th scope="col" role="columnheader" { "Stage" }
                @for label in ["Runs", "Total", "Per run", "Against a retraining"] {
                    th scope="col" role="columnheader" class="n" { (label) }
                }
            } }
            tbody role="rowgroup" { @for stage in &costs.stages { (row(data, stage)) } }
        }
    };
    super::section("cost", 5, "What did it cost?", body)
}

fn row(data: &ReportData, stage: &StageCost) -> Markup {
    let speed_up = match (stage.replaces_retraining, data.costs.speed_up(stage)) {
        (true, Some(ratio)) if ratio >= 1.0 => format!("{} faster", times(ratio)),
        (true, Some(ratio)) if ratio > 0.0 => format!("{} slower", times(1.0 / ratio)),
        (true, _) => "not measured".to_owned(),
        (false, _) => "\u{2013}".to_owned(),
    };
    html! {
        tr role="row" {
            th scope="row" role="rowheader" { (stage.stage) span class="quiet" { (purpose(stage.purpose)) } }
            td role="cell" class="n" data-label="Runs" { (count(stage.runs)) }
            td role="cell" class="n" data-label="Total" { (duration(stage.seconds)) }
            td role="cell" class="n" data-label="Per run" { (duration(Number::from(stage.seconds_per_run()))) }
            td role="cell" class="n" data-label="Against a retraining" { (speed_up) }
        }
    }
}

fn purpose(purpose: StagePurpose) -> &'static str {
    match purpose {
        StagePurpose::Model => "for the model itself",
        StagePurpose::Preparation => "once, to make coalitions cheap",
        StagePurpose::Scores => "for the scores",
        StagePurpose::Validation => "only to test the scores",
    }
}
