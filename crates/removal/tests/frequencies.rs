//! Frequencies of drawn coalitions against the exact distributions, by Pearson's chi-square test.

use removal::{Coalition, RemovalDistribution};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use std::collections::BTreeMap;
use streams::Streams;

/// Tests fail for frequencies less likely than this. Draws are seeded, so a test that passes once always passes.
const SIGNIFICANCE: f64 = 1e-3;

/// Probability that frequencies at least as far from `expected` arise by chance. Classes must be common enough.
fn chi_square_p(observed: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(observed.len(), expected.len());
    assert!(expected.iter().all(|&count| count >= 5.0), "classes too rare for the test: {expected:?}");
    let statistic: f64 = observed.iter().zip(expected).map(|(o, e)| (o - e).powi(2) / e).sum();
    1.0 - ChiSquared::new((observed.len() - 1) as f64).unwrap().cdf(statistic)
}

/// Tests sizes, and the members of every size, against the exact distribution: all coalitions of n contributors.
fn check_coalitions(
    distribution: RemovalDistribution,
    n: usize,
    draws: u64,
    probability: impl Fn(usize) -> f64,
) {
    let streams = Streams::new(2024);
    let mut counts: BTreeMap<Coalition, f64> = BTreeMap::new();
    for index in 0..draws {
        *counts.entry(distribution.draw(n, &streams, index).unwrap().coalition).or_default() += 1.0;
    }
    let (mut observed, mut expected) = (Vec::new(), Vec::new());
    let mut total = 0.0;
    for mask in 0..1usize << n {
        let coalition = Coalition::from_members(n, (0..n).filter(|i| mask >> i & 1 == 1)).unwrap();
        let exact = probability(coalition.len());
        total += exact;
        assert!((distribution.probability(&coalition).unwrap() - exact).abs() < 1e-12);
        let count = counts.remove(&coalition).unwrap_or(0.0);
        if exact == 0.0 {
            assert_eq!(count, 0.0, "{coalition} is impossible but was drawn");
        } else {
            observed.push(count);
            expected.push(exact * draws as f64);
        }
    }
    assert!((total - 1.0).abs() < 1e-12);
    let p = chi_square_p(&observed, &expected);
    assert!(p > SIGNIFICANCE, "{distribution}: p = {p}");
}

