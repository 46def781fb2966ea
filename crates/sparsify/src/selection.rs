//! From scores to the channels that stay.

use std::collections::BTreeMap;

use crate::settings::kept;
use crate::{DependencyGraph, Group, GroupPlan, PruningSettings, Scope, SparsifyError};

/// How wide the groups were before the first step: what ratios refer to.
pub(crate) struct Positions(BTreeMap<String, usize>);

impl Positions {
    /// The widths of this network.
    pub(crate) fn of(graph: &DependencyGraph) -> Self {
        Self(graph.groups().iter().map(|group| (group.name.clone(), group.channels)).collect())
    }

    /// The width that this group had.
    fn channels(&self, group: &Group) -> usize {
        self.0.get(&group.name).copied().unwrap_or(group.channels)
    }

    /// The positions of the blocks of all groups that can lose a channel.
    fn total(&self, graph: &DependencyGraph) -> usize {
        let groups = graph.groups().iter().filter(|group| self.channels(group) > 1);
        groups.map(|group| self.channels(group) / group.blocks).sum()
    }
}

/// The channels of each of the graph's groups that stay, in their order, after `ratio` of the initial ones are gone.
///
/// In each block of a group the same positions go: those of least score averaged over the blocks.
pub(crate) fn choose(
    graph: &DependencyGraph,
    scores: &[Vec<f64>],
    initial: &Positions,
    settings: PruningSettings,
    ratio: f64,
) -> Result<Vec<GroupPlan>, SparsifyError> {
    let by_position = graph.groups().iter().zip(scores).map(|(group, scores)| sums(group, scores));
    let stays: Vec<Vec<bool>> = match settings.scope {
        Scope::Group => graph
            .groups()
            .iter()
            .zip(by_position)
            .map(|(group, sums)| {
                let (channels, blocks) = (group.channels, group.blocks);
                let removed =
                    settings.rounding.removed_per_block(channels, initial.channels(group), blocks, ratio);
                without_least(&sums, removed)
            })
            .collect(),
        Scope::Global => {
            let means: Vec<Vec<f64>> = graph
                .groups()
                .iter()
                .zip(by_position)
                .map(|(group, sums)| sums.iter().map(|sum| sum / group.blocks as f64).collect())
                .collect();
            above_common_score(graph, &means, initial.total(graph), ratio)
        }
    };
    graph.groups().iter().zip(stays).map(|(group, stays)| GroupPlan::of_positions(group, &stays)).collect()
}

/// The scores of the channels that share a position in their blocks, added up.
fn sums(group: &Group, scores: &[f64]) -> Vec<f64> {
    let size = group.channels / group.blocks;
    (0..size).map(|position| scores.iter().skip(position).step_by(size).sum()).collect()
}

/// All but the `removed` least, the lower position first among equals.
fn without_least(scores: &[f64], removed: usize) -> Vec<bool> {
    let mut stays = vec![true; scores.len()];
    let mut ranked: Vec<usize> = (0..scores.len()).collect();
    ranked.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    ranked[..removed].iter().for_each(|&position| stays[position] = false);
    stays
}

/// All positions above the score up to which the ratio of `total` goes.
fn above_common_score(
    graph: &DependencyGraph,
    means: &[Vec<f64>],
    total: usize,
    ratio: f64,
) -> Vec<Vec<bool>> {
    // A group of one channel has nothing to lose, and takes no part in the ranking.
    let ranked = || graph.groups().iter().zip(means).filter(|(group, _)| group.channels > 1);
    let mut all: Vec<f64> = ranked().flat_map(|(_, means)| means.iter().copied()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let removed = all.len().saturating_sub(kept(total, ratio));
    let limit = removed.checked_sub(1).map(|last| all[last]);
    means
        .iter()
        .map(|means| {
            let stays: Vec<bool> = means.iter().map(|&mean| limit.is_none_or(|limit| mean > limit)).collect();
            if stays.contains(&true) { stays } else { vec![true; means.len()] }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use diffusion_core::UNet2DConfig;

    use super::*;
    use crate::{Ratio, Rounding};

    fn settings(ratio: f64, scope: Scope) -> PruningSettings {
        PruningSettings { scope, rounding: Rounding::Up, ..PruningSettings::new(Ratio::new(ratio).unwrap()) }
    }

    #[test]
    fn the_least_go_from_every_block_alike() {
        // Block means: 4, 2, 6, 3.
        let scores = [1.0, 2.0, 3.0, 4.0, 7.0, 2.0, 9.0, 2.0];
        let group = |blocks| Group { name: "g".to_owned(), channels: 8, blocks, slices: Vec::new() };
        let kept = |blocks: usize, removed: usize| {
            let stays = without_least(&sums(&group(blocks), &scores), removed);
            GroupPlan::of_positions(&group(blocks), &stays).unwrap().kept
        };
        assert_eq!(kept(2, 2).as_slice(), [0, 2, 4, 6]);
        assert_eq!(kept(1, 4).as_slice(), [2, 3, 4, 6]);
        // Of equal ones the first go.
        assert_eq!(without_least(&[1.0; 6], 3), [false, false, false, true, true, true]);
    }

    #[test]
    fn a_global_ranking_takes_from_the_least_important_groups() {
        let graph = DependencyGraph::of(&UNet2DConfig::small(16, &[16, 32])).unwrap();
        let initial = Positions::of(&graph);
        let total = initial.total(&graph);
        // Scores rise from group to group, and within each, so that the first groups lose all, but are not allowed to.
        let scores: Vec<Vec<f64>> = graph
            .groups()
            .iter()
            .enumerate()
            .map(|(i, group)| (0..group.channels).map(|c| (1000 * i + c) as f64).collect())
            .collect();
        let ratio = 0.5;
        let plans = choose(&graph, &scores, &initial, settings(ratio, Scope::Global), ratio).unwrap();
        let mut to_go = total - kept(total, ratio);
        for (group, plan) in graph.groups().iter().zip(&plans) {
            let size = group.channels / group.blocks;
            let expected = if to_go >= size { group.channels } else { group.channels - to_go * group.blocks };
            assert_eq!(plan.kept.len(), expected, "{}", group.name);
            to_go = to_go.saturating_sub(size);
        }
        assert!(plans.iter().any(|plan| !plan.is_whole()));
        assert_eq!(to_go, 0);
    }

    #[test]
    fn equal_scores_go_together() {
        let graph = DependencyGraph::of(&UNet2DConfig::small(16, &[16, 32])).unwrap();
        let initial = Positions::of(&graph);
        let equal: Vec<Vec<f64>> = graph.groups().iter().map(|group| vec![1.0; group.channels]).collect();
        // All are at the limit, so all would go, so all stay.
        let plans = choose(&graph, &equal, &initial, settings(0.3, Scope::Global), 0.3).unwrap();
        assert!(plans.iter().all(GroupPlan::is_whole));
    }
}
