//! Games given as code.

use removal::{Coalition, RemovalDistribution};
use streams::Streams;

use crate::{AttributionError, Observations, UtilityTable};

/// Contributors and the utility of each coalition of them.
pub trait Game {
    /// Number of contributors, n.
    fn contributors(&self) -> usize;

    /// v(S): the utility of a coalition. It may be random (a retrained model); then every call is a new run.
    fn utility(&self, coalition: &Coalition) -> f64;

    /// Evaluates draws 0, 1, ..., `count - 1` of a distribution, and v(all) and v(none) once each.
    ///
    /// # Errors
    /// [`AttributionError::Removal`] if the distribution does not fit the game, [`AttributionError::NotFinite`] naming
    /// the coalition whose utility is not finite, [`AttributionError::Empty`] for `count` 0.
    fn observe(
        &self,
        distribution: RemovalDistribution,
        count: usize,
        streams: &Streams,
    ) -> Result<Observations, AttributionError> {
        let n = self.contributors();
        let mut table = UtilityTable::new(n);
        for index in 0..count as u64 {
            let coalition = distribution.draw(n, streams, index)?.coalition;
            let utility = self.utility(&coalition);
            table.push(coalition, utility)?;
        }
        let ends = [Coalition::full(n), Coalition::empty(n)].map(|coalition| vec![self.utility(&coalition)]);
        let [full, none] = ends;
        Observations::new(table, full, none)
    }
}

/// A closure as a game.
///
/// ```
/// use attribution_lds::{FnGame, Game};
/// use removal::Coalition;
///
/// let game = FnGame::new(3, |coalition: &Coalition| coalition.len() as f64);
/// assert_eq!(game.utility(&Coalition::full(3)), 3.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FnGame<F> {
    contributors: usize,
    utility: F,
}

impl<F: Fn(&Coalition) -> f64> FnGame<F> {
    /// The game of `contributors` in which a coalition's utility is what the closure gives.
    pub fn new(contributors: usize, utility: F) -> FnGame<F> {
        FnGame { contributors, utility }
    }
}

impl<F: Fn(&Coalition) -> f64> Game for FnGame<F> {
    fn contributors(&self) -> usize {
        self.contributors
    }

    fn utility(&self, coalition: &Coalition) -> f64 {
        (self.utility)(coalition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observes_the_draws_in_order() {
        let game = FnGame::new(5, |coalition: &Coalition| coalition.len() as f64);
        let streams = Streams::new(3);
        let observed = game.observe(RemovalDistribution::Shapley, 20, &streams).unwrap();
        assert_eq!((observed.full(), observed.none(), observed.draws().len()), (5.0, 0.0, 20));
        for (index, row) in observed.draws().rows().iter().enumerate() {
            let draw = RemovalDistribution::Shapley.draw(5, &streams, index as u64).unwrap();
            assert_eq!(row.coalition(), &draw.coalition);
            assert_eq!(row.runs(), [draw.coalition.len() as f64]);
        }
    }

    #[test]
    fn a_nan_utility_is_named() {
        let game = FnGame::new(2, |coalition: &Coalition| if coalition.contains(1) { f64::NAN } else { 0.0 });
        let error = game.observe(RemovalDistribution::Shapley, 20, &Streams::new(0)).unwrap_err();
        assert!(error.to_string().contains("coalition 2:2"), "{error}");
    }
}
