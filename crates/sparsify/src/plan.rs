//! Which channels stay, decided before anything is cut.

use std::collections::BTreeMap;

use diffusion_core::UNet2DConfig;
use serde::{Deserialize, Serialize};

use crate::selection::{Positions, choose};
use crate::settings::{is_one, one};
use crate::{
    DependencyGraph, Evidence, Group, Importance, KeptChannels, PruningSettings, Ratio, Rounding, Scope,
    SparsifyError,
};

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
    /// Keeps, in each block, the positions for which `stays` holds.
    pub(crate) fn of_positions(group: &Group, stays: &[bool]) -> Result<Self, SparsifyError> {
        let Group { channels, blocks, .. } = *group;
        let kept = (0..channels).filter(|channel| stays[channel % stays.len()]).collect();
        Ok(Self { channels, blocks, kept: KeptChannels::new(kept)? })
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
    /// Among which channels the least were sought.
    #[serde(default, skip_serializing_if = "Scope::is_default")]
    pub scope: Scope,
    /// In how many steps the channels went.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub iterative_steps: u32,
    /// All groups by name.
    pub groups: BTreeMap<String, GroupPlan>,
}

impl Plan {
    /// Ranks the channels and picks those that stay, in one step.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if configuration and weights are not right or not of the same network,
    /// [`SparsifyError::IterativeSteps`] if the settings ask for several steps, which [`prune`](crate::prune()) makes; and
    /// the errors of [`DependencyGraph::of`] and [`Importance::scores`].
    pub fn new<'a>(
        config: &UNet2DConfig,
        evidence: impl Into<Evidence<'a>>,
        settings: PruningSettings,
    ) -> Result<Self, SparsifyError> {
        if settings.iterative_steps != 1 {
            return Err(SparsifyError::IterativeSteps {
                given: settings.iterative_steps,
                allowed: "1 for a plan made at once; `prune` makes several steps",
            });
        }
        let graph = DependencyGraph::of(config)?;
        let scores = settings.importance.scores(&graph, evidence)?;
        let start = Positions::of(&graph);
        let chosen = choose(&graph, &scores, &start, settings, settings.ratio.get())?;
        Ok(Self::of_groups(settings, graph.groups().iter().map(|group| group.name.clone()).zip(chosen)))
    }

    pub(crate) fn of_groups(
        settings: PruningSettings,
        groups: impl IntoIterator<Item = (String, GroupPlan)>,
    ) -> Self {
        Self {
            ratio: settings.ratio,
            importance: settings.importance,
            rounding: settings.rounding,
            scope: settings.scope,
            iterative_steps: settings.iterative_steps,
            groups: groups.into_iter().collect(),
        }
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
            ("\"up\",", "\"up\", \"iterative_step\": 2,", "iterative_step"),
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
