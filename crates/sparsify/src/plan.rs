//! Which channels stay, decided before anything is cut.

use std::collections::BTreeMap;

use diffusion_core::{StateDict, UNet2DConfig};
use serde::{Deserialize, Serialize};

use crate::{DependencyGraph, Group, Importance, KeptChannels, Ratio, SparsifyError};

/// How many channels of a group a ratio removes, where the group has blocks and the number is not whole.
///
/// With `C` channels in `B` blocks and the ratio `r`, each block loses
/// * up: `C/B - floor(C/B (1 - r))` channels, so never less than the ratio says;
/// * down: `floor((C - floor(C (1 - r))) / B)`, so in a group of several blocks never more, and often none.
///
/// Where this would take all channels of a group, the group stays whole (see [`Plan::whole_groups`]).
///
/// Blocks are small where groups are many: with 128 channels and 32 norm groups, a block has four channels and the ratio
/// 0.3 removes two of them when rounded up (50 %), one when rounded down (25 %). The network for CIFAR thus goes from
/// 35.75 M parameters to 13.95 M (up) or 19.85 M (down) at 0.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// As Torch-Pruning does since 1.4.
    #[default]
    Up,
    /// As Torch-Pruning did before 1.4; gives the sizes that papers of 2023 and 2024 report.
    Down,
}

impl Rounding {
    /// How many channels each block of the group loses.
    fn removed_per_block(self, channels: usize, blocks: usize, ratio: Ratio) -> usize {
        let size = channels / blocks;
        // Truncation of the product in double precision, as Python computes `int(n * (1 - ratio))`.
        let kept = |n: usize| (n as f64 * (1.0 - ratio.get())) as usize;
        let removed = match self {
            Rounding::Up => size - kept(size),
            Rounding::Down => (channels - kept(channels)) / blocks,
        };
        if removed == size { 0 } else { removed }
    }
}

/// What to prune by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningSettings {
    /// The fraction of channels to remove from each group.
    pub ratio: Ratio,
    /// What ranks the channels.
    #[serde(default)]
    pub importance: Importance,
    /// What to do with fractions of channels.
    #[serde(default)]
    pub rounding: Rounding,
}

impl PruningSettings {
    /// By magnitude, rounded as Torch-Pruning does today.
    pub fn new(ratio: Ratio) -> Self {
        Self { ratio, importance: Importance::default(), rounding: Rounding::default() }
    }
}

/// The channels of one group that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// Width of the group before.
    pub channels: usize,
    /// Equal blocks of channels that each keep the same number (see [`Group::blocks`]).
    pub blocks: usize,
    /// The channels that stay.
    pub kept: KeptChannels,
}

impl GroupPlan {
    /// Keeps the channels of highest score. In each block the same positions go: those of least score averaged over the
    /// blocks, the lower position first among equals.
    fn new(group: &Group, scores: &[f64], settings: PruningSettings) -> Result<Self, SparsifyError> {
        let Group { channels, blocks, .. } = *group;
        let size = channels / blocks;
        let removed = settings.rounding.removed_per_block(channels, blocks, settings.ratio);
        let mut stays = vec![true; size];
        if removed > 0 {
            let sum = |position: usize| (0..blocks).map(|block| scores[block * size + position]).sum::<f64>();
            let mut ranked: Vec<(f64, usize)> = (0..size).map(|position| (sum(position), position)).collect();
            ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            ranked[..removed].iter().for_each(|&(_, position)| stays[position] = false);
        }
        let kept = KeptChannels::new((0..channels).filter(|channel| stays[channel % size]).collect())?;
        Ok(Self { channels, blocks, kept })
    }

    /// Whether nothing is removed.
    pub fn is_whole(&self) -> bool {
        self.kept.len() == self.channels
    }

