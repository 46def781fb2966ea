//! Chosen coalitions against plain draws, on games whose values are known.

use attribution_lds::{
    Estimator, FitSettings, KernelShap, Observations, StoppingRule, UtilityTable, exact_shapley, fit,
    utility_of_all,
};
use removal::{ActiveDraws, Coalition, RemovalDistribution};
use streams::{Streams, standard_normal};

/// Contributor i is worth i; every evaluation, of the same coalition, too, has standard normal noise.
fn observed(
    distribution: RemovalDistribution,
    n: usize,
    draws: usize,
    seed: u64,
    candidates: usize,
) -> Observations {
    let streams = Streams::new(seed);
    let noise = standard_normal(&mut streams.rng("noise", 0), draws);
    let mut chosen = ActiveDraws::new(distribution, n, &streams, candidates).unwrap();
    let mut table = UtilityTable::new(n);
    for error in noise {
        let coalition = chosen.next_draw().unwrap().coalition;
        let utility = value(&coalition) + f64::from(error);
        table.push(coalition, utility).unwrap();
    }
    Observations::new(table, vec![value(&Coalition::full(n))], vec![0.0]).unwrap()
}

fn value(coalition: &Coalition) -> f64 {
    coalition.members().map(|i| i as f64).sum()
}

/// Mean squared error of the scores over 60 seeds.
fn error(
    estimator: Estimator,
    distribution: RemovalDistribution,
    n: usize,
    draws: usize,
    candidates: usize,
) -> f64 {
    let settings = FitSettings { bootstrap: None, ridge_alphas: vec![0.1], ..FitSettings::default() };
    let seeds = 0..60;
    let errors = seeds.map(|seed| {
        let observations = observed(distribution, n, draws, seed, candidates);
        let values = fit(estimator, &observations, distribution, &settings).unwrap().values;
        values.iter().enumerate().map(|(i, value)| (value - i as f64).powi(2)).sum::<f64>() / n as f64
    });
    errors.sum::<f64>() / 60.0
}

/// With as many evaluations the error is smaller, and even an eighth more plain draws do not make up for it.
#[test]
fn chosen_coalitions_need_fewer_evaluations() {
    let n = 16;
    for (estimator, distribution) in [
        (Estimator::KernelShap, RemovalDistribution::Shapley),
        (Estimator::KernelShap, RemovalDistribution::ShapleyPaired),
        (Estimator::Datamodel, RemovalDistribution::Datamodel { alpha: 0.5 }),
    ] {
        for draws in [32, 64] {
            let chosen = error(estimator, distribution, n, draws, 32);
            let plain = error(estimator, distribution, n, draws, 1);
            let more = error(estimator, distribution, n, draws * 9 / 8, 1);
            eprintln!(
                "{estimator} {distribution} {draws}: {chosen:.4} chosen, {plain:.4} plain, {more:.4} more"
            );
            assert!(chosen < plain && chosen < more, "{estimator} {distribution} {draws}");
        }
    }
}

/// A game that is far from additive: choosing leaves no bias.
#[test]
fn chosen_coalitions_give_the_shapley_values_of_games_that_are_not_additive() {
    let n = 8;
    let utility =
        |c: &Coalition| (1.0 + value(c)).sqrt() + if c.contains(1) && c.contains(6) { 2.0 } else { 0.0 };
    let exact = exact_shapley(n, &utility_of_all(n, utility).unwrap()).unwrap();
    let mut mean = vec![0.0; n];
    let repetitions = 200;
    for seed in 0..repetitions {
        let mut chosen = ActiveDraws::new(RemovalDistribution::Shapley, n, &Streams::new(seed), 16).unwrap();
        let pairs = (0..200).map(|_| chosen.next_draw().unwrap().coalition).map(|c| {
            let value = utility(&c);
            (c, value)
        });
        let table = UtilityTable::from_pairs(n, pairs).unwrap();
        let ends = (vec![utility(&Coalition::full(n))], vec![utility(&Coalition::empty(n))]);
        let observations = Observations::new(table, ends.0, ends.1).unwrap();
        let fit = KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap();
        mean.iter_mut().zip(&fit.values).for_each(|(sum, value)| *sum += value / repetitions as f64);
    }
    for (mean, exact) in mean.iter().zip(&exact) {
        // Values lie between 0.3 and 1.6; one study of 200 draws has a standard error of about 0.05.
        assert!((mean - exact).abs() < 0.015, "{mean} {exact}");
    }
}

#[test]
fn stopping_needs_no_more_of_them() {
    let (n, distribution) = (12, RemovalDistribution::Shapley);
    let rule = StoppingRule::HalfWidth { most: 0.9 };
    let shap = KernelShap { bootstrap: None, ..KernelShap::default() };
    let needed = |candidates: usize| -> usize {
        let seeds = 0..20;
        seeds
            .map(|seed| {
                let mut draws = 2 * n;
                while !rule
                    .check(&observed(distribution, n, draws, seed, candidates), distribution, |part| {
                        shap.fit(part)
                    })
                    .unwrap()
                    .reached
                {
                    draws += 2;
                }
                draws
            })
            .sum()
    };
    let (chosen, plain) = (needed(32), needed(1));
    eprintln!("{chosen} chosen, {plain} plain");
    assert!(chosen < plain, "{chosen} {plain}");
}
