//! Exactly how was it made?

use maud::{Markup, html};
use serde_json::Value;

use super::View;
use crate::format::{Decimals, NOT_MEASURED, count, counted, duration, list, magnitude, percent};
use crate::{Model, ReportData};

pub(super) fn section(data: &ReportData, views: &[View<'_>]) -> Markup {
    let provenance = &data.provenance;
    let verdict = views.first().map(|view| view.verdict.origin.as_str()).unwrap_or_default();
    let body = html! {
        p class="verdict" { (verdict) }
        @if let Some(command) = &provenance.command {
            p { "To repeat it:" }
            pre tabindex="0" { code { (command) } }
        }
        @if !provenance.failures.is_empty() {
            h3 class="sub" { (counted(provenance.failures.len() as u64, "failed run")) }
            dl class="pairs" {
                @for failure in &provenance.failures { div { dt { (failure.run) } dd { (failure.error) } } }
            }
        }
        h3 class="sub" { "Models" }
        (models(data))
        div class="two even" {
            div { h3 class="sub" { "Data and run" } (run(data)) }
            div { h3 class="sub" { "Behaviours" } (behaviors(views)) }
        }
        details {
            summary { "Settings" }
            (tree(&provenance.settings))
        }
        details {
            summary { "Seeds" }
            @if provenance.seeds.is_empty() { p { (NOT_MEASURED) } }
            dl class="pairs" { @for (name, seed) in &provenance.seeds { div { dt { (name) } dd { code { (seed) } } } } }
        }
        details {
            summary { "Hashes (SHA-256)" }
            dl class="pairs" {
                div { dt { "data" } dd { code { (data.header.dataset.content_hash) } } }
                @for hash in &provenance.hashes { div { dt { (hash.name) } dd { code { (hash.sha256) } } } }
            }
        }
    };
    super::section("origin", 6, "Exactly how was it made?", body)
}

fn models(data: &ReportData) -> Markup {
    let full = &data.models.full;
    let pruned = data.models.pruned.as_ref();
    let columns: Vec<(String, &Model)> = std::iter::once(("Full".to_owned(), full))
        .chain(pruned.map(|p| (format!("Pruned by {}", percent(p.ratio)), &p.model)))
        .collect();
    let of_full = |value: u64, whole: u64| {
        if whole == 0 {
            String::new()
        } else {
            format!(" ({} of full)", percent(value as f64 / whole as f64))
        }
    };
    let size = |model: &Model, value: u64, whole: u64| {
        let addition = if std::ptr::eq(model, full) { String::new() } else { of_full(value, whole) };
        format!("{}{addition}", magnitude(value))
    };
    let loss = Decimals::for_values(columns.iter().filter_map(|(_, model)| model.final_loss.get()));
    let row = |name: &str, cell: &dyn Fn(&Model) -> String| {
        html! { tr { th scope="row" { (name) } @for (_, model) in &columns { td class="n" { (cell(model)) } } } }
    };
    html! {
        table class="numbers" {
            caption class="visually-hidden" { "The models" }
            thead { tr { td {} @for (name, _) in &columns { th scope="col" class="n" { (name) } } } }
            tbody {
                (row("Parameters", &|m| size(m, m.parameters, full.parameters)))
                (row("Multiply-accumulates", &|m| size(m, m.macs, full.macs)))
                (row("Training steps", &|m| count(m.steps)))
                (row("Final loss", &|m| loss.number(m.final_loss)))
                (row("Training time", &|m| duration(m.seconds)))
            }
        }
    }
}

fn run(data: &ReportData) -> Markup {
    let header = &data.header;
    let dataset = &header.dataset;
    let [height, width] = dataset.resolution;
    let rows = [
        ("Study", header.study.clone()),
        ("Data", dataset.name.clone()),
        ("Images", format!("{}, {width} \u{d7} {height} pixels", count(dataset.images))),
        ("Contributors", format!("{}, named by {}", data.contributors.len(), list(&dataset.contributor_key))),
        ("Licence", dataset.licence.clone()),
        ("Made", header.created.clone()),
        ("Tribute", header.tool_version.clone()),
        ("Device", header.device.clone()),
        ("Records", count(data.provenance.records)),
        ("Failed runs", count(data.provenance.failures.len() as u64)),
    ];
    html! { dl class="pairs" { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } } }
}

fn behaviors(views: &[View<'_>]) -> Markup {
    html! {
        dl class="pairs" {
            @for view in views {
                div {
                    dt { (view.behavior.name) }
                    dd {
                        code { (view.behavior.key) } ", " (counted(view.behavior.samples, "sample")) ", "
                        (counted(view.behavior.coalitions, "coalition"))
                    }
                }
            }
        }
    }
}

/// A settings table as nested lists.
fn tree(table: &serde_json::Map<String, Value>) -> Markup {
    html! {
        dl class="pairs tree" {
            @for (key, value) in table {
                div {
                    dt { (key) }
                    dd {
                        @match value {
                            Value::Object(inner) => (tree(inner)),
                            Value::String(text) => code { (text) },
                            other => code { (other) },
                        }
                    }
                }
            }
        }
    }
}
