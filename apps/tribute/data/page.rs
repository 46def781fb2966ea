//! The pictures of `tribute data inspect`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data::{DataError, Dataset};
use maud::{DOCTYPE, Markup, html};
use study::StudyError;

use super::inspect::Inspection;

/// Contributors on the contact sheet, and on the page.
const PEOPLE: usize = 200;
/// Pairs of near duplicates on the page.
const PAIRS: usize = 100;

const STYLE: &str = "body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top }
img { display: block; max-width: 100%; image-rendering: pixelated } section { margin: 1.5rem 0 } h3 { margin: 0 0 .25rem; font-size: 1rem }
.number { color: #666; font-weight: normal } .pair { display: inline-block; margin: 0 1.5rem 1.5rem 0 } .pair p { margin: 0 } .warning { color: #a33 }";

/// A row of images for each contributor, in the order of their names: PNG.
pub(super) fn contact_sheet(dataset: &Dataset, columns: usize) -> Result<Vec<u8>, StudyError> {
    let (width, height) = dataset.size();
    let mut pixels = Vec::new();
    let blank = vec![255; 3 * width as usize * height as usize];
    let people = dataset.contributors().iter().take(PEOPLE);
    let columns = columns.min(people.clone().map(|one| one.images.len()).max().unwrap_or(1));
    let mut count = 0;
    for contributor in people {
        for place in 0..columns {
            match contributor.images.get(place) {
                Some(&image) => pixels.extend_from_slice(&dataset.image(image)?),
                None => pixels.extend_from_slice(&blank),
            }
            count += 1;
        }
    }
    Ok(data::png_grid(&pixels, [count, height as usize, width as usize, 3], columns)?)
}

/// A page without scripts that needs no network.
pub(super) fn page(dataset: &Dataset, inspection: &Inspection, columns: usize) -> Result<String, StudyError> {
    let mut people = Vec::new();
    for contributor in dataset.contributors().iter().take(PEOPLE) {
        let shown = &contributor.images[..columns.min(contributor.images.len())];
        people.push((contributor, grid(dataset, shown)?));
    }
    let mut pairs = Vec::new();
    for pair in inspection.near_duplicates.iter().take(PAIRS) {
        pairs.push((pair, grid(dataset, &[pair.first.image, pair.second.image])?));
    }
    let left_out = dataset.contributors().len().saturating_sub(PEOPLE);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (inspection.path.display()) }
                style { (STYLE) }
            }
            body {
                h1 { (inspection.images) " images by " (inspection.contributors.len()) " contributors" }
                (facts(inspection))
                h2 { "Contributors" }
                @for (contributor, png) in &people {
                    section {
                        h3 { (contributor.name) " " span.number { (contributor.images.len()) } }
                        (picture(png, &format!("images by {}", contributor.name)))
                    }
                }
                @if left_out > 0 { p { "and " (left_out) " contributors more" } }
                h2 { "Near duplicates by different contributors" }
                p { (inspection.near_duplicate_pairs) " pairs" @if inspection.near_duplicate_pairs > PAIRS { "; the closest " (PAIRS) " are shown" } "." }
                @for (pair, png) in &pairs {
                    div.pair {
                        (picture(png, "two images that look alike"))
                        p { (pair.first.text()) }
                        p { (pair.second.text()) }
                        p.number { (pair.distance) "% apart" }
                    }
                }
            }
        }
    };
    Ok(markup.into_string())
}

fn facts(inspection: &Inspection) -> Markup {
    let rows = [
        ("Path", Some(inspection.path.display().to_string())),
        ("Contributor", Some(inspection.contributor_key.join(", "))),
        ("Columns", Some(inspection.columns.join(", "))),
        ("Licence", inspection.licence.clone()),
        ("Credit", inspection.credit.clone()),
        ("Origin", inspection.origin.clone()),
        ("Content hash", Some(inspection.content_hash.clone())),
    ];
    html! {
        @for notice in &inspection.notices { p.warning { (notice) } }
        table {
            @for (name, value) in rows {
                tr { th { (name) } td { @match value { Some(value) => (value), None => "none is given" } } }
            }
            tr {
                th { "Sizes" }
                td {
                    @for size in inspection.stored_sizes.iter().take(20) {
                        div { (size.images) " of " (size.width) " x " (size.height) }
                    }
                }
            }
        }
    }
}

fn grid(dataset: &Dataset, images: &[usize]) -> Result<Vec<u8>, DataError> {
    dataset.png_grid(images, images.len())
}

fn picture(png: &[u8], what: &str) -> Markup {
    html! { img alt=(what) src=(format!("data:image/png;base64,{}", STANDARD.encode(png))); }
}
