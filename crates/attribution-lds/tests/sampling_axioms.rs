//! Shapley's axioms for the estimators that sample, over draws in which everything happens as often as it is likely.
//!
//! All orders stand for `permutation`. For `leverage` every size has the same number of rows and every coalition of a size, too.
//! Estimates are then the values themselves, and must have all their properties.

use attribution_lds::{
    Estimator, FitSettings, FnGame, Game, Observations, Semivalue, UtilityTable, exact_semivalue, fit,
};
use proptest::prelude::*;
use removal::{Coalition, RemovalDistribution};
use streams::Streams;

const N: usize = 5;
const ALL: usize = 1 << N;
/// Folds of regression-adjusted estimators: units u, u + 10, ... are one.
const FOLDS: usize = 10;

const CASES: [(Estimator, RemovalDistribution); 5] = [
    (Estimator::Permutation, RemovalDistribution::Permutation),
    (Estimator::RegressionAdjusted, RemovalDistribution::Leverage),
    (Estimator::TreeAdjusted, RemovalDistribution::Leverage),
    (Estimator::BetaShapley, RemovalDistribution::Permutation),
    (Estimator::BetaShapley, RemovalDistribution::Leverage),
];

fn coalition(mask: usize) -> Coalition {
    Coalition::from_members(N, (0..N).filter(|member| mask >> member & 1 == 1)).unwrap()
}

/// All orders of the contributors.
fn orders(left: Vec<usize>) -> Vec<Vec<usize>> {
    if left.is_empty() {
        return vec![Vec::new()];
    }
    let first = |&first: &usize| {
        let others = left.iter().copied().filter(|&other| other != first).collect();
        orders(others).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    left.iter().flat_map(first).collect()
}

/// The masks of draws in which everything happens as often as it is likely, and in each fold so.
fn masks(distribution: RemovalDistribution) -> Vec<usize> {
    if distribution == RemovalDistribution::Permutation {
        let beginnings = |order: Vec<usize>| -> Vec<usize> {
            (1..N).map(|size| order[..size].iter().map(|member| 1 << member).sum()).collect()
        };
        return orders((0..N).collect()).into_iter().flat_map(beginnings).collect();
    }
    // There are 5, 10, 10 and 5 coalitions of sizes 1 to 4.
    let times = |mask: usize| if [1, 4].contains(&mask.count_ones()) { 2 * FOLDS } else { FOLDS };
    (1..ALL - 1).flat_map(|mask| std::iter::repeat_n(mask, times(mask))).collect()
}

fn estimate((estimator, distribution): (Estimator, RemovalDistribution), game: &[f64]) -> Vec<f64> {
    let rows = masks(distribution).into_iter().map(|mask| (coalition(mask), game[mask]));
    let table = UtilityTable::from_pairs(N, rows).unwrap();
    let observations = Observations::new(table, vec![game[ALL - 1]], vec![game[0]]).unwrap();
    fit(estimator, &observations, distribution, &FitSettings::default()).unwrap().values
}

fn games() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-10.0..10.0f64, ALL)
}

#[track_caller]
fn assert_close(case: (Estimator, RemovalDistribution), found: &[f64], expected: &[f64]) {
    for (one, two) in found.iter().zip(expected) {
        assert!((one - two).abs() < 1e-8, "{case:?}: {found:?} is not {expected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// They are the values by enumeration.
    #[test]
    fn exactness(game in games()) {
        for case in CASES {
            let semivalue = match case.0 {
                Estimator::BetaShapley => Semivalue::BetaShapley { alpha: 16.0, beta: 1.0 },
                _ => Semivalue::Shapley,
            };
            assert_close(case, &estimate(case, &game), &exact_semivalue(semivalue, N, &game).unwrap());
        }
    }

    /// Shapley values sum to v(all) - v(none), from draws as few as the estimator takes, too.
    #[test]
    fn efficiency(game in games(), draws in 2 * FOLDS..60, seed in any::<u64>()) {
        let total = game[ALL - 1] - game[0];
        for case in CASES.into_iter().filter(|(estimator, _)| *estimator != Estimator::BetaShapley) {
            let sum: f64 = estimate(case, &game).iter().sum();
            prop_assert!((sum - total).abs() < 1e-8, "{case:?}: {sum} is not {total}");
            let drawn = FnGame::new(N, |c: &Coalition| game[c.members().map(|i| 1 << i).sum::<usize>()])
                .observe(case.1, draws, &Streams::new(seed))
                .unwrap();
            let sum: f64 = fit(case.0, &drawn, case.1, &FitSettings::default()).unwrap().values.iter().sum();
            prop_assert!((sum - total).abs() < 1e-8, "{case:?}, {draws} draws: {sum} is not {total}");
        }
    }

    /// Whoever adds the same to every coalition gets just that; a null player gets 0.
    #[test]
    fn null_player(game in games(), worth in -5.0..5.0f64, player in 0..N) {
        let bit = 1 << player;
        for worth in [0.0, worth] {
            let utility = |mask: usize| game[mask & !bit] + if mask & bit > 0 { worth } else { 0.0 };
            let utilities: Vec<f64> = (0..ALL).map(utility).collect();
            for case in CASES {
                assert_close(case, &[estimate(case, &utilities)[player]], &[worth]);
            }
        }
    }

    /// Players who add the same to every coalition of others get the same.
    #[test]
    fn symmetry(game in games(), pair in (0..N, 1..N)) {
        let (one, two) = (pair.0, (pair.0 + pair.1) % N);
        let swapped = |mask: usize| {
            let differ = (mask >> one ^ mask >> two) & 1;
            mask ^ (differ << one | differ << two)
        };
        let utilities: Vec<f64> = (0..ALL).map(|mask| game[mask] + game[swapped(mask)]).collect();
        for case in CASES {
            let values = estimate(case, &utilities);
            assert_close(case, &[values[one]], &[values[two]]);
        }
    }

    /// Values of a sum of games are the sums of their values.
    #[test]
    fn additivity(one in games(), two in games()) {
        let both: Vec<f64> = one.iter().zip(&two).map(|(one, two)| one + two).collect();
        for case in CASES {
            let values = estimate(case, &one).into_iter().zip(estimate(case, &two));
            let sums: Vec<f64> = values.map(|(one, two)| one + two).collect();
            assert_close(case, &estimate(case, &both), &sums);
        }
    }
}
