//! Draws that are chosen: each next coalition is the one of several whose utility is known least.

use crate::{Coalition, Draw, RemovalDistribution, RemovalError};
use streams::{Streams, subset};

/// Contributors beyond which choosing takes too long: every draw costs n^2 for each candidate.
const MOST_CONTRIBUTORS: usize = 2_000;
/// Variance of each contributor's score before any draw, in units of the variance of one utility.
const PRIOR_VARIANCE: f64 = 1.0;

/// Coalitions chosen one after the other for what their utilities will tell.
///
/// # The rule
/// Scores are given a normal prior of variance 1 and utilities are taken as `y = a + z'phi` with noise of variance 1, z being
/// who is in less what all coalitions of that size have in common: `z = x - |S| / n` (`x - 1/2` for
/// [`RemovalDistribution::Uniform`], whose sizes say something, too). After the draws so far the posterior covariance is
/// `P = (I + sum of z_j z_j')^-1`, whatever their utilities were, and z'Pz is the posterior variance of the utility of a
/// coalition. Each draw is the candidate of the largest z'Pz, which is the one with the largest information gain about the
/// scores, `log(1 + z'Pz) / 2` (MacKay 1992, "Information-based objective functions for active data selection", equation 14;
/// Chaloner & Verdinelli 1995, "Bayesian experimental design: a review", section 2.1: greedy Bayesian D-optimality). ShaplEIG
/// (Rundel et al. 2026, <https://arxiv.org/abs/2606.02247>) does the same with a Gaussian process for the utilities; with the
/// linear model here, no utility is needed to choose, so a plan is known before its first run.
///
/// # Why estimates stay what they are
/// Candidate 0 is draw `index` of the distribution itself; the others are uniform subsets of its size, from stream
/// (`candidates`, index). Sizes therefore have the distribution's probabilities. Candidates of a size are alike under renaming
/// contributors, and so is the rule, so a chosen coalition by itself is a uniform subset of its size: every draw has the
/// distribution's own probabilities, and sums over draws keep their expectation. What changes is that draws are spread
/// evenly. With one candidate they are the plain draws.
///
/// In a paired distribution the first of a pair is chosen and the second is its complement.
///
/// Draws depend on the distribution, n, the seed and the number of candidates; the first k are the same whatever comes after.
///
/// ```
/// use removal::{ActiveDraws, RemovalDistribution};
/// use streams::Streams;
///
/// let streams = Streams::new(1);
/// let mut chosen = ActiveDraws::new(RemovalDistribution::Shapley, 12, &streams, 32)?;
/// let draw = chosen.next_draw()?;
/// // The size is the plain draw's.
/// assert_eq!(draw.coalition.len(), RemovalDistribution::Shapley.draw(12, &streams, 0)?.coalition.len());
/// # Ok::<(), removal::RemovalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ActiveDraws {
    distribution: RemovalDistribution,
    n: usize,
    streams: Streams,
    candidates: usize,
    index: u64,
    /// P, row by row.
    covariance: Vec<f64>,
}

impl ActiveDraws {
    /// Begins with draw 0. `candidates` coalitions stand for choice at each draw, at least 1.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`]; [`RemovalError::NotChosen`] for a distribution whose draws leave no choice;
    /// [`RemovalError::TooManyToChoose`] for more than 2,000 contributors; [`RemovalError::NoCandidates`].
    pub fn new(
        distribution: RemovalDistribution,
        n: usize,
        streams: &Streams,
        candidates: usize,
    ) -> Result<Self, RemovalError> {
        distribution.validate(n)?;
        if !distribution.leaves_choice() {
            return Err(RemovalError::NotChosen { distribution: distribution.to_string() });
        }
        if n > MOST_CONTRIBUTORS {
            return Err(RemovalError::TooManyToChoose { n, most: MOST_CONTRIBUTORS });
        }
        if candidates == 0 {
            return Err(RemovalError::NoCandidates);
        }
        let mut covariance = vec![0.0; n * n];
        covariance.iter_mut().step_by(n + 1).for_each(|entry| *entry = PRIOR_VARIANCE);
        Ok(Self { distribution, n, streams: *streams, candidates, index: 0, covariance })
    }

    /// The next draw.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::draw`].
    pub fn next_draw(&mut self) -> Result<Draw, RemovalError> {
        let index = self.index;
        // Of a pair, draw 2k + 1 is the complement of draw 2k, whose choice is made again: no state but P is kept.
        let plain = self.distribution.draw(self.n, &self.streams, index)?.coalition;
        let coalition = if self.distribution.is_paired() && index % 2 == 1 {
            let first = self.chosen(plain.complement(), index - 1)?;
            // Both rows of the pair enter P here: z of the complement is -z.
            self.learn(&first, 2.0);
            first.complement()
        } else {
            let chosen = self.chosen(plain, index)?;
            if !self.distribution.is_paired() {
                self.learn(&chosen, 1.0);
            }
            chosen
        };
        self.index += 1;
        Ok(Draw { coalition, distribution: self.distribution, index })
    }

    /// The candidate of the largest posterior variance, the first of equals.
    fn chosen(&self, plain: Coalition, index: u64) -> Result<Coalition, RemovalError> {
        let size = plain.len();
        if size == 0 || size == self.n {
            return Ok(plain);
        }
        let mut rng = self.streams.rng("candidates", index);
        let mut best = (self.variance(&plain), plain);
        for _ in 1..self.candidates {
            let candidate = Coalition::from_members(self.n, subset(&mut rng, self.n, size))?;
            let variance = self.variance(&candidate);
            if variance > best.0 {
                best = (variance, candidate);
            }
        }
        Ok(best.1)
    }

