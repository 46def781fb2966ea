//! Relative change of a behaviour when contributors are removed.

use maud::Markup;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawing, Ink, TEXT, nice_ticks, plot_error};
use crate::format::{Decimals, percent, signed_percent, signed_points};
use crate::{BehaviorReport, Counterfactual, RemovalOrder, ReportError};

const SIZE: (u32, u32) = (460, 330);
const ORDERS: [RemovalOrder; 3] = [RemovalOrder::Top, RemovalOrder::Random, RemovalOrder::Bottom];

fn ink(order: RemovalOrder) -> Ink {
    match order {
        RemovalOrder::Top => Ink::Main,
        RemovalOrder::Bottom => Ink::Contrast,
        RemovalOrder::Random => Ink::Quiet,
    }
}

/// Grouped bars: one group a fraction, one bar an order of removal. Nothing if no change was measured.
pub(crate) fn removal_bars(behavior: &BehaviorReport, id: &str) -> Result<Option<Markup>, ReportError> {
    let measured: Vec<(&Counterfactual, f64)> =
        behavior.counterfactuals.iter().filter_map(|c| Some((c, c.relative_change.get()?))).collect();
    if measured.is_empty() {
        return Ok(None);
    }
    let mut fractions: Vec<f64> = measured.iter().map(|(c, _)| c.fraction).collect();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    let orders: Vec<RemovalOrder> =
        ORDERS.into_iter().filter(|order| measured.iter().any(|(c, _)| c.order == *order)).collect();

    let ends = measured
        .iter()
        .flat_map(|(c, v)| [*v, c.interval.map_or(*v, |i| i.low), c.interval.map_or(*v, |i| i.high)]);
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let room = if high > low { (high - low) * 0.12 } else { 0.05 };
    let (low, high) = (if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 });
    let high = if high > low { high } else { low + room };

    let title = format!("Change of \u{201c}{}\u{201d} after removing contributors", behavior.name);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(24)
            .margin_right(6)
            .x_label_area_size(58)
            .y_label_area_size(68)
            .build_cartesian_2d(0.0..fractions.len() as f64, low..high)
            .map_err(plot_error(&title))?;
        let text = ("sans-serif", TEXT).into_font().color(&Ink::Text.marker());
        let at = |h, v| text.clone().pos(Pos::new(h, v));
        let line = |value: f64, ink: Ink| {
            PathElement::new(
                vec![(0.0, value), (fractions.len() as f64, value)],
                ink.marker().stroke_width(1),
            )
        };
        let ticks = nice_ticks(low, high, 6);
        chart.draw_series(ticks.iter().map(|t| line(*t, Ink::Grid))).map_err(plot_error(&title))?;
        chart.draw_series([line(0.0, Ink::Text)]).map_err(plot_error(&title))?;

        let width = 0.84 / orders.len() as f64;
        for (removal, change) in &measured {
            let (Some(group), Some(slot)) = (
                fractions.iter().position(|f| (f - removal.fraction).abs() < 1e-9),
                orders.iter().position(|order| *order == removal.order),
            ) else {
                continue;
            };
            let left = group as f64 + 0.08 + width * (slot as f64 + 0.06);
            let right = left + width * 0.88;
            let colour = ink(removal.order).marker();
            chart
                .draw_series([Rectangle::new([(left, 0.0), (right, *change)], colour.filled())])
                .map_err(plot_error(&title))?;
            let centre = (left + right) / 2.0;
            let mut tip = *change;
            if let Some(interval) = removal.interval {
                let ends = vec![(centre, interval.low), (centre, interval.high)];
                chart
                    .draw_series([PathElement::new(ends, Ink::Strong.marker().stroke_width(2))])
                    .map_err(plot_error(&title))?;
                tip = if *change < 0.0 { interval.low.min(*change) } else { interval.high.max(*change) };
            }
            let (px, py) = chart.backend_coord(&(centre, tip));
            let (anchor, offset) = if *change < 0.0 { (VPos::Top, 4) } else { (VPos::Bottom, -2) };
            root.draw_text(&signed_points(*change), &at(HPos::Center, anchor), (px, py + offset))
                .map_err(plot_error(&title))?;
        }
        for (group, fraction) in fractions.iter().enumerate() {
            let (px, py) = chart.backend_coord(&(group as f64 + 0.5, low));
            root.draw_text(&percent(*fraction), &at(HPos::Center, VPos::Top), (px, py + 10))
                .map_err(plot_error(&title))?;
        }
        let (middle, bottom) = chart.backend_coord(&(fractions.len() as f64 / 2.0, low));
        root.draw_text(
            "share of the contributors removed",
            &at(HPos::Center, VPos::Top),
            (middle, bottom + 34),
        )
        .map_err(plot_error(&title))?;
        let labels = Decimals::for_ticks(&ticks.iter().map(|tick| tick * 100.0).collect::<Vec<_>>());
        for tick in ticks {
            let (px, py) = chart.backend_coord(&(0.0, tick));
            root.draw_text(
                &format!("{}\u{a0}%", labels.signed(tick * 100.0)),
                &at(HPos::Right, VPos::Center),
                (px - 8, py),
            )
            .map_err(plot_error(&title))?;
        }
        root.present().map_err(plot_error(&title))?;
    }
    let description = measured
        .iter()
        .map(|(c, v)| {
            format!("{} {} removed: {}.", order_name(c.order), percent(c.fraction), signed_percent(*v))
        })
        .collect::<Vec<_>>()
        .join(" ");
    Ok(Some(Drawing { svg, size: SIZE, title, description, circle_titles: Vec::new() }.into_markup(id)))
}

fn order_name(order: RemovalOrder) -> &'static str {
    match order {
        RemovalOrder::Top => "Top",
        RemovalOrder::Bottom => "Bottom",
        RemovalOrder::Random => "Random",
    }
}
