//! Boosted regression trees over who is in: a surrogate game whose semivalues are known.

use removal::Coalition;

use crate::Semivalue;

/// How trees are grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boosting {
    /// Number of trees.
    pub(crate) trees: usize,
    /// Splits on the way to a leaf, at most.
    pub(crate) depth: usize,
    /// Share of each tree's prediction that is kept.
    pub(crate) learning_rate: f64,
    /// Added to the weight of a node, so that small ones predict little.
    pub(crate) penalty: f64,
    /// Least count of the rows of a leaf.
    pub(crate) min_leaf: f64,
}

/// A sum of regression trees.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trees {
    trees: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Leaf(f64),
    Split { contributor: usize, out: Box<Node>, within: Box<Node> },
}

/// A training row.
pub(crate) struct TreeRow<'a> {
    /// Who is in.
    pub(crate) coalition: &'a Coalition,
    /// What is to be predicted; once fitted, what the trees leave of it.
    pub(crate) target: f64,
    /// How much it weighs in sums.
    pub(crate) weight: f64,
    /// How much it counts toward [`Boosting::min_leaf`].
    pub(crate) count: f64,
}

impl Trees {
    /// Gradient boosting for squared error (Friedman 2001): each tree is fitted greedily to what the ones before leave.
    ///
    /// With what is left r and weights w, a node splits on the contributor that most raises the sum over its two children of
    /// `(sum w r)^2 / (sum w + penalty)`, the first of equals; a leaf adds `learning_rate (sum w r) / (sum w + penalty)`.
    pub(crate) fn fit(n: usize, settings: Boosting, rows: &mut [TreeRow]) -> Trees {
        let mut trees = Vec::with_capacity(settings.trees);
        for _ in 0..settings.trees {
            trees.push(settings.grow(n, rows, (0..rows.len()).collect(), settings.depth));
        }
        Trees { trees }
    }

    /// The prediction for a coalition.
    pub(crate) fn predict(&self, coalition: &Coalition) -> f64 {
        self.trees.iter().map(|tree| tree.predict(coalition)).sum()
    }

    /// Adds the trees' semivalues to `values`: the sum over leaves, as the values are linear in the game. A leaf's path asks for
    /// some contributors to be in and others to be out; the game that is 1 for those coalitions and else 0 has known values,
    /// [`Semivalue::of_conjunction`].
    pub(crate) fn add_values(&self, semivalue: Semivalue, values: &mut [f64]) {
        for tree in &self.trees {
            tree.add_values(semivalue, &mut Vec::new(), &mut Vec::new(), values);
        }
    }
}

impl Node {
    fn predict(&self, coalition: &Coalition) -> f64 {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(value) => return *value,
                Self::Split { contributor, out, within } => {
                    node = if coalition.contains(*contributor) { within } else { out };
                }
            }
        }
    }

    /// `inside` and `outside` are those who must be in and out on the way here. Nobody is asked for twice: all rows of a child are
    /// on one side of its split.
    fn add_values(
        &self,
        semivalue: Semivalue,
        inside: &mut Vec<usize>,
        outside: &mut Vec<usize>,
        values: &mut [f64],
    ) {
        match self {
            Self::Leaf(value) => {
                let (of_inside, of_outside) = semivalue.of_conjunction(inside.len(), outside.len());
                inside.iter().for_each(|&i| values[i] += value * of_inside);
                outside.iter().for_each(|&i| values[i] += value * of_outside);
            }
            Self::Split { contributor, out, within } => {
                inside.push(*contributor);
                within.add_values(semivalue, inside, outside, values);
                inside.pop();
                outside.push(*contributor);
                out.add_values(semivalue, inside, outside, values);
                outside.pop();
            }
        }
    }
}

impl Boosting {
    /// The tree over the rows at `places`, whose predictions are taken off their targets.
    fn grow(&self, n: usize, rows: &mut [TreeRow], places: Vec<usize>, depth: usize) -> Node {
        let split = if depth > 0 { self.best_split(n, rows, &places) } else { None };
        let Some(contributor) = split else {
            let (sum, weight) = sums(rows, &places);
            // Without rows there is nothing to predict, and without a penalty no weight to divide by.
            let value = if weight > 0.0 { self.learning_rate * sum / (weight + self.penalty) } else { 0.0 };
            places.iter().for_each(|&place| rows[place].target -= value);
            return Node::Leaf(value);
        };
        let (with, without): (Vec<usize>, Vec<usize>) =
            places.into_iter().partition(|&place| rows[place].coalition.contains(contributor));
        let within = Box::new(self.grow(n, rows, with, depth - 1));
        let out = Box::new(self.grow(n, rows, without, depth - 1));
        Node::Split { contributor, out, within }
    }

    /// The contributor whose presence lowers the squared error most; none if none does.
    fn best_split(&self, n: usize, rows: &[TreeRow], places: &[usize]) -> Option<usize> {
        let (sum, weight) = sums(rows, places);
        let count: f64 = places.iter().map(|&place| rows[place].count).sum();
        let (mut inside_sum, mut inside_weight, mut inside_count) =
            (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        for &place in places {
            let row = &rows[place];
            for member in row.coalition.members() {
                inside_sum[member] += row.weight * row.target;
                inside_weight[member] += row.weight;
                inside_count[member] += row.count;
            }
        }
        let score = |sum: f64, weight: f64| sum * sum / (weight + self.penalty);
        let whole = score(sum, weight);
        let mut best = (1e-12 * whole.max(f64::MIN_POSITIVE), None);
        for contributor in 0..n {
            let inside = inside_count[contributor];
            let fewer = inside.min(count - inside);
            if fewer <= 0.0 || fewer < self.min_leaf {
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
}

/// The weighted sum of targets and the weight.
fn sums(rows: &[TreeRow], places: &[usize]) -> (f64, f64) {
    places
        .iter()
        .map(|&place| &rows[place])
        .fold((0.0, 0.0), |(sum, weight), row| (sum + row.weight * row.target, weight + row.weight))
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
        let rows = draws.iter().map(|c| TreeRow { coalition: c, target: target(c), weight: 1.0, count: 1.0 });
        let settings = Boosting { trees: 60, depth: 3, learning_rate: 0.15, penalty: 1.0, min_leaf: 4.0 };
        Trees::fit(n, settings, &mut rows.collect::<Vec<_>>())
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
