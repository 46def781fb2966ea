//! Data attribution over coalitions: masks and utilities in, scores out.
//!
//! A *game* is n contributors and a utility v(S) for each coalition S of them: here, a behavior of the diffusion model
//! trained on the images of S; in other programs, anything ([`FnGame`] wraps a closure). This crate knows nothing of
//! models or files.
//!
//! | question | answer |
//! | --- | --- |
//! | who contributed how much, how surely? | [`fit`] with any [`Estimator`]: [`KernelShap`], [`PermutationSampling`] and [`SampleReuse`] (Shapley and other [`Semivalue`]s), [`Banzhaf`], [`Datamodel`], [`Lasso`], [`leave_one_out`], [`add_one_in`]; [`exact_shapley`] for n <= 20 |
//! | and with thousands of contributors? | [`fit`] again, or [`LargeGame`]: Shapley and Banzhaf values in megabytes and seconds |
//! | do the scores predict retrained models? | [`lds()`], against [`noise_ceiling`] |
//! | do they predict what removing contributors does? | [`counterfactual_removals`], [`relative_change`] |
//! | would other draws give the same ranks? | [`split_half`], [`rank_stability`], and the intervals of each [`Attribution`] |
//! | what does the same compute buy? | [`runs_within`], [`UtilityTable::first`] |
//!
//! Nothing is silently narrow: what the data does not determine has an unbounded [`Interval`], a correlation with a
//! constant is an error of type [`Undefined`], and [`Diagnostics::warnings`] says in words what to know.
//!
//! ```
//! use attribution_lds::{FnGame, Game, KernelShap};
//! use removal::{Coalition, RemovalDistribution};
//! use streams::Streams;
//!
//! // Two left gloves, one right glove; a pair is worth 1.
//! let gloves = FnGame::new(3, |c: &Coalition| f64::from(u8::from(c.contains(2) && c.len() > 1)));
//! let observations = gloves.observe(RemovalDistribution::Shapley, 2000, &Streams::new(1))?;
//! let shapley = KernelShap::default().fit(&observations)?;
//! assert!((shapley.values[2] - 2.0 / 3.0).abs() < 0.05);
//! # Ok::<(), attribution_lds::AttributionError>(())
//! ```
//!
//! # From a table
//! Where the utilities of some coalitions are known already, they are put in a [`UtilityTable`]; others, which the scores have
//! not seen, judge the scores.
//!
//! ```
//! use attribution_lds::{Estimator, FitSettings, LdsSettings, Observations, UtilityTable, fit, lds};
//! use removal::{Coalition, RemovalDistribution};
//! use streams::Streams;
//!
//! let n = 6;
//! // Stands for what was measured on the model of a coalition: contributors 4 and 5 are worth more together.
//! let measured = |c: &Coalition| {
//!     let alone: f64 = c.members().map(|member| member as f64).sum();
//!     alone + if c.contains(4) && c.contains(5) { 2.0 } else { 0.0 }
//! };
//! let table = |distribution: RemovalDistribution, seed, draws| -> Result<_, Box<dyn std::error::Error>> {
//!     let mut table = UtilityTable::new(n);
//!     for index in 0..draws {
//!         let coalition = distribution.draw(n, &Streams::new(seed), index)?.coalition;
//!         let utility = measured(&coalition);
//!         table.push(coalition, utility)?;
//!     }
//!     Ok(table)
//! };
//!
//! let distribution = RemovalDistribution::Shapley;
//! let test = table(RemovalDistribution::Datamodel { alpha: 0.5 }, 2, 12)?;
//! let draws = table(distribution, 1, 200)?.without(&test);
//! let [full, none] = [Coalition::full(n), Coalition::empty(n)].map(|end| vec![measured(&end)]);
//! let observations = Observations::new(draws, full, none)?;
//!
//! let scores = fit(Estimator::KernelShap, &observations, distribution, &FitSettings::default())?;
//! for (value, interval) in scores.values.iter().zip(scores.intervals()) {
//!     println!("{value:.2}, likely from {:.2} to {:.2}", interval.lower, interval.upper);
//! }
//! // The pair shares what it is worth together.
//! assert!((scores.values[5] - 6.0).abs() < 0.3, "{:?}", scores.values);
//! let judged = lds(|coalition| scores.predict(coalition), &[test], &LdsSettings::default())?;
//! assert!(judged.mean > 90.0, "{}", judged.mean);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attribution;
mod banzhaf;
mod bit_moments;
mod bits;
mod bootstrap;
mod ceiling;
mod compute;
mod counterfactual;
mod datamodel;
mod difference;
mod error;
mod estimator;
mod exact;
mod factor;
mod game;
mod interval;
mod large;
mod large_fit;
mod lasso;
mod lds;
mod least_squares;
mod marginal;
mod moments;
mod observations;
mod permutation;
mod rank;
mod sample_reuse;
mod semivalue;
mod shapley;
mod size_adjusted;
mod stability;
mod stopping;
mod test_sets;
mod tree_surrogate;
mod trees;
mod units;
mod upper;

pub use attribution::{Attribution, Diagnostics, predict_additive};
pub use banzhaf::Banzhaf;
pub use ceiling::{NoiseCeiling, noise_ceiling};
pub use compute::runs_within;
pub use counterfactual::{
    CounterfactualRemoval, End, RelativeChange, counterfactual_removals, relative_change,
};
pub use datamodel::{Datamodel, DatamodelFit};
pub use difference::{LdsDifference, lds_difference};
pub use error::{AttributionError, Undefined};
pub use estimator::{Estimator, FitSettings, fit};
pub use exact::{EXACT_LIMIT, exact_banzhaf, exact_shapley, utility_of_all};
pub use game::{FnGame, Game};
pub use interval::{Bootstrap, Interval, IntervalMethod, Intervals};
pub use large::{LargeFit, LargeGame};
pub use large_fit::LargeSolve;
pub use lasso::Lasso;
pub use lds::{Bootstrapped, Lds, LdsSettings, lds, mean_lds};
pub use marginal::{add_one_in, leave_one_out};
pub use observations::{Observations, UtilityRow, UtilityTable};
pub use permutation::PermutationSampling;
pub use rank::{average_ranks, kendall_tau, spearman};
pub use sample_reuse::{SampleReuse, Surrogate, banzhaf_sample_reuse};
pub use semivalue::{Semivalue, exact_semivalue};
pub use shapley::{KernelShap, Weighting};
pub use stability::{RankStability, SplitHalf, rank_stability, split_half};
pub use stopping::{Stopping, StoppingRule};
pub use tree_surrogate::{TreeSurrogate, TreeSurrogateFit};
