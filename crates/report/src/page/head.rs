//! The head and the foot of the page.

use maud::{Markup, html};

use super::View;
use crate::format::{counted, list};
use crate::verdict::best_first;
use crate::{NoteLevel, ReportData};

/// How many names the byline has room for.
const BYLINE: usize = 16;

pub(super) fn header(data: &ReportData, views: &[View<'_>]) -> Markup {
    let header = &data.header;
    html! {
        header class="masthead" {
            @if let Some(text) = &header.show_only {
                p class="banner" role="note" { strong { "For show only." } " " (text) }
            }
            p class="kicker" { "Tribute \u{b7} " (header.study) }
            h1 { (header.title) }
            @if let Some(view) = views.first() { (byline(data, view)) }
            @for note in &header.notes {
                @match note.level {
                    NoteLevel::Warning => p class="note warning" role="note" { strong { "Mind: " } (with_code(&note.text)) },
                    NoteLevel::Info => p class="note" role="note" { (with_code(&note.text)) },
                }
            }
            @if let Some(view) = views.first() { (in_short(view)) }
        }
    }
}

/// A text with what stands between backticks as code; a backtick without another one stays.
fn with_code(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The contributors by name, those who did most for the primary behaviour first.
fn byline(data: &ReportData, view: &View<'_>) -> Markup {
    let ranked = best_first(view.behavior);
    let total = data.contributors.len();
    let shown = if total <= BYLINE { total } else { BYLINE - 2 };
    let names: Vec<&str> = ranked
        .iter()
        .take(shown)
        .filter_map(|score| data.contributors.get(score.contributor))
        .map(|contributor| contributor.name.as_str())
        .collect();
    html! {
        p class="byline" {
            "A diffusion model trained on " (counted(data.header.dataset.images, "image")) " by "
            @for (index, name) in names.iter().enumerate() {
                @if index > 0 {
                    @if index + 1 == total { " and " } @else { ", " }
                }
                b { bdi { (name) } }
            }
            @if total > shown { " and " (counted((total - shown) as u64, "other")) }
            "."
        }
    }
}

/// The six questions with one answer each.
fn in_short(view: &View<'_>) -> Markup {
    let verdict = &view.verdict;
    let answers = [
        ("#who", "Who contributed how much?", &verdict.contribution),
        ("#certainty", "How sure are we?", &verdict.certainty),
        ("#trust", "Can these scores be trusted?", &verdict.trust),
        ("#removal", "What happens without some of them?", &verdict.removal),
        ("#cost", "What did it cost?", &verdict.cost),
        ("#origin", "How was it made?", &verdict.origin),
    ];
    html! {
        nav class="short" aria-label="In short" {
            dl {
                @for (link, question, answer) in answers {
                    div { dt { a href=(link) { (question) } } dd { (answer) } }
                }
            }
        }
    }
}

pub(super) fn footer(data: &ReportData) -> Markup {
    let header = &data.header;
    let mut names: Vec<&str> = data.contributors.iter().map(|c| c.name.as_str()).collect();
    names.sort_by_key(|name| name.to_lowercase());
    html! {
        footer {
            h2 { "Credits" }
            p class="roll" {
                @for (index, name) in names.iter().enumerate() {
                    @if index > 0 { span class="dot" aria-hidden="true" { " \u{b7} " } }
                    bdi { (name) }
                }
            }
            p { (header.dataset.credit) " Licence of the images: " (header.dataset.licence) "." }
            p class="quiet" {
                "Made by Tribute " (header.tool_version) " on " time datetime=(header.created) { (header.created) }
                ". Contributors are named by " (list(&header.dataset.contributor_key)) "."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_backticks_are_code() {
        assert_eq!(with_code("say `--a <b>` now").into_string(), "say <code>--a &lt;b&gt;</code> now");
        assert_eq!(with_code("a ` alone").into_string(), "a ` alone");
        assert_eq!(with_code("none").into_string(), "none");
    }
}
