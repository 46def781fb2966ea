//! Boosted regression trees over who is in: a surrogate game whose semivalues are known.

use removal::Coalition;

use crate::Semivalue;

/// Trees in a surrogate.
const ROUNDS: usize = 60;
/// Splits on the way to a leaf, at most.
const DEPTH: usize = 3;
/// Share of each tree's prediction that is kept.
const LEARNING_RATE: f64 = 0.15;
/// Rows in a leaf, at least.
const LEAF_ROWS: usize = 4;
/// Added to a leaf's weight (of mean 1 a row), so that small leaves predict little.
const SHRINKAGE: f64 = 1.0;

/// A sum of leaves: `value` for coalitions with all of `inside` and none of `outside`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trees {
    leaves: Vec<Leaf>,
}

#[derive(Clone, Debug)]
struct Leaf {
    inside: Vec<usize>,
    outside: Vec<usize>,
    value: f64,
}

/// A training row: who is in, what is to be predicted, how much it weighs.
pub(crate) struct TreeRow<'a> {
    pub(crate) coalition: &'a Coalition,
    pub(crate) target: f64,
    pub(crate) weight: f64,
}

impl Trees {
    /// Gradient boosting for squared error (Friedman 2001): each tree is fitted greedily to what the ones before leave.
    pub(crate) fn fit(n: usize, mut rows: Vec<TreeRow>) -> Trees {
        let total: f64 = rows.iter().map(|row| row.weight).sum();
        let scale = if total > 0.0 { rows.len() as f64 / total } else { 0.0 };
        rows.iter_mut().for_each(|row| row.weight *= scale);
        let mut trees = Trees::default();
        let all: Vec<usize> = (0..rows.len()).collect();
        for _ in 0..ROUNDS {
            let before = trees.leaves.len();
            let root = Leaf { inside: Vec::new(), outside: Vec::new(), value: 0.0 };
            trees.grow(n, &mut rows, all.clone(), root, 0);
            if trees.leaves.len() == before {
                break;
            }
        }
        trees
    }

    fn grow(&mut self, n: usize, rows: &mut [TreeRow], places: Vec<usize>, leaf: Leaf, depth: usize) {
        let split = if depth < DEPTH { best_split(n, rows, &places) } else { None };
        let Some(contributor) = split else {
            if depth > 0 {
                let (sum, weight) = sums(rows, places.iter().copied());
                let value = LEARNING_RATE * sum / (weight + SHRINKAGE);
                places.iter().for_each(|&place| rows[place].target -= value);
                self.leaves.push(Leaf { value, ..leaf });
            }
            return;
        };
        let (with, without): (Vec<usize>, Vec<usize>) =
            places.into_iter().partition(|&place| rows[place].coalition.contains(contributor));
        let (mut inside, mut outside) = (leaf.clone(), leaf);
        inside.inside.push(contributor);
        outside.outside.push(contributor);
        self.grow(n, rows, with, inside, depth + 1);
        self.grow(n, rows, without, outside, depth + 1);
    }

    /// The prediction for a coalition.
    pub(crate) fn predict(&self, coalition: &Coalition) -> f64 {
        let applies = |leaf: &&Leaf| {
            leaf.inside.iter().all(|&i| coalition.contains(i))
                && !leaf.outside.iter().any(|&i| coalition.contains(i))
        };
        self.leaves.iter().filter(applies).map(|leaf| leaf.value).sum()
    }

    /// Adds the trees' semivalues to `values`: the sum over leaves, as the values are linear in the game.
    pub(crate) fn add_values(&self, semivalue: Semivalue, values: &mut [f64]) {
        for leaf in &self.leaves {
            let (inside, outside) = semivalue.of_conjunction(leaf.inside.len(), leaf.outside.len());
            leaf.inside.iter().for_each(|&i| values[i] += leaf.value * inside);
            leaf.outside.iter().for_each(|&i| values[i] += leaf.value * outside);
        }
    }
}

/// The weighted sum of targets and the weight.
fn sums(rows: &[TreeRow], places: impl Iterator<Item = usize>) -> (f64, f64) {
    places.fold((0.0, 0.0), |(sum, weight), place| {
        (sum + rows[place].weight * rows[place].target, weight + rows[place].weight)
    })
}

/// The contributor whose presence lowers the squared error most; none if none does.
fn best_split(n: usize, rows: &[TreeRow], places: &[usize]) -> Option<usize> {
    let (sum, weight) = sums(rows, places.iter().copied());
    let (mut inside_sum, mut inside_weight, mut inside_rows) = (vec![0.0; n], vec![0.0; n], vec![0usize; n]);
    for &place in places {
        let row = &rows[place];
        for member in row.coalition.members() {
            inside_sum[member] += row.weight * row.target;
            inside_weight[member] += row.weight;
            inside_rows[member] += 1;
        }
    }
    let score = |sum: f64, weight: f64| sum * sum / (weight + SHRINKAGE);
    let whole = score(sum, weight);
    let mut best = (1e-12 * whole.max(f64::MIN_POSITIVE), None);
    for contributor in 0..n {
        let inside = inside_rows[contributor];
        if inside < LEAF_ROWS || places.len() - inside < LEAF_ROWS {
            continue;
        }
        let (one, of_one) = (inside_sum[contributor], inside_weight[contributor]);
        let gain = score(one, of_one) + score(sum - one, weight - of_one) - whole;
        if gain > best.0 {
            best = (gain, Some(contributor));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use removal::RemovalDistribution;
    use streams::Streams;

    use super::*;
    use crate::{exact_semivalue, utility_of_all};

    fn target(c: &Coalition) -> f64 {
        f64::from(u8::from(c.contains(0) && c.contains(1)))
            - 2.0 * f64::from(u8::from(c.contains(3) && !c.contains(4)))
    }

    fn fitted(n: usize) -> Trees {
        let draws: Vec<Coalition> = (0..400)
            .map(|k| RemovalDistribution::Uniform.draw(n, &Streams::new(3), k).unwrap().coalition)
            .collect();
        let rows = draws.iter().map(|c| TreeRow { coalition: c, target: target(c), weight: 2.0 });
        Trees::fit(n, rows.collect())
    }

    #[test]
    fn interactions_are_learnt() {
        let trees = fitted(6);
        let predictions = utility_of_all(6, |c| trees.predict(c)).unwrap();
        let truth = utility_of_all(6, target).unwrap();
        let mean = truth.iter().sum::<f64>() / 64.0;
        let left: f64 = predictions.iter().zip(&truth).map(|(p, t)| (p - t).powi(2)).sum();
        let all: f64 = truth.iter().map(|t| (t - mean).powi(2)).sum();
        assert!(left < 0.05 * all, "{left} of {all}");
    }

    /// The values of the sum of trees are those of the game that the trees predict.
    #[test]
    fn values_are_those_of_the_predictions() {
        let trees = fitted(6);
        let table = utility_of_all(6, |c| trees.predict(c)).unwrap();
        for semivalue in
            [Semivalue::Shapley, Semivalue::Banzhaf, Semivalue::BetaShapley { alpha: 4.0, beta: 1.0 }]
        {
            let mut values = vec![0.0; 6];
            trees.add_values(semivalue, &mut values);
            for (value, exact) in values.iter().zip(exact_semivalue(semivalue, 6, &table).unwrap()) {
                assert!((value - exact).abs() < 1e-12, "{semivalue:?}: {value} {exact}");
            }
        }
    }
}
