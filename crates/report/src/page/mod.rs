//! The page: one HTML file.

mod certainty;
mod compared;
mod contribution;
mod cost;
mod gallery;
mod head;
mod help;
mod origin;
mod removal;
mod track;
mod trust;
mod works;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::format::Decimals;
use crate::verdict::Verdict;
use crate::{BehaviorReport, Picture, ReportData, ReportError};

const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded and nothing may run, whatever a contributor calls themselves.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Renders the checked data as one self-contained HTML file.
///
/// # Errors
/// [`ReportError::Invalid`] if the data contradict themselves; [`ReportError::Plot`] if a plot cannot be drawn.
pub fn render_html(data: &ReportData) -> Result<String, ReportError> {
    data.validate()?;
    // The primary behaviour first: it is the one that shows before anybody chooses.
    let mut behaviors: Vec<&BehaviorReport> = data.behaviors.iter().collect();
    behaviors.sort_by_key(|behavior| !behavior.primary);
    let views: Vec<View<'_>> = behaviors
        .into_iter()
        .enumerate()
        .map(|(index, behavior)| View { index, behavior, verdict: Verdict::of(data, behavior) })
        .collect();
    let sections = html! {
        (contribution::section(data, &views))
        (certainty::section(data, &views))
        (trust::section(data, &views)?)
        (removal::section(data, &views)?)
        (cost::section(data, &views))
        (origin::section(data, &views))
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(format!("Tribute {}", data.header.tool_version));
                title { (data.header.title) }
                style { (PreEscaped(STYLE)) (PreEscaped(switch_rules(views.len()))) }
            }
            body {
                a class="skip" href="#who" { "Skip to the credits" }
                (works::store(data))
                (head::header(data, &views))
                (switch(&views))
                main { (sections) }
                (head::footer(data))
            }
        }
    };
    Ok(page.into_string())
}

/// One behaviour with its sentences, in the order of the page.
struct View<'a> {
    index: usize,
    behavior: &'a BehaviorReport,
    verdict: Verdict,
}

impl View<'_> {
    /// An `id` that no other element has.
    fn id(&self, part: &str) -> String {
        format!("{part}-{}", self.index)
    }
}

/// One panel for each behaviour; without CSS `:has` all of them show, each under its name.
fn panels(views: &[View<'_>], panel: impl Fn(&View<'_>) -> Markup) -> Markup {
    html! {
        @for view in views {
            div class=(format!("panel panel-{}", view.index)) {
                @if views.len() > 1 { p class="panel-name" { (view.behavior.name) } }
                (panel(view))
            }
        }
    }
}

/// The switch between behaviours: plain radio buttons, which choose by CSS alone.
fn switch(views: &[View<'_>]) -> Markup {
    html! {
        @if views.len() > 1 {
            fieldset class="switch" {
                legend { "Behaviour of the model" }
                div class="choices" {
                    @for view in views {
                        label {
                            input type="radio" name="behavior" id=(view.id("behavior")) checked[view.index == 0];
                            span { (view.behavior.name) }
                        }
                    }
                }
            }
        }
    }
}

/// CSS that hides the panels of the behaviours that are not chosen, on screens only.
fn switch_rules(behaviors: usize) -> String {
    if behaviors < 2 {
        return String::new();
    }
    let rules: String = (0..behaviors)
        .map(|i| format!("body:has(#behavior-{i}:checked) .panel:not(.panel-{i}){{display:none}}"))
        .collect();
    format!("@media screen{{{rules}}}")
}

/// A numbered section with its question as the heading.
fn section(id: &str, number: u8, question: &str, body: Markup) -> Markup {
    let heading = format!("{id}-heading");
    html! {
        section id=(id) aria-labelledby=(heading) {
            h2 id=(heading) { span class="number" aria-hidden="true" { (number) } (question) }
            (body)
        }
    }
}

/// A picture inside the page, or its description where its bytes are missing.
fn picture(picture: &Picture, class: &str) -> Markup {
    match picture.png() {
        Some(png) => html! {
            img class=(class) src=(data_uri(png)) width=(picture.width()) height=(picture.height())
                alt=(picture.description());
        },
        None => html! { span class="no-picture" { (picture.description()) } },
    }
}

/// A PNG file as an address of its own.
fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

/// The decimals of a behaviour's scores: two significant digits of the typical standard error.
pub(crate) fn score_decimals(behavior: &BehaviorReport) -> Decimals {
    let mut errors: Vec<f64> =
        behavior.scores.iter().filter_map(|s| s.standard_error.get()).filter(|e| *e > 0.0).collect();
    errors.sort_by(f64::total_cmp);
    match errors.get(errors.len() / 2) {
        Some(&median) => Decimals::for_resolution(median),
        None => Decimals::for_values(behavior.scores.iter().filter_map(|s| s.value.get())),
    }
}

/// The decimals of a behaviour's own values: three significant digits.
fn value_decimals(behavior: &BehaviorReport) -> Decimals {
    Decimals::for_values([behavior.value_all, behavior.value_none].iter().filter_map(|v| v.get()))
}
