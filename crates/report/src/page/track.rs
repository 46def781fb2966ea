//! Bars with whiskers on one shared scale, in HTML so that they reflow with the page.

use maud::{Markup, html};

use crate::Interval;
use crate::format::Decimals;
use crate::plot::ticks_with_room;

/// Characters that are as wide as the narrowest axis, 8rem in the style sheet.
const NARROWEST: usize = 17;

/// A linear scale from a value to a percentage of the track's width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// A scale that holds all finite values, zero, and a margin; nothing if there is no value.
    pub(super) fn holding(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut any = false;
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for value in values.into_iter().filter(|v| v.is_finite()) {
            any = true;
            (low, high) = (low.min(value), high.max(value));
        }
        let margin = (high - low) * 0.02;
        let ends =
            (if low < 0.0 { low - margin } else { low }, if high > 0.0 { high + margin } else { high });
        (any && high > low).then_some(Scale { low: ends.0, high: ends.1 })
    }

    fn position(self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low) * 100.0).clamp(0.0, 100.0)
    }

    fn between(self, a: f64, b: f64) -> String {
        let (left, right) = (self.position(a.min(b)), self.position(a.max(b)));
        format!("left:{left:.2}%;width:{:.2}%", right - left)
    }

    /// The axis above the tracks.
    ///
    /// `unit` multiplies the numbers that are shown.
    pub(super) fn axis(self, unit: f64) -> Markup {
        let labels =
            |ticks: &[f64]| Decimals::labels(&ticks.iter().map(|tick| tick * unit).collect::<Vec<f64>>());
        let ticks = ticks_with_room(self.low, self.high, 5, NARROWEST, labels);
        html! {
            div class="axis" aria-hidden="true" {
                @for (tick, label) in ticks.iter().zip(labels(&ticks)) {
                    span style=(format!("left:{:.2}%", self.position(*tick))) { (label) }
                }
            }
        }
    }

    /// A bar from zero to `value` with its interval as a whisker; `kind` is the bar's CSS class.
    pub(super) fn bar(
        self,
        value: Option<f64>,
        interval: Option<Interval>,
        kind: &str,
        ceiling: Option<f64>,
    ) -> Markup {
        html! {
            div class="track" aria-hidden="true" {
                @if let Some(ceiling) = ceiling {
                    i class="ceiling" style=(format!("left:{:.2}%", self.position(ceiling))) {}
                }
                @if let Some(value) = value { i class=(format!("bar {kind}")) style=(self.between(0.0, value)) {} }
                i class="zero" style=(format!("left:{:.2}%", self.position(0.0))) {}
                @if let Some(interval) = interval {
                    i class="whisker" style=(self.between(interval.low, interval.high)) {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_zero_and_stay_inside() {
        let scale = Scale::holding([-1.0, 3.0]).expect("two values");
        assert_eq!(scale.position(-100.0), 0.0);
        let bar = scale.bar(Some(-1.0), Interval::new(-9.0, 9.0), "against", None).into_string();
        assert!(bar.contains("class=\"whisker\" style=\"left:0.00%;width:100.00%\""), "{bar}");
        assert!(Scale::holding([0.0]).is_none() && Scale::holding([f64::NAN]).is_none());
    }
}
