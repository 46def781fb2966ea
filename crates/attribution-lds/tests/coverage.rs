//! Do 95 % intervals hold the true value in 95 % of repetitions?

use attribution_lds::{
    Banzhaf, Bootstrap, Estimator, FitSettings, Intervals, KernelShap, LdsSettings, Observations,
    UtilityTable, exact_banzhaf, exact_shapley, fit, lds, noise_ceiling, predict_additive, utility_of_all,
};
use removal::{Coalition, RemovalDistribution};
use streams::{Streams, standard_normal};

const REPETITIONS: u64 = 300;

/// Neither additive nor symmetric: squares and a threshold on top of a sum.
fn utility(coalition: &Coalition) -> f64 {
    let sum: f64 = coalition.members().map(|member| 1.0 + member as f64).sum();
    0.3 * sum + 0.02 * sum * sum + f64::from(u8::from(coalition.contains(0) && coalition.contains(2)))
}

/// One noisy study: `draws` draws, one retraining each, and `ends` retrainings of the full and the empty coalition.
fn study(
    distribution: RemovalDistribution,
    n: usize,
    draws: usize,
    ends: usize,
    noise: f64,
    repetition: u64,
) -> Observations {
    let streams = Streams::new(1000 + repetition);
    let mut errors = standard_normal(&mut streams.rng("noise", 0), draws + 2 * ends).into_iter();
    let mut run = |coalition: &Coalition| utility(coalition) + noise * f64::from(errors.next().unwrap());
    let mut table = UtilityTable::new(n);
    for index in 0..draws as u64 {
        let coalition = distribution.draw(n, &streams, index).unwrap().coalition;
        let utility = run(&coalition);
        table.push(coalition, utility).unwrap();
    }
    let [full, none] =
        [Coalition::full(n), Coalition::empty(n)].map(|end| (0..ends).map(|_| run(&end)).collect());
    Observations::new(table, full, none).unwrap()
}

/// The share of (repetition, contributor) pairs whose interval holds the truth, and the mean width.
fn coverage(truth: &[f64], intervals: impl Fn(u64) -> Intervals) -> (f64, f64) {
    let (mut held, mut width) = (0, 0.0);
    for repetition in 0..REPETITIONS {
        for (interval, &truth) in intervals(repetition).intervals.iter().zip(truth) {
            held += usize::from(interval.contains(truth));
            width += interval.width();
        }
    }
    let all = REPETITIONS as f64 * truth.len() as f64;
    (held as f64 / all, width / all)
}

#[track_caller]
fn assert_covers(name: &str, (share, width): (f64, f64)) {
    println!("{name}: {:.1} % in intervals of mean width {width:.3}", 100.0 * share);
    assert!((0.90..=0.99).contains(&share), "{name}: {share}");
}

#[test]
fn kernel_shap_intervals_hold_what_they_promise() {
    for (n, draws, noise) in [(5, 40, 0.5), (5, 150, 0.5), (8, 60, 0.0), (8, 60, 2.0)] {
        let truth = exact_shapley(n, &utility_of_all(n, utility).unwrap()).unwrap();
        let fit = |repetition, bootstrap| {
            // Endpoints known well: their noise has a test of its own.
            let mut observations = study(RemovalDistribution::Shapley, n, draws, 1, noise, repetition);
            let ends = [utility(&Coalition::full(n)), utility(&Coalition::empty(n))];
            observations =
                Observations::new(observations.draws().clone(), vec![ends[0]], vec![ends[1]]).unwrap();
            KernelShap { bootstrap, ..KernelShap::default() }.fit(&observations).unwrap()
        };
        let name = format!("n = {n}, m = {draws}, noise {noise}");
        assert_covers(&format!("sandwich, {name}"), coverage(&truth, |r| fit(r, None).closed_form.unwrap()));
        let settings = Bootstrap { resamples: 300, seed: 0 };
        assert_covers(
            &format!("bootstrap, {name}"),
            coverage(&truth, |r| fit(r, Some(settings)).bootstrap.unwrap()),
        );
    }
}

#[test]
fn noise_of_the_endpoints_is_carried_through() {
    let (n, draws, ends, noise) = (4, 100, 4, 3.0);
    let truth = exact_shapley(n, &utility_of_all(n, utility).unwrap()).unwrap();
    let fit = |repetition| {
        let observations = study(RemovalDistribution::Shapley, n, draws, ends, noise, repetition);
        KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap()
    };
    assert_covers("noisy endpoints", coverage(&truth, |r| fit(r).closed_form.unwrap()));
}

