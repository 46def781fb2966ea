//! One number for what counterfactual removals say of a ranking.

/// One removal: the share removed, and the behaviour of the models retrained without the top and without the bottom of the
/// ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removed {
    /// Share of the contributors that was removed.
    pub fraction: f64,
    /// Without those ranked first.
    pub without_top: f64,
    /// Without those ranked last.
    pub without_bottom: f64,
}

/// The mean gap between the two curves over the shares removed, relative to the full model's value:
/// `1 / (f_k |v|) * integral over 0..f_k of sign (v without bottom - v without top)`, by the trapezoidal rule, the gap being
/// 0 where nobody is removed. Positive if losing the top costs more; `sign` is -1 where less is better. `None` without
/// removals or for v = 0.
pub fn counterfactual_area(full: f64, sign: f64, removed: &[Removed]) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = removed
        .iter()
        .map(|point| (point.fraction, sign * (point.without_bottom - point.without_top) / full.abs()))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = points.last()?.0;
    let mut area = 0.0;
    let mut before = (0.0, 0.0);
    for point in points {
        area += (point.0 - before.0) * (point.1 + before.1) / 2.0;
        before = point;
    }
    Some(area / last).filter(|area| area.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_gap_is_its_own_mean_after_the_first_rise() {
        let at = |fraction, gap: f64| Removed { fraction, without_top: 10.0 - gap, without_bottom: 10.0 };
        // A triangle up to 0.5: half of its height.
        assert_eq!(counterfactual_area(10.0, 1.0, &[at(0.5, 4.0)]), Some(0.2));
        // Trapezoids: 0.25 * 0.4 / 2 + 0.25 * 0.4, over 0.5; the order of the points does not matter.
        let area = counterfactual_area(-10.0, 1.0, &[at(0.5, 4.0), at(0.25, 4.0)]).unwrap();
        assert!((area - 0.3).abs() < 1e-12, "{area}");
        assert_eq!(counterfactual_area(10.0, -1.0, &[at(0.5, 4.0)]), Some(-0.2));
        assert_eq!(counterfactual_area(0.0, 1.0, &[at(0.5, 4.0)]), None);
        assert_eq!(counterfactual_area(1.0, 1.0, &[]), None);
    }
}
