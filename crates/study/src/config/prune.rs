//! `[prune]`: how the full model is made smaller.

use diffusion_core::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};
use sparsify::{Importance, PruningSettings, Ratio, Rounding, Scope, Threshold};

use super::require;
use crate::error::StudyError;

/// Structural pruning of the full model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneConfig {
    /// How channels are ranked.
    #[serde(default)]
    pub pruner: Importance,
    /// Share of channels removed from each group, or of all.
    pub ratio: Ratio,
    /// What to do with fractions of channels.
    #[serde(default)]
    pub rounding: Rounding,
    /// Among which channels the least important are sought.
    #[serde(default, skip_serializing_if = "Scope::is_default")]
    pub scope: Scope,
    /// In how many steps the channels go, ranked afresh before each.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub iterative_steps: u32,
    /// For `diff-pruning`: the share of the largest loss under which a timestep's loss ends the adding up of gradients.
    #[serde(default, skip_serializing_if = "Threshold::is_default")]
    pub threshold: Threshold,
    /// For importances that rank by gradients: at how many timesteps, evenly spread; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timesteps: Option<usize>,
    /// For importances that rank by gradients: the number of images; the batch size of `[train]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
}

fn one() -> u32 {
    1
}

fn is_one(steps: &u32) -> bool {
    *steps == 1
}

impl PruneConfig {
    /// The settings of the pruner.
    pub fn pruning(&self) -> PruningSettings {
        PruningSettings {
            importance: self.pruner,
            rounding: self.rounding,
            scope: self.scope,
            iterative_steps: self.iterative_steps,
            ..PruningSettings::new(self.ratio)
        }
    }

    /// The threshold, for an importance that has one.
    pub fn stopping_threshold(&self) -> Option<Threshold> {
        self.pruner.stops_at_threshold().then_some(self.threshold)
    }

    /// Checks every value by itself.
    ///
    /// # Errors
    /// [`StudyError::InvalidKey`] or [`StudyError::Prune`].
    pub fn check(&self) -> Result<(), StudyError> {
        self.pruning().validate()?;
        require(
            self.pruner.stops_at_threshold() || self.threshold.is_default(),
            "prune.threshold",
            self.threshold,
            "left out with this pruner: only `diff-pruning` stops at a threshold",
        )?;
        require(self.timesteps != Some(0), "prune.timesteps", 0, "1 or more, or left out for all")?;
        require(
            self.batch_size != Some(0),
            "prune.batch_size",
            0,
            "1 or more, or left out for that of [train]",
        )
    }

    pub(super) fn validate(&self, schedule: &NoiseSchedule) -> Result<(), StudyError> {
        self.check()?;
        require(
            self.timesteps.is_none_or(|count| count <= schedule.timesteps()),
            "prune.timesteps",
            self.timesteps.unwrap_or_default(),
            "at most `diffusion.num_train_timesteps`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PruneConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_default_is_not_written() {
        // Keys of records hold this text: it must not change with settings that came later.
        let text = serde_json::to_string(&parse("ratio = 0.3")).unwrap();
        assert_eq!(text, r#"{"pruner":"magnitude","ratio":0.3,"rounding":"up"}"#);
        let all = "pruner = 'diff-pruning'\nratio = 0.5\nrounding = 'down'\nscope = 'global'\niterative_steps = 3\n\
                   threshold = 0.1\ntimesteps = 20\nbatch_size = 4\n";
        let config = parse(all);
        assert_eq!(parse(&toml::to_string(&config).unwrap()), config);
        assert_eq!(config.stopping_threshold().unwrap().get(), 0.1);
        assert_eq!(config.pruning().iterative_steps, 3);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let schedule = diffusion_core::NoiseScheduleConfig::default().build().unwrap();
        for (text, needles) in [
            ("threshold = 0.1", ["prune.threshold", "diff-pruning"]),
            ("pruner = 'taylor'\nthreshold = 0.1", ["prune.threshold", "diff-pruning"]),
            ("iterative_steps = 0", ["0 iterative steps", "1 to 1000"]),
            ("timesteps = 0", ["prune.timesteps", "1 or more"]),
            ("timesteps = 1001", ["prune.timesteps", "num_train_timesteps"]),
            ("batch_size = 0", ["prune.batch_size", "1 or more"]),
        ] {
            let error = parse(&format!("ratio = 0.3\n{text}")).validate(&schedule).unwrap_err();
            assert!(error.is_configuration());
            for needle in needles {
                assert!(error.to_string().contains(needle), "{text}: {error}");
            }
        }
        // The default written out is no mistake: scripts pass it whatever the pruner.
        parse("ratio = 0.3\nthreshold = 0.05").validate(&schedule).unwrap();
        for text in ["threshold = 1.0", "threshold = -0.1", "scope = 'layer'", "thr = 0.1"] {
            let error =
                toml::from_str::<PruneConfig>(&format!("ratio = 0.3\n{text}")).unwrap_err().to_string();
            assert!(error.contains(text.split(' ').next().unwrap()), "{error}");
        }
    }
}
