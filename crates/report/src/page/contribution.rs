//! Who contributed how much?

use maud::{Markup, html};

use super::track::Scale;
use super::{View, panels, score_decimals, value_decimals, works};
use crate::format::{NOT_MEASURED, counted, percent};
use crate::verdict::{adds_up, best_first, level};
use crate::{BehaviorReport, ContributorScore, Direction, ReportData};

/// More contributors than this, and those between the first and the last of the list are folded away.
const LONG: usize = 36;
const FIRST: usize = 24;

fn body(data: &ReportData, view: &View<'_>) -> Markup {
    let behavior = view.behavior;
    let decimals = value_decimals(behavior);
    let ranked = best_first(behavior);
    let (open, folded) = if ranked.len() > LONG { ranked.split_at(FIRST) } else { (&ranked[..], &[][..]) };
    let ends = behavior.scores.iter().flat_map(|s| {
        [s.value.get(), s.interval.map(|i| i.low), s.interval.map(|i| i.high)].into_iter().flatten()
    });
    let row = Row { data, behavior, scale: Scale::holding(ends), total: adds_up(behavior) };
    let unit = behavior.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    html! {
        p class="verdict" { (view.verdict.contribution) }
        p class="lead" {
            (behavior.explanation) " " (direction(behavior.direction)) " With everybody\u{2019}s images it is "
            strong { (decimals.number(behavior.value_all)) (unit) }
            "; without any training, " strong { (decimals.number(behavior.value_none)) (unit) } "."
        }
        div class="ranked" {
            @if let Some(scale) = row.scale {
                div class="person axis-row" { (scale.axis(1.0)) }
            }
            ol class="people" { @for score in open { (row.person(score)) } }
            @if !folded.is_empty() {
                details {
                    summary { "The other " (counted(folded.len() as u64, "contributor")) }
                    ol class="people" { @for score in folded { (row.person(score)) } }
                }
            }
        }
        p class="legend" {
            span { i class="swatch for" {} (better(behavior.direction)) }
            span { i class="swatch against" {} (worse(behavior.direction)) }
            span { i class="swatch whisk" {} (level(behavior)) " interval" }
            span { i class="swatch unsure" {} "pale: cannot be told from zero" }
        }
    }
}

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Markup {
    super::section("who", 1, "Who contributed how much?", panels(views, |view| body(data, view)))
}

struct Row<'a> {
    data: &'a ReportData,
    behavior: &'a BehaviorReport,
    scale: Option<Scale>,
    total: Option<f64>,
}

impl Row<'_> {
    fn person(&self, score: &ContributorScore) -> Markup {
        let Some(contributor) = self.data.contributors.get(score.contributor) else { return html! {} };
        let decimals = score_decimals(self.behavior);
        let value = score.value.get();
        let sure = score.interval.is_none_or(|interval| !interval.contains(0.0));
        let helps = value.is_some_and(|v| self.behavior.direction.goodness(v) >= 0.0);
        let kind = format!("{}{}", if helps { "for" } else { "against" }, if sure { "" } else { " unsure" });
        let place = score.rank_interval.filter(|[best, worst]| best != worst && value.is_some());
        html! {
            li class="person" {
                span class="place" {
                    @if value.is_some() { span class="visually-hidden" { "Place " } (score.rank) } @else { "\u{2013}" }
                }
                div class="name" {
                    h3 { bdi { (contributor.name) } }
                    p {
                        (counted(contributor.images, "image"))
                        @if let Some([best, worst]) = place { ", place " (best) " to " (worst) }
                    }
                }
                (works::thumbnails(score.contributor, &contributor.works))
                @if let Some(scale) = self.scale { (scale.bar(value, score.interval, &kind, None)) }
                p class="score" {
                    @match value {
                        Some(value) => {
                            strong { (decimals.signed(value)) }
                            @if let Some(total) = self.total { span class="share" { (percent(value / total)) } }
                            @if let Some(interval) = score.interval {
                                span class="interval" { (decimals.interval(interval)) }
                            }
                        }
                        None => span class="quiet" { (NOT_MEASURED) },
                    }
                }
            }
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::HigherIsBetter => "More is better.",
        Direction::LowerIsBetter => "Less is better.",
        Direction::Neutral => "Neither more nor less is better.",
    }
}

fn better(direction: Direction) -> &'static str {
    match direction {
        Direction::HigherIsBetter => "raises it (better)",
        Direction::LowerIsBetter => "lowers it (better)",
        Direction::Neutral => "raises it",
    }
}

fn worse(direction: Direction) -> &'static str {
    match direction {
        Direction::HigherIsBetter => "lowers it (worse)",
        Direction::LowerIsBetter => "raises it (worse)",
        Direction::Neutral => "lowers it",
    }
}
