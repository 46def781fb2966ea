//! Plots as SVG that takes its colours from the page.
//!
//! plotters writes fixed colours. Each role of colour is drawn in a marker colour of its own, which is then replaced by
//! a CSS variable, so that one drawing serves the light and the dark page and print.

mod removals;
mod scale;
mod scatter;

pub(crate) use removals::removal_bars;
pub(crate) use scale::{nice_ticks, ticks_with_room};
pub(crate) use scatter::lds_scatter;

use maud::{Markup, PreEscaped, Render, html};
use plotters::style::RGBColor;

use crate::ReportError;

/// Text in plots, as plotters counts sizes (it divides by 1.24): 15 px.
const TEXT: f64 = 15.0 * 1.24;

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Strong,
    Text,
    Grid,
    Axis,
    Main,
    Contrast,
    Quiet,
}

impl Ink {
    const ALL: [Ink; 7] =
        [Ink::Strong, Ink::Text, Ink::Grid, Ink::Axis, Ink::Main, Ink::Contrast, Ink::Quiet];

    /// The marker colour that plotters draws with.
    fn marker(self) -> RGBColor {
        RGBColor(1, 2, 10 + self as u8)
    }

    /// The CSS variable that replaces it.
    fn variable(self) -> &'static str {
        match self {
            Ink::Strong => "var(--ink)",
            Ink::Text => "var(--muted)",
            Ink::Grid => "var(--hairline)",
            Ink::Axis => "var(--rule)",
            Ink::Main => "var(--main)",
            Ink::Contrast => "var(--contrast)",
            Ink::Quiet => "var(--quiet)",
        }
    }
}

/// A finished drawing.
struct Drawing {
    /// What plotters wrote.
    svg: String,
    size: (u32, u32),
    title: String,
    description: String,
    /// Tooltips of the circles, in the order in which they were drawn.
    circle_titles: Vec<String>,
}

impl Drawing {
    /// Replaces the colours, drops what an inline SVG does not need, and adds title, description and tooltips.
    fn into_markup(self, id: &str) -> Markup {
        let inner = self.svg.split_once('>').map_or("", |(_, rest)| rest);
        let inner = inner.rsplit_once("</svg>").map_or(inner, |(body, _)| body);
        let mut body = inner.replace(" font-family=\"sans-serif\"", "");
        for ink in Ink::ALL {
            let RGBColor(r, g, b) = ink.marker();
            body = body.replace(&format!("#{r:02X}{g:02X}{b:02X}"), ink.variable());
        }
        let mut circles = self.circle_titles.iter();
        let body: String = body
            .lines()
            .map(|line| match (line.starts_with("<circle"), line.strip_suffix("/>")) {
                (true, Some(start)) => match circles.next() {
                    Some(title) => {
                        format!("{start}><title>{}</title></circle>\n", title.render().into_string())
                    }
                    None => format!("{line}\n"),
                },
                _ => format!("{line}\n"),
            })
            .collect();
        let (title_id, description_id) = (format!("{id}-title"), format!("{id}-description"));
        html! {
            svg class="plot" viewBox=(format!("0 0 {} {}", self.size.0, self.size.1)) role="img"
                aria-labelledby=(title_id) aria-describedby=(description_id) {
                title id=(title_id) { (self.title) }
                desc id=(description_id) { (self.description) }
                (PreEscaped(body))
            }
        }
    }
}

/// Turns any plotting error into ours.
fn plot_error<'a, E: std::fmt::Display>(plot: &'a str) -> impl Fn(E) -> ReportError + 'a {
    move |error| ReportError::Plot { plot: plot.to_owned(), reason: error.to_string() }
}