#[test]
fn banzhaf_intervals_hold_what_they_promise() {
    let (n, draws) = (6, 50);
    let truth = exact_banzhaf(n, &utility_of_all(n, utility).unwrap()).unwrap();
    let fit = |repetition| {
        let observations = study(RemovalDistribution::Uniform, n, draws, 1, 0.5, repetition);
        Banzhaf::default().fit(observations.draws()).unwrap()
    };
    assert_covers("Banzhaf", coverage(&truth, |r| fit(r).closed_form.unwrap()));
}

/// Intervals of correlations, against the correlations over very many coalitions.
#[test]
fn lds_and_ceiling_intervals_hold_what_they_promise() {
    let n = 10;
    let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
    let scores: Vec<f64> = (0..n).map(|member| (member as f64 - 3.0).abs()).collect();
    let settings = LdsSettings { level: 0.95, bootstrap: Bootstrap { resamples: 300, seed: 0 } };
    // Test coalitions of study `repetition`, retrained with two seeds: each draw is a coalition of its own.
    let sets = |draws: usize, repetition: u64| -> [UtilityTable; 2] {
        let streams = Streams::new(5000 + repetition);
        [0, 1].map(|seed| {
            let errors = standard_normal(&mut streams.rng("noise", seed), draws);
            let mut table = UtilityTable::new(n + 10);
            for (index, error) in errors.into_iter().enumerate() {
                let draw = distribution.draw(n, &streams, index as u64).unwrap().coalition;
                // Ten contributors without effect number the draw, so that none occurs twice.
                let number = (0..10).filter(|bit| index >> bit & 1 == 1).map(|bit| n + bit);
                let coalition = Coalition::from_members(n + 10, draw.members().chain(number)).unwrap();
                table.push(coalition, utility(&draw) + 3.0 * f64::from(error)).unwrap();
            }
            table
        })
    };
    let score = |sets: &[UtilityTable]| lds(|c| predict_additive(&scores, c), sets, &settings).unwrap();
    let many: Vec<[UtilityTable; 2]> = (0..20).map(|part| sets(1024, 1_000_000 + part)).collect();
    let truth = many.iter().map(|sets| score(sets).mean).sum::<f64>() / 20.0;
    let agreement =
        many.iter().map(|sets| noise_ceiling(sets, &settings).unwrap().between_retrainings).sum::<f64>()
            / 20.0;
    println!("true LDS {truth:.1}, true agreement {agreement:.1}");
    let wrap = |interval| Intervals {
        method: attribution_lds::IntervalMethod::Bootstrap { resamples: 300 },
        level: 0.95,
        intervals: vec![interval],
        standard_errors: vec![],
    };
    assert_covers("LDS", coverage(&[truth], |r| wrap(score(&sets(60, r)).interval)));
    let ceiling = |r| wrap(noise_ceiling(&sets(60, r), &settings).unwrap().interval);
    assert_covers("ceiling", coverage(&[agreement], ceiling));
}

/// Draws in pairs and of uniform sizes: the pair is the unit, and the rows stand for the kernel.
#[test]
fn intervals_of_other_draws_hold_what_they_promise() {
    let (n, draws) = (7, 80);
    let truth = exact_shapley(n, &utility_of_all(n, utility).unwrap()).unwrap();
    for distribution in [
        RemovalDistribution::ShapleyPaired,
        RemovalDistribution::Leverage,
        RemovalDistribution::LeveragePaired,
        RemovalDistribution::PermutationAntithetic,
    ] {
        for noise in [0.5, 2.0] {
            let estimators = match distribution {
                RemovalDistribution::PermutationAntithetic => vec![Estimator::Permutation],
                _ => vec![Estimator::KernelShap, Estimator::RegressionAdjusted],
            };
            for estimator in estimators {
                let fitted = |repetition, bootstrap| {
                    let drawn = study(distribution, n, draws, 1, noise, repetition);
                    let ends = [utility(&Coalition::full(n)), utility(&Coalition::empty(n))];
                    let observations =
                        Observations::new(drawn.draws().clone(), vec![ends[0]], vec![ends[1]]).unwrap();
                    let settings = FitSettings { bootstrap, ..FitSettings::default() };
                    fit(estimator, &observations, distribution, &settings).unwrap()
                };
                let name = format!("{estimator} from {distribution}, noise {noise}");
                assert_covers(&name, coverage(&truth, |r| fitted(r, None).closed_form.unwrap()));
                if estimator == Estimator::KernelShap {
                    let settings = Bootstrap { resamples: 300, seed: 0 };
                    let name = format!("bootstrap, {name}");
                    assert_covers(&name, coverage(&truth, |r| fitted(r, Some(settings)).bootstrap.unwrap()));
                }
            }
        }
    }
}
