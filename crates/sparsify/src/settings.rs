//! What to prune by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Importance, Ratio, SparsifyError};

/// How many channels of a group a ratio removes, where the group has blocks and the number is not whole.
///
/// With `C` channels in `B` blocks and the ratio `r`, each block loses
/// * up: `C/B - floor(C/B (1 - r))` channels, so never less than the ratio says;
/// * down: `floor((C - floor(C (1 - r))) / B)`, so in a group of several blocks never more, and often none.
///
/// Where this would take all channels of a group, the group stays whole (see
/// [`Plan::whole_groups`](crate::Plan::whole_groups)). A [`Scope::Global`] ranking counts positions of blocks and never
/// rounds within one, so that this setting has no part in it.
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
    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        match self {
            Rounding::Up => "up",
            Rounding::Down => "down",
        }
    }

    /// How many channels each block loses of a group that has `channels` left of its `initial` ones, so that the ratio of
    /// the initial ones is gone; none where it would lose all.
    pub(crate) fn removed_per_block(
        self,
        channels: usize,
        initial: usize,
        blocks: usize,
        ratio: f64,
    ) -> usize {
        let size = channels / blocks;
        let removed = match self {
            Rounding::Up => size.saturating_sub(kept(initial / blocks, ratio)),
            Rounding::Down => channels.saturating_sub(kept(initial, ratio)) / blocks,
        };
        if removed == size { 0 } else { removed }
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rounding {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        match text {
            "up" => Ok(Rounding::Up),
            "down" => Ok(Rounding::Down),
            _ => Err(SparsifyError::UnknownRounding { given: text.to_owned() }),
        }
    }
}

/// How many of `n` a ratio leaves: truncation of the product in double precision, as Python computes
/// `int(n * (1 - ratio))`.
pub(crate) fn kept(n: usize, ratio: f64) -> usize {
    (n as f64 * (1.0 - ratio)) as usize
}

/// Among which channels the least important are sought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each group loses the ratio of its own channels.
    #[default]
    Group,
    /// The channels of all groups are ranked together, and the ratio of them all goes, so that groups of little importance
    /// lose more. Channels that share a block's position count as one, with their mean score; all positions up to the
    /// score of the last one to go do go, and a group that would lose all of its channels stays whole. This is
    /// `global_pruning=True` of Torch-Pruning.
    Global,
}

impl Scope {
    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Group => "group",
            Scope::Global => "global",
        }
    }

    /// Whether it is [`Scope::Group`].
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        match text {
            "group" => Ok(Scope::Group),
            "global" => Ok(Scope::Global),
            _ => Err(SparsifyError::UnknownScope { given: text.to_owned() }),
        }
    }
}

/// What to prune by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruningSettings {
    /// The fraction of channels to remove from each group, or from all.
    pub ratio: Ratio,
    /// What ranks the channels.
    #[serde(default)]
    pub importance: Importance,
    /// What to do with fractions of channels.
    #[serde(default)]
    pub rounding: Rounding,
    /// Among which channels the least are sought.
    #[serde(default, skip_serializing_if = "Scope::is_default")]
    pub scope: Scope,
    /// In how many steps to prune: before step `i` of `n`, the channels that are left are ranked afresh, and after it,
    /// `i / n` of the ratio of the initial channels are gone.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub iterative_steps: u32,
}

pub(crate) fn one() -> u32 {
    1
}

pub(crate) fn is_one(steps: &u32) -> bool {
    *steps == 1
}

impl PruningSettings {
    /// Most steps that are sensible: beyond, no step would remove a channel of any network.
    pub const MOST_STEPS: u32 = 1000;

    /// By magnitude, each group by itself, at once, and rounded as Torch-Pruning does today.
    pub fn new(ratio: Ratio) -> Self {
        Self {
            ratio,
            importance: Importance::default(),
            rounding: Rounding::default(),
            scope: Scope::default(),
            iterative_steps: 1,
        }
    }

    /// Checks the number of steps.
    ///
    /// # Errors
    /// [`SparsifyError::IterativeSteps`].
    pub fn validate(&self) -> Result<(), SparsifyError> {
        match self.iterative_steps {
            1..=Self::MOST_STEPS => Ok(()),
            given => Err(SparsifyError::IterativeSteps { given, allowed: "1 to 1000" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_as_documented() {
        let removed = |rounding: Rounding, channels, blocks, ratio| {
            rounding.removed_per_block(channels, channels, blocks, ratio)
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
    fn later_steps_count_from_the_initial_width() {
        // Of 16 in one block, 0.25 leaves 12 and 0.5 leaves 8; of what is left after the first step, 4 more go.
        assert_eq!(Rounding::Up.removed_per_block(12, 16, 1, 0.5), 4);
        assert_eq!(Rounding::Up.removed_per_block(12, 16, 1, 0.25), 0);
        assert_eq!(Rounding::Down.removed_per_block(12, 16, 4, 0.5), 1);
        // More is gone already than the ratio asks for.
        assert_eq!(Rounding::Up.removed_per_block(8, 16, 1, 0.25), 0);
        assert_eq!(Rounding::Down.removed_per_block(8, 16, 2, 0.25), 0);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let settings = |iterative_steps| PruningSettings {
            iterative_steps,
            ..PruningSettings::new(Ratio::new(0.3).unwrap())
        };
        for steps in [0, 1001] {
            let error = settings(steps).validate().unwrap_err().to_string();
            assert!(error.contains(&steps.to_string()) && error.contains("1 to 1000"), "{error}");
        }
        settings(1000).validate().unwrap();
        let error = "layer".parse::<Scope>().unwrap_err().to_string();
        assert!(error.contains("`layer`") && error.contains("`global`"), "{error}");
        for scope in [Scope::Group, Scope::Global] {
            assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        for rounding in [Rounding::Up, Rounding::Down] {
            assert_eq!(rounding.to_string().parse::<Rounding>().unwrap(), rounding);
            assert_eq!(serde_json::to_value(rounding).unwrap(), rounding.name());
        }
        assert!("half".parse::<Rounding>().unwrap_err().to_string().contains("`half`"));
    }

    #[test]
    fn what_is_default_is_not_written() {
        let text = serde_json::to_string(&PruningSettings::new(Ratio::new(0.3).unwrap())).unwrap();
        assert_eq!(text, r#"{"ratio":0.3,"importance":"magnitude","rounding":"up"}"#);
    }
}