    /// Checks that this can be done to `group`.
    fn check(&self, group: &Group) -> Result<(), SparsifyError> {
        let refuse = |reason: String| Err(SparsifyError::PlanMismatch { group: group.name.clone(), reason });
        if (self.channels, self.blocks) != (group.channels, group.blocks) {
            return refuse(format!(
                "it has {} channels in {} blocks, but the plan is for {} in {}",
                group.channels, group.blocks, self.channels, self.blocks
            ));
        }
        let kept = self.kept.as_slice();
        match kept.last() {
            None => return refuse("the plan keeps none of its channels".to_owned()),
            Some(last) if *last >= group.channels => {
                return refuse(format!("the plan keeps channel {last}, but it has only {}", group.channels));
            }
            Some(_) => {}
        }
        let size = group.channels / group.blocks;
        let in_block = |block: usize| {
            kept.partition_point(|c| *c < (block + 1) * size) - kept.partition_point(|c| *c < block * size)
        };
        match (1..group.blocks).find(|&block| in_block(block) != in_block(0)) {
            None => Ok(()),
            Some(block) => refuse(format!(
                "of the {} blocks of {size} channels that its norms or heads need, block 0 keeps {} and block {block} keeps {}",
                group.blocks,
                in_block(0),
                in_block(block)
            )),
        }
    }
}

/// What to prune: for each group of coupled channels, which ones stay. In files, JSON.
///
/// A plan is made from one state dict and can be carried out on others of the same network: the averaged weights, an
/// optimiser's moments ([`surgery`](crate::surgery)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The fraction of channels asked for; see [`Rounding`] for how many go.
    pub ratio: Ratio,
    /// What ranked the channels.
    pub importance: Importance,
    /// What was done with fractions of channels.
    pub rounding: Rounding,
    /// All groups by name.
    pub groups: BTreeMap<String, GroupPlan>,
}

impl Plan {
    /// Ranks the channels of every group and picks those that stay.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if configuration and weights are not right or not of the same network, and the errors of
    /// [`DependencyGraph::of`] and [`Importance::scores`].
    pub fn new(
        config: &UNet2DConfig,
        weights: &StateDict,
        settings: PruningSettings,
    ) -> Result<Self, SparsifyError> {
        let graph = DependencyGraph::of(config)?;
        let scores = settings.importance.scores(&graph, weights)?;
        let groups = graph.groups().iter().zip(&scores);
        Ok(Self {
            ratio: settings.ratio,
            importance: settings.importance,
            rounding: settings.rounding,
            groups: groups
                .map(|(group, scores)| Ok((group.name.clone(), GroupPlan::new(group, scores, settings)?)))
                .collect::<Result<_, SparsifyError>>()?,
        })
    }

