//! Structural pruning of diffusers' UNets: smaller networks by removing whole channels.
//!
//! Channels of different layers hang together: a convolution cannot lose an output channel unless its readers lose the
//! input, and where outputs are added, all summands must lose the same one. [`DependencyGraph`] finds these groups,
//! [`Importance`] scores the channels of each, [`Plan`] says which ones stay, and [`surgery`] cuts architecture and
//! weights accordingly; [`prune()`] does so in one or several steps. All of it works on names and arrays
//! ([`UNet2DConfig`] and [`StateDict`]) without a device. Only the gradients that some importances rank by need one: they are
//! arrays, too, and come from [`accumulate_gradients`] or from anywhere else. The pruned architecture is data: it lives in
//! the configuration's `pruned_channels`, so that a pruned model is a model folder like any other, and can be pruned again.
//!
//! The method is that of Fang et al. 2023, "DepGraph: Towards Any Structural Pruning" (<https://arxiv.org/abs/2301.12900>),
//! and keeps the channels that its library Torch-Pruning keeps.
//!
//! ```
//! use diffusion_core::{StateDict, TensorF32, UNet2DConfig, unet::layout::Layout};
//! use sparsify::{Importance, Plan, PruningReport, PruningSettings, Ratio, surgery};
//!
//! let config = UNet2DConfig::small(16, &[16, 32]);
//! let weights: StateDict = Layout::of(&config)?
//!     .parameter_shapes()
//!     .into_iter()
//!     .map(|(name, shape)| (name, TensorF32::filled(shape, 0.1)))
//!     .collect();
//!
//! let plan = Plan::new(&config, &weights, PruningSettings::new(Ratio::new(0.3)?))?;
//! let (pruned_config, pruned_weights) = surgery(&config, &weights, &plan)?;
//! let report = PruningReport::of(&config, &pruned_config)?;
//! assert_eq!(report.after.parameters, pruned_weights.parameter_count());
//! assert!(report.after.macs < report.before.macs);
//! # Ok::<(), sparsify::SparsifyError>(())
//! ```
//!
//! [`UNet2DConfig`]: diffusion_core::UNet2DConfig
//! [`StateDict`]: diffusion_core::StateDict

mod error;
mod gradients;
mod graph;
mod importance;
mod kept;
mod plan;
mod prune;
mod ratio;
mod report;
mod selection;
mod settings;
mod surgery;
mod threshold;

pub use error::SparsifyError;
pub use gradients::{
    AccumulatedGradients, CalibrationBatch, TimestepLoss, accumulate_gradients, spread_timesteps,
};
pub use graph::{DependencyGraph, Group, Side, Slice};
pub use importance::{Evidence, Importance};
pub use kept::KeptChannels;
pub use plan::{GroupPlan, Plan};
pub use prune::{Gradients, Pruned, prune};
pub use ratio::Ratio;
pub use report::{NetworkSize, PruningReport};
pub use settings::{PruningSettings, Rounding, Scope};
pub use surgery::surgery;
pub use threshold::{Threshold, stopping_step};
