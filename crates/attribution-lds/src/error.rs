//! What can go wrong with an attribution.

/// Why a rank correlation does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// Fewer than three pairs.
    #[error("there are {0} pairs of values and a correlation needs at least 3; add coalitions")]
    TooFew(usize),
    /// All predictions are equal.
    #[error(
        "all predictions are equal, so they rank nothing; the scores are equal or the coalitions all give one sum"
    )]
    ConstantPredictions,
    /// All true utilities are equal.
    #[error(
        "all true utilities are equal, so there is no order to predict; choose a behavior that differs between coalitions"
    )]
    ConstantUtilities,
}

/// An error of this crate: what was wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AttributionError {
    /// The game is too small for the question.
    #[error("{what} needs at least {needed} contributors, the game has {found}")]
    TooFewContributors {
        /// What was asked for.
        what: &'static str,
        /// Contributors needed.
        needed: usize,
        /// Contributors there are.
        found: usize,
    },
    /// The game is too large for exact enumeration.
    #[error(
        "{what} evaluates all 2^n coalitions and stops at n = {limit}, the game has n = {found}; estimate with KernelShap instead"
    )]
    TooManyContributors {
        /// What was asked for.
        what: &'static str,
        /// The largest game.
        limit: usize,
        /// Contributors there are.
        found: usize,
    },
    /// A coalition of another game.
    #[error("row {row} has a coalition over {found} contributors, the game has {expected}")]
    WrongContributors {
        /// Its place, from 0.
        row: usize,
        /// Its number of contributors.
        found: usize,
        /// The game's.
        expected: usize,
    },
    /// A utility, score or other number is NaN or infinite.
    #[error(
        "{what} is {value}; every number must be finite: leave the run out, or find out why its measure failed"
    )]
    NotFinite {
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// Something that must not be empty is.
    #[error("there are no {what}; at least one is needed")]
    Empty {
        /// What is missing.
        what: String,
    },
    /// A list has the wrong length.
    #[error("{what} has {found} entries where {expected} are needed")]
    WrongLength {
        /// Which list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The right one.
        expected: usize,
    },
    /// All rows are the empty or the full coalition.
    #[error(
        "none of the {rows} rows is a coalition that is neither empty nor full; Shapley values need some in between"
    )]
    NothingBetween {
        /// Rows there are.
        rows: usize,
    },
    /// LOO or AOI lacks coalitions.
    #[error("{estimator} needs {needed} for every contributor; missing for contributors {missing:?}")]
    MissingCoalitions {
        /// Which estimator.
        estimator: &'static str,
        /// Which coalitions it needs.
        needed: &'static str,
        /// The contributors without one.
        missing: Vec<usize>,
    },
    /// A setting is out of its range.
    #[error("{setting} is {value}; it must be {range}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A correlation that does not exist.
    #[error("{what} is undefined: {reason}")]
    Undefined {
        /// Which quantity.
        what: String,
        /// Why.
        reason: Undefined,
    },
    /// A relative change from zero.
    #[error(
        "the relative change is undefined: the behavior of the full model is 0; report the absolute change"
    )]
    ChangeFromZero,
    /// Sets that share too few coalitions.
    #[error(
        "{what} needs at least {needed} retrainings of the same coalitions, there are {found}; retrain them with another seed"
    )]
    TooFewRetrainings {
        /// What was asked for.
        what: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Text that names no estimator.
    #[error("{text:?} is no estimator: write one of {known}")]
    UnknownEstimator {
        /// The text.
        text: String,
        /// The names there are.
        known: String,
    },
    /// Draws of a distribution that the estimator cannot use.
    #[error("{estimator} does not estimate from {distribution} draws; it takes {accepted}")]
    Unaccepted {
        /// Which estimator.
        estimator: String,
        /// Where the draws are from.
        distribution: String,
        /// What it takes.
        accepted: String,
    },
    /// A row that cannot have come from the stated distribution.
    #[error(
        "row {row} is a coalition of {size} contributors, which {distribution} never draws: state the distribution \
         that the rows were drawn from, or leave the row out"
    )]
    ImpossibleDraw {
        /// Its place, from 0.
        row: usize,
        /// Its number of members.
        size: usize,
        /// The stated distribution.
        distribution: String,
    },
    /// No complete permutation among the rows.
    #[error(
        "none of the {rows} rows begin a complete order of the contributors: permutation sampling needs {needed} rows in a \
         row, each with one contributor more than the one before, as the permutation distribution draws them"
    )]
    NoOrder {
        /// Rows there are.
        rows: usize,
        /// Rows of an order, n - 1.
        needed: usize,
    },
    /// Too few independent draws.
    #[error("{what} needs at least {needed} independent draws, there are {found}; add coalitions")]
    TooFewDraws {
        /// What was asked for.
        what: &'static str,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Contributors that are in all rows or in none.
    #[error(
        "{estimator} compares rows with and without a contributor; contributors {contributors:?} are in all or in none"
    )]
    OneSided {
        /// Which estimator.
        estimator: &'static str,
        /// Who.
        contributors: Vec<usize>,
    },
    /// Not all coalitions for exact values.
    #[error("exact values need all {needed} coalitions, {missing} are missing; observe them, or estimate")]
    Incomplete {
        /// How many lack.
        missing: usize,
        /// How many there are, 2^n.
        needed: usize,
    },
    /// Drawing a coalition failed.
    #[error(transparent)]
    Removal(#[from] removal::RemovalError),
}

/// `Ok` for a finite number.
pub(crate) fn finite(value: f64, what: impl FnOnce() -> String) -> Result<f64, AttributionError> {
    if value.is_finite() { Ok(value) } else { Err(AttributionError::NotFinite { what: what(), value }) }
}