    /// The groups from which nothing is removed: either the ratio does not amount to a channel, or it would take all.
    pub fn whole_groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().filter(|(_, plan)| plan.is_whole()).map(|(name, _)| name.as_str())
    }

    /// The plan for each of the graph's groups, in their order.
    ///
    /// # Errors
    /// [`SparsifyError::PlanMismatch`] if the groups are not the plan's, or the plan would leave a group without channels
    /// or a norm or head with an uneven share.
    pub(crate) fn fit<'a>(&'a self, graph: &DependencyGraph) -> Result<Vec<&'a GroupPlan>, SparsifyError> {
        if let Some(name) = self.groups.keys().find(|name| graph.group(name).is_none()) {
            let reason = "the network has no such group".to_owned();
            return Err(SparsifyError::PlanMismatch { group: name.clone(), reason });
        }
        let of_group = |group: &Group| {
            let plan = self.groups.get(&group.name).ok_or_else(|| SparsifyError::PlanMismatch {
                group: group.name.clone(),
                reason: "the plan says nothing about it".to_owned(),
            })?;
            plan.check(group).map(|()| plan)
        };
        graph.groups().iter().map(of_group).collect()
    }

    /// The plan as JSON, to be read by people as well; ends with a newline.
    pub fn to_json(&self) -> String {
        // Only maps with text keys, text and finite numbers: nothing that JSON cannot hold.
        let text = serde_json::to_string_pretty(self).expect("a plan is valid JSON");
        text + "\n"
    }

    /// Reads [`Plan::to_json`]; `origin` names the text in errors.
    ///
    /// # Errors
    /// [`SparsifyError::PlanFile`].
    pub fn from_json(text: &str, origin: &str) -> Result<Self, SparsifyError> {
        serde_json::from_str(text)
            .map_err(|error| SparsifyError::PlanFile { origin: origin.to_owned(), reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(channels: usize, blocks: usize) -> Group {
        Group { name: "g".to_owned(), channels, blocks, slices: Vec::new() }
    }

    fn settings(ratio: f64, rounding: Rounding) -> PruningSettings {
        PruningSettings { rounding, ..PruningSettings::new(Ratio::new(ratio).unwrap()) }
    }

    #[test]
    fn rounding_as_documented() {
        let removed = |rounding: Rounding, channels, blocks, ratio| {
            rounding.removed_per_block(channels, blocks, Ratio::new(ratio).unwrap())
        };
        use Rounding::{Down, Up};
        assert_eq!([removed(Up, 128, 32, 0.3), removed(Down, 128, 32, 0.3)], [2, 1]);
        assert_eq!([removed(Up, 512, 1, 0.3), removed(Down, 512, 1, 0.3)], [154, 154]);
        assert_eq!([removed(Up, 256, 32, 0.1), removed(Down, 256, 32, 0.1)], [1, 0]);
        // 10 * (1 - 0.7) is 3.0000000000000004, 10 * (1 - 0.9) is 0.9999999999999998: as Python truncates them.
        assert_eq!([removed(Up, 10, 1, 0.7), removed(Up, 10, 1, 0.9)], [7, 0]);
        // Two channels a block: one of them goes below one half, both would from there on, so none does.
        assert_eq!([0.1, 0.5, 0.51, 0.7].map(|ratio| removed(Up, 8, 4, ratio)), [1, 1, 0, 0]);
        assert_eq!(removed(Up, 64, 4, 1e-17), 0);
        assert_eq!(removed(Up, 1, 1, 0.5), 0);
    }

    #[test]
    fn the_least_go_from_every_block_alike() {
        // Block means: 4, 2, 6, 3.
        let scores = [1.0, 2.0, 3.0, 4.0, 7.0, 2.0, 9.0, 2.0];
        let plan = GroupPlan::new(&group(8, 2), &scores, settings(0.5, Rounding::Up)).unwrap();
        assert_eq!(plan.kept.as_slice(), [0, 2, 4, 6]);
        let plan = GroupPlan::new(&group(8, 1), &scores, settings(0.5, Rounding::Up)).unwrap();
        assert_eq!(plan.kept.as_slice(), [2, 3, 4, 6]);
    }

    #[test]
    fn of_equal_channels_the_first_go() {
        let plan = GroupPlan::new(&group(6, 1), &[1.0; 6], settings(0.5, Rounding::Up)).unwrap();
        assert_eq!(plan.kept.as_slice(), [3, 4, 5]);
    }

    #[test]
    fn plans_that_would_break_the_network_are_refused() {
        let plan = |channels, kept: &str| GroupPlan { channels, blocks: 2, kept: kept.parse().unwrap() };
        plan(8, "0-1 6 7").check(&group(8, 2)).unwrap();
        for (plan, needle) in [
            (plan(6, "0 3"), "8 channels in 2 blocks"),
            (plan(8, ""), "keeps none"),
            (plan(8, "0 8"), "keeps channel 8"),
            (plan(8, "0-2 4"), "block 0 keeps 3 and block 1 keeps 1"),
        ] {
            let error = plan.check(&group(8, 2)).unwrap_err().to_string();
            assert!(error.contains("`g`") && error.contains(needle), "{error}");
        }
    }

    #[test]
    fn json_is_readable_and_strict() {
        let text = r#"{
  "ratio": 0.3,
  "importance": "magnitude",
  "rounding": "up",
  "groups": {
    "conv_in": {
      "channels": 8,
      "blocks": 4,
      "kept": "0 3-4 7"
    }
  }
}
"#;
        let plan = Plan::from_json(text, "plan.json").unwrap();
        assert_eq!(plan.groups["conv_in"].kept.as_slice(), [0, 3, 4, 7]);
        assert_eq!(plan.to_json(), text);
        for (from, to, needle) in [
            ("0.3", "1.0", "between 0 and 1"),
            ("0 3-4 7", "0 3-4 4", "do not increase"),
            ("magnitude", "size", "size"),
            ("\"blocks\"", "\"block\"", "block"),
            ("}\n}", "}", "EOF"),
        ] {
            let error = Plan::from_json(&text.replacen(from, to, 1), "plan.json").unwrap_err().to_string();
            assert!(
                error.starts_with("plan.json is not a pruning plan") && error.contains(needle),
                "{error}"
            );
        }
    }
}
