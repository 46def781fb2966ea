//! What the models draw.

use maud::{Markup, html};

use super::picture;
use super::removal::names;
use crate::format::{counted, magnitude, percent};
use crate::{CoalitionModel, Picture, ReportData};

/// More names than this are counted instead of listed.
const NAMES: usize = 6;

/// The sample grids of the full, the pruned and a few coalition models; nothing if there is none.
pub(super) fn gallery(data: &ReportData) -> Markup {
    let models = &data.models;
    let full = models.full.samples.as_ref();
    let pruned = models.pruned.as_ref().and_then(|p| Some((p, p.model.samples.as_ref()?)));
    if full.is_none() && pruned.is_none() && models.coalitions.is_empty() {
        return html! {};
    }
    html! {
        h3 class="sub" { "What the models draw" }
        div class="gallery" {
            @if let Some(samples) = full {
                (plate(
                    samples,
                    "Everybody",
                    &format!("the full model, {} parameters", magnitude(models.full.parameters)),
                ))
            }
            @if let Some((pruned, samples)) = pruned {
                (plate(
                    samples,
                    "Everybody, pruned",
                    &format!(
                        "{} of channels removed, {} parameters",
                        percent(pruned.ratio),
                        magnitude(pruned.model.parameters)
                    ),
                ))
            }
            @for model in &models.coalitions { (plate(&model.samples, &membership(data, model), &model.method)) }
        }
    }
}

fn plate(samples: &Picture, title: &str, caption: &str) -> Markup {
    html! {
        figure class="plate" {
            (picture(samples, "grid"))
            figcaption { strong { (title) } span { (caption) } }
        }
    }
}

/// Who is in a coalition, said the shorter way.
fn membership(data: &ReportData, model: &CoalitionModel) -> String {
    let absent: Vec<usize> = (0..data.contributors.len()).filter(|i| !model.members.contains(i)).collect();
    let (present, missing) = (model.members.len(), absent.len());
    match (missing == 0, present == 0, missing <= present) {
        (true, _, _) => "Everybody".to_owned(),
        (_, true, _) => "Nobody".to_owned(),
        (_, _, true) if missing <= NAMES => format!("Without {}", names(data, &absent)),
        (_, _, false) if present <= NAMES => format!("Only {}", names(data, &model.members)),
        (_, _, true) => format!("Without {}", counted(missing as u64, "contributor")),
        (_, _, false) => format!("Only {}", counted(present as u64, "contributor")),
    }
}