    /// z.
    fn row(&self, coalition: &Coalition) -> Vec<f64> {
        let center = match self.distribution {
            RemovalDistribution::Uniform => 0.5,
            _ => coalition.len() as f64 / self.n as f64,
        };
        let mut row = vec![-center; self.n];
        coalition.members().for_each(|member| row[member] += 1.0);
        row
    }

    /// Pz.
    fn product(&self, row: &[f64]) -> Vec<f64> {
        self.covariance.chunks_exact(self.n).map(|covariance| dot(covariance, row)).collect()
    }

    /// z'Pz.
    fn variance(&self, coalition: &Coalition) -> f64 {
        let row = self.row(coalition);
        dot(&self.product(&row), &row)
    }

    /// P after `times` utilities of a coalition (Sherman & Morrison 1950): P - Pz z'P / (1 / times + z'Pz).
    fn learn(&mut self, coalition: &Coalition, times: f64) {
        let row = self.row(coalition);
        let product = self.product(&row);
        let scale = 1.0 / (1.0 / times + dot(&product, &row));
        for (covariance, left) in self.covariance.chunks_exact_mut(self.n).zip(&product) {
            for (entry, right) in covariance.iter_mut().zip(&product) {
                *entry -= scale * left * right;
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: Streams = Streams::new(3);

    fn draws(distribution: RemovalDistribution, n: usize, candidates: usize, count: usize) -> Vec<Draw> {
        let mut chosen = ActiveDraws::new(distribution, n, &STREAMS, candidates).unwrap();
        (0..count).map(|_| chosen.next_draw().unwrap()).collect()
    }

    #[test]
    fn one_candidate_gives_the_plain_draws() {
        for distribution in [
            RemovalDistribution::Shapley,
            RemovalDistribution::ShapleyPaired,
            RemovalDistribution::LeveragePaired,
            RemovalDistribution::Uniform,
            RemovalDistribution::Datamodel { alpha: 0.5 },
        ] {
            for (index, draw) in draws(distribution, 9, 1, 30).into_iter().enumerate() {
                assert_eq!(draw, distribution.draw(9, &STREAMS, index as u64).unwrap());
            }
        }
    }

    #[test]
    fn the_first_draws_do_not_depend_on_later_ones_and_sizes_are_the_plain_draws() {
        for distribution in [RemovalDistribution::Leverage, RemovalDistribution::ShapleyPaired] {
            let many = draws(distribution, 10, 16, 40);
            assert_eq!(draws(distribution, 10, 16, 15), many[..15]);
            for draw in &many {
                let plain = distribution.draw(10, &STREAMS, draw.index).unwrap();
                assert_eq!(draw.coalition.len(), plain.coalition.len());
            }
            if distribution.is_paired() {
                assert!(many.chunks(2).all(|pair| pair[0].coalition.complement() == pair[1].coalition));
            }
        }
    }

    /// Every draw by itself is a uniform subset: after the same choices for other names, contributors are alike.
    #[test]
    fn each_draw_by_itself_has_the_plain_distribution() {
        let (n, repetitions, place) = (5, 4000, 7);
        let distribution = RemovalDistribution::Datamodel { alpha: 0.4 };
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..repetitions {
            let mut chosen = ActiveDraws::new(distribution, n, &Streams::new(seed), 6).unwrap();
            let draw = (0..=place).map(|_| chosen.next_draw().unwrap()).next_back().unwrap();
            *counts.entry(draw.coalition).or_insert(0u32) += 1;
        }
        let expected = repetitions as f64 / 10.0;
        let chi_square: f64 = counts.values().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 0.999 quantile of chi-square with 9 degrees of freedom.
        assert_eq!(counts.len(), 10);
        assert!(chi_square < 27.88, "chi-square {chi_square}");
    }

    /// P is the inverse that it stands for, pairs counting twice.
    #[test]
    fn the_covariance_is_the_inverse_of_the_information() {
        for distribution in
            [RemovalDistribution::Shapley, RemovalDistribution::ShapleyPaired, RemovalDistribution::Uniform]
        {
            let n = 6;
            let mut chosen = ActiveDraws::new(distribution, n, &STREAMS, 8).unwrap();
            let mut information = vec![0.0; n * n];
            (0..n).for_each(|i| information[i * n + i] = 1.0);
            for _ in 0..20 {
                let row = {
                    let draw = chosen.next_draw().unwrap();
                    chosen.row(&draw.coalition)
                };
                for i in 0..n {
                    for j in 0..n {
                        information[i * n + j] += row[i] * row[j];
                    }
                }
            }
            for i in 0..n {
                for j in 0..n {
                    let entry: f64 =
                        (0..n).map(|k| information[i * n + k] * chosen.covariance[k * n + j]).sum();
                    assert!((entry - f64::from(u8::from(i == j))).abs() < 1e-12, "{distribution} {entry}");
                }
            }
        }
    }

    #[test]
    fn what_leaves_no_choice_is_named() {
        let refused = |distribution, n, candidates| {
            ActiveDraws::new(distribution, n, &STREAMS, candidates).unwrap_err().to_string()
        };
        assert!(refused(RemovalDistribution::Loo, 5, 4).contains("loo"));
        assert!(refused(RemovalDistribution::Permutation, 5, 4).contains("leverage"));
        assert!(refused(RemovalDistribution::Shapley, 5000, 4).contains("2000"));
        assert!(refused(RemovalDistribution::Shapley, 5, 0).contains("1 or more"));
    }
}
