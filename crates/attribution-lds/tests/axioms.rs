//! Shapley's axioms, for any game, any draws.

use attribution_lds::{
    Bootstrap, FnGame, Game, KernelShap, Observations, UtilityTable, Weighting, exact_shapley,
};
use proptest::prelude::*;
use removal::{Coalition, RemovalDistribution};
use streams::{Streams, permutation};

const N: usize = 5;

fn mask(coalition: &Coalition) -> usize {
    coalition.members().map(|member| 1 << member).sum()
}

fn all_coalitions() -> impl Iterator<Item = Coalition> {
    (0..1usize << N).map(|mask| Coalition::from_members(N, (0..N).filter(|i| mask >> i & 1 == 1)).unwrap())
}

/// Kernel SHAP from a table of all utilities, over `draws` draws.
fn fit(utilities: &[f64], draws: usize, seed: u64) -> Vec<f64> {
    let game = FnGame::new(N, |c: &Coalition| utilities[mask(c)]);
    let observations = game.observe(RemovalDistribution::Shapley, draws, &Streams::new(seed)).unwrap();
    KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap().values
}

/// Kernel SHAP over all coalitions with kernel weights.
fn fit_all(utilities: &[f64]) -> Vec<f64> {
    let table =
        UtilityTable::from_pairs(N, all_coalitions().map(|c| (c.clone(), utilities[mask(&c)]))).unwrap();
    let observations = Observations::new(table, vec![utilities[(1 << N) - 1]], vec![utilities[0]]).unwrap();
    let settings =
        KernelShap { weighting: Weighting::ShapleyKernel, bootstrap: None, ..KernelShap::default() };
    settings.fit(&observations).unwrap().values
}

fn games() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-10.0..10.0f64, 1 << N)
}

