//! Rows that were drawn together: what counts as one independent observation.

use removal::RemovalDistribution;

use crate::permutation::order_units;
use crate::{UtilityRow, UtilityTable};

/// The rows by independent units, in order: `[start, end)` of each. Under a paired distribution two rows in a row that are
/// complements are one unit; a row whose partner is missing (left out as a repeat, for instance) is one by itself.
pub(crate) fn pairs(rows: &[&UtilityRow]) -> Vec<std::ops::Range<usize>> {
    let mut units = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        let partner = rows.get(start + 1);
        let pair =
            partner.is_some_and(|partner| rows[start].coalition().complement() == *partner.coalition());
        let end = if pair { start + 2 } else { start + 1 };
        units.push(start..end);
        start = end;
    }
    units
}

/// The units of rows drawn from a distribution.
pub(crate) fn units(rows: &[&UtilityRow], distribution: RemovalDistribution) -> Vec<std::ops::Range<usize>> {
    if distribution.is_paired() { pairs(rows) } else { (0..rows.len()).map(|row| row..row + 1).collect() }
}

/// The units of a table that may be left out or repeated one by one: as [`units`], and whole orders (with the same order
/// backwards, where that follows) under a distribution that draws those. Rows of incomplete orders belong to none.
pub(crate) fn resampling_units(
    table: &UtilityTable,
    distribution: RemovalDistribution,
) -> Vec<std::ops::Range<usize>> {
    match distribution {
        RemovalDistribution::Permutation | RemovalDistribution::PermutationAntithetic => {
            order_units(table.n(), table.rows())
        }
        _ => units(&table.rows().iter().collect::<Vec<_>>(), distribution),
    }
}

#[cfg(test)]
mod tests {
    use removal::Coalition;

    use super::*;

    #[test]
    fn partners_are_found_and_widows_stay_alone() {
        let mut table = UtilityTable::new(4);
        for members in [&[0][..], &[1, 2, 3], &[0, 1], &[0, 2], &[1, 3]] {
            table.push(Coalition::from_members(4, members.iter().copied()).unwrap(), 0.0).unwrap();
        }
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        assert_eq!(units(&rows, RemovalDistribution::ShapleyPaired), [0..2, 2..3, 3..5]);
        assert_eq!(units(&rows, RemovalDistribution::Shapley).len(), 5);
    }

    #[test]
    fn orders_stay_whole_and_opposite_ones_together() {
        let mut table = UtilityTable::new(3);
        // 0 1 2 and backwards, half an order, and another one.
        for members in [&[0][..], &[0, 1], &[2], &[1, 2], &[1], &[0], &[0, 2]] {
            table.push(Coalition::from_members(3, members.iter().copied()).unwrap(), 0.0).unwrap();
        }
        let units = resampling_units(&table, RemovalDistribution::PermutationAntithetic);
        assert_eq!(units, [0..4, 5..7]);
        assert_eq!(resampling_units(&table, RemovalDistribution::Shapley).len(), 7);
    }
}
