//! The contributors' works: each picture is stored once, however many behaviours list its contributor.

use maud::{Markup, html};

use super::data_uri;
use crate::{Picture, ReportData};

/// The `id` of a work's picture in the store.
fn id(contributor: usize, work: usize) -> String {
    format!("work-{contributor}-{work}")
}

/// The store: pictures that are not shown where they stand, to be referred to by [`thumbnails`].
pub(super) fn store(data: &ReportData) -> Markup {
    html! {
        svg class="store" width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                @for (contributor, person) in data.contributors.iter().enumerate() {
                    @for (work, picture) in person.works.iter().enumerate() {
                        @if let Some(png) = picture.png() {
                            image id=(id(contributor, work)) width=(picture.width()) height=(picture.height())
                                href=(data_uri(png)) {}
                        }
                    }
                }
            }
        }
    }
}

/// A contributor's works in a row.
pub(super) fn thumbnails(contributor: usize, works: &[Picture]) -> Markup {
    html! {
        div class="works" {
            @for (work, picture) in works.iter().enumerate() {
                @if picture.png().is_some() {
                    svg class="work" viewBox=(format!("0 0 {} {}", picture.width(), picture.height())) role="img"
                        aria-label=(picture.description()) {
                        use href=(format!("#{}", id(contributor, work))) {}
                    }
                } @else {
                    span class="no-picture" { (picture.description()) }
                }
            }
        }
    }
}
