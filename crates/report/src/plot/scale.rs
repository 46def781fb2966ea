//! Ranges and ticks of axes.

use std::ops::Range;

/// A range that holds all finite `values` with a margin on both sides; nothing if there are none.
pub(super) fn padded(values: impl Iterator<Item = f64>, margin: f64) -> Option<Range<f64>> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let spread = high - low;
    let pad = if spread > 0.0 { spread * margin } else { low.abs().max(1.0) * margin };
    Some(low - pad..high + pad)
}

/// Round numbers (1, 2, 2.5 or 5 times a power of ten apart) inside `low..=high`, at most `most` of them.
pub(crate) fn nice_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || most < 2 {
        return Vec::new();
    }
    let power = 10f64.powf((span / most as f64).log10().floor());
    let ticks = |step: f64| -> Vec<f64> {
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).map(|k| k as f64 * step).collect()
    };
    [1.0, 2.0, 2.5, 5.0, 10.0, 20.0]
        .iter()
        .map(|factor| ticks(factor * power))
        .find(|ticks| ticks.len() <= most)
        .unwrap_or_default()
}

/// [`nice_ticks`] whose labels stand beside each other, two characters apart, where `room` characters are as wide as the whole axis;
/// `label` shows the ticks, as many as it is given.
pub(crate) fn ticks_with_room(
    low: f64,
    high: f64,
    most: usize,
    room: usize,
    label: impl Fn(&[f64]) -> Vec<String>,
) -> Vec<f64> {
    let fits = |ticks: &Vec<f64>| {
        let longest = label(ticks).iter().map(|text| text.chars().count()).max().unwrap_or(0);
        let apart = ticks.windows(2).map(|pair| (pair[1] - pair[0]) / (high - low) * room as f64);
        apart.fold(f64::INFINITY, f64::min) >= longest as f64 + 2.0
    };
    // One label is beside no other.
    (2..=most)
        .rev()
        .map(|most| nice_ticks(low, high, most))
        .find(fits)
        .unwrap_or_else(|| nice_ticks(low, high, 2).into_iter().take(1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(nice_ticks(-0.13, 0.41, 5), [0.0, 0.2, 0.4]);
        assert_eq!(nice_ticks(0.0, 100.0, 6), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(nice_ticks(1.0, 1.0, 5), Vec::<f64>::new());
    }

    #[test]
    fn long_labels_leave_room_for_each_other() {
        let ticks = |room| {
            let label = |ticks: &[f64]| ticks.iter().map(|tick| format!("{tick:.4}")).collect();
            ticks_with_room(0.0, 0.005, 6, room, label)
        };
        assert_eq!(ticks(60).len(), 6);
        // Labels of six characters, two apart, on an axis of 24.
        assert_eq!(ticks(24), [0.0, 0.002, 0.004]);
        assert_eq!(ticks(7), [0.0]);
    }

    #[test]
    fn a_range_of_one_value_still_has_a_width() {
        assert_eq!(padded([2.0].into_iter(), 0.1), Some(1.8..2.2));
        assert_eq!(padded([f64::NAN].into_iter(), 0.1), None);
    }
}