#[track_caller]
fn assert_close(one: &[f64], two: &[f64]) {
    for (one, two) in one.iter().zip(two) {
        assert!((one - two).abs() < 1e-8, "{one} is not {two}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The values sum to v(all) - v(none), however few the draws.
    #[test]
    fn efficiency(game in games(), draws in 1usize..60, seed in any::<u64>()) {
        let sum: f64 = fit(&game, draws, seed).iter().sum();
        prop_assert!((sum - (game[(1 << N) - 1] - game[0])).abs() < 1e-8);
        let exact: f64 = exact_shapley(N, &game).unwrap().iter().sum();
        prop_assert!((exact - (game[(1 << N) - 1] - game[0])).abs() < 1e-8);
    }

    /// Values of a sum of games are the sum of the values, over the same draws.
    #[test]
    fn linearity(one in games(), two in games(), factor in -3.0..3.0f64, draws in 1usize..60, seed in any::<u64>()) {
        let both: Vec<f64> = one.iter().zip(&two).map(|(one, two)| one + factor * two).collect();
        let sum = |one: Vec<f64>, two: Vec<f64>| -> Vec<f64> {
            one.iter().zip(&two).map(|(one, two)| one + factor * two).collect()
        };
        assert_close(&fit(&both, draws, seed), &sum(fit(&one, draws, seed), fit(&two, draws, seed)));
        let exact = |game: &[f64]| exact_shapley(N, game).unwrap();
        assert_close(&exact(&both), &sum(exact(&one), exact(&two)));
    }

    /// Over all coalitions the regression is the exact value.
    #[test]
    fn enumeration_is_exact(game in games()) {
        assert_close(&fit_all(&game), &exact_shapley(N, &game).unwrap());
    }

    /// Whoever adds the same to every coalition gets just that.
    #[test]
    fn dummy(game in games(), worth in -5.0..5.0f64, player in 0..N) {
        let bit = 1 << player;
        let utilities: Vec<f64> =
            (0..1usize << N).map(|mask| game[mask & !bit] + if mask & bit > 0 { worth } else { 0.0 }).collect();
        prop_assert!((exact_shapley(N, &utilities).unwrap()[player] - worth).abs() < 1e-9);
        prop_assert!((fit_all(&utilities)[player] - worth).abs() < 1e-8);
    }

    /// Players who add the same to every coalition of others get the same.
    #[test]
    fn symmetry(game in games(), pair in (0..N, 1..N)) {
        let (one, two) = (pair.0, (pair.0 + pair.1) % N);
        let swapped = |mask: usize| {
            let differ = (mask >> one ^ mask >> two) & 1;
            mask ^ (differ << one | differ << two)
        };
        let utilities: Vec<f64> = (0..1usize << N).map(|mask| game[mask] + game[swapped(mask)]).collect();
        for values in [exact_shapley(N, &utilities).unwrap(), fit_all(&utilities)] {
            prop_assert!((values[one] - values[two]).abs() < 1e-8);
        }
    }

    /// Renaming the contributors renames the scores, also where a pseudo-inverse chooses.
    #[test]
    fn renaming(game in games(), draws in 1usize..40, seed in any::<u64>()) {
        let names = permutation(&mut Streams::new(seed).rng("names", 0), N);
        let streams = Streams::new(seed);
        let (mut plain, mut renamed) = (UtilityTable::new(N), UtilityTable::new(N));
        for index in 0..draws as u64 {
            let coalition = RemovalDistribution::Shapley.draw(N, &streams, index).unwrap().coalition;
            let other = Coalition::from_members(N, coalition.members().map(|member| names[member])).unwrap();
            renamed.push(other, game[mask(&coalition)]).unwrap();
            plain.push(coalition.clone(), game[mask(&coalition)]).unwrap();
        }
        let fit = |table| {
            let observations = Observations::new(table, vec![game[(1 << N) - 1]], vec![game[0]]).unwrap();
            KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap().values
        };
        let (plain, renamed) = (fit(plain), fit(renamed));
        let expected: Vec<f64> = names.iter().map(|&name| renamed[name]).collect();
        assert_close(&plain, &expected);
    }
}

#[test]
fn a_row_for_many_draws_weighs_as_many_rows() {
    let game = FnGame::new(N, |c: &Coalition| (mask(c) as f64).sqrt());
    let observations = game.observe(RemovalDistribution::Shapley, 60, &Streams::new(5)).unwrap();
    let mut counted = UtilityTable::new(N);
    for coalition in observations.draws().coalitions() {
        let times = observations.draws().rows().iter().filter(|row| row.coalition() == coalition).count();
        counted.push_times(coalition.clone(), vec![game.utility(coalition)], times as u32).unwrap();
    }
    let settings =
        KernelShap { bootstrap: Some(Bootstrap { resamples: 50, seed: 0 }), ..KernelShap::default() };
    let (rows, counts) = (observations.clone(), observations.with_draws(counted).unwrap());
    let (rows, counts) = (settings.fit(&rows).unwrap(), settings.fit(&counts).unwrap());
    assert_close(&rows.values, &counts.values);
    // Counting one run several times does not make it surer.
    let errors =
        [&rows, &counts].map(|fit| fit.closed_form.as_ref().unwrap().standard_errors.iter().sum::<f64>());
    assert!(errors[1] > errors[0], "{errors:?}");
}

#[test]
fn the_bootstrap_depends_on_its_seed_alone() {
    let game = FnGame::new(N, |c: &Coalition| (mask(c) as f64).sqrt());
    let observations = game.observe(RemovalDistribution::Shapley, 60, &Streams::new(5)).unwrap();
    let intervals = |seed| {
        let settings =
            KernelShap { bootstrap: Some(Bootstrap { resamples: 200, seed }), ..KernelShap::default() };
        settings.fit(&observations).unwrap().bootstrap.unwrap()
    };
    assert_eq!(intervals(1), intervals(1));
    assert_ne!(intervals(1), intervals(2));
}
