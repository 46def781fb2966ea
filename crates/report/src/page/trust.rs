//! Can these scores be trusted?

use maud::{Markup, html};

use super::compared::compared;
use super::track::Scale;
use super::{View, panels};
use crate::format::{NOT_MEASURED, correlation, correlations, counted, duration};
use crate::plot::lds_scatter;
use crate::verdict::{level, standing, standing_in_words};
use crate::{BehaviorReport, Estimate, LdsReport, MethodLds, ReportData, ReportError};

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Result<Markup, ReportError> {
    let plots: Vec<Option<Markup>> = views
        .iter()
        .map(|view| match &view.behavior.lds {
            Some(lds) => lds_scatter(view.behavior, lds, &view.id("scatter")),
            None => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let body = panels(views, |view| {
        html! {
            (body(view, plots.get(view.index).and_then(Option::as_ref)))
            @if let Some(comparison) = &data.comparison { (compared(comparison, view)) }
        }
    });
    Ok(super::section("trust", 3, "Can these scores be trusted?", body))
}

fn body(view: &View<'_>, plot: Option<&Markup>) -> Markup {
    html! {
        p class="verdict" { (view.verdict.trust) }
        @if let Some(lds) = &view.behavior.lds {
            p class="lead" {
                "The test: " (counted(lds.test_coalitions, "coalition")) ", each retrained with "
                (counted(lds.retraining_seeds, "seed")) ". " (lds.truth)
                " The linear datamodel score (LDS) is the rank correlation of predicted and true results, times 100: "
                "100 is a perfect order, 0 is guessing."
            }
            div class="two" {
                (methods(view.behavior, lds))
                figure {
                    @match plot {
                        Some(plot) => (plot),
                        None => p class="quiet" { "Predicted and true results: " (NOT_MEASURED) "." },
                    }
                    @if plot.is_some() {
                        figcaption {
                            "Each dot is a coalition; larger dots have more contributors. Dots that rise from left to right "
                            "mean that the scores order coalitions as retraining does. Dashed, where it fits: prediction "
                            "equals truth."
                        }
                    }
                }
            }
        }
    }
}

/// Our method, the baselines, and the ceiling on one scale.
fn methods(behavior: &BehaviorReport, lds: &LdsReport) -> Markup {
    let estimates = || {
        std::iter::once(&lds.ours)
            .chain(&lds.baselines)
            .map(|method| &method.lds)
            .chain(std::iter::once(&lds.ceiling))
    };
    let ends = estimates().flat_map(|e| {
        [e.value(), e.interval().map(|i| i.low), e.interval().map(|i| i.high)].into_iter().flatten()
    });
    // Always up to 100, so that the distance to a perfect order can be seen.
    let scale = Scale::holding(ends.chain([1.0]));
    let ceiling = lds.ceiling.value();
    html! {
        div class="methods" {
            @if let Some(scale) = scale { div class="method axis-row" { (scale.axis(100.0)) } }
            ul class="plain" {
                li class="method" {
                    h3 { (lds.ours.name) " " span class="tag" { "these scores" } }
                    (estimate(&lds.ours.lds))
                    @if let Some(scale) = scale { (track(scale, &lds.ours.lds, "for", ceiling)) }
                    p { (details(&lds.ours, None)) }
                }
                @for baseline in &lds.baselines {
                    li class="method" {
                        h3 { (baseline.name) }
                        (estimate(&baseline.lds))
                        @if let Some(scale) = scale { (track(scale, &baseline.lds, "quiet-bar", ceiling)) }
                        p { (details(baseline, Some(&lds.ours))) }
                    }
                }
                li class="method" {
                    h3 { "Noise ceiling" }
                    (estimate(&lds.ceiling))
                    @if let Some(scale) = scale { (track(scale, &lds.ceiling, "limit", ceiling)) }
                    p { "Retraining against retraining with another seed. Scores can pass it only as far as they are less noisy than one retraining." }
                }
            }
            p class="legend" {
                span { i class="swatch whisk" {} (level(behavior)) " interval" }
                @if ceiling.is_some() { span { i class="swatch dashed" {} "noise ceiling" } }
            }
        }
    }
}

pub(super) fn track(scale: Scale, estimate: &Estimate, kind: &str, ceiling: Option<f64>) -> Markup {
    scale.bar(estimate.value(), estimate.interval(), kind, ceiling)
}

pub(super) fn estimate(estimate: &Estimate) -> Markup {
    html! {
        p class=(if estimate.value().is_some() { "score" } else { "score missing" }) {
            @match estimate {
                Estimate::Measured { value, interval } => {
                    strong { (correlation(*value)) }
                    @if let Some(interval) = interval { span class="interval" { (correlations(*interval)) } }
                }
                Estimate::Undefined { reason } => span class="quiet" { "undefined because " (reason) },
                Estimate::NotMeasured => span class="quiet" { (NOT_MEASURED) },
            }
        }
    }
}

/// Explanation, compute, and how it stands against ours.
fn details(method: &MethodLds, ours: Option<&MethodLds>) -> String {
    let mut text = method.explanation.clone();
    let compute: Vec<String> = [
        method.coalitions.map(|n| counted(n, "coalition")),
        method.seconds.get().map(|_| duration(method.seconds)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !compute.is_empty() {
        text += &format!(" Compute: {}.", compute.join(", "));
    }
    if let Some(ours) = ours {
        text += &format!(" In this test: {}", standing_in_words(standing(ours, method)));
        if let Estimate::Measured { value, interval } = &method.difference {
            text += &format!(" (ours minus this: {}", correlation(*value));
            if let Some(interval) = interval {
                text += &format!(", interval {}", correlations(*interval));
            }
            text.push(')');
        }
        text.push('.');
    }
    text
}
