//! What can be wrong with a coalition or a distribution.

use thiserror::Error;

/// An impossible coalition, distribution or draw.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// A member that is not among the contributors.
    #[error("contributor {member} is not one of {n}: contributors are numbered from 0 to n - 1")]
    MemberOutOfRange {
        /// The member asked for.
        member: usize,
        /// Number of contributors.
        n: usize,
    },
    /// Text that is not a coalition.
    #[error(
        "{text:?} is not a coalition: {reason}; write `n:hex` as in `5:1a` (contributors 1, 3 and 4 of 5)"
    )]
    CoalitionText {
        /// The text that was read.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Text that is not a distribution.
    #[error(
        "{text:?} is not a removal distribution: write shapley (or datashapley), datamodel(0.5), uniform, loo, \
         add_one_in, none, shapley_paired, leverage, leverage_paired, permutation or permutation_antithetic"
    )]
    DistributionText {
        /// The text that was read.
        text: String,
    },
    /// No contributors at all.
    #[error("there are no contributors to draw coalitions from: at least one is needed")]
    NoContributors,
    /// Too few contributors for the distribution.
    #[error(
        "the {distribution} distribution is not defined for n = {n}: it needs at least {needed} contributors"
    )]
    TooFewContributors {
        /// The distribution.
        distribution: String,
        /// Number of contributors.
        n: usize,
        /// The smallest number that it is defined for.
        needed: usize,
    },
    /// A datamodel fraction outside of the open interval (0, 1).
    #[error("datamodel alpha = {alpha} is outside of (0, 1): it is the fraction of contributors that remain")]
    AlphaOutOfRange {
        /// The fraction asked for.
        alpha: f64,
    },
    /// A datamodel fraction that leaves nobody.
    #[error(
        "datamodel alpha = {alpha} keeps floor({alpha} x {n}) = 0 of {n} contributors: choose alpha of at least 1/{n}, \
         or more contributors"
    )]
    AlphaKeepsNobody {
        /// The fraction asked for.
        alpha: f64,
        /// Number of contributors.
        n: usize,
    },
    /// An enumerating distribution asked for a draw that it does not have.
    #[error(
        "{distribution} has one draw a contributor: draw {index} of {n} does not exist (indices 0 to {last})"
    )]
    IndexOutOfRange {
        /// The distribution.
        distribution: String,
        /// The draw asked for.
        index: u64,
        /// Number of contributors.
        n: usize,
        /// The last index there is.
        last: usize,
    },
    /// More distinct coalitions asked for than exist.
    #[error(
        "{count} distinct coalitions were asked for, but {distribution} over {n} contributors has only {support}\
         {excluded}: ask for fewer"
    )]
    NotEnoughCoalitions {
        /// Number of distinct coalitions asked for.
        count: usize,
        /// The distribution.
        distribution: String,
        /// Number of contributors.
        n: usize,
        /// Number of coalitions that the distribution can give.
        support: u128,
        /// Empty, or how many of them were excluded.
        excluded: String,
    },
    /// The rarest coalitions did not turn up in a reasonable number of draws.
    #[error(
        "only {found} of {count} distinct coalitions turned up in {drawn} draws from {distribution} over {n} \
         contributors: the remaining ones are too rare; ask for fewer"
    )]
    GaveUp {
        /// Number of distinct coalitions asked for.
        count: usize,
        /// Number found.
        found: usize,
        /// Number of draws made.
        drawn: u64,
        /// The distribution.
        distribution: String,
        /// Number of contributors.
        n: usize,
    },
    /// Choosing among draws that leave no choice.
    #[error(
        "coalitions of the {distribution} distribution cannot be chosen, each draw has its own: draw them as they come, or \
         from shapley, shapley_paired, leverage, leverage_paired, datamodel or uniform"
    )]
    NotChosen {
        /// The distribution.
        distribution: String,
    },
    /// Too many contributors to choose for.
    #[error(
        "choosing coalitions of {n} contributors takes too long (at most {most}): draw them as they come"
    )]
    TooManyToChoose {
        /// Number of contributors.
        n: usize,
        /// The most there may be.
        most: usize,
    },
    /// No candidates to choose from.
    #[error("0 candidates leave nothing to choose from: take 1 or more")]
    NoCandidates,
}
