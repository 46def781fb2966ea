//! Coalitions of contributors and the distributions that draw them.
//!
//! A [`Coalition`] is a set of contributors whose images remain in training. A [`RemovalDistribution`] says which
//! coalitions are tried; [`RemovalDistribution::draw`] gives draw `index` of a seed, whatever else was drawn.
//! [`unique_draws`] goes on drawing until enough different coalitions were seen; [`ActiveDraws`] chooses among candidates.
//!
//! ```
//! use removal::{Coalition, RemovalDistribution};
//! use streams::Streams;
//!
//! let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
//! let draw = distribution.draw(12, &Streams::new(1), 0)?;
//! assert_eq!(draw.coalition.len(), 6);
//! assert_eq!(draw, distribution.draw(12, &Streams::new(1), 0)?);
//!
//! let without_2 = RemovalDistribution::Loo.draw(4, &Streams::new(1), 2)?;
//! assert_eq!(without_2.coalition, Coalition::from_members(4, [0, 1, 3])?);
//! # Ok::<(), removal::RemovalError>(())
//! ```

mod active;
mod coalition;
mod distribution;
mod error;
mod unique;

pub use active::ActiveDraws;
pub use coalition::Coalition;
pub use distribution::{Draw, RemovalDistribution};
pub use error::RemovalError;
pub use unique::{unique_draws, unique_draws_except};