fn binomial(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

#[test]
fn shapley_coalitions_have_kernel_shap_weights() {
    // Sum over s = 1..5 of 1 / (s (6 - s)) = 1/5 + 1/8 + 1/9 + 1/8 + 1/5.
    let total = 2.0 / 5.0 + 2.0 / 8.0 + 1.0 / 9.0;
    check_coalitions(RemovalDistribution::Shapley, 6, 60_000, |size| match size {
        0 | 6 => 0.0,
        s => 1.0 / (s * (6 - s)) as f64 / total / binomial(6, s),
    });
}

#[test]
fn datamodel_coalitions_are_uniform_of_one_size() {
    check_coalitions(RemovalDistribution::Datamodel { alpha: 0.5 }, 7, 20_000, |size| {
        if size == 3 { 1.0 / 35.0 } else { 0.0 }
    });
    check_coalitions(RemovalDistribution::Datamodel { alpha: 0.75 }, 8, 20_000, |size| {
        if size == 6 { 1.0 / 28.0 } else { 0.0 }
    });
}

#[test]
fn uniform_coalitions_are_all_equally_likely() {
    check_coalitions(RemovalDistribution::Uniform, 6, 30_000, |_| 1.0 / 64.0);
}

#[test]
fn leverage_coalitions_have_uniform_sizes() {
    // Pearson's test needs independent draws, so only the first of each pair could be counted; here they are unpaired.
    check_coalitions(RemovalDistribution::Leverage, 6, 60_000, |size| match size {
        0 | 6 => 0.0,
        s => 0.2 / binomial(6, s),
    });
}

/// In pairs and orders, too, every single draw has the distribution's size and subset probabilities: the first draws of
/// many seeds, and the last ones of the first unit.
#[test]
fn every_draw_of_a_pair_or_an_order_has_the_stated_distribution() {
    for distribution in [
        RemovalDistribution::ShapleyPaired,
        RemovalDistribution::LeveragePaired,
        RemovalDistribution::Permutation,
        RemovalDistribution::PermutationAntithetic,
    ] {
        let n = 4;
        let unit = distribution.unit_size(n) as u64;
        let seeds = 6_000;
        let mut counts: BTreeMap<Coalition, f64> = BTreeMap::new();
        for seed in 0..seeds {
            // One draw a seed, at a place that goes round the unit: independent, and all places are tried.
            let draw = distribution.draw(n, &Streams::new(seed), seed % unit).unwrap();
            *counts.entry(draw.coalition).or_default() += 1.0;
        }
        let (mut observed, mut expected) = (Vec::new(), Vec::new());
        for mask in 1..(1usize << n) - 1 {
            let coalition = Coalition::from_members(n, (0..n).filter(|i| mask >> i & 1 == 1)).unwrap();
            expected.push(distribution.probability(&coalition).unwrap() * seeds as f64);
            observed.push(counts.get(&coalition).copied().unwrap_or(0.0));
        }
        let p = chi_square_p(&observed, &expected);
        assert!(p > SIGNIFICANCE, "{distribution}: p = {p}");
    }
}

#[test]
fn shapley_sizes_of_many_contributors_have_the_exact_frequencies() {
    let (n, draws) = (40, 40_000);
    let weights: Vec<f64> = (1..n).map(|s| 1.0 / (s * (n - s)) as f64).collect();
    let total: f64 = weights.iter().sum();
    let expected: Vec<f64> = weights.iter().map(|weight| weight / total * draws as f64).collect();
    let mut observed = vec![0.0; n - 1];
    for index in 0..draws {
        let draw = RemovalDistribution::Shapley.draw(n, &Streams::new(7), index).unwrap();
        observed[draw.coalition.len() - 1] += 1.0;
    }
    let p = chi_square_p(&observed, &expected);
    assert!(p > SIGNIFICANCE, "p = {p}");
}

#[test]
fn every_contributor_remains_equally_often() {
    // Beyond one machine word, where a slip in the bit mask would show.
    let (n, draws) = (150, 6_000);
    for distribution in [
        RemovalDistribution::Shapley,
        RemovalDistribution::Datamodel { alpha: 0.3 },
        RemovalDistribution::Uniform,
    ] {
        let mut remains = vec![0.0f64; n];
        let mut members = 0.0;
        for index in 0..draws {
            let coalition = distribution.draw(n, &Streams::new(99), index).unwrap().coalition;
            members += coalition.len() as f64;
            coalition.members().for_each(|member| remains[member] += 1.0);
        }
        let mean = members / n as f64;
        let share = mean / draws as f64;
        let bound = 4.5 * (draws as f64 * share * (1.0 - share)).sqrt();
        for (contributor, count) in remains.iter().enumerate() {
            assert!(
                (count - mean).abs() < bound,
                "{distribution}: contributor {contributor} remains {count} times, mean {mean}"
            );
        }
    }
}

#[test]
fn the_test_notices_wrong_frequencies() {
    let expected = vec![1000.0; 20];
    let mut observed = expected.clone();
    assert!(chi_square_p(&observed, &expected) > 0.99);
    observed[3] += 200.0;
    observed[4] -= 200.0;
    assert!(chi_square_p(&observed, &expected) < SIGNIFICANCE);
}

#[test]
fn draws_do_not_depend_on_other_draws_distributions_or_order() {
    let streams = Streams::new(3);
    let distribution = RemovalDistribution::Shapley;
    let forward: Vec<_> = (0..50).map(|k| distribution.draw(20, &streams, k).unwrap()).collect();
    let backward: Vec<_> = (0..50).rev().map(|k| distribution.draw(20, &streams, k).unwrap()).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    // Other distributions of the same seed draw on their own: agreement of two independent draws of size 10 of 20 is rare.
    let halves: Vec<_> = [0.5, 0.525]
        .map(|alpha| {
            let draw = |k| RemovalDistribution::Datamodel { alpha }.draw(20, &streams, k).unwrap().coalition;
            (0..50).map(draw).collect::<Vec<_>>()
        })
        .into();
    assert!(halves[0].iter().zip(&halves[1]).all(|(a, b)| a.len() == 10 && b.len() == 10 && a != b));
}
