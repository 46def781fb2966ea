//! Predicted against true utilities.

use maud::Markup;
use plotters::element::Circle;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scale::padded;
use super::{Drawing, Ink, TEXT, nice_ticks, plot_error, ticks_with_room};
use crate::format::Decimals;
use crate::{BehaviorReport, LdsReport, ReportError};

/// Width of a digit of [`TEXT`] in pixels.
const CHARACTER: f64 = 0.6 * TEXT;
/// Digits that are as wide as the horizontal axis.
const X_ROOM: usize = 32;
const SIZE: (u32, u32) = (460, 420);

/// One dot a test coalition, larger for larger coalitions, with the line of equality where both axes share values.
///
/// Nothing if no point has both numbers.
pub(crate) fn lds_scatter(
    behavior: &BehaviorReport,
    lds: &LdsReport,
    id: &str,
) -> Result<Option<Markup>, ReportError> {
    let points: Vec<(f64, f64, usize, &str)> = lds
        .points
        .iter()
        .filter_map(|p| Some((p.predicted.get()?, p.actual.get()?, p.coalition_size, p.label.as_str())))
        .collect();
    let (Some(x), Some(y)) =
        (padded(points.iter().map(|p| p.0), 0.06), padded(points.iter().map(|p| p.1), 0.06))
    else {
        return Ok(None);
    };
    let title =
        format!("Predicted and true \u{201c}{}\u{201d} of {} test coalitions", behavior.name, points.len());
    let x_ticks = ticks_with_room(x.start, x.end, 5, X_ROOM, Decimals::labels);
    let y_ticks = nice_ticks(y.start, y.end, 6);
    let longest = Decimals::labels(&y_ticks).iter().map(|label| label.chars().count()).max().unwrap_or(0);
    // The labels, their distance from the axis, and the axis's name.
    let y_label_area = ((longest as f64 * CHARACTER) as i32 + 38).max(78);
    let (x_labels, y_labels) = (Decimals::for_ticks(&x_ticks), Decimals::for_ticks(&y_ticks));
    let x_decimals = Decimals::for_resolution((x.end - x.start) / 10.0);
    let y_decimals = Decimals::for_resolution((y.end - y.start) / 10.0);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(12)
            .margin_right(16)
            .x_label_area_size(62)
            .y_label_area_size(y_label_area)
            .build_cartesian_2d(x.clone(), y.clone())
            .map_err(plot_error(&title))?;
        let text = ("sans-serif", TEXT).into_font().color(&Ink::Text.marker());
        let grid = Ink::Grid.marker().stroke_width(1);
        for &tick in &x_ticks {
            let line = PathElement::new(vec![(tick, y.start), (tick, y.end)], grid);
            chart.draw_series([line]).map_err(plot_error(&title))?;
        }
        for &tick in &y_ticks {
            let line = PathElement::new(vec![(x.start, tick), (x.end, tick)], grid);
            chart.draw_series([line]).map_err(plot_error(&title))?;
        }
        let (from, to) = (x.start.max(y.start), x.end.min(y.end));
        if from < to {
            let equality =
                DashedLineSeries::new([(from, from), (to, to)], 6, 5, Ink::Axis.marker().stroke_width(2));
            chart.draw_series(equality).map_err(plot_error(&title))?;
        }
        let largest = points.iter().map(|p| p.2).max().unwrap_or(1).max(1);
        let dots = points.iter().map(|&(px, py, size, _)| {
            let radius = 4.0 + 4.0 * size as f64 / largest as f64;
            Circle::new((px, py), radius.round() as u32, Ink::Main.marker().mix(0.62).filled())
        });
        chart.draw_series(dots).map_err(plot_error(&title))?;

        // Labels are placed by hand: plotters' mesh would choose the ticks and their decimals itself.
        let place = |px: f64, py: f64| chart.backend_coord(&(px, py));
        let at = |h, v| text.clone().pos(Pos::new(h, v));
        for &tick in &x_ticks {
            let (px, py) = place(tick, y.start);
            root.draw_text(&x_labels.show(tick), &at(HPos::Center, VPos::Top), (px, py + 10))
                .map_err(plot_error(&title))?;
        }
        for &tick in &y_ticks {
            let (px, py) = place(x.start, tick);
            root.draw_text(&y_labels.show(tick), &at(HPos::Right, VPos::Center), (px - 10, py))
                .map_err(plot_error(&title))?;
        }
        let (middle, bottom) = place((x.start + x.end) / 2.0, y.start);
        root.draw_text("predicted by the scores", &at(HPos::Center, VPos::Top), (middle, bottom + 36))
            .map_err(plot_error(&title))?;
        let turned = ("sans-serif", TEXT).into_font().transform(FontTransform::Rotate270);
        let turned = turned.color(&Ink::Text.marker()).pos(Pos::new(HPos::Center, VPos::Top));
        let (_, centre) = place(x.start, (y.start + y.end) / 2.0);
        root.draw_text("true, after retraining", &turned, (4, centre)).map_err(plot_error(&title))?;
        root.present().map_err(plot_error(&title))?;
    }
    let description = format!(
        "Scatter plot. Horizontal: the utility that the scores predict, from {} to {}. Vertical: the utility of retrained \
         models, from {} to {}.",
        x_decimals.show(x.start),
        x_decimals.show(x.end),
        y_decimals.show(y.start),
        y_decimals.show(y.end),
    );
    let circle_titles = points
        .iter()
        .map(|&(px, py, size, label)| {
            format!(
                "{label}: {size} contributors, predicted {}, true {}",
                x_decimals.show(px),
                y_decimals.show(py)
            )
        })
        .collect();
    Ok(Some(Drawing { svg, size: SIZE, title, description, circle_titles }.into_markup(id)))
}
